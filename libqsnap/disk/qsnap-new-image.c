/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-new-image.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/qsnap-copy.h"
#include "disk/qsnap-disk-job.h"
#include "disk/qsnap-overlay.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-qemu-img.h"

/* Making a file is short, whatever the size of the image in it. */
#define CREATE_TIMEOUT_MS (60 * 1000)
#define IN_USE_PATIENCE_US (30 * G_USEC_PER_SEC)
#define IN_USE_POLL_US (20 * 1000)

gboolean
qsnap_new_image_is_needed (QsnapDrive *drive)
{
  return drive->mode == QSNAP_DISK_MODE_OVERLAY || drive->mode == QSNAP_DISK_MODE_COPY;
}

JsonNode *
qsnap_new_image_target (QsnapDrive *drive)
{
  return drive->options != NULL ? qsnap_disk_options_get_target (drive->options) : NULL;
}

static gboolean
is_reused (QsnapDrive *drive)
{
  return drive->options != NULL && qsnap_disk_options_get_reuse (drive->options);
}

/* For the names of what is undone, and in messages. */
static const char *
what_it_is (QsnapDrive *drive)
{
  return drive->mode == QSNAP_DISK_MODE_OVERLAY ? "overlay" : "copy";
}

/* --- undo ---------------------------------------------------------------------------------- */

/* What a journal says is not enough to remove a file: an overlay stands on its base, and a copy
 * that is not in the snapshot's directory, with which it goes, is left to who wanted it there. */
static gboolean
is_ours (QsnapDrive *drive)
{
  g_autoptr (JsonNode) reply = NULL;

  if (!drive->new_file_is_doubtful || drive->mode != QSNAP_DISK_MODE_OVERLAY)
    return !drive->new_file_is_doubtful;

  reply = qsnap_qemu_img_info (drive->new_file, "qcow2", NULL, NULL);

  return qsnap_overlay_stands_on_base (drive, qsnap_json_object (reply));
}

gboolean
qsnap_new_image_remove_file (QsnapDrive *drive, GError **error)
{
  return drive->new_file == NULL || is_reused (drive) || !is_ours (drive) ||
         g_unlink (drive->new_file) == 0 || errno == ENOENT ||
         qsnap_io_fail (error, errno, "cannot remove %s", drive->new_file);
}

static gboolean
undo_file (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;

  return qsnap_new_image_remove_file (task->drive, error);
}

static gboolean
undo_fdset (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;
  gint64 fdset;

  if (task->qmp->gone || task->drive->new_file == NULL)
    return TRUE;

  /* Asked for by path: the answer to add-fd may have been lost. */
  if (!qsnap_fdset_of_path (task->qmp, task->drive->new_file, &fdset, error))
    return FALSE;

  return fdset < 0 || qsnap_qmp_remove_fd (task->qmp, fdset, error);
}

/* An undo is pushed before its step, as the answer to a step may be lost: what was never there, or
 * is gone already, is as good as removed. QEMU lets go of a node a moment after the job that used
 * it has gone. */
static gboolean
delete_node (QsnapDiskTask *task, const char *node, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + IN_USE_PATIENCE_US;

  while (!task->qmp->gone)
    {
      g_autoptr (GError) failure = NULL;

      if (qsnap_qmp_blockdev_del (task->qmp, node, &failure) ||
          strstr (failure->message, "Failed to find node") != NULL)
        return TRUE;
      if (strstr (failure->message, "is in use") == NULL || g_get_monotonic_time () > deadline)
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      g_usleep (IN_USE_POLL_US);
    }

  return TRUE;
}

static gboolean
undo_file_node (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;

  return delete_node (task, task->drive->new_file_node, error);
}

static gboolean
undo_node (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;

  return delete_node (task, task->drive->new_node, error);
}

/* --- prepare ------------------------------------------------------------------------------- */

