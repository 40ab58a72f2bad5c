/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-private.h"

#include <errno.h>
#include <glib/gstdio.h>

#include "memory/qsnap-io.h"
#include "qsnap-parallel.h"
#include "qsnap-rendezvous.h"
#include "restore/qsnap-restore.h"

/* All guests of a group are brought back at once, each held until all are there. */

typedef struct
{
  /* QsnapRestore, and what became of each: a QsnapSession or NULL. */
  GPtrArray *restores;
  GPtrArray *sessions;
  QsnapRendezvous *rendezvous;
  char *path;
  gboolean made;
} GroupRestore;

static void
clear_session (gpointer session)
{
  if (session != NULL)
    g_object_unref (session);
}

static void
group_restore_free (GroupRestore *self)
{
  g_ptr_array_unref (self->restores);
  g_ptr_array_unref (self->sessions);
  qsnap_rendezvous_free (self->rendezvous);
  g_free (self->path);
  g_free (self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (GroupRestore, group_restore_free)

/* --- options ------------------------------------------------------------------------------- */

static char *
choose_path (QsnapGroupSnapshot *self, QsnapRestoreOptions *options, GError **error)
{
  GFile *directory = options != NULL ? qsnap_restore_options_get_directory (options) : NULL;
  g_autofree char *path =
      directory != NULL
          ? g_file_get_path (directory)
          : g_strdup_printf ("%s.revert-%08x", g_file_peek_path (self->directory), g_random_int ());

  if (path != NULL)
    return g_canonicalize_filename (path, NULL);

  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                       "a revert needs a local directory");

  return NULL;
}

static gboolean
check_options (QsnapRestoreOptions *options, GError **error)
{
  g_auto (GStrv) command = options != NULL ? qsnap_restore_options_dup_command (options) : NULL;

  if (command == NULL)
    return TRUE;

  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                       "one command line cannot bring back several guests: bring back the "
                       "snapshots of the group one by one");

  return FALSE;
}

static QsnapRestoreOptions *
options_of_guest (QsnapRestoreOptions *options, const char *path, const char *name)
{
  QsnapRestoreOptions *own = qsnap_restore_options_new ();
  g_autofree char *below = g_build_filename (path, name, NULL);
  g_autoptr (GFile) directory = g_file_new_for_path (below);

  qsnap_restore_options_set_directory (own, directory);
  if (options == NULL)
    return own;

  qsnap_restore_options_set_method (own, qsnap_restore_options_get_method (options));
  qsnap_restore_options_set_program (own, qsnap_restore_options_get_program (options));
  qsnap_restore_options_set_verify (own, qsnap_restore_options_get_verify (options));
  qsnap_restore_options_set_start_paused (own, qsnap_restore_options_get_start_paused (options));

  return own;
}

/* In the caller's thread, as the sessions belong to its main context. */
static GroupRestore *
group_restore_new (QsnapGroupSnapshot *self, QsnapRestoreOptions *options, GError **error)
{
  g_autoptr (GroupRestore) group = g_new0 (GroupRestore, 1);

  group->restores = g_ptr_array_new_with_free_func ((GDestroyNotify)qsnap_restore_free);
  group->sessions = g_ptr_array_new_with_free_func (clear_session);
  group->rendezvous = qsnap_rendezvous_new ((const char *const *)self->names);
  if (!qsnap_group_snapshot_check_sealed (self, error) || !check_options (options, error))
    return NULL;

  group->path = choose_path (self, options, error);
  if (group->path == NULL)
    return NULL;

  for (guint i = 0; self->names[i] != NULL; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (self->snapshots, i);
      g_autoptr (QsnapRestoreOptions) own = options_of_guest (options, group->path, self->names[i]);
      QsnapRestore *restore = qsnap_restore_new (snapshot, own, error);

      if (restore == NULL)
        return NULL;
      qsnap_restore_hold (restore);
      g_ptr_array_add (group->restores, restore);
    }
  g_ptr_array_set_size (group->sessions, (gint)group->restores->len);

  return g_steal_pointer (&group);
}

/* --- bringing back ------------------------------------------------------------------------- */

/* No guest runs before all are there. */
static void
bring_back_one (guint index, gpointer data)
{
  GroupRestore *group = data;
  QsnapRestore *restore = g_ptr_array_index (group->restores, index);
  g_autoptr (GError) error = NULL;
  QsnapSession *session =
      qsnap_restore_run (restore, qsnap_rendezvous_get_cancellable (group->rendezvous), &error);

  group->sessions->pdata[index] = session;
  if (session == NULL ||
      !qsnap_rendezvous_meet (group->rendezvous, index, "be brought back", 0, NULL, NULL, &error) ||
      !qsnap_restore_release (restore, &error))
    qsnap_rendezvous_fail (group->rendezvous, index, error);
}

