/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting snapshots of the mock: whose guest runs, and whose guest does not. */

#include "fixture.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <utime.h>

#include "qsnap-json.h"
#include "qsnap-manifest.h"

static void
set_up (Fixture *fixture, gconstpointer style, guint n_drives)
{
  fixture_set_up (fixture, GPOINTER_TO_INT (style), n_drives);
  fixture_open (fixture);
}

static char *
overlay_of (QsnapSnapshot *snapshot, guint index)
{
  g_autoptr (QsnapDisk) disk = g_list_model_get_item (qsnap_snapshot_get_disks (snapshot), index);

  return g_strdup (qsnap_disk_get_overlay (disk));
}

static gboolean
is_there (Fixture *fixture, const char *name)
{
  g_autofree char *path = fixture_path (fixture, name);

  return g_file_test (path, G_FILE_TEST_EXISTS);
}

static void
delete_well (Fixture *fixture, QsnapSnapshot *snapshot)
{
  g_autoptr (GError) error = NULL;

  qsnap_session_delete_snapshot (fixture->session, snapshot, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (qsnap_snapshot_get_sealed (snapshot));
}

/* The message has each of the words, up to NULL. */
static void G_GNUC_NULL_TERMINATED
assert_refused (Fixture *fixture, QsnapSnapshot *snapshot, QsnapError code, ...)
{
  g_autofree char *before = fixture_describe (fixture);
  g_autofree char *after = NULL;
  g_autoptr (GError) error = NULL;
  const char *word;
  va_list words;

  g_assert_false (qsnap_session_delete_snapshot (fixture->session, snapshot, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, (int)code);
  va_start (words, code);
  while ((word = va_arg (words, const char *)) != NULL)
    if (strstr (error->message, word) == NULL)
      g_error ("no \"%s\" in: %s", word, error->message);
  va_end (words);
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  after = fixture_describe (fixture);
  g_assert_cmpstr (before, ==, after);
}

/* The snapshot again, as another program would find it. */
static QsnapSnapshot *
load (Fixture *fixture, const char *name, gboolean sealed)
{
  g_autoptr (GFile) directory = fixture_file (fixture, name);
  g_autoptr (GError) error = NULL;
  QsnapSnapshot *snapshot = qsnap_snapshot_load (directory, NULL, &error);

  g_assert_no_error (error);
  g_assert_true (qsnap_snapshot_get_sealed (snapshot) == sealed);
  return snapshot;
}

static guint
count_listed (Fixture *fixture)
{
  g_autoptr (GFile) parent = fixture_file (fixture, ".");
  g_autoptr (GListModel) list = qsnap_snapshot_list (parent, NULL, NULL);

  return g_list_model_get_n_items (list);
}

static void
write_qcow2 (Fixture *fixture, const char *name, const char *backing)
{
  g_autofree char *path = fixture_path (fixture, name);
  guint8 header[104] = "QFI\xfb\0\0\0\3";

  header[15] = sizeof header;
  header[19] = (guint8)strlen (backing);
  {
    g_autoptr (GByteArray) bytes = g_byte_array_new ();

    g_byte_array_append (bytes, header, sizeof header);
    g_byte_array_append (bytes, (const guint8 *)backing, (guint)strlen (backing));
    g_assert_true (g_file_set_contents (path, (char *)bytes->data, (gssize)bytes->len, NULL));
  }
}

/* --- a guest that runs --------------------------------------------------------------------- */

static void
test_newest_first (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) first = NULL, second = NULL;
  g_autofree char *before = NULL, *between = NULL, *after = NULL;

  set_up (&fixture, style, 2);
  before = fixture_describe (&fixture);
  first = fixture_capture_well (&fixture, "first");
  between = fixture_describe (&fixture);
  second = fixture_capture_well (&fixture, "second");

  fixture_forget_news (&fixture);
  delete_well (&fixture, second);
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, between);
  fixture_assert_phases (&fixture);
  g_assert_cmpint (g_array_index (fixture.phases, QsnapPhase, 1), ==, QSNAP_PHASE_MERGING);

  delete_well (&fixture, first);
  g_clear_pointer (&after, g_free);
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  g_assert_cmpstr (fixture.news->str, ==, "");
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

/* --- not the newest ------------------------------------------------------------------------- */

static char *
base_of (QsnapSnapshot *snapshot, guint index)
{
  g_autoptr (QsnapDisk) disk = g_list_model_get_item (qsnap_snapshot_get_disks (snapshot), index);

  return g_strdup (qsnap_disk_get_base (disk));
}

static void
assert_intact (Fixture *fixture, const char *name)
{
  g_autoptr (QsnapSnapshot) snapshot = load (fixture, name, TRUE);
  g_autoptr (GError) error = NULL;

  qsnap_snapshot_verify (snapshot, NULL, &error);
  g_assert_no_error (error);
}

static void
assert_stands_on (Fixture *fixture, const char *name, const char *parent, const char *base)
{
  g_autoptr (QsnapSnapshot) snapshot = load (fixture, name, TRUE);
  g_autofree char *found_parent = qsnap_snapshot_dup_parent_name (snapshot);
  g_autofree char *found = base_of (snapshot, 0);

  g_assert_cmpstr (found_parent, ==, parent);
  g_assert_cmpstr (found, ==, base);
  assert_intact (fixture, name);
}

/* The oldest, then one in the middle: what is left is whole, and in the end nothing is. */
static void
test_any (gconstpointer style)
{
  static const char *const names[] = { "first", "second", "third", "fourth" };
  Fixture fixture;
  QsnapSnapshot *snapshots[4];
  g_autoptr (QsnapSnapshot) left = NULL, last = NULL;
  g_autofree char *before = NULL, *after = NULL, *base = NULL, *middle = NULL, *top = NULL;

  set_up (&fixture, style, 2);
  before = fixture_describe (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    snapshots[i] = fixture_capture_well (&fixture, names[i]);
  base = fixture_path (&fixture, "a.raw");
  middle = overlay_of (snapshots[1], 0);
  top = overlay_of (snapshots[2], 0);

  delete_well (&fixture, snapshots[0]);
  fixture_assert_graph_whole (&fixture);
  assert_stands_on (&fixture, "second", NULL, base);
  assert_stands_on (&fixture, "third", "second", middle);
  assert_stands_on (&fixture, "fourth", "third", top);

  delete_well (&fixture, snapshots[2]);
  fixture_assert_graph_whole (&fixture);
  assert_stands_on (&fixture, "second", NULL, base);
  assert_stands_on (&fixture, "fourth", "second", middle);

  last = load (&fixture, "fourth", TRUE);
  delete_well (&fixture, last);
  left = load (&fixture, "second", TRUE);
  delete_well (&fixture, left);
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  fixture_assert_no_complaints (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_object_unref (snapshots[i]);
  fixture_clear (&fixture);
}

/* What sees the disk as the deleted one has it cannot follow. */
static void
test_branch (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) first = NULL;
  g_autofree char *overlay = NULL, *other = NULL;

  set_up (&fixture, style, 1);
  first = fixture_capture_well (&fixture, "first");
  g_object_unref (fixture_capture_well (&fixture, "second"));
  overlay = overlay_of (first, 0);
  write_qcow2 (&fixture, "revert.qcow2", "a.raw");
  assert_refused (&fixture, first, QSNAP_ERROR_BLOCKED, "revert.qcow2 stands on", NULL);
  write_qcow2 (&fixture, "revert.qcow2", overlay);
  assert_refused (&fixture, first, QSNAP_ERROR_BLOCKED, "revert.qcow2 stands on", NULL);
  other = fixture_path (&fixture, "revert.qcow2");
  g_assert_cmpint (g_unlink (other), ==, 0);
  delete_well (&fixture, first);
  fixture_clear (&fixture);
}

/* As of a guest that was brought back from the first: not on what the guest wrote since. */
static void
test_branch_snapshot (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) first = NULL;
  g_autoptr (JsonObject) read = NULL, manifest = NULL;
  g_autofree char *folder = NULL, *image = NULL, *below = NULL;
  JsonArray *chain = json_array_new ();
  JsonObject *base;
  int dir_fd;

  set_up (&fixture, style, 1);
  first = fixture_capture_well (&fixture, "first");
  g_object_unref (fixture_capture_well (&fixture, "second"));
  write_qcow2 (&fixture, "branch.qcow2", "nothing-of-ours");
  folder = fixture_path (&fixture, "second");
  image = fixture_path (&fixture, "branch.qcow2");
  below = fixture_path (&fixture, "a.raw");
  dir_fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  read = qsnap_manifest_read (dir_fd, NULL);
  manifest = qsnap_json_copy_object (read);
  base = qsnap_json_get_object (
      qsnap_json_array_object (qsnap_json_get_array (manifest, "disks"), 0), "base");
  json_object_set_string_member (base, "file", image);
  json_array_add_string_element (chain, below);
  json_object_set_array_member (base, "chain", chain);
  g_assert_true (qsnap_manifest_write (dir_fd, manifest, NULL));
  close (dir_fd);
  assert_refused (&fixture, first, QSNAP_ERROR_BLOCKED, "snapshot second", "stands on", below,
                  NULL);
  fixture_clear (&fixture);
}

/* A later one whose base is not what it was, or that is brought back at this moment. */
static void
test_heirs (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) first = NULL;
  g_autofree char *path = NULL, *overlay = NULL, *manifest = NULL, *deleted = NULL;
  int fd;

  set_up (&fixture, style, 1);
  first = fixture_capture_well (&fixture, "first");
  g_object_unref (fixture_capture_well (&fixture, "second"));
  path = fixture_path (&fixture, "second");
  fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (flock (fd, LOCK_SH), ==, 0);
  assert_refused (&fixture, first, QSNAP_ERROR_BLOCKED, "snapshot second", NULL);
  close (fd);

  manifest = fixture_path (&fixture, "second/snapshot.json");
  deleted = fixture_path (&fixture, "second/deleted.json");
  g_assert_cmpint (g_rename (manifest, deleted), ==, 0);
  assert_refused (&fixture, first, QSNAP_ERROR_BLOCKED, "snapshot second", NULL);
  g_assert_cmpint (g_rename (deleted, manifest), ==, 0);

  overlay = overlay_of (first, 0);
  g_assert_cmpint (g_utime (overlay, NULL), ==, 0);
  assert_refused (&fixture, first, QSNAP_ERROR_BLOCKED, "snapshot second", NULL);
  fixture_clear (&fixture);
}

