/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-merge.h"

#include "disk/qsnap-disk-job.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

#define POLL_MS 100
/* A guest that writes as fast as the job copies keeps it from its end. If what is left to copy has
 * not become less for so long, and is little, the guest is stopped for it. */
#define PATIENCE_US (10 * G_USEC_PER_SEC)
#define LITTLE (G_GUINT64_CONSTANT (256) << 20)

/* NULL if there is none, too. */
static JsonObject *
find_job (QsnapMerge *merge, GError **error)
{
  JsonObject *entry = NULL;

  (void)qsnap_disk_job_find (merge->qmp, merge->job, &entry, error);

  return entry;
}

gboolean
qsnap_merge_dismiss (QsnapQmp *qmp, const char *job, GError **error)
{
  g_autoptr (JsonObject) found = NULL;

  return qsnap_disk_job_find (qmp, job, &found, error) &&
         (g_strcmp0 (qsnap_json_get_string (found, "status"), "concluded") != 0 ||
          qsnap_qmp_job_command (qmp, "job-dismiss", job, error));
}

/* --- waiting ------------------------------------------------------------------------------- */

typedef struct
{
  const char *job;
  const char *status;
} Seen;

/* Events are a reason to ask earlier; a job that was taken up has sent some before. */
static gboolean
status_changed (QsnapWatch *watch, gconstpointer data)
{
  const Seen *seen = data;
  const char *status = g_hash_table_lookup (watch->jobs, seen->job);

  return status != NULL && g_strcmp0 (status, seen->status) != 0;
}

