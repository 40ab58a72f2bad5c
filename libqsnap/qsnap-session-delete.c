/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-delete.h"

static gpointer
delete_job (QsnapOperation *operation, gpointer snapshot, GCancellable *cancellable, GError **error)
{
  QsnapSession *session = qsnap_operation_get_session (operation);

  return GINT_TO_POINTER (qsnap_delete_run (snapshot, session, operation, cancellable, error));
}

/**
 * qsnap_session_delete_snapshot:
 * @self: a session, open, with the guest that goes on in the snapshot's overlays
 * @snapshot: a snapshot
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Deletes a snapshot while its guest runs: what the guest wrote since is merged from the overlays
 * into the bases, and **the guest's disks are the bases again**; then the overlays, the memory and
 * the directory are removed. The guest is not stopped, unless it writes faster than QEMU copies: it
 * is for the last pass then. In its phase %QSNAP_PHASE_MERGING #QsnapSession:bytes-done of
 * #QsnapSession:bytes-total are merged; both grow while the guest writes.
 *
 * It may be any of its snapshots. The overlay of an earlier one is the base of the next: what stood
 * on the overlay then stands on the base, and the manifests of later snapshots are written anew; a
 * #QsnapSnapshot that was loaded before has to be loaded again. What has to see the disk as the
 * deleted snapshot has it, a revert of it for example, is in the way. What else may stand on an
 * image is asked as for qsnap_snapshot_delete().
 *
 * If it is cancelled or fails before all is merged, the guest goes on in the overlay that it had.
 * If anything was merged by then the snapshot is one no more, and deleting it again does the rest;
 * see qsnap_snapshot_delete(). That is also the way to go on if the caller dies. Should it die in
 * the moment in which the guest is moved to its base, the guest's writes to that disk wait until
 * then.
 *
 * Errors: %QSNAP_ERROR_BUSY if an operation, a capture, a migration or a block job is under way, or
 * another QEMU has an image open; %QSNAP_ERROR_BLOCKED if something stands on an image, a base was
 * changed, or the guest is not on the overlays. Either has every reason in its message, and nothing
 * was changed. %QSNAP_ERROR_CLOSED, %QSNAP_ERROR_TIMED_OUT, %QSNAP_QMP_ERROR,
 * %QSNAP_ERROR_INTERFERED if another client ended the merge, and those of #GIOErrorEnum.
 *
 * Returns: %TRUE if there is nothing left of it
 *
 * Since: 1.0
 */
gboolean
qsnap_session_delete_snapshot (QsnapSession *self,
                               QsnapSnapshot *snapshot,
                               GCancellable *cancellable,
                               GError **error)
{
  gpointer deleted;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (snapshot), FALSE);

  deleted = qsnap_operation_run (self, "delete-snapshot", delete_job, snapshot, cancellable, error);
  g_object_notify (G_OBJECT (snapshot), "sealed");

  return deleted != NULL;
}

/**
 * qsnap_session_delete_snapshot_async:
 * @self: a session
 * @snapshot: a snapshot
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_delete_snapshot().
 *
 * Since: 1.0
 */
void
qsnap_session_delete_snapshot_async (QsnapSession *self,
                                     QsnapSnapshot *snapshot,
                                     GCancellable *cancellable,
                                     GAsyncReadyCallback callback,
                                     gpointer user_data)
{
  GTask *task;

  g_return_if_fail (QSNAP_IS_SESSION (self));
  g_return_if_fail (QSNAP_IS_SNAPSHOT (snapshot));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_session_delete_snapshot_async);
  g_task_set_task_data (task, g_object_ref (snapshot), g_object_unref);
  qsnap_operation_start (self, "delete-snapshot", delete_job, task, NULL);
}

/**
 * qsnap_session_delete_snapshot_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_delete_snapshot_async().
 *
 * Returns: %TRUE if there is nothing left of it
 *
 * Since: 1.0
 */
gboolean
qsnap_session_delete_snapshot_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_delete_snapshot_async),
                        FALSE);

  g_object_notify (G_OBJECT (g_task_get_task_data (G_TASK (result))), "sealed");

  return g_task_propagate_pointer (G_TASK (result), error) != NULL;
}
