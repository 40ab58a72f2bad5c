/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A capture in one of many ways, to which something happens. */

#pragma once

#include "agent-peer.h"
#include "modes-case.h"

G_BEGIN_DECLS

#define INJECTED "injected by the test"

typedef struct
{
  const char *name;
  QsnapSnapshotMode mode;
  QsnapDiskMode disk_mode;
  QsnapLeave leave;
  gboolean quiesce;
} Way;

#define N_WAYS 9
extern const Way ways[N_WAYS];

typedef struct
{
  Fixture fixture;
  const Way *way;
  AgentPeer peer;
  GCancellable *cancellable;
  QsnapSnapshotOptions *options;
  /* Cancels at the @nth time of a command, or in a phase. */
  guint nth, count;
  QsnapPhase phase;
  char *before, *settings;
  QsnapSnapshot *snapshot;
  GError *error;
} Trouble;

void trouble_set_up (Trouble *trouble, MockStyle style, const Way *way);
/* With more than the one drive. */
void trouble_set_up_drives (Trouble *trouble, MockStyle style, const Way *way, guint n_drives);
/* After fixture_open(). */
void trouble_run (Trouble *trouble);
const char *trouble_outcome (Trouble *trouble);
void trouble_clear (Trouble *trouble);

/* All is as it was. */
void trouble_assert_undone (Trouble *trouble);
/* The same, or the snapshot is a sound one; what could not be put back is in a journal, and what
 * was complete before is kept. */
void trouble_judge (Trouble *trouble);
/* The test goes on, and fails. */
void trouble_wrong (Trouble *trouble, const char *format, ...) G_GNUC_PRINTF (2, 3);

G_END_DECLS
