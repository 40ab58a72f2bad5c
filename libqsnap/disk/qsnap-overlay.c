/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-overlay.h"

#include <string.h>

#include "disk/qsnap-disk-job.h"
#include "disk/qsnap-new-image.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-qemu-img.h"

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

static char *
choose_file (QsnapDrive *drive, const char *directory, const char *id, guint index)
{
  g_autofree char *beside = g_path_get_dirname (drive->file);
  g_autofree char *stem = stem_of (drive->file);
  g_autofree char *name = NULL;

  /* Two images of one name may come together in one folder. */
  if (directory != NULL && index > 0)
    name = g_strdup_printf ("%s-%u.qsnap-%s.qcow2", stem, index, id);
  else
    name = g_strdup_printf ("%s.qsnap-%s.qcow2", stem, id);

  return g_build_filename (directory != NULL ? directory : beside, name, NULL);
}

void
qsnap_overlay_plan (QsnapDrive *drive, const char *directory, const char *id, guint index)
{
  GFile *file = drive->options != NULL ? qsnap_disk_options_get_file (drive->options) : NULL;
  g_autofree char *path = file != NULL ? g_file_get_path (file) : NULL;

  drive->new_format = "qcow2";
  if (path != NULL)
    drive->new_file = g_canonicalize_filename (path, NULL);
  else if (qsnap_new_image_target (drive) == NULL)
    drive->new_file = choose_file (drive, directory, id, index);
}

/* --- one that is there already --------------------------------------------------------------- */

gboolean
qsnap_overlay_stands_on_base (QsnapDrive *drive, JsonObject *info)
{
  const char *backing = qsnap_json_get_string (info, "full-backing-filename");

  return backing != NULL && qsnap_is_same_file (backing, drive->file);
}

/* Without the right backing file in its header the guest's disk would be lost when QEMU ends. */
gboolean
qsnap_overlay_check_reuse (QsnapDrive *drive, GError **error)
{
  GFile *file = qsnap_disk_options_get_file (drive->options);
  g_autofree char *path = file != NULL ? g_file_get_path (file) : NULL;
  const char *const info[] = { "qemu-img", "info", "--output=json", path, NULL };
  g_autoptr (JsonNode) reply = NULL;
  JsonObject *image;
  const char *wrong = NULL;
  gboolean holds = FALSE;

  if (path == NULL || !qsnap_qemu_img_run (info, &reply, NULL, error))
    return FALSE;

  image = qsnap_json_object (reply);
  if (g_strcmp0 (qsnap_json_get_string (image, "format"), "qcow2") != 0)
    wrong = "it is not qcow2";
  else if (qsnap_json_get_int (image, "virtual-size", -1) != drive->size)
    wrong = "it has another size than the disk";
  else if (!qsnap_overlay_stands_on_base (drive, image))
    wrong = "its backing file is not the guest's image";
  else if (g_strcmp0 (qsnap_json_get_string (image, "backing-filename-format"),
                      qsnap_drive_format (drive)) != 0)
    wrong = "it does not say the right format of its backing file";

  if (wrong == NULL && !qsnap_qemu_img_holds_something (path, &holds, error))
    return FALSE;
  if (holds)
    wrong = "it is not empty";
  if (wrong == NULL)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "%s cannot be the overlay of drive %s: %s", path, qsnap_drive_label (drive), wrong);

  return FALSE;
}

/* --- the transaction ------------------------------------------------------------------------- */

/* Who makes incremental backups finds a bitmap of the same name in the overlay: the old one stays
 * with what it is about. */
static void
add_bitmap (QsnapDiskTask *task, JsonObject *bitmap, JsonArray *actions)
{
  const char *name = qsnap_json_get_string (bitmap, "name");
  JsonObject *data;

  if (name == NULL || !qsnap_json_get_bool (bitmap, "persistent", FALSE) ||
      qsnap_json_get_bool (bitmap, "inconsistent", FALSE))
    return;

  data = qsnap_json_object_new (
      "node", 's', task->drive->new_node, "name", 's', name, "granularity", 'i',
      qsnap_json_get_int (bitmap, "granularity", 65536), "persistent", 'b', TRUE, "disabled", 'b',
      !qsnap_json_get_bool (bitmap, "recording", TRUE), NULL);
  json_array_add_object_element (
      actions,
      qsnap_json_object_new ("type", 's', "block-dirty-bitmap-add", "data", 'o', data, NULL));
}

void
qsnap_overlay_add_actions (QsnapDiskTask *task, JsonArray *actions)
{
  JsonArray *bitmaps = task->drive->bitmaps;
  JsonObject *data = qsnap_json_object_new ("node", 's', task->drive->node, "overlay", 's',
                                            task->drive->new_node, NULL);

  json_array_add_object_element (
      actions, qsnap_json_object_new ("type", 's', "blockdev-snapshot", "data", 'o', data, NULL));
  for (guint i = 0; bitmaps != NULL && i < json_array_get_length (bitmaps); i++)
    add_bitmap (task, qsnap_json_array_object (bitmaps, i), actions);
}

/* --- merging back -------------------------------------------------------------------------- */

/* Whether the overlay is what the guest writes into: the transaction's answer may have been lost.
 */
