/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot that was taken of the mock: loaded, listed, verified, exported, spoiled. */

#include "fixture.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static QsnapSnapshot *
load (Fixture *fixture, const char *name, GError **error)
{
  g_autoptr (GFile) directory = fixture_file (fixture, name);

  return qsnap_snapshot_load (directory, NULL, error);
}

static void
capture (Fixture *fixture, const char *name)
{
  g_object_unref (fixture_capture_well (fixture, name));
}

/* Flips a byte in the middle of the file. */
static void
spoil (const char *path)
{
  int fd = open (path, O_RDWR | O_CLOEXEC);
  guint8 byte;
  off_t middle;

  g_assert_cmpint (fd, >=, 0);
  middle = lseek (fd, 0, SEEK_END) / 2;
  g_assert_cmpint (pread (fd, &byte, 1, middle), ==, 1);
  byte ^= 1;
  g_assert_cmpint (pwrite (fd, &byte, 1, middle), ==, 1);
  close (fd);
}

/* --- what it says -------------------------------------------------------------------------- */

static void
check_disk (QsnapSnapshot *snapshot, Fixture *fixture)
{
  g_autoptr (QsnapDisk) disk = g_list_model_get_item (qsnap_snapshot_get_disks (snapshot), 0);
  g_autofree char *base = fixture_path (fixture, "a.raw");

  g_assert_cmpuint (g_list_model_get_n_items (qsnap_snapshot_get_disks (snapshot)), ==, 2);
  g_assert_cmpstr (qsnap_disk_get_device (disk), ==, "virtio0");
  g_assert_cmpstr (qsnap_disk_get_base (disk), ==, base);
  g_assert_cmpstr (qsnap_disk_get_format (disk), ==, "raw");
  g_assert_cmpuint (qsnap_disk_get_size (disk), ==, 1024 * 1024);
  g_assert_true (g_file_test (qsnap_disk_get_overlay (disk), G_FILE_TEST_IS_REGULAR));
}

static void
test_load (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  Fixture fixture;
  g_autoptr (QsnapSnapshot) taken = NULL, loaded = NULL;
  g_autoptr (JsonNode) taken_manifest = NULL, loaded_manifest = NULL;
  g_autoptr (GDateTime) time = NULL;
  g_autofree char *version = NULL, *machine = NULL, *guest = NULL, *uuid = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 2);
  fixture_open (&fixture);
  taken = fixture_capture_well (&fixture, "snapshot");
  loaded = load (&fixture, "snapshot", &error);
  g_assert_no_error (error);
  taken_manifest = qsnap_snapshot_dup_manifest (taken);
  loaded_manifest = qsnap_snapshot_dup_manifest (loaded);
  g_assert_true (json_node_equal (taken_manifest, loaded_manifest));
  g_assert_true (qsnap_snapshot_get_sealed (loaded));
  g_assert_cmpstr (qsnap_snapshot_get_name (loaded), ==, "snapshot");
  time = qsnap_snapshot_dup_time (loaded);
  g_assert_nonnull (time);
  version = qsnap_snapshot_dup_qemu_version (loaded);
  g_assert_cmpstr (version, ==, old ? "7.2.22" : "10.0.13");
  machine = qsnap_snapshot_dup_machine (loaded);
  g_assert_cmpstr (machine, ==, old ? "pc-q35-7.2" : "pc-q35-10.0");
  guest = qsnap_snapshot_dup_guest_name (loaded);
  g_assert_cmpstr (guest, ==, "mock-guest");
  uuid = qsnap_snapshot_dup_guest_uuid (loaded);
  g_assert_cmpstr (uuid, ==, "b9c4a1de-0d5c-4c0b-9d3a-6f1f2a3b4c5d");
  g_assert_cmpuint (qsnap_snapshot_get_memory_size (loaded), >, 4 * 1024 * 1024);
  g_assert_cmpuint (qsnap_snapshot_get_data_size (loaded), >, 0);
  g_assert_cmpint (qsnap_snapshot_get_pause_us (loaded), >, 0);
  g_assert_cmpint (qsnap_snapshot_get_stop_us (loaded), >=, 0);
  g_assert_cmpint (qsnap_snapshot_get_save_us (loaded), >, 0);
  check_disk (loaded, &fixture);
  g_assert_true (qsnap_snapshot_verify (loaded, NULL, &error));
  g_assert_no_error (error);
  fixture_clear (&fixture);
}

