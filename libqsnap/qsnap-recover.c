/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-recover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "disk/qsnap-disk-check.h"
#include "memory/qsnap-image.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-recover-private.h"
#include "qsnap-snapshot-private.h"

/* What a client that died left behind. The journal says what it had begun; out of it a capture is
 * made again that has come as far, so that the same functions finish it or take it back. Each of
 * them copes with a step that never happened, or that is undone already: a recovery that dies can
 * be run again. */

/* --- finishing ----------------------------------------------------------------------------- */

static gboolean
is_at (QsnapCapture *capture, const char *step)
{
  return g_strcmp0 (qsnap_json_get_string (capture->journal.json, "step"), step) == 0;
}

static gboolean
has_file (QsnapCapture *capture, const char *name)
{
  return faccessat (capture->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What a QEMU that lives goes on copying can be waited for. */
static gboolean
copies_can_be_had (QsnapCapture *capture)
{
  return !capture->qmp->gone ||
         !qsnap_disks_have_mode (capture->guest->drives, QSNAP_DISK_MODE_COPY) ||
         qsnap_json_get_bool (capture->journal.json, QSNAP_JOURNAL_COPIED, FALSE);
}

/* The saver's word that all memory is on stable storage, for a capture whose point in time was
 * proven. */
static gboolean
memory_is_complete (QsnapCapture *capture)
{
  return (is_at (capture, "saving") || is_at (capture, "sealing")) && capture->recovered != NULL &&
         !qsnap_json_get_bool (capture->journal.json, QSNAP_JOURNAL_UNDOING, FALSE) &&
         (!qsnap_capture_has_memory (capture) || has_file (capture, QSNAP_IMAGE_JSON)) &&
         copies_can_be_had (capture);
}

/* A guest that was paused is in "postmigrate" for as long as nobody has resumed it; if somebody
 * has, its memory and its disks may not be of one instant. The client that died may have seen that
 * nobody did. */
static gboolean
check_stayed_paused (QsnapCapture *capture, GError **error)
{
  g_autofree char *status = NULL;

  if (!capture->plain ||
      qsnap_json_get_bool (capture->journal.json, QSNAP_JOURNAL_STAYED_PAUSED, FALSE))
    return TRUE;

  if (!capture->qmp->gone)
    {
      status = qsnap_qmp_query_status (capture->qmp, error);
      if (status == NULL)
        return FALSE;
      if (g_str_equal (status, "postmigrate"))
        return TRUE;
    }

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
               "the guest may not have stayed paused while its memory was saved (it is %s)",
               status != NULL ? status : "gone");

  return FALSE;
}

/* It was frozen for the pause only. Whoever has frozen it since is asked to do so again. */
static void
push_thaw (QsnapCapture *capture)
{
  const char *agent = qsnap_json_get_string (capture->journal.json, "agent");

  if (agent != NULL && !capture->qmp->gone)
    qsnap_capture_settle_agent (capture, agent);
}

static gboolean
finish (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) unsettled = NULL;

  if (!check_stayed_paused (capture, error) ||
      (!capture->qmp->gone && qsnap_capture_has_memory (capture) &&
       !qsnap_capture_finish_migration (capture, error)) ||
      (!capture->qmp->gone && !qsnap_capture_wait_for_copies (capture, error)))
    return FALSE;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_SETTLING);
  qsnap_capture_push_prepared (capture);
  push_thaw (capture);
  qsnap_undo_run (capture->settle, &unsettled);

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_SEALING);
  capture->snapshot =
      qsnap_snapshot_new_unsealed (capture->directory, qsnap_capture_describe (capture, NULL));
  if (!qsnap_capture_seal (capture, error))
    return FALSE;

  qsnap_capture_carry_out_wish (capture);
  qsnap_capture_leave_guest (capture);
  if (unsettled == NULL)
    return qsnap_journal_remove (&capture->journal, error);

  g_propagate_prefixed_error (error, g_steal_pointer (&unsettled),
                              "the snapshot is complete, but QEMU could not be put back: ");

  return FALSE;
}

/* --- undoing ------------------------------------------------------------------------------- */

/* Whoever stopped it, in the pause, until its memory is saved, or for a merge, is dead. Else its
 * run state is its owner's business. */
