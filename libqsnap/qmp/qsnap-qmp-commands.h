/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qmp/qsnap-qmp-client.h"

G_BEGIN_DECLS

/* QMP commands with C arguments. Each waits for QEMU's answer; an error says which command it was
 * and keeps QEMU's text and code.
 *
 * In a capture none can be cancelled: a command that was sent is carried out, and who no longer
 * waits for the answer does not know what to undo. Commands are short; cancelling is looked at
 * between them. */

typedef struct
{
  QsnapQmpClient *client;
  /* 0: no limit */
  guint timeout_ms;
  /* For a QEMU that is to end if it is cancelled, so that nothing in it has to be undone. */
  GCancellable *cancellable;
  /* QEMU is known to have ended: nothing in it has to be put back. */
  gboolean gone;
} QsnapQmp;

/* @arguments are taken. */
JsonNode *qsnap_qmp_run (QsnapQmp *qmp, const char *command, JsonNode *arguments, GError **error);
gboolean qsnap_qmp_do (QsnapQmp *qmp, const char *command, JsonNode *arguments, GError **error);
JsonNode *qsnap_qmp_run_with_fd (
    QsnapQmp *qmp, const char *command, JsonNode *arguments, int fd, GError **error);

/* Answers where @error may be thrown away: NULL if the command does not exist or fails. */
JsonNode *qsnap_qmp_try (QsnapQmp *qmp, const char *command, JsonNode *arguments);

/* For what is looked for, where a QEMU that does not have it is as good as one that has none: an
 * error that QEMU answered is a NULL @reply. FALSE only if there is no answer. */
gboolean qsnap_qmp_ask (
    QsnapQmp *qmp, const char *command, JsonNode *arguments, JsonNode **reply, GError **error);

/* The run state by name. */
char *qsnap_qmp_query_status (QsnapQmp *qmp, GError **error);
gboolean qsnap_qmp_is_running (QsnapQmp *qmp, gboolean *running, GError **error);

gboolean qsnap_qmp_getfd (QsnapQmp *qmp, const char *name, int fd, GError **error);
gboolean qsnap_qmp_closefd (QsnapQmp *qmp, const char *name, GError **error);

/* Adds @fd to set @fdset, or to a new one where that is negative; answers the set, or -1.
 * @path is what query-fdsets shows of it. */
gint64 qsnap_qmp_add_fd (QsnapQmp *qmp, gint64 fdset, const char *path, int fd, GError **error);
/* The set that was added with @path, or -1 in @fdset. */
gboolean qsnap_fdset_of_path (QsnapQmp *qmp, const char *path, gint64 *fdset, GError **error);
gboolean qsnap_qmp_remove_fd (QsnapQmp *qmp, gint64 fdset, GError **error);

gboolean qsnap_qmp_blockdev_del (QsnapQmp *qmp, const char *node, GError **error);
/* job-complete, job-cancel, job-dismiss */
gboolean
qsnap_qmp_job_command (QsnapQmp *qmp, const char *command, const char *job, GError **error);

/* Capability name → state of the migration capabilities. */
GHashTable *qsnap_qmp_query_capabilities (QsnapQmp *qmp, GError **error);
/* Switches all of @names, the last of which is NULL. */
gboolean qsnap_qmp_switch_capabilities (QsnapQmp *qmp,
                                        const char *const *names,
                                        gboolean on,
                                        GError **error);
/* The arguments of migrate-set-capabilities for @states. */
JsonNode *qsnap_qmp_capabilities_arguments (GHashTable *states);

gboolean qsnap_qmp_set_shutdown_action (QsnapQmp *qmp, const char *action, GError **error);

G_END_DECLS
