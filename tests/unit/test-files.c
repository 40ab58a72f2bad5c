/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is in a snapshot's place but is not what the library made: each is refused, and said. */

#include "fixture.h"
#include "other-users.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* So much has files of its own. */
#define RAM_SIZE (20 * 1024 * 1024)

#define STRANGER 12345
#define NOBODY 65534

typedef enum
{
  SYMLINK,
  DANGLING,
  FIFO,
  FOLDER,
  STRANGERS,
  N_KINDS
} Kind;

static const char *const kind_names[] = { "a symlink", "a dangling symlink", "a fifo", "a folder",
                                          "a stranger's file" };

/* A mock whose memory has files of its own. */
static void
set_up (Fixture *fixture, gconstpointer style)
{
  fixture_set_up (fixture, GPOINTER_TO_INT (style), 1);
  mock_set_ram_size (fixture->mock, RAM_SIZE);
}

/* --- in the place of a file ---------------------------------------------------------------- */

/* FALSE: only root can. */
static gboolean
put (Kind kind, const char *path, const char *away)
{
  switch (kind)
    {
    case SYMLINK:
      g_assert_cmpint (symlink (away, path), ==, 0);
      break;
    case DANGLING:
      g_assert_cmpint (symlink ("nowhere", path), ==, 0);
      break;
    case FIFO:
      g_assert_cmpint (mkfifo (path, 0600), ==, 0);
      break;
    case FOLDER:
      g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
      break;
    case STRANGERS:
    default:
      g_assert_cmpint (g_rename (away, path), ==, 0);
      return chown (path, STRANGER, (gid_t)-1) == 0;
    }

  return TRUE;
}

static void
take_away (Kind kind, const char *path, const char *away)
{
  if (kind == STRANGERS)
    {
      (void)!chown (path, geteuid (), (gid_t)-1);
      return;
    }
  g_assert_cmpint (g_remove (path), ==, 0);
  g_assert_cmpint (g_rename (away, path), ==, 0);
}

typedef void (*UseFunc) (Fixture *fixture, const char *folder, GError **error);

static void
verify (Fixture *fixture, const char *folder, GError **error)
{
  g_autoptr (GFile) file = g_file_new_for_path (folder);
  g_autoptr (QsnapSnapshot) snapshot = qsnap_snapshot_load (file, NULL, error);

  if (snapshot != NULL)
    qsnap_snapshot_verify (snapshot, NULL, error);
}

static void
recover (Fixture *fixture, const char *folder, GError **error)
{
  g_autoptr (GFile) file = g_file_new_for_path (folder);
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  g_autoptr (QsnapSnapshot) snapshot = qsnap_session_recover (session, file, NULL, error);

  g_assert_null (snapshot);
}

static void
assert_refused (Fixture *fixture, const char *folder, const char *name, Kind kind, UseFunc use)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *away = fixture_path (fixture, "away");
  g_autofree char *base = g_path_get_basename (name);
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (g_rename (path, away), ==, 0);
  if (put (kind, path, away))
    {
      use (fixture, folder, &error);
      g_test_message ("%s is %s: %s", name, kind_names[kind],
                      error != NULL ? error->message : "taken");
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
      g_assert_nonnull (strstr (error->message, base));
    }
  take_away (kind, path, away);
}

static void
test_snapshot (gconstpointer style)
{
  static const char *const names[] = { "snapshot.json", "state", "ram/pc.ram", "ram/pc.ram.sums",
                                       "ram" };
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = NULL;
  Fixture fixture;

  set_up (&fixture, style);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  folder = fixture_path (&fixture, "snapshot");
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    for (Kind kind = 0; kind < N_KINDS; kind++)
      if (kind != FOLDER || !g_str_equal (names[i], "ram"))
        assert_refused (&fixture, folder, names[i], kind, verify);
  verify (&fixture, folder, &error);
  g_assert_no_error (error);
  fixture_clear (&fixture);
}

static void
test_journal (gconstpointer style)
{
  g_autofree char *folder = NULL;
  g_autofree char *journal = NULL;
  Fixture fixture;

  set_up (&fixture, style);
  folder = fixture_path (&fixture, "left");
  journal = g_build_filename (folder, "journal.json", NULL);
  g_assert_cmpint (g_mkdir (folder, 0700), ==, 0);
  g_assert_true (g_file_set_contents (journal, "{}", -1, NULL));
  for (Kind kind = 0; kind < N_KINDS; kind++)
    assert_refused (&fixture, folder, "journal.json", kind, recover);
  fixture_clear (&fixture);
}

