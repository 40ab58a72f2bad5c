/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_DISK_OPTIONS (qsnap_disk_options_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapDiskOptions, qsnap_disk_options, QSNAP, DISK_OPTIONS, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapDiskOptions *qsnap_disk_options_new (const char *disk, QsnapDiskMode mode);

QSNAP_AVAILABLE_IN_1_0
const char *qsnap_disk_options_get_disk (QsnapDiskOptions *self);
QSNAP_AVAILABLE_IN_1_0
QsnapDiskMode qsnap_disk_options_get_mode (QsnapDiskOptions *self);

QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_disk_options_get_file (QsnapDiskOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_disk_options_set_file (QsnapDiskOptions *self, GFile *file);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_disk_options_get_reuse (QsnapDiskOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_disk_options_set_reuse (QsnapDiskOptions *self, gboolean reuse);

QSNAP_AVAILABLE_IN_1_0
JsonNode *qsnap_disk_options_get_target (QsnapDiskOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_disk_options_set_target (QsnapDiskOptions *self, JsonNode *target);

QSNAP_AVAILABLE_IN_1_0
QsnapCopySync qsnap_disk_options_get_sync (QsnapDiskOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_disk_options_set_sync (QsnapDiskOptions *self, QsnapCopySync sync);

G_END_DECLS
