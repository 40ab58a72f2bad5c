/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-operation.h"

G_BEGIN_DECLS

/* Deletes @snapshot. @operation is that of the session with its guest; NULL: no QEMU has its disks
 * open. */
gboolean qsnap_delete_run (QsnapSnapshot *snapshot,
                           QsnapOperation *operation,
                           GCancellable *cancellable,
                           GError **error);

/* The same inside another operation of @session, which has phases and progress of its own. */
gboolean qsnap_delete_run_within (QsnapSnapshot *snapshot,
                                  QsnapSession *session,
                                  GCancellable *cancellable,
                                  GError **error);

G_END_DECLS
