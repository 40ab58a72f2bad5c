/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-restore-options.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

typedef struct _QsnapSession QsnapSession;

#define QSNAP_TYPE_SNAPSHOT (qsnap_snapshot_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapSnapshot, qsnap_snapshot, QSNAP, SNAPSHOT, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapSnapshot *qsnap_snapshot_load (GFile *directory, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_load_async (GFile *directory, GCancellable *cancellable,
                                GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapSnapshot *qsnap_snapshot_load_finish (GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_snapshot_list (GFile *parent, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_list_async (GFile *parent, GCancellable *cancellable,
                                GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_snapshot_list_finish (GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_verify (QsnapSnapshot *self, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_verify_async (QsnapSnapshot *self, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_verify_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_export_stream (QsnapSnapshot *self, int fd, GCancellable *cancellable,
                                       GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_export_stream_async (QsnapSnapshot *self, int fd, GCancellable *cancellable,
                                         GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_export_stream_finish (QsnapSnapshot *self, GAsyncResult *result,
                                              GError **error);

QSNAP_AVAILABLE_IN_1_0
QsnapSession *qsnap_snapshot_restore (QsnapSnapshot *self, QsnapRestoreOptions *options,
                                      GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_restore_async (QsnapSnapshot *self, QsnapRestoreOptions *options,
                                   GCancellable *cancellable, GAsyncReadyCallback callback,
                                   gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
QsnapSession *qsnap_snapshot_restore_finish (QsnapSnapshot *self, GAsyncResult *result,
                                             GError **error);

QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_snapshot_build_command (QsnapSnapshot *self, QsnapRestoreOptions *options,
                                    GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_delete (QsnapSnapshot *self, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_delete_async (QsnapSnapshot *self, GCancellable *cancellable,
                                  GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_delete_finish (QsnapSnapshot *self, GAsyncResult *result, GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_annotate (QsnapSnapshot *self, const char *description, GVariant *metadata,
                                  GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_annotate_async (QsnapSnapshot *self, const char *description,
                                    GVariant *metadata, GCancellable *cancellable,
                                    GAsyncReadyCallback callback, gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_annotate_finish (QsnapSnapshot *self, GAsyncResult *result,
                                         GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_check_disk (QsnapSnapshot *self, const char *drive,
                                    GCancellable *cancellable, GError **error);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_relocate_disks (QsnapSnapshot *self, const char *const *images,
                                        GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_relocate_disks_async (QsnapSnapshot *self, const char *const *images,
                                          GCancellable *cancellable, GAsyncReadyCallback callback,
                                          gpointer user_data);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_relocate_disks_finish (QsnapSnapshot *self, GAsyncResult *result,
                                               GError **error);

QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_snapshot_get_directory (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_snapshot_get_name (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_get_sealed (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GDateTime *qsnap_snapshot_dup_time (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_snapshot_get_disks (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
JsonNode *qsnap_snapshot_dup_manifest (QsnapSnapshot *self);

QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_qemu_version (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_machine (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_guest_name (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_guest_uuid (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_snapshot_dup_command_line (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_snapshot_dup_warnings (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
QsnapSnapshotMode qsnap_snapshot_get_mode (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_snapshot_get_memory_size (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_snapshot_get_data_size (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_snapshot_get_stored_size (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
QsnapCompression qsnap_snapshot_get_compression (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_snapshot_get_pause_us (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_snapshot_get_stop_us (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_snapshot_get_disks_us (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_snapshot_get_memory_us (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_snapshot_get_resume_us (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_snapshot_get_save_us (QsnapSnapshot *self);

QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_id (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_parent_id (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_parent_name (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
char *qsnap_snapshot_dup_description (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
GVariant *qsnap_snapshot_dup_metadata (QsnapSnapshot *self);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_has_guest (QsnapSnapshot *self);

G_END_DECLS
