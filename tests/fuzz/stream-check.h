/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Parses a migration stream, whole and in pieces: both have to come to the same, and what is told
 * of it has to be as it is promised. Answers whether it is a good one. */
gboolean stream_check (const guint8 *data, gsize size);

/* Makes an image of it in the folder, reads that back, exports it, and parses the export. */
void stream_check_image (const guint8 *data, gsize size);

G_END_DECLS
