/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-disk-task.h"

G_BEGIN_DECLS

/* Disk mode "internal": a snapshot inside the guest's own image, which the guest goes on in. */

void qsnap_internal_plan (QsnapDrive *drive, const char *id);
JsonObject *qsnap_internal_action (QsnapDiskTask *task);

/* An undo function (data: QsnapDiskTask). */
gboolean qsnap_internal_delete (gpointer task, GError **error);

G_END_DECLS
