/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-ram-encoder.h"

#include <string.h>

#include "memory/qsnap-buffer.h"
#include "memory/qsnap-stream-format.h"

#define BUFFER_BYTES (1u << 20)
/* The longest record, and the end of a section. */
#define MAX_RECORD (8 + 1 + 255 + QSNAP_PAGE_SIZE)
#define SECTION_END_BYTES (8 + 5)
#define SECTION_START_BYTES 5
/* QEMU holds a lock while it loads a section. The pages of one host page, of at most 2 MiB, have to
 * be in one section. */
#define SECTION_BYTES (4u << 20)

struct _QsnapRamEncoder
{
  guint32 section_id;
  QsnapRamSink sink;
  gpointer user_data;

  char *block; /* of the record before, in this encoder's own sections */
  gboolean in_section;
  guint64 section_begin;
  guint64 position;
  gsize len;
  guint8 buffer[BUFFER_BYTES];
};

static gboolean
empty_buffer (QsnapRamEncoder *encoder, GError **error)
{
  gsize len = encoder->len;

  encoder->len = 0;
  return len == 0 || encoder->sink (encoder->buffer, len, encoder->user_data, error);
}

/* The callers have made room. */
static void
put (QsnapRamEncoder *encoder, const void *data, gsize len)
{
  memcpy (encoder->buffer + encoder->len, data, len);
  encoder->len += len;
  encoder->position += len;
}

static void
put_byte (QsnapRamEncoder *encoder, guint8 value)
{
  put (encoder, &value, 1);
}

static void
put_u32 (QsnapRamEncoder *encoder, guint32 value)
{
  value = GUINT32_TO_BE (value);
  put (encoder, &value, sizeof value);
}

static void
put_u64 (QsnapRamEncoder *encoder, guint64 value)
{
  value = GUINT64_TO_BE (value);
  put (encoder, &value, sizeof value);
}

static gboolean
make_room (QsnapRamEncoder *encoder, gsize len, GError **error)
{
  return len <= BUFFER_BYTES - encoder->len || empty_buffer (encoder, error);
}

static gboolean
end_section (QsnapRamEncoder *encoder, GError **error)
{
  if (!encoder->in_section)
    return TRUE;
  if (!make_room (encoder, SECTION_END_BYTES, error))
    return FALSE;
  put_u64 (encoder, QSNAP_STREAM_RAM_EOS);
  put_byte (encoder, QSNAP_STREAM_FOOTER);
  put_u32 (encoder, encoder->section_id);
  encoder->in_section = FALSE;
  return TRUE;
}

static gboolean
begin_record (QsnapRamEncoder *encoder, GError **error)
{
  if (encoder->in_section && encoder->position - encoder->section_begin >= SECTION_BYTES &&
      !end_section (encoder, error))
    return FALSE;
  if (!make_room (encoder, SECTION_START_BYTES + MAX_RECORD, error))
    return FALSE;
  if (encoder->in_section)
    return TRUE;
  encoder->in_section = TRUE;
  encoder->section_begin = encoder->position;
  put_byte (encoder, QSNAP_STREAM_SECTION_PART);
  put_u32 (encoder, encoder->section_id);
  return TRUE;
}

gboolean
qsnap_ram_encoder_page (
    QsnapRamEncoder *encoder, const char *block, guint64 offset, const guint8 *data, GError **error)
{
  guint64 head = offset | (data != NULL ? QSNAP_STREAM_RAM_PAGE : QSNAP_STREAM_RAM_ZERO);

  if (!begin_record (encoder, error))
    return FALSE;
  if (encoder->block != NULL && strcmp (encoder->block, block) == 0)
    put_u64 (encoder, head | QSNAP_STREAM_RAM_CONTINUE);
  else
    {
      put_u64 (encoder, head);
      put_byte (encoder, (guint8)strlen (block));
      put (encoder, block, strlen (block));
      g_free (encoder->block);
      encoder->block = g_strdup (block);
    }
  if (data != NULL)
    put (encoder, data, QSNAP_PAGE_SIZE);
  else
    put_byte (encoder, 0);
  return TRUE;
}

gboolean
qsnap_ram_encoder_raw (QsnapRamEncoder *encoder, const void *data, gsize len, GError **error)
{
  const guint8 *bytes = data;

  if (!end_section (encoder, error))
    return FALSE;
  while (len > 0)
    {
      gsize take = MIN (len, BUFFER_BYTES - encoder->len);

      put (encoder, bytes, take);
      bytes += take;
      len -= take;
      if (encoder->len == BUFFER_BYTES && !empty_buffer (encoder, error))
        return FALSE;
    }
  return TRUE;
}

gboolean
qsnap_ram_encoder_flush (QsnapRamEncoder *encoder, GError **error)
{
  return end_section (encoder, error) && empty_buffer (encoder, error);
}

guint64
qsnap_ram_encoder_get_position (QsnapRamEncoder *encoder)
{
  return encoder->position;
}

QsnapRamEncoder *
qsnap_ram_encoder_new (guint32 section_id, QsnapRamSink sink, gpointer user_data)
{
  QsnapRamEncoder *encoder = (gpointer)qsnap_buffer_new (sizeof *encoder);

  encoder->section_id = section_id;
  encoder->sink = sink;
  encoder->user_data = user_data;
  return encoder;
}

void
qsnap_ram_encoder_free (QsnapRamEncoder *encoder)
{
  g_free (encoder->block);
  qsnap_buffer_free ((gpointer)encoder);
}
