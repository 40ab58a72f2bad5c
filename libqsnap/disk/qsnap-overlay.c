/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "qsnap-json.h"

#define JOB_TIMEOUT_MS (60 * 1000)
/* A guest that writes faster than the merge copies keeps it from ever being ready; it is stopped
 * for the last pass after this time. */
#define MERGE_PATIENCE_MS (20 * 1000)
#define COMPLETE_PATIENCE_MS (10 * 1000)

/* --- names --------------------------------------------------------------------------------- */

/* disk.qcow2 → disk; disk.qsnap-0a1b2c3d.qcow2 → disk, so that names do not grow with the chain. */
static char *
stem_of (const char *file)
{
  char *stem = g_path_get_basename (file);
  char *dot = strrchr (stem, '.');
  char *ours;

  if (dot != NULL && dot != stem)
    *dot = '\0';
  ours = g_strrstr (stem, ".qsnap-");
  if (ours != NULL && ours != stem)
    *ours = '\0';

  return stem;
}

void
qsnap_overlay_plan (QsnapDrive *drive, const char *directory, const char *id, guint index)
{
  g_autofree char *beside = g_path_get_dirname (drive->file);
  g_autofree char *stem = stem_of (drive->file);
  g_autofree char *name = NULL;

  /* Two images of one name may come together in one folder. */
  if (directory != NULL && index > 0)
    name = g_strdup_printf ("%s-%u.qsnap-%s.qcow2", stem, index, id);
  else
    name = g_strdup_printf ("%s.qsnap-%s.qcow2", stem, id);

  drive->overlay_file = g_build_filename (directory != NULL ? directory : beside, name, NULL);
  drive->overlay_node = g_strdup_printf ("qsnap-%s-%u", id, index);
  drive->overlay_file_node = g_strdup_printf ("qsnap-%s-%u-file", id, index);
}

/* --- undo ---------------------------------------------------------------------------------- */

static gboolean
undo_file (gpointer data, GError **error)
{
  QsnapOverlay *overlay = data;

  if (g_unlink (overlay->drive->overlay_file) == 0 || errno == ENOENT)
    return TRUE;

  g_set_error (error, G_IO_ERROR, (int)g_io_error_from_errno (errno), "cannot remove %s: %s",
               overlay->drive->overlay_file, g_strerror (errno));
  return FALSE;
}

static gboolean
undo_fdset (gpointer data, GError **error)
{
  QsnapOverlay *overlay = data;
  gint64 fdset;

  if (overlay->qmp->gone)
    return TRUE;

  /* Asked for by path: the answer to add-fd may have been lost. */
  if (!qsnap_fdset_of_path (overlay->qmp, overlay->drive->overlay_file, &fdset, error))
    return FALSE;

  return fdset < 0 || qsnap_qmp_remove_fd (overlay->qmp, fdset, error);
}

/* An undo is pushed before its step, as the answer to a step may be lost: what was never there, or
 * is gone already, is as good as removed. */
