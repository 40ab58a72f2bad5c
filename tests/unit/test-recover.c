/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What dead clients left behind: it is undone, settled, merged by qemu-img, or refused. */

#include "fixture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qsnap-process.h"
#include "qsnap-qemu-img.h"

#define ID "0a1b2c3d"

typedef struct
{
  char *folder;
  char *directory;
  char *journal;
  char *base;
  char *overlay;
} Left;

/* --- what is left -------------------------------------------------------------------------- */

static void
leave (Left *left, const char *folder)
{
  left->folder = g_strdup (folder);
  left->directory = g_build_filename (folder, "left", NULL);
  left->journal = g_build_filename (left->directory, "journal.json", NULL);
  left->base = g_build_filename (folder, "base.raw", NULL);
  left->overlay = g_build_filename (folder, "base.qsnap-" ID ".qcow2", NULL);
  g_assert_cmpint (mkdir (left->directory, 0700), ==, 0);
}

static void
left_clear (Left *left)
{
  g_free (left->folder);
  g_free (left->directory);
  g_free (left->journal);
  g_free (left->base);
  g_free (left->overlay);
}

/* @overlays and @more are pieces of JSON. QEMU is the process that runs now if @alive. */
static void
write_journal (Left *left, const char *step, gboolean alive, const char *overlays, const char *more)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text = g_strdup_printf (
      "{\"format\":\"qsnap-journal\",\"schema\":1,\"step\":\"%s\",\"id\":\"" ID "\",\"name\":\"n\","
      "\"client-pid\":1,\"client-start\":0,\"qemu-pid\":%d,\"qemu-start\":%" G_GINT64_FORMAT ","
      "\"qemu-version\":\"10.0.0\",\"run-state\":\"running\",\"shutdown-action\":\"poweroff\","
      "\"capabilities\":{\"background-snapshot\":false},\"disks\":[%s]%s}",
      step, getpid (), alive ? qsnap_process_start_time (getpid ()) : 1, overlays, more);

  g_assert_true (g_file_set_contents (left->journal, text, -1, &error));
  g_assert_no_error (error);
}

static char *
describe_overlay (const char *base, const char *overlay)
{
  return g_strdup_printf (
      "{\"device\":\"virtio0\",\"base-node\":\"b\",\"base\":\"%s\",\"base-format\":\"raw\","
      "\"mode\":\"overlay\",\"new-file\":\"%s\",\"new-node\":\"qsnap-" ID "-0\","
      "\"new-file-node\":\"qsnap-" ID "-0-file\"}",
      base, overlay);
}

static void
assert_recover_fails (
    QsnapSession *session, const char *directory, GQuark domain, int code, const char *word)
{
  g_autoptr (GFile) file = g_file_new_for_path (directory);
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_session_recover (session, file, NULL, &error));
  g_assert_error (error, domain, code);
  if (strstr (error->message, word) == NULL)
    g_error ("\"%s\" is not in: %s", word, error->message);
}

static QsnapSnapshot *
recover (QsnapSession *session, const char *directory)
{
  g_autoptr (GFile) file = g_file_new_for_path (directory);
  g_autoptr (GError) error = NULL;
  QsnapSnapshot *snapshot = qsnap_session_recover (session, file, NULL, &error);

  g_assert_no_error (error);
  assert_recover_fails (session, directory, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                        "there is nothing to recover");

  return snapshot;
}

/* --- QEMU lives ---------------------------------------------------------------------------- */

static const char settings_on[] =
    "{\"capabilities\": [{\"capability\": \"background-snapshot\", \"state\": true}]}";

