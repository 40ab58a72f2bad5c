/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots that were moved: what they cannot be told, and then nothing is written. */

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "relocate-case.h"

/* --- refused ------------------------------------------------------------------------------- */

/* What every one of those below is tried on. */
static void
make_wrong_images (Moved *moved)
{
  moved_make_images (moved);
  moved_make_image (moved, "c.qcow2", "qcow2", NULL);
  moved_run (moved, "qemu-img", "create", "-q", "-f", "qcow2", "large.qcow2", "2M", NULL);
  moved_run (moved, "qemu-img", "create", "-q", "-f", "raw", "large.raw", "2M", NULL);
  moved_make_image (moved, "orphan.qcow2", "qcow2", NULL);
  moved_run (moved, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "/gone/t.raw", "-F", "raw",
             "orphan.qcow2", NULL);
  moved_make_image (moved, "misled.qcow2", "qcow2", NULL);
  moved_run (moved, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "b.raw", "-F", "qcow2",
             "misled.qcow2", NULL);
  moved_run (moved, "mkfifo", "pipe", NULL);
}

static void
assert_refused (Moved *moved, GError *error, GQuark domain, int code, const char *word)
{
  g_assert_error (error, domain, code);
  if (strstr (error->message, word) == NULL)
    g_error ("no \"%s\" in: %s", word, error->message);
}

typedef struct
{
  const char *words[3];
  gboolean io;
  int code;
  const char *text;
} Refusal;

static void
assert_all_refused (Moved *moved, const Refusal *refusals, guint n)
{
  g_autofree char *path = g_build_filename (moved->directory, QSNAP_MANIFEST_FILE, NULL);
  g_autofree char *before = NULL;

  g_assert_true (g_file_get_contents (path, &before, NULL, NULL));
  for (guint i = 0; i < n; i++)
    {
      const Refusal *refusal = &refusals[i];
      g_autoptr (GError) error = NULL;
      g_autofree char *after = NULL;

      g_test_message ("refusal %u: %s", i, refusal->text);
      g_assert_false (moved_relocate (moved, refusal->words, &error));
      assert_refused (moved, error, refusal->io ? G_IO_ERROR : QSNAP_ERROR, refusal->code,
                      refusal->text);
      /* All or nothing, also where the first was right. */
      g_assert_true (g_file_get_contents (path, &after, NULL, NULL));
      g_assert_cmpstr (before, ==, after);
    }
}