/* Each command fails once; whatever is left then, deleting it again does the rest, and the later
 * one is whole. */
static void
test_any_faults (gconstpointer style)
{
  static const char *const commands[] = { "block-commit", "job-finalize", "job-dismiss",
                                          "blockdev-del", "remove-fd" };

  for (guint i = 0; i < 2 * G_N_ELEMENTS (commands); i++)
    {
      const char *command = commands[i / 2];
      Fixture fixture;
      g_autoptr (QsnapSnapshot) first = NULL;
      g_autofree char *base = NULL;
      guint n;

      set_up (&fixture, style, 2);
      first = fixture_capture_well (&fixture, "first");
      g_object_unref (fixture_capture_well (&fixture, "second"));
      n = 1 + i % 2 + mock_count_command (fixture.mock, command);
      g_test_message ("%s %u fails", command, n);
      mock_fail_command (fixture.mock, command, n, "GenericError", "broken on purpose");
      qsnap_session_delete_snapshot (fixture.session, first, NULL, NULL);
      fixture_assert_graph_whole (&fixture);
      if (is_there (&fixture, "first"))
        {
          g_autoptr (QsnapSnapshot) again =
              load (&fixture, "first", qsnap_snapshot_get_sealed (first));

          delete_well (&fixture, again);
        }
      base = fixture_path (&fixture, "a.raw");
      assert_stands_on (&fixture, "second", NULL, base);
      fixture_clear (&fixture);
    }
}

