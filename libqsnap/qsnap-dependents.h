/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* Who needs an image: other snapshots, captures and reverts in the same folder, and images beside
 * it that have it as backing file. */

/* Appends to @reasons (char *) a text for each that stands on one of @images. @own is the directory
 * of the snapshot that is asked for; what stands on one of @images and is itself one of them is the
 * snapshot's own. */
gboolean qsnap_dependents_find (const char *own,
                                GPtrArray *images,
                                GPtrArray *reasons,
                                GCancellable *cancellable,
                                GError **error);

/* By whatever names. */
gboolean qsnap_is_same_file (const char *a, const char *b);

/* Whether a QEMU may write to @path: it holds its lock for that. */
gboolean qsnap_image_is_written (const char *path);

/* Whether the header of a qcow2 image names @below, or nothing if that is NULL, as its backing
 * file. TRUE also where that cannot be told: @image cannot be opened, or is in another format, or
 * names what is no local file. */
gboolean qsnap_image_stands_on (const char *image, const char *below);

/* Whether any program holds one of QEMU's locks on @path. */
gboolean qsnap_image_is_locked (const char *path);

G_END_DECLS