static void
test_permissions (void)
{
  static const char *const files[] = { "snapshot", "snapshot/ram", "snapshot/snapshot.json",
                                       "snapshot/state" };
  Fixture fixture;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  capture (&fixture, "snapshot");
  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autofree char *path = fixture_path (&fixture, files[i]);
      struct stat found;

      g_assert_cmpint (stat (path, &found), ==, 0);
      g_assert_cmpint (found.st_mode & 0777, ==, S_ISDIR (found.st_mode) ? 0700 : 0600);
    }
  fixture_clear (&fixture);
}

/* --- bases --------------------------------------------------------------------------------- */

static void
assert_corrupt (QsnapSnapshot *snapshot, const char *pattern)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  if (strstr (error->message, pattern) == NULL)
    g_error ("\"%s\" is not in: %s", pattern, error->message);
}

static void
test_changed_base (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *base = NULL, *moved = NULL, *copy = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 2);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  base = fixture_path (&fixture, "b.raw");
  moved = fixture_path (&fixture, "moved.raw");

  /* Replaced by another of the same size. */
  g_assert_cmpint (g_rename (base, moved), ==, 0);
  copy = fixture_make_image (&fixture, "b.raw", 1024 * 1024);
  assert_corrupt (snapshot, base);
  g_assert_cmpint (g_unlink (base), ==, 0);
  g_assert_false (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  g_assert_cmpint (g_rename (moved, base), ==, 0);
  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, NULL));

  spoil (base);
  assert_corrupt (snapshot, base);
  g_assert_cmpint (truncate (base, 1024), ==, 0);
  assert_corrupt (snapshot, "size");
  fixture_clear (&fixture);
}

/* --- memory -------------------------------------------------------------------------------- */

static void
collect_files (const char *folder, GPtrArray *files)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      char *path = g_build_filename (folder, name, NULL);

      if (g_file_test (path, G_FILE_TEST_IS_DIR))
        collect_files (path, files);
      g_ptr_array_add (files, path);
    }
}

/* 32 MiB: large enough for a file of its own. */
static void
set_up_large (Fixture *fixture)
{
  fixture_set_up (fixture, MOCK_STYLE_10, 0);
  mock_set_ram_size (fixture->mock, 32 * 1024 * 1024);
  fixture_open (fixture);
  capture (fixture, "snapshot");
}

static void
test_spoiled_files (void)
{
  Fixture fixture;
  g_autofree char *folder = NULL;
  g_autoptr (GPtrArray) files = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GError) error = NULL;

  set_up_large (&fixture);
  folder = fixture_path (&fixture, "snapshot");
  collect_files (folder, files);
  for (guint i = 0; i < files->len; i++)
    {
      const char *path = g_ptr_array_index (files, i);
      g_autoptr (QsnapSnapshot) snapshot = NULL;
      g_autoptr (GError) failure = NULL;

      if (g_file_test (path, G_FILE_TEST_IS_DIR))
        continue;
      spoil (path);
      snapshot = load (&fixture, "snapshot", &failure);
      if (snapshot != NULL)
        g_assert_false (qsnap_snapshot_verify (snapshot, NULL, &failure));
      g_test_message ("%s", failure->message);
      g_assert_error (failure, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
      spoil (path);
    }
  g_assert_cmpuint (files->len, >=, 4);
  g_object_unref (load (&fixture, "snapshot", &error));
  g_assert_no_error (error);
  fixture_clear (&fixture);
}

