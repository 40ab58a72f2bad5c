/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* A snapshot that is still being saved; the manifest (taken) may lack what is not known yet. */
QsnapSnapshot *qsnap_snapshot_new_unsealed (GFile *directory, JsonObject *manifest);

/* The snapshot is on stable storage as @manifest (taken) says. */
void qsnap_snapshot_seal (QsnapSnapshot *snapshot, JsonObject *manifest);

G_END_DECLS
