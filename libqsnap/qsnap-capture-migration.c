/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture-private.h"
#include "qsnap-json.h"

/* QEMU's migration during a capture: from `migrate` to its end, good or bad. */

#define POLL_MS 1000
/* A guest that runs is asked for its progress this often. */
#define LIVE_POLL_MS 100
/* What the guest writes while its memory is saved is saved again. One that writes faster than that
 * would never come to an end: after so many passes it is stopped. */
#define LIVE_MAX_PASSES 8
/* Between the end of a migration and the run state that it leaves the guest in. */
#define FINISH_PATIENCE_MS 10000

/* --- its status ---------------------------------------------------------------------------- */

static gboolean
has_failed (QsnapWatch *watch)
{
  return g_strcmp0 (watch->migration_status, "failed") == 0 ||
         g_strcmp0 (watch->migration_status, "cancelled") == 0;
}

/* "none": `migrate` never reached QEMU. */
static gboolean
has_ended (QsnapWatch *watch, gconstpointer data)
{
  return has_failed (watch) || g_strcmp0 (watch->migration_status, "completed") == 0 ||
         g_strcmp0 (watch->migration_status, "none") == 0;
}

/* Somebody may have switched the events off. What query-migrate says is ours: it was asked after
 * our own `migrate` was accepted. */
static gboolean
ask_status (QsnapCapture *capture, gboolean *pages_flow, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (capture->qmp, "query-migrate", NULL, error);
  JsonObject *info = qsnap_json_object (reply);
  JsonObject *ram = qsnap_json_get_object (info, "ram");
  const char *status = qsnap_json_get_string (info, "status");
  g_autoptr (JsonNode) data = NULL;

  if (reply == NULL)
    return FALSE;

  data = qsnap_json_node_new ("status", 's', status != NULL ? status : "none", NULL);
  qsnap_watch_note_event (capture->watch, "MIGRATION", data, 0);
  *pages_flow =
      qsnap_json_get_int (ram, "normal", 0) + qsnap_json_get_int (ram, "duplicate", 0) > 0;

  return TRUE;
}

gboolean
qsnap_capture_check_stream (QsnapCapture *capture, GError **error)
{
  QsnapWatch *watch = capture->watch;
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  if (watch->saver_error != NULL)
    {
      g_propagate_prefixed_error (error, g_error_copy (watch->saver_error), "saving the memory: ");
      return FALSE;
    }

  if (has_failed (watch))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED,
                   "saving the memory: QEMU's migration ended as %s", watch->migration_status);
      return FALSE;
    }

  return TRUE;
}

/* --- out of it ----------------------------------------------------------------------------- */

static char *
wait_for_run_state (QsnapCapture *capture, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + FINISH_PATIENCE_MS * 1000;

  for (;;)
    {
      g_autofree char *status = qsnap_qmp_query_status (capture->qmp, error);

      if (status == NULL || !g_str_equal (status, "finish-migrate") ||
          g_get_monotonic_time () > deadline)
        return g_steal_pointer (&status);
      g_usleep (10 * 1000);
    }
}

/* After a plain migration QEMU's run state is "postmigrate", its images are inactive, and the only
 * way back leads through "running". For a guest that is to be paused both commands are queued
 * before the first is run, so that QEMU goes from one to the other at once; its vCPUs may still
 * execute a little in between. One that somebody resumed meanwhile goes on. */
static gboolean
leave_postmigrate (QsnapCapture *capture, gboolean goes_on, GError **error)
{
  g_autofree char *status = wait_for_run_state (capture, error);

  if (status == NULL)
    return FALSE;
  if (!g_str_equal (status, "postmigrate"))
    return TRUE;
  if (goes_on ||
      qsnap_watch_count (capture->watch, QSNAP_RUN_RESUME, capture->first_event_after_disks) > 0)
    return qsnap_qmp_do (capture->qmp, "cont", NULL, error);

  return qsnap_qmp_client_call_pair (capture->qmp->client, "cont", NULL, "stop", NULL,
                                     capture->qmp->timeout_ms, NULL, error);
}