static gboolean
delete_node (QsnapOverlay *overlay, const char *node, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (overlay->qmp->gone)
    return TRUE;

  if (qsnap_qmp_blockdev_del (overlay->qmp, node, &failure) ||
      strstr (failure->message, "Failed to find node") != NULL)
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

static gboolean
undo_file_node (gpointer data, GError **error)
{
  QsnapOverlay *overlay = data;

  return delete_node (overlay, overlay->drive->overlay_file_node, error);
}

static gboolean
undo_node (gpointer data, GError **error)
{
  QsnapOverlay *overlay = data;

  return delete_node (overlay, overlay->drive->overlay_node, error);
}

/* --- prepare ------------------------------------------------------------------------------- */

static int
open_overlay (QsnapDrive *drive, int flags, GError **error)
{
  int fd = open (drive->overlay_file, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

  if (fd < 0)
    {
      int code = errno;

      g_set_error (error, G_IO_ERROR, (int)g_io_error_from_errno (code),
                   "cannot create the overlay %s: %s", drive->overlay_file, g_strerror (code));
    }

  return fd;
}

/* Whoever may open the image has to be able to open the overlay, when QEMU is started again: same
 * owner and mode. An unprivileged caller is the owner of both, or has been given no better. */
static void
take_after_base (QsnapDrive *drive, int fd)
{
  struct stat base;

  if (stat (drive->file, &base) != 0 || !S_ISREG (base.st_mode))
    return;

  if (fchown (fd, base.st_uid, base.st_gid) == 0)
    (void)fchmod (fd, base.st_mode & 0660);
}

static gboolean
pass_descriptors (
    QsnapOverlay *overlay, int read_write, int read_only, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = overlay->drive;

  qsnap_undo_push (undo, "remove the overlay's descriptors", drive, undo_fdset, overlay);
  drive->overlay_fdset =
      qsnap_qmp_add_fd (overlay->qmp, -1, drive->overlay_file, read_write, error);
  if (drive->overlay_fdset < 0)
    return FALSE;

  /* QEMU reopens the image read-only when it becomes a base, and picks by access mode. */
  return qsnap_qmp_add_fd (overlay->qmp, drive->overlay_fdset, drive->overlay_file, read_only,
                           error) >= 0;
}

static gboolean
create_file (QsnapOverlay *overlay, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = overlay->drive;
  int read_write = open_overlay (drive, O_RDWR | O_CREAT | O_EXCL, error);
  int read_only = -1;
  gboolean passed = FALSE;

  if (read_write < 0)
    return FALSE;

  qsnap_undo_push (undo, "remove the overlay", drive, undo_file, overlay);
  take_after_base (drive, read_write);
  read_only = open_overlay (drive, O_RDONLY, error);
  if (read_only >= 0)
    passed = pass_descriptors (overlay, read_write, read_only, undo, error);

  if (read_only >= 0)
    close (read_only);
  close (read_write);

  return passed;
}

static JsonObject *
cache_of (QsnapDrive *drive)
{
  return qsnap_json_object_new ("direct", 'b', drive->direct, "no-flush", 'b', drive->no_flush,
                                NULL);
}

static gboolean
add_file_node (QsnapOverlay *overlay, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = overlay->drive;
  g_autofree char *filename =
      g_strdup_printf ("/dev/fdset/%" G_GINT64_FORMAT, drive->overlay_fdset);

  qsnap_undo_push (undo, "remove the overlay's file node", drive, undo_file_node, overlay);

  return qsnap_qmp_do (overlay->qmp, "blockdev-add",
                       qsnap_json_node_new ("driver", 's', "file", "node-name", 's',
                                            drive->overlay_file_node, "filename", 's', filename,
                                            "discard", 's', "unmap", "cache", 'o', cache_of (drive),
                                            NULL),
                       error);
}

static char *
create_job (QsnapOverlay *overlay)
{
  return g_strconcat (overlay->drive->overlay_node, "-create", NULL);
}

static gboolean
job_concluded (QsnapWatch *watch, gconstpointer job)
{
  return g_strcmp0 (g_hash_table_lookup (watch->jobs, job), "concluded") == 0;
}

/* The entry of @job in QEMU's list, or NULL if there is none. */
static gboolean
find_job (QsnapOverlay *overlay, const char *job, JsonObject **entry, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (overlay->qmp, "query-jobs", NULL, error);
  JsonArray *jobs = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  *entry = NULL;
  for (guint i = 0; jobs != NULL && i < json_array_get_length (jobs); i++)
    {
      JsonObject *candidate = qsnap_json_array_object (jobs, i);

      if (g_strcmp0 (qsnap_json_get_string (candidate, "id"), job) == 0)
        *entry = json_object_ref (candidate);
    }

  return TRUE;
}

/* A job that has ended stays until it is dismissed. It is short: one that runs ends soon. */
static gboolean
undo_create_job (gpointer data, GError **error)
{
  QsnapOverlay *overlay = data;
  g_autofree char *job = create_job (overlay);

  for (guint i = 0; !overlay->qmp->gone && i < JOB_TIMEOUT_MS / 100; i++)
    {
      g_autoptr (JsonObject) entry = NULL;

      if (!find_job (overlay, job, &entry, error))
        return FALSE;
      if (entry == NULL)
        return TRUE;
      if (g_strcmp0 (qsnap_json_get_string (entry, "status"), "concluded") == 0)
        return qsnap_qmp_job_command (overlay->qmp, "job-dismiss", job, error);
      g_usleep (100 * 1000);
    }

  return TRUE;
}

/* The event only says that it ended; how, the job list knows. */
static gboolean
check_job (QsnapOverlay *overlay, const char *job, GError **error)
{
  g_autoptr (JsonObject) entry = NULL;
  const char *failure;

  if (!find_job (overlay, job, &entry, error))
    return FALSE;

  failure = qsnap_json_get_string (entry, "error");
  if (failure == NULL)
    return TRUE;

  g_set_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC, "blockdev-create: %s", failure);

  return FALSE;
}

static gboolean
wait_for_job (QsnapOverlay *overlay, const char *job, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (qsnap_watch_wait (overlay->watch, job_concluded, job, JOB_TIMEOUT_MS, NULL, &failure))
    return TRUE;

  if (failure == NULL)
    g_set_error (&failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "it is not made after %d seconds",
                 JOB_TIMEOUT_MS / 1000);
  g_propagate_prefixed_error (error, g_steal_pointer (&failure), "blockdev-create: ");

  return FALSE;
}

/* Once started the job is short; cancelling is looked at after it. */
static gboolean
format_overlay (QsnapOverlay *overlay, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = overlay->drive;
  g_autofree char *job = create_job (overlay);
  JsonObject *options = qsnap_json_object_new (
      "driver", 's', "qcow2", "file", 's', drive->overlay_file_node, "size", 'i', drive->size,
      "backing-file", 's', drive->file, "backing-fmt", 's', qsnap_drive_format (drive), NULL);

  qsnap_undo_push (undo, "dismiss the job that made the overlay", drive, undo_create_job, overlay);
  if (!qsnap_qmp_do (overlay->qmp, "blockdev-create",
                     qsnap_json_node_new ("job-id", 's', job, "options", 'o', options, NULL),
                     error) ||
      !wait_for_job (overlay, job, error) || !check_job (overlay, job, error) ||
      !qsnap_qmp_job_command (overlay->qmp, "job-dismiss", job, error))
    return FALSE;

  qsnap_undo_drop (undo, undo_create_job, overlay);

  return TRUE;
}

static gboolean
add_node (QsnapOverlay *overlay, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = overlay->drive;

  qsnap_undo_push (undo, "remove the overlay's node", drive, undo_node, overlay);

  return qsnap_qmp_do (
      overlay->qmp, "blockdev-add",
      qsnap_json_node_new ("driver", 's', "qcow2", "node-name", 's', drive->overlay_node, "file",
                           's', drive->overlay_file_node, "backing", '0', "discard", 's', "unmap",
                           "detect-zeroes", 's', drive->detect_zeroes, "cache", 'o',
                           cache_of (drive), NULL),
      error);
}

gboolean
qsnap_overlay_prepare (QsnapOverlay *overlay, QsnapUndo *undo, GError **error)
{
  if (create_file (overlay, undo, error) && add_file_node (overlay, undo, error) &&
      format_overlay (overlay, undo, error) && add_node (overlay, undo, error))
    return TRUE;

  g_prefix_error (error, "preparing an overlay for drive %s: ", qsnap_drive_label (overlay->drive));

  return FALSE;
}

void
qsnap_overlay_push_undo (QsnapOverlay *overlay, QsnapUndo *undo)
{
  qsnap_undo_push (undo, "remove the overlay", overlay->drive, undo_file, overlay);
  qsnap_undo_push (undo, "remove the overlay's descriptors", overlay->drive, undo_fdset, overlay);
  qsnap_undo_push (undo, "remove the overlay's file node", overlay->drive, undo_file_node, overlay);
  qsnap_undo_push (undo, "dismiss the job that made the overlay", overlay->drive, undo_create_job,
                   overlay);
  qsnap_undo_push (undo, "remove the overlay's node", overlay->drive, undo_node, overlay);
}

JsonObject *
qsnap_overlay_action (QsnapOverlay *overlay)
{
  JsonObject *data = qsnap_json_object_new ("node", 's', overlay->drive->node, "overlay", 's',
                                            overlay->drive->overlay_node, NULL);

  return qsnap_json_object_new ("type", 's', "blockdev-snapshot", "data", 'o', data, NULL);
}

/* --- merging back -------------------------------------------------------------------------- */

/* Whether the overlay is what the guest writes into: the transaction's answer may have been lost.
 */
static gboolean
is_in_use (QsnapOverlay *overlay, gboolean *in_use, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (overlay->qmp, "query-block", NULL, error);
  JsonArray *list = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  *in_use = FALSE;
  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    {
      JsonObject *inserted = qsnap_json_get_object (qsnap_json_array_object (list, i), "inserted");

      if (g_strcmp0 (qsnap_json_get_string (inserted, "node-name"), overlay->drive->overlay_node) ==
          0)
        *in_use = TRUE;
    }

  return TRUE;
}

static gboolean
merge_ready_or_ended (QsnapWatch *watch, gconstpointer job)
{
  return g_hash_table_contains (watch->block_jobs, job);
}

static gboolean
merge_ended (QsnapWatch *watch, gconstpointer job)
{
  const char *status = g_hash_table_lookup (watch->block_jobs, job);

  return status != NULL && !g_str_equal (status, "ready");
}

static gboolean
merge_failure (QsnapWatch *watch, const char *job, GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);
  const char *status = g_hash_table_lookup (watch->block_jobs, job);

  if (g_strcmp0 (status, "completed") == 0)
    return FALSE;

  g_set_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC, "block-commit: %s",
               status != NULL ? status : "it does not end");

  return TRUE;
}

