/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-private.h"

#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-async.h"
#include "qsnap-group-file.h"
#include "qsnap-json.h"
#include "qsnap-snapshot-private.h"

/* The snapshots of a group are deleted one after the other. Before the first one it is noted that
 * the group is one no more, so that what is left after a failure or a crash is no group with guests
 * missing, and can be deleted again. */

typedef struct
{
  QsnapGroupSnapshot *self;
  /* NULL: no guest runs. */
  QsnapGroup *guests;
  /* In a thread of the library: what sessions emit belongs into their main contexts. */
  gboolean in_thread;
  const char *path;
  int dir_fd;
  JsonObject *json;
} Deletion;

static gboolean
note_deleting (Deletion *deletion, gboolean deleting, GError **error)
{
  if (deleting)
    json_object_set_boolean_member (deletion->json, QSNAP_GROUP_DELETING, TRUE);
  else
    json_object_remove_member (deletion->json, QSNAP_GROUP_DELETING);

  if (!qsnap_group_file_write (deletion->dir_fd, QSNAP_GROUP_FILE, deletion->json, error))
    return FALSE;

  qsnap_group_snapshot_set_sealed (deletion->self, !deleting);

  return TRUE;
}

static void
take_result (GObject *source, GAsyncResult *result, gpointer place)
{
  *(GAsyncResult **)place = g_object_ref (result);
}

static gboolean
delete_by_session (Deletion *deletion,
                   QsnapSession *session,
                   QsnapSnapshot *snapshot,
                   GCancellable *cancellable,
                   GError **error)
{
  g_autoptr (GAsyncResult) result = NULL;
  g_autoptr (GMainContext) context = NULL;

  if (!deletion->in_thread)
    return qsnap_session_delete_snapshot (session, snapshot, cancellable, error);

  context = g_main_context_new ();
  g_main_context_push_thread_default (context);
  qsnap_session_delete_snapshot_async (session, snapshot, cancellable, take_result, &result);
  while (result == NULL)
    (void)g_main_context_iteration (context, TRUE);
  g_main_context_pop_thread_default (context);

  return qsnap_session_delete_snapshot_finish (session, result, error);
}

static gboolean
delete_one (Deletion *deletion,
            const char *name,
            QsnapSnapshot *snapshot,
            GCancellable *cancellable,
            GError **error)
{
  g_autoptr (QsnapSession) session =
      deletion->guests != NULL ? qsnap_group_find_session (deletion->guests, name) : NULL;
  gboolean deleted = session != NULL
                         ? delete_by_session (deletion, session, snapshot, cancellable, error)
                         : qsnap_snapshot_delete (snapshot, cancellable, error);

  if (!deleted)
    g_prefix_error (error, "guest %s: ", name);

  return deleted;
}

static gboolean
is_there (QsnapSnapshot *snapshot)
{
  return g_file_query_exists (qsnap_snapshot_get_directory (snapshot), NULL);
}

static gboolean
delete_all (Deletion *deletion, GCancellable *cancellable, GError **error)
{
  QsnapGroupSnapshot *self = deletion->self;

  for (guint i = 0; self->names[i] != NULL; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (self->snapshots, i);

      if (is_there (snapshot) &&
          !delete_one (deletion, self->names[i], snapshot, cancellable, error))
        return FALSE;
    }

  return TRUE;
}

/* Where the first could not be deleted, and nothing of it was changed. */
static gboolean
is_whole (Deletion *deletion)
{
  QsnapGroupSnapshot *self = deletion->self;

  if (g_list_model_get_n_items (self->snapshots) != qsnap_group_file_n_guests (deletion->json))
    return FALSE;
  for (guint i = 0; self->names[i] != NULL; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (self->snapshots, i);

      if (!qsnap_snapshot_get_sealed (snapshot) || !is_there (snapshot))
        return FALSE;
    }

  return TRUE;
}

