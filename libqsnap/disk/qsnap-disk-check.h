/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-drive.h"

G_BEGIN_DECLS

/* Decides how each of @drives gets into the snapshot, and finds what is in the way of that, which
 * becomes a problem in @report. @options may be NULL: all get an overlay. */
void qsnap_disks_choose_modes (GPtrArray *drives,
                               QsnapSnapshotOptions *options,
                               QsnapProcess *process,
                               QsnapReport *report);

/* Whether any disk has @mode. */
gboolean qsnap_disks_have_mode (GPtrArray *drives, QsnapDiskMode mode);

G_END_DECLS
