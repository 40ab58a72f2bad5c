/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "disk/qsnap-merge.h"
#include "memory/qsnap-io.h"
#include "qsnap-capture-private.h"
#include "qsnap-delete-private.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-qemu-img.h"

/* One disk: its overlay goes into its base, by QEMU or by qemu-img, and is removed. */

/* The same for everybody who deletes it. */
static char *
job_of (QsnapDeleteDisk *disk)
{
  return g_strdup_printf ("qsnap-delete-%08x", g_str_hash (disk->overlay));
}

static gboolean
note_state (QsnapDelete *deletion, QsnapDeleteDisk *disk, QsnapDeleteState state, GError **error)
{
  if (disk->state == state)
    return TRUE;

  disk->state = state;

  return qsnap_delete_write_journal (deletion, error);
}

/* --- by QEMU ------------------------------------------------------------------------------- */

static void
on_progress (gpointer data, guint64 done, guint64 total)
{
  QsnapDelete *deletion = data;

  if (deletion->operation == NULL)
    return;

  qsnap_operation_set_progress (deletion->operation, deletion->bytes_before + done,
                                deletion->bytes_before + total + deletion->bytes_after);
}

static gboolean
on_complete (gpointer data, GError **error)
{
  QsnapDelete *deletion = data;

  return note_state (deletion, deletion->current, QSNAP_DELETE_MERGED, error);
}

/* Noted first: whoever deletes it after us has to let the guest go on. */
static gboolean
on_stop (gpointer data, GError **error)
{
  QsnapDelete *deletion = data;

  deletion->stopped = TRUE;

  return qsnap_delete_write_journal (deletion, error) &&
         qsnap_qmp_do (&deletion->guest->qmp, "stop", NULL, error);
}

static const QsnapMergeFuncs merge_funcs = { on_progress, on_complete, on_stop };

QsnapDrive *
qsnap_delete_find_drive (GPtrArray *drives, const char *file)
{
  for (guint i = 0; i < drives->len; i++)
    {
      QsnapDrive *drive = drives->pdata[i];

      if (drive->file != NULL && qsnap_is_same_file (drive->file, file))
        return drive;
    }

  return NULL;
}

static gboolean
stands_on (QsnapDrive *drive, const char *file)
{
  if (drive->file != NULL && qsnap_is_same_file (drive->file, file))
    return TRUE;

  for (guint i = 0; drive->chain != NULL && drive->chain[i] != NULL; i++)
    if (qsnap_is_same_file (drive->chain[i], file))
      return TRUE;

  return FALSE;
}

static gboolean
is_on_overlay (QsnapDelete *deletion, QsnapDeleteDisk *disk, gboolean *on_overlay, GError **error)
{
  QsnapGuest *guest = deletion->guest;
  g_autoptr (GPtrArray) drives = qsnap_drives_query (&guest->qmp, guest->process, NULL, error);

  if (drives == NULL)
    return FALSE;

  *on_overlay = FALSE;
  for (guint i = 0; i < drives->len; i++)
    *on_overlay |= stands_on (drives->pdata[i], disk->overlay);

  return TRUE;
}

/* What the graph says counts, whatever became of the job or of an answer. */
static gboolean
judge_merge (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **failure)
{
  gboolean on_overlay;

  if (!is_on_overlay (deletion, disk, &on_overlay, *failure == NULL ? failure : NULL))
    return FALSE;
  if (!on_overlay)
    {
      g_clear_error (failure);
      g_clear_pointer (&disk->overlay_node, g_free);
      return note_state (deletion, disk, QSNAP_DELETE_MERGED, failure);
    }

  (void)note_state (deletion, disk, QSNAP_DELETE_MERGING, NULL);
  if (*failure == NULL)
    g_set_error (failure, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
                 "somebody else ended the job: the guest goes on in %s", disk->overlay);

  return FALSE;
}

static gboolean
merge_live (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error)
{
  g_autofree char *job = job_of (disk);
  QsnapMerge merge = { .qmp = &deletion->guest->qmp,
                       .watch = deletion->watch,
                       .cancellable = deletion->cancellable,
                       .funcs = &merge_funcs,
                       .data = deletion,
                       .job = job,
                       .overlay = disk->overlay_node,
                       .base = disk->base_node,
                       .top = disk->top_node,
                       .backing_file = disk->top_node != NULL ? disk->base : NULL };
  GError *failure = NULL;

  if (disk->state == QSNAP_DELETE_WAITING &&
      !note_state (deletion, disk, QSNAP_DELETE_MERGING, error))
    return FALSE;

  deletion->current = disk;
  qsnap_merge_run (&merge, &failure);
  if (judge_merge (deletion, disk, &failure))
    return TRUE;

  g_propagate_error (error, failure);

  return FALSE;
}

