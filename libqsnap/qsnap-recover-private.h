/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-capture-private.h"

G_BEGIN_DECLS

/* The directory is ours alone: its client is dead, or has let go, and so has its saver, which is
 * waited for. QSNAP_ERROR_BUSY if a client is at it. */
gboolean qsnap_recover_lock (QsnapCapture *capture, GError **error);

/* Makes capture->guest, whose QEMU may be gone. */
gboolean qsnap_recover_connect (QsnapCapture *capture, GError **error);

/* Fills in what the journal knows of the guest, its disks and what was changed. */
void qsnap_recover_restore (QsnapCapture *capture);

/* QEMU has ended: what the guest wrote is brought back into the images that it had, and nothing of
 * the capture stays. */
gboolean qsnap_recover_undo_offline (QsnapCapture *capture, GError **error);

/* Empties the stream through QEMU's own descriptors, whoever else may be gone. */
void qsnap_recover_drain (QsnapCapture *capture);

/* The directory of a revert on demand; see qsnap-recover-revert.c. */
gboolean qsnap_recover_is_revert (const char *path);
/* Another page server goes on; answers the snapshot that it serves. */
QsnapSnapshot *qsnap_recover_revert (QsnapOperation *operation, const char *path, GError **error);

G_END_DECLS
