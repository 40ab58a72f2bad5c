/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-copy.h"

#include "disk/qsnap-disk-job.h"
#include "disk/qsnap-new-image.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"

void
qsnap_copy_plan (QsnapDrive *drive, const char *directory, guint index)
{
  GFile *file = drive->options != NULL ? qsnap_disk_options_get_file (drive->options) : NULL;
  g_autofree char *path = file != NULL ? g_file_get_path (file) : NULL;

  drive->new_format = qsnap_new_image_target (drive) != NULL ? "raw" : "qcow2";
  if (qsnap_new_image_target (drive) != NULL)
    return;

  drive->new_file = path != NULL
                        ? g_canonicalize_filename (path, NULL)
                        : g_strdup_printf ("%s/" QSNAP_DISKS_DIR "/disk%u.qcow2", directory, index);
}

/* An image that stands on nothing is all there is. */
gboolean
qsnap_copy_stands_on_backing (QsnapDrive *drive)
{
  return drive->options != NULL &&
         qsnap_disk_options_get_sync (drive->options) == QSNAP_COPY_SYNC_TOP &&
         drive->backing_format != NULL;
}

static char *
job_of (QsnapDiskTask *task)
{
  return g_strconcat (task->drive->new_node, "-copy", NULL);
}

/* The job stays in QEMU's list until it is dismissed, so that nobody misses how it ended. It does
 * not finish by itself: it takes its filter node off the drive then, and QEMU before 9.1 miscounts
 * the references of both nodes if that comes while it flushes all drives, as it does when a
 * migration starts: the filter stays for ever, and the guest's node is freed too early. */
JsonObject *
qsnap_copy_action (QsnapDiskTask *task)
{
  g_autofree char *job = job_of (task);
  JsonObject *data = qsnap_json_object_new (
      "job-id", 's', job, "device", 's', task->drive->node, "target", 's', task->drive->new_node,
      "sync", 's', qsnap_copy_stands_on_backing (task->drive) ? "top" : "full", "auto-finalize",
      'b', FALSE, "auto-dismiss", 'b', FALSE, NULL);

  return qsnap_json_object_new ("type", 's', "blockdev-backup", "data", 'o', data, NULL);
}

gboolean
qsnap_copy_judge (
    QsnapDiskTask *task, JsonNode *jobs, guint64 *done, guint64 *total, GError **error)
{
  QsnapDrive *drive = task->drive;
  g_autofree char *job = job_of (task);
  JsonObject *entry = qsnap_disk_jobs_find (jobs, job);
  const char *status = qsnap_json_get_string (entry, "status");

  *done = *total = (guint64)drive->size;
  if (drive->copied)
    return TRUE;

  if (entry == NULL)
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED, "somebody else has removed the job %s",
                 job);
  else if (g_strcmp0 (status, "pending") != 0 && g_strcmp0 (status, "concluded") != 0)
    {
      *total = (guint64)qsnap_json_get_int (entry, "total-progress", 0);
      *done = (guint64)qsnap_json_get_int (entry, "current-progress", 0);
      return TRUE;
    }
  else if (qsnap_disk_job_check (entry, "blockdev-backup", error))
    {
      drive->copied = TRUE;
      return TRUE;
    }
  g_prefix_error (error, "copying drive %s: ", qsnap_drive_label (drive));

  return FALSE;
}

/* QEMU writes what it still holds of the image when its node is deleted. */
gboolean
qsnap_copy_finish (QsnapDiskTask *task, GError **error)
{
  QsnapDrive *drive = task->drive;
  g_autofree char *job = job_of (task);

  if (qsnap_disk_job_end (task->qmp, job, FALSE, error) && qsnap_new_image_detach (task, error) &&
      (drive->new_file == NULL || qsnap_io_sync_path (drive->new_file, 0, error)))
    return TRUE;

  g_prefix_error (error, "copying drive %s: ", qsnap_drive_label (drive));

  return FALSE;
}

gboolean
qsnap_copy_cancel (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;
  g_autofree char *job = job_of (task);

  return qsnap_disk_job_end (task->qmp, job, TRUE, error);
}
