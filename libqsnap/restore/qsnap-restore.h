/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qmp/qsnap-qmp-commands.h"
#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* A revert, from its options to a guest that runs. */
typedef struct _QsnapRestore QsnapRestore;

/* Reads the options; in the caller's thread, as the session belongs to its main context. */
QsnapRestore *
qsnap_restore_new (QsnapSnapshot *snapshot, QsnapRestoreOptions *options, GError **error);
void qsnap_restore_free (QsnapRestore *restore);

/* Does it, in any thread. Everything that was made is removed where it fails or is cancelled. */
QsnapSession *qsnap_restore_run (QsnapRestore *restore, GCancellable *cancellable, GError **error);

/* For guests that are to go on together: before it is run; the guest waits until the second. What
 * has been brought back is taken back by the third, which ends its QEMU. */
void qsnap_restore_hold (QsnapRestore *restore);
gboolean qsnap_restore_release (QsnapRestore *restore, GError **error);
gboolean qsnap_restore_take_back (QsnapRestore *restore, GError **error);

/* The command line that would be run; nothing is made. */
GStrv qsnap_restore_build_command (QsnapRestore *restore, GError **error);

/* Whether QEMU takes a postcopy migration, and tells of its states. */
gboolean qsnap_restore_switch_postcopy (QsnapQmp *qmp, gboolean on, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapRestore, qsnap_restore_free)

G_END_DECLS
