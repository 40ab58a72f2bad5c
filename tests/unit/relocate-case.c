/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "relocate-case.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "qsnap-json.h"
#include "qsnap-manifest.h"

/* Of what a capture writes; ' stands for ". */

#define COMMON "'size': 1048576, 'mode': "
#define IDENTITY "'device': 1, 'inode': 1, 'size': 1, 'mtime-ns': 1"

const char moved_two_disks[] =
    "{'device': 'virtio0', 'node': '#block1', 'qdev': '/machine/peripheral-anon/device[0]',"
    " " COMMON "'overlay', 'base': {'file': '/old/a.qcow2', 'format': 'qcow2',"
    " 'chain': ['/old/t.raw'], " IDENTITY "},"
    " 'overlay': {'file': '/old/o.qcow2', 'format': 'qcow2'}},"
    "{'device': 'virtio1', 'node': '#block2', " COMMON "'overlay',"
    " 'base': {'file': '/old/b.raw', 'format': 'raw', " IDENTITY "},"
    " 'overlay': {'options': {'driver': 'nbd'}, 'format': 'qcow2'}}";

const char moved_other_modes[] =
    "{'device': 'inside', 'node': '#i', " COMMON "'internal',"
    " 'base': {'file': '/old/i.qcow2', 'format': 'qcow2', 'snapshot': 'qsnap-01234567'}},"
    "{'device': 'left-out', 'node': '#x', " COMMON "'exclude',"
    " 'base': {'file': '/old/x.raw', 'format': 'raw'}},"
    "{'device': 'cloned', 'node': '#c', " COMMON "'clone',"
    " 'base': {'file': 'disks/disk2.qcow2', 'format': 'qcow2', 'chain': ['/old/t.raw'],"
    " 'backing': {'file': '/old/t.raw', 'format': 'raw'}, " IDENTITY "},"
    " 'source': {'file': '/old/a.qcow2'}},"
    "{'device': 'copied', 'node': '#d', " COMMON "'copy',"
    " 'base': {'file': 'disks/disk3.qcow2', 'format': 'qcow2', 'chain': ['/old/t.raw'],"
    " " IDENTITY "}, 'source': {'file': '/old/b.raw'}},"
    "{'device': 'alone', 'node': '#e', " COMMON "'copy',"
    " 'base': {'file': 'disks/disk4.qcow2', 'format': 'qcow2', " IDENTITY "},"
    " 'source': {'file': '/old/e.raw'}},"
    "{'device': 'sent', 'node': '#f', " COMMON "'copy',"
    " 'base': {'options': {'driver': 'nbd'}, 'format': 'raw'}, 'source': {'file': '/old/f.raw'}},"
    "{'device': 'copied-elsewhere', 'node': '#g', " COMMON "'copy',"
    " 'base': {'file': '/old/g.qcow2', 'format': 'qcow2', " IDENTITY "},"
    " 'source': {'file': '/old/h.raw'}}";

char *
moved_path (Moved *moved, const char *name)
{
  return g_build_filename (moved->folder, name, NULL);
}

void
moved_run (Moved *moved, const char *first, ...)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();
  g_autofree char *complaint = NULL;
  g_autoptr (GError) error = NULL;
  int status;
  va_list rest;

  va_start (rest, first);
  for (const char *word = first; word != NULL; word = va_arg (rest, const char *))
    g_ptr_array_add (words, (gpointer)word);
  va_end (rest);
  g_ptr_array_add (words, NULL);
  g_spawn_sync (moved->folder, (char **)words->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                &complaint, &status, &error);
  g_assert_no_error (error);
  if (!g_spawn_check_wait_status (status, NULL))
    g_error ("%s %s: %s", first, (char *)words->pdata[1], complaint);
}

void
moved_make_image (Moved *moved, const char *name, const char *format, const char *backing)
{
  if (backing != NULL)
    moved_run (moved, "qemu-img", "create", "-q", "-f", format, "-b", backing, "-F",
               g_str_has_suffix (backing, ".raw") ? "raw" : "qcow2", name, NULL);
  else
    moved_run (moved, "qemu-img", "create", "-q", "-f", format, name, "1M", NULL);
}

