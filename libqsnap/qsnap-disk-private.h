/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* From an element of the manifest's "disks", which has been checked; @directory is the
 * snapshot's. */
QsnapDisk *qsnap_disk_new (JsonObject *object, const char *directory);

G_END_DECLS
