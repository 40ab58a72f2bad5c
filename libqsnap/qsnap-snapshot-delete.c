/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"
#include "qsnap-delete.h"

/**
 * qsnap_snapshot_delete:
 * @self: a snapshot
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Deletes the snapshot of a guest that does not run: what the guest wrote since is merged from the
 * overlays into the bases, so that **the guest's disks are the bases again**, or what stood on the
 * overlays stands on the bases, if it is not the newest; then the overlays, the memory and the
 * directory are removed. For an overlay that does not exist any more there is
 * nothing to merge, and its base is left as it is. For a guest that runs there is
 * qsnap_session_delete_snapshot().
 *
 * Images that something else needs are never touched: other snapshots in the same folder, and
 * images there or beside the base and the overlay, are asked what they stand on, and QEMU's locks
 * tell whether an image is open. The base must be the file that it was.
 *
 * Cancelling, or a crash, loses nothing of the guest's disk. If anything was merged by then the
 * snapshot is one no more: #QsnapSnapshot:sealed is %FALSE, qsnap_snapshot_list() leaves it out,
 * qsnap_snapshot_load() still loads it, and deleting it again does the rest.
 *
 * Errors: %QSNAP_ERROR_BUSY if a QEMU has an image open, or if the snapshot is being saved, brought
 * back or deleted by somebody else; %QSNAP_ERROR_BLOCKED if something stands on an image, or a base
 * was changed. Either has every reason in its message, and nothing was changed.
 * %G_IO_ERROR_NOT_FOUND if it is deleted already; %QSNAP_ERROR_FAILED with the words of `qemu-img`;
 * those of #GIOErrorEnum.
 *
 * Returns: %TRUE if there is nothing left of it
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_delete (QsnapSnapshot *self, GCancellable *cancellable, GError **error)
{
  gboolean deleted;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);

  deleted = qsnap_delete_run (self, NULL, NULL, cancellable, error);
  g_object_notify (G_OBJECT (self), "sealed");

  return deleted;
}

static gboolean
delete_alone (gpointer source, gpointer data, GCancellable *cancellable, GError **error)
{
  return qsnap_delete_run (source, NULL, NULL, cancellable, error);
}

/**
 * qsnap_snapshot_delete_async:
 * @self: a snapshot
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_delete().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_delete_async (QsnapSnapshot *self,
                             GCancellable *cancellable,
                             GAsyncReadyCallback callback,
                             gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT (self));

  qsnap_async_run_change (self, qsnap_snapshot_delete_async, delete_alone, NULL, NULL, cancellable,
                          callback, user_data);
}

/**
 * qsnap_snapshot_delete_finish:
 * @self: a snapshot
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_delete_async().
 *
 * Returns: %TRUE if there is nothing left of it
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_delete_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_delete_async), FALSE);

  g_object_notify (G_OBJECT (self), "sealed");

  return g_task_propagate_boolean (G_TASK (result), error);
}
