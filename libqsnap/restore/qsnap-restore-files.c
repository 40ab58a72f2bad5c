/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-qemu-img.h"
#include "qsnap-snapshot-private.h"
#include "restore/qsnap-restore-private.h"

/* What a revert makes in the file system. */

/* --- the directory ------------------------------------------------------------------------- */

static gboolean
undo_directory (gpointer data, GError **error)
{
  QsnapRestore *restore = data;

  if (restore->directory_made && rmdir (restore->path) != 0 && errno != ENOENT)
    return qsnap_io_fail (error, errno, "cannot remove %s", restore->path);

  return TRUE;
}

/* Who owns the directory can replace the disks and sockets in it. */
static gboolean
take_directory (QsnapRestore *restore, GError **error)
{
  struct stat found;

  if (fstat (restore->dir_fd, &found) != 0)
    return qsnap_io_fail (error, errno, "cannot look at the revert's directory %s", restore->path);

  if (found.st_uid != geteuid ())
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                   "the revert's directory %s belongs to user %u: choose another", restore->path,
                   (guint)found.st_uid);
      return FALSE;
    }

  return fchmod (restore->dir_fd, 0700) == 0 ||
         qsnap_io_fail (error, errno, "cannot set the mode of %s", restore->path);
}

static gboolean
make_directory (QsnapRestore *restore, GError **error)
{
  restore->directory_made = mkdir (restore->path, 0700) == 0;
  if (!restore->directory_made && errno != EEXIST)
    return qsnap_io_fail (error, errno, "cannot make the revert's directory %s", restore->path);

  qsnap_undo_push (restore->undo, "remove the directory", restore, undo_directory, restore);
  restore->dir_fd = open (restore->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (restore->dir_fd < 0)
    return qsnap_io_fail (error, errno, "cannot open the revert's directory %s", restore->path);

  if (qsnap_io_dir_is_empty (restore->path))
    return take_directory (restore, error);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_EXISTS,
               "the revert's directory %s is not empty: choose another", restore->path);

  return FALSE;
}

/* --- files in it --------------------------------------------------------------------------- */

/* Whatever QEMU made as well: logs, sockets, its pid. Nothing was in it before. */
static gboolean
undo_files (gpointer data, GError **error)
{
  QsnapRestore *restore = data;
  g_autoptr (GDir) dir = g_dir_open (restore->path, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    if (unlinkat (restore->dir_fd, name, 0) != 0 && errno != ENOENT)
      return qsnap_io_fail (error, errno, "cannot remove %s/%s", restore->path, name);

  return TRUE;
}

static gboolean
open_log (QsnapRestore *restore, GError **error)
{
  qsnap_undo_push (restore->undo, "remove the files", restore, undo_files, restore);
  restore->log_fd = openat (restore->dir_fd, QSNAP_RESTORE_LOG,
                            O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);

  return restore->log_fd >= 0 || qsnap_io_fail (error, errno, "cannot make the log of QEMU");
}

/* --- overlays ------------------------------------------------------------------------------ */

static JsonObject *
file_options (const char *file)
{
  return qsnap_json_object_new ("driver", 's', "file", "filename", 's', file, NULL);
}

/* As QEMU takes it in place of a file's name. */
static char *
pseudo_name (JsonObject *options)
{
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (options);
  g_autofree char *text = qsnap_json_to_text (node, FALSE);

  return g_strconcat ("json:", text, NULL);
}

/* What the revert's overlay stands on. A clone does not say right where its own backing file is,
 * and a copy may be in what is no file. */
static char *
name_of_base (QsnapRestore *restore, JsonObject *disk)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  JsonObject *backing = qsnap_json_get_object (base, "backing");
  JsonNode *target = json_object_get_member (base, "options");
  const char *format = qsnap_json_get_string (base, "format");
  g_autofree char *directory = g_file_get_path (qsnap_snapshot_get_directory (restore->snapshot));
  g_autofree char *file = qsnap_manifest_disk_base (disk, directory);

  if (file == NULL && target != NULL)
    return pseudo_name (
        qsnap_json_object_new ("driver", 's', format, "file", 'n', qsnap_json_copy (target), NULL));
  if (backing == NULL)
    return g_steal_pointer (&file);

  return pseudo_name (qsnap_json_object_new (
      "driver", 's', format, "file", 'o', file_options (file), "backing", 'o',
      qsnap_json_object_new ("driver", 's', qsnap_json_get_string (backing, "format"), "file", 'o',
                             file_options (qsnap_json_get_string (backing, "file")), NULL),
      NULL));
}

/* The base was compared with the manifest just before, so the tool need not open it: it may be on a
 * guest that runs. */
static GSubprocess *
start_overlay (QsnapRestore *restore, JsonObject *disk, const char *overlay, GError **error)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  g_autofree char *name = name_of_base (restore, disk);
  g_autofree char *size =
      g_strdup_printf ("%" G_GINT64_FORMAT, qsnap_json_get_int (disk, "size", 0));

  if (name == NULL)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "the disk %s was left out of the snapshot, and is in no local file",
                   qsnap_json_get_string (disk, "device"));
      return NULL;
    }

  return g_subprocess_new (G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_PIPE,
                           error, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F",
                           qsnap_json_get_string (base, "format"), "-b", name, overlay, size, NULL);
}

/* Nothing can stand on a snapshot that is inside an image: it is copied out. The guest of that
 * image may go on writing to it: what belongs to the snapshot does not change. */