/* --- the folders --------------------------------------------------------------------------- */

static void
assert_not_permitted (Fixture *fixture, const char *folder, UseFunc use, const char *text)
{
  g_autoptr (GError) error = NULL;

  use (fixture, folder, &error);
  g_test_message ("%s", error != NULL ? error->message : "taken");
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED);
  g_assert_nonnull (strstr (error->message, text));
}

static void
test_writable (gconstpointer style)
{
  static const mode_t modes[] = { 0770, 0702, 01777 };
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *folder = NULL;
  g_autofree char *ram = NULL;
  g_autoptr (GError) error = NULL;
  Fixture fixture;

  set_up (&fixture, style);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  folder = fixture_path (&fixture, "snapshot");
  ram = g_build_filename (folder, "ram", NULL);
  for (guint i = 0; i < G_N_ELEMENTS (modes); i++)
    {
      g_assert_cmpint (g_chmod (folder, modes[i]), ==, 0);
      assert_not_permitted (&fixture, folder, verify, "others than its owner may write");
      assert_not_permitted (&fixture, folder, recover, "others than its owner may write");
      g_assert_cmpint (g_chmod (folder, 0700), ==, 0);

      g_assert_cmpint (g_chmod (ram, modes[i]), ==, 0);
      verify (&fixture, folder, &error);
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
      g_assert_nonnull (strstr (error->message, "“ram”"));
      g_clear_error (&error);
      g_assert_cmpint (g_chmod (ram, 0700), ==, 0);
    }
  fixture_clear (&fixture);
}

static void
give_away (const char *folder, uid_t user)
{
  static const char *const names[] = { "",           "ram",
                                       "state",      "snapshot.json",
                                       "ram/pc.ram", "ram/pc.ram.sums" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *path = g_build_filename (folder, names[i], NULL);

      g_assert_cmpint (chown (path, user, (gid_t)-1), ==, 0);
    }
}

/* Root may look at a user's snapshot, and everybody at root's; a user not at another user's. */
static void
test_other_user (gconstpointer style)
{
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *folder = NULL;
  g_autoptr (GError) error = NULL;
  Fixture fixture;

  if (!can_be_other_users (STRANGER))
    {
      g_test_skip ("needs root");
      return;
    }
  set_up (&fixture, style);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  folder = fixture_path (&fixture, "snapshot");
  give_away (folder, STRANGER);
  verify (&fixture, folder, &error);
  g_assert_no_error (error);

  g_assert_cmpint (g_chmod (mock_get_directory (fixture.mock), 0755), ==, 0);
  g_assert_cmpint (g_chmod (folder, 0755), ==, 0);
  g_assert_cmpint (seteuid (NOBODY), ==, 0);
  assert_not_permitted (&fixture, folder, verify, "belongs to user 12345");
  assert_not_permitted (&fixture, folder, recover, "belongs to user 12345");
  g_assert_cmpint (seteuid (0), ==, 0);

  /* As far as root lets them: its files have mode 0600. */
  give_away (folder, 0);
  g_assert_cmpint (seteuid (NOBODY), ==, 0);
  verify (&fixture, folder, &error);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED);
  g_assert_nonnull (strstr (error->message, "snapshot.json"));
  g_assert_cmpint (seteuid (0), ==, 0);
  fixture_clear (&fixture);
}

/* --- a capture into them ------------------------------------------------------------------- */

static void
assert_no_capture (Fixture *fixture, const char *name)
{
  g_autofree char *before = fixture_describe (fixture);
  g_autofree char *after = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = fixture_capture (fixture, name, NULL, &error);

  g_assert_null (snapshot);
  g_assert_nonnull (error);
  g_test_message ("into %s: %s", name, error->message);
  g_assert_nonnull (strstr (error->message, name));
  after = fixture_describe (fixture);
  g_assert_cmpstr (after, ==, before);
}

