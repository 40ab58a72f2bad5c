/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-delete.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-delete-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"
#include "qsnap-session-private.h"
#include "qsnap-snapshot-private.h"

/* A deletion from top to bottom. The overlay of each disk is merged into its base, so that the
 * guest's disk is the base again, or what stood on the overlay stands on the base; then the memory
 * is removed. Whoever dies on the way leaves
 * deleted.json, and can be followed by another who does the rest. */

/* --- begin and end ------------------------------------------------------------------------- */

static void
disk_free (gpointer data)
{
  QsnapDeleteDisk *disk = data;

  g_free (disk->overlay_node);
  g_free (disk->base_node);
  g_free (disk->top_node);
  g_free (disk);
}

static gboolean
open_directory (QsnapDelete *deletion, GError **error)
{
  GFile *directory = qsnap_snapshot_get_directory (deletion->snapshot);
  g_autofree char *path = g_file_get_path (directory);

  deletion->dir_fd = qsnap_snapshot_open_directory (directory, error);
  if (deletion->dir_fd < 0)
    return FALSE;

  deletion->path = g_canonicalize_filename (path, NULL);

  return qsnap_snapshot_lock_directory (deletion->dir_fd, TRUE, error);
}

/* Read again, under the lock: it may have been deleted since it was loaded. */
static gboolean
read_manifest (QsnapDelete *deletion, GError **error)
{
  g_autoptr (GError) failure = NULL;

  deletion->manifest = qsnap_manifest_read (deletion->dir_fd, &failure);
  if (deletion->manifest == NULL && g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    {
      deletion->manifest = qsnap_manifest_read_deleted (deletion->dir_fd, NULL);
      deletion->marked = deletion->manifest != NULL;
    }
  if (deletion->manifest != NULL)
    return TRUE;

  g_propagate_prefixed_error (error, g_steal_pointer (&failure), "%s: ", deletion->path);

  return FALSE;
}

/* What a manifest names is merged and removed. */
static gboolean
add_overlay (QsnapDelete *deletion, JsonObject *object, GError **error)
{
  QsnapDeleteDisk *disk = g_new0 (QsnapDeleteDisk, 1);
  struct stat found;

  disk->identity = qsnap_json_get_object (object, "base");
  disk->label = qsnap_json_get_string (object, "device");
  disk->base = qsnap_json_get_string (disk->identity, "file");
  disk->base_format = qsnap_json_get_string (disk->identity, "format");
  disk->overlay = qsnap_json_get_string (qsnap_json_get_object (object, "overlay"), "file");
  if (disk->overlay == NULL)
    {
      g_free (disk);
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "the guest goes on in an overlay that is in no local file, from which it cannot "
                   "be brought back to %s",
                   qsnap_json_get_string (qsnap_json_get_object (object, "base"), "file"));
      return FALSE;
    }

  disk->has_overlay = lstat (disk->overlay, &found) == 0;
  disk->size = disk->has_overlay ? (guint64)found.st_blocks * 512 : 0;
  g_ptr_array_add (deletion->disks, disk);

  /* Names that the library does not choose are believed if they are the caller's own. */
  if (!disk->has_overlay ||
      (S_ISREG (found.st_mode) &&
       (strstr (disk->overlay, ".qsnap-") != NULL || found.st_uid == geteuid ())))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "%s is no overlay of a snapshot",
               disk->overlay);

  return FALSE;
}

static gboolean
add_disk (QsnapDelete *deletion, JsonObject *disk, GError **error)
{
  char *image;

  switch (qsnap_manifest_disk_mode (disk))
    {
    case QSNAP_DISK_MODE_CLONE:
    case QSNAP_DISK_MODE_COPY:
      image = qsnap_manifest_disk_base (disk, deletion->path);
      if (image != NULL)
        g_ptr_array_add (deletion->images, image);
      return TRUE;
    case QSNAP_DISK_MODE_INTERNAL:
      g_ptr_array_add (deletion->internal, disk);
      return TRUE;
    case QSNAP_DISK_MODE_EXCLUDE:
      return TRUE;
    case QSNAP_DISK_MODE_OVERLAY:
    case QSNAP_DISK_MODE_AUTO:
    default:
      /* Of one that was moved the guest is not here: what is left is its base, and stays. */
      return !json_object_has_member (disk, "overlay") || add_overlay (deletion, disk, error);
    }
}

