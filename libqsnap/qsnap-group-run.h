/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-group-member.h"

G_BEGIN_DECLS

/* A snapshot of all guests of a group, from the options to the end. */

/* Reads the options; what is done to them or to @group later does not matter. @names are those of
 * @sessions. */
QsnapGroupRun *qsnap_group_run_new (QsnapGroup *group,
                                    GMainContext *context,
                                    GPtrArray *sessions,
                                    const char *const *names,
                                    GPtrArray *options_of_guests,
                                    QsnapSnapshotOptions *options,
                                    GError **error);
void qsnap_group_run_unref (QsnapGroupRun *run);

/* Waits, emitting what comes, until all is done. */
QsnapGroupSnapshot *
qsnap_group_run_wait (QsnapGroupRun *run, GCancellable *cancellable, GError **error);
/* Returns into @task (transfer full), from the group's main context. */
void qsnap_group_run_start (QsnapGroupRun *run, GTask *task);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapGroupRun, qsnap_group_run_unref)

G_END_DECLS
