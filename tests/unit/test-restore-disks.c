/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a revert's disks stand on, for each mode in which they were captured. */

#include "modes-case.h"
#include "mock-process.h"

#include <glib/gstdio.h>
#include <string.h>

#define ANONYMOUS "memory-backend-ram"
#define DISK_SIZE (1024 * 1024)

/* --- qemu-img ------------------------------------------------------------------------------ */

/* Of what it is told the words are kept, each with a "|" behind it. What is inside an image the
 * mock's images have not: there an empty one is made. */
#define SCRIPT                                                                                     \
  "#!/bin/sh\n"                                                                                    \
  "printf '%%s|' \"$@\" >> '%s'\n"                                                                 \
  "echo >> '%s'\n"                                                                                 \
  "if [ \"$1\" = convert ]; then\n"                                                                \
  "  for last; do :; done\n"                                                                       \
  "  exec '%s' create -q -f qcow2 \"$last\" 1M\n"                                                  \
  "fi\n"                                                                                           \
  "exec '%s' \"$@\"\n"

/* FALSE, and the test is skipped, where there is none. */
static gboolean
put_before_qemu_img (Fixture *fixture)
{
  g_autofree char *real = g_find_program_in_path ("qemu-img");
  g_autofree char *folder = fixture_path (fixture, "bin");
  g_autofree char *fake = fixture_path (fixture, "bin/qemu-img");
  g_autofree char *log = fixture_path (fixture, "qemu-img.log");
  g_autofree char *text = NULL, *path = NULL;

  if (real == NULL)
    {
      g_test_skip ("no qemu-img");
      return FALSE;
    }
  text = g_strdup_printf (SCRIPT, log, log, real, real);
  g_assert_cmpint (g_mkdir (folder, 0700), ==, 0);
  g_assert_true (g_file_set_contents_full (fake, text, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL));
  path = g_strconcat (folder, ":", g_getenv ("PATH"), NULL);
  g_setenv ("PATH", path, TRUE);
  return TRUE;
}

static void
assert_qemu_img (Fixture *fixture, const char *words)
{
  g_autofree char *log = fixture_path (fixture, "qemu-img.log");
  g_autofree char *text = NULL;

  g_assert_true (g_file_get_contents (log, &text, NULL, NULL));
  if (strstr (text, words) == NULL)
    g_error ("qemu-img was not told %s: %s", words, text);
}

/* --- a revert ------------------------------------------------------------------------------ */

typedef struct
{
  Fixture fixture;
  char *path;
  char *image, *below;
  QsnapSnapshotOptions *options;
  QsnapSnapshot *snapshot;
  QsnapSession *session;
} Revert;

/* The guest's image stands on another. */
static void
set_up (Revert *revert, gconstpointer style)
{
  Fixture *fixture = &revert->fixture;

  memset (revert, 0, sizeof *revert);
  revert->path = g_strdup (g_getenv ("PATH"));
  process_set_up (fixture, GPOINTER_TO_INT (style), 0);
  revert->image = fixture_path (fixture, "a.qcow2");
  mock_make_qcow2 (revert->image, DISK_SIZE, NULL, NULL);
  revert->below = fixture_make_image (fixture, "below.raw", DISK_SIZE);
  mock_add_drive (fixture->mock, "virtio0", NULL, "disk0", "qcow2", revert->image);
  mock_add_backing (fixture->mock, "disk0", "raw", revert->below);
  fixture_open (fixture);
}

static void
capture (Revert *revert, QsnapDiskOptions *disk)
{
  g_autoptr (GError) error = NULL;

  revert->options =
      modes_options (&revert->fixture, QSNAP_SNAPSHOT_MODE_INSTANT, QSNAP_DISK_MODE_OVERLAY);
  qsnap_snapshot_options_add_disk (revert->options, disk);
  revert->snapshot = modes_capture (&revert->fixture, revert->options, &error);
  g_assert_no_error (error);
}

static void
capture_in (Revert *revert, QsnapDiskMode mode)
{
  g_autoptr (QsnapDiskOptions) disk = qsnap_disk_options_new ("disk0", mode);

  capture (revert, disk);
}

