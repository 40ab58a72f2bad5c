/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <json-glib/json-glib.h>

#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-report.h>
#include <qsnap/qsnap-snapshot-options.h>
#include <qsnap/qsnap-snapshot.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_SESSION (qsnap_session_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapSession, qsnap_session, QSNAP, SESSION, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapSession *qsnap_session_new (const char *address);
QSNAP_AVAILABLE_IN_1_0
QsnapSession *qsnap_session_new_for_stream (GIOStream *stream);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_open (QsnapSession *self, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_open_async (QsnapSession *self, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_open_finish (QsnapSession *self, GAsyncResult *result, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_close (QsnapSession *self);

QSNAP_AVAILABLE_IN_1_0
JsonNode *qsnap_session_execute (QsnapSession *self, const char *command, JsonNode *arguments,
                                 GUnixFDList *fds, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_execute_async (QsnapSession *self, const char *command, JsonNode *arguments,
                                  GUnixFDList *fds, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
JsonNode *qsnap_session_execute_finish (QsnapSession *self, GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
QsnapReport *qsnap_session_check (QsnapSession *self, QsnapSnapshotOptions *options,
                                  GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_check_async (QsnapSession *self, QsnapSnapshotOptions *options,
                                GCancellable *cancellable, GAsyncReadyCallback callback,
                                gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapReport *qsnap_session_check_finish (QsnapSession *self, GAsyncResult *result,
                                         GError **error);

QSNAP_AVAILABLE_IN_1_0
QsnapSnapshot *qsnap_session_instant_snapshot (QsnapSession *self, QsnapSnapshotOptions *options,
                                               GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_instant_snapshot_async (QsnapSession *self, QsnapSnapshotOptions *options,
                                           GCancellable *cancellable,
                                           GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapSnapshot *qsnap_session_instant_snapshot_finish (QsnapSession *self, GAsyncResult *result,
                                                      GError **error);

QSNAP_AVAILABLE_IN_1_0
QsnapSnapshot *qsnap_session_recover (QsnapSession *self, GFile *directory,
                                      GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_recover_async (QsnapSession *self, GFile *directory, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapSnapshot *qsnap_session_recover_finish (QsnapSession *self, GAsyncResult *result,
                                             GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_delete_snapshot (QsnapSession *self, QsnapSnapshot *snapshot,
                                        GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_delete_snapshot_async (QsnapSession *self, QsnapSnapshot *snapshot,
                                          GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_delete_snapshot_finish (QsnapSession *self, GAsyncResult *result,
                                               GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_quit (QsnapSession *self, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_quit_async (QsnapSession *self, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_quit_finish (QsnapSession *self, GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_wait_settled (QsnapSession *self, GCancellable *cancellable,
                                     GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_wait_settled_async (QsnapSession *self, GCancellable *cancellable,
                                       GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_wait_settled_finish (QsnapSession *self, GAsyncResult *result,
                                            GError **error);

QSNAP_AVAILABLE_IN_1_0
const char *qsnap_session_get_address (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_session_get_is_open (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_session_dup_qemu_version (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_session_dup_operation (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
QsnapPhase qsnap_session_get_phase (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_session_get_bytes_done (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_session_get_bytes_total (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_session_get_disk_bytes_done (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_session_get_disk_bytes_total (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_session_get_events_lost (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
guint qsnap_session_get_timeout (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_session_set_timeout (QsnapSession *self, guint timeout_ms);

QSNAP_AVAILABLE_IN_1_0
gint qsnap_session_get_pid (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_session_get_restore_directory (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
QsnapRestoreMethod qsnap_session_get_restore_method (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_session_dup_restore_warnings (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_session_get_start_us (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_session_get_load_us (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_session_get_settle_us (QsnapSession *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_session_get_page_requests (QsnapSession *self);

G_END_DECLS
