/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-relocate.h"
#include "qsnap-snapshot-private.h"

/**
 * qsnap_snapshot_check_disk:
 * @self: a snapshot, sealed
 * @drive: the disk: QEMU's name of the drive, of its device, or of its node
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Looks whether the images of one disk are where the snapshot says, the base as it was (as
 * qsnap_snapshot_verify() does), and what it stands on. The content is not read, so this does not
 * take long. What is in a target (#QsnapDiskOptions:target) is not looked at.
 *
 * Errors: %G_IO_ERROR_NOT_FOUND if an image is missing, or the snapshot has no such disk;
 * %QSNAP_ERROR_CORRUPT if the base is another file, or was written; %QSNAP_ERROR_BUSY before the
 * snapshot is sealed; those of #GIOErrorEnum.
 *
 * Returns: %TRUE if they are
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_check_disk (QsnapSnapshot *self,
                           const char *drive,
                           GCancellable *cancellable,
                           GError **error)
{
  g_autoptr (JsonObject) manifest = NULL;
  g_autofree char *path = NULL;
  JsonObject *disk;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (drive != NULL, FALSE);

  if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
      !qsnap_snapshot_check_sealed (self, error))
    return FALSE;

  manifest = qsnap_snapshot_copy_manifest (self);
  disk = qsnap_manifest_disk_find (qsnap_json_get_array (manifest, "disks"), drive, error);
  path = g_file_get_path (self->directory);

  return disk != NULL && qsnap_relocate_check_disk (disk, path, error);
}

/**
 * qsnap_snapshot_relocate_disks:
 * @self: a snapshot, sealed
 * @images: (array zero-terminated=1): where images are now, each as `DRIVE=FILE`; DRIVE is QEMU's
 *   name of the drive, of its device, or of its node
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Says where the images of a snapshot are that was moved, to another folder or another host. What
 * is in its directory goes along; all other images are named by their paths, which are wrong then.
 * All that are given are written, on stable storage, or none; disks that are not named stay as they
 * are.
 *
 * FILE has to be there, of the disk's format and size, and no QEMU may be writing to it; all that
 * it stands on has to be there, too, where the headers of the images say (`qemu-img rebase -u`
 * changes them). With %QSNAP_DISK_MODE_INTERNAL the snapshot has to be inside; a QEMU may be on the
 * image, with %QSNAP_DISK_MODE_EXCLUDE as well. For a clone or a copy in the snapshot's own
 * directory FILE is the image right below it, if it stands on one.
 *
 * **That the content is the same is the caller's word**: a snapshot has no checksums of its disks.
 *
 * If the overlay in which the guest went on is not where it was, or does not stand on FILE, the
 * snapshot does not know of it any more: when it is deleted, FILE stays as it is.
 *
 * The list of qsnap_snapshot_get_disks() has new items afterwards, which are put there in the
 * calling thread.
 *
 * Errors: %G_IO_ERROR_INVALID_ARGUMENT, %G_IO_ERROR_NOT_FOUND for a file or a disk that there is
 * not, %QSNAP_ERROR_UNSUPPORTED for a disk of which there is nothing to say, %QSNAP_ERROR_BUSY if
 * an image is being written, or the snapshot is saved, brought back or deleted by somebody else,
 * %QSNAP_ERROR_FAILED with the words of `qemu-img`, and those of #GIOErrorEnum: only the user to
 * whom the directory belongs may say it.
 *
 * Returns: %TRUE if the snapshot says where they are now
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_relocate_disks (QsnapSnapshot *self,
                               const char *const *images,
                               GCancellable *cancellable,
                               GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);

  if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
      !qsnap_relocate (self, images, cancellable, error))
    return FALSE;

  qsnap_snapshot_list_disks_anew (self);

  return TRUE;
}

static void
free_images (gpointer images)
{
  g_strfreev (images);
}

static gboolean
relocate (gpointer source, gpointer images, GCancellable *cancellable, GError **error)
{
  return qsnap_relocate (source, images, cancellable, error);
}

/**
 * qsnap_snapshot_relocate_disks_async:
 * @self: a snapshot, sealed
 * @images: (array zero-terminated=1): where images are now, each as `DRIVE=FILE`
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when it is done
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_snapshot_relocate_disks().
 *
 * Since: 1.0
 */
void
qsnap_snapshot_relocate_disks_async (QsnapSnapshot *self,
                                     const char *const *images,
                                     GCancellable *cancellable,
                                     GAsyncReadyCallback callback,
                                     gpointer user_data)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT (self));

  qsnap_async_run_change (self, qsnap_snapshot_relocate_disks_async, relocate,
                          g_strdupv ((GStrv)images), free_images, cancellable, callback, user_data);
}

/**
 * qsnap_snapshot_relocate_disks_finish:
 * @self: a snapshot
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_snapshot_relocate_disks_async(); the new items come into the list of
 * qsnap_snapshot_get_disks() here.
 *
 * Returns: %TRUE if the snapshot says where they are now
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_relocate_disks_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (g_task_is_valid (result, self), FALSE);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_snapshot_relocate_disks_async),
                        FALSE);

  if (!g_task_propagate_boolean (G_TASK (result), error))
    return FALSE;

  qsnap_snapshot_list_disks_anew (self);

  return TRUE;
}
