/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "stream-builder.h"

G_BEGIN_DECLS

/* The memory image that a good stream makes in the folder; what a manifest says of it. */
JsonObject *
image_maker_write (StreamBuilder *stream, int dir_fd, const char *const *raw_blocks, gboolean pack);

G_END_DECLS
