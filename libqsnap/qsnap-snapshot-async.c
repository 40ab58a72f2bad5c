/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"
#include "qsnap/qsnap.h"

/* The asynchronous twins of what QsnapSnapshot does: each runs its synchronous one in a thread,
 * with the caller's cancellable. */

/**
 * qsnap_snapshot_load_async:
 * @directory: the snapshot's directory
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_load().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_load_async (GFile *directory,
                           GCancellable *cancellable,
                           GAsyncReadyCallback callback,
                           gpointer user_data)
{
  g_return_if_fail (G_IS_FILE (directory));

  qsnap_async_run_on_file (directory, qsnap_snapshot_load_async,
                           (QsnapAsyncFileFunc)qsnap_snapshot_load, cancellable, callback,
                           user_data);
}

/**
 * qsnap_snapshot_load_finish:
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_load_async().
 *
 * Returns: (transfer full): the snapshot
 *
 * Since: 1.0
 */
QsnapSnapshot *
qsnap_snapshot_load_finish (GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, NULL), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_load_async), NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}

/**
 * qsnap_snapshot_list_async:
 * @parent: a directory
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_list().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_list_async (GFile *parent,
                           GCancellable *cancellable,
                           GAsyncReadyCallback callback,
                           gpointer user_data)
{
  g_return_if_fail (G_IS_FILE (parent));

  qsnap_async_run_on_file (parent, qsnap_snapshot_list_async,
                           (QsnapAsyncFileFunc)qsnap_snapshot_list, cancellable, callback,
                           user_data);
}

/**
 * qsnap_snapshot_list_finish:
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_list_async().
 *
 * Returns: (transfer full): a list of #QsnapSnapshot
 *
 * Since: 1.0
 */
GListModel *
qsnap_snapshot_list_finish (GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (g_task_is_valid (result, NULL), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_list_async), NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}

/**
 * qsnap_snapshot_verify_async:
 * @self: a snapshot
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_verify().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_verify_async (QsnapSnapshot *self,
                             GCancellable *cancellable,
                             GAsyncReadyCallback callback,
                             gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT (self));

  qsnap_async_run (self, qsnap_snapshot_verify_async, (QsnapAsyncFunc)qsnap_snapshot_verify,
                   cancellable, callback, user_data);
}

/**
 * qsnap_snapshot_verify_finish:
 * @self: a snapshot
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_verify_async().
 *
 * Returns: %TRUE if the snapshot is intact
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_verify_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_verify_async), FALSE);

  return g_task_propagate_boolean (G_TASK (result), error);
}

static void
export_thread (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;

  if (qsnap_snapshot_export_stream (source, GPOINTER_TO_INT (data), cancellable, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, g_steal_pointer (&error));
}

/**
 * qsnap_snapshot_export_stream_async:
 * @self: a snapshot
 * @fd: a descriptor to write to; it stays the caller's, and open until the callback
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_export_stream().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_export_stream_async (QsnapSnapshot *self,
                                    int fd,
                                    GCancellable *cancellable,
                                    GAsyncReadyCallback callback,
                                    gpointer user_data)
{
  g_autoptr (GTask) task = NULL;

  g_return_if_fail (QSNAP_IS_SNAPSHOT (self));
  g_return_if_fail (fd >= 0);

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_snapshot_export_stream_async);
  g_task_set_task_data (task, GINT_TO_POINTER (fd), NULL);
  g_task_run_in_thread (task, export_thread);
}

/**
 * qsnap_snapshot_export_stream_finish:
 * @self: a snapshot
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_export_stream_async().
 *
 * Returns: %TRUE if all was written
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_export_stream_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_export_stream_async),
                        FALSE);

  return g_task_propagate_boolean (G_TASK (result), error);
}
