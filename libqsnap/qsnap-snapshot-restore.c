/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap/qsnap.h"
#include "restore/qsnap-restore.h"

/**
 * qsnap_snapshot_restore:
 * @self: a snapshot
 * @options: (nullable): how, or %NULL to leave everything to the snapshot
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Brings the guest back: starts a new QEMU that continues at the point in time, and returns when
 * the guest runs (or is ready to, with #QsnapRestoreOptions:start-paused). It changes neither the
 * snapshot nor any other guest, so it can be done again and again, and beside the original: disks
 * and memory are opened read-only or privately, and what the guest writes goes to images of its
 * own, in #QsnapRestoreOptions:directory. From a snapshot without memory the guest boots.
 *
 * The command line is the one that the captured QEMU had, adapted: disks, memory, sockets, ports
 * and files that two guests cannot share are replaced, or left out with a warning, and the machine
 * type is pinned. qsnap_snapshot_build_command() shows it. QEMU is started without a shell, in a
 * session of its own: it goes on when the application ends. qsnap_session_quit() ends it.
 *
 * The guest does not notice that time has passed: its clocks go on from the point in time. A
 * `vmgenid` device gets a new generation id.
 *
 * With %QSNAP_RESTORE_METHOD_MAP the snapshot's memory image must stay as long as the guest runs; a
 * file that is cut short under it kills QEMU. With %QSNAP_RESTORE_METHOD_ON_DEMAND it must stay
 * until #QsnapSession::settled, or qsnap_session_wait_settled() returns.
 *
 * Errors: %QSNAP_ERROR_CORRUPT for a damaged snapshot or a base image that is missing or was
 * changed, %QSNAP_ERROR_UNSUPPORTED for what cannot be adapted, mapped or brought in on demand (the
 * message names it), %QSNAP_ERROR_EXISTS for a directory that is not empty, %QSNAP_ERROR_FAILED
 * with QEMU's own words where it refuses, %QSNAP_ERROR_TIMED_OUT, %QSNAP_ERROR_BUSY before the
 * snapshot is sealed, and those of #GIOErrorEnum. No QEMU is left running then, and nothing of what
 * was made.
 *
 * Returns: (transfer full): an open session with the new QEMU, for the main context that is the
 *   thread-default one now
 *
 * Since: 1.0
 */
QsnapSession *
qsnap_snapshot_restore (QsnapSnapshot *self,
                        QsnapRestoreOptions *options,
                        GCancellable *cancellable,
                        GError **error)
{
  g_autoptr (QsnapRestore) restore = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);
  g_return_val_if_fail (options == NULL || QSNAP_IS_RESTORE_OPTIONS (options), NULL);

  restore = qsnap_restore_new (self, options, error);

  return restore != NULL ? qsnap_restore_run (restore, cancellable, error) : NULL;
}

static void
restore_thread (GTask *task, gpointer source, gpointer restore, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;
  QsnapSession *session = qsnap_restore_run (restore, cancellable, &error);

  if (session != NULL)
    g_task_return_pointer (task, session, g_object_unref);
  else
    g_task_return_error (task, g_steal_pointer (&error));
}

/**
 * qsnap_snapshot_restore_async:
 * @self: a snapshot
 * @options: (nullable): how, or %NULL to leave everything to the snapshot
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_restore().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_restore_async (QsnapSnapshot *self,
                              QsnapRestoreOptions *options,
                              GCancellable *cancellable,
                              GAsyncReadyCallback callback,
                              gpointer user_data)
{
  g_autoptr (GTask) task = NULL;
  g_autoptr (GError) error = NULL;
  QsnapRestore *restore;

  g_return_if_fail (QSNAP_IS_SNAPSHOT (self));
  g_return_if_fail (options == NULL || QSNAP_IS_RESTORE_OPTIONS (options));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_snapshot_restore_async);
  /* A guest that runs is a success, even if it is cancelled before the callback runs. */
  g_task_set_check_cancellable (task, FALSE);

  restore = qsnap_restore_new (self, options, &error);
  if (restore == NULL)
    {
      g_task_return_error (task, g_steal_pointer (&error));
      return;
    }

  g_task_set_task_data (task, restore, (GDestroyNotify)qsnap_restore_free);
  g_task_run_in_thread (task, restore_thread);
}

/**
 * qsnap_snapshot_restore_finish:
 * @self: a snapshot
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_restore_async().
 *
 * Returns: (transfer full): an open session with the new QEMU
 *
 * Since: 1.0
 */
QsnapSession *
qsnap_snapshot_restore_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);
  g_return_val_if_fail (g_task_is_valid (result, self), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_restore_async), NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}

/**
 * qsnap_snapshot_build_command:
 * @self: a snapshot
 * @options: (nullable): how, or %NULL to leave everything to the snapshot
 * @error: return location for an error
 *
 * Shows the command line that qsnap_snapshot_restore() would run. Nothing is made; a directory that
 * is not given is another one each time. Another QEMU than the captured one is started for a
 * moment, to ask what it can do.
 *
 * Errors: as for qsnap_snapshot_restore().
 *
 * Returns: (transfer full): the command line, the program first; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_snapshot_build_command (QsnapSnapshot *self, QsnapRestoreOptions *options, GError **error)
{
  g_autoptr (QsnapRestore) restore = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);
  g_return_val_if_fail (options == NULL || QSNAP_IS_RESTORE_OPTIONS (options), NULL);

  restore = qsnap_restore_new (self, options, error);

  return restore != NULL ? qsnap_restore_build_command (restore, error) : NULL;
}
