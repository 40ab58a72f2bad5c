/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-operation.h"

G_BEGIN_DECLS

/* Deletes @snapshot. @session is that with its guest; NULL: no QEMU has its disks open. @operation
 * of @session has the phases and the progress; NULL: nobody is told of them. */
gboolean qsnap_delete_run (QsnapSnapshot *snapshot,
                           QsnapSession *session,
                           QsnapOperation *operation,
                           GCancellable *cancellable,
                           GError **error);

G_END_DECLS
