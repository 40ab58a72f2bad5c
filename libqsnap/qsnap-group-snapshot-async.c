/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"
#include "qsnap/qsnap.h"

/* The asynchronous twins of what takes no options. */

/**
 * qsnap_group_snapshot_load_async:
 * @directory: the group's folder
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_group_snapshot_load().
 *
 * Since: 1.0
 */
void
qsnap_group_snapshot_load_async (GFile *directory,
                                 GCancellable *cancellable,
                                 GAsyncReadyCallback callback,
                                 gpointer user_data)
{
  g_return_if_fail (G_IS_FILE (directory));

  qsnap_async_run_on_file (directory, qsnap_group_snapshot_load_async,
                           (QsnapAsyncFileFunc)qsnap_group_snapshot_load, cancellable, callback,
                           user_data);
}

/**
 * qsnap_group_snapshot_load_finish:
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_group_snapshot_load_async().
 *
 * Returns: (transfer full): the group's snapshot
 *
 * Since: 1.0
 */
QsnapGroupSnapshot *
qsnap_group_snapshot_load_finish (GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, NULL), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_group_snapshot_load_async), NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}

/* Nothing, without an error, is a result too. */
static void
recover_thread (GTask *task, gpointer source, gpointer directory, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;
  QsnapGroupSnapshot *snapshot = qsnap_group_snapshot_recover (directory, cancellable, &error);

  if (error != NULL)
    g_task_return_error (task, g_steal_pointer (&error));
  else
    g_task_return_pointer (task, snapshot, g_object_unref);
}

/**
 * qsnap_group_snapshot_recover_async:
 * @directory: the group's folder
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_group_snapshot_recover().
 *
 * Since: 1.0
 */
void
qsnap_group_snapshot_recover_async (GFile *directory,
                                    GCancellable *cancellable,
                                    GAsyncReadyCallback callback,
                                    gpointer user_data)
{
  g_autoptr (GTask) task = NULL;

  g_return_if_fail (G_IS_FILE (directory));

  task = g_task_new (NULL, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_group_snapshot_recover_async);
  /* What was finished or undone is, even if it is cancelled before the callback runs. */
  g_task_set_check_cancellable (task, FALSE);
  g_task_set_task_data (task, g_object_ref (directory), g_object_unref);
  g_task_run_in_thread (task, recover_thread);
}

/**
 * qsnap_group_snapshot_recover_finish:
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_group_snapshot_recover_async().
 *
 * Returns: (transfer full) (nullable): the group's snapshot; %NULL without an error if it was
 * undone
 *
 * Since: 1.0
 */
QsnapGroupSnapshot *
qsnap_group_snapshot_recover_finish (GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, NULL), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_group_snapshot_recover_async),
                        NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}

/**
 * qsnap_group_snapshot_verify_async:
 * @self: the snapshot of a group
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_group_snapshot_verify().
 *
 * Since: 1.0
 */
void
qsnap_group_snapshot_verify_async (QsnapGroupSnapshot *self,
                                   GCancellable *cancellable,
                                   GAsyncReadyCallback callback,
                                   gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self));

  qsnap_async_run (self, qsnap_group_snapshot_verify_async,
                   (QsnapAsyncFunc)qsnap_group_snapshot_verify, cancellable, callback, user_data);
}

/**
 * qsnap_group_snapshot_verify_finish:
 * @self: the snapshot of a group
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_group_snapshot_verify_async().
 *
 * Returns: %TRUE if all snapshots are intact
 *
 * Since: 1.0
 */
gboolean
qsnap_group_snapshot_verify_finish (QsnapGroupSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_group_snapshot_verify_async),
                        FALSE);

  return g_task_propagate_boolean (G_TASK (result), error);
}