static gboolean
was_stopped (QsnapCapture *capture)
{
  return is_at (capture, "pausing") || capture->plain ||
         capture->guest->leave != QSNAP_LEAVE_RUNNING ||
         qsnap_json_get_bool (capture->journal.json, QSNAP_JOURNAL_STOPPED, FALSE);
}

static gboolean
resume_guest (gpointer data, GError **error)
{
  QsnapCapture *capture = data;
  g_autofree char *status = NULL;

  if (capture->qmp->gone || !capture->guest->was_running || !was_stopped (capture))
    return TRUE;

  status = qsnap_qmp_query_status (capture->qmp, error);
  if (status == NULL)
    return FALSE;

  return !g_str_equal (status, "paused") || qsnap_qmp_do (capture->qmp, "cont", NULL, error);
}

/* In the order in which a capture pushes them. */
static void
push_undo (QsnapCapture *capture)
{
  for (guint i = 0; i < capture->tasks->len; i++)
    qsnap_disk_task_push_prepared (g_ptr_array_index (capture->tasks, i), capture->undo);
  qsnap_capture_push_prepared (capture);
  qsnap_undo_push (capture->undo, "resume the guest", NULL, resume_guest, capture);
  for (guint i = 0; i < capture->tasks->len; i++)
    qsnap_disk_task_push_actions (g_ptr_array_index (capture->tasks, i), capture->undo);
  qsnap_capture_push_migration (capture);
}

/* A guest that goes on elsewhere must not be started here, and its disks are not ours to touch. Our
 * own migration leaves it like this only where it was paused. */
static gboolean
check_not_migrated (QsnapCapture *capture, GError **error)
{
  g_autofree char *status = qsnap_qmp_query_status (capture->qmp, error);

  if (status == NULL)
    return FALSE;
  if (capture->plain || capture->live || !g_str_equal (status, "postmigrate"))
    return TRUE;

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_BLOCKED,
                       "the guest has been migrated away from this QEMU: what is left of the "
                       "capture can be undone when it has ended");

  return FALSE;
}

static gboolean
undo (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) undone = NULL;
  g_autoptr (GError) settled = NULL;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_ROLLING_BACK);
  if (capture->qmp->gone)
    return qsnap_recover_undo_offline (capture, error);

  if (!check_not_migrated (capture, error))
    return FALSE;
  qsnap_journal_flag (&capture->journal, QSNAP_JOURNAL_UNDOING);
  push_undo (capture);
  push_thaw (capture);
  qsnap_undo_run (capture->undo, &undone);
  qsnap_undo_run (capture->settle, &settled);
  qsnap_capture_resume_after_full_disk (capture);
  qsnap_capture_carry_out_wish (capture);
  if (undone == NULL && settled == NULL)
    return qsnap_capture_remove_directory (capture, error);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED, "it could not be undone: %s%s%s",
               undone != NULL ? undone->message : "", undone != NULL && settled != NULL ? "; " : "",
               settled != NULL ? settled->message : "");

  return FALSE;
}

/* --- all of it ----------------------------------------------------------------------------- */

/* What the guest did while nobody listened shows in its run state. */
static void
note_wish (QsnapCapture *capture)
{
  g_autofree char *status = NULL;

  if (capture->qmp->gone)
    return;

  status = qsnap_qmp_query_status (capture->qmp, NULL);
  g_mutex_lock (&capture->watch->lock);
  capture->watch->shutdown_seen |= g_strcmp0 (status, "shutdown") == 0;
  capture->watch->panic_seen |= g_strcmp0 (status, "guest-panicked") == 0;
  capture->watch->no_space_seen |= g_strcmp0 (status, "io-error") == 0;
  g_mutex_unlock (&capture->watch->lock);
}

static gboolean
open_directory (QsnapCapture *capture, GFile *directory, GError **error)
{
  g_autofree char *path = g_file_get_path (directory);

  if (path == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "a snapshot is in a local directory");
      return FALSE;
    }

  capture->directory = g_object_ref (directory);
  capture->path = g_canonicalize_filename (path, NULL);
  capture->dir_fd = open (capture->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

  if (capture->dir_fd < 0)
    return qsnap_io_fail (error, errno, "cannot open the directory %s", capture->path);

  return qsnap_io_check_top (capture->dir_fd, capture->path, error);
}