static void
on_deleted (GObject *source, GAsyncResult *async, gpointer user_data)
{
  FixtureResult *result = user_data;

  result->done = TRUE;
  if (QSNAP_IS_SESSION (source))
    qsnap_session_delete_snapshot_finish (QSNAP_SESSION (source), async, &result->error);
  else
    qsnap_snapshot_delete_finish (QSNAP_SNAPSHOT (source), async, &result->error);
}

static void
test_async (gconstpointer style)
{
  Fixture fixture;
  FixtureResult result = { 0 };
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *before = NULL, *after = NULL;

  set_up (&fixture, style, 1);
  before = fixture_describe (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  qsnap_session_delete_snapshot_async (fixture.session, snapshot, NULL, on_deleted, &result);
  fixture_wait_result (&result);
  g_assert_no_error (result.error);
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);

  memset (&result, 0, sizeof result);
  qsnap_snapshot_delete_async (snapshot, NULL, on_deleted, &result);
  fixture_wait_result (&result);
  g_assert_error (result.error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  fixture_result_clear (&result);
  fixture_clear (&fixture);
}

static void
test_no_disks (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  set_up (&fixture, style, 0);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  delete_well (&fixture, snapshot);
  g_assert_false (is_there (&fixture, "snapshot"));
  fixture_clear (&fixture);
}

/* --- refusals ------------------------------------------------------------------------------ */

static void
test_images (gconstpointer style)
{
  static const char *const names[] = { "a.raw", "./a.raw", "file:a.raw", "%s/a.raw",
                                       "json:{\"file\": \"%s/a.raw\"}" };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *other = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_auto (GStrv) parts = g_strsplit (names[i], "%s", -1);
      g_autofree char *backing = g_strjoinv (mock_get_directory (fixture.mock), parts);
      g_autofree char *path = fixture_path (&fixture, "other.img");

      write_qcow2 (&fixture, "other.img", backing);
      assert_refused (&fixture, snapshot, QSNAP_ERROR_BLOCKED, "other.img stands on", NULL);
      g_assert_cmpint (g_unlink (path), ==, 0);
    }

  /* One that stands on something else, and what only looks like one. */
  write_qcow2 (&fixture, "other.img", "another.raw");
  other = fixture_path (&fixture, "short.img");
  g_assert_true (g_file_set_contents (other, "QFI\xfb", 4, NULL));
  delete_well (&fixture, snapshot);
  fixture_clear (&fixture);
}

