/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <string.h>

#include "qsnap-capture-private.h"
#include "qsnap-json.h"

/* The pause: stop, disks, memory, proof of the point in time, resume.
 *
 * These ways lead through it:
 * - the gate (QEMU 7.2): `migrate` while the guest runs, held by a full pipe after it has read all
 *   RAM; then stop, transaction, and the pipe is emptied;
 * - stop first (everywhere else): stop, transaction, `migrate`;
 * - plain migration, of a guest that stands still until it is over: it is wanted so, or a
 * background snapshot would start a guest that is not to run;
 * - live: `migrate` while the guest runs; QEMU stops it for the rest, and waits for the
 * transaction;
 * - without memory: stop, transaction.
 *
 * QEMU tells that migration is "active" before the point in time, so that event proves nothing. A
 * RAM page in the stream does: it comes only after QEMU has the devices' state and has protected
 * the memory. What makes it the *same* instant as the disks' is that the guest did not run in
 * between, which QEMU's STOP and RESUME events tell (qsnap_capture_judge_run()). */

/* While the gate is shut QEMU must still answer; this is how long it may flush its disks. */
#define GATED_STOP_TIMEOUT_MS (20 * 1000)
/* Reading all RAM comes before the first page; the guest stands still meanwhile. */
#define FIRST_PAGE_TIMEOUT_MS (30 * 1000)
#define FIRST_PAGE_TIMEOUT_MS_A_GIB 2000
/* 7.2 resumes the guest from its main loop, a moment after the first page may be there. */
#define RESUME_PATIENCE_MS 50

/* --- memory -------------------------------------------------------------------------------- */

static gboolean
first_page_or_failure (QsnapWatch *watch, gconstpointer data)
{
  return watch->saver_first_page || watch->saver_error != NULL || watch->saver_ended ||
         g_strcmp0 (watch->migration_status, "failed") == 0 ||
         g_strcmp0 (watch->migration_status, "cancelled") == 0;
}

gboolean
qsnap_capture_check_pause (QsnapCapture *capture, gint *left_ms, GError **error)
{
  guint max_ms = qsnap_snapshot_options_get_max_pause_ms (capture->options);
  gint64 left;

  *left_ms = 0;
  if (max_ms == 0 || !capture->guest->was_running)
    return TRUE;

  left = max_ms - (g_get_monotonic_time () - capture->stop_sent) / 1000;
  *left_ms = (gint)MAX (left, 1);
  if (left > 0)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
               "the guest would have been stopped for longer than the limit of %u ms", max_ms);

  return FALSE;
}

static gboolean
wait_for_first_page (QsnapCapture *capture, GError **error)
{
  gint timeout_ms =
      FIRST_PAGE_TIMEOUT_MS + (gint)(capture->guest->ram_size >> 30) * FIRST_PAGE_TIMEOUT_MS_A_GIB;
  gint left_ms;
  g_autoptr (GError) failure = NULL;

  if (!qsnap_capture_check_pause (capture, &left_ms, error))
    return FALSE;
  if (left_ms > 0)
    timeout_ms = MIN (timeout_ms, left_ms);

  if (!qsnap_watch_wait (capture->watch, first_page_or_failure, NULL, timeout_ms,
                         capture->cancellable, &failure))
    {
      if (failure == NULL && qsnap_capture_check_pause (capture, &left_ms, &failure))
        g_set_error (&failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                     "no page of RAM came in %d seconds", timeout_ms / 1000);
      g_propagate_prefixed_error (error, g_steal_pointer (&failure),
                                  "starting the memory snapshot: ");
      return FALSE;
    }

  return qsnap_capture_check_stream (capture, error);
}

/* --- stop and disks ------------------------------------------------------------------------ */

/* Only what we stopped is resumed by us: a guest that stood still already was stopped by its owner,
 * and QEMU sent no event. Where QEMU did not answer, `cont` is sent all the same, for when it reads
 * it. */
static gboolean
undo_stop (gpointer data, GError **error)
{
  QsnapCapture *capture = data;
  g_autofree char *status = NULL;

  if (capture->qmp->gone)
    return TRUE;

  status = qsnap_qmp_query_status (capture->qmp, error);
  if (status == NULL)
    {
      (void)qsnap_qmp_do (capture->qmp, "cont", NULL, NULL);
      return FALSE;
    }
  if (!g_str_equal (status, "paused") ||
      qsnap_watch_count (capture->watch, QSNAP_RUN_STOP, capture->first_event) == 0)
    return TRUE;

  return qsnap_qmp_do (capture->qmp, "cont", NULL, error);
}