static void
test_undo (gconstpointer style)
{
  Fixture fixture;
  Left left;
  g_autofree char *folder = NULL, *before = NULL, *after = NULL;

  fixture_set_up (&fixture, (MockStyle)GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  before = fixture_describe (&fixture);
  folder = fixture_path (&fixture, ".");
  leave (&left, folder);
  write_journal (&left, "pausing", TRUE, "", "");
  json_node_unref (fixture_execute (&fixture, "migrate-set-capabilities", settings_on));
  json_node_unref (fixture_execute (&fixture, "set-action", "{\"shutdown\": \"pause\"}"));
  json_node_unref (fixture_execute (&fixture, "stop", NULL));

  g_assert_null (recover (fixture.session, left.directory));
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  g_assert_false (g_file_test (left.directory, G_FILE_TEST_EXISTS));

  left_clear (&left);
  fixture_clear (&fixture);
}

/* A guest that its owner stops while memory is saved stays stopped. */
static void
test_undo_leaves_run_state (gconstpointer style)
{
  Fixture fixture;
  Left left;
  g_autofree char *folder = NULL, *before = NULL, *after = NULL;

  fixture_set_up (&fixture, (MockStyle)GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  json_node_unref (fixture_execute (&fixture, "stop", NULL));
  before = fixture_describe (&fixture);
  folder = fixture_path (&fixture, ".");
  leave (&left, folder);
  write_journal (&left, "saving", TRUE, "", "");

  g_assert_null (recover (fixture.session, left.directory));
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);

  left_clear (&left);
  fixture_clear (&fixture);
}

static void
test_settle_sealed (gconstpointer style)
{
  Fixture fixture;
  Left left = { NULL };
  g_autoptr (QsnapSnapshot) taken = NULL;
  g_autoptr (QsnapSnapshot) recovered = NULL;
  g_autofree char *before = NULL, *after = NULL;

  fixture_set_up (&fixture, (MockStyle)GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  taken = fixture_capture_well (&fixture, "taken");
  before = fixture_describe (&fixture);
  left.journal = fixture_path (&fixture, "taken/journal.json");
  left.directory = fixture_path (&fixture, "taken");
  write_journal (&left, "sealing", TRUE, "", "");
  json_node_unref (fixture_execute (&fixture, "migrate-set-capabilities", settings_on));

  recovered = recover (fixture.session, left.directory);
  g_assert_true (qsnap_snapshot_get_sealed (recovered));
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);

  left_clear (&left);
  fixture_clear (&fixture);
}

/* As if the client had died right before the seal: the manifest's memory is the saver's word again,
 * and the rest of it is in the journal. */
static void
unseal (Left *left, const char *more)
{
  g_autofree char *sealed = g_build_filename (left->directory, "snapshot.json", NULL);
  g_autofree char *saved = g_build_filename (left->directory, "memory.json", NULL);
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autofree char *memory = NULL, *snapshot = NULL, *all = NULL;
  JsonObject *manifest;

  g_assert_true (json_parser_load_from_file (parser, sealed, NULL));
  manifest = json_node_get_object (json_parser_get_root (parser));
  memory = json_to_string (json_object_get_member (manifest, "memory"), FALSE);
  g_assert_true (g_file_set_contents (saved, memory, -1, NULL));
  json_object_remove_member (manifest, "memory");
  snapshot = json_to_string (json_parser_get_root (parser), FALSE);
  g_assert_cmpint (unlink (sealed), ==, 0);
  all = g_strdup_printf (",\"run-state\":\"paused\",\"snapshot\":%s%s", snapshot, more);
  write_journal (left, "saving", TRUE, "", all);
}

/* 7.2, where it took a plain migration. That it ended well shows in the run state for a moment
 * only; the journal keeps it. */
static void
try_paused (const char *more, gboolean sealed)
{
  Fixture fixture;
  Left left = { NULL };
  g_autoptr (QsnapSnapshot) taken = NULL;
  g_autoptr (QsnapSnapshot) recovered = NULL;
  g_autofree char *state = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_7_2, 1);
  fixture_open (&fixture);
  json_node_unref (fixture_execute (&fixture, "stop", NULL));
  taken = fixture_capture_well (&fixture, "taken");
  left.journal = fixture_path (&fixture, "taken/journal.json");
  left.directory = fixture_path (&fixture, "taken");
  unseal (&left, more);

  recovered = recover (fixture.session, left.directory);
  g_assert_cmpint (recovered != NULL, ==, sealed);
  g_assert_cmpint (g_file_test (left.directory, G_FILE_TEST_EXISTS), ==, sealed);
  if (sealed)
    g_assert_true (qsnap_snapshot_verify (recovered, NULL, NULL));
  state = mock_dup_run_state (fixture.mock);
  g_assert_cmpstr (state, ==, "paused");

  left_clear (&left);
  fixture_clear (&fixture);
}