static void
test_damaged_neighbour (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *folder = NULL, *file = NULL, *text = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  folder = fixture_path (&fixture, "damaged");
  g_assert_cmpint (g_mkdir (folder, 0700), ==, 0);
  file = g_build_filename (folder, "snapshot.json", NULL);
  text = g_strdup_printf ("{\"base\": \"%s/a.raw\"", mock_get_directory (fixture.mock));
  g_assert_true (g_file_set_contents (file, text, -1, NULL));
  assert_refused (&fixture, snapshot, QSNAP_ERROR_BLOCKED, "damaged/snapshot.json is damaged",
                  NULL);
  g_assert_true (g_file_set_contents (file, "{\"base\": \"/another.raw\"", -1, NULL));
  delete_well (&fixture, snapshot);
  fixture_clear (&fixture);
}

static void
test_base_changed (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *base = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  base = fixture_path (&fixture, "a.raw");
  g_assert_cmpint (g_utime (base, NULL), ==, 0);
  assert_refused (&fixture, snapshot, QSNAP_ERROR_BLOCKED, "a.raw changed since", NULL);
  fixture_clear (&fixture);
}

static void
check_busy (gconstpointer style, const char *command, const char *reply, const char *word)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  mock_set_reply (fixture.mock, command, reply);
  assert_refused (&fixture, snapshot, QSNAP_ERROR_BUSY, word, NULL);
  fixture_clear (&fixture);
}

