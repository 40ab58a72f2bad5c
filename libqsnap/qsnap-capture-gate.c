/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture-private.h"

/* The gate: QEMU's migration, issued while the guest runs, is held by a pipe that is full already,
 * after it has read all RAM and before it stops the guest. */

#define POLL_US 200
/* Reading all RAM takes a second a GiB at the worst; a wrong guess only makes the pause longer. */
#define GATE_PATIENCE_US (30 * G_USEC_PER_SEC)
/* While the gate is shut QEMU answers, or nothing helps it but to open it. */
#define GATED_QUESTION_TIMEOUT_MS (5 * 1000)

static gboolean
check_connection (QsnapCapture *capture, GError **error)
{
  if (!qsnap_watch_is_closed (capture->watch))
    return TRUE;

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                       "starting the memory snapshot: QEMU has closed the connection");

  return FALSE;
}

/* Until QEMU's new thread has read all RAM and sleeps in its write to the full pipe. That it sleeps
 * is a hint, for the length of the pause; that nothing passes the pipe is certain. */
static gboolean
wait_at_gate (QsnapCapture *capture, GHashTable *threads, GError **error)
{
  gint64 patience = g_get_monotonic_time () + GATE_PATIENCE_US;

  while (g_get_monotonic_time () < patience &&
         !qsnap_process_new_thread_sleeps (capture->guest->process, threads))
    {
      if (!qsnap_capture_go_on (capture, error) || !check_connection (capture, error) ||
          !qsnap_capture_check_stream (capture, error))
        return FALSE;
      g_usleep (POLL_US);
    }

  return TRUE;
}

/* QEMU 7.2 aborts where it has to stop a guest for its snapshot that has stopped itself: there is
 * no way from these run states to "paused". */
static gboolean
is_deadly (const char *status)
{
  static const char *const deadly[] = { "guest-panicked", "watchdog", "io-error", NULL };

  return g_strv_contains (deadly, status);
}

/* QEMU has not come to that yet while it waits at the gate, and from "running" there is a way. A
 * guest without room on its disk may be faster than the snapshot: nothing better can be done. */
void
qsnap_capture_wake_at_gate (QsnapCapture *capture)
{
  QsnapQmp qmp = *capture->qmp;
  g_autofree char *status = NULL;

  if (!capture->at_gate)
    return;

  capture->at_gate = FALSE;
  qmp.timeout_ms = GATED_QUESTION_TIMEOUT_MS;
  status = qsnap_qmp_query_status (&qmp, NULL);
  if (status == NULL || !is_deadly (status))
    return;

  capture->woken = !g_str_equal (status, "io-error");
  (void)qsnap_qmp_do (&qmp, "cont", NULL, NULL);
}

/* A guest that panicked runs to no purpose; its owner wanted it to be stopped. */
void
qsnap_capture_stop_woken (QsnapCapture *capture)
{
  if (capture->woken && !capture->qmp->gone)
    (void)qsnap_qmp_do (capture->qmp, "stop", NULL, NULL);
}

static gboolean
check_runs (QsnapCapture *capture, GError **error)
{
  g_autofree char *status = qsnap_qmp_query_status (capture->qmp, error);

  if (status == NULL)
    return FALSE;
  if (g_str_equal (status, "running"))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
               "starting the memory snapshot: the guest was stopped meanwhile, its run state is "
               "\"%s\"",
               status);

  return FALSE;
}

gboolean
qsnap_capture_approach_gate (QsnapCapture *capture, GError **error)
{
  g_autoptr (GHashTable) threads = qsnap_process_threads (capture->guest->process);

  if (threads == NULL)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_FAILED,
                           "starting the memory snapshot: QEMU's process is gone");
      return FALSE;
    }

  if (!check_runs (capture, error))
    return FALSE;

  capture->at_gate = TRUE;

  return qsnap_capture_start_migration (capture, error) && wait_at_gate (capture, threads, error);
}
