/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-session-settle.h"

#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-async.h"
#include "qsnap-session-private.h"
#include "restore/qsnap-restore.h"

#define PROGRESS_MS 100
/* QEMU tells the page server that it has all just before it says so itself. */
#define COMPLETION_TIMEOUT_MS (30 * 1000)
#define CANCEL_POLL_US (20 * 1000)

/* The session may be dropped meanwhile: the guest does not depend on it. */
typedef struct
{
  GWeakRef session;
  QsnapServing *serving;
  QsnapWatch *watch;
  gint64 began;
} Settling;

static void
settling_free (Settling *settling)
{
  qsnap_serving_free (settling->serving);
  qsnap_watch_unref (settling->watch);
  g_weak_ref_clear (&settling->session);
  g_free (settling);
}

/* --- news ---------------------------------------------------------------------------------- */

static void
tell_progress (QsnapSession *session, gpointer data)
{
  qsnap_session_notify_progress (session);
}

static void
tell_settled (QsnapSession *session, gpointer data)
{
  qsnap_session_notify_phase (session);
  qsnap_session_emit_settled (session);
}

static void
tell_failed (QsnapSession *session, gpointer error)
{
  qsnap_session_notify_phase (session);
  qsnap_session_emit_settle_failed (session, error);
}

static void
note_progress (Settling *settling)
{
  g_autoptr (QsnapSession) session = g_weak_ref_get (&settling->session);
  guint64 done, total, requests;

  if (session == NULL)
    return;

  g_mutex_lock (&settling->watch->lock);
  done = settling->watch->bytes_done;
  total = settling->watch->bytes_total;
  requests = settling->watch->page_requests;
  g_mutex_unlock (&settling->watch->lock);
  if (done == qsnap_session_get_bytes_done (session))
    return;

  g_mutex_lock (&session->lock);
  session->page_requests = requests;
  g_mutex_unlock (&session->lock);
  qsnap_session_put_progress (session, done, total);
  qsnap_session_post (session, tell_progress, NULL, NULL);
}

/* --- following it -------------------------------------------------------------------------- */

static gboolean
pages_have_ended (QsnapWatch *watch, gconstpointer data)
{
  return watch->pages_ended;
}

static gboolean
is_completed (QsnapWatch *watch, gconstpointer data)
{
  return g_strcmp0 (watch->migration_status, "completed") == 0;
}

/* What excludes a capture is on until then. */
static gboolean
put_back (Settling *settling, GError **error)
{
  g_autoptr (QsnapSession) session = g_weak_ref_get (&settling->session);
  g_autoptr (QsnapQmpClient) client = NULL;
  QsnapQmp qmp = { NULL };

  if (session == NULL)
    return TRUE;

  client = qsnap_session_ref_client (session, error);
  qmp.client = client;
  qmp.timeout_ms = qsnap_session_get_timeout (session);

  return client != NULL && qsnap_restore_switch_postcopy (&qmp, FALSE, error);
}

static gboolean
complete (Settling *settling, GError **error)
{
  g_autoptr (GError) failure = NULL;

  note_progress (settling);
  if (qsnap_watch_wait (settling->watch, is_completed, NULL, COMPLETION_TIMEOUT_MS, NULL, &failure))
    return put_back (settling, error);

  if (failure == NULL)
    g_set_error (&failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                 "the guest has all of its memory, and QEMU does not say so");
  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

/* FALSE with an error if it has not settled. */
static gboolean
check_end (Settling *settling, GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&settling->watch->lock);

  if (settling->watch->pages_settled)
    return TRUE;

  g_propagate_error (error, g_error_copy (settling->watch->pages_error));

  return FALSE;
}

static gboolean
follow (Settling *settling, GError **error)
{
  for (;;)
    {
      g_autoptr (GError) failure = NULL;
      gboolean ended =
          qsnap_watch_wait (settling->watch, pages_have_ended, NULL, PROGRESS_MS, NULL, &failure);

      if (failure != NULL)
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      note_progress (settling);
      if (!ended)
        continue;
      if (!qsnap_watch_pages_died (settling->watch))
        return check_end (settling, error) && complete (settling, error);
      if (!qsnap_serving_resume (settling->serving, settling->watch, error))
        return FALSE;
    }
}

/* --- the end ------------------------------------------------------------------------------- */

