/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qmp/qsnap-qmp-commands.h"

#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

/* A QEMU that left one command without an answer is most likely hung: the ones that undo what was
 * done must not add up to minutes. */
#define IMPATIENT_TIMEOUT_MS 5000

static JsonNode *
run (QsnapQmp *qmp, const char *command, JsonNode *arguments, GUnixFDList *fds, GError **error)
{
  g_autoptr (GError) failure = NULL;
  JsonNode *reply = qsnap_qmp_client_call (qmp->client, command, arguments, fds, qmp->timeout_ms,
                                           qmp->cancellable, &failure);

  if (reply != NULL)
    return reply;

  if (g_error_matches (failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT))
    qmp->timeout_ms = MIN (qmp->timeout_ms, IMPATIENT_TIMEOUT_MS);
  g_propagate_prefixed_error (error, g_steal_pointer (&failure), "%s: ", command);

  return NULL;
}

JsonNode *
qsnap_qmp_run (QsnapQmp *qmp, const char *command, JsonNode *arguments, GError **error)
{
  return run (qmp, command, arguments, NULL, error);
}

gboolean
qsnap_qmp_do (QsnapQmp *qmp, const char *command, JsonNode *arguments, GError **error)
{
  g_autoptr (JsonNode) reply = run (qmp, command, arguments, NULL, error);

  return reply != NULL;
}

JsonNode *
qsnap_qmp_run_with_fd (
    QsnapQmp *qmp, const char *command, JsonNode *arguments, int fd, GError **error)
{
  g_autoptr (GUnixFDList) fds = g_unix_fd_list_new ();

  if (g_unix_fd_list_append (fds, fd, error) < 0)
    {
      g_clear_pointer (&arguments, json_node_unref);
      return NULL;
    }

  return run (qmp, command, arguments, fds, error);
}

JsonNode *
qsnap_qmp_try (QsnapQmp *qmp, const char *command, JsonNode *arguments)
{
  return run (qmp, command, arguments, NULL, NULL);
}

gboolean
qsnap_qmp_ask (
    QsnapQmp *qmp, const char *command, JsonNode *arguments, JsonNode **reply, GError **error)
{
  g_autoptr (GError) failure = NULL;

  *reply = run (qmp, command, arguments, NULL, &failure);
  if (*reply != NULL || failure->domain == QSNAP_QMP_ERROR)
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

char *
qsnap_qmp_query_status (QsnapQmp *qmp, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (qmp, "query-status", NULL, error);
  const char *status;

  if (reply == NULL)
    return NULL;

  status = qsnap_json_get_string (qsnap_json_object (reply), "status");
  if (status == NULL)
    g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                         "query-status: the answer has no status");

  return g_strdup (status);
}

gboolean
qsnap_qmp_is_running (QsnapQmp *qmp, gboolean *running, GError **error)
{
  g_autofree char *status = qsnap_qmp_query_status (qmp, error);

  if (status == NULL)
    return FALSE;

  *running = g_str_equal (status, "running");

  return TRUE;
}

gboolean
qsnap_qmp_getfd (QsnapQmp *qmp, const char *name, int fd, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run_with_fd (
      qmp, "getfd", qsnap_json_node_new ("fdname", 's', name, NULL), fd, error);

  return reply != NULL;
}

gboolean
qsnap_qmp_closefd (QsnapQmp *qmp, const char *name, GError **error)
{
  return qsnap_qmp_do (qmp, "closefd", qsnap_json_node_new ("fdname", 's', name, NULL), error);
}

gint64
qsnap_qmp_add_fd (QsnapQmp *qmp, gint64 fdset, const char *path, int fd, GError **error)
{
  JsonNode *arguments = qsnap_json_node_new ("opaque", 's', path, NULL);
  g_autoptr (JsonNode) reply = NULL;
  gint64 id;

  if (fdset >= 0)
    json_object_set_int_member (json_node_get_object (arguments), "fdset-id", fdset);

  reply = qsnap_qmp_run_with_fd (qmp, "add-fd", arguments, fd, error);
  if (reply == NULL)
    return -1;

  id = qsnap_json_get_int (qsnap_json_object (reply), "fdset-id", -1);
  if (id < 0)
    g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                         "add-fd: the answer has no fdset-id");

  return id;
}

