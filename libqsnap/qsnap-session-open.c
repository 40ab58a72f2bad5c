/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"
#include "qsnap-session-private.h"

#include "qsnap-address.h"
#include "qsnap-json.h"

/* A monitor that is free greets at once; waiting longer for one that is taken helps nobody. */
#define GREETING_TIMEOUT_MS (15 * 1000)

/**
 * qsnap_session_new:
 * @address: (nullable): `unix:PATH`, a bare path, or `tcp:HOST:PORT`
 *
 * Makes a session for the monitor at @address. It is not connected before qsnap_session_open(). One
 * without an address is good for qsnap_session_recover() only.
 *
 * An instant snapshot needs a unix socket, as file descriptors are passed over it.
 *
 * Returns: (transfer full): a new session
 *
 * Since: 1.0
 */
QsnapSession *
qsnap_session_new (const char *address)
{
  return g_object_new (QSNAP_TYPE_SESSION, "address", address, NULL);
}

/**
 * qsnap_session_new_for_stream:
 * @stream: a stream whose other end is a QMP monitor
 *
 * Makes a session for a connection that exists already. The session closes it.
 *
 * Returns: (transfer full): a new session
 *
 * Since: 1.0
 */
QsnapSession *
qsnap_session_new_for_stream (GIOStream *stream)
{
  g_return_val_if_fail (G_IS_IO_STREAM (stream), NULL);

  return g_object_new (QSNAP_TYPE_SESSION, "stream", stream, NULL);
}

static gboolean
begin_opening (QsnapSession *self, GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  if (self->opening || (self->client != NULL && !qsnap_qmp_client_is_closed (self->client)))
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_BUSY, "the session is open already");
      return FALSE;
    }

  if (self->client != NULL && self->address == NULL)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                           "the session's stream has ended and cannot be opened again");
      return FALSE;
    }

  if (self->address == NULL && self->stream == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "the session has neither an address nor a stream");
      return FALSE;
    }

  self->opening = TRUE;

  return TRUE;
}

static char *
version_of_greeting (JsonNode *greeting)
{
  JsonObject *version = qsnap_json_get_object (json_node_get_object (greeting), "version");
  JsonObject *qemu = qsnap_json_get_object (version, "qemu");

  return g_strdup_printf ("%d.%d.%d", (int)qsnap_json_get_int (qemu, "major", 0),
                          (int)qsnap_json_get_int (qemu, "minor", 0),
                          (int)qsnap_json_get_int (qemu, "micro", 0));
}

/* Takes @stream, @client and @greeting, all NULL where opening failed. A stream that was given has
 * been closed then: the session stays without one that works. */
static void
end_opening (QsnapSession *self, GIOStream *stream, QsnapQmpClient *client, JsonNode *greeting)
{
  g_autoptr (QsnapQmpClient) old = NULL;
  g_autofree char *old_version = NULL;

  g_mutex_lock (&self->lock);
  self->opening = FALSE;
  if (client != NULL)
    {
      old = self->client;
      self->client = client;
      g_set_object (&self->stream, stream);
      old_version = self->qemu_version;
      self->qemu_version = version_of_greeting (greeting);
    }
  g_mutex_unlock (&self->lock);

  g_clear_object (&stream);
  g_clear_pointer (&greeting, json_node_unref);
}

/**
 * qsnap_session_open:
 * @self: a session
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Connects to the monitor, reads its greeting and negotiates QMP capabilities. A session that was
 * closed can be opened again if it has an address.
 *
 * Errors: %G_IO_ERROR_INVALID_ARGUMENT for an address that is none; those of #GIOErrorEnum with the
 * address in the message where nothing can be reached there; %QSNAP_ERROR_PROTOCOL for a peer that
 * does not speak QMP; %QSNAP_ERROR_TIMED_OUT where no greeting comes, as another client may hold
 * the monitor; %QSNAP_ERROR_BUSY if it is open.
 *
 * Returns: %TRUE if the session is open
 *
 * Since: 1.0
 */
gboolean
qsnap_session_open (QsnapSession *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (GIOStream) stream = NULL;
  g_autoptr (QsnapQmpClient) client = NULL;
  g_autoptr (JsonNode) greeting = NULL;
  guint timeout_ms;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);

  if (g_cancellable_set_error_if_cancelled (cancellable, error) || !begin_opening (self, error))
    return FALSE;

  timeout_ms = qsnap_session_get_timeout (self);
  if (timeout_ms == 0 || timeout_ms > GREETING_TIMEOUT_MS)
    timeout_ms = GREETING_TIMEOUT_MS;
  if (self->address != NULL)
    stream =
        qsnap_address_connect (self->address, "QEMU's monitor", timeout_ms, cancellable, error);
  else
    stream = g_object_ref (self->stream);

  if (stream != NULL)
    {
      client = qsnap_session_make_client (self, stream);
      greeting = qsnap_qmp_client_negotiate (client, timeout_ms, cancellable, error);
    }

  if (greeting == NULL)
    {
      if (client != NULL)
        qsnap_qmp_client_close (client);
      end_opening (self, NULL, NULL, NULL);
      return FALSE;
    }

  end_opening (self, g_steal_pointer (&stream), g_steal_pointer (&client),
               g_steal_pointer (&greeting));
  qsnap_session_tell_opened (self);

  /* It may have ended between its greeting and here. */
  if (!qsnap_session_get_is_open (self))
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                           "QEMU closed the connection right after its greeting");
      return FALSE;
    }

  return TRUE;
}

/**
 * qsnap_session_open_async:
 * @self: a session
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_open().
 *
 * Since: 1.0
 */
void
qsnap_session_open_async (QsnapSession *self,
                          GCancellable *cancellable,
                          GAsyncReadyCallback callback,
                          gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_SESSION (self));

  qsnap_async_run (self, qsnap_session_open_async, (QsnapAsyncFunc)qsnap_session_open, cancellable,
                   callback, user_data);
}

/**
 * qsnap_session_open_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_open_async().
 *
 * Returns: %TRUE if the session is open
 *
 * Since: 1.0
 */
gboolean
qsnap_session_open_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_open_async), FALSE);

  return g_task_propagate_boolean (G_TASK (result), error);
}

/**
 * qsnap_session_close:
 * @self: a session
 *
 * Ends the connection. Every call that is under way fails with %QSNAP_ERROR_CLOSED. Closing while a
 * snapshot is being taken leaves what it changed in QEMU as it is: cancel it first, and wait until
 * it is undone. Closing a session that is not open does nothing.
 *
 * Since: 1.0
 */
void
qsnap_session_close (QsnapSession *self)
{
  g_autoptr (QsnapQmpClient) client = NULL;

  g_return_if_fail (QSNAP_IS_SESSION (self));

  client = qsnap_session_ref_client (self, NULL);
  if (client != NULL)
    qsnap_qmp_client_close (client);
}
