/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-session-private.h"
#include "qsnap-snapshot-options-private.h"

#include "qsnap-capture.h"
#include "qsnap-check.h"
#include "qsnap-operation.h"

/* The operations of a session: what they do is elsewhere. */

/* --- history ------------------------------------------------------------------------------- */

void
qsnap_session_note_pause (QsnapSession *self, gint64 microseconds)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  g_array_append_val (self->pauses, microseconds);
}

GArray *
qsnap_session_copy_pauses (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  return g_array_copy (self->pauses);
}

/* --- check --------------------------------------------------------------------------------- */

/**
 * qsnap_session_check:
 * @self: a session
 * @options: (nullable): the snapshot to check for, or %NULL to leave out its directories
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Finds out whether an instant snapshot of the guest can be taken now, with every reason against
 * it. The guest is not stopped and nothing is created. One thing can only be found out by trying:
 * the migration capability is switched on and, with the same write, off again.
 *
 * The report also says how long the guest will be stopped (#QsnapReport:predicted-pause-us), and
 * warns of what makes that long.
 *
 * Errors: those of QMP; a guest that cannot be captured is no error, but in the report.
 *
 * Returns: (transfer full): what was found
 *
 * Since: 1.0
 */
QsnapReport *
qsnap_session_check (QsnapSession *self,
                     QsnapSnapshotOptions *options,
                     GCancellable *cancellable,
                     GError **error)
{
  g_autoptr (QsnapQmpClient) client = NULL;
  g_autoptr (GIOStream) stream = NULL;
  g_autoptr (QsnapGuest) guest = NULL;
  g_autoptr (QsnapReport) report = NULL;
  g_autoptr (GArray) pauses = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (options == NULL || QSNAP_IS_SNAPSHOT_OPTIONS (options), NULL);

  client = qsnap_session_ref_client (self, error);
  if (client == NULL)
    return NULL;

  stream = qsnap_session_ref_stream (self);
  guest = qsnap_guest_new (client, stream, qsnap_session_get_timeout (self));
  report = qsnap_report_new ();
  if (!qsnap_check_guest (guest, options, report, cancellable, error))
    return NULL;

  pauses = qsnap_session_copy_pauses (self);
  if (qsnap_report_get_ok (report))
    qsnap_check_pause (guest, options, pauses, report);

  return g_steal_pointer (&report);
}

static void
check_thread (GTask *task, gpointer source, gpointer options, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;
  QsnapReport *report = qsnap_session_check (source, options, cancellable, &error);

  if (report != NULL)
    g_task_return_pointer (task, report, g_object_unref);
  else
    g_task_return_error (task, g_steal_pointer (&error));
}

/**
 * qsnap_session_check_async:
 * @self: a session
 * @options: (nullable): the snapshot to check for
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_check().
 *
 * Since: 1.0
 */
void
qsnap_session_check_async (QsnapSession *self,
                           QsnapSnapshotOptions *options,
                           GCancellable *cancellable,
                           GAsyncReadyCallback callback,
                           gpointer user_data)
{
  g_autoptr (GTask) task = NULL;

  g_return_if_fail (QSNAP_IS_SESSION (self));
  g_return_if_fail (options == NULL || QSNAP_IS_SNAPSHOT_OPTIONS (options));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_session_check_async);
  if (options != NULL)
    g_task_set_task_data (task, g_object_ref (options), g_object_unref);
  g_task_run_in_thread (task, check_thread);
}

/**
 * qsnap_session_check_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_check_async().
 *
 * Returns: (transfer full): what was found
 *
 * Since: 1.0
 */
QsnapReport *
qsnap_session_check_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (g_task_is_valid (result, self), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_check_async), NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}

/* --- instant snapshot ---------------------------------------------------------------------- */

static gpointer
capture_job (QsnapOperation *operation, gpointer options, GCancellable *cancellable, GError **error)
{
  return qsnap_capture_run (operation, options, NULL, cancellable, error);
}

/**
 * qsnap_session_instant_snapshot:
 * @self: a session
 * @options: where the snapshot goes, and how it is taken
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Takes a snapshot of the guest, disks and memory, at this moment, and returns when it is sealed.
 * The guest is stopped for milliseconds; then #QsnapSession::point-in-time-reached is emitted, and
 * the guest runs while its memory is saved. When all is on stable storage
 * #QsnapSession::memory-complete is emitted. Both, and `notify`, come inside this call; so does
 * #QsnapSession::disks-complete between them, where disks are copied.
 *
 * From then on the guest writes to new images, the overlays; see #QsnapDisk. This is the default:
 * #QsnapSnapshotOptions has other modes for the memory and for the disks, and
 * #QsnapSnapshotOptions:leave says whether the guest goes on.
 *
 * If it fails or is cancelled, everything is undone before this returns: the guest runs if it ran
 * before, on the images that it had. Neither signal comes after an error. On QEMU 7.2 a stream of
 * memory that has begun has to be read to its end, so undoing it takes as long as saving would
 * have.
 *
 * Errors: %QSNAP_ERROR_UNSUPPORTED, %QSNAP_ERROR_BLOCKED or %QSNAP_ERROR_EXISTS with every reason
 * if the guest cannot be captured; %G_IO_ERROR_INVALID_ARGUMENT for options that contradict each
 * other; %QSNAP_ERROR_BUSY if an operation, a migration or a block job is
 * under way; %QSNAP_ERROR_INTERFERED if another client resumed the guest in the pause;
 * %QSNAP_ERROR_TIMED_OUT, %QSNAP_ERROR_CLOSED; %QSNAP_QMP_ERROR; %QSNAP_ERROR_ROLLBACK_FAILED with
 * what is left if undoing failed too; those of #GIOErrorEnum, %G_IO_ERROR_CANCELLED among them.
 *
 * Returns: (transfer full): the snapshot, sealed
 *
 * Since: 1.0
 */
QsnapSnapshot *
qsnap_session_instant_snapshot (QsnapSession *self,
                                QsnapSnapshotOptions *options,
                                GCancellable *cancellable,
                                GError **error)
{
  g_autoptr (QsnapSnapshotOptions) copy = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (options), NULL);

  copy = qsnap_snapshot_options_copy (options);

  return qsnap_operation_run (self, "instant-snapshot", capture_job, copy, cancellable, error);
}

/**
 * qsnap_session_instant_snapshot_async:
 * @self: a session
 * @options: where the snapshot goes, and how it is taken
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when the snapshot is sealed
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_instant_snapshot(). The signals come in the session's main
 * context, and @callback after them; both contexts have to be iterated.
 *
 * Since: 1.0
 */
void
qsnap_session_instant_snapshot_async (QsnapSession *self,
                                      QsnapSnapshotOptions *options,
                                      GCancellable *cancellable,
                                      GAsyncReadyCallback callback,
                                      gpointer user_data)
{
  GTask *task;

  g_return_if_fail (QSNAP_IS_SESSION (self));
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (options));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_session_instant_snapshot_async);
  g_task_set_task_data (task, qsnap_snapshot_options_copy (options), g_object_unref);
  qsnap_operation_start (self, "instant-snapshot", capture_job, task, g_object_unref);
}

/**
 * qsnap_session_instant_snapshot_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_instant_snapshot_async().
 *
 * Returns: (transfer full): the snapshot, sealed
 *
 * Since: 1.0
 */
QsnapSnapshot *
qsnap_session_instant_snapshot_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (g_task_is_valid (result, self), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_instant_snapshot_async),
                        NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}
