/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qmp/qsnap-qmp-framer.h"

#include <string.h>

#include "qsnap/qsnap-error.h"

#define KEEP_BYTES (256 * 1024)

struct _QsnapQmpFramer
{
  GString *buffer;
  /* Start of the first line that was not handed out. */
  gsize start;
  /* No newline lies before this offset: bytes are searched once, however a line is split. */
  gsize searched;
  gsize max_line;
};

QsnapQmpFramer *
qsnap_qmp_framer_new (gsize max_line)
{
  QsnapQmpFramer *framer = g_new0 (QsnapQmpFramer, 1);

  framer->buffer = g_string_new (NULL);
  framer->max_line = max_line;

  return framer;
}

void
qsnap_qmp_framer_free (QsnapQmpFramer *framer)
{
  g_string_free (framer->buffer, TRUE);
  g_free (framer);
}

/* A buffer never shrinks by itself: one long line would take its memory for ever. */
static void
give_back (QsnapQmpFramer *framer)
{
  GString *old = framer->buffer;

  if (old->allocated_len <= KEEP_BYTES || old->len > KEEP_BYTES / 2)
    return;

  framer->buffer = g_string_new_len (old->str, (gssize)old->len);
  g_string_free (old, TRUE);
}

/* What was handed out is dropped when more arrives, not line by line: each byte is moved at most
 * once for every read. */
static void
drop_consumed (QsnapQmpFramer *framer)
{
  if (framer->start == 0)
    return;

  g_string_erase (framer->buffer, 0, (gssize)framer->start);
  framer->searched -= framer->start;
  framer->start = 0;
  give_back (framer);
}

gboolean
qsnap_qmp_framer_push (QsnapQmpFramer *framer, const char *data, gsize length, GError **error)
{
  drop_consumed (framer);
  g_string_append_len (framer->buffer, data, (gssize)length);

  if (framer->buffer->len > framer->max_line &&
      memchr (framer->buffer->str, '\n', framer->max_line) == NULL)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                   "a line of the QMP peer is longer than %" G_GSIZE_FORMAT " bytes",
                   framer->max_line);
      return FALSE;
    }

  return TRUE;
}

const char *
qsnap_qmp_framer_pop (QsnapQmpFramer *framer, gsize *length)
{
  for (;;)
    {
      char *base = framer->buffer->str;
      char *newline =
          memchr (base + framer->searched, '\n', framer->buffer->len - framer->searched);
      char *line = base + framer->start;
      gsize n;

      if (newline == NULL)
        {
          framer->searched = framer->buffer->len;
          return NULL;
        }

      n = (gsize)(newline - line);
      framer->start = framer->searched = (gsize)(newline - base) + 1;
      if (n > 0 && line[n - 1] == '\r')
        n--;
      if (n == 0)
        continue;

      *length = n;
      return line;
    }
}

gboolean
qsnap_qmp_framer_is_inside_line (QsnapQmpFramer *framer)
{
  return framer->start < framer->buffer->len;
}
