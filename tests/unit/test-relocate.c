/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots that were moved: they are told where their images are, which are real ones. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "relocate-case.h"

static void
assert_bad (Moved *moved, const char *drive, GQuark domain, int code, const char *word)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_snapshot_check_disk (moved->snapshot, drive, NULL, &error));
  g_assert_error (error, domain, code);
  g_assert_nonnull (strstr (error->message, word));
}

/* --- good ---------------------------------------------------------------------------------- */

static void
test_overlay (void)
{
  Moved moved;
  g_autoptr (QsnapDisk) disk = NULL;
  g_autoptr (JsonObject) first = NULL, second = NULL;
  g_autofree char *path = NULL, *parent = NULL;
  g_autoptr (GError) error = NULL;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  assert_bad (&moved, "virtio0", G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "/old/a.qcow2");
  moved_relocate_well (&moved, "virtio0=a.qcow2", "#block2=b.raw");

  moved_assert_base (&moved, 0, "a.qcow2", "t.raw", "/old/a.qcow2");
  moved_assert_base (&moved, 1, "b.raw", "", "/old/b.raw");
  first = moved_read_disk (&moved, 0);
  second = moved_read_disk (&moved, 1);
  g_assert_false (json_object_has_member (first, "overlay"));
  g_assert_false (json_object_has_member (second, "overlay"));
  moved_assert_good (&moved, "virtio0");
  moved_assert_good (&moved, "virtio1");
  g_assert_true (qsnap_snapshot_verify (moved.snapshot, NULL, &error));
  g_assert_no_error (error);

  parent = qsnap_snapshot_dup_parent_id (moved.snapshot);
  g_assert_cmpstr (parent, ==, "89abcdef");
  path = moved_path (&moved, "a.qcow2");
  disk = g_list_model_get_item (qsnap_snapshot_get_disks (moved.snapshot), 0);
  g_assert_cmpstr (qsnap_disk_get_base (disk), ==, path);
  g_assert_null (qsnap_disk_get_overlay (disk));
  g_assert_false (qsnap_snapshot_has_guest (moved.snapshot));

  /* What it stands on is needed, too. */
  moved_run (&moved, "mv", "t.raw", "u.raw", NULL);
  assert_bad (&moved, "virtio0", G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "t.raw");
  moved_clear (&moved);
}

/* Once more, and back: the names that QEMU's command line may have are there once. */
static void
test_again (void)
{
  Moved moved;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  moved_run (&moved, "mkdir", "there", NULL);
  for (guint i = 0; i < 2; i++)
    {
      moved_relocate_well (&moved, "/machine/peripheral-anon/device[0]=a.qcow2", NULL);
      moved_run (&moved, "mv", "a.qcow2", "t.raw", "there", NULL);
      moved_relocate_well (&moved, "#block1=there/a.qcow2", NULL);
      moved_run (&moved, "mv", "there/a.qcow2", "there/t.raw", ".", NULL);
    }
  moved_assert_base (&moved, 0, "there/a.qcow2", "there/t.raw",
                     "/old/a.qcow2 a.qcow2 there/a.qcow2");
  moved_relocate_well (&moved, "#block1=a.qcow2", NULL);
  moved_assert_base (&moved, 0, "a.qcow2", "t.raw", "/old/a.qcow2 a.qcow2 there/a.qcow2");
  moved_clear (&moved);
}

/* Its guest is here, too, if its image says that it stands on this one. */
static void
test_overlay_kept (void)
{
  static const char disks[] = "{'device': 'virtio0', 'node': 'n', 'size': 1048576,"
                              " 'base': {'file': '/old/a.qcow2', 'format': 'qcow2'},"
                              " 'overlay': {'file': '@/o.qcow2', 'format': 'qcow2'}}";

  for (guint stands = 0; stands < 2; stands++)
    {
      Moved moved;
      g_autoptr (JsonObject) disk = NULL;

      moved_set_up (&moved, disks);
      moved_make_images (&moved);
      moved_make_image (&moved, "o.qcow2", "qcow2", stands ? "a.qcow2" : "b.raw");
      moved_relocate_well (&moved, "virtio0=a.qcow2", NULL);
      disk = moved_read_disk (&moved, 0);
      g_assert_true (json_object_has_member (disk, "overlay") == (stands == 1));
      moved_clear (&moved);
    }
}