static void
test_paused (void)
{
  try_paused (",\"qemu-version\":\"7.2.0\",\"stayed-paused\":true", TRUE);
  try_paused (",\"qemu-version\":\"7.2.0\"", FALSE);
}

/* --- refused ------------------------------------------------------------------------------- */

static char *
make_folder (void)
{
  char *folder = g_dir_make_tmp ("qsnap-test-recover-XXXXXX", NULL);

  g_assert_nonnull (folder);

  return folder;
}

static void
remove_folder (Left *left)
{
  const char *const command[] = { "rm", "-rf", left->folder, NULL };

  g_assert_true (g_spawn_sync (NULL, (char **)command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, NULL, NULL));
  left_clear (left);
}

static void
test_nothing (void)
{
  g_autofree char *folder = make_folder ();
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  g_autofree char *missing = g_build_filename (folder, "missing", NULL);
  Left left;

  leave (&left, folder);
  assert_recover_fails (session, left.directory, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                        "there is nothing to recover");
  assert_recover_fails (session, missing, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                        "there is nothing to recover");
  remove_folder (&left);
}

/* The client died before its first journal was there. */
static void
test_draft (void)
{
  g_autofree char *folder = make_folder ();
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  g_autofree char *draft = NULL;
  Left left;

  leave (&left, folder);
  draft = g_build_filename (left.directory, ".journal.json.new", NULL);
  g_assert_true (g_file_set_contents (draft, "{", -1, NULL));
  assert_recover_fails (session, left.directory, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                        "there is nothing to recover");
  g_assert_cmpint (rmdir (left.directory), ==, 0);
  remove_folder (&left);
}

static void
test_client_lives (void)
{
  g_autofree char *folder = make_folder ();
  g_autofree char *alive = g_strdup_printf (",\"client-pid\":%d,\"client-start\":%" G_GINT64_FORMAT,
                                            getpid (), qsnap_process_start_time (getpid ()));
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  Left left;
  int fd;

  leave (&left, folder);
  write_journal (&left, "saving", FALSE, "", alive);
  fd = open (left.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (flock (fd, LOCK_EX), ==, 0);
  assert_recover_fails (session, left.directory, QSNAP_ERROR, QSNAP_ERROR_BUSY, "under way");
  g_assert_true (g_file_test (left.journal, G_FILE_TEST_EXISTS));
  close (fd);

  /* It could not undo its capture, and has let go of it. */
  g_assert_null (recover (session, left.directory));
  remove_folder (&left);
}

static void
test_bad_journals (void)
{
  static const char *const bad[] = {
    "[]",
    "{",
    "{}",
    "{\"format\":\"qsnap-snapshot\"}",
    "{\"format\":\"qsnap-journal\",\"schema\":1}",
  };
  g_autofree char *folder = make_folder ();
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  Left left;

  leave (&left, folder);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_assert_true (g_file_set_contents (left.journal, bad[i], -1, NULL));
      assert_recover_fails (session, left.directory, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                            "journal.json");
    }

  write_journal (&left, "saving", FALSE, "", ",\"schema\":2");
  assert_recover_fails (session, left.directory, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "version");
  write_journal (&left, "saving", FALSE, "", ",\"id\":\"../../..\"");
  assert_recover_fails (session, left.directory, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "id");
  write_journal (&left, "saving", FALSE, "", ",\"capabilities\":[]");
  assert_recover_fails (session, left.directory, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "capabilities");

  g_assert_cmpint (unlink (left.journal), ==, 0);
  g_assert_cmpint (mkfifo (left.journal, 0600), ==, 0);
  assert_recover_fails (session, left.directory, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "journal.json");
  remove_folder (&left);
}

