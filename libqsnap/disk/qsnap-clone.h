/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-disk-task.h"

G_BEGIN_DECLS

/* Disk mode "clone": the snapshot gets a file that shares its blocks with the guest's image, made
 * by the file system (FICLONE) while the guest stands still and its disks are flushed. The guest
 * goes on in its own image. The clone may have what a crash would leave, such as qcow2's dirty bit:
 * it is only ever read, below an overlay. */

/* Whether it can be made, by making one that has no name. */
gboolean qsnap_clone_try (QsnapDrive *drive, const char *directory, GError **error);

void qsnap_clone_plan (QsnapDrive *drive, const char *directory, guint index);
gboolean qsnap_clone_prepare (QsnapDiskTask *task, QsnapUndo *undo, GError **error);
gboolean qsnap_clone_take (QsnapDiskTask *task, GError **error);

G_END_DECLS