static void
test_bad_targets (gconstpointer style)
{
  static const char *const names[] = { "link", "fifo", "file" };
  g_autofree char *folder = NULL;
  g_autofree char *link = NULL;
  g_autofree char *fifo = NULL;
  g_autofree char *file = NULL;
  Fixture fixture;

  set_up (&fixture, style);
  folder = fixture_path (&fixture, "folder");
  link = fixture_path (&fixture, "link");
  fifo = fixture_path (&fixture, "fifo");
  file = fixture_path (&fixture, "file");
  g_assert_cmpint (g_mkdir (folder, 0700), ==, 0);
  g_assert_cmpint (symlink ("folder", link), ==, 0);
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  g_assert_true (g_file_set_contents (file, "x", 1, NULL));
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    assert_no_capture (&fixture, names[i]);
  if (chown (folder, STRANGER, (gid_t)-1) == 0)
    assert_no_capture (&fixture, "folder");
  fixture_clear (&fixture);
}

/* Everything in it is for nobody else, whatever the umask. */
static void
test_modes (gconstpointer style)
{
  static const char *const names[] = { "snapshot.json", "state", "ram/pc.ram", "ram/pc.ram.sums" };
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *folder = NULL;
  mode_t before = umask (0);
  Fixture fixture;
  struct stat found;

  set_up (&fixture, style);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  umask (before);
  folder = fixture_path (&fixture, "snapshot");
  g_assert_cmpint (lstat (folder, &found), ==, 0);
  g_assert_cmpint (found.st_mode & 07777, ==, 0700);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *path = g_build_filename (folder, names[i], NULL);

      g_assert_cmpint (lstat (path, &found), ==, 0);
      g_assert_cmpint (found.st_mode, ==, S_IFREG | 0600);
      g_assert_cmpint (found.st_uid, ==, geteuid ());
    }
  fixture_clear (&fixture);
}

/* --- swapped in mid-capture ---------------------------------------------------------------- */

/* The migration is held until it has been done. */
typedef struct
{
  MockQemu *mock;
  char *folder;
  char *away;
  gboolean another; /* something is put in its place */
} Swap;

static void
swap (QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  Swap *swap = user_data;
  g_autofree char *file = g_build_filename (swap->folder, "precious", NULL);

  g_assert_cmpint (g_rename (swap->folder, swap->away), ==, 0);
  if (swap->another)
    {
      g_assert_cmpint (g_mkdir (swap->folder, 0700), ==, 0);
      g_assert_true (g_file_set_contents (file, "x", 1, NULL));
    }
  mock_release_point (swap->mock);
}

static void
try_swap (MockStyle style, gboolean another)
{
  Fixture fixture;
  Swap swapped = { NULL, NULL, NULL, another };
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;
  g_autofree char *precious = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, style, 1);
  swapped.folder = fixture_path (&fixture, "snapshot");
  swapped.away = fixture_path (&fixture, "away");
  precious = g_build_filename (swapped.folder, "precious", NULL);
  fixture_open (&fixture);
  before = fixture_describe_settings (&fixture);
  swapped.mock = fixture.mock;
  mock_hold_point (swapped.mock, MOCK_POINT_HALF);
  g_signal_connect (fixture.session, "point-in-time-reached", G_CALLBACK (swap), &swapped);
  snapshot = fixture_capture (&fixture, "snapshot", NULL, &error);
  g_assert_null (snapshot);
  g_test_message ("%s", error->message);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED);
  g_assert_nonnull (strstr (error->message, "moved away"));
  after = fixture_describe_settings (&fixture);
  g_assert_cmpstr (after, ==, before);
  fixture_assert_graph_whole (&fixture);
  /* Ours is empty, wherever it is, and what is in its place is left alone. */
  g_assert_cmpint (g_rmdir (swapped.away), ==, 0);
  g_assert_cmpint (g_file_test (precious, G_FILE_TEST_EXISTS), ==, another);
  fixture_clear (&fixture);
  g_free (swapped.folder);
  g_free (swapped.away);
}

static void
test_swap (gconstpointer style)
{
  try_swap (GPOINTER_TO_INT (style), FALSE);
  try_swap (GPOINTER_TO_INT (style), TRUE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/files/snapshot", test_snapshot);
  fixture_add ("/files/journal", test_journal);
  fixture_add ("/files/writable", test_writable);
  fixture_add ("/files/other-user", test_other_user);
  fixture_add ("/files/bad-targets", test_bad_targets);
  fixture_add ("/files/modes", test_modes);
  fixture_add ("/files/swap", test_swap);
  return g_test_run ();
}
