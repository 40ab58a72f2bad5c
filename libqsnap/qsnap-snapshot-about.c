/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <unistd.h>

#include "qsnap-about.h"
#include "qsnap-snapshot-private.h"

/* What people and programs say of a snapshot. */

void
qsnap_snapshot_read_about (QsnapSnapshot *self, int dir_fd)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);
  g_autoptr (GError) failure = NULL;

  qsnap_about_clear (&self->about);
  /* It is of no use for the snapshot itself. */
  if (!qsnap_about_read (&self->about, dir_fd, &failure))
    g_debug ("snapshot %s: %s", self->name, failure->message);
}

/**
 * qsnap_snapshot_dup_description:
 * @self: a snapshot
 *
 * What people say of the snapshot; see qsnap_snapshot_annotate().
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_description (QsnapSnapshot *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  locker = g_mutex_locker_new (&self->lock);

  return g_strdup (self->about.description);
}

/**
 * qsnap_snapshot_dup_metadata:
 * @self: a snapshot
 *
 * What programs keep with the snapshot; see qsnap_snapshot_annotate().
 *
 * Returns: (transfer full) (nullable): a dictionary, `a{sv}`; free with g_variant_unref()
 *
 * Since: 1.0
 */
GVariant *
qsnap_snapshot_dup_metadata (QsnapSnapshot *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  locker = g_mutex_locker_new (&self->lock);

  return self->about.metadata != NULL ? g_variant_ref (self->about.metadata) : NULL;
}

static gboolean
annotate (QsnapSnapshot *self, const char *description, GVariant *metadata, GError **error)
{
  const char *problem = qsnap_about_problem (description, metadata);
  gboolean written;
  int dir_fd;

  if (problem != NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, problem);
      return FALSE;
    }
  if (!qsnap_snapshot_check_sealed (self, error))
    return FALSE;

  dir_fd = qsnap_snapshot_open_directory (self->directory, error);
  if (dir_fd < 0)
    return FALSE;

  written = qsnap_about_write (dir_fd, description, metadata, error);
  if (written)
    qsnap_snapshot_read_about (self, dir_fd);
  close (dir_fd);

  return written;
}

static void
notify_about (QsnapSnapshot *self)
{
  g_object_notify (G_OBJECT (self), "description");
  g_object_notify (G_OBJECT (self), "metadata");
}

/**
 * qsnap_snapshot_annotate:
 * @self: a snapshot, sealed
 * @description: (nullable): what people say of it: UTF-8, any number of lines, at most 64 KiB
 * @metadata: (nullable): what programs keep with it, a dictionary of the type `a{sv}`, of at most
 *   1 MiB as text
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Says something of the snapshot, in place of all that was said before: to change one of both, give
 * the other as it is. It is in a file of its own in the snapshot's directory, of which the
 * snapshot's checksums know nothing; both are of no meaning to libqsnap. A floating @metadata is
 * taken.
 *
 * Errors: %G_IO_ERROR_INVALID_ARGUMENT, %QSNAP_ERROR_BUSY before the snapshot is sealed (until then
 * #QsnapSnapshotOptions:description says it), and those of #GIOErrorEnum.
 *
 * Returns: %TRUE if it is on stable storage
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_annotate (QsnapSnapshot *self,
                         const char *description,
                         GVariant *metadata,
                         GCancellable *cancellable,
                         GError **error)
{
  g_autoptr (GVariant) taken = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);

  taken = metadata != NULL ? g_variant_ref_sink (metadata) : NULL;
  if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
      !annotate (self, description, taken, error))
    return FALSE;

  notify_about (self);

  return TRUE;
}

static void
clear_about (gpointer data)
{
  qsnap_about_clear (data);
  g_free (data);
}

static void
annotate_thread (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const QsnapAbout *about = data;
  g_autoptr (GError) error = NULL;

  if (annotate (source, about->description, about->metadata, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, g_steal_pointer (&error));
}

/**
 * qsnap_snapshot_annotate_async:
 * @self: a snapshot, sealed
 * @description: (nullable): what people say of it
 * @metadata: (nullable): what programs keep with it
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_annotate().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_annotate_async (QsnapSnapshot *self,
                               const char *description,
                               GVariant *metadata,
                               GCancellable *cancellable,
                               GAsyncReadyCallback callback,
                               gpointer user_data)
{
  g_autoptr (GTask) task = NULL;
  QsnapAbout *about;

  g_return_if_fail (QSNAP_IS_SNAPSHOT (self));

  about = g_new0 (QsnapAbout, 1);
  about->description = g_strdup (description);
  about->metadata = metadata != NULL ? g_variant_ref_sink (metadata) : NULL;
  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_snapshot_annotate_async);
  g_task_set_task_data (task, about, clear_about);
  g_task_run_in_thread (task, annotate_thread);
}

/**
 * qsnap_snapshot_annotate_finish:
 * @self: a snapshot
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_annotate_async().
 *
 * Returns: %TRUE if it is on stable storage
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_annotate_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_annotate_async), FALSE);

  if (!g_task_propagate_boolean (G_TASK (result), error))
    return FALSE;

  notify_about (self);

  return TRUE;
}