/* A QEMU that is thought to leave a paused guest paused has started it. */
static gboolean
undo_unwanted_start (gpointer data, GError **error)
{
  QsnapCapture *capture = data;
  gboolean running = FALSE;

  if (capture->qmp->gone)
    return TRUE;
  if (!qsnap_qmp_is_running (capture->qmp, &running, error))
    return FALSE;

  return !running || qsnap_qmp_do (capture->qmp, "stop", NULL, error);
}

gboolean
qsnap_capture_stop_guest (QsnapCapture *capture, GError **error)
{
  QsnapQmp qmp = *capture->qmp;
  g_autoptr (GError) failure = NULL;

  if (!capture->live)
    capture->first_event = qsnap_watch_n_run_events (capture->watch);
  capture->stop_sent = g_get_monotonic_time ();
  if (!capture->guest->was_running)
    {
      capture->stopped = capture->stop_sent;
      if (!capture->plain)
        qsnap_undo_push (capture->undo, "stop the guest again", NULL, undo_unwanted_start, capture);
      return TRUE;
    }

  if (capture->gated && (qmp.timeout_ms == 0 || qmp.timeout_ms > GATED_STOP_TIMEOUT_MS))
    qmp.timeout_ms = GATED_STOP_TIMEOUT_MS;
  qsnap_undo_push (capture->undo, "resume the guest", NULL, undo_stop, capture);
  if (!qsnap_qmp_do (&qmp, "stop", NULL, &failure))
    {
      /* This QEMU does not work as the gate needs it. Emptied, it answers again. */
      if (capture->gated)
        qsnap_saver_discard (capture->saver);
      g_propagate_prefixed_error (error, g_steal_pointer (&failure), "stopping the guest: ");
      return FALSE;
    }
  capture->stopped = g_get_monotonic_time ();

  return TRUE;
}

static gboolean
run_transaction (QsnapCapture *capture, GError **error)
{
  JsonArray *actions = json_array_new ();

  for (guint i = 0; i < capture->tasks->len; i++)
    qsnap_disk_task_add_actions (g_ptr_array_index (capture->tasks, i), actions, capture->undo);
  if (json_array_get_length (actions) == 0)
    {
      json_array_unref (actions);
      return TRUE;
    }

  if (qsnap_qmp_do (capture->qmp, "transaction",
                    qsnap_json_node_new ("actions", 'a', actions, NULL), error))
    return TRUE;

  g_prefix_error_literal (error, "snapshotting the disks: ");

  return FALSE;
}

static gboolean
snapshot_disks (QsnapCapture *capture, GError **error)
{
  if (!run_transaction (capture, error))
    return FALSE;
  for (guint i = 0; i < capture->tasks->len; i++)
    if (!qsnap_disk_task_pause (g_ptr_array_index (capture->tasks, i), error))
      return FALSE;

  capture->disks_done = g_get_monotonic_time ();
  capture->first_event_after_disks = qsnap_watch_n_run_events (capture->watch);

  return TRUE;
}

/* --- proof --------------------------------------------------------------------------------- */

static gboolean G_GNUC_PRINTF (2, 3) interfered (GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list values;

  va_start (values, format);
  what = g_strdup_vprintf (format, values);
  va_end (values);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
               "%s during the pause: disks and memory may not be of one instant, so the snapshot "
               "was thrown away; try again",
               what);

  return FALSE;
}

/* From our stop to the transaction's reply the guest stood still: nothing but our own STOP came,
 * and QEMU says "paused". The answer to query-status comes after every event before it. Where the
 * saver has failed the gate is open, and it is QEMU that resumed the guest. */