static QsnapRestoreOptions *
restore_options (Revert *revert)
{
  QsnapRestoreOptions *options =
      process_options (&revert->fixture, QSNAP_RESTORE_METHOD_LOAD, ANONYMOUS, 0);
  g_auto (GStrv) command = qsnap_restore_options_dup_command (options);
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_auto (GStrv) longer = NULL;

  g_strv_builder_addv (builder, (const char **)command);
  g_strv_builder_add (builder, "-drive");
  process_add (builder, "file=%s,format=qcow2,if=none,id=virtio0", revert->image);
  g_strv_builder_add_many (builder, "-device", "virtio-blk-pci,drive=virtio0", NULL);
  longer = g_strv_builder_end (builder);
  qsnap_restore_options_set_command (options, (const char *const *)longer);
  return options;
}

static void
restore (Revert *revert)
{
  g_autoptr (QsnapRestoreOptions) options = restore_options (revert);

  revert->session = process_restore_well (&revert->fixture, revert->snapshot, options);
}

static void
clear (Revert *revert)
{
  if (revert->session != NULL)
    process_quit (&revert->fixture, revert->session);
  process_clear (&revert->fixture);
  g_setenv ("PATH", revert->path, TRUE);
  g_clear_object (&revert->options);
  g_clear_object (&revert->snapshot);
  g_free (revert->path);
  g_free (revert->image);
  g_free (revert->below);
}

/* "qcow2 /a.qcow2": what the one disk of the guest stands on. */
static void
assert_stands_on (Revert *revert, const char *base)
{
  g_autofree char *found =
      process_join_report (&revert->fixture, qsnap_session_get_pid (revert->session), "drive");
  const char *folder = g_file_peek_path (qsnap_session_get_restore_directory (revert->session));
  g_autofree char *expected = g_strdup_printf ("virtio0 %s/disk0.qcow2 on %s", folder, base);

  g_assert_cmpstr (found, ==, expected);
}

/* --- each mode ----------------------------------------------------------------------------- */

/* The guest's own image: as it was, or as it is now. */
static void
try_own_image (gconstpointer style, QsnapDiskMode mode)
{
  Revert revert;
  g_autofree char *base = NULL;

  set_up (&revert, style);
  capture_in (&revert, mode);
  restore (&revert);
  base = g_strconcat ("qcow2 ", revert.image, NULL);
  assert_stands_on (&revert, base);
  clear (&revert);
}

static void
test_overlay (gconstpointer style)
{
  try_own_image (style, QSNAP_DISK_MODE_OVERLAY);
}

/* Its header may say wrong where its own backing file is. */
static void
test_clone (gconstpointer style)
{
  Revert revert;
  g_autofree char *base = NULL, *own = NULL;

  set_up (&revert, style);
  capture_in (&revert, QSNAP_DISK_MODE_CLONE);
  restore (&revert);
  own = fixture_path (&revert.fixture, "snapshot/disks/disk0.qcow2");
  base = g_strdup_printf ("qcow2 json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
                          "\"filename\":\"%s\"},\"backing\":{\"driver\":\"raw\",\"file\":{"
                          "\"driver\":\"file\",\"filename\":\"%s\"}}}",
                          own, revert.below);
  assert_stands_on (&revert, base);
  clear (&revert);
}

/* It stands alone: with the guest's images gone, and in another place. */
static void
test_moved_copy (gconstpointer style)
{
  Revert revert;
  g_autofree char *base = NULL, *own = NULL, *before = NULL, *after = NULL;
  g_autoptr (GFile) moved = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&revert, style);
  capture_in (&revert, QSNAP_DISK_MODE_COPY);
  before = fixture_path (&revert.fixture, "snapshot");
  after = fixture_path (&revert.fixture, "moved");
  g_assert_cmpint (g_rename (before, after), ==, 0);
  g_assert_cmpint (g_unlink (revert.image), ==, 0);
  g_assert_cmpint (g_unlink (revert.below), ==, 0);
  g_clear_object (&revert.snapshot);
  moved = fixture_file (&revert.fixture, "moved");
  revert.snapshot = qsnap_snapshot_load (moved, NULL, &error);
  g_assert_no_error (error);
  restore (&revert);
  own = fixture_path (&revert.fixture, "moved/disks/disk0.qcow2");
  base = g_strconcat ("qcow2 ", own, NULL);
  assert_stands_on (&revert, base);
  clear (&revert);
}

