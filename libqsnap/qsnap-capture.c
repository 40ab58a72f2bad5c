/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture.h"

#include <string.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-capture-private.h"
#include "qsnap-check.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-session-private.h"
#include "qsnap-snapshot-private.h"
#include "qsnap-worker.h"

/* A capture from top to bottom: check, prepare, pause, save, settle, seal. The phases are in files
 * of their own; here is their order, and the one way out. */

#define PROGRESS_MS 100
/* A target that takes nothing for this long is worth a word. */
#define STALL_MS 5000
#define ROLLBACK_TIMEOUT_MS (60 * 1000)

gboolean
qsnap_capture_go_on (QsnapCapture *capture, GError **error)
{
  return !g_cancellable_set_error_if_cancelled (capture->cancellable, error);
}

/* --- begin and end ------------------------------------------------------------------------- */

static char *
absolute_path (QsnapSnapshotOptions *options)
{
  GFile *directory = qsnap_snapshot_options_get_directory (options);
  g_autofree char *path = directory != NULL ? g_file_get_path (directory) : NULL;

  return path != NULL ? g_canonicalize_filename (path, NULL) : NULL;
}

void
qsnap_capture_init (QsnapCapture *capture, QsnapOperation *operation, GCancellable *cancellable)
{
  memset (capture, 0, sizeof *capture);
  capture->dir_fd = capture->stream_read = -1;
  capture->max_bandwidth = -1;
  capture->operation = operation;
  capture->cancellable = cancellable;
  capture->watch = qsnap_watch_new ();
  capture->report = qsnap_report_new ();
  capture->undo = qsnap_undo_new ();
  capture->settle = qsnap_undo_new ();
  capture->tasks = g_ptr_array_new_with_free_func ((GDestroyNotify)qsnap_disk_task_free);
}

static gboolean
begin (QsnapCapture *capture, QsnapSnapshotOptions *options, GError **error)
{
  QsnapSession *session = qsnap_operation_get_session (capture->operation);
  g_autoptr (QsnapQmpClient) client = qsnap_session_ref_client (session, error);
  g_autoptr (GIOStream) stream = NULL;

  if (client == NULL)
    return FALSE;

  capture->path = absolute_path (options);
  if (capture->path == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "the options name no local directory for the snapshot");
      return FALSE;
    }

  stream = qsnap_session_ref_stream (session);
  capture->options = options;
  capture->guest = qsnap_guest_new (client, stream, qsnap_session_get_timeout (session));
  capture->qmp = &capture->guest->qmp;
  capture->id = g_strdup_printf ("%08x", g_random_int ());
  qsnap_session_set_watch (session, capture->watch);

  return TRUE;
}

static void
free_saver (gpointer saver)
{
  qsnap_saver_free (saver);
}

void
qsnap_capture_clear (QsnapCapture *capture)
{
  qsnap_session_set_watch (qsnap_operation_get_session (capture->operation), NULL);
  if (capture->second_client != NULL)
    qsnap_qmp_client_close (capture->second_client);
  g_clear_pointer (&capture->second_client, qsnap_qmp_client_unref);
  /* Its reports come in the worker's thread; none can come after this. */
  if (capture->saver != NULL)
    qsnap_worker_run_and_wait (free_saver, capture->saver);
  if (capture->stream_read >= 0)
    close (capture->stream_read);
  qsnap_capture_let_go_of_directory (capture);
  qsnap_undo_free (capture->undo);
  qsnap_undo_free (capture->settle);
  g_ptr_array_unref (capture->tasks);
  g_clear_pointer (&capture->agent, qsnap_agent_free);
  g_clear_pointer (&capture->guest, qsnap_guest_free);
  g_clear_pointer (&capture->recovered, json_object_unref);
  g_clear_pointer (&capture->parent, json_object_unref);
  qsnap_watch_unref (capture->watch);
  g_object_unref (capture->report);
  g_clear_object (&capture->directory);
  g_clear_object (&capture->snapshot);
  g_free (capture->id);
  g_free (capture->name);
  g_free (capture->path);
}

/* --- check --------------------------------------------------------------------------------- */

static gboolean
check (QsnapCapture *capture, GError **error)
{
  const char *name = qsnap_snapshot_options_get_name (capture->options);
  GError *problem;

  if (!qsnap_check_guest (capture->guest, capture->options, capture->report, capture->cancellable,
                          error))
    {
      g_prefix_error (error, "checking the guest: ");
      if (capture->guest->capabilities_uncertain)
        qsnap_capture_settle_capabilities (capture);
      if (capture->guest->probe_uncertain)
        qsnap_capture_settle_probe (capture);
      return FALSE;
    }

  problem = qsnap_report_to_error (capture->report);
  if (problem != NULL)
    {
      g_propagate_error (error, problem);
      return FALSE;
    }

  capture->directory = g_file_new_for_path (capture->path);
  capture->name = name != NULL ? g_strdup (name) : g_path_get_basename (capture->path);

  return TRUE;
}