static void
test_other_modes (void)
{
  Moved moved;
  g_autoptr (JsonObject) inside = NULL;

  moved_set_up (&moved, moved_other_modes);
  moved_make_images (&moved);
  moved_make_image (&moved, "i.qcow2", "qcow2", NULL);
  moved_run (&moved, "qemu-img", "snapshot", "-c", "qsnap-01234567", "i.qcow2", NULL);
  moved_relocate_well (&moved, "inside=i.qcow2", "left-out=b.raw");
  inside = moved_read_disk (&moved, 0);
  g_assert_false (json_object_has_member (json_object_get_object_member (inside, "base"), "inode"));
  moved_assert_base (&moved, 0, "i.qcow2", "", "");
  moved_assert_base (&moved, 1, "b.raw", "", "/old/x.raw");
  moved_assert_good (&moved, "inside");
  moved_assert_good (&moved, "left-out");

  /* What QEMU was started on is another image, which stays what it was. */
  moved_relocate_well (&moved, "copied-elsewhere=a.qcow2", NULL);
  moved_assert_base (&moved, 6, "a.qcow2", "t.raw", "");
  moved_clear (&moved);
}

static void
test_below_own (void)
{
  Moved moved;
  g_autoptr (JsonObject) cloned = NULL, copied = NULL;
  JsonObject *base;
  g_autofree char *template = NULL;

  moved_set_up (&moved, moved_other_modes);
  moved_make_images (&moved);
  moved_run (&moved, "mkdir", "-m", "700", "snapshot/disks", NULL);
  moved_make_image (&moved, "snapshot/disks/disk2.qcow2", "qcow2", NULL);
  moved_make_image (&moved, "snapshot/disks/disk3.qcow2", "qcow2", NULL);
  moved_run (&moved, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "../../a.qcow2", "-F",
             "qcow2", "snapshot/disks/disk3.qcow2", NULL);
  moved_relocate_well (&moved, "cloned=t.raw", "copied=a.qcow2");

  template = moved_path (&moved, "t.raw");
  cloned = moved_read_disk (&moved, 2);
  base = json_object_get_object_member (cloned, "base");
  g_assert_cmpstr (qsnap_json_get_string (base, "file"), ==, "disks/disk2.qcow2");
  moved_assert_strings (&moved, base, "chain", "t.raw");
  base = json_object_get_object_member (base, "backing");
  g_assert_cmpstr (qsnap_json_get_string (base, "file"), ==, template);
  copied = moved_read_disk (&moved, 3);
  moved_assert_strings (&moved, json_object_get_object_member (copied, "base"), "chain",
                        "a.qcow2 t.raw");
  moved_assert_good (&moved, "cloned");
  moved_assert_good (&moved, "copied");
  moved_clear (&moved);
}

/* A revert of a clone has such a header. */
static void
test_pseudo_name (void)
{
  Moved moved;
  g_autofree char *template = NULL;
  g_autofree char *name = NULL;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  template = moved_path (&moved, "t.raw");
  name = g_strdup_printf ("json:{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\","
                          " \"filename\": \"%s/middle.qcow2\"}, \"backing\": {\"driver\": \"raw\","
                          " \"file\": {\"driver\": \"file\", \"filename\": \"%s\"}}}",
                          moved.folder, template);
  /* Its own header names what is not there. */
  moved_make_image (&moved, "middle.qcow2", "qcow2", NULL);
  moved_run (&moved, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "/old/t.raw", "-F", "raw",
             "middle.qcow2", NULL);
  moved_run (&moved, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", name, "-F", "qcow2",
             "a.qcow2", NULL);
  moved_relocate_well (&moved, "virtio0=a.qcow2", NULL);
  moved_assert_base (&moved, 0, "a.qcow2", "middle.qcow2 t.raw", "/old/a.qcow2");
  moved_clear (&moved);
}

/* --- asynchronously ------------------------------------------------------------------------ */

static void
keep_result (GObject *source, GAsyncResult *result, gpointer data)
{
  *(GAsyncResult **)data = g_object_ref (result);
}

