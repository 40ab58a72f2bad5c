/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-disk-task.h"

G_BEGIN_DECLS

/* Disk mode "overlay": the image becomes the read-only base, the guest goes on in a new qcow2. The
 * overlay is made and attached to QEMU while the guest runs, so that one transaction is all that is
 * left for the pause. */

/* Chooses the file: beside the image, or in @directory unless NULL; @id is the capture's. */
void qsnap_overlay_plan (QsnapDrive *drive, const char *directory, const char *id, guint index);

/* Of an overlay that the caller has made: whether it fits the drive. */
gboolean qsnap_overlay_check_reuse (QsnapDrive *drive, GError **error);

/* Whether what qsnap_qemu_img_info() says of an image, which may be NULL, has the drive's image as
 * backing file. */
gboolean qsnap_overlay_stands_on_base (QsnapDrive *drive, JsonObject *info);

/* What puts the overlay above its base, and persistent bitmaps into it. */
void qsnap_overlay_add_actions (QsnapDiskTask *task, JsonArray *actions);

/* An undo function (data: QsnapDiskTask): if the guest writes into the overlay, merges it back into
 * its base with the guest running, so that the drive is on its base again. */
gboolean qsnap_overlay_merge_back (gpointer task, GError **error);

G_END_DECLS