static gboolean
run (Deletion *deletion, GCancellable *cancellable, GError **error)
{
  if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
      !note_deleting (deletion, TRUE, error))
    return FALSE;

  if (!delete_all (deletion, cancellable, error))
    {
      if (is_whole (deletion))
        (void)note_deleting (deletion, FALSE, NULL);
      return FALSE;
    }

  (void)unlinkat (deletion->dir_fd, QSNAP_GROUP_FILE, 0);
  /* Something else may be in it. */
  (void)rmdir (deletion->path);

  return TRUE;
}

static gboolean
delete_group (QsnapGroupSnapshot *self,
              QsnapGroup *guests,
              gboolean in_thread,
              GCancellable *cancellable,
              GError **error)
{
  int dir_fd = qsnap_snapshot_open_directory (self->directory, error);
  g_autoptr (JsonObject) json = NULL;
  Deletion deletion = { self, guests, in_thread, g_file_peek_path (self->directory), dir_fd, NULL };
  gboolean deleted = FALSE;

  if (dir_fd < 0)
    return FALSE;

  if (qsnap_snapshot_lock_directory (dir_fd, TRUE, error))
    json = qsnap_group_file_read (dir_fd, QSNAP_GROUP_FILE, error);
  deletion.json = json;
  if (json != NULL)
    deleted = run (&deletion, cancellable, error);
  close (dir_fd);

  return deleted;
}

/**
 * qsnap_group_snapshot_delete:
 * @self: the snapshot of a group
 * @guests: (nullable): a group with the sessions of those guests that run, by the names that they
 *   had; %NULL: none runs
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Deletes the snapshot of each guest, one after the other: of one that is in @guests as
 * qsnap_session_delete_snapshot() does, of all others as qsnap_snapshot_delete() does. Then the
 * group's folder is removed.
 *
 * Where one cannot be deleted those before it are, and the group is one no more:
 * #QsnapGroupSnapshot:sealed is %FALSE, and deleting it again does the rest. If nothing was changed
 * yet it stays as it was.
 *
 * What the sessions emit comes inside this call.
 *
 * Errors: those of qsnap_snapshot_delete() and qsnap_session_delete_snapshot(), with the guest's
 * name before the message.
 *
 * Returns: %TRUE if there is nothing left of it
 *
 * Since: 1.0
 */
gboolean
qsnap_group_snapshot_delete (QsnapGroupSnapshot *self,
                             QsnapGroup *guests,
                             GCancellable *cancellable,
                             GError **error)
{
  gboolean deleted;

  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (guests == NULL || QSNAP_IS_GROUP (guests), FALSE);

  deleted = delete_group (self, guests, FALSE, cancellable, error);
  g_object_notify (G_OBJECT (self), "sealed");

  return deleted;
}

static gboolean
delete_beside (gpointer source, gpointer guests, GCancellable *cancellable, GError **error)
{
  return delete_group (source, guests, TRUE, cancellable, error);
}

/**
 * qsnap_group_snapshot_delete_async:
 * @self: the snapshot of a group
 * @guests: (nullable): a group with the sessions of those guests that run
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_group_snapshot_delete(). What the sessions emit comes in their main
 * contexts, which have to be iterated. @guests must not be changed before @callback is called.
 *
 * Since: 1.0
 */
void
qsnap_group_snapshot_delete_async (QsnapGroupSnapshot *self,
                                   QsnapGroup *guests,
                                   GCancellable *cancellable,
                                   GAsyncReadyCallback callback,
                                   gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self));
  g_return_if_fail (guests == NULL || QSNAP_IS_GROUP (guests));

  qsnap_async_run_change (self, qsnap_group_snapshot_delete_async, delete_beside,
                          guests != NULL ? g_object_ref (guests) : NULL, g_object_unref,
                          cancellable, callback, user_data);
}

/**
 * qsnap_group_snapshot_delete_finish:
 * @self: the snapshot of a group
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_group_snapshot_delete_async().
 *
 * Returns: %TRUE if there is nothing left of it
 *
 * Since: 1.0
 */
gboolean
qsnap_group_snapshot_delete_finish (QsnapGroupSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_group_snapshot_delete_async),
                        FALSE);

  g_object_notify (G_OBJECT (self), "sealed");

  return g_task_propagate_boolean (G_TASK (result), error);
}