static void
test_busy (gconstpointer style)
{
  check_busy (style, "query-jobs",
              "[{\"id\": \"mirror\", \"type\": \"mirror\", \"status\": \"running\", "
              "\"current-progress\": 0, \"total-progress\": 0}]",
              "block job mirror");
  check_busy (style, "query-migrate", "{\"status\": \"active\"}", "is under way");
}

static void
test_locked (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *path = NULL;
  int fd;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  path = fixture_path (&fixture, "snapshot");
  fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (flock (fd, LOCK_SH), ==, 0);
  assert_refused (&fixture, snapshot, QSNAP_ERROR_BUSY, "somebody else", NULL);
  close (fd);
  delete_well (&fixture, snapshot);
  fixture_clear (&fixture);
}

/* A manifest names what is removed. */
static void
test_forged (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *overlay = NULL, *victim = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  overlay = overlay_of (snapshot, 0);
  victim = fixture_make_image (&fixture, "victim", 4096);
  g_assert_cmpint (g_unlink (overlay), ==, 0);
  g_assert_cmpint (symlink (victim, overlay), ==, 0);
  g_assert_false (qsnap_snapshot_delete (snapshot, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_true (is_there (&fixture, "victim"));
  fixture_clear (&fixture);
}

/* --- cancel, faults ------------------------------------------------------------------------ */

static void
cancel_at (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
}

/* The base was not written, so the snapshot is whole. */
static void
test_cancel (gconstpointer style)
{
  static const char *const commands[] = { "query-block", "block-commit", "job-complete" };

  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    {
      Fixture fixture;
      g_autoptr (QsnapSnapshot) snapshot = NULL;
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();
      g_autofree char *before = NULL, *after = NULL;
      g_autoptr (GError) error = NULL;

      set_up (&fixture, style, 2);
      snapshot = fixture_capture_well (&fixture, "snapshot");
      before = fixture_describe (&fixture);
      mock_set_job_delay (fixture.mock, 50);
      mock_on_command (fixture.mock, commands[i], cancel_at, cancellable);
      g_assert_false (
          qsnap_session_delete_snapshot (fixture.session, snapshot, cancellable, &error));
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      after = fixture_describe (&fixture);
      g_assert_cmpstr (after, ==, before);
      g_assert_true (qsnap_snapshot_get_sealed (snapshot));
      g_assert_cmpuint (count_listed (&fixture), ==, 1);
      delete_well (&fixture, snapshot);
      fixture_clear (&fixture);
    }
}

typedef struct
{
  const char *command;
  guint nth;
  /* What a failure at it leaves: the snapshot, or one that is deleted in part. */
  gboolean whole;
} Fault;

/* For the second of two disks all later ones leave half of a snapshot. */
static const Fault faults[] = {
  { "query-migrate", 0, TRUE }, { "block-commit", 1, TRUE },  { "block-commit", 2, FALSE },
  { "job-complete", 1, TRUE },  { "job-complete", 2, FALSE }, { "job-finalize", 1, TRUE },
  { "job-finalize", 2, FALSE }, { "job-dismiss", 1, FALSE },  { "blockdev-del", 1, FALSE },
  { "remove-fd", 1, FALSE },
};

static void
fail_and_repeat (gconstpointer style, const Fault *fault, gboolean lost)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL, again = NULL;
  g_autofree char *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;
  guint n;

  set_up (&fixture, style, 2);
  before = fixture_describe (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  n = fault->nth > 0 ? fault->nth + mock_count_command (fixture.mock, fault->command) : 0;
  if (lost)
    {
      qsnap_session_set_timeout (fixture.session, 300);
      mock_drop_reply (fixture.mock, fault->command, n);
    }
  else
    mock_fail_command (fixture.mock, fault->command, n, "GenericError", "broken on purpose");
  if (fault->nth == 0)
    {
      g_assert_false (qsnap_session_delete_snapshot (fixture.session, snapshot, NULL, &error));
      g_assert_nonnull (error);
      fixture_clear (&fixture);
      return;
    }

  qsnap_session_set_timeout (fixture.session, lost ? 300 : 10000);
  qsnap_session_delete_snapshot (fixture.session, snapshot, NULL, &error);
  fixture_assert_graph_whole (&fixture);
  if (error != NULL && fault->whole && !lost)
    g_assert_true (qsnap_snapshot_get_sealed (snapshot));

  qsnap_session_set_timeout (fixture.session, 10000);
  if (is_there (&fixture, "snapshot"))
    {
      g_assert_nonnull (error);
      again = load (&fixture, "snapshot", qsnap_snapshot_get_sealed (snapshot));
      delete_well (&fixture, again);
    }
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  fixture_clear (&fixture);
}

static void
test_faults (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (faults); i++)
    {
      g_test_message ("%s %u fails", faults[i].command, faults[i].nth);
      fail_and_repeat (style, &faults[i], FALSE);
    }
}

static void
test_lost_replies (gconstpointer style)
{
  for (guint i = 1; i < G_N_ELEMENTS (faults); i++)
    {
      g_test_message ("no answer to %s %u", faults[i].command, faults[i].nth);
      fail_and_repeat (style, &faults[i], TRUE);
    }
}

static void
test_job_fails (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  before = fixture_describe (&fixture);
  mock_fail_job (fixture.mock, "commit", "No space left on device");
  g_assert_false (qsnap_session_delete_snapshot (fixture.session, snapshot, NULL, &error));
  g_assert_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC);
  g_assert_nonnull (strstr (error->message, "No space left"));
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  delete_well (&fixture, snapshot);
  fixture_clear (&fixture);
}