/* On 7.2 cancelling hangs the guest. On 10.0 it is safe once pages flow; before, QEMU closes a
 * descriptor that it never opened, its number 0. A plain migration can be cancelled anywhere. */
static gboolean
may_cancel (QsnapCapture *capture, gboolean pages_flow)
{
  if (!qsnap_capture_is_background (capture))
    return TRUE;

  return pages_flow && !qsnap_guest_snapshot_resumes (capture->guest);
}

/* The stream is read to its end: a broken one hangs the guest on 7.2. */
static gboolean
undo_migration (gpointer data, GError **error)
{
  QsnapCapture *capture = data;
  gboolean cancelled = FALSE;
  gboolean pages_flow = FALSE;

  if (capture->qmp->gone)
    return TRUE;

  qsnap_capture_drain (capture);
  while (!qsnap_watch_wait (capture->watch, has_ended, NULL, cancelled ? POLL_MS : -1, NULL, error))
    {
      if ((error != NULL && *error != NULL) || !ask_status (capture, &pages_flow, error))
        return FALSE;

      if (!cancelled && may_cancel (capture, pages_flow))
        cancelled = qsnap_qmp_do (capture->qmp, "migrate_cancel", NULL, NULL);
      if (!cancelled)
        g_usleep (POLL_MS * 1000 / 20);
    }

  return leave_postmigrate (capture, capture->guest->was_running, error);
}

void
qsnap_capture_push_migration (QsnapCapture *capture)
{
  qsnap_undo_push (capture->undo, "end the migration", NULL, undo_migration, capture);
}

gboolean
qsnap_capture_start_migration (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) failure = NULL;

  qsnap_capture_push_migration (capture);
  if (qsnap_qmp_do (capture->qmp, "migrate",
                    qsnap_json_node_new ("uri", 's', "fd:" QSNAP_STREAM_FD_NAME, NULL), &failure))
    return TRUE;

  /* QEMU refused: there is nothing to end. */
  if (failure->domain == QSNAP_QMP_ERROR)
    qsnap_undo_drop (capture->undo, undo_migration, capture);
  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

/* While a migration runs QEMU refuses to change capabilities, so these are what it was started
 * with. Somebody may have switched them in the moment before. */
gboolean
qsnap_capture_check_capabilities (QsnapCapture *capture, GError **error)
{
  g_autoptr (GHashTable) states = qsnap_qmp_query_capabilities (capture->qmp, error);
  gboolean background;

  if (states == NULL)
    return FALSE;

  background = GPOINTER_TO_INT (g_hash_table_lookup (states, "background-snapshot"));
  if (background == qsnap_capture_is_background (capture))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
               "somebody else switched the migration capability background-snapshot %s: the "
               "snapshot was thrown away; try again",
               background ? "on" : "off");

  return FALSE;
}

/* --- of a guest that runs ------------------------------------------------------------------ */

/* QEMU has stopped the guest, its images are still active, and it waits to be told to go on. */
static gboolean
has_come_to_the_end (QsnapWatch *watch, gconstpointer data)
{
  return has_ended (watch, NULL) || g_strcmp0 (watch->migration_status, "pre-switchover") == 0;
}

static gboolean
count_passes (QsnapCapture *capture, gint64 *passes, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (capture->qmp, "query-migrate", NULL, error);
  JsonObject *ram = qsnap_json_get_object (qsnap_json_object (reply), "ram");

  *passes = qsnap_json_get_int (ram, "dirty-sync-count", 0);

  return reply != NULL;
}

