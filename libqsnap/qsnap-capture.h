/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-group-member.h"
#include "qsnap-operation.h"

G_BEGIN_DECLS

/* Takes an instant snapshot; runs in the operation's own thread. Everything that it changed is
 * undone where it fails or is cancelled. @member: the guest's part in a group; NULL: it is alone.
 */
QsnapSnapshot *qsnap_capture_run (QsnapOperation *operation,
                                  QsnapSnapshotOptions *options,
                                  QsnapGroupMember *member,
                                  GCancellable *cancellable,
                                  GError **error);

G_END_DECLS