static gboolean
fdset_has_path (JsonObject *set, const char *path)
{
  JsonArray *fds = qsnap_json_get_array (set, "fds");

  for (guint i = 0; fds != NULL && i < json_array_get_length (fds); i++)
    if (g_strcmp0 (qsnap_json_get_string (qsnap_json_array_object (fds, i), "opaque"), path) == 0)
      return TRUE;

  return FALSE;
}

gboolean
qsnap_fdset_of_path (QsnapQmp *qmp, const char *path, gint64 *fdset, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (qmp, "query-fdsets", NULL, error);
  JsonArray *sets = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  *fdset = -1;
  for (guint i = 0; sets != NULL && i < json_array_get_length (sets); i++)
    if (fdset_has_path (qsnap_json_array_object (sets, i), path))
      *fdset = qsnap_json_get_int (qsnap_json_array_object (sets, i), "fdset-id", -1);

  return TRUE;
}

gboolean
qsnap_qmp_remove_fd (QsnapQmp *qmp, gint64 fdset, GError **error)
{
  return qsnap_qmp_do (qmp, "remove-fd", qsnap_json_node_new ("fdset-id", 'i', fdset, NULL), error);
}

gboolean
qsnap_qmp_blockdev_del (QsnapQmp *qmp, const char *node, GError **error)
{
  return qsnap_qmp_do (qmp, "blockdev-del", qsnap_json_node_new ("node-name", 's', node, NULL),
                       error);
}

gboolean
qsnap_qmp_job_command (QsnapQmp *qmp, const char *command, const char *job, GError **error)
{
  return qsnap_qmp_do (qmp, command, qsnap_json_node_new ("id", 's', job, NULL), error);
}

GHashTable *
qsnap_qmp_query_capabilities (QsnapQmp *qmp, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (qmp, "query-migrate-capabilities", NULL, error);
  g_autoptr (GHashTable) states = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  JsonArray *list = qsnap_json_array (reply);

  if (reply == NULL)
    return NULL;

  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    {
      JsonObject *entry = qsnap_json_array_object (list, i);
      const char *name = qsnap_json_get_string (entry, "capability");

      if (name != NULL)
        g_hash_table_insert (states, g_strdup (name),
                             GINT_TO_POINTER (qsnap_json_get_bool (entry, "state", FALSE)));
    }

  return g_steal_pointer (&states);
}

JsonNode *
qsnap_qmp_capabilities_arguments (GHashTable *states)
{
  JsonArray *list = json_array_new ();
  GHashTableIter iter;
  gpointer name, state;

  g_hash_table_iter_init (&iter, states);
  while (g_hash_table_iter_next (&iter, &name, &state))
    json_array_add_object_element (list,
                                   qsnap_json_object_new ("capability", 's', name, "state", 'b',
                                                          GPOINTER_TO_INT (state), NULL));

  return qsnap_json_node_new ("capabilities", 'a', list, NULL);
}

gboolean
qsnap_qmp_switch_capabilities (QsnapQmp *qmp, const char *const *names, gboolean on, GError **error)
{
  g_autoptr (GHashTable) states = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; names[i] != NULL; i++)
    g_hash_table_insert (states, (gpointer)names[i], GINT_TO_POINTER (on));

  return qsnap_qmp_do (qmp, "migrate-set-capabilities", qsnap_qmp_capabilities_arguments (states),
                       error);
}

gboolean
qsnap_qmp_set_shutdown_action (QsnapQmp *qmp, const char *action, GError **error)
{
  return qsnap_qmp_do (qmp, "set-action", qsnap_json_node_new ("shutdown", 's', action, NULL),
                       error);
}
