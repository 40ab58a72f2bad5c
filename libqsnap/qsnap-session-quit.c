/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"
#include "qsnap-session-private.h"

/* Ending a guest, and what is known of one that was brought back. */

/* A QEMU that does not hear this long after it said yes does not hear any more. */
#define END_TIMEOUT_MS (10 * 1000)
/* For one whose main loop may be what waits for a page. */
#define STUCK_TIMEOUT_MS (2 * 1000)
#define POLL_US 2000

void
qsnap_session_set_restored (QsnapSession *self, QsnapRestored *restored)
{
  self->restored = restored;
}

void
qsnap_restored_free (QsnapRestored *restored)
{
  qsnap_qemu_unref (restored->qemu);
  g_object_unref (restored->directory);
  g_strfreev (restored->warnings);
  g_free (restored);
}

/* --- quit ---------------------------------------------------------------------------------- */

/* A QEMU that ends at once may take its answer with it. */
static gboolean
ask_to_quit (QsnapSession *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) failure = NULL;

  reply = qsnap_session_execute (self, "quit", NULL, NULL, cancellable, &failure);
  if (reply != NULL || g_error_matches (failure, QSNAP_ERROR, QSNAP_ERROR_CLOSED))
    return TRUE;

  /* One that we started and that does not hear is not asked again. */
  if (self->restored != NULL && g_error_matches (failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT))
    {
      qsnap_qemu_kill (self->restored->qemu);
      return TRUE;
    }

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

static gboolean
wait_for_process (QsnapSession *self, guint timeout_ms, GCancellable *cancellable, GError **error)
{
  QsnapQemu *qemu = self->restored->qemu;
  g_autoptr (GError) failure = NULL;

  if (!qsnap_qemu_wait (qemu, timeout_ms, cancellable, &failure))
    {
      if (failure != NULL)
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      qsnap_qemu_kill (qemu);
    }

  return TRUE;
}

/* Of a process that is not ours only the connection tells. */
static gboolean
wait_for_connection (QsnapSession *self, GCancellable *cancellable, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + END_TIMEOUT_MS * G_GINT64_CONSTANT (1000);

  while (qsnap_session_get_is_open (self))
    {
      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;

      if (g_get_monotonic_time () > deadline)
        {
          g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                       "QEMU has accepted quit, but has not ended in %d seconds",
                       END_TIMEOUT_MS / 1000);
          return FALSE;
        }
      g_usleep (POLL_US);
    }

  return TRUE;
}

/* Its guest does not have all of its memory. */
static gboolean
may_be_stuck (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  return self->restored != NULL && (self->settling || self->settle_error != NULL);
}

static gboolean
quit (QsnapSession *self, GCancellable *cancellable, GError **error)
{
  if (may_be_stuck (self))
    {
      qsnap_qemu_terminate (self->restored->qemu);
      return wait_for_process (self, STUCK_TIMEOUT_MS, cancellable, error);
    }

  if (qsnap_session_get_is_open (self))
    {
      if (!ask_to_quit (self, cancellable, error))
        return FALSE;
    }
  else if (self->restored != NULL)
    qsnap_qemu_terminate (self->restored->qemu);
  else
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED, "the session is not open");
      return FALSE;
    }

  return self->restored != NULL ? wait_for_process (self, END_TIMEOUT_MS, cancellable, error)
                                : wait_for_connection (self, cancellable, error);
}

/**
 * qsnap_session_quit:
 * @self: a session
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Ends the QEMU at the other end of the session and waits until it has ended. The guest is not
 * asked: it is as if its power was cut. A QEMU that qsnap_snapshot_restore() started is killed if
 * it does not answer within #QsnapSession:timeout, or does not end within ten seconds after it; one
 * whose guest does not have all of its memory may not hear, and is killed after two seconds.
 *
 * Without this call a QEMU goes on when its session is closed or dropped, and when the application
 * ends. What it has on disk stays in any case.
 *
 * Errors: %QSNAP_ERROR_BUSY while an operation is under way, %QSNAP_ERROR_TIMED_OUT,
 * %QSNAP_ERROR_CLOSED for a session that is not open, %QSNAP_QMP_ERROR, %G_IO_ERROR_CANCELLED.
 *
 * Returns: %TRUE if QEMU has ended
 *
 * Since: 1.0
 */