static void
test_export (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = NULL, *text = NULL;
  gsize length;
  int fd;

  set_up_large (&fixture);
  snapshot = load (&fixture, "snapshot", &error);
  g_assert_no_error (error);
  path = fixture_path (&fixture, "stream");
  fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  g_assert_true (qsnap_snapshot_export_stream (snapshot, fd, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (g_file_get_contents (path, &text, &length, NULL));
  g_assert_cmpmem (text, 8, "QEVM\0\0\0\3", 8);
  g_assert_cmpuint (length, >, qsnap_snapshot_get_data_size (snapshot));

  g_cancellable_cancel (cancellable);
  g_assert_false (qsnap_snapshot_export_stream (snapshot, fd, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
  close (fd);
  fd = open ("/dev/full", O_WRONLY | O_CLOEXEC);
  g_assert_false (qsnap_snapshot_export_stream (snapshot, fd, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NO_SPACE);
  close (fd);
  fixture_clear (&fixture);
}

/* --- list ---------------------------------------------------------------------------------- */

static void
make_file (Fixture *fixture, const char *name, const char *text)
{
  g_autofree char *path = fixture_path (fixture, name);

  g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static void
make_folder (Fixture *fixture, const char *name)
{
  g_autofree char *path = fixture_path (fixture, name);

  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
}

static void
test_list (void)
{
  Fixture fixture;
  g_autoptr (GFile) folder = NULL, missing = NULL;
  g_autoptr (GListModel) list = NULL;
  g_autoptr (QsnapSnapshot) first = NULL, second = NULL;
  g_autofree char *link = NULL, *fifo = NULL, *damaged = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  /* By time, not by name. */
  capture (&fixture, "z-first");
  capture (&fixture, "a-second");
  capture (&fixture, "damaged");
  damaged = fixture_path (&fixture, "damaged/snapshot.json");
  spoil (damaged);
  make_folder (&fixture, "empty");
  make_folder (&fixture, "foreign");
  make_file (&fixture, "foreign/snapshot.json", "{\"version\": 3}");
  make_folder (&fixture, "interrupted");
  make_file (&fixture, "interrupted/journal.json", "{}");
  make_folder (&fixture, "fifo");
  fifo = fixture_path (&fixture, "fifo/snapshot.json");
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  make_file (&fixture, "snapshot.json", "{}");
  link = fixture_path (&fixture, "link");
  g_assert_cmpint (symlink ("z-first", link), ==, 0);

  folder = g_file_new_for_path (mock_get_directory (fixture.mock));
  list = qsnap_snapshot_list (folder, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (g_list_model_get_n_items (list), ==, 2);
  first = g_list_model_get_item (list, 0);
  second = g_list_model_get_item (list, 1);
  g_assert_cmpstr (qsnap_snapshot_get_name (first), ==, "z-first");
  g_assert_cmpstr (qsnap_snapshot_get_name (second), ==, "a-second");

  missing = fixture_file (&fixture, "missing");
  g_assert_null (qsnap_snapshot_list (missing, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  g_clear_error (&error);
  g_assert_null (qsnap_snapshot_load (missing, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  fixture_clear (&fixture);
}

/* --- asynchronously ------------------------------------------------------------------------ */

static void
on_result (G_GNUC_UNUSED GObject *source, GAsyncResult *result, gpointer user_data)
{
  *(GAsyncResult **)user_data = g_object_ref (result);
}

static GAsyncResult *
wait_for (GAsyncResult **result)
{
  while (*result == NULL)
    g_main_context_iteration (NULL, TRUE);
  return g_steal_pointer (result);
}

static void
test_async (void)
{
  Fixture fixture;
  GAsyncResult *slot = NULL;
  g_autoptr (GAsyncResult) loaded = NULL, listed = NULL, verified = NULL, exported = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GListModel) list = NULL;
  g_autoptr (GFile) directory = NULL, parent = NULL;
  g_autoptr (GError) error = NULL;
  int fd = open ("/dev/null", O_WRONLY | O_CLOEXEC);

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  capture (&fixture, "snapshot");
  directory = fixture_file (&fixture, "snapshot");
  parent = g_file_get_parent (directory);
  qsnap_snapshot_load_async (directory, NULL, on_result, &slot);
  loaded = wait_for (&slot);
  snapshot = qsnap_snapshot_load_finish (loaded, &error);
  g_assert_no_error (error);
  qsnap_snapshot_list_async (parent, NULL, on_result, &slot);
  listed = wait_for (&slot);
  list = qsnap_snapshot_list_finish (listed, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (g_list_model_get_n_items (list), ==, 1);
  qsnap_snapshot_verify_async (snapshot, NULL, on_result, &slot);
  verified = wait_for (&slot);
  g_assert_true (qsnap_snapshot_verify_finish (snapshot, verified, &error));
  qsnap_snapshot_export_stream_async (snapshot, fd, NULL, on_result, &slot);
  exported = wait_for (&slot);
  g_assert_true (qsnap_snapshot_export_stream_finish (snapshot, exported, &error));
  close (fd);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/snapshot/load", test_load);
  g_test_add_func ("/snapshot/permissions", test_permissions);
  g_test_add_func ("/snapshot/changed-base", test_changed_base);
  g_test_add_func ("/snapshot/spoiled-files", test_spoiled_files);
  g_test_add_func ("/snapshot/export", test_export);
  g_test_add_func ("/snapshot/list", test_list);
  g_test_add_func ("/snapshot/async", test_async);
  return g_test_run ();
}