static void
test_copy_in_options (gconstpointer style)
{
  Revert revert;
  g_autoptr (QsnapDiskOptions) disk = qsnap_disk_options_new ("disk0", QSNAP_DISK_MODE_COPY);
  g_autofree char *path = NULL, *text = NULL, *base = NULL;
  g_autoptr (JsonNode) target = NULL;

  set_up (&revert, style);
  path = fixture_make_image (&revert.fixture, "target", DISK_SIZE);
  text = g_strdup_printf ("{\"driver\":\"file\",\"filename\":\"%s\"}", path);
  target = json_from_string (text, NULL);
  qsnap_disk_options_set_target (disk, target);
  capture (&revert, disk);
  restore (&revert);
  base = g_strdup_printf ("raw json:{\"driver\":\"raw\",\"file\":%s}", text);
  assert_stands_on (&revert, base);
  clear (&revert);
}

/* Copied out, and standing on nothing. */
static void
test_internal (gconstpointer style)
{
  Revert revert;
  g_autofree char *name = NULL, *words = NULL;

  set_up (&revert, style);
  capture_in (&revert, QSNAP_DISK_MODE_INTERNAL);
  if (put_before_qemu_img (&revert.fixture))
    {
      const char *folder;

      restore (&revert);
      folder = g_file_peek_path (qsnap_session_get_restore_directory (revert.session));
      name = modes_dup_member (revert.snapshot, "disks.0.base.snapshot");
      words = g_strdup_printf (
          "convert|-q|-U|-f|qcow2|-l|snapshot.name=%s|-O|qcow2|%s|%s/disk0.qcow2|\n", name,
          revert.image, folder);
      assert_qemu_img (&revert.fixture, words);
    }
  clear (&revert);
}

static void
test_exclude (gconstpointer style)
{
  try_own_image (style, QSNAP_DISK_MODE_EXCLUDE);
}

/* --- one that is not there any more -------------------------------------------------------- */

static void
try_missing (gconstpointer style, QsnapDiskMode mode, const char *file)
{
  Revert revert;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autofree char *path = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&revert, style);
  capture_in (&revert, mode);
  path = fixture_path (&revert.fixture, file);
  g_assert_cmpint (g_unlink (path), ==, 0);
  options = restore_options (&revert);
  g_assert_null (qsnap_snapshot_restore (revert.snapshot, options, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, path));
  g_clear_error (&error);
  g_assert_false (qsnap_snapshot_verify (revert.snapshot, NULL, &error));
  g_assert_nonnull (strstr (error->message, path));
  process_assert_all_gone (&revert.fixture);
  clear (&revert);
}

static void
test_missing (gconstpointer style)
{
  try_missing (style, QSNAP_DISK_MODE_CLONE, "snapshot/disks/disk0.qcow2");
  try_missing (style, QSNAP_DISK_MODE_COPY, "snapshot/disks/disk0.qcow2");
  try_missing (style, QSNAP_DISK_MODE_INTERNAL, "a.qcow2");
  try_missing (style, QSNAP_DISK_MODE_EXCLUDE, "a.qcow2");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;
  fixture_add ("/restore-disks/overlay", test_overlay);
  fixture_add ("/restore-disks/clone", test_clone);
  fixture_add ("/restore-disks/moved-copy", test_moved_copy);
  fixture_add ("/restore-disks/copy-in-options", test_copy_in_options);
  fixture_add ("/restore-disks/internal", test_internal);
  fixture_add ("/restore-disks/exclude", test_exclude);
  fixture_add ("/restore-disks/missing", test_missing);
  return g_test_run ();
}
