/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture-private.h"

/* A capture that is one of several, whose guests are to stand still at one common instant. */

/* A guest that stands still does not wait for longer for another one to stop; docs/groups.md. */
#define STOP_PATIENCE_MS (10 * 1000)

/* While it waits for the others to stop, the guest stands still. */
static gboolean
limit_wait (QsnapCapture *capture, gint *timeout_ms, GError **error)
{
  gint left_ms;

  if (!qsnap_capture_check_pause (capture, &left_ms, error))
    return FALSE;

  if (capture->guest->was_running)
    *timeout_ms = left_ms > 0 ? MIN (left_ms, STOP_PATIENCE_MS) : STOP_PATIENCE_MS;

  return TRUE;
}

/* QEMU's own stamps. One that was resumed without an event is taken to be so when we knew. */
static void
note_times (QsnapCapture *capture)
{
  QsnapGroupMember *member = capture->member;
  gint64 to_real = g_get_real_time () - g_get_monotonic_time ();

  member->id = g_strdup (capture->id);
  if (!capture->guest->was_running)
    return;

  member->stopped = capture->moment;
  member->resumed =
      qsnap_watch_time_of (capture->watch, QSNAP_RUN_RESUME, capture->first_event_after_disks);
  if (member->resumed == 0 && !capture->plain && qsnap_guest_goes_on (capture->guest))
    member->resumed = capture->resumed + to_real;
}

gboolean
qsnap_capture_meet (QsnapCapture *capture, QsnapMeeting meeting, GError **error)
{
  gint timeout_ms = 0;

  if (capture->member == NULL)
    return TRUE;

  if (meeting == QSNAP_MEETING_STOPPED && !limit_wait (capture, &timeout_ms, error))
    return FALSE;
  if (meeting == QSNAP_MEETING_PROVEN)
    note_times (capture);

  return qsnap_group_member_meet (capture->member, meeting, timeout_ms, error);
}
