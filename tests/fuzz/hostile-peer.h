/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The other end of a conversation in lines: a thread that says what the input says. The input is
 * taken apart at each NUL; the first piece is said at once, each further one when something was
 * asked. "$ID" in a piece is the number that the question had.
 *
 * So that nothing ever waits, each piece but the last is followed by a plain answer; behind the
 * last one the connection is closed. */
typedef struct _HostilePeer HostilePeer;

typedef enum
{
  HOSTILE_QMP,
  HOSTILE_AGENT /* says nothing unasked: there is no first piece */
} HostileKind;

/* Takes @fd. */
HostilePeer *hostile_peer_start (HostileKind kind, int fd, const guint8 *data, gsize size);
/* The same, for whoever connects to @listener, one after the other. */
HostilePeer *hostile_peer_listen (HostileKind kind, int listener, const guint8 *data, gsize size);
/* When nobody connects any more, or the client has closed its end. */
void hostile_peer_join (HostilePeer *peer);

G_END_DECLS
