/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-disk-job.h"

#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

/* What a job has begun it brings to an end, at the speed of its target: QEMU copies 64 MiB at a
 * time. */
#define END_PATIENCE_MS (5 * 60 * 1000)
#define POLL_MS 50

gboolean
qsnap_disk_job_find (QsnapQmp *qmp, const char *job, JsonObject **entry, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (qmp, "query-jobs", NULL, error);
  JsonArray *jobs = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  *entry = NULL;
  for (guint i = 0; jobs != NULL && i < json_array_get_length (jobs) && *entry == NULL; i++)
    {
      JsonObject *candidate = qsnap_json_array_object (jobs, i);

      if (g_strcmp0 (qsnap_json_get_string (candidate, "id"), job) == 0)
        *entry = json_object_ref (candidate);
    }

  return TRUE;
}

gboolean
qsnap_disk_job_has_concluded (QsnapWatch *watch, gconstpointer job)
{
  return g_strcmp0 (g_hash_table_lookup (watch->jobs, job), "concluded") == 0;
}

gboolean
qsnap_disk_job_check (QsnapQmp *qmp, const char *job, const char *command, GError **error)
{
  g_autoptr (JsonObject) entry = NULL;
  const char *failure;

  if (!qsnap_disk_job_find (qmp, job, &entry, error))
    return FALSE;

  failure = qsnap_json_get_string (entry, "error");
  if (failure == NULL)
    return TRUE;

  g_set_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC, "%s: %s", command, failure);

  return FALSE;
}

gboolean
qsnap_disk_job_end (QsnapQmp *qmp, const char *job, gboolean cancel, GError **error)
{
  for (guint i = 0; !qmp->gone && i < END_PATIENCE_MS / POLL_MS; i++)
    {
      g_autoptr (JsonObject) entry = NULL;

      if (!qsnap_disk_job_find (qmp, job, &entry, error))
        return FALSE;
      if (entry == NULL)
        return TRUE;
      if (g_strcmp0 (qsnap_json_get_string (entry, "status"), "concluded") == 0)
        return qsnap_qmp_job_command (qmp, "job-dismiss", job, error);

      /* One that ends by itself meanwhile refuses. */
      if (cancel)
        (void)qsnap_qmp_job_command (qmp, "job-cancel", job, NULL);
      cancel = FALSE;
      g_usleep (POLL_MS * 1000);
    }

  if (qmp->gone)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "the job %s does not end", job);

  return FALSE;
}
