/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* qemu-img, for images that no QEMU of ours has open: its locks keep it from one that somebody does
 * have open after all. */

/* Where it is not, the error says so. */
gboolean qsnap_qemu_img_is_there (GError **error);

/* Runs @command (NULL-terminated) to its end; cancelling kills it. Answers what it prints. */
char *qsnap_qemu_img_output (const char *const *command, GCancellable *cancellable, GError **error);

/* The same where that is an object in JSON, or (@reply is NULL) does not matter. */
gboolean qsnap_qemu_img_run (const char *const *command,
                             JsonNode **reply,
                             GCancellable *cancellable,
                             GError **error);

/* Brings what @overlay holds into @base. It must be a qcow2 image that stands on @base, and stays
 * as it is: what stands on it sees no difference, and doing it again changes nothing. */
gboolean qsnap_qemu_img_commit (const char *overlay,
                                const char *base,
                                GCancellable *cancellable,
                                GError **error);

/* Has the header of a qcow2 image name another @base, which has the same content. */
gboolean
qsnap_qemu_img_rebase (const char *image, const char *base, const char *format, GError **error);

/* What is known of an image of that @format, which may be in use; what is below is not opened. */
JsonNode *qsnap_qemu_img_info (const char *file,
                               const char *format,
                               GCancellable *cancellable,
                               GError **error);

/* Whether a snapshot of that name is inside an image, by its info. */
gboolean qsnap_qemu_img_has_snapshot (JsonObject *info, const char *name);

/* Whether a qcow2 image holds anything itself: what it does is at depth 0 of its chain. */
gboolean qsnap_qemu_img_holds_something (const char *file, gboolean *holds, GError **error);

/* Deletes a snapshot inside a qcow2 image, if it is there. */
gboolean qsnap_qemu_img_delete_snapshot (const char *file, const char *name, GError **error);

G_END_DECLS
