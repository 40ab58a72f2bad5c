/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* A QEMU whose guest waits for a page may not answer QMP: its main loop can be what waits. If the
 * page server dies, the guest only goes on after `migrate-recover`, which QEMU carries out besides
 * (exec-oob), but only for a connection that was negotiated before. So one more connection is made
 * while QEMU is well, and QEMU itself is given a copy of our end of it: with everybody else gone,
 * pidfd_getfd() brings it back. */

/* The monitor that it leads to, in the directory of the revert. */
#define QSNAP_RESCUE_SOCKET "rescue"

/* Connects to the monitor at @path, negotiates, and leaves a copy with QEMU. */
GSocket *qsnap_rescue_open (const char *path, GError **error);

/* Tells it from other sockets. */
guint64 qsnap_rescue_get_inode (GSocket *rescue);

/* Out of QEMU's copy, descriptor @number of process @pid; -1 is an error. */
GSocket *qsnap_rescue_take_back (GPid pid, int number, GError **error);

/* QEMU, which may take a moment to see that its connection is lost, listens at @path for another
 * one. */
gboolean qsnap_rescue_recover (GSocket *rescue, const char *path, GError **error);

/* It is not needed any more; QEMU's copy is closed too. */
void qsnap_rescue_end (GSocket *rescue);

G_END_DECLS
