/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* Writes all of @data to a pipe, a socket or a file. It waits where it must, whatever the
 * descriptor's O_NONBLOCK says, which others may share; cancelling ends the wait on pipes and
 * sockets. A reader that has gone is G_IO_ERROR_BROKEN_PIPE; no SIGPIPE comes of it. */
gboolean
qsnap_fd_write (int fd, const guint8 *data, gsize len, GCancellable *cancellable, GError **error);

G_END_DECLS
