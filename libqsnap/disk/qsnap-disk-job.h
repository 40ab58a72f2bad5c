/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-watch.h"

G_BEGIN_DECLS

/* QEMU's jobs, by their names. Their events say that something happened, the list of jobs what. */

/* All of them, for several questions. */
JsonNode *qsnap_disk_jobs_query (QsnapQmp *qmp, GError **error);
/* The job's entry in that list, or NULL. */
JsonObject *qsnap_disk_jobs_find (JsonNode *jobs, const char *job);

/* The job's entry in QEMU's list (transfer full), or NULL if there is none. */
gboolean qsnap_disk_job_find (QsnapQmp *qmp, const char *job, JsonObject **entry, GError **error);

/* Of qsnap_watch_wait(): the job has ended, and waits to be dismissed. */
gboolean qsnap_disk_job_has_concluded (QsnapWatch *watch, gconstpointer job);

/* Of a job that has concluded, whose @entry may be NULL: FALSE, with its error, if it has failed.
 */
gboolean qsnap_disk_job_check (JsonObject *entry, const char *command, GError **error);

/* Waits until it has concluded, and dismisses it; with @cancel it is told to end. There may be
 * none.
 */
gboolean qsnap_disk_job_end (QsnapQmp *qmp, const char *job, gboolean cancel, GError **error);

G_END_DECLS