/* --- save ---------------------------------------------------------------------------------- */

gboolean
qsnap_capture_has_memory (QsnapCapture *capture)
{
  return capture->guest->mode != QSNAP_SNAPSHOT_MODE_DISKS_ONLY;
}

gboolean
qsnap_capture_is_background (QsnapCapture *capture)
{
  return qsnap_capture_has_memory (capture) && !capture->plain && !capture->live;
}

typedef struct
{
  guint64 bytes_done;
  /* When it last grew, and whether the stall since then has been told. */
  gint64 grew;
  gboolean told;
} Progress;

static gboolean
saver_made_progress (QsnapWatch *watch, gconstpointer data)
{
  const Progress *progress = data;

  return watch->saver_saved || watch->saver_ended || watch->saver_error != NULL ||
         watch->bytes_done != progress->bytes_done;
}

/* What a guest that runs writes meanwhile comes more than once. */
void
qsnap_capture_tell_progress (QsnapCapture *capture)
{
  QsnapWatch *watch = capture->watch;
  guint64 done, total;

  g_mutex_lock (&watch->lock);
  done = watch->bytes_done;
  total = watch->bytes_total;
  g_mutex_unlock (&watch->lock);

  if (total > 0)
    qsnap_operation_set_progress (capture->operation, MIN (done, total), total);
}

static gboolean
note_progress (QsnapCapture *capture, Progress *progress)
{
  QsnapWatch *watch = capture->watch;
  guint64 before = progress->bytes_done;
  gboolean saved;

  g_mutex_lock (&watch->lock);
  progress->bytes_done = watch->bytes_done;
  saved = watch->saver_saved;
  g_mutex_unlock (&watch->lock);
  if (progress->bytes_done != before)
    {
      progress->grew = g_get_monotonic_time ();
      progress->told = FALSE;
    }
  qsnap_capture_tell_progress (capture);

  return saved;
}

static gboolean
check_stall (QsnapCapture *capture, Progress *progress, GError **error)
{
  guint max_ms = qsnap_snapshot_options_get_max_stall_ms (capture->options);
  guint warn_ms = max_ms > 0 ? MIN (STALL_MS, max_ms / 2) : STALL_MS;
  guint stalled_ms = (guint)((g_get_monotonic_time () - progress->grew) / 1000);

  if (stalled_ms >= warn_ms && !progress->told)
    {
      progress->told = TRUE;
      qsnap_operation_stalled (capture->operation, stalled_ms);
    }
  if (max_ms == 0 || stalled_ms < max_ms)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
               "saving the memory: nothing was written to %s for %u.%u seconds", capture->path,
               stalled_ms / 1000, stalled_ms % 1000 / 100);

  return FALSE;
}

static gboolean
save_memory (QsnapCapture *capture, GError **error)
{
  Progress progress = { .grew = g_get_monotonic_time () };
  gboolean saved = FALSE;
  gboolean copied;

  while (!saved)
    {
      g_autoptr (GError) failure = NULL;

      if (!qsnap_watch_wait (capture->watch, saver_made_progress, &progress, PROGRESS_MS,
                             capture->cancellable, &failure) &&
          failure != NULL)
        {
          g_propagate_prefixed_error (error, g_steal_pointer (&failure), "saving the memory: ");
          return FALSE;
        }
      if (!qsnap_capture_check_stream (capture, error))
        return FALSE;
      saved = note_progress (capture, &progress);
      if (!qsnap_capture_poll_copies (capture, &copied, error))
        return FALSE;
      if (!saved && !check_stall (capture, &progress, error))
        return FALSE;
    }

  /* Of a guest that ran, it has ended in the pause. */
  return capture->live || qsnap_capture_finish_migration (capture, error);
}

gboolean
qsnap_capture_save (QsnapCapture *capture, GError **error)
{
  /* For recovery only; the guest already runs. */
  qsnap_journal_note (&capture->journal, "snapshot",
                      qsnap_json_node_from_object (qsnap_capture_describe (capture, NULL)));
  if (!qsnap_journal_step (&capture->journal, "saving", error))
    return FALSE;

  return (!qsnap_capture_has_memory (capture) || save_memory (capture, error)) &&
         qsnap_capture_wait_for_copies (capture, error);
}

/* --- settle -------------------------------------------------------------------------------- */