void
moved_write (Moved *moved, const char *name, const char *id, const char *disks)
{
  g_autoptr (GString) text = g_string_new (NULL);
  g_autofree char *directory = moved_path (moved, name);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = NULL;
  int fd;

  g_string_printf (
      text,
      "{'name': '%s', 'id': '%s', 'time': '2026-11-23T11:22:33.123456Z', 'mode': 'disks-only',"
      " 'qemu': {'version': '7.2.22', 'machine': 'pc-q35-7.2', 'directory': '/', 'command-line':"
      " ['qemu', '-drive', 'file=/old/a.qcow2,if=virtio', '-drive', 'file=/old/b.raw,if=virtio',"
      " '-hda', '/old/x.raw']}, 'guest': {'run-state': 'running'}, 'disks': [%s],"
      " 'parent': {'id': '89abcdef', 'name': 'p'}, 'timing': {'pause-us': 5000}, 'warnings': []}",
      name, id, disks);
  g_string_replace (text, "'", "\"", 0);
  g_string_replace (text, "@", moved->folder, 0);
  node = json_from_string (text->str, &error);
  g_assert_no_error (error);

  g_assert_cmpint (g_mkdir (directory, 0700), ==, 0);
  fd = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_true (qsnap_manifest_write (fd, json_node_get_object (node), &error));
  close (fd);
}

QsnapSnapshot *
moved_load (Moved *moved, const char *name)
{
  g_autofree char *directory = moved_path (moved, name);
  g_autoptr (GFile) file = g_file_new_for_path (directory);
  g_autoptr (GError) error = NULL;
  QsnapSnapshot *snapshot = qsnap_snapshot_load (file, NULL, &error);

  g_assert_no_error (error);
  return snapshot;
}

void
moved_set_up (Moved *moved, const char *disks)
{
  g_autoptr (GError) error = NULL;

  moved->folder = g_dir_make_tmp ("qsnap-relocate-XXXXXX", &error);
  g_assert_no_error (error);
  moved->directory = moved_path (moved, "snapshot");
  moved_write (moved, "snapshot", "01234567", disks);
  moved->snapshot = moved_load (moved, "snapshot");
}

void
moved_clear (Moved *moved)
{
  g_clear_object (&moved->snapshot);
  moved_run (moved, "rm", "-rf", moved->folder, NULL);
  g_free (moved->folder);
  g_free (moved->directory);
}

char *
moved_word (Moved *moved, const char *word)
{
  g_auto (GStrv) parts = g_strsplit (word, "=", 2);

  if (parts[1] == NULL || *parts[1] == '\0')
    return g_strdup (word);
  return g_strdup_printf ("%s=%s/%s", parts[0], moved->folder, parts[1]);
}

gboolean
moved_relocate (Moved *moved, const char *const *words, GError **error)
{
  g_autoptr (GPtrArray) images = g_ptr_array_new_with_free_func (g_free);

  for (; *words != NULL; words++)
    g_ptr_array_add (images, moved_word (moved, *words));
  g_ptr_array_add (images, NULL);
  return qsnap_snapshot_relocate_disks (moved->snapshot, (const char *const *)images->pdata, NULL,
                                        error);
}

void
moved_relocate_well (Moved *moved, const char *first, const char *second)
{
  const char *const words[] = { first, second, NULL };
  g_autoptr (GError) error = NULL;

  (void)moved_relocate (moved, words, &error);
  g_assert_no_error (error);
}

JsonObject *
moved_read_disk (Moved *moved, guint index)
{
  g_autoptr (GError) error = NULL;
  int fd = open (moved->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_autoptr (JsonObject) manifest = qsnap_manifest_read (fd, &error);

  close (fd);
  g_assert_no_error (error);
  return json_object_ref (
      json_array_get_object_element (json_object_get_array_member (manifest, "disks"), index));
}

void
moved_assert_strings (Moved *moved, JsonObject *base, const char *member, const char *expected)
{
  JsonArray *array = qsnap_json_get_array (base, member);
  g_autoptr (GString) text = g_string_new (NULL);
  g_autofree char *here = g_strconcat (moved->folder, "/", NULL);

  for (guint i = 0; array != NULL && i < json_array_get_length (array); i++)
    g_string_append_printf (text, "%s%s", i > 0 ? " " : "", qsnap_json_array_string (array, i));
  g_string_replace (text, here, "", 0);
  g_assert_cmpstr (text->str, ==, expected);
}

void
moved_assert_base (
    Moved *moved, guint index, const char *name, const char *chain, const char *merged)
{
  g_autoptr (JsonObject) disk = moved_read_disk (moved, index);
  JsonObject *base = json_object_get_object_member (disk, "base");
  g_autofree char *path = moved_path (moved, name);

  g_assert_cmpstr (qsnap_json_get_string (base, "file"), ==, path);
  moved_assert_strings (moved, base, "chain", chain);
  moved_assert_strings (moved, base, "merged", merged);
}

void
moved_assert_good (Moved *moved, const char *drive)
{
  g_autoptr (GError) error = NULL;

  (void)qsnap_snapshot_check_disk (moved->snapshot, drive, NULL, &error);
  g_assert_no_error (error);
}

void
moved_make_images (Moved *moved)
{
  moved_make_image (moved, "t.raw", "raw", NULL);
  moved_make_image (moved, "a.qcow2", "qcow2", "t.raw");
  moved_make_image (moved, "b.raw", "raw", NULL);
}
