/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-disk-task.h"

G_BEGIN_DECLS

/* Disk mode "copy": a backup job of QEMU, begun in the transaction, copies the disk as it is at the
 * point in time, old data before the guest overwrites it. The guest's own graph stays what it is.
 */

void qsnap_copy_plan (QsnapDrive *drive, const char *directory, guint index);
/* Only what is above the image that the guest's stands on is copied. */
gboolean qsnap_copy_stands_on_backing (QsnapDrive *drive);
JsonObject *qsnap_copy_action (QsnapDiskTask *task);

/* By QEMU's list of jobs. Sets drive->copied when the job has copied all; @done and @total get how
 * many bytes of it are. */
gboolean qsnap_copy_judge (
    QsnapDiskTask *task, JsonNode *jobs, guint64 *done, guint64 *total, GError **error);

/* After that: the job ends, the copy is put on stable storage, and QEMU lets go of it. May be done
 * once more by somebody else. */
gboolean qsnap_copy_finish (QsnapDiskTask *task, GError **error);

/* An undo function (data: QsnapDiskTask): ends the job. */
gboolean qsnap_copy_cancel (gpointer task, GError **error);

G_END_DECLS