/* What the guest asked for while its shutdown was held: it powered off, rebooted under -no-reboot,
 * or panicked. QEMU would have ended then, and does so now, whatever the run state is: 7.2 starts a
 * guest again that did so right before the pause, to no purpose. */
void
qsnap_capture_carry_out_wish (QsnapCapture *capture)
{
  gboolean wanted;

  g_mutex_lock (&capture->watch->lock);
  wanted = capture->watch->shutdown_seen ||
           (capture->watch->panic_seen && capture->guest->ends_on_panic);
  g_mutex_unlock (&capture->watch->lock);

  if (wanted && !capture->qmp->gone && g_str_equal (capture->guest->shutdown_action, "poweroff"))
    (void)qsnap_qmp_do (capture->qmp, "quit", NULL, NULL);
}

/* What the caller asked for. A QEMU that ends does not always answer. */
void
qsnap_capture_leave_guest (QsnapCapture *capture)
{
  if (capture->guest->leave == QSNAP_LEAVE_QUIT && !capture->qmp->gone)
    (void)qsnap_qmp_do (capture->qmp, "quit", NULL, NULL);
}

/* --- the order, and the way out ------------------------------------------------------------ */

/* Copies may be complete already, where the guest stood still. */
static void
tell_point_in_time (QsnapCapture *capture)
{
  qsnap_operation_point_in_time (capture->operation, capture->snapshot);
  capture->point_in_time_told = TRUE;
  if (capture->copies_complete)
    qsnap_operation_disks_complete (capture->operation, capture->snapshot);
  if (capture->member != NULL)
    qsnap_group_member_told_point_in_time (capture->member, capture->snapshot);
}

static gboolean
take_snapshot (QsnapCapture *capture, GError **error)
{
  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_CHECKING);
  if (!check (capture, error))
    return FALSE;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_PREPARING);
  if (!qsnap_capture_prepare (capture, error) ||
      !qsnap_capture_meet (capture, QSNAP_MEETING_PREPARED, error))
    return FALSE;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_PAUSING);
  if (!qsnap_capture_pause (capture, error) || !qsnap_capture_note_bases (capture, error) ||
      !qsnap_capture_meet (capture, QSNAP_MEETING_PROVEN, error))
    return FALSE;

  capture->snapshot =
      qsnap_snapshot_new_unsealed (capture->directory, qsnap_capture_describe (capture, NULL));
  qsnap_snapshot_read_about (capture->snapshot, capture->dir_fd);
  if (!capture->plain)
    tell_point_in_time (capture);

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_SAVING);

  return qsnap_capture_save (capture, error);
}

void
qsnap_capture_let_go_of_directory (QsnapCapture *capture)
{
  qsnap_journal_clear (&capture->journal);
  if (capture->dir_fd >= 0)
    close (capture->dir_fd);
  capture->dir_fd = -1;
}

/* For the prediction of the next. */
static void
note_pause (QsnapCapture *capture)
{
  if (qsnap_capture_is_background (capture) && qsnap_guest_goes_on (capture->guest))
    qsnap_session_note_pause (qsnap_operation_get_session (capture->operation),
                              qsnap_snapshot_get_pause_us (capture->snapshot));
}

/* Another guest's could not be sealed: this one is no snapshot either. */
static void
unseal (QsnapCapture *capture)
{
  qsnap_snapshot_describe (capture->snapshot, qsnap_capture_describe (capture, NULL));
  qsnap_journal_flag (&capture->journal, QSNAP_JOURNAL_UNDOING);
  (void)unlinkat (capture->dir_fd, QSNAP_MANIFEST_FILE, 0);
  (void)qsnap_io_fsync (capture->dir_fd, capture->path, NULL);
}

static gboolean
seal (QsnapCapture *capture, GError **error)
{
  if (!qsnap_capture_meet (capture, QSNAP_MEETING_SAVED, error))
    return FALSE;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_SEALING);
  if (!qsnap_capture_seal (capture, error))
    {
      g_prefix_error_literal (error, "sealing the snapshot: ");
      return FALSE;
    }
  if (!qsnap_capture_meet (capture, QSNAP_MEETING_SEALED, error))
    {
      unseal (capture);
      return FALSE;
    }

  qsnap_operation_memory_complete (capture->operation, capture->snapshot);
  if (capture->member != NULL)
    qsnap_group_member_told_memory_complete (capture->member);

  return TRUE;
}

/* Puts QEMU back as it was before the seal: the snapshot does not depend on it any more, and a
 * failure must not lose what is saved. */