/* The first error is the one that is reported; what could not be undone is added to it. */
static GError *
take_back (GroupRestore *group, GError *first)
{
  g_autoptr (GString) left = g_string_new (NULL);
  GError *both;

  for (guint i = 0; i < group->restores->len; i++)
    {
      g_autoptr (GError) error = NULL;

      if (group->sessions->pdata[i] != NULL &&
          !qsnap_restore_take_back (g_ptr_array_index (group->restores, i), &error))
        g_string_append_printf (left, "%s%s", left->len > 0 ? "; " : "", error->message);
    }
  if (group->made)
    (void)g_rmdir (group->path);
  if (left->len == 0)
    return first;

  both = g_error_new (QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED,
                      "%s; and it could not be undone: %s", first->message, left->str);
  g_error_free (first);

  return both;
}

static gboolean
make_directory (GroupRestore *group, GError **error)
{
  group->made = g_mkdir (group->path, 0700) == 0;

  return group->made || errno == EEXIST ||
         qsnap_io_fail (error, errno, "cannot make the reverts' directory %s", group->path);
}

static GListModel *
sessions_of (GroupRestore *group)
{
  GListStore *store = g_list_store_new (QSNAP_TYPE_SESSION);

  for (guint i = 0; i < group->sessions->len; i++)
    g_list_store_append (store, group->sessions->pdata[i]);

  return G_LIST_MODEL (store);
}

static GListModel *
group_restore_run (GroupRestore *group, GCancellable *cancellable, GError **error)
{
  GError *failure;
  gulong handler;

  if (g_cancellable_set_error_if_cancelled (cancellable, error) || !make_directory (group, error))
    return NULL;

  handler = qsnap_rendezvous_follow (group->rendezvous, cancellable);
  qsnap_parallel_run (group->restores->len, bring_back_one, group);
  g_cancellable_disconnect (cancellable, handler);

  failure = qsnap_rendezvous_dup_error (group->rendezvous);
  if (failure == NULL)
    return sessions_of (group);

  g_propagate_error (error, take_back (group, failure));

  return NULL;
}

/**
 * qsnap_group_snapshot_restore:
 * @self: the snapshot of a group
 * @options: (nullable): how, or %NULL to leave everything to the snapshots
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Brings all guests of the group back, each as qsnap_snapshot_restore() does. None of them runs
 * before all are there; then they go on at once, but for those that were paused when they were
 * captured. If one cannot be brought back none is.
 *
 * What each guest writes goes to the folder with its name below #QsnapRestoreOptions:directory.
 * #QsnapRestoreOptions:command is not for groups (%G_IO_ERROR_INVALID_ARGUMENT): guests that need
 * command lines of their own are brought back one by one, with
 * #QsnapRestoreOptions:start-paused. So are sockets between guests: each guest comes back with what
 * its own snapshot says, see docs/groups.md.
 *
 * Errors: those of qsnap_snapshot_restore(), with the guest's name before the message.
 *
 * Returns: (transfer full): a list of #QsnapSession, in the order of
 *   #QsnapGroupSnapshot:snapshots, for the main context that is the thread-default one now
 *
 * Since: 1.0
 */
GListModel *
qsnap_group_snapshot_restore (QsnapGroupSnapshot *self,
                              QsnapRestoreOptions *options,
                              GCancellable *cancellable,
                              GError **error)
{
  g_autoptr (GroupRestore) group = NULL;

  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);
  g_return_val_if_fail (options == NULL || QSNAP_IS_RESTORE_OPTIONS (options), NULL);

  group = group_restore_new (self, options, error);

  return group != NULL ? group_restore_run (group, cancellable, error) : NULL;
}

static void
restore_thread (GTask *task, gpointer source, gpointer group, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;
  GListModel *sessions = group_restore_run (group, cancellable, &error);

  if (sessions != NULL)
    g_task_return_pointer (task, sessions, g_object_unref);
  else
    g_task_return_error (task, g_steal_pointer (&error));
}

/**
 * qsnap_group_snapshot_restore_async:
 * @self: the snapshot of a group
 * @options: (nullable): how, or %NULL to leave everything to the snapshots
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_group_snapshot_restore().
 *
 * Since: 1.0
 */
void
qsnap_group_snapshot_restore_async (QsnapGroupSnapshot *self,
                                    QsnapRestoreOptions *options,
                                    GCancellable *cancellable,
                                    GAsyncReadyCallback callback,
                                    gpointer user_data)
{
  g_autoptr (GTask) task = NULL;
  GError *error = NULL;
  GroupRestore *group;

  g_return_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self));
  g_return_if_fail (options == NULL || QSNAP_IS_RESTORE_OPTIONS (options));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_group_snapshot_restore_async);
  /* Guests that run are a success, even if it is cancelled before the callback runs. */
  g_task_set_check_cancellable (task, FALSE);

  group = group_restore_new (self, options, &error);
  if (group == NULL)
    {
      g_task_return_error (task, error);
      return;
    }

  g_task_set_task_data (task, group, (GDestroyNotify)group_restore_free);
  g_task_run_in_thread (task, restore_thread);
}

/**
 * qsnap_group_snapshot_restore_finish:
 * @self: the snapshot of a group
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_group_snapshot_restore_async().
 *
 * Returns: (transfer full): a list of #QsnapSession
 *
 * Since: 1.0
 */
GListModel *
qsnap_group_snapshot_restore_finish (QsnapGroupSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);
  g_return_val_if_fail (g_task_is_valid (result, self), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_group_snapshot_restore_async),
                        NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}