/* The connection ends while the job is pending: the next deletion takes it up. */
static void
test_disconnect (gconstpointer style)
{
  static const char *const commands[] = { "block-commit", "job-complete", "job-finalize",
                                          "blockdev-del" };

  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    for (int when = MOCK_DISCONNECT_BEFORE; when <= MOCK_DISCONNECT_AFTER; when++)
      {
        Fixture fixture;
        g_autoptr (QsnapSnapshot) snapshot = NULL;
        g_autofree char *before = NULL, *after = NULL;
        g_autoptr (GError) error = NULL;

        set_up (&fixture, style, 1);
        before = fixture_describe (&fixture);
        snapshot = fixture_capture_well (&fixture, "snapshot");
        mock_disconnect_at (fixture.mock, commands[i],
                            1 + mock_count_command (fixture.mock, commands[i]),
                            (MockDisconnect)when);
        g_assert_false (qsnap_session_delete_snapshot (fixture.session, snapshot, NULL, &error));
        g_clear_error (&error);
        fixture_assert_graph_whole (&fixture);

        qsnap_session_close (fixture.session);
        qsnap_session_open (fixture.session, NULL, &error);
        g_assert_no_error (error);
        g_assert_true (is_there (&fixture, "snapshot"));
        delete_well (&fixture, snapshot);
        after = fixture_describe (&fixture);
        g_assert_cmpstr (after, ==, before);
        fixture_clear (&fixture);
      }
}

/* --- a guest that does not run ------------------------------------------------------------- */

