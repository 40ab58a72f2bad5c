/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-capture-private.h"

G_BEGIN_DECLS

/* The saver's word that all memory is on stable storage, for a capture whose point in time was
 * proven. */
gboolean qsnap_recover_memory_is_complete (QsnapCapture *capture);

/* QEMU has ended: what the guest wrote is brought back into the images that it had, and nothing of
 * the capture stays. */
gboolean qsnap_recover_undo_offline (QsnapCapture *capture, GError **error);

/* Empties the stream through QEMU's own descriptors, whoever else may be gone. */
void qsnap_recover_drain (QsnapCapture *capture);

G_END_DECLS
