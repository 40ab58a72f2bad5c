/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-disk-task.h"

G_BEGIN_DECLS

/* An image that is made for the guest's QEMU to write to, an overlay or a copy: file, descriptors,
 * nodes. All of it while the guest runs. */

/* Whether the drive's mode needs one. */
gboolean qsnap_new_image_is_needed (QsnapDrive *drive);
/* The caller's block options for it, or NULL: it is a file. */
JsonNode *qsnap_new_image_target (QsnapDrive *drive);

/* Unless it was there before, or may be somebody else's; there may be none. */
gboolean qsnap_new_image_remove_file (QsnapDrive *drive, GError **error);

/* Pushes the undo of each of its steps; @task has to outlive @undo. */
gboolean qsnap_new_image_prepare (QsnapDiskTask *task, QsnapUndo *undo, GError **error);

/* QEMU lets go of the image: its nodes and descriptors. */
gboolean qsnap_new_image_detach (QsnapDiskTask *task, GError **error);

/* For one that a dead client prepared: the undo of all steps, whichever were taken. */
void qsnap_new_image_push_undo (QsnapDiskTask *task, QsnapUndo *undo);

G_END_DECLS