static void
test_async (void)
{
  Moved moved;
  g_autofree char *word = NULL;
  g_autofree char *path = NULL;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  word = moved_word (&moved, "virtio0=a.qcow2");
  path = moved_path (&moved, "a.qcow2");
  for (guint i = 0; i < 2; i++)
    {
      const char *const words[] = { i == 0 ? "nothing=/x" : word, NULL };
      g_autoptr (GAsyncResult) result = NULL;
      g_autoptr (QsnapDisk) disk = NULL;
      g_autoptr (GError) error = NULL;

      qsnap_snapshot_relocate_disks_async (moved.snapshot, words, NULL, keep_result, &result);
      while (result == NULL)
        g_main_context_iteration (NULL, TRUE);
      g_assert_true (qsnap_snapshot_relocate_disks_finish (moved.snapshot, result, &error) ==
                     (i == 1));
      if (i == 0)
        g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
      disk = g_list_model_get_item (qsnap_snapshot_get_disks (moved.snapshot), 0);
      g_assert_cmpstr (qsnap_disk_get_base (disk), ==, i == 0 ? "/old/a.qcow2" : path);
    }
  moved_clear (&moved);
}

/* --- what becomes of it -------------------------------------------------------------------- */

static void
test_delete (void)
{
  Moved moved;
  g_autofree char *path = NULL;
  g_autoptr (GError) error = NULL;
  struct stat before, after;

  moved_set_up (&moved, moved_two_disks);
  moved_make_images (&moved);
  moved_relocate_well (&moved, "virtio0=a.qcow2", "virtio1=b.raw");
  path = moved_path (&moved, "a.qcow2");
  g_assert_cmpint (stat (path, &before), ==, 0);
  (void)qsnap_snapshot_delete (moved.snapshot, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (g_file_test (moved.directory, G_FILE_TEST_EXISTS));
  g_assert_cmpint (stat (path, &after), ==, 0);
  g_assert_cmpint (before.st_ino, ==, after.st_ino);
  g_assert_cmpint (before.st_mtim.tv_nsec, ==, after.st_mtim.tv_nsec);
  moved_clear (&moved);
}

/* What it stands on is merged: it follows, as nothing is above it. */
static void
test_earlier_deleted (void)
{
  static const char earlier[] = "{'device': 'virtio0', 'node': 'n', 'size': 1048576,"
                                " 'base': {'file': '/old/c.qcow2', 'format': 'qcow2'},"
                                " 'overlay': {'file': '@/a.qcow2', 'format': 'qcow2'}}";
  Moved moved;
  g_autoptr (QsnapSnapshot) other = NULL;
  g_autofree char *base = NULL, *word = NULL;
  const char *words[] = { NULL, NULL };
  g_autoptr (GError) error = NULL;

  moved_set_up (&moved, moved_two_disks);
  moved_write (&moved, "earlier", "89abcdef", earlier);
  moved_make_image (&moved, "c.qcow2", "qcow2", NULL);
  moved_make_image (&moved, "b.raw", "raw", NULL);
  base = moved_path (&moved, "c.qcow2");
  moved_make_image (&moved, "a.qcow2", "qcow2", base);
  moved_relocate_well (&moved, "virtio0=a.qcow2", "virtio1=b.raw");
  other = moved_load (&moved, "earlier");
  words[0] = word = moved_word (&moved, "virtio0=c.qcow2");
  (void)qsnap_snapshot_relocate_disks (other, words, NULL, &error);
  g_assert_no_error (error);

  (void)qsnap_snapshot_delete (other, NULL, &error);
  g_assert_no_error (error);
  g_clear_object (&moved.snapshot);
  moved.snapshot = moved_load (&moved, "snapshot");
  moved_assert_base (&moved, 0, "c.qcow2", "", "/old/a.qcow2 a.qcow2");
  moved_assert_good (&moved, "virtio0");
  moved_clear (&moved);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;

  g_test_add_func ("/relocate/overlay", test_overlay);
  g_test_add_func ("/relocate/again", test_again);
  g_test_add_func ("/relocate/overlay-kept", test_overlay_kept);
  g_test_add_func ("/relocate/other-modes", test_other_modes);
  g_test_add_func ("/relocate/below-own", test_below_own);
  g_test_add_func ("/relocate/pseudo-name", test_pseudo_name);
  g_test_add_func ("/relocate/async", test_async);
  g_test_add_func ("/relocate/delete", test_delete);
  g_test_add_func ("/relocate/earlier-deleted", test_earlier_deleted);

  return g_test_run ();
}
