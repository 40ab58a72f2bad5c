/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several mock QEMUs, with a session to each, in one group. */

#pragma once

#include "fixture.h"

G_BEGIN_DECLS

#define MAX_GUESTS 4

typedef struct
{
  guint n;
  /* Folders and what the first one has: that of the group is in its folder. */
  Fixture guests[MAX_GUESTS];
  char *described[MAX_GUESTS];
  QsnapGroup *group;
  /* " point memory" of the group; " a:point" of guest a. */
  GString *news;
} GroupCase;

/* Guests a, b, … of @n_drives drives, of both kinds in turn if @style is MIXED. */
#define MIXED ((MockStyle)-1)

void group_case_set_up (GroupCase *group, MockStyle style, guint n);
/* Starts them and makes the group. What each guest is like is noted. */
void group_case_open (GroupCase *group);
void group_case_clear (GroupCase *group);

QsnapSnapshotOptions *group_case_options (GroupCase *group);
char *group_case_path (GroupCase *group);
QsnapGroupSnapshot *
group_case_capture (GroupCase *group, GCancellable *cancellable, GError **error);
QsnapGroupSnapshot *group_case_capture_well (GroupCase *group);

/* Nothing is left of a capture: every guest is as it was, and there is no folder. */
void group_case_assert_undone (GroupCase *group);

G_END_DECLS
