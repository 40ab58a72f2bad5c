/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <glib-object.h>

#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_DISK (qsnap_disk_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapDisk, qsnap_disk, QSNAP, DISK, GObject)

QSNAP_AVAILABLE_IN_1_0
const char *qsnap_disk_get_device (QsnapDisk *self);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_disk_get_node (QsnapDisk *self);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_disk_get_format (QsnapDisk *self);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_disk_get_base (QsnapDisk *self);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_disk_get_overlay (QsnapDisk *self);
QSNAP_AVAILABLE_IN_1_0
guint64 qsnap_disk_get_size (QsnapDisk *self);
QSNAP_AVAILABLE_IN_1_0
QsnapDiskMode qsnap_disk_get_mode (QsnapDisk *self);

G_END_DECLS