static gboolean
judge_stop (QsnapCapture *capture, GError **error)
{
  g_autofree char *status = qsnap_qmp_query_status (capture->qmp, error);
  guint stops, resumes;
  gint left_ms;

  if (status == NULL || !qsnap_capture_check_stream (capture, error))
    return FALSE;

  stops = qsnap_watch_count (capture->watch, QSNAP_RUN_STOP, capture->first_event);
  resumes = qsnap_watch_count (capture->watch, QSNAP_RUN_RESUME, capture->first_event);
  if (resumes > 0 || stops != (capture->guest->was_running ? 1 : 0))
    return interfered (error, "somebody else stopped or resumed the guest");
  if (!g_str_equal (status, capture->live ? "finish-migrate" : "paused"))
    return interfered (error, "the guest's run state became \"%s\"", status);

  capture->moment = qsnap_watch_time_of (capture->watch, QSNAP_RUN_STOP, capture->first_event);
  if (capture->moment == 0)
    capture->moment = g_get_real_time ();

  /* While nothing has begun that QEMU has to bring to its end. */
  return qsnap_capture_check_pause (capture, &left_ms, error);
}

static gboolean
has_resumed (QsnapWatch *watch, gconstpointer data)
{
  const QsnapCapture *capture = data;

  for (guint i = capture->first_event_after_disks; i < watch->run_events->len; i++)
    if (g_array_index (watch->run_events, QsnapRunEvent, i).kind == QSNAP_RUN_RESUME)
      return TRUE;

  return FALSE;
}

/* A guest that stops for a reason of its own right after the resume is no sign of interference. */
static gboolean
guest_stopped_itself (QsnapWatch *watch)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  return watch->shutdown_seen || watch->panic_seen;
}

/* Until a plain migration is over nobody resumes the guest. */
static gboolean
may_resume (QsnapCapture *capture)
{
  return qsnap_capture_is_background (capture) && qsnap_guest_goes_on (capture->guest);
}

/* After the transaction and up to the first page QEMU resumes the guest once, or not at all. If
 * somebody else had resumed it before the point in time, QEMU would have had to stop it again. */
gboolean
qsnap_capture_judge_run (QsnapCapture *capture, GError **error)
{
  QsnapWatch *watch = capture->watch;
  guint since = capture->first_event_after_disks;
  guint stops = qsnap_watch_count (watch, QSNAP_RUN_STOP, since);
  guint resumes = qsnap_watch_count (watch, QSNAP_RUN_RESUME, since);

  if (!may_resume (capture) && resumes > 0)
    return interfered (error, "somebody else resumed the guest");
  if (resumes > 1)
    return interfered (error, "somebody else resumed the guest");
  if (stops > 0 && !(resumes == 1 && guest_stopped_itself (watch)))
    return interfered (error, "somebody else stopped or resumed the guest");

  return TRUE;
}

/* --- resume -------------------------------------------------------------------------------- */

/* QEMU resumes the guest itself. The answer to query-status comes after every event before it, so
 * what is judged is complete; should the guest stand still nevertheless, `cont` does no harm. */
static gboolean
wait_for_resume (QsnapCapture *capture, GError **error)
{
  g_autofree char *status = NULL;

  (void)qsnap_watch_wait (capture->watch, has_resumed, capture, RESUME_PATIENCE_MS, NULL, NULL);
  status = qsnap_qmp_query_status (capture->qmp, error);
  if (status == NULL || !qsnap_capture_judge_run (capture, error))
    return FALSE;

  return !g_str_equal (status, "paused") || qsnap_qmp_do (capture->qmp, "cont", NULL, error);
}

/* The guest waits for us: no question comes before `cont`. Its own RESUME is the one that is
 * allowed for; if somebody else was faster, after the point in time, it is theirs. */
static gboolean
resume_guest (QsnapCapture *capture, GError **error)
{
  if (!qsnap_guest_goes_on (capture->guest))
    {
      g_autofree char *status = qsnap_qmp_query_status (capture->qmp, error);

      return status != NULL && qsnap_capture_judge_run (capture, error);
    }

  if (qsnap_guest_snapshot_resumes (capture->guest))
    return wait_for_resume (capture, error);

  return qsnap_qmp_do (capture->qmp, "cont", NULL, error) &&
         qsnap_capture_judge_run (capture, error);
}

void
qsnap_capture_hand_back (QsnapCapture *capture)
{
  if (qsnap_guest_goes_on (capture->guest) || !capture->guest->was_running)
    qsnap_undo_drop (capture->undo, undo_stop, capture);
  qsnap_undo_drop (capture->undo, undo_unwanted_start, capture);
}

