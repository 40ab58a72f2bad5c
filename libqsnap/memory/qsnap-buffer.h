/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Room for the guest's memory in the application's process: it is zero at first, in no core dump,
 * and given back to the kernel at the end, so that nothing of it is left. For pieces that are not
 * made often. */
typedef guint8 QsnapBuffer;

/* Ends the program where there is no room. */
QsnapBuffer *qsnap_buffer_new (gsize size);
/* Answers NULL then. */
QsnapBuffer *qsnap_buffer_try_new (gsize size);
/* NULL is nothing. */
void qsnap_buffer_free (QsnapBuffer *buffer);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapBuffer, qsnap_buffer_free)

G_END_DECLS