static gboolean
stop_if_endless (QsnapCapture *capture, GError **error)
{
  gint64 passes;

  if (capture->stop_sent != 0)
    return TRUE;
  if (!count_passes (capture, &passes, error))
    return FALSE;
  if (passes <= LIVE_MAX_PASSES)
    return TRUE;

  qsnap_report_add_warning (capture->report,
                            "the guest wrote to its memory faster than that could be saved: it was "
                            "stopped after %d passes",
                            LIVE_MAX_PASSES);

  return qsnap_capture_stop_guest (capture, error);
}

gboolean
qsnap_capture_approach_end (QsnapCapture *capture, GError **error)
{
  capture->first_event = qsnap_watch_n_run_events (capture->watch);
  if (!qsnap_capture_start_migration (capture, error))
    return FALSE;

  for (;;)
    {
      g_autoptr (GError) failure = NULL;

      if (qsnap_watch_wait (capture->watch, has_come_to_the_end, NULL, LIVE_POLL_MS,
                            capture->cancellable, &failure))
        break;
      if (failure != NULL)
        {
          g_propagate_prefixed_error (error, g_steal_pointer (&failure), "saving the memory: ");
          return FALSE;
        }
      qsnap_capture_tell_progress (capture);
      if (!qsnap_capture_check_stream (capture, error) || !stop_if_endless (capture, error))
        return FALSE;
    }

  return qsnap_capture_check_stream (capture, error);
}

static gboolean
has_ended_or_closed (QsnapWatch *watch, gconstpointer data)
{
  return watch->closed != NULL || has_ended (watch, data);
}

static gboolean
wait_within_pause (QsnapCapture *capture, GError **error)
{
  gint left_ms;

  do
    if (!qsnap_capture_check_pause (capture, &left_ms, error))
      return FALSE;
  while (left_ms > 0 &&
         !qsnap_watch_wait (capture->watch, has_ended_or_closed, NULL, left_ms, NULL, NULL));

  return TRUE;
}

gboolean
qsnap_capture_save_rest (QsnapCapture *capture, GError **error)
{
  /* To be undone first: while the migration goes on, or has ended, the disks cannot be put back. */
  qsnap_undo_drop (capture->undo, undo_migration, capture);
  qsnap_capture_push_migration (capture);

  return qsnap_qmp_do (capture->qmp, "migrate-continue",
                       qsnap_json_node_new ("state", 's', "pre-switchover", NULL), error) &&
         wait_within_pause (capture, error) && qsnap_capture_finish_migration (capture, error);
}

/* --- its end ------------------------------------------------------------------------------- */

/* The guest stood still until all its memory had come: from here on it may be resumed, and should
 * we die, its run state proves nothing any more. In a live capture that was the transaction's end
 * to the migration's. */
static gboolean
prove_stayed_paused (QsnapCapture *capture, GError **error)
{
  if (qsnap_json_get_bool (capture->journal.json, QSNAP_JOURNAL_STAYED_PAUSED, FALSE))
    return TRUE;
  if (!qsnap_capture_judge_run (capture, error))
    return FALSE;

  qsnap_journal_flag (&capture->journal, QSNAP_JOURNAL_STAYED_PAUSED);

  return TRUE;
}

gboolean
qsnap_capture_finish_migration (QsnapCapture *capture, GError **error)
{
  gboolean pages_flow;

  while (!qsnap_watch_wait (capture->watch, has_ended_or_closed, NULL, POLL_MS, NULL, NULL))
    if (!ask_status (capture, &pages_flow, error))
      return FALSE;

  if (!qsnap_capture_check_stream (capture, error))
    return FALSE;

  /* The saver has seen the stream's own end: of a background snapshot nothing can be lost any more,
   * even if the connection is. */
  if (!qsnap_capture_is_background (capture))
    {
      if (!prove_stayed_paused (capture, error) ||
          !leave_postmigrate (capture, qsnap_guest_goes_on (capture->guest), error))
        return FALSE;
      qsnap_capture_hand_back (capture);
    }

  qsnap_undo_drop (capture->undo, undo_migration, capture);

  return TRUE;
}
