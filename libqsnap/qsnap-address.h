/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* "unix:PATH", a bare path, or "tcp:HOST:PORT" (an IPv6 host in brackets). What is wrong with an
 * address is G_IO_ERROR_INVALID_ARGUMENT. */
GSocketConnectable *qsnap_address_parse (const char *address, GError **error);

/* @whose is the peer in words, for an error. */
GIOStream *qsnap_address_connect (const char *address,
                                  const char *whose,
                                  guint timeout_ms,
                                  GCancellable *cancellable,
                                  GError **error);

G_END_DECLS
