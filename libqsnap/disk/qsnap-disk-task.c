/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-disk-task.h"

#include <unistd.h>

#include "disk/qsnap-clone.h"
#include "disk/qsnap-copy.h"
#include "disk/qsnap-internal.h"
#include "disk/qsnap-new-image.h"
#include "disk/qsnap-overlay.h"

QsnapDiskTask *
qsnap_disk_task_new (QsnapDrive *drive, QsnapQmp *qmp, QsnapWatch *watch)
{
  QsnapDiskTask *task = g_new0 (QsnapDiskTask, 1);

  task->drive = drive;
  task->qmp = qmp;
  task->watch = watch;
  task->source_fd = task->clone_fd = -1;

  return task;
}

void
qsnap_disk_task_free (QsnapDiskTask *task)
{
  if (task->source_fd >= 0)
    close (task->source_fd);
  if (task->clone_fd >= 0)
    close (task->clone_fd);
  g_free (task);
}

void
qsnap_disk_task_plan (QsnapDiskTask *task,
                      const char *overlay_directory,
                      const char *directory,
                      const char *id,
                      guint index)
{
  QsnapDrive *drive = task->drive;

  drive->new_node = g_strdup_printf ("qsnap-%s-%u", id, index);
  drive->new_file_node = g_strdup_printf ("qsnap-%s-%u-file", id, index);
  switch (drive->mode)
    {
    case QSNAP_DISK_MODE_OVERLAY:
      qsnap_overlay_plan (drive, overlay_directory, id, index);
      break;
    case QSNAP_DISK_MODE_CLONE:
      qsnap_clone_plan (drive, directory, index);
      break;
    case QSNAP_DISK_MODE_COPY:
      qsnap_copy_plan (drive, directory, index);
      break;
    case QSNAP_DISK_MODE_INTERNAL:
      qsnap_internal_plan (drive, id);
      break;
    case QSNAP_DISK_MODE_EXCLUDE:
      break;
    case QSNAP_DISK_MODE_AUTO:
    default:
      g_assert_not_reached ();
    }
}

gboolean
qsnap_disk_task_prepare (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  if (task->drive->mode == QSNAP_DISK_MODE_CLONE)
    return qsnap_clone_prepare (task, undo, error);
  if (qsnap_new_image_is_needed (task->drive))
    return qsnap_new_image_prepare (task, undo, error);

  return TRUE;
}

void
qsnap_disk_task_push_prepared (QsnapDiskTask *task, QsnapUndo *undo)
{
  if (qsnap_new_image_is_needed (task->drive))
    qsnap_new_image_push_undo (task, undo);
}

void
qsnap_disk_task_push_actions (QsnapDiskTask *task, QsnapUndo *undo)
{
  if (task->drive->mode == QSNAP_DISK_MODE_OVERLAY)
    qsnap_undo_push (undo, "merge the overlay back", task->drive, qsnap_overlay_merge_back, task);
  else if (task->drive->mode == QSNAP_DISK_MODE_COPY)
    qsnap_undo_push (undo, "end the copying", task->drive, qsnap_copy_cancel, task);
  else if (task->drive->mode == QSNAP_DISK_MODE_INTERNAL)
    qsnap_undo_push (undo, "delete the internal snapshot", task->drive, qsnap_internal_delete,
                     task);
}

void
qsnap_disk_task_add_actions (QsnapDiskTask *task, JsonArray *actions, QsnapUndo *undo)
{
  qsnap_disk_task_push_actions (task, undo);
  if (task->drive->mode == QSNAP_DISK_MODE_OVERLAY)
    qsnap_overlay_add_actions (task, actions);
  else if (task->drive->mode == QSNAP_DISK_MODE_COPY)
    json_array_add_object_element (actions, qsnap_copy_action (task));
  else if (task->drive->mode == QSNAP_DISK_MODE_INTERNAL)
    json_array_add_object_element (actions, qsnap_internal_action (task));
}

gboolean
qsnap_disk_task_pause (QsnapDiskTask *task, GError **error)
{
  return task->drive->mode != QSNAP_DISK_MODE_CLONE || qsnap_clone_take (task, error);
}