static GSubprocess *
start_copying (JsonObject *disk, const char *overlay, GError **error)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  g_autofree char *snapshot =
      g_strconcat ("snapshot.name=", qsnap_json_get_string (base, "snapshot"), NULL);

  return g_subprocess_new (G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_PIPE,
                           error, "qemu-img", "convert", "-q", "-U", "-f",
                           qsnap_json_get_string (base, "format"), "-l", snapshot, "-O", "qcow2",
                           qsnap_json_get_string (base, "file"), overlay, NULL);
}

static GSubprocess *
start_disk (QsnapRestore *restore, guint index, GError **error)
{
  JsonArray *disks = qsnap_json_get_array (restore->manifest, "disks");
  JsonObject *disk = qsnap_json_array_object (disks, index);
  const char *overlay = g_array_index (restore->disks, QsnapRevertDisk, index).overlay;

  return qsnap_manifest_disk_mode (disk) == QSNAP_DISK_MODE_INTERNAL
             ? start_copying (disk, overlay, error)
             : start_overlay (restore, disk, overlay, error);
}

static gboolean
finish_overlay (GSubprocess *process, const char *overlay, GError **error)
{
  g_autofree char *complaint = NULL;

  if (!g_subprocess_communicate_utf8 (process, NULL, NULL, NULL, &complaint, error))
    return FALSE;

  if (g_subprocess_get_successful (process))
    return chmod (overlay, 0600) == 0 || qsnap_io_fail (error, errno, "%s", overlay);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "qemu-img cannot make the overlay %s: %s",
               overlay, g_strstrip (complaint));

  return FALSE;
}

/* All at once: a process takes a moment to start. */
static gboolean
make_overlays (QsnapRestore *restore, GError **error)
{
  g_autoptr (GPtrArray) processes = g_ptr_array_new_with_free_func (g_object_unref);
  gboolean made = restore->disks->len == 0 || qsnap_qemu_img_is_there (error);

  for (guint i = 0; made && i < restore->disks->len; i++)
    {
      GSubprocess *process = start_disk (restore, i, error);

      made = process != NULL;
      if (made)
        g_ptr_array_add (processes, process);
    }

  /* Those that were started are waited for in any case: they write. */
  for (guint i = 0; i < processes->len; i++)
    {
      const char *overlay = g_array_index (restore->disks, QsnapRevertDisk, i).overlay;

      made = finish_overlay (processes->pdata[i], overlay, made ? error : NULL) && made;
    }

  return made;
}

/* --- copies of the memory ------------------------------------------------------------------ */

static int
open_block (QsnapRestore *restore, const char *name, GError **error)
{
  guint index = qsnap_image_find_block (restore->image, name);
  int ram_fd = qsnap_io_open_dir (restore->snapshot_fd, QSNAP_IMAGE_RAM_DIR, error);
  int fd;

  if (ram_fd < 0)
    return -1;

  fd = qsnap_io_open (ram_fd, strchr (qsnap_image_get_block_file (restore->image, index), '/') + 1,
                      qsnap_image_get_block_length (restore->image, index), error);
  close (ram_fd);

  return fd;
}

gboolean
qsnap_restore_can_clone (QsnapRestore *restore)
{
  g_autofree char *parent = g_path_get_dirname (restore->path);
  const char *name = g_array_index (restore->blocks, QsnapRevertBlock, 0).name;
  int source = open_block (restore, name, NULL);
  int target = open (parent, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  gboolean cloned = source >= 0 && target >= 0 && ioctl (target, FICLONE, source) == 0;

  if (source >= 0)
    close (source);
  if (target >= 0)
    close (target);

  return cloned;
}

static gboolean
clone_block (QsnapRestore *restore, const QsnapRevertBlock *block, GError **error)
{
  g_autofree char *name = g_path_get_basename (block->path);
  int source = open_block (restore, block->name, error);
  int target = source >= 0 ? qsnap_io_create (restore->dir_fd, name, error) : -1;
  gboolean cloned = FALSE;

  if (target >= 0)
    cloned = ioctl (target, FICLONE, source) == 0 ||
             qsnap_io_fail (error, errno, "cannot clone the memory image to %s", block->path);
  if (target >= 0)
    close (target);
  if (source >= 0)
    close (source);

  return cloned;
}

static gboolean
make_copies (QsnapRestore *restore, GError **error)
{
  if (restore->method != QSNAP_RESTORE_METHOD_MAP || !restore->map_copies)
    return TRUE;

  for (guint i = 0; i < restore->blocks->len; i++)
    {
      const QsnapRevertBlock *block = &g_array_index (restore->blocks, QsnapRevertBlock, i);

      if (block->mapped && !clone_block (restore, block, error))
        return FALSE;
    }

  return TRUE;
}

void
qsnap_restore_unlink_copies (QsnapRestore *restore)
{
  if (restore->method != QSNAP_RESTORE_METHOD_MAP || !restore->map_copies)
    return;

  for (guint i = 0; i < restore->blocks->len; i++)
    {
      const QsnapRevertBlock *block = &g_array_index (restore->blocks, QsnapRevertBlock, i);

      if (block->mapped)
        (void)unlink (block->path);
    }
}

gboolean
qsnap_restore_make_files (QsnapRestore *restore, GError **error)
{
  return make_directory (restore, error) && open_log (restore, error) &&
         make_overlays (restore, error) && make_copies (restore, error);
}
