/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>

#include <qsnap/qsnap-group-snapshot.h>
#include <qsnap/qsnap-session.h>
#include <qsnap/qsnap-snapshot-options.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_GROUP (qsnap_group_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapGroup, qsnap_group, QSNAP, GROUP, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapGroup *qsnap_group_new (void);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_group_add_session (QsnapGroup *self, QsnapSession *session, const char *name,
                                  QsnapSnapshotOptions *options, GError **error);
QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_group_get_sessions (QsnapGroup *self);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_group_dup_names (QsnapGroup *self);
QSNAP_AVAILABLE_IN_1_0
QsnapSession *qsnap_group_find_session (QsnapGroup *self, const char *name);

QSNAP_AVAILABLE_IN_1_0
QsnapGroupSnapshot *qsnap_group_instant_snapshot (QsnapGroup *self, QsnapSnapshotOptions *options,
                                                  GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_group_instant_snapshot_async (QsnapGroup *self, QsnapSnapshotOptions *options,
                                         GCancellable *cancellable, GAsyncReadyCallback callback,
                                         gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapGroupSnapshot *qsnap_group_instant_snapshot_finish (QsnapGroup *self, GAsyncResult *result,
                                                         GError **error);

G_END_DECLS
