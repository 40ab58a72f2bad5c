/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-address.h"
#include "qsnap-capture-private.h"

/* A connection that ends in mid-capture, with QEMU alive at its other end, must not leave the guest
 * stopped, or a capability on: QEMU is called again. */

#define CONNECT_TIMEOUT_MS 5000

static gboolean
note_event (const char *name, JsonNode *data, gint64 time, gpointer watch)
{
  return qsnap_watch_note_event (watch, name, data, time);
}

static void
note_closed (const GError *error, gpointer watch)
{
  g_autoptr (GError) closed = error != NULL
                                  ? g_error_copy (error)
                                  : g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_CLOSED, "closed");

  qsnap_watch_note_closed (watch, closed);
}

static void
unref_watch (gpointer watch)
{
  qsnap_watch_unref (watch);
}

QsnapQmpClient *
qsnap_capture_connect (const char *address, QsnapWatch *watch, GIOStream **stream, GError **error)
{
  static const QsnapQmpHandlers handlers = { note_event, note_closed };
  g_autoptr (GIOStream) connection =
      qsnap_address_connect (address, "QEMU's monitor", CONNECT_TIMEOUT_MS, NULL, error);
  g_autoptr (QsnapQmpClient) client = NULL;
  g_autoptr (JsonNode) greeting = NULL;

  if (connection == NULL)
    return NULL;

  client = qsnap_qmp_client_new (connection, &handlers, qsnap_watch_ref (watch), unref_watch);
  greeting = qsnap_qmp_client_negotiate (client, CONNECT_TIMEOUT_MS, NULL, error);
  if (greeting == NULL)
    {
      qsnap_qmp_client_close (client);
      return NULL;
    }

  if (stream != NULL)
    *stream = g_steal_pointer (&connection);

  return g_steal_pointer (&client);
}

static QsnapQmpClient *
connect_again (QsnapCapture *capture, GError **error)
{
  QsnapSession *session = qsnap_operation_get_session (capture->operation);
  const char *address = qsnap_session_get_address (session);

  if (address == NULL)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                           "the session's stream cannot be opened again");
      return NULL;
    }

  return qsnap_capture_connect (address, capture->watch, NULL, error);
}

static gboolean
nobody_is_there (QsnapCapture *capture, const GError *error)
{
  if (capture->guest->process->pid != 0)
    return qsnap_process_has_ended (capture->guest->process);

  return g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED) ||
         g_error_matches (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
}

static gboolean
is_noted (QsnapWatch *watch, gconstpointer data)
{
  return watch->closed != NULL;
}

void
qsnap_capture_reconnect (QsnapCapture *capture)
{
  g_autoptr (GError) error = NULL;
  QsnapQmpClient *client;

  if (!qsnap_qmp_client_is_closed (capture->qmp->client) || capture->qmp->gone)
    return;

  /* The end is noted by another thread: before it is forgotten, it has to be known. */
  (void)qsnap_watch_wait (capture->watch, is_noted, NULL, CONNECT_TIMEOUT_MS, NULL, NULL);

  capture->qmp->gone = qsnap_process_has_ended (capture->guest->process);
  if (capture->qmp->gone)
    return;

  client = connect_again (capture, &error);
  if (client == NULL)
    {
      g_debug ("cannot connect again: %s", error->message);
      capture->qmp->gone = nobody_is_there (capture, error);
      return;
    }

  qsnap_watch_reopen (capture->watch);
  qsnap_qmp_client_unref (capture->qmp->client);
  g_clear_pointer (&capture->second_client, qsnap_qmp_client_unref);
  capture->qmp->client = qsnap_qmp_client_ref (client);
  capture->second_client = client;
}

gboolean
qsnap_capture_run_undo (QsnapCapture *capture, QsnapUndo *undo, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (qsnap_undo_run (undo, &failure))
    return TRUE;

  if (!qsnap_qmp_client_is_closed (capture->qmp->client) || capture->qmp->gone)
    {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }

  qsnap_capture_reconnect (capture);

  return qsnap_undo_run (undo, error);
}