static gboolean
settle_and_seal (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) unsettled = NULL;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_SETTLING);
  qsnap_capture_reconnect (capture);
  (void)qsnap_capture_run_undo (capture, capture->settle, &unsettled);

  /* The pause is over only now. */
  if (capture->plain)
    {
      qsnap_snapshot_describe (capture->snapshot, qsnap_capture_describe (capture, NULL));
      tell_point_in_time (capture);
    }

  if (!seal (capture, error))
    return FALSE;

  note_pause (capture);
  qsnap_capture_carry_out_wish (capture);
  qsnap_capture_leave_guest (capture);

  if (unsettled == NULL)
    {
      (void)qsnap_journal_remove (&capture->journal, NULL);
      qsnap_capture_share_pages (capture);
      qsnap_capture_give_huge_pages_back (capture);
      qsnap_capture_limit_chain (capture);
      return TRUE;
    }

  qsnap_journal_let_go (&capture->journal);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED,
               "the snapshot is complete in %s, but QEMU could not be put back as it was: %s",
               capture->path, unsettled->message);

  return FALSE;
}

/* The overlay had no room, and QEMU stopped the guest. It writes to its base again now. */
void
qsnap_capture_resume_after_full_disk (QsnapCapture *capture)
{
  g_autofree char *status = NULL;
  gboolean stopped;

  g_mutex_lock (&capture->watch->lock);
  stopped = capture->watch->no_space_seen;
  g_mutex_unlock (&capture->watch->lock);
  if (!stopped || !capture->guest->was_running || capture->qmp->gone)
    return;

  status = qsnap_qmp_query_status (capture->qmp, NULL);
  if (g_strcmp0 (status, "io-error") == 0)
    (void)qsnap_qmp_do (capture->qmp, "cont", NULL, NULL);
}

/* Should we die, what is half undone must not be sealed. In the pause the guest waits, and nothing
 * of it would ever be sealed. */
static void
note_undoing (QsnapCapture *capture)
{
  if (capture->snapshot != NULL)
    qsnap_journal_flag (&capture->journal, QSNAP_JOURNAL_UNDOING);
}

/* The first error is the one that is reported; what could not be undone is added to it. */
static void
roll_back (QsnapCapture *capture, GError **failure)
{
  g_autoptr (GError) first = NULL;
  g_autoptr (GError) undone = NULL;
  g_autoptr (GError) settled = NULL;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_ROLLING_BACK);
  qsnap_capture_wake_at_gate (capture);
  if (capture->saver != NULL)
    qsnap_capture_drain (capture);
  note_undoing (capture);
  qsnap_capture_reconnect (capture);
  /* A caller's short timeout is for what it asks for, not for getting its guest back. */
  if (capture->qmp->timeout_ms > 0)
    capture->qmp->timeout_ms = MAX (capture->qmp->timeout_ms, ROLLBACK_TIMEOUT_MS);

  (void)qsnap_capture_run_undo (capture, capture->undo, &undone);
  (void)qsnap_capture_run_undo (capture, capture->settle, &settled);
  qsnap_capture_resume_after_full_disk (capture);
  qsnap_capture_stop_woken (capture);
  qsnap_capture_carry_out_wish (capture);

  /* Last, and only then: where something is left, the journal says what. */
  if (undone == NULL && settled == NULL)
    qsnap_capture_remove_directory (capture, &undone);
  if (undone == NULL && settled == NULL)
    return;

  qsnap_journal_let_go (&capture->journal);
  first = g_steal_pointer (failure);
  g_set_error (failure, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED,
               "%s; and it could not be undone: %s%s%s", first->message,
               undone != NULL ? undone->message : "", undone != NULL && settled != NULL ? "; " : "",
               settled != NULL ? settled->message : "");
}

QsnapSnapshot *
qsnap_capture_run (QsnapOperation *operation,
                   QsnapSnapshotOptions *options,
                   QsnapGroupMember *member,
                   GCancellable *cancellable,
                   GError **error)
{
  g_autoptr (GError) failure = NULL;
  QsnapSnapshot *snapshot = NULL;
  QsnapCapture capture;

  qsnap_capture_init (&capture, operation, cancellable);
  capture.member = member;
  if (!begin (&capture, options, error))
    {
      qsnap_capture_clear (&capture);
      return NULL;
    }

  if (take_snapshot (&capture, &failure) && settle_and_seal (&capture, &failure))
    snapshot = g_object_ref (capture.snapshot);
  else if (capture.snapshot == NULL || !qsnap_snapshot_get_sealed (capture.snapshot))
    {
      /* First of all: other guests may stand still. */
      if (member != NULL)
        qsnap_group_member_fail (member, failure);
      roll_back (&capture, &failure);
    }
  qsnap_capture_clear (&capture);

  if (failure != NULL)
    g_propagate_error (error, g_steal_pointer (&failure));

  return snapshot;
}