static void
end (QsnapSession *session, Settling *settling, const GError *error)
{
  gboolean is_told;

  g_mutex_lock (&session->lock);
  session->settling = FALSE;
  session->settle_error = error != NULL ? g_error_copy (error) : NULL;
  if (error == NULL)
    session->settle_us = g_get_monotonic_time () - settling->began;
  session->phase = QSNAP_PHASE_IDLE;
  session->watch = NULL;
  /* Of a guest that is ended nobody wants to know what it has not got. */
  is_told = error != NULL && session->operation == NULL && !session->has_quit &&
            !qsnap_watch_is_closed (settling->watch);
  g_cond_broadcast (&session->settle_cond);
  g_mutex_unlock (&session->lock);

  if (error == NULL)
    qsnap_session_post (session, tell_settled, NULL, NULL);
  else if (is_told)
    qsnap_session_post (session, tell_failed, g_error_copy (error), (GDestroyNotify)g_error_free);
}

static gpointer
settle_thread (gpointer data)
{
  Settling *settling = data;
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSession) session = NULL;

  (void)follow (settling, &error);
  session = g_weak_ref_get (&settling->session);
  if (session != NULL)
    end (session, settling, error);
  settling_free (settling);

  return NULL;
}

void
qsnap_session_settle (QsnapSession *self, QsnapServing *serving, QsnapWatch *watch)
{
  Settling *settling = g_new0 (Settling, 1);

  g_weak_ref_init (&settling->session, self);
  settling->serving = serving;
  settling->watch = qsnap_watch_ref (watch);
  settling->began = g_get_monotonic_time ();

  g_mutex_lock (&self->lock);
  self->settling = TRUE;
  self->phase = QSNAP_PHASE_FETCHING;
  g_mutex_unlock (&self->lock);

  g_thread_unref (g_thread_new ("qsnap-settle", settle_thread, settling));
}

/* --- waiting for it ------------------------------------------------------------------------ */

/**
 * qsnap_session_wait_settled:
 * @self: a session
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Waits until a guest that was brought back on demand (%QSNAP_RESTORE_METHOD_ON_DEMAND) has all of
 * its memory: until #QsnapSession::settled. Returns at once for every other session. Any thread may
 * call this; no main context is iterated.
 *
 * Errors: what #QsnapSession::settle-failed tells; %QSNAP_ERROR_CLOSED if the session was closed
 * before; %G_IO_ERROR_CANCELLED, which ends only the wait.
 *
 * Returns: %TRUE if the guest has all of its memory, and the snapshot's memory image is not needed
 * any more
 *
 * Since: 1.0
 */
gboolean
qsnap_session_wait_settled (QsnapSession *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);

  locker = g_mutex_locker_new (&self->lock);
  while (self->settling)
    {
      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;
      g_cond_wait_until (&self->settle_cond, &self->lock, g_get_monotonic_time () + CANCEL_POLL_US);
    }

  if (self->settle_error == NULL)
    return TRUE;

  g_propagate_error (error, g_error_copy (self->settle_error));

  return FALSE;
}

/**
 * qsnap_session_wait_settled_async:
 * @self: a session
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_wait_settled().
 *
 * Since: 1.0
 */
void
qsnap_session_wait_settled_async (QsnapSession *self,
                                  GCancellable *cancellable,
                                  GAsyncReadyCallback callback,
                                  gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_SESSION (self));

  qsnap_async_run (self, qsnap_session_wait_settled_async,
                   (QsnapAsyncFunc)qsnap_session_wait_settled, cancellable, callback, user_data);
}

/**
 * qsnap_session_wait_settled_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_wait_settled_async().
 *
 * Returns: %TRUE if the guest has all of its memory
 *
 * Since: 1.0
 */
gboolean
qsnap_session_wait_settled_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_wait_settled_async), FALSE);

  return g_task_propagate_boolean (G_TASK (result), error);
}

/**
 * qsnap_session_get_settle_us:
 * @self: a session
 *
 * How long it took from when the guest ran until it had all of its memory.
 *
 * Returns: microseconds; -1 before #QsnapSession::settled, and for a guest that was not brought
 * back on demand
 *
 * Since: 1.0
 */
gint64
qsnap_session_get_settle_us (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), -1);

  locker = g_mutex_locker_new (&self->lock);

  return self->settle_us;
}

/**
 * qsnap_session_get_page_requests:
 * @self: a session
 *
 * How many pages a guest that was brought back on demand had to wait for.
 *
 * Returns: the number of requests so far; one page may have been asked for repeatedly
 *
 * Since: 1.0
 */
guint64
qsnap_session_get_page_requests (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  locker = g_mutex_locker_new (&self->lock);

  return self->page_requests;
}
