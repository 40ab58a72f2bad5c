/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-operation.h"
#include "qsnap-recover.h"

static gpointer
recover_job (QsnapOperation *operation,
             gpointer directory,
             GCancellable *cancellable,
             GError **error)
{
  return qsnap_recover_run (operation, directory, cancellable, error);
}

/**
 * qsnap_session_recover:
 * @self: a session, open or not; one without an address uses the one that the dead client had
 * @directory: the directory of the snapshot that was being taken, or of a revert on demand
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Finishes or undoes what was left behind by a client that died while it took a snapshot, or that
 * could not undo one. Where the memory is complete the snapshot is sealed. Otherwise all is undone:
 * the memory that QEMU still sends is read to its end, overlays are merged back, a guest that was
 * left stopped in the pause is resumed, capabilities and actions are put back, and the directory is
 * removed. Where QEMU has ended, what the guest wrote since is merged into the images that it had.
 *
 * Call this before any migration of the guest: a guest that was left with the migration capability
 * `background-snapshot` on would go on running at both ends.
 *
 * With the directory of a revert on demand (%QSNAP_RESTORE_METHOD_ON_DEMAND) whose page server has
 * died, another one goes on from what the guest has. QEMU need not answer QMP for that, and
 * no connection of the session is used. It returns when the guest gets its pages again; the snapshot
 * that they come from is what it returns.
 *
 * The saver of a dead client may still be saving; it is waited for. Cancelling ends that wait only:
 * what has begun after it is brought to its end. It can be called again, after an error or if the
 * caller dies, too. The phases of #QsnapSession:phase are %QSNAP_PHASE_CHECKING, then
 * %QSNAP_PHASE_SETTLING and %QSNAP_PHASE_SEALING, or %QSNAP_PHASE_ROLLING_BACK.
 *
 * Errors: %G_IO_ERROR_NOT_FOUND if there is nothing to recover; %QSNAP_ERROR_BUSY if the client, or
 * the page server, is alive; %QSNAP_ERROR_CLOSED if the guest that was brought back has ended; %QSNAP_ERROR_CORRUPT for a journal that is none; %QSNAP_ERROR_ROLLBACK_FAILED with what is
 * left if it could not be undone; those of QMP and of #GIOErrorEnum.
 *
 * Returns: (transfer full) (nullable): the snapshot, sealed; %NULL without an error if it was
 * undone
 *
 * Since: 1.0
 */
QsnapSnapshot *
qsnap_session_recover (QsnapSession *self,
                       GFile *directory,
                       GCancellable *cancellable,
                       GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (G_IS_FILE (directory), NULL);

  return qsnap_operation_run (self, "recover", recover_job, directory, cancellable, error);
}

/**
 * qsnap_session_recover_async:
 * @self: a session
 * @directory: the directory of the snapshot that was being taken
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_session_recover().
 *
 * Since: 1.0
 */
void
qsnap_session_recover_async (QsnapSession *self,
                             GFile *directory,
                             GCancellable *cancellable,
                             GAsyncReadyCallback callback,
                             gpointer user_data)
{
  GTask *task;

  g_return_if_fail (QSNAP_IS_SESSION (self));
  g_return_if_fail (G_IS_FILE (directory));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_session_recover_async);
  g_task_set_task_data (task, g_object_ref (directory), g_object_unref);
  qsnap_operation_start (self, "recover", recover_job, task, g_object_unref);
}

/**
 * qsnap_session_recover_finish:
 * @self: a session
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_session_recover_async().
 *
 * Returns: (transfer full) (nullable): the snapshot, sealed; %NULL without an error if it was
 * undone
 *
 * Since: 1.0
 */
QsnapSnapshot *
qsnap_session_recover_finish (QsnapSession *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);
  g_return_val_if_fail (g_task_is_valid (result, self), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_session_recover_async), NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}