static void
test_refused (void)
{
  static const Refusal refusals[] = {
    { { NULL }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "no image is named" },
    { { "virtio0" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "DRIVE=FILE" },
    { { "virtio0=" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "DRIVE=FILE" },
    { { "=a.qcow2" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "DRIVE=FILE" },
    { { "virtio0=\xff" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "UTF-8" },
    { { "virtio7=a.qcow2" }, TRUE, G_IO_ERROR_NOT_FOUND, "no disk \"virtio7\"" },
    { { "virtio0=a.qcow2", "#block1=a.qcow2" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "named twice" },
    { { "virtio0=nothing.qcow2" }, TRUE, G_IO_ERROR_NOT_FOUND, "nothing.qcow2" },
    { { "virtio0=snapshot" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "neither a file" },
    { { "virtio0=pipe" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "neither a file" },
    { { "virtio0=b.raw" }, FALSE, QSNAP_ERROR_FAILED, "qcow2" },
    { { "virtio0=large.qcow2" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "2097152" },
    { { "virtio1=large.raw" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "2097152" },
    { { "virtio0=orphan.qcow2" }, TRUE, G_IO_ERROR_NOT_FOUND, "/gone/t.raw" },
    { { "virtio0=orphan.qcow2" }, TRUE, G_IO_ERROR_NOT_FOUND, "qemu-img rebase -u" },
    { { "virtio0=misled.qcow2" }, FALSE, QSNAP_ERROR_FAILED, "b.raw" },
    { { "virtio0=a.qcow2", "virtio1=large.raw" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "virtio1" },
    { { "virtio1=b.raw", "virtio0=nothing" }, TRUE, G_IO_ERROR_NOT_FOUND, "nothing" },
  };
  Moved moved;

  moved_set_up (&moved, moved_two_disks);
  make_wrong_images (&moved);
  assert_all_refused (&moved, refusals, G_N_ELEMENTS (refusals));
  moved_clear (&moved);
}

static void
test_refused_modes (void)
{
  static const Refusal refusals[] = {
    { { "inside=c.qcow2" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "qsnap-01234567" },
    { { "left-out=large.raw" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "left-out" },
    { { "alone=c.qcow2" }, FALSE, QSNAP_ERROR_UNSUPPORTED, "disks/disk4.qcow2" },
    { { "sent=b.raw" }, FALSE, QSNAP_ERROR_UNSUPPORTED, "sent" },
    { { "copied=t.raw" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "qemu-img rebase -u" },
    { { "cloned=nothing" }, TRUE, G_IO_ERROR_NOT_FOUND, "nothing" },
    { { "left-out=b.raw", "copied-elsewhere=orphan.qcow2" }, TRUE, G_IO_ERROR_NOT_FOUND, "/gone" },
  };
  Moved moved;

  moved_set_up (&moved, moved_other_modes);
  make_wrong_images (&moved);
  moved_run (&moved, "mkdir", "-m", "700", "snapshot/disks", NULL);
  moved_make_image (&moved, "snapshot/disks/disk3.qcow2", "qcow2", NULL);
  assert_all_refused (&moved, refusals, G_N_ELEMENTS (refusals));
  moved_clear (&moved);
}

/* Two disks are two images, by whatever names; a header that does not say a format is not believed.
 */
static void
test_refused_images (void)
{
  static const char disks[] = "{'device': 'virtio0', 'node': 'n', 'size': 1048576,"
                              " 'base': {'file': '/old/a.raw', 'format': 'raw'}},"
                              "{'device': 'virtio1', 'node': 'm', 'size': 1048576,"
                              " 'base': {'file': '/old/b.raw', 'format': 'raw'}},"
                              "{'device': 'virtio2', 'node': 'k', 'size': 1048576,"
                              " 'base': {'file': '/old/c', 'format': 'qcow2'}}";
  static const Refusal refusals[] = {
    { { "virtio0=b.raw", "virtio1=link" }, TRUE, G_IO_ERROR_INVALID_ARGUMENT, "virtio1" },
    { { "virtio2=quiet.qcow2" }, FALSE, QSNAP_ERROR_UNSUPPORTED, "does not say the format" },
    { { "virtio2=circle.qcow2" }, FALSE, QSNAP_ERROR_CORRUPT, "stands on itself" },
  };
  Moved moved;
  static const guint8 no_format[8] = { 0 };
  g_autofree char *path = NULL;
  int fd;

  moved_set_up (&moved, disks);
  moved_make_images (&moved);
  moved_run (&moved, "ln", "b.raw", "link", NULL);
  moved_make_image (&moved, "circle.qcow2", "qcow2", NULL);
  moved_run (&moved, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "circle.qcow2", "-F", "qcow2",
             "circle.qcow2", NULL);
  /* The first extension of the header says it. */
  moved_make_image (&moved, "quiet.qcow2", "qcow2", "t.raw");
  path = moved_path (&moved, "quiet.qcow2");
  fd = open (path, O_WRONLY | O_CLOEXEC);
  g_assert_cmpint (pwrite (fd, no_format, sizeof no_format, 112), ==, sizeof no_format);
  close (fd);
  assert_all_refused (&moved, refusals, G_N_ELEMENTS (refusals));
  moved_clear (&moved);
}

/* As QEMU locks what it may write to. */
static int
lock_for_writing (Moved *moved, const char *name)
{
  struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1 };
  g_autofree char *path = moved_path (moved, name);
  int fd = open (path, O_RDONLY | O_CLOEXEC);

  g_assert_cmpint (fcntl (fd, F_OFD_SETLK, &lock), ==, 0);
  return fd;
}

static void
test_busy (void)
{
  static const Refusal image = { { "virtio0=a.qcow2" }, FALSE, QSNAP_ERROR_BUSY, "a.qcow2" };
  static const Refusal below = { { "virtio0=a.qcow2" }, FALSE, QSNAP_ERROR_BUSY, "t.raw" };
  static const Refusal directory = {
    { "virtio0=a.qcow2" }, FALSE, QSNAP_ERROR_BUSY, "brought back"
  };
  Moved moved;
  int fd;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  fd = lock_for_writing (&moved, "a.qcow2");
  assert_all_refused (&moved, &image, 1);
  close (fd);
  fd = lock_for_writing (&moved, "t.raw");
  assert_all_refused (&moved, &below, 1);
  close (fd);

  fd = open (moved.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (flock (fd, LOCK_SH), ==, 0);
  assert_all_refused (&moved, &directory, 1);
  close (fd);

  moved_relocate_well (&moved, "virtio0=a.qcow2", NULL);
  moved_clear (&moved);
}

/* It was loaded, and is gone, or half gone, since. */
static void
test_deleted (void)
{
  static const char *const words[] = { "virtio0=a.qcow2", NULL };
  Moved moved;
  g_autoptr (GError) error = NULL;
  g_autoptr (GFile) file = NULL;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  moved_run (&moved, "mv", "snapshot/snapshot.json", "snapshot/deleted.json", NULL);
  g_assert_false (moved_relocate (&moved, words, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  g_clear_error (&error);

  file = g_file_new_for_path (moved.directory);
  g_clear_object (&moved.snapshot);
  moved.snapshot = qsnap_snapshot_load (file, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (moved_relocate (&moved, words, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  moved_clear (&moved);
}

static void
test_cancelled (void)
{
  static const char *const words[] = { "virtio0=a.qcow2", NULL };
  Moved moved;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  g_cancellable_cancel (cancellable);
  g_assert_false (qsnap_snapshot_relocate_disks (moved.snapshot, words, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  moved_clear (&moved);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;

  g_test_add_func ("/relocate-refused/images", test_refused);
  g_test_add_func ("/relocate-refused/modes", test_refused_modes);
  g_test_add_func ("/relocate-refused/chains", test_refused_images);
  g_test_add_func ("/relocate-refused/busy", test_busy);
  g_test_add_func ("/relocate-refused/deleted", test_deleted);
  g_test_add_func ("/relocate-refused/cancelled", test_cancelled);

  return g_test_run ();
}