static gboolean
prove_point_in_time (QsnapCapture *capture, GError **error)
{
  if (!wait_for_first_page (capture, error))
    return FALSE;

  g_mutex_lock (&capture->watch->lock);
  capture->point_in_time = capture->watch->saver_first_page_time;
  g_mutex_unlock (&capture->watch->lock);

  if (!resume_guest (capture, error))
    {
      g_prefix_error_literal (error, "resuming the guest: ");
      return FALSE;
    }
  capture->resumed = MAX (g_get_monotonic_time (), capture->point_in_time);

  if (!qsnap_capture_check_capabilities (capture, error))
    return FALSE;

  qsnap_capture_hand_back (capture);

  return TRUE;
}

/* --- the ways ------------------------------------------------------------------------ */

/* Stopped, and the disks snapshotted. No guest of a group goes on from here before all of them
 * stand still. */
static gboolean
stand_still (QsnapCapture *capture, GError **error)
{
  return qsnap_capture_meet (capture, QSNAP_MEETING_READY, error) &&
         qsnap_capture_stop_guest (capture, error) && snapshot_disks (capture, error) &&
         judge_stop (capture, error) && qsnap_capture_meet (capture, QSNAP_MEETING_STOPPED, error);
}

static gboolean
pause_gated (QsnapCapture *capture, GError **error)
{
  if (!qsnap_capture_approach_gate (capture, error) || !stand_still (capture, error))
    return FALSE;

  capture->at_gate = FALSE;

  return qsnap_saver_go (capture->saver, error) && prove_point_in_time (capture, error);
}

static gboolean
pause_stop_first (QsnapCapture *capture, GError **error)
{
  return stand_still (capture, error) && qsnap_saver_go (capture->saver, error) &&
         qsnap_capture_start_migration (capture, error) && prove_point_in_time (capture, error);
}

/* The guest stands still and goes on doing so; that nobody resumed it is judged when all memory is
 * saved. QEMU does not end a migration while a job writes. */
static gboolean
pause_plain (QsnapCapture *capture, GError **error)
{
  if (!stand_still (capture, error) || !qsnap_capture_wait_for_copies (capture, error) ||
      !qsnap_saver_go (capture->saver, error) || !qsnap_capture_start_migration (capture, error) ||
      !wait_for_first_page (capture, error) || !qsnap_capture_check_capabilities (capture, error))
    return FALSE;

  capture->point_in_time = capture->resumed = capture->disks_done;

  return TRUE;
}

/* QEMU has stopped the guest; what is left of its memory is saved before it goes on. */
static gboolean
pause_live (QsnapCapture *capture, GError **error)
{
  if (!qsnap_saver_go (capture->saver, error) || !qsnap_capture_approach_end (capture, error))
    return FALSE;

  capture->stopped = g_get_monotonic_time ();
  if (capture->stop_sent == 0)
    {
      capture->stop_sent = capture->stopped;
      qsnap_undo_push (capture->undo, "resume the guest", NULL, undo_stop, capture);
    }
  if (!snapshot_disks (capture, error) || !judge_stop (capture, error) ||
      !qsnap_capture_check_capabilities (capture, error) ||
      !qsnap_capture_save_rest (capture, error))
    return FALSE;

  capture->point_in_time = capture->resumed = g_get_monotonic_time ();

  return TRUE;
}

static gboolean
pause_without_memory (QsnapCapture *capture, GError **error)
{
  if (!stand_still (capture, error))
    return FALSE;

  capture->point_in_time = capture->disks_done;
  if (qsnap_guest_goes_on (capture->guest) && !qsnap_qmp_do (capture->qmp, "cont", NULL, error))
    {
      g_prefix_error_literal (error, "resuming the guest: ");
      return FALSE;
    }
  capture->resumed = g_get_monotonic_time ();
  qsnap_capture_hand_back (capture);
  qsnap_capture_thaw (capture);

  return TRUE;
}

gboolean
qsnap_capture_pause (QsnapCapture *capture, GError **error)
{
  if (!qsnap_capture_has_memory (capture))
    return pause_without_memory (capture, error);
  if (capture->live)
    return pause_live (capture, error);
  if (capture->plain)
    return pause_plain (capture, error);
  if (capture->gated)
    return pause_gated (capture, error);

  return pause_stop_first (capture, error);
}
