/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>

#include <qsnap/qsnap-restore-options.h>
#include <qsnap/qsnap-snapshot.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

typedef struct _QsnapGroup QsnapGroup;

#define QSNAP_TYPE_GROUP_SNAPSHOT (qsnap_group_snapshot_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapGroupSnapshot, qsnap_group_snapshot, QSNAP, GROUP_SNAPSHOT, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapGroupSnapshot *qsnap_group_snapshot_load (GFile *directory, GCancellable *cancellable,
                                               GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_group_snapshot_load_async (GFile *directory, GCancellable *cancellable,
                                      GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapGroupSnapshot *qsnap_group_snapshot_load_finish (GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
QsnapGroupSnapshot *qsnap_group_snapshot_recover (GFile *directory, GCancellable *cancellable,
                                                  GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_group_snapshot_recover_async (GFile *directory, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapGroupSnapshot *qsnap_group_snapshot_recover_finish (GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_group_snapshot_verify (QsnapGroupSnapshot *self, GCancellable *cancellable,
                                      GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_group_snapshot_verify_async (QsnapGroupSnapshot *self, GCancellable *cancellable,
                                        GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_group_snapshot_verify_finish (QsnapGroupSnapshot *self, GAsyncResult *result,
                                             GError **error);

QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_group_snapshot_restore (QsnapGroupSnapshot *self, QsnapRestoreOptions *options,
                                          GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_group_snapshot_restore_async (QsnapGroupSnapshot *self, QsnapRestoreOptions *options,
                                         GCancellable *cancellable, GAsyncReadyCallback callback,
                                         gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_group_snapshot_restore_finish (QsnapGroupSnapshot *self, GAsyncResult *result,
                                                 GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_group_snapshot_delete (QsnapGroupSnapshot *self, QsnapGroup *guests,
                                      GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_group_snapshot_delete_async (QsnapGroupSnapshot *self, QsnapGroup *guests,
                                        GCancellable *cancellable, GAsyncReadyCallback callback,
                                        gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_group_snapshot_delete_finish (QsnapGroupSnapshot *self, GAsyncResult *result,
                                             GError **error);

QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_group_snapshot_get_directory (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_group_snapshot_get_name (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_group_snapshot_get_sealed (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GDateTime *qsnap_group_snapshot_dup_time (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_group_snapshot_get_skew_us (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_group_snapshot_get_overlap_us (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_group_snapshot_dup_names (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_group_snapshot_get_snapshots (QsnapGroupSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
QsnapSnapshot *qsnap_group_snapshot_find_snapshot (QsnapGroupSnapshot *self, const char *name);

G_END_DECLS
