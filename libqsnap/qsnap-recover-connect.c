/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <sys/file.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-recover-private.h"
#include "qsnap-session-private.h"

/* Who is still there: the client, its saver, QEMU. */

#define POLL_US (50 * 1000)
/* A saver that is only about to end needs no help. */
#define SAVER_PATIENCE_US (500 * 1000)
#define PEEKS 3
#define RETRY_US (5 * G_USEC_PER_SEC)
#define TIMEOUT_MS (60 * 1000)

/* --- QEMU ---------------------------------------------------------------------------------- */

/* The session may be connected to another QEMU, that was started in the meantime. */
static QsnapQmpClient *
client_of_session (QsnapCapture *capture, GIOStream **stream)
{
  QsnapSession *session = qsnap_operation_get_session (capture->operation);
  g_autoptr (QsnapQmpClient) client = qsnap_session_ref_client (session, NULL);
  gint64 expected = qsnap_json_get_int (capture->journal.json, "qemu-pid", 0);
  g_autoptr (QsnapGuest) guest = NULL;

  if (client == NULL)
    return NULL;

  *stream = qsnap_session_ref_stream (session);
  guest = qsnap_guest_new (client, *stream, 0);
  if (expected != 0 && guest->process->pid != 0 && guest->process->pid != expected)
    {
      g_clear_object (stream);
      return NULL;
    }

  return g_steal_pointer (&client);
}

static QsnapQmpClient *
call_qemu (QsnapCapture *capture, GIOStream **stream, GError **error)
{
  const char *address =
      qsnap_session_get_address (qsnap_operation_get_session (capture->operation));

  if (address == NULL)
    address = qsnap_json_get_string (capture->journal.json, "address");
  if (address != NULL)
    return qsnap_capture_connect (address, capture->watch, stream, error);

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                       "QEMU may be alive, and its monitor's address is not known: give it");

  return NULL;
}

/* The session's own connection, where it is open; else one for this recovery. NULL without an
 * error: there is no QEMU any more. */
static QsnapQmpClient *
reach_qemu (QsnapCapture *capture, GIOStream **stream, GError **error)
{
  JsonObject *journal = capture->journal.json;
  gboolean alive = qsnap_process_is_alive (journal, "qemu-pid", "qemu-start");
  g_autoptr (GError) failure = NULL;
  QsnapQmpClient *client;

  if (qsnap_json_get_int (journal, "qemu-start", 0) != 0 && !alive)
    return NULL;

  client = client_of_session (capture, stream);
  if (client != NULL)
    {
      qsnap_session_set_watch (qsnap_operation_get_session (capture->operation), capture->watch);
      return client;
    }

  client = call_qemu (capture, stream, &failure);
  if (client != NULL)
    {
      capture->second_client = qsnap_qmp_client_ref (client);
      return client;
    }

  /* Nobody listens, and nothing says that QEMU lives. */
  if (!alive && (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED) ||
                 g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)))
    return NULL;

  g_propagate_prefixed_error (error, g_steal_pointer (&failure), "reaching QEMU: ");

  return NULL;
}

gboolean
qsnap_recover_connect (QsnapCapture *capture, GError **error)
{
  g_autoptr (GIOStream) stream = NULL;
  g_autoptr (GError) failure = NULL;
  g_autoptr (QsnapQmpClient) client = reach_qemu (capture, &stream, &failure);

  if (failure != NULL)
    {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }

  capture->guest =
      client != NULL ? qsnap_guest_new (client, stream, TIMEOUT_MS) : qsnap_guest_new_gone ();
  capture->qmp = &capture->guest->qmp;

  return TRUE;
}

/* --- the directory ------------------------------------------------------------------------- */

/* A migration of a guest that runs waits for its client before its end, with the guest stopped, or
 * never comes to it. */
static gboolean
end_live_migration (QsnapCapture *capture, QsnapQmp *qmp)
{
  JsonObject *journal = capture->journal.json;

  if (g_strcmp0 (qsnap_json_get_string (journal, "mode"), "live") != 0 ||
      g_strcmp0 (qsnap_json_get_string (journal, "run-state"), "running") != 0)
    return TRUE;

  return qsnap_qmp_do (qmp, "migrate_cancel", NULL, NULL);
}

/* A saver whose client died before `migrate` waits for a stream that nobody will begin: its write
 * end is with QEMU. Closed, the saver ends. Where `migrate` has come, QEMU knows no such descriptor
 * any more, and nothing happens. FALSE: it could not be asked. */
static gboolean
end_idle_stream (QsnapCapture *capture)
{
  g_autoptr (GIOStream) stream = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapQmpClient) own = client_of_session (capture, &stream);
  g_autoptr (QsnapQmpClient) called = own == NULL ? call_qemu (capture, &stream, NULL) : NULL;
  QsnapQmp qmp = { .client = own != NULL ? own : called, .timeout_ms = TIMEOUT_MS };
  gboolean answered;

  if (qmp.client == NULL)
    return FALSE;

  /* Where there is none, `migrate` has taken it. */
  answered = qsnap_qmp_closefd (&qmp, QSNAP_STREAM_FD_NAME, &error) ||
             (error->domain == QSNAP_QMP_ERROR && end_live_migration (capture, &qmp));
  if (called != NULL)
    {
      qsnap_qmp_client_close (called);
      qsnap_watch_reopen (capture->watch);
    }

  return answered;
}

static gboolean
may_be_idle (JsonObject *journal)
{
  const char *step = qsnap_json_get_string (journal, "step");

  return g_str_equal (step, "preparing") || g_str_equal (step, "pausing");
}

static gboolean
check_client_is_dead (QsnapCapture *capture, GError **error)
{
  if (!qsnap_process_is_alive (capture->journal.json, "client-pid", "client-start"))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
               "a capture into %s is under way: process %" G_GINT64_FORMAT, capture->path,
               qsnap_json_get_int (capture->journal.json, "client-pid", 0));

  return FALSE;
}

/* A client that lives may be replacing it. */
static gboolean
peek_at_journal (QsnapCapture *capture, GError **error)
{
  for (guint i = 0; i < PEEKS; i++)
    {
      qsnap_journal_clear (&capture->journal);
      if (qsnap_journal_read (&capture->journal, capture->dir_fd, NULL))
        return TRUE;
      g_usleep (POLL_US);
    }

  return qsnap_journal_read (&capture->journal, capture->dir_fd, error);
}

/* The saver of a dead client goes on until all memory is saved, and holds the lock for as long. */
gboolean
qsnap_recover_lock (QsnapCapture *capture, GError **error)
{
  gint64 help = g_get_monotonic_time () + SAVER_PATIENCE_US;
  gboolean helped = FALSE;

  while (flock (capture->dir_fd, LOCK_EX | LOCK_NB) != 0)
    {
      if (errno != EWOULDBLOCK && errno != EINTR)
        return qsnap_io_fail (error, errno, "cannot lock %s", capture->path);

      if (!peek_at_journal (capture, error) || !check_client_is_dead (capture, error) ||
          !qsnap_capture_go_on (capture, error))
        return FALSE;

      if (!helped && may_be_idle (capture->journal.json) && g_get_monotonic_time () > help)
        {
          helped = end_idle_stream (capture);
          help = g_get_monotonic_time () + RETRY_US;
        }
      g_usleep (POLL_US);
    }

  return TRUE;
}
