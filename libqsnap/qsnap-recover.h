/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-operation.h"

G_BEGIN_DECLS

/* Finishes or undoes what a dead client left in @directory. Runs in the operation's own thread.
 * NULL without an error: it was undone. */
QsnapSnapshot *qsnap_recover_run (QsnapOperation *operation,
                                  GFile *directory,
                                  GCancellable *cancellable,
                                  GError **error);

G_END_DECLS
