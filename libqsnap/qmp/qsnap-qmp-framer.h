/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* Cuts the bytes of a QMP peer into lines. QEMU ends each message with a newline and never puts one
 * inside a message; a line that grows past the limit is a protocol error. Does no I/O. */

#define QSNAP_QMP_MAX_LINE (16 * 1024 * 1024)

typedef struct _QsnapQmpFramer QsnapQmpFramer;

QsnapQmpFramer *qsnap_qmp_framer_new (gsize max_line);
void qsnap_qmp_framer_free (QsnapQmpFramer *framer);

gboolean
qsnap_qmp_framer_push (QsnapQmpFramer *framer, const char *data, gsize length, GError **error);

/* The next whole line without its end, or NULL. It is valid until the next call. Empty lines are
 * passed over. */
const char *qsnap_qmp_framer_pop (QsnapQmpFramer *framer, gsize *length);

/* Whether bytes of an unfinished line are held. */
gboolean qsnap_qmp_framer_is_inside_line (QsnapQmpFramer *framer);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapQmpFramer, qsnap_qmp_framer_free)

G_END_DECLS
