/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* Where the images of a snapshot that was moved are now. @images is "DRIVE=FILE"…, up to NULL. All
 * of them are written, or none. */
gboolean qsnap_relocate (QsnapSnapshot *snapshot,
                         const char *const *images,
                         GCancellable *cancellable,
                         GError **error);

/* Whether the images of a disk of the snapshot in @directory are where it
 * says, and its base as it was. */
gboolean qsnap_relocate_check_disk (JsonObject *disk, const char *directory, GError **error);

G_END_DECLS
