/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-session-private.h"

#include "qsnap-json.h"
#include "qsnap-worker.h"

/**
 * qsnap_session_execute:
 * @self: a session
 * @command: the name of a QMP command, for example `query-status`
 * @arguments: (nullable) (transfer none): the command's arguments, an object
 * @fds: (nullable): file descriptors for the command; they travel with its bytes
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Runs a QMP command and waits for the answer. Cancelling gives up the wait: QEMU carries out what
 * was sent.
 *
 * Errors: %QSNAP_QMP_ERROR with QEMU's text word for word, %QSNAP_ERROR_TIMED_OUT after
 * #QsnapSession:timeout, %QSNAP_ERROR_CLOSED, %QSNAP_ERROR_UNSUPPORTED for descriptors over
 * anything but a unix socket, %G_IO_ERROR_CANCELLED.
 *
 * Returns: (transfer full): what the command returned; free with json_node_unref()
 *
 * Since: 1.0
 */
JsonNode *
qsnap_session_execute (QsnapSession *self,
                       const char *command,
                       JsonNode *arguments,
                       GUnixFDList *fds,
                       GCancellable *cancellable,
                       GError **error)
{
  g_autoptr (QsnapQmpClient) client = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (command != NULL, NULL);
  g_return_val_if_fail (arguments == NULL || JSON_NODE_HOLDS_OBJECT (arguments), NULL);
  g_return_val_if_fail (fds == NULL || G_IS_UNIX_FD_LIST (fds), NULL);

  client = qsnap_session_ref_client (self, error);
  if (client == NULL)
    return NULL;

  return qsnap_qmp_client_call (client, command,
                                arguments != NULL ? qsnap_json_copy (arguments) : NULL, fds,
                                qsnap_session_get_timeout (self), cancellable, error);
}

/* --- asynchronously ------------------------------------------------------------------------ */

/* A call is ended by the reply, by the timeout, by cancelling, or by the end of the connection,
 * whichever is first. It is set up in the worker's thread, where all but the last of these come. */
typedef struct
{
  gatomicrefcount refs;
  GTask *task;
  QsnapQmpClient *client;
  char *command;
  JsonNode *arguments;
  GUnixFDList *fds;
  guint timeout_ms;

  guint64 id;
  GSource *timeout;
  GSource *cancel;
  gint ended;
} AsyncCall;

static void
async_call_unref (gpointer data)
{
  AsyncCall *call = data;

  if (!g_atomic_ref_count_dec (&call->refs))
    return;

  g_object_unref (call->task);
  qsnap_qmp_client_unref (call->client);
  g_free (call->command);
  g_clear_pointer (&call->arguments, json_node_unref);
  g_clear_object (&call->fds);
  g_clear_pointer (&call->timeout, g_source_unref);
  g_clear_pointer (&call->cancel, g_source_unref);
  g_free (call);
}

static AsyncCall *
async_call_ref (AsyncCall *call)
{
  g_atomic_ref_count_inc (&call->refs);

  return call;
}

static void
async_call_destroy_sources (AsyncCall *call)
{
  if (call->timeout != NULL)
    g_source_destroy (call->timeout);
  if (call->cancel != NULL)
    g_source_destroy (call->cancel);
}

/* TRUE for the first who ends the call. */
static gboolean
async_call_end (AsyncCall *call)
{
  return g_atomic_int_compare_and_exchange (&call->ended, FALSE, TRUE);
}

static gboolean
async_call_clean_up (gpointer data)
{
  async_call_destroy_sources (data);

  return G_SOURCE_REMOVE;
}

static void
async_call_reply (JsonNode *reply, const GError *error, gpointer user_data)
{
  AsyncCall *call = user_data;

  if (async_call_end (call))
    {
      if (reply != NULL)
        g_task_return_pointer (call->task, qsnap_json_copy (reply),
                               (GDestroyNotify)json_node_unref);
      else
        g_task_return_error (call->task, g_error_copy (error));
    }

  /* This may be inside async_call_start(), or in the thread that closed the session. */
  qsnap_worker_run (async_call_clean_up, call, async_call_unref);
}