gboolean
qsnap_session_quit (QsnapSession *self, GCancellable *cancellable, GError **error)
{
  gboolean ended;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);

  if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
      !qsnap_session_begin (self, "quit", error))
    return FALSE;

  ended = quit (self, cancellable, error);
  g_mutex_lock (&self->lock);
  self->has_quit = ended;
  g_mutex_unlock (&self->lock);
  qsnap_session_end (self);

  return ended;
}

/**
 * qsnap_session_quit_async:
 * @self: a session
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_quit().
 *
 * Since: 1.0
 */
void
qsnap_session_quit_async (QsnapSession *self,
                          GCancellable *cancellable,
                          GAsyncReadyCallback callback,
                          gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_SESSION (self));

  qsnap_async_run (self, qsnap_session_quit_async, (QsnapAsyncFunc)qsnap_session_quit, cancellable,
                   callback, user_data);
}

/**
 * qsnap_session_quit_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_quit_async().
 *
 * Returns: %TRUE if QEMU has ended
 *
 * Since: 1.0
 */
gboolean
qsnap_session_quit_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_quit_async), FALSE);

  return g_task_propagate_boolean (G_TASK (result), error);
}

/* --- of a restored guest ------------------------------------------------------------------- */

/**
 * qsnap_session_get_pid:
 * @self: a session
 *
 * The process of the QEMU that qsnap_snapshot_restore() started.
 *
 * Returns: its id, or 0 for a session that does not come from there
 *
 * Since: 1.0
 */
gint
qsnap_session_get_pid (QsnapSession *self)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  return self->restored != NULL ? qsnap_qemu_get_pid (self->restored->qemu) : 0;
}

/**
 * qsnap_session_get_restore_directory:
 * @self: a session
 *
 * The directory of a guest that was brought back: the disks that it writes to, its monitor's socket
 * and its log. It may be removed when the guest has ended and is not wanted any more.
 *
 * Returns: (transfer none) (nullable): the directory, or %NULL for a session that does not come
 * from qsnap_snapshot_restore()
 *
 * Since: 1.0
 */
GFile *
qsnap_session_get_restore_directory (QsnapSession *self)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);

  return self->restored != NULL ? self->restored->directory : NULL;
}

/**
 * qsnap_session_get_restore_method:
 * @self: a session
 *
 * How the guest got its memory back, where %QSNAP_RESTORE_METHOD_AUTO was asked for.
 *
 * Returns: the method; %QSNAP_RESTORE_METHOD_AUTO for a session that does not come from
 *   qsnap_snapshot_restore()
 *
 * Since: 1.0
 */
QsnapRestoreMethod
qsnap_session_get_restore_method (QsnapSession *self)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), QSNAP_RESTORE_METHOD_AUTO);

  return self->restored != NULL ? self->restored->method : QSNAP_RESTORE_METHOD_AUTO;
}

/**
 * qsnap_session_dup_restore_warnings:
 * @self: a session
 *
 * What was left out of the guest's command line, or replaced, and may be missed: ports that were
 * forwarded, for example.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_session_dup_restore_warnings (QsnapSession *self)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);

  return self->restored != NULL ? g_strdupv (self->restored->warnings) : NULL;
}

/**
 * qsnap_session_get_start_us:
 * @self: a session
 *
 * How long it took from the call of qsnap_snapshot_restore() until QEMU was up, in microseconds.
 *
 * Returns: microseconds; -1 for a session that does not come from there
 *
 * Since: 1.0
 */
gint64
qsnap_session_get_start_us (QsnapSession *self)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), -1);

  return self->restored != NULL ? self->restored->start_us : -1;
}

/**
 * qsnap_session_get_load_us:
 * @self: a session
 *
 * How long it took from then on until the guest ran (or was ready to, if it was to stay paused), in
 * microseconds.
 *
 * Returns: microseconds; -1 for a session that does not come from qsnap_snapshot_restore()
 *
 * Since: 1.0
 */
gint64
qsnap_session_get_load_us (QsnapSession *self)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), -1);

  return self->restored != NULL ? self->restored->load_us : -1;
}
