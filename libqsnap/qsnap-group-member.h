/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* One guest's part in a snapshot of a group, as its capture sees it. */

typedef struct _QsnapGroupRun QsnapGroupRun;

/* Where all guests of a group wait for each other, in this order. */
typedef enum
{
  QSNAP_MEETING_BEGUN,    /* nothing is done yet */
  QSNAP_MEETING_PREPARED, /* all that can be done before the pause is done */
  QSNAP_MEETING_READY,    /* at the gate, where there is one; the guests run */
  QSNAP_MEETING_STOPPED,  /* they stand still, and their disks are snapshotted */
  QSNAP_MEETING_PROVEN,   /* each one's point in time is proven */
  QSNAP_MEETING_SAVED,    /* all memory is saved, and QEMU put back as it was */
  QSNAP_MEETING_SEALED    /* each snapshot is on stable storage */
} QsnapMeeting;

typedef struct
{
  QsnapGroupRun *run;
  guint index;
  const char *name;
  QsnapSession *session;
  QsnapSnapshotOptions *options;

  /* Noted by its capture before PROVEN. By QEMU's clock, microseconds since the epoch; 0: it stood
   * still before, or does not go on. */
  char *id;
  gint64 stopped;
  gint64 resumed;
  QsnapSnapshot *snapshot;
  /* Why its capture failed; that another's did is no failure of its own. */
  GError *error;
} QsnapGroupMember;

/* @timeout_ms: for as long as it waits; 0: there is no limit. */
gboolean qsnap_group_member_meet (QsnapGroupMember *member,
                                  QsnapMeeting meeting,
                                  gint timeout_ms,
                                  GError **error);

/* From now on the other guests' captures fail, too. */
void qsnap_group_member_fail (QsnapGroupMember *member, const GError *error);

/* What the session has told; the last guest's is what the group tells. */
void qsnap_group_member_told_point_in_time (QsnapGroupMember *member, QsnapSnapshot *snapshot);
void qsnap_group_member_told_memory_complete (QsnapGroupMember *member);

G_END_DECLS
