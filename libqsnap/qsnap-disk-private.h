/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* From an element of the manifest's "disks", which has been checked. */
QsnapDisk *qsnap_disk_new (JsonObject *object);

G_END_DECLS