static int
open_image (QsnapDrive *drive, int flags, GError **error)
{
  int fd = open (drive->new_file, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

  if (fd < 0)
    {
      int code = errno;

      g_set_error (error, G_IO_ERROR, (int)g_io_error_from_errno (code), "cannot %s the %s %s: %s",
                   flags & O_CREAT ? "create" : "open", what_it_is (drive), drive->new_file,
                   g_strerror (code));
    }

  return fd;
}

/* Whoever may open the image has to be able to open the overlay, when QEMU is started again: same
 * owner and mode. An unprivileged caller is the owner of both, or has been given no better. */
static void
take_after_base (QsnapDrive *drive, int fd)
{
  struct stat base;

  if (drive->mode != QSNAP_DISK_MODE_OVERLAY || is_reused (drive))
    return;
  if (stat (drive->file, &base) != 0 || !S_ISREG (base.st_mode))
    return;

  if (fchown (fd, base.st_uid, base.st_gid) == 0)
    (void)fchmod (fd, base.st_mode & 0660);
}

static gboolean
pass_descriptors (
    QsnapDiskTask *task, int read_write, int read_only, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;

  /* QEMU opens it by its name then. */
  if (!qsnap_qmp_client_can_pass_fds (task->qmp->client))
    return TRUE;

  qsnap_undo_push (undo, "remove the image's descriptors", drive, undo_fdset, task);
  drive->new_fdset = qsnap_qmp_add_fd (task->qmp, -1, drive->new_file, read_write, error);
  if (drive->new_fdset < 0)
    return FALSE;

  /* QEMU reopens the image read-only when it becomes a base, and picks by access mode. */
  return qsnap_qmp_add_fd (task->qmp, drive->new_fdset, drive->new_file, read_only, error) >= 0;
}

static gboolean
create_file (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;
  int read_write =
      open_image (drive, is_reused (drive) ? O_RDWR : O_RDWR | O_CREAT | O_EXCL, error);
  int read_only = -1;
  gboolean passed = FALSE;

  if (read_write < 0)
    return FALSE;

  qsnap_undo_push (undo, "remove the image", drive, undo_file, task);
  take_after_base (drive, read_write);
  read_only = open_image (drive, O_RDONLY, error);
  if (read_only >= 0)
    passed = pass_descriptors (task, read_write, read_only, undo, error);

  if (read_only >= 0)
    close (read_only);
  close (read_write);

  return passed;
}

static JsonObject *
cache_of (QsnapDrive *drive)
{
  return qsnap_json_object_new ("direct", 'b', drive->direct, "no-flush", 'b', drive->no_flush,
                                NULL);
}

static char *
name_for_qemu (QsnapDrive *drive)
{
  return drive->new_fdset < 0 ? g_strdup (drive->new_file)
                              : g_strdup_printf ("/dev/fdset/%" G_GINT64_FORMAT, drive->new_fdset);
}

static gboolean
add_file_node (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;
  g_autofree char *filename = name_for_qemu (drive);

  qsnap_undo_push (undo, "remove the image's file node", drive, undo_file_node, task);

  return qsnap_qmp_do (task->qmp, "blockdev-add",
                       qsnap_json_node_new ("driver", 's', "file", "node-name", 's',
                                            drive->new_file_node, "filename", 's', filename,
                                            "discard", 's', "unmap", "cache", 'o', cache_of (drive),
                                            NULL),
                       error);
}

/* What the caller gave, under our name for it. A copy is written there as it is, an overlay is made
 * in it. */
static gboolean
add_target (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;
  g_autoptr (JsonNode) target = qsnap_json_copy (qsnap_new_image_target (drive));
  gboolean is_file = drive->mode == QSNAP_DISK_MODE_OVERLAY;

  json_object_set_string_member (json_node_get_object (target), "node-name",
                                 is_file ? drive->new_file_node : drive->new_node);
  qsnap_undo_push (undo, "remove the target's node", drive, is_file ? undo_file_node : undo_node,
                   task);

  return qsnap_qmp_do (task->qmp, "blockdev-add", g_steal_pointer (&target), error);
}

static char *
create_job (QsnapDiskTask *task)
{
  return g_strconcat (task->drive->new_node, "-create", NULL);
}

static gboolean
undo_create_job (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;
  g_autofree char *job = create_job (task);

  return qsnap_disk_job_end (task->qmp, job, FALSE, error);
}

static gboolean
wait_for_job (QsnapDiskTask *task, const char *job, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (qsnap_watch_wait (task->watch, qsnap_disk_job_has_concluded, job, CREATE_TIMEOUT_MS, NULL,
                        &failure))
    return TRUE;

  if (failure == NULL)
    g_set_error (&failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "it is not made after %d seconds",
                 CREATE_TIMEOUT_MS / 1000);
  g_propagate_prefixed_error (error, g_steal_pointer (&failure), "blockdev-create: ");

  return FALSE;
}

static JsonObject *
format_options (QsnapDrive *drive)
{
  const char *backing = NULL;
  const char *format = NULL;

  if (drive->mode == QSNAP_DISK_MODE_OVERLAY)
    {
      backing = drive->file;
      format = qsnap_drive_format (drive);
    }
  else if (qsnap_copy_stands_on_backing (drive))
    {
      backing = drive->chain[0];
      format = drive->backing_format;
    }

  return qsnap_json_object_new ("driver", 's', "qcow2", "file", 's', drive->new_file_node, "size",
                                'i', drive->size, "backing-file", 's', backing, "backing-fmt", 's',
                                format, NULL);
}

/* The event only says that it ended; how, the job list knows. */
static gboolean
check_job (QsnapDiskTask *task, const char *job, GError **error)
{
  g_autoptr (JsonObject) entry = NULL;

  return qsnap_disk_job_find (task->qmp, job, &entry, error) &&
         qsnap_disk_job_check (entry, "blockdev-create", error);
}

/* Once started the job is short; cancelling is looked at after it. */
static gboolean
format_image (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;
  g_autofree char *job = create_job (task);
  JsonObject *options = format_options (drive);

  qsnap_undo_push (undo, "dismiss the job that made the image", drive, undo_create_job, task);
  if (!qsnap_qmp_do (task->qmp, "blockdev-create",
                     qsnap_json_node_new ("job-id", 's', job, "options", 'o', options, NULL),
                     error) ||
      !wait_for_job (task, job, error) || !check_job (task, job, error) ||
      !qsnap_qmp_job_command (task->qmp, "job-dismiss", job, error))
    return FALSE;

  qsnap_undo_drop (undo, undo_create_job, task);

  return TRUE;
}

static gboolean
add_node (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;

  qsnap_undo_push (undo, "remove the image's node", drive, undo_node, task);

  return qsnap_qmp_do (task->qmp, "blockdev-add",
                       qsnap_json_node_new ("driver", 's', "qcow2", "node-name", 's',
                                            drive->new_node, "file", 's', drive->new_file_node,
                                            "backing", '0', "discard", 's', "unmap",
                                            "detect-zeroes", 's', drive->detect_zeroes, "cache",
                                            'o', cache_of (drive), NULL),
                       error);
}

static gboolean
prepare (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;

  if (qsnap_new_image_target (drive) != NULL)
    {
      if (!add_target (task, undo, error))
        return FALSE;
      if (drive->mode == QSNAP_DISK_MODE_COPY)
        return TRUE;
    }
  else if (!create_file (task, undo, error) || !add_file_node (task, undo, error))
    return FALSE;

  return (is_reused (drive) || format_image (task, undo, error)) && add_node (task, undo, error);
}

gboolean
qsnap_new_image_prepare (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  if (prepare (task, undo, error))
    return TRUE;

  g_prefix_error (error, "preparing %s %s for drive %s: ",
                  task->drive->mode == QSNAP_DISK_MODE_OVERLAY ? "an" : "a",
                  what_it_is (task->drive), qsnap_drive_label (task->drive));

  return FALSE;
}

gboolean
qsnap_new_image_detach (QsnapDiskTask *task, GError **error)
{
  return undo_node (task, error) && undo_file_node (task, error) && undo_fdset (task, error);
}

void
qsnap_new_image_push_undo (QsnapDiskTask *task, QsnapUndo *undo)
{
  qsnap_undo_push (undo, "remove the image", task->drive, undo_file, task);
  qsnap_undo_push (undo, "remove the image's descriptors", task->drive, undo_fdset, task);
  qsnap_undo_push (undo, "remove the image's file node", task->drive, undo_file_node, task);
  qsnap_undo_push (undo, "dismiss the job that made the image", task->drive, undo_create_job, task);
  qsnap_undo_push (undo, "remove the image's node", task->drive, undo_node, task);
}