gboolean
qsnap_delete_resume (QsnapDelete *deletion, GError **error)
{
  QsnapSession *session = deletion->session;
  g_autoptr (QsnapQmpClient) client = NULL;
  QsnapQmp qmp;
  g_autofree char *status = NULL;

  if (!deletion->stopped || deletion->guest == NULL)
    return TRUE;

  /* A guest must not stay stopped because a connection ended. */
  qmp = deletion->guest->qmp;
  if (qsnap_watch_is_closed (deletion->watch) && qsnap_session_get_address (session) != NULL)
    {
      qsnap_watch_reopen (deletion->watch);
      client =
          qsnap_capture_connect (qsnap_session_get_address (session), deletion->watch, NULL, error);
      if (client == NULL)
        return FALSE;
      qmp.client = client;
    }

  status = qsnap_qmp_query_status (&qmp, error);
  if (status == NULL ||
      (g_str_equal (status, "paused") && !qsnap_qmp_do (&qmp, "cont", NULL, error)))
    return FALSE;

  deletion->stopped = FALSE;
  if (client != NULL)
    qsnap_qmp_client_close (client);

  return qsnap_delete_write_journal (deletion, error);
}

/* --- what QEMU still has of the overlay ---------------------------------------------------- */

/* Its nodes, from the top; each refuses to go while one stands on it. */
static gboolean
find_nodes (QsnapDelete *deletion, QsnapDeleteDisk *disk, GPtrArray *names, GError **error)
{
  QsnapGuest *guest = deletion->guest;
  g_autoptr (JsonNode) reply = qsnap_qmp_run (&guest->qmp, "query-named-block-nodes",
                                              qsnap_json_node_new ("flat", 'b', TRUE, NULL), error);
  JsonArray *nodes = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  for (guint i = 0; nodes != NULL && i < json_array_get_length (nodes); i++)
    {
      JsonObject *node = qsnap_json_array_object (nodes, i);
      const char *name = qsnap_json_get_string (node, "node-name");
      const char *filename = qsnap_json_get_string (node, "file");
      g_autofree char *file = filename != NULL
                                  ? qsnap_drive_resolve_file (&guest->qmp, guest->process, filename)
                                  : NULL;

      if (name != NULL && file != NULL && qsnap_is_same_file (file, disk->overlay))
        g_ptr_array_add (names, g_strdup (name));
    }

  return TRUE;
}

static gboolean
remove_nodes (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error)
{
  g_autoptr (GPtrArray) left = g_ptr_array_new_with_free_func (g_free);

  /* The file's node after the one that stands on it, whichever comes first in QEMU's list. */
  for (guint pass = 0; pass < 3; pass++)
    {
      g_ptr_array_set_size (left, 0);
      if (!find_nodes (deletion, disk, left, error))
        return FALSE;
      if (left->len == 0)
        return TRUE;
      for (guint i = 0; i < left->len; i++)
        (void)qsnap_qmp_blockdev_del (&deletion->guest->qmp, left->pdata[i], NULL);
    }

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY, "QEMU does not let go of %s (node %s)",
               disk->overlay, (const char *)left->pdata[0]);

  return FALSE;
}

static gboolean
release_overlay (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error)
{
  QsnapQmp *qmp = deletion->guest != NULL ? &deletion->guest->qmp : NULL;
  g_autofree char *job = job_of (disk);
  gint64 fdset;

  if (qmp == NULL)
    return TRUE;

  if (!qsnap_merge_dismiss (qmp, job, error) || !remove_nodes (deletion, disk, error) ||
      !qsnap_fdset_of_path (qmp, disk->overlay, &fdset, error))
    return FALSE;

  return fdset < 0 || qsnap_qmp_remove_fd (qmp, fdset, error);
}

/* --- files --------------------------------------------------------------------------------- */

static gboolean
merge_offline (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error)
{
  return note_state (deletion, disk, QSNAP_DELETE_MERGING, error) &&
         qsnap_qemu_img_commit (disk->overlay, disk->base, deletion->cancellable, error) &&
         qsnap_io_sync_path (disk->base, 0, error) &&
         note_state (deletion, disk, QSNAP_DELETE_MERGED, error);
}

static gboolean
remove_overlay (QsnapDeleteDisk *disk, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (disk->overlay);

  if (!disk->has_overlay)
    return TRUE;

  if (!qsnap_io_sync_path (disk->base, 0, error))
    return FALSE;
  if (g_unlink (disk->overlay) != 0 && errno != ENOENT)
    return qsnap_io_fail (error, errno, "cannot remove %s", disk->overlay);

  return qsnap_io_sync_path (folder, O_DIRECTORY, error);
}

gboolean
qsnap_delete_merge (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error)
{
  gboolean merged = TRUE;

  if (disk->overlay_node != NULL)
    merged = merge_live (deletion, disk, error);
  else if (qsnap_delete_needs_merge (disk))
    merged = merge_offline (deletion, disk, error);

  if (!merged)
    {
      g_prefix_error (error,
                      "disk %s goes on in %s, which could not be merged into %s: ", disk->label,
                      disk->overlay, disk->base);
      return FALSE;
    }

  return qsnap_delete_resume (deletion, error) && release_overlay (deletion, disk, error) &&
         qsnap_delete_relink (deletion, disk, error) && remove_overlay (disk, error);
}
