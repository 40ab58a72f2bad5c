/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* Who needs an image: other snapshots, captures and reverts in the same folder, and images beside
 * it that have it as backing file. */

/* Whether a disk of the snapshot in @folder, which stands on one of the images, can be made to
 * stand on what is left of them; it is no reason then, and neither is its overlay. */
typedef gboolean (*QsnapDependentFunc) (const char *folder,
                                        JsonObject *manifest,
                                        JsonObject *disk,
                                        gpointer data);

/* Appends to @reasons (char *) a text for each that stands on one of @images. @own is the directory
 * of the snapshot that is asked for; what stands on one of @images and is itself one of them is the
 * snapshot's own. */
gboolean qsnap_dependents_find (const char *own,
                                GPtrArray *images,
                                QsnapDependentFunc can_follow,
                                gpointer data,
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

/* The file that the header of a qcow2 image names as its backing file; NULL: none, or none that is a
 * local file. */
char *qsnap_image_dup_backing (const char *image);

/* The path that an image in @folder means by the name of its backing file; NULL: no local file. */
char *qsnap_image_resolve_backing (const char *name, const char *folder);

/* Whether any program holds one of QEMU's locks on @path. */
gboolean qsnap_image_is_locked (const char *path);

G_END_DECLS
