/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-return-path.h"

#include <string.h>

#include "memory/qsnap-stream-parser-private.h"
#include "qsnap/qsnap-error.h"

#define HEADER_BYTES 4
#define BITMAP_END G_GUINT64_CONSTANT (0x0123456789abcdef)

enum
{
  MESSAGE_SHUT = 1,
  MESSAGE_PONG,
  MESSAGE_REQ_PAGES_ID,
  MESSAGE_REQ_PAGES,
  MESSAGE_RECV_BITMAP,
  MESSAGE_RESUME_ACK,
  MESSAGE_SWITCHOVER_ACK
};

struct _QsnapReturnPath
{
  QsnapReturnPathCallbacks callbacks;
  gpointer user_data;
  GByteArray *pending;
  /* Of the last request that named one: the next may leave it out. */
  char *block;
  gboolean failed;
};

static gboolean G_GNUC_PRINTF (2, 3) refuse (GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list values;

  va_start (values, format);
  what = g_strdup_vprintf (format, values);
  va_end (values);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
               "QEMU's return path has what cannot be right: %s", what);

  return FALSE;
}

/* @data is a length byte and a name, which must be all of @len. */
static char *
parse_name (const guint8 *data, gsize len, GError **error)
{
  if (len < 1 || data[0] != len - 1 ||
      !qsnap_stream_name_is_valid ((const char *)data + 1, data[0]))
    {
      refuse (error, "a RAM block without a valid name");
      return NULL;
    }

  return g_strndup ((const char *)data + 1, data[0]);
}

static gboolean
take_request (QsnapReturnPath *path, const guint8 *data, gsize len, gboolean named, GError **error)
{
  guint64 start;
  guint32 length;

  if (named ? len < 12 : len != 12)
    return refuse (error, "a request of %zu bytes", len);

  start = qsnap_stream_u64 (data);
  length = qsnap_stream_u32 (data + 8);
  if (named)
    {
      char *name = parse_name (data + 12, len - 12, error);

      if (name == NULL)
        return FALSE;
      g_free (path->block);
      path->block = name;
    }
  if (path->block == NULL)
    return refuse (error, "a request that names no RAM block");

  return path->callbacks.request (path->block, start, length, path->user_data, error);
}

/* Behind the message there are a length, the bitmap, and a mark. *@behind is how many bytes are
 * there, and then how many of them belong to it; 0: not all have come. */
static gboolean
take_bitmap (QsnapReturnPath *path, const guint8 *data, gsize len, gsize *behind, GError **error)
{
  const guint8 *body = data + len;
  g_autofree char *name = parse_name (data, len, error);
  gsize available = *behind;
  guint64 size;

  *behind = 0;
  if (name == NULL)
    return FALSE;
  if (available < 8)
    return TRUE;

  size = qsnap_stream_u64 (body);
  if (size > QSNAP_RETURN_PATH_MAX_BITMAP)
    return refuse (error, "a bitmap of %" G_GUINT64_FORMAT " bytes", size);
  if (available < 8 + size + 8)
    return TRUE;
  if (qsnap_stream_u64 (body + 8 + size) != BITMAP_END)
    return refuse (error, "a bitmap without its end");

  *behind = 8 + size + 8;

  return path->callbacks.bitmap (name, body + 8, size, path->user_data, error);
}

static gboolean
take_number (QsnapReturnPath *path, guint type, const guint8 *data, gsize len, GError **error)
{
  guint32 value;

  if (len != 4)
    return refuse (error, "a message of type %u with %zu bytes", type, len);

  value = qsnap_stream_u32 (data);
  if (type == MESSAGE_SHUT)
    return path->callbacks.shut (value, path->user_data, error);
  if (type == MESSAGE_RESUME_ACK && value != 1)
    return refuse (error, "an answer %u to the wish to resume", value);
  if (type == MESSAGE_RESUME_ACK)
    return path->callbacks.resumed (path->user_data, error);

  return TRUE;
}

/* *@taken: bytes of the first message, 0 if it is not whole. */
static gboolean
take_message (
    QsnapReturnPath *path, const guint8 *data, gsize available, gsize *taken, GError **error)
{
  guint type;
  gsize len, behind;

  *taken = 0;
  if (available < HEADER_BYTES)
    return TRUE;
  type = qsnap_stream_u16 (data);
  len = qsnap_stream_u16 (data + 2);
  if (type < MESSAGE_SHUT || type > MESSAGE_SWITCHOVER_ACK)
    return refuse (error, "a message of type %u", type);
  if (available < HEADER_BYTES + len)
    return TRUE;

  behind = available - HEADER_BYTES - len;
  data += HEADER_BYTES;
  *taken = HEADER_BYTES + len;
  switch (type)
    {
    case MESSAGE_REQ_PAGES_ID:
      return take_request (path, data, len, TRUE, error);

    case MESSAGE_REQ_PAGES:
      return take_request (path, data, len, FALSE, error);

    case MESSAGE_RECV_BITMAP:
      if (!take_bitmap (path, data, len, &behind, error))
        return FALSE;
      *taken = behind > 0 ? *taken + behind : 0;
      return TRUE;

    case MESSAGE_SWITCHOVER_ACK:
      return TRUE;

    default:
      return take_number (path, type, data, len, error);
    }
}

gboolean
qsnap_return_path_push (QsnapReturnPath *path, const void *data, gsize len, GError **error)
{
  gsize at = 0, taken = 1;

  if (path->failed)
    return refuse (error, "more, after an error");

  g_byte_array_append (path->pending, data, (guint)len);
  while (taken > 0 && at < path->pending->len)
    {
      if (!take_message (path, path->pending->data + at, path->pending->len - at, &taken, error))
        {
          path->failed = TRUE;
          return FALSE;
        }
      at += taken;
    }
  g_byte_array_remove_range (path->pending, 0, (guint)at);

  return TRUE;
}

QsnapReturnPath *
qsnap_return_path_new (const QsnapReturnPathCallbacks *callbacks, gpointer user_data)
{
  QsnapReturnPath *path = g_new0 (QsnapReturnPath, 1);

  path->callbacks = *callbacks;
  path->user_data = user_data;
  path->pending = g_byte_array_new ();

  return path;
}

void
qsnap_return_path_free (QsnapReturnPath *path)
{
  g_byte_array_unref (path->pending);
  g_free (path->block);
  g_free (path);
}
