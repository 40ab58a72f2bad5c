/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* For another thread: whatever is done to @options afterwards does not matter to it. */
QsnapSnapshotOptions *qsnap_snapshot_options_copy (QsnapSnapshotOptions *options);

G_END_DECLS
