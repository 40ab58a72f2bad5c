/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>

#include <qsnap/qsnap-disk-options.h>
#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_SNAPSHOT_OPTIONS (qsnap_snapshot_options_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapSnapshotOptions, qsnap_snapshot_options, QSNAP, SNAPSHOT_OPTIONS, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapSnapshotOptions *qsnap_snapshot_options_new (GFile *directory);

QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_snapshot_options_get_directory (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_directory (QsnapSnapshotOptions *self, GFile *directory);

QSNAP_AVAILABLE_IN_1_0
const char *qsnap_snapshot_options_get_name (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_name (QsnapSnapshotOptions *self, const char *name);

QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_snapshot_options_get_overlay_directory (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_overlay_directory (QsnapSnapshotOptions *self, GFile *directory);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_options_get_allow_managed (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_allow_managed (QsnapSnapshotOptions *self, gboolean allow_managed);

QSNAP_AVAILABLE_IN_1_0
guint qsnap_snapshot_options_get_max_pause_ms (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_max_pause_ms (QsnapSnapshotOptions *self, guint max_pause_ms);

QSNAP_AVAILABLE_IN_1_0
guint qsnap_snapshot_options_get_max_stall_ms (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_max_stall_ms (QsnapSnapshotOptions *self, guint max_stall_ms);

QSNAP_AVAILABLE_IN_1_0
QsnapSnapshotMode qsnap_snapshot_options_get_mode (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_mode (QsnapSnapshotOptions *self, QsnapSnapshotMode mode);

QSNAP_AVAILABLE_IN_1_0
QsnapSnapshotMode qsnap_snapshot_options_get_fallback (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_fallback (QsnapSnapshotOptions *self, QsnapSnapshotMode fallback);

QSNAP_AVAILABLE_IN_1_0
QsnapDiskMode qsnap_snapshot_options_get_disk_mode (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_disk_mode (QsnapSnapshotOptions *self, QsnapDiskMode disk_mode);

QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_snapshot_options_get_disks (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_add_disk (QsnapSnapshotOptions *self, QsnapDiskOptions *disk);

QSNAP_AVAILABLE_IN_1_0
QsnapLeave qsnap_snapshot_options_get_leave (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_leave (QsnapSnapshotOptions *self, QsnapLeave leave);
QSNAP_AVAILABLE_IN_1_0
QsnapCompression qsnap_snapshot_options_get_compression (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_compression (QsnapSnapshotOptions *self,
                                             QsnapCompression compression);

QSNAP_AVAILABLE_IN_1_0
const char *qsnap_snapshot_options_get_quiesce (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_quiesce (QsnapSnapshotOptions *self, const char *agent);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_options_get_huge_pages (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_huge_pages (QsnapSnapshotOptions *self, gboolean huge_pages);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_snapshot_options_get_share_pages (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_share_pages (QsnapSnapshotOptions *self, gboolean share_pages);

QSNAP_AVAILABLE_IN_1_0
guint qsnap_snapshot_options_get_max_chain_length (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_max_chain_length (QsnapSnapshotOptions *self,
                                                  guint max_chain_length);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_snapshot_options_get_description (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_description (QsnapSnapshotOptions *self, const char *description);
QSNAP_AVAILABLE_IN_1_0
GVariant *qsnap_snapshot_options_get_metadata (QsnapSnapshotOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_snapshot_options_set_metadata (QsnapSnapshotOptions *self, GVariant *metadata);

G_END_DECLS