static gboolean
wait_for_change (QsnapMerge *merge, const char *status, GError **error)
{
  Seen seen = { merge->job, status };
  GCancellable *cancellable =
      g_cancellable_is_cancelled (merge->cancellable) ? NULL : merge->cancellable;
  g_autoptr (GError) failure = NULL;

  if (qsnap_watch_wait (merge->watch, status_changed, &seen, POLL_MS, cancellable, &failure) ||
      failure == NULL || g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

/* --- steps --------------------------------------------------------------------------------- */

/* One that has ended meanwhile cannot be cancelled: its status will tell. */
static gboolean
cancel (QsnapMerge *merge, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (merge->cancelled || merge->complete)
    return TRUE;

  merge->cancelled = TRUE;
  if (qsnap_qmp_job_command (merge->qmp, "job-cancel", merge->job, &failure) ||
      failure->domain == QSNAP_QMP_ERROR)
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

/* The pause that a guest gets is for what is left then. */
static gboolean
stop_if_endless (QsnapMerge *merge, guint64 left, GError **error)
{
  gint64 now = g_get_monotonic_time ();
  gboolean running;

  if (merge->least_left_time == 0 || left < merge->least_left)
    {
      merge->least_left = left;
      merge->least_left_time = now;
    }
  if (merge->stopped || left > LITTLE || now - merge->least_left_time < PATIENCE_US)
    return TRUE;

  if (!qsnap_qmp_is_running (merge->qmp, &running, error))
    return FALSE;
  if (!running)
    return TRUE;

  merge->stopped = TRUE;

  return merge->funcs->stop (merge->data, error);
}

static gboolean
go_on_copying (QsnapMerge *merge, JsonObject *job, GError **error)
{
  guint64 done = (guint64)qsnap_json_get_int (job, "current-progress", 0);
  guint64 total = (guint64)qsnap_json_get_int (job, "total-progress", 0);

  merge->funcs->progress (merge->data, done, MAX (done, total));

  return stop_if_endless (merge, total > done ? total - done : 0, error);
}

static gboolean
complete (QsnapMerge *merge, GError **error)
{
  if (merge->completing)
    return TRUE;

  merge->completing = TRUE;

  return qsnap_qmp_job_command (merge->qmp, "job-complete", merge->job, error);
}

/* The guest's writes wait while the job is pending. What this notes decides, if all dies now, which
 * image has the newest data. */
static gboolean
finalize (QsnapMerge *merge, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (merge->complete)
    return TRUE;

  if (!merge->funcs->complete (merge->data, &failure))
    {
      g_propagate_error (error, g_steal_pointer (&failure));
      (void)cancel (merge, NULL);
      return FALSE;
    }

  merge->complete = TRUE;

  return qsnap_qmp_job_command (merge->qmp, "job-finalize", merge->job, error);
}

static gboolean
take_step (QsnapMerge *merge, JsonObject *job, const char *status, GError **error)
{
  if (g_cancellable_is_cancelled (merge->cancellable) && !g_str_equal (status, "aborting"))
    return cancel (merge, error);
  if (g_str_equal (status, "pending"))
    return finalize (merge, error);
  if (g_str_equal (status, "ready") && !complete (merge, error))
    return FALSE;
  if (g_str_equal (status, "running") || g_str_equal (status, "ready"))
    return go_on_copying (merge, job, error);

  return TRUE;
}

static gboolean
end (QsnapMerge *merge, JsonObject *job, GError **error)
{
  const char *failure = qsnap_json_get_string (job, "error");

  if (!qsnap_qmp_job_command (merge->qmp, "job-dismiss", merge->job, error))
    return FALSE;
  if (merge->cancelled && g_cancellable_set_error_if_cancelled (merge->cancellable, error))
    return FALSE;
  if (failure == NULL)
    return TRUE;

  g_set_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC, "block-commit: %s", failure);

  return FALSE;
}

/* --- all of it ----------------------------------------------------------------------------- */

static gboolean
start (QsnapMerge *merge, GError **error)
{
  return qsnap_qmp_do (
      merge->qmp, "block-commit",
      qsnap_json_node_new ("job-id", 's', merge->job, "device", 's',
                           merge->top != NULL ? merge->top : merge->overlay, "top-node", 's',
                           merge->top != NULL ? merge->overlay : NULL, "base-node", 's',
                           merge->base, "backing-file", 's', merge->backing_file, "auto-finalize",
                           'b', FALSE, "auto-dismiss", 'b', FALSE, NULL),
      error);
}

static gboolean
follow (QsnapMerge *merge, JsonObject *job, GError **error)
{
  g_autoptr (JsonObject) current = json_object_ref (job);

  for (;;)
    {
      const char *status = qsnap_json_get_string (current, "status");
      g_autoptr (GError) failure = NULL;

      if (status == NULL)
        {
          g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, "job %s has no status",
                       merge->job);
          return FALSE;
        }
      if (g_str_equal (status, "concluded"))
        return end (merge, current, error);
      if (!take_step (merge, current, status, error) || !wait_for_change (merge, status, error))
        return FALSE;

      g_clear_pointer (&current, json_object_unref);
      current = find_job (merge, &failure);
      if (failure != NULL)
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      /* Dismissed by somebody else: the graph tells how it ended. */
      if (current == NULL)
        return TRUE;
    }
}

/* After an error the job must not go on behind the caller's back. */
static void
abandon (QsnapMerge *merge)
{
  for (guint i = 0; i < 50; i++)
    {
      g_autoptr (JsonObject) job = find_job (merge, NULL);
      const char *status = qsnap_json_get_string (job, "status");

      if (status == NULL)
        return;
      if (g_str_equal (status, "concluded"))
        {
          (void)qsnap_qmp_job_command (merge->qmp, "job-dismiss", merge->job, NULL);
          return;
        }
      merge->complete = FALSE;
      (void)cancel (merge, NULL);
      g_usleep (POLL_MS * 1000);
    }
}

gboolean
qsnap_merge_run (QsnapMerge *merge, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (JsonObject) job = NULL;
  gboolean merged;

  if (qsnap_merge_dismiss (merge->qmp, merge->job, &failure))
    job = find_job (merge, &failure);
  if (job == NULL && failure == NULL && start (merge, &failure))
    job = find_job (merge, &failure);

  merged = failure == NULL && (job == NULL || follow (merge, job, &failure));
  if (!merged && !qsnap_watch_is_closed (merge->watch))
    abandon (merge);
  if (failure != NULL)
    g_propagate_error (error, g_steal_pointer (&failure));

  return merged;
}
