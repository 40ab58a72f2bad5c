/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbered messages to other guests. A virtio port named qsnap.peerN is the link number N; over each goes one message at a
 * time, there and back, its number one greater each time. So a guest never has received a number that the other has not
 * sent, at any one instant: but it has if the other is of an earlier one. */

#include <stdbool.h>
#include <stddef.h>

/* Opens all links that there are. */
void peer_find (void);
/* Sends the first message on each; false if that failed, or there is no link. */
bool peer_begin (void);
/* "sent=5,0 received=4,0", a number for each link. */
void peer_describe (char *text, size_t size);
