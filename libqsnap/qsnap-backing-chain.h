/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* What an image stands on, by the headers of the images, for one that is on no QEMU. Each image is
 * opened in the format that the header above it says: none is ever probed. */

/* That @file is there, can be read, and is of that @format; what QEMU's tool says of it. */
JsonNode *qsnap_backing_chain_look (const char *file,
                                    const char *format,
                                    GCancellable *cancellable,
                                    GError **error);

/* The paths (char *) of all images below @file, of which @info is known, from the top. Each has to
 * be there, and not be written by a QEMU. It ends at what is no local file, which is not looked at.
 */
GPtrArray *qsnap_backing_chain_read (const char *file,
                                     JsonObject *info,
                                     GCancellable *cancellable,
                                     GError **error);

G_END_DECLS