/* Stops the guest where it writes too fast for the job to become ready. */
static gboolean
wait_until_ready (QsnapOverlay *overlay, const char *job, gboolean *stopped, GError **error)
{
  gboolean running;

  *stopped = FALSE;
  if (qsnap_watch_wait (overlay->watch, merge_ready_or_ended, job, MERGE_PATIENCE_MS, NULL, error))
    return TRUE;

  if ((error != NULL && *error != NULL) || !qsnap_qmp_is_running (overlay->qmp, &running, error))
    return FALSE;

  if (running)
    {
      if (overlay->about_to_stop != NULL)
        overlay->about_to_stop (overlay->data);
      if (!qsnap_qmp_do (overlay->qmp, "stop", NULL, error))
        return FALSE;
      *stopped = TRUE;
    }

  return qsnap_watch_wait (overlay->watch, merge_ready_or_ended, job, 0, NULL, error);
}

static gboolean
merge_pending_or_ended (QsnapWatch *watch, gconstpointer job)
{
  return merge_ended (watch, job) ||
         g_strcmp0 (g_hash_table_lookup (watch->jobs, job), "pending") == 0;
}

/* A job that has failed already has ended: job-complete's error says less than the job's own. One
 * that somebody who died had completed ends by itself. */
static gboolean
complete_merge (QsnapOverlay *overlay, const char *job, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (qsnap_watch_wait (overlay->watch, merge_pending_or_ended, job, -1, NULL, NULL) ||
      qsnap_qmp_job_command (overlay->qmp, "job-complete", job, &failure))
    return qsnap_watch_wait (overlay->watch, merge_pending_or_ended, job, 0, NULL, error);
  if (qsnap_watch_wait (overlay->watch, merge_pending_or_ended, job, COMPLETE_PATIENCE_MS, NULL,
                        NULL))
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

static void
note_merged (QsnapOverlay *overlay, gboolean merged)
{
  overlay->drive->merged = merged;
  if (overlay->note_merged != NULL)
    overlay->note_merged (overlay->drive, overlay->data);
}

/* Base and overlay are the same now, and QEMU holds the guest's requests back until the job is told
 * to finish. What is written down in this moment is true whoever dies next, QEMU too: before it the
 * overlay has everything, after it the base. */
static gboolean
finalize_merge (QsnapOverlay *overlay, const char *job, GError **error)
{
  if (qsnap_watch_wait (overlay->watch, merge_ended, job, -1, NULL, NULL))
    return TRUE;

  note_merged (overlay, TRUE);

  return qsnap_qmp_job_command (overlay->qmp, "job-finalize", job, error);
}

static gboolean
start_merge (QsnapOverlay *overlay, const char *job, GError **error)
{
  return qsnap_qmp_do (overlay->qmp, "block-commit",
                       qsnap_json_node_new ("job-id", 's', job, "device", 's',
                                            overlay->drive->overlay_node, "base-node", 's',
                                            overlay->drive->node, "auto-finalize", 'b', FALSE,
                                            NULL),
                       error);
}

/* One that somebody began who died. Its event may have come before we listened. */
static gboolean
find_merge (QsnapOverlay *overlay, const char *job, gboolean *going_on, GError **error)
{
  g_autoptr (JsonObject) entry = NULL;
  const char *status;

  if (!find_job (overlay, job, &entry, error))
    return FALSE;

  status = qsnap_json_get_string (entry, "status");
  *going_on = status != NULL;
  if (status != NULL && !g_str_equal (status, "created") && !g_str_equal (status, "running"))
    {
      g_autoptr (JsonNode) ready = qsnap_json_node_new ("device", 's', job, NULL);
      g_autoptr (JsonNode) now = qsnap_json_node_new ("id", 's', job, "status", 's', status, NULL);

      qsnap_watch_note_event (overlay->watch, "BLOCK_JOB_READY", ready, 0);
      qsnap_watch_note_event (overlay->watch, "JOB_STATUS_CHANGE", now, 0);
    }

  return TRUE;
}

static gboolean
run_merge (QsnapOverlay *overlay, const char *job, gboolean going_on, GError **error)
{
  gboolean stopped;
  gboolean merged;

  if (!going_on && !start_merge (overlay, job, error))
    return FALSE;

  merged = wait_until_ready (overlay, job, &stopped, error) &&
           complete_merge (overlay, job, error) && finalize_merge (overlay, job, error) &&
           qsnap_watch_wait (overlay->watch, merge_ended, job, 0, NULL, error) &&
           !merge_failure (overlay->watch, job, error);
  if (!merged && overlay->drive->merged)
    note_merged (overlay, FALSE);

  if (stopped)
    merged = qsnap_qmp_do (overlay->qmp, "cont", NULL, merged ? error : NULL) && merged;

  return merged;
}

gboolean
qsnap_overlay_merge_back (gpointer data, GError **error)
{
  QsnapOverlay *overlay = data;
  g_autofree char *job = g_strconcat (overlay->drive->overlay_node, "-merge", NULL);
  gboolean going_on, in_use;

  if (find_merge (overlay, job, &going_on, error) && is_in_use (overlay, &in_use, error) &&
      (!(going_on || in_use) || run_merge (overlay, job, going_on, error)))
    return TRUE;

  g_prefix_error (error, "drive %s goes on in %s, which could not be merged into %s: ",
                  qsnap_drive_label (overlay->drive), overlay->drive->overlay_file,
                  overlay->drive->file);

  return FALSE;
}