static void
test_overlay_gone (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *overlay = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  overlay = overlay_of (snapshot, 0);
  g_assert_cmpint (g_unlink (overlay), ==, 0);
  qsnap_snapshot_delete (snapshot, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (is_there (&fixture, "snapshot"));
  g_assert_true (is_there (&fixture, "a.raw"));
  fixture_clear (&fixture);
}

/* As a deletion that died left it: any other name of the manifest, and a journal or none. */
static void
test_half_deleted (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL, half = NULL;
  g_autofree char *manifest = NULL, *deleted = NULL, *overlay = NULL, *foreign = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  overlay = overlay_of (snapshot, 0);
  manifest = fixture_path (&fixture, "snapshot/snapshot.json");
  deleted = fixture_path (&fixture, "snapshot/deleted.json");
  g_assert_cmpint (g_rename (manifest, deleted), ==, 0);
  g_assert_cmpuint (count_listed (&fixture), ==, 0);
  half = load (&fixture, "snapshot", FALSE);
  g_assert_false (qsnap_snapshot_verify (half, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_assert_nonnull (strstr (error->message, "deleted"));
  g_clear_error (&error);

  /* Somebody's file is not removed with it. */
  foreign = fixture_path (&fixture, "snapshot/notes.txt");
  g_assert_true (g_file_set_contents (foreign, "mine", -1, NULL));
  g_assert_cmpint (g_unlink (overlay), ==, 0);
  qsnap_snapshot_delete (half, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (is_there (&fixture, "snapshot/notes.txt"));
  g_assert_false (is_there (&fixture, "snapshot/deleted.json"));
  g_assert_false (is_there (&fixture, "snapshot/ram"));
  fixture_clear (&fixture);
}

static void
test_damaged_journal (gconstpointer style)
{
  static const char *const texts[] = {
    "", "[", "{}", "{\"format\": \"qsnap-deletion\", \"schema\": 1, \"disks\": []}",
    "{\"format\": \"qsnap-deletion\", \"schema\": 1, \"disks\": [{\"state\": \"merged\"}]}"
  };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *manifest = NULL, *deleted = NULL, *journal = NULL;

  set_up (&fixture, style, 1);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  manifest = fixture_path (&fixture, "snapshot/snapshot.json");
  deleted = fixture_path (&fixture, "snapshot/deleted.json");
  journal = fixture_path (&fixture, "snapshot/deleting.json");
  g_assert_cmpint (g_rename (manifest, deleted), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_true (g_file_set_contents (journal, texts[i], -1, NULL));
      g_assert_false (qsnap_session_delete_snapshot (fixture.session, snapshot, NULL, &error));
      g_assert_nonnull (error);
      g_assert_true (is_there (&fixture, "snapshot/deleted.json"));
    }
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);

  fixture_add ("/delete/newest-first", test_newest_first);
  fixture_add ("/delete/any", test_any);
  fixture_add ("/delete/branch", test_branch);
  fixture_add ("/delete/branch-snapshot", test_branch_snapshot);
  fixture_add ("/delete/heirs", test_heirs);
  fixture_add ("/delete/any-faults", test_any_faults);
  fixture_add ("/delete/async", test_async);
  fixture_add ("/delete/no-disks", test_no_disks);
  fixture_add ("/delete/images", test_images);
  fixture_add ("/delete/damaged-neighbour", test_damaged_neighbour);
  fixture_add ("/delete/base-changed", test_base_changed);
  fixture_add ("/delete/busy", test_busy);
  fixture_add ("/delete/locked", test_locked);
  fixture_add ("/delete/forged", test_forged);
  fixture_add ("/delete/cancel", test_cancel);
  fixture_add ("/delete/faults", test_faults);
  fixture_add ("/delete/lost-replies", test_lost_replies);
  fixture_add ("/delete/job-fails", test_job_fails);
  fixture_add ("/delete/disconnect", test_disconnect);
  fixture_add ("/delete/overlay-gone", test_overlay_gone);
  fixture_add ("/delete/half-deleted", test_half_deleted);
  fixture_add ("/delete/damaged-journal", test_damaged_journal);

  return g_test_run ();
}