static void
async_call_give_up (AsyncCall *call, GError *reason)
{
  if (!async_call_end (call))
    {
      g_error_free (reason);
      return;
    }

  g_task_return_error (call->task, reason);
  async_call_destroy_sources (call);
  if (qsnap_qmp_client_forget (call->client, call->id))
    async_call_unref (call);
}

static gboolean
async_call_timed_out (gpointer user_data)
{
  AsyncCall *call = user_data;

  async_call_give_up (call, g_error_new (QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                                         "no answer to %s in %u.%u seconds", call->command,
                                         call->timeout_ms / 1000, call->timeout_ms % 1000 / 100));

  return G_SOURCE_REMOVE;
}

static gboolean
async_call_cancelled (GCancellable *cancellable, gpointer user_data)
{
  g_autoptr (GError) reason = NULL;

  g_cancellable_set_error_if_cancelled (cancellable, &reason);
  async_call_give_up (user_data, g_steal_pointer (&reason));

  return G_SOURCE_REMOVE;
}

static void
async_call_attach (AsyncCall *call, GSource *source, GSourceFunc func)
{
  g_source_set_callback (source, func, async_call_ref (call), async_call_unref);
  g_source_attach (source, qsnap_worker_context ());
}

static gboolean
async_call_start (gpointer data)
{
  AsyncCall *call = data;
  GCancellable *cancellable = g_task_get_cancellable (call->task);

  call->id = qsnap_qmp_client_send (call->client, call->command, g_steal_pointer (&call->arguments),
                                    call->fds, async_call_reply, async_call_ref (call));

  if (call->timeout_ms > 0)
    {
      call->timeout = g_timeout_source_new (call->timeout_ms);
      async_call_attach (call, call->timeout, async_call_timed_out);
    }
  if (cancellable != NULL)
    {
      call->cancel = g_cancellable_source_new (cancellable);
      async_call_attach (call, call->cancel, G_SOURCE_FUNC (async_call_cancelled));
    }

  return G_SOURCE_REMOVE;
}

/**
 * qsnap_session_execute_async:
 * @self: a session
 * @command: the name of a QMP command
 * @arguments: (nullable) (transfer none): the command's arguments, an object
 * @fds: (nullable): file descriptors for the command
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_execute().
 *
 * Since: 1.0
 */
void
qsnap_session_execute_async (QsnapSession *self,
                             const char *command,
                             JsonNode *arguments,
                             GUnixFDList *fds,
                             GCancellable *cancellable,
                             GAsyncReadyCallback callback,
                             gpointer user_data)
{
  g_autoptr (GTask) task = NULL;
  g_autoptr (QsnapQmpClient) client = NULL;
  g_autoptr (GError) error = NULL;
  AsyncCall *call;

  g_return_if_fail (QSNAP_IS_SESSION (self));
  g_return_if_fail (command != NULL);
  g_return_if_fail (arguments == NULL || JSON_NODE_HOLDS_OBJECT (arguments));
  g_return_if_fail (fds == NULL || G_IS_UNIX_FD_LIST (fds));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_session_execute_async);

  client = qsnap_session_ref_client (self, &error);
  if (client == NULL)
    {
      g_task_return_error (task, g_steal_pointer (&error));
      return;
    }
  if (g_task_return_error_if_cancelled (task))
    return;

  call = g_new0 (AsyncCall, 1);
  g_atomic_ref_count_init (&call->refs);
  call->task = g_steal_pointer (&task);
  call->client = g_steal_pointer (&client);
  call->command = g_strdup (command);
  call->arguments = arguments != NULL ? qsnap_json_copy (arguments) : NULL;
  call->fds = fds != NULL ? g_object_ref (fds) : NULL;
  call->timeout_ms = qsnap_session_get_timeout (self);
  qsnap_worker_run (async_call_start, call, async_call_unref);
}

/**
 * qsnap_session_execute_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_execute_async().
 *
 * Returns: (transfer full): what the command returned; free with json_node_unref()
 *
 * Since: 1.0
 */
JsonNode *
qsnap_session_execute_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (g_task_is_valid (result, self), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_execute_async), NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}