static gboolean
is_in_use (QsnapDiskTask *task, gboolean *in_use, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (task->qmp, "query-block", NULL, error);
  JsonArray *list = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  *in_use = FALSE;
  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    {
      JsonObject *inserted = qsnap_json_get_object (qsnap_json_array_object (list, i), "inserted");

      if (g_strcmp0 (qsnap_json_get_string (inserted, "node-name"), task->drive->new_node) == 0)
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
wait_until_ready (QsnapDiskTask *task, const char *job, gboolean *stopped, GError **error)
{
  gboolean running;

  *stopped = FALSE;
  if (qsnap_watch_wait (task->watch, merge_ready_or_ended, job, MERGE_PATIENCE_MS, NULL, error))
    return TRUE;

  if ((error != NULL && *error != NULL) || !qsnap_qmp_is_running (task->qmp, &running, error))
    return FALSE;

  if (running)
    {
      if (task->about_to_stop != NULL)
        task->about_to_stop (task->data);
      if (!qsnap_qmp_do (task->qmp, "stop", NULL, error))
        return FALSE;
      *stopped = TRUE;
    }

  return qsnap_watch_wait (task->watch, merge_ready_or_ended, job, 0, NULL, error);
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
complete_merge (QsnapDiskTask *task, const char *job, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (qsnap_watch_wait (task->watch, merge_pending_or_ended, job, -1, NULL, NULL) ||
      qsnap_qmp_job_command (task->qmp, "job-complete", job, &failure))
    return qsnap_watch_wait (task->watch, merge_pending_or_ended, job, 0, NULL, error);
  if (qsnap_watch_wait (task->watch, merge_pending_or_ended, job, COMPLETE_PATIENCE_MS, NULL, NULL))
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

static void
note_merged (QsnapDiskTask *task, gboolean merged)
{
  task->drive->merged = merged;
  if (task->note_merged != NULL)
    task->note_merged (task->drive, task->data);
}

/* Base and overlay are the same now, and QEMU holds the guest's requests back until the job is told
 * to finish. What is written down in this moment is true whoever dies next, QEMU too: before it the
 * overlay has everything, after it the base. */
static gboolean
finalize_merge (QsnapDiskTask *task, const char *job, GError **error)
{
  if (qsnap_watch_wait (task->watch, merge_ended, job, -1, NULL, NULL))
    return TRUE;

  note_merged (task, TRUE);

  return qsnap_qmp_job_command (task->qmp, "job-finalize", job, error);
}

static gboolean
start_merge (QsnapDiskTask *task, const char *job, GError **error)
{
  return qsnap_qmp_do (task->qmp, "block-commit",
                       qsnap_json_node_new ("job-id", 's', job, "device", 's',
                                            task->drive->new_node, "base-node", 's',
                                            task->drive->node, "auto-finalize", 'b', FALSE, NULL),
                       error);
}

/* One that somebody began who died. Its event may have come before we listened. */
static gboolean
find_merge (QsnapDiskTask *task, const char *job, gboolean *going_on, GError **error)
{
  g_autoptr (JsonObject) entry = NULL;
  const char *status;

  if (!qsnap_disk_job_find (task->qmp, job, &entry, error))
    return FALSE;

  status = qsnap_json_get_string (entry, "status");
  *going_on = status != NULL;
  if (status != NULL && !g_str_equal (status, "created") && !g_str_equal (status, "running"))
    {
      g_autoptr (JsonNode) ready = qsnap_json_node_new ("device", 's', job, NULL);
      g_autoptr (JsonNode) now = qsnap_json_node_new ("id", 's', job, "status", 's', status, NULL);

      qsnap_watch_note_event (task->watch, "BLOCK_JOB_READY", ready, 0);
      qsnap_watch_note_event (task->watch, "JOB_STATUS_CHANGE", now, 0);
    }

  return TRUE;
}

static gboolean
run_merge (QsnapDiskTask *task, const char *job, gboolean going_on, GError **error)
{
  gboolean stopped;
  gboolean merged;

  if (!going_on && !start_merge (task, job, error))
    return FALSE;

  merged = wait_until_ready (task, job, &stopped, error) && complete_merge (task, job, error) &&
           finalize_merge (task, job, error) &&
           qsnap_watch_wait (task->watch, merge_ended, job, 0, NULL, error) &&
           !merge_failure (task->watch, job, error);
  if (!merged && task->drive->merged)
    note_merged (task, FALSE);

  if (stopped)
    merged = qsnap_qmp_do (task->qmp, "cont", NULL, merged ? error : NULL) && merged;

  return merged;
}

gboolean
qsnap_overlay_merge_back (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;
  g_autofree char *job = g_strconcat (task->drive->new_node, "-merge", NULL);
  gboolean going_on, in_use;

  if (find_merge (task, job, &going_on, error) && is_in_use (task, &in_use, error) &&
      (!(going_on || in_use) || run_merge (task, job, going_on, error)))
    return TRUE;

  g_prefix_error (error, "drive %s goes on in %s, which could not be merged into %s: ",
                  qsnap_drive_label (task->drive),
                  task->drive->new_file != NULL ? task->drive->new_file : task->drive->new_node,
                  task->drive->file);

  return FALSE;
}
