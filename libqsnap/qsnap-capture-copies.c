/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-copy.h"
#include "disk/qsnap-disk-check.h"
#include "disk/qsnap-disk-job.h"
#include "qsnap-capture-private.h"

/* The copies of disks, which QEMU makes beside all else from the point in time on. */

#define POLL_US (100 * 1000)

/* Only when all jobs have copied all, and it is written down that they have: until then whoever
 * recovers has to find each of them in QEMU's list. */
static gboolean
finish (QsnapCapture *capture, GError **error)
{
  qsnap_journal_flag (&capture->journal, QSNAP_JOURNAL_JOBS_ENDED);
  for (guint i = 0; i < capture->tasks->len; i++)
    {
      QsnapDiskTask *task = g_ptr_array_index (capture->tasks, i);

      if (task->drive->mode == QSNAP_DISK_MODE_COPY && !qsnap_copy_finish (task, error))
        return FALSE;
    }

  return TRUE;
}

gboolean
qsnap_capture_poll_copies (QsnapCapture *capture, gboolean *done, GError **error)
{
  guint64 all_done = 0, all_total = 0;
  g_autoptr (JsonNode) jobs = NULL;

  *done = TRUE;
  if (capture->copies_complete ||
      !qsnap_disks_have_mode (capture->guest->drives, QSNAP_DISK_MODE_COPY))
    return TRUE;

  jobs = qsnap_disk_jobs_query (capture->qmp, error);
  if (jobs == NULL)
    return FALSE;

  for (guint i = 0; i < capture->tasks->len; i++)
    {
      QsnapDiskTask *task = g_ptr_array_index (capture->tasks, i);
      guint64 one_done, one_total;

      if (task->drive->mode != QSNAP_DISK_MODE_COPY)
        continue;
      if (!qsnap_copy_judge (task, jobs, &one_done, &one_total, error))
        return FALSE;
      all_done += one_done;
      all_total += one_total;
      *done = *done && task->drive->copied;
    }

  qsnap_operation_set_disk_progress (capture->operation, all_done, all_total);
  if (!*done)
    return TRUE;
  if (!finish (capture, error))
    return FALSE;

  capture->copies_complete = TRUE;
  qsnap_journal_flag (&capture->journal, QSNAP_JOURNAL_COPIED);
  if (capture->point_in_time_told)
    qsnap_operation_disks_complete (capture->operation, capture->snapshot);

  return TRUE;
}

gboolean
qsnap_capture_wait_for_copies (QsnapCapture *capture, GError **error)
{
  gboolean done = FALSE;

  for (;;)
    {
      if (!qsnap_capture_go_on (capture, error) ||
          !qsnap_capture_poll_copies (capture, &done, error))
        return FALSE;
      if (done)
        return TRUE;
      g_usleep (POLL_US);
    }
}
