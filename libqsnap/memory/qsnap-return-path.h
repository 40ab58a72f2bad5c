/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* What the destination of a postcopy migration sends back, on the same socket: QEMU's return path,
 * big-endian messages of a 16-bit type, a 16-bit length and as many bytes. */

/* The most that a bitmap of received pages may take: 2 TiB of RAM. */
#define QSNAP_RETURN_PATH_MAX_BITMAP (64u << 20)

typedef struct _QsnapReturnPath QsnapReturnPath;

/* A callback that answers FALSE, with an error, stops the parser for good. */
typedef struct
{
  /* It is done, well if @status is 0. */
  gboolean (*shut) (guint32 status, gpointer user_data, GError **error);
  /* It needs @len bytes at @start of the block; there may be any number of requests for a page. */
  gboolean (*request) (
      const char *block, guint64 start, guint32 len, gpointer user_data, GError **error);
  /* Which pages of 4096 bytes it has: bit n of byte m is page 8 m + n. */
  gboolean (*bitmap) (
      const char *block, const guint8 *bits, gsize len, gpointer user_data, GError **error);
  /* It goes on after a connection was lost. */
  gboolean (*resumed) (gpointer user_data, GError **error);
} QsnapReturnPathCallbacks;

QsnapReturnPath *qsnap_return_path_new (const QsnapReturnPathCallbacks *callbacks,
                                        gpointer user_data);
void qsnap_return_path_free (QsnapReturnPath *path);

/* Any number of bytes. What is no message is QSNAP_ERROR_PROTOCOL. */
gboolean
qsnap_return_path_push (QsnapReturnPath *path, const void *data, gsize len, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapReturnPath, qsnap_return_path_free)

G_END_DECLS
