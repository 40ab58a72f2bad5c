/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-disk-job.h"

#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

/* What a job has begun it brings to an end, at the speed of its target: QEMU copies 64 MiB at a
 * time. */
#define END_PATIENCE_MS (5 * 60 * 1000)
#define POLL_MS 50

JsonNode *
qsnap_disk_jobs_query (QsnapQmp *qmp, GError **error)
{
  return qsnap_qmp_run (qmp, "query-jobs", NULL, error);
}

JsonObject *
qsnap_disk_jobs_find (JsonNode *jobs, const char *job)
{
  JsonArray *list = qsnap_json_array (jobs);

  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    {
      JsonObject *entry = qsnap_json_array_object (list, i);

      if (g_strcmp0 (qsnap_json_get_string (entry, "id"), job) == 0)
        return entry;
    }

  return NULL;
}

gboolean
qsnap_disk_job_find (QsnapQmp *qmp, const char *job, JsonObject **entry, GError **error)
{
  g_autoptr (JsonNode) jobs = qsnap_disk_jobs_query (qmp, error);
  JsonObject *found = qsnap_disk_jobs_find (jobs, job);

  if (jobs == NULL)
    return FALSE;

  *entry = found != NULL ? json_object_ref (found) : NULL;

  return TRUE;
}

gboolean
qsnap_disk_job_has_concluded (QsnapWatch *watch, gconstpointer job)
{
  return g_strcmp0 (g_hash_table_lookup (watch->jobs, job), "concluded") == 0;
}

gboolean
qsnap_disk_job_check (JsonObject *entry, const char *command, GError **error)
{
  const char *failure = qsnap_json_get_string (entry, "error");

  if (failure == NULL)
    return TRUE;

  g_set_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC, "%s: %s", command, failure);

  return FALSE;
}

/* One that ends by itself meanwhile refuses. */
static void
hasten (QsnapQmp *qmp, const char *job, const char *status, gboolean cancel)
{
  if (cancel)
    (void)qsnap_qmp_job_command (qmp, "job-cancel", job, NULL);
  else if (g_strcmp0 (status, "pending") == 0)
    (void)qsnap_qmp_job_command (qmp, "job-finalize", job, NULL);
}

gboolean
qsnap_disk_job_end (QsnapQmp *qmp, const char *job, gboolean cancel, GError **error)
{
  for (guint i = 0; !qmp->gone && i < END_PATIENCE_MS / POLL_MS; i++)
    {
      g_autoptr (JsonObject) entry = NULL;
      const char *status;

      if (!qsnap_disk_job_find (qmp, job, &entry, error))
        return FALSE;
      if (entry == NULL)
        return TRUE;

      status = qsnap_json_get_string (entry, "status");
      if (g_strcmp0 (status, "concluded") == 0)
        return qsnap_qmp_job_command (qmp, "job-dismiss", job, error);

      hasten (qmp, job, status, cancel);
      cancel = FALSE;
      g_usleep (POLL_MS * 1000);
    }

  if (qmp->gone)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "the job %s does not end", job);

  return FALSE;
}