/* None of these may be merged or removed. */
static void
test_hostile_overlays (void)
{
  g_autofree char *folder = make_folder ();
  g_autofree char *victim = g_build_filename (folder, "victim", NULL);
  g_autofree char *around = g_strconcat (folder, "/x/../base.qsnap-" ID ".qcow2", NULL);
  g_autofree char *other = g_build_filename (folder, "base.qsnap-99999999.qcow2", NULL);
  const char *const hostile[] = { around, "base.qsnap-" ID ".qcow2" };
  /* A caller may have wanted these names. */
  const char *const doubtful[] = { victim, other, "/etc/passwd" };
  int code = qsnap_qemu_img_is_there (NULL) ? QSNAP_ERROR_FAILED : QSNAP_ERROR_UNSUPPORTED;
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  Left left;

  leave (&left, folder);
  g_assert_true (g_file_set_contents (victim, "x", 1, NULL));
  g_assert_true (g_file_set_contents (other, "x", 1, NULL));
  g_assert_true (g_file_set_contents (left.overlay, "x", 1, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (hostile); i++)
    {
      g_autofree char *overlay = describe_overlay (left.base, hostile[i]);

      write_journal (&left, "saving", FALSE, overlay, "");
      assert_recover_fails (session, left.directory, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "disks");
    }
  for (guint i = 0; i < G_N_ELEMENTS (doubtful); i++)
    {
      g_autofree char *overlay = describe_overlay (left.base, doubtful[i]);

      write_journal (&left, "saving", FALSE, overlay, "");
      assert_recover_fails (session, left.directory, QSNAP_ERROR, code, doubtful[i]);
    }
  g_assert_true (g_file_test (victim, G_FILE_TEST_EXISTS));
  g_assert_true (g_file_test (other, G_FILE_TEST_EXISTS));
  g_assert_true (g_file_test (left.overlay, G_FILE_TEST_EXISTS));
  g_assert_true (g_file_test ("/etc/passwd", G_FILE_TEST_EXISTS));
  remove_folder (&left);
}

/* --- QEMU is gone -------------------------------------------------------------------------- */

static gboolean
run_shell (Left *left, const char *command)
{
  const char *const words[] = { "sh", "-c", command, NULL };
  int status;

  return g_spawn_sync (left->folder, (char **)words, NULL,
                       G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
                           G_SPAWN_STDERR_TO_DEV_NULL,
                       NULL, NULL, NULL, NULL, &status, NULL) &&
         g_spawn_check_wait_status (status, NULL);
}

/* The guest has written sevens into the overlay. */
static gboolean
leave_images (Left *left, const char *folder)
{
  leave (left, folder);
  if (run_shell (left, "qemu-img create -q -f raw base.raw 1M && "
                       "qemu-img create -q -f qcow2 -F raw -b $PWD/base.raw base.qsnap-" ID
                       ".qcow2 && qemu-io -c 'write -P 7 64k 64k' base.qsnap-" ID ".qcow2"))
    return TRUE;

  g_test_skip ("no qemu-img, or no qemu-io");
  remove_folder (left);

  return FALSE;
}

static gboolean
is_merged (Left *left)
{
  return run_shell (left, "qemu-io -f raw -r -c 'read -P 7 64k 64k' base.raw | grep -q 'failed' "
                          "&& exit 1; exit 0");
}

typedef struct
{
  const char *name;
  /* By the shell, after the images were made. */
  const char *before;
  const char *more;
  int error; /* of QSNAP_ERROR, or -1 */
  gboolean merged;
} Offline;

static void
test_offline (gconstpointer data)
{
  const Offline *offline = data;
  g_autofree char *folder = make_folder ();
  g_autofree char *overlay = NULL;
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  Left left;

  if (!leave_images (&left, folder))
    return;

  if (offline->before != NULL)
    g_assert_true (run_shell (&left, offline->before));
  overlay = describe_overlay (left.base, left.overlay);
  write_journal (&left, "pausing", FALSE, overlay, offline->more);
  if (offline->error < 0)
    g_assert_null (recover (session, left.directory));
  else
    assert_recover_fails (session, left.directory, QSNAP_ERROR, offline->error, "base.");

  g_assert_cmpint (is_merged (&left), ==, offline->merged);
  g_assert_cmpint (g_file_test (left.overlay, G_FILE_TEST_EXISTS), ==, offline->error >= 0);
  g_assert_cmpint (g_file_test (left.journal, G_FILE_TEST_EXISTS), ==, offline->error >= 0);
  remove_folder (&left);
}

static const Offline offline_cases[] = {
  { "merge", NULL, "", -1, TRUE },
  /* It died after the merge, with the guest running on in the base. */
  { "again", "qemu-img commit -q -d base.qsnap-" ID ".qcow2; sleep 0.05; touch base.raw",
    ",\"undoing\":true", -1, TRUE },
  { "base-changed", "sleep 0.05; qemu-io -f raw -c 'write -P 9 0 64k' base.raw", "",
    QSNAP_ERROR_BLOCKED, FALSE },
  { "stands-on-it",
    "qemu-img create -q -f qcow2 -F qcow2 -b $PWD/base.qsnap-" ID
    ".qcow2 base.qsnap-11111111.qcow2",
    "", QSNAP_ERROR_BLOCKED, FALSE },
  { "another-base", "qemu-img rebase -u -F raw -b /dev/null base.qsnap-" ID ".qcow2", "",
    QSNAP_ERROR_CORRUPT, FALSE },
  { "link", "mv base.qsnap-" ID ".qcow2 x; ln -s x base.qsnap-" ID ".qcow2", "",
    QSNAP_ERROR_CORRUPT, FALSE },
};

/* Of two overlays one was merged with the guest running: it is old. */
static void
test_offline_merged_already (void)
{
  g_autofree char *folder = make_folder ();
  g_autofree char *overlay = NULL;
  g_autofree char *marked = NULL;
  g_autoptr (QsnapSession) session = qsnap_session_new (NULL);
  Left left;

  if (!leave_images (&left, folder))
    return;

  overlay = describe_overlay (left.base, left.overlay);
  overlay[strlen (overlay) - 1] = '\0';
  marked = g_strconcat (overlay, ",\"merged\":true}", NULL);
  write_journal (&left, "saving", FALSE, marked, ",\"undoing\":true");
  g_assert_null (recover (session, left.directory));
  g_assert_false (is_merged (&left));
  g_assert_false (g_file_test (left.overlay, G_FILE_TEST_EXISTS));
  remove_folder (&left);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);

  fixture_add ("/recover/undo", test_undo);
  fixture_add ("/recover/undo-leaves-run-state", test_undo_leaves_run_state);
  fixture_add ("/recover/settle-sealed", test_settle_sealed);
  g_test_add_func ("/recover/paused", test_paused);
  g_test_add_func ("/recover/nothing", test_nothing);
  g_test_add_func ("/recover/draft", test_draft);
  g_test_add_func ("/recover/client-lives", test_client_lives);
  g_test_add_func ("/recover/bad-journals", test_bad_journals);
  g_test_add_func ("/recover/hostile-overlays", test_hostile_overlays);
  for (guint i = 0; i < G_N_ELEMENTS (offline_cases); i++)
    {
      g_autofree char *path = g_strconcat ("/recover/offline/", offline_cases[i].name, NULL);

      g_test_add_data_func (path, &offline_cases[i], test_offline);
    }
  g_test_add_func ("/recover/offline/merged-already", test_offline_merged_already);

  return g_test_run ();
}