static gboolean
read_disks (QsnapDelete *deletion, GError **error)
{
  JsonArray *disks = qsnap_json_get_array (deletion->manifest, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (!add_disk (deletion, qsnap_json_array_object (disks, i), error))
      return FALSE;

  return !deletion->marked || qsnap_delete_read_journal (deletion, error);
}

static gboolean
take_session (QsnapDelete *deletion, GError **error)
{
  QsnapSession *session = deletion->session;
  g_autoptr (QsnapQmpClient) client = NULL;
  g_autoptr (GIOStream) stream = NULL;

  if (session == NULL)
    return TRUE;

  client = qsnap_session_ref_client (session, error);
  if (client == NULL)
    return FALSE;

  stream = qsnap_session_ref_stream (session);
  deletion->guest = qsnap_guest_new (client, stream, qsnap_session_get_timeout (session));
  deletion->watch = qsnap_watch_new ();
  qsnap_session_set_watch (session, deletion->watch);

  return TRUE;
}

static void
clear (QsnapDelete *deletion)
{
  if (deletion->watch != NULL)
    qsnap_session_set_watch (deletion->session, NULL);
  g_clear_pointer (&deletion->watch, qsnap_watch_unref);
  g_clear_pointer (&deletion->guest, qsnap_guest_free);
  g_ptr_array_unref (deletion->disks);
  g_ptr_array_unref (deletion->images);
  g_ptr_array_unref (deletion->internal);
  g_hash_table_unref (deletion->heirs);
  g_clear_pointer (&deletion->manifest, json_object_unref);
  if (deletion->dir_fd >= 0)
    close (deletion->dir_fd);
  g_free (deletion->path);
}

static void
close_fd (gpointer fd)
{
  close (GPOINTER_TO_INT (fd));
}

/* --- the order ----------------------------------------------------------------------------- */

static void
set_phase (QsnapDelete *deletion, QsnapPhase phase)
{
  if (deletion->operation != NULL)
    qsnap_operation_set_phase (deletion->operation, phase);
}

static guint64
sum_of_sizes (QsnapDelete *deletion)
{
  guint64 sum = 0;

  for (guint i = 0; i < deletion->disks->len; i++)
    {
      QsnapDeleteDisk *disk = deletion->disks->pdata[i];

      if (qsnap_delete_needs_merge (disk))
        sum += disk->size;
    }

  return sum;
}

static gboolean
merge_all (QsnapDelete *deletion, GError **error)
{
  deletion->bytes_after = sum_of_sizes (deletion);

  for (guint i = 0; i < deletion->disks->len; i++)
    {
      QsnapDeleteDisk *disk = deletion->disks->pdata[i];
      guint64 size = qsnap_delete_needs_merge (disk) ? disk->size : 0;

      if (g_cancellable_set_error_if_cancelled (deletion->cancellable, error))
        return FALSE;

      deletion->bytes_after -= size;
      if (!qsnap_delete_merge (deletion, disk, error))
        return FALSE;
      deletion->bytes_before += size;
    }

  if (deletion->operation != NULL)
    qsnap_operation_set_progress (deletion->operation, deletion->bytes_before,
                                  deletion->bytes_before);

  return TRUE;
}

static gboolean
check (QsnapDelete *deletion, GError **error)
{
  set_phase (deletion, QSNAP_PHASE_CHECKING);

  return open_directory (deletion, error) && read_manifest (deletion, error) &&
         read_disks (deletion, error) && take_session (deletion, error) &&
         qsnap_delete_check (deletion, error) &&
         !g_cancellable_set_error_if_cancelled (deletion->cancellable, error);
}

static gboolean
merge (QsnapDelete *deletion, GError **error)
{
  set_phase (deletion, QSNAP_PHASE_MERGING);

  return qsnap_delete_mark (deletion, error) && merge_all (deletion, error) &&
         qsnap_delete_internal (deletion, error);
}

/* The guest can be used as before; whether the snapshot can depends on how far this came. */
static void
stop_half_way (QsnapDelete *deletion, GError **failure)
{
  set_phase (deletion, QSNAP_PHASE_ROLLING_BACK);
  if (!qsnap_delete_resume (deletion, NULL))
    g_prefix_error (failure, "the guest is still stopped; ");
  qsnap_delete_unmark (deletion);
  if (deletion->marked)
    g_prefix_error (failure,
                    "%s is deleted in part, deleting it again does the rest: ", deletion->path);
}

static gboolean delete (QsnapDelete *deletion, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (!check (deletion, error))
    return FALSE;

  if (!merge (deletion, &failure))
    {
      stop_half_way (deletion, &failure);
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }

  set_phase (deletion, QSNAP_PHASE_SETTLING);

  qsnap_delete_pass_on (deletion);

  return qsnap_delete_remove_files (deletion, error);
}

gboolean
qsnap_delete_run (QsnapSnapshot *snapshot,
                  QsnapSession *session,
                  QsnapOperation *operation,
                  GCancellable *cancellable,
                  GError **error)
{
  QsnapDelete deletion = { .snapshot = snapshot,
                           .session = session,
                           .operation = operation,
                           .cancellable = cancellable,
                           .dir_fd = -1,
                           .disks = g_ptr_array_new_with_free_func (disk_free),
                           .images = g_ptr_array_new_with_free_func (g_free),
                           .internal = g_ptr_array_new (),
                           .heirs =
                               g_hash_table_new_full (g_str_hash, g_str_equal, g_free, close_fd) };
  gboolean deleted = delete (&deletion, error);

  clear (&deletion);

  return deleted;
}