/* Under the lock: another recovery may have been faster. */
static gboolean
read_journal (QsnapCapture *capture, GError **error)
{
  JsonObject *snapshot;

  qsnap_journal_clear (&capture->journal);
  if (!qsnap_journal_read (&capture->journal, capture->dir_fd, error))
    {
      /* A client that died over its first journal had begun nothing else; a new capture wants its
       * directory empty. */
      if (!has_file (capture, QSNAP_JOURNAL_FILE))
        qsnap_io_forget_draft (capture->dir_fd, QSNAP_JOURNAL_FILE);
      return FALSE;
    }

  snapshot = qsnap_json_get_object (capture->journal.json, "snapshot");
  if (snapshot != NULL)
    capture->recovered = json_object_ref (snapshot);
  capture->directory_is_ours = TRUE;
  capture->directory_made = qsnap_json_get_bool (capture->journal.json, "directory-made", TRUE);
  capture->directory_mode = 0700;

  return TRUE;
}

/* FALSE without an error: it cannot be finished, and has to be undone. */
static gboolean
finish_if_complete (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (!memory_is_complete (capture))
    return FALSE;
  if (finish (capture, &failure))
    return TRUE;

  if (capture->snapshot != NULL && qsnap_snapshot_get_sealed (capture->snapshot))
    g_propagate_error (error, g_steal_pointer (&failure));
  else
    g_debug ("it cannot be finished, so it is undone: %s", failure->message);

  return FALSE;
}

static QsnapSnapshot *
finish_or_undo (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (finish_if_complete (capture, &failure))
    return g_object_ref (capture->snapshot);
  if (failure == NULL && undo (capture, &failure))
    return NULL;

  g_propagate_error (error, g_steal_pointer (&failure));

  return NULL;
}

/* Only QEMU may not be as it was. */
static QsnapSnapshot *
settle_sealed (QsnapCapture *capture, GError **error)
{
  qsnap_capture_push_prepared (capture);
  push_thaw (capture);
  if (!qsnap_undo_run (capture->settle, error))
    return NULL;

  qsnap_capture_carry_out_wish (capture);
  qsnap_capture_leave_guest (capture);
  (void)unlinkat (capture->dir_fd, QSNAP_IMAGE_JSON, 0);
  if (!qsnap_journal_remove (&capture->journal, error))
    return NULL;

  return qsnap_snapshot_load (capture->directory, NULL, error);
}

static QsnapSnapshot *
recover (QsnapCapture *capture, GError **error)
{
  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_CHECKING);
  if (!qsnap_recover_lock (capture, error) || !read_journal (capture, error))
    return NULL;

  /* Before QMP, which may wait for a guest that waits for its stream to be read. */
  qsnap_recover_drain (capture);
  if (!qsnap_recover_connect (capture, error))
    return NULL;

  qsnap_recover_restore (capture);
  note_wish (capture);

  return has_file (capture, QSNAP_MANIFEST_FILE) ? settle_sealed (capture, error)
                                                 : finish_or_undo (capture, error);
}

/* A directory that is not there is one of which everything was undone. */
static void
explain (QsnapCapture *capture, GError *error)
{
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND) && capture->journal.json == NULL)
    g_prefix_error (&error, "there is nothing to recover in %s: ", capture->path);
  else
    g_prefix_error (&error, "recovering %s: ", capture->path);
}

QsnapSnapshot *
qsnap_recover_run (QsnapOperation *operation,
                   GFile *directory,
                   GCancellable *cancellable,
                   GError **error)
{
  QsnapCapture capture;
  QsnapSnapshot *snapshot = NULL;
  GError *failure = NULL;

  qsnap_capture_init (&capture, operation, cancellable);
  if (open_directory (&capture, directory, &failure))
    snapshot = qsnap_recover_is_revert (capture.path)
                   ? qsnap_recover_revert (operation, capture.path, &failure)
                   : recover (&capture, &failure);
  if (failure != NULL)
    {
      explain (&capture, failure);
      g_propagate_error (error, failure);
    }
  qsnap_capture_clear (&capture);

  return snapshot;
}
