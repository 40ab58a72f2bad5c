/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Feeding the parser, and the stream from RAM's pages to its end. */

#include "config.h"

#include "memory/qsnap-stream-parser-private.h"

#include <string.h>

#include "qsnap/qsnap-error.h"

static gssize step_section (QsnapStreamParser *, const guint8 *, gsize, GError **);
static gssize step_record (QsnapStreamParser *, const guint8 *, gsize, GError **);

gssize
qsnap_stream_corrupt (QsnapStreamParser *parser, GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "The migration stream is damaged at byte %" G_GUINT64_FORMAT ": %s",
               parser->consumed, what);
  return -1;
}

gssize
qsnap_stream_refuse (QsnapStreamParser *parser, GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "The migration stream has at byte %" G_GUINT64_FORMAT
               " what is not supported here: %s",
               parser->consumed, what);
  return -1;
}

char *
qsnap_stream_printable (const guint8 *name, gsize len)
{
  GString *text = g_string_new (NULL);

  for (gsize i = 0; i < len; i++)
    if (g_ascii_isprint (name[i]))
      g_string_append_c (text, (char)name[i]);
    else
      g_string_append_printf (text, "\\x%02x", name[i]);
  return g_string_free (text, FALSE);
}

gboolean
qsnap_stream_name_is_valid (const char *name, gsize len)
{
  for (gsize i = 0; i < len; i++)
    if (!g_ascii_isprint (name[i]))
      return FALSE;
  return len > 0 && len <= 255;
}

/* @data is a section's start, of which the name may not be whole yet. */
gssize
qsnap_stream_refuse_section (QsnapStreamParser *parser,
                             const guint8 *data,
                             gsize len,
                             GError **error)
{
  g_autofree char *name = NULL;

  if (!qsnap_stream_has (parser, len, 6))
    return 0;
  if (!qsnap_stream_has (parser, len, 6 + data[5]))
    return 0;
  name = qsnap_stream_printable (data + 6, data[5]);
  return qsnap_stream_refuse (parser, error, "the section “%s”", name);
}

static gssize
step_device_state (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  if (len > QSNAP_STREAM_MAX_DEVICE_STATE - parser->collected->len)
    return qsnap_stream_refuse (parser, error, "more than %u bytes of device state",
                                QSNAP_STREAM_MAX_DEVICE_STATE);
  g_byte_array_append (parser->collected, data, (guint)len);
  return (gssize)len;
}

static gboolean
end_setup (QsnapStreamParser *parser, GError **error)
{
  parser->setup_done = TRUE;
  return parser->callbacks.ram_setup == NULL ||
         parser->callbacks.ram_setup (&g_array_index (parser->blocks, QsnapStreamBlock, 0),
                                      parser->blocks->len, parser->collected->data,
                                      parser->collected->len, parser->user_data, error);
}

static gssize
step_footer (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  /* Without them (machine types before 2.4) the end of the device state could not be told from its
   * middle, and damage not from another section. */
  if (data[0] != QSNAP_STREAM_FOOTER)
    return qsnap_stream_refuse (parser, error, "a section without footer");
  if (!qsnap_stream_has (parser, len, 5))
    return 0;
  if (qsnap_stream_u32 (data + 1) != parser->section_id)
    return qsnap_stream_corrupt (parser, error, "section %u ends with the footer of section %u",
                                 parser->section_id, qsnap_stream_u32 (data + 1));
  parser->step = step_section;
  if (parser->setup_done)
    return 5;
  g_byte_array_append (parser->collected, data, 5);
  return end_setup (parser, error) ? 5 : -1;
}

gssize
qsnap_stream_step_setup_end (QsnapStreamParser *parser,
                             const guint8 *data,
                             gsize len,
                             GError **error)
{
  guint64 value;

  if (!qsnap_stream_has (parser, len, 8))
    return 0;
  value = qsnap_stream_u64 (data);
  if (value == QSNAP_STREAM_RAM_EOS)
    parser->step = step_footer;
  else if (value != QSNAP_STREAM_RAM_MULTIFD_FLUSH)
    return qsnap_stream_refuse (
        parser, error, "0x%" G_GINT64_MODIFIER "x where the list of RAM blocks ends", value);
  /* Those that matter are few; a stream full of them must not fill the memory. */
  if (parser->collected->len > 4 * QSNAP_STREAM_MAX_PREFIX)
    return qsnap_stream_corrupt (parser, error, "the list of RAM blocks does not end");
  g_byte_array_append (parser->collected, data, 8);
  return 8;
}

static gssize
refuse_record (QsnapStreamParser *parser, guint flags, GError **error)
{
  static const struct
  {
    guint flag;
    const char *name;
  } known[] = {
    { QSNAP_STREAM_RAM_XBZRLE, "XBZRLE" },
    { QSNAP_STREAM_RAM_HOOK, "RDMA" },
    { QSNAP_STREAM_RAM_COMPRESSED, "compression" },
    { QSNAP_STREAM_RAM_MULTIFD_FLUSH, "multifd" },
    { QSNAP_STREAM_RAM_MEM_SIZE, "a change of the RAM's size" },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (known); i++)
    if (flags & known[i].flag)
      return qsnap_stream_refuse (parser, error, "%s (RAM record 0x%03x)", known[i].name, flags);
  return qsnap_stream_corrupt (parser, error, "unknown RAM record 0x%03x", flags);
}

/* Finds the block of a record's name, which begins with its length. */
static gssize
find_block (QsnapStreamParser *parser, const guint8 *data, GError **error)
{
  char name[256];
  gpointer index;

  memcpy (name, data + 1, data[0]);
  name[data[0]] = '\0';
  if (memchr (name, '\0', data[0]) != NULL ||
      !g_hash_table_lookup_extended (parser->indices, name, NULL, &index))
    /* In a stream that is out of step the name is the guest's memory, so it is not shown. */
    return qsnap_stream_corrupt (parser, error,
                                 "a page of a RAM block that is none of those in its list");
  return GPOINTER_TO_UINT (index);
}

/* @head is the record without its page or fill byte. */
static gssize
take_page (QsnapStreamParser *parser,
           const guint8 *data,
           gsize head,
           guint64 offset,
           gboolean zero,
           GError **error)
{
  const QsnapStreamBlock *block =
      &g_array_index (parser->blocks, QsnapStreamBlock, parser->last_block);

  if (offset >= block->length)
    return qsnap_stream_corrupt (parser, error,
                                 "page 0x%" G_GINT64_MODIFIER "x is outside of the RAM block “%s”",
                                 offset, block->name);
  if (zero && data[head] != 0)
    return qsnap_stream_refuse (parser, error, "a page filled with 0x%02x", data[head]);
  parser->pages++;
  if (parser->callbacks.page != NULL &&
      !parser->callbacks.page (parser->last_block, offset, zero ? NULL : data + head,
                               parser->user_data, error))
    return -1;
  return (gssize)head + (zero ? 1 : (gssize)QSNAP_PAGE_SIZE);
}

static gssize
step_page (QsnapStreamParser *parser, const guint8 *data, gsize len, guint64 value, GError **error)
{
  gboolean zero = (value & QSNAP_STREAM_RAM_ZERO) != 0;
  gsize head = 8;
  gssize index;

  if (!(value & QSNAP_STREAM_RAM_CONTINUE))
    {
      if (!qsnap_stream_has (parser, len, 9))
        return 0;
      head = 9 + data[8];
    }
  if (!qsnap_stream_has (parser, len, head + (zero ? 1 : QSNAP_PAGE_SIZE)))
    return 0;
  if (head > 8)
    {
      index = find_block (parser, data + 8, error);
      if (index < 0)
        return -1;
      parser->last_block = (guint)index;
    }
  if (parser->last_block == G_MAXUINT)
    return qsnap_stream_corrupt (parser, error, "the first page names no RAM block");
  return take_page (parser, data, head, value & ~(guint64)QSNAP_STREAM_RAM_FLAGS, zero, error);
}

static gssize
step_record (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  guint64 value;
  guint flags;

  if (!qsnap_stream_has (parser, len, 8))
    return 0;
  value = qsnap_stream_u64 (data);
  flags = value & QSNAP_STREAM_RAM_FLAGS;
  switch (flags & ~(guint)QSNAP_STREAM_RAM_CONTINUE)
    {
    case QSNAP_STREAM_RAM_ZERO:
    case QSNAP_STREAM_RAM_PAGE:
      return step_page (parser, data, len, value, error);

    case QSNAP_STREAM_RAM_EOS:
      if (value != QSNAP_STREAM_RAM_EOS)
        break;
      parser->step = step_footer;
      return 8;

    case QSNAP_STREAM_RAM_MULTIFD_FLUSH:
      if (value != QSNAP_STREAM_RAM_MULTIFD_FLUSH)
        break;
      return 8;

    default:
      break;
    }
  return refuse_record (parser, flags, error);
}

static gssize
begin_part (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  if (!qsnap_stream_has (parser, len, 5))
    return 0;
  if (qsnap_stream_u32 (data + 1) != parser->section_id || parser->ending)
    return qsnap_stream_corrupt (parser, error, "section %u goes on, which is not RAM's",
                                 qsnap_stream_u32 (data + 1));
  parser->ending = data[0] == QSNAP_STREAM_SECTION_END;
  parser->step = step_record;
  return 5;
}

static gssize
skip_command (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  guint command;

  if (!qsnap_stream_has (parser, len, 5))
    return 0;
  command = qsnap_stream_u16 (data + 1);
  /* Tells VFIO devices, of which there is none, that nothing iterates any more. */
  if (command == QSNAP_STREAM_COMMAND_SWITCHOVER_START && qsnap_stream_u16 (data + 3) == 0)
    return 5;
  return qsnap_stream_refuse (parser, error, "the command %u", command);
}

static gssize
step_section (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  switch (data[0])
    {
    case QSNAP_STREAM_SECTION_PART:
    case QSNAP_STREAM_SECTION_END:
      return begin_part (parser, data, len, error);

    case QSNAP_STREAM_SECTION_START:
      return qsnap_stream_refuse_section (parser, data, len, error);

    case QSNAP_STREAM_COMMAND:
      return skip_command (parser, data, len, error);

    case QSNAP_STREAM_SECTION_FULL:
    case QSNAP_STREAM_EOF:
      parser->device_offset = parser->consumed;
      g_byte_array_set_size (parser->collected, 0);
      parser->step = step_device_state;
      return step_device_state (parser, data, len, error);

    default:
      return qsnap_stream_corrupt (parser, error, "0x%02x is no section", data[0]);
    }
}

/* The item that began in earlier bytes gets as many of the new ones as it needs. */
static gboolean
resume_pending (QsnapStreamParser *parser, const guint8 **data, gsize *len, GError **error)
{
  gsize take = MIN (*len, parser->need - parser->pending->len);

  g_byte_array_append (parser->pending, *data, (guint)take);
  *data += take;
  *len -= take;
  if (parser->pending->len < parser->need)
    return TRUE;
  while (parser->pending->len > 0)
    {
      gssize n = parser->step (parser, parser->pending->data, parser->pending->len, error);

      if (n <= 0)
        return n == 0;
      parser->consumed += n;
      g_byte_array_remove_range (parser->pending, 0, (guint)n);
    }
  return TRUE;
}

static gboolean
push_some (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  while (len > 0)
    {
      gssize n;

      if (parser->pending->len > 0)
        {
          if (!resume_pending (parser, &data, &len, error))
            return FALSE;
          continue;
        }
      n = parser->step (parser, data, len, error);
      if (n < 0)
        return FALSE;
      if (n == 0)
        {
          g_assert (parser->need > len);
          n = (gssize)len;
          g_byte_array_append (parser->pending, data, (guint)len);
        }
      else
        parser->consumed += n;
      data += n;
      len -= n;
    }
  return TRUE;
}

gboolean
qsnap_stream_parser_push (QsnapStreamParser *parser, const void *data, gsize len, GError **error)
{
  if (parser->failure == NULL)
    {
      parser->bytes += len;
      push_some (parser, data, len, &parser->failure);
    }
  if (parser->failure == NULL)
    return TRUE;
  g_propagate_error (error, g_error_copy (parser->failure));
  return FALSE;
}

/* The description is the only thing that tells its length: it must reach to the very end. */
static gboolean
find_description (const guint8 *data, gsize len, gsize *eof_offset)
{
  /* The shortest: EOF, type, length, brace. */
  for (gsize i = 0; i + 7 <= len; i++)
    {
      const guint8 *zero = memchr (data + i, QSNAP_STREAM_EOF, len - 6 - i);

      if (zero == NULL)
        return FALSE;
      i = zero - data;
      if (data[i + 1] == QSNAP_STREAM_VMDESCRIPTION && data[i + 6] == '{' &&
          qsnap_stream_u32 (data + i + 2) == len - i - 6 &&
          (i == 0 || (i >= 5 && data[i - 5] == QSNAP_STREAM_FOOTER)))
        {
          *eof_offset = i;
          return TRUE;
        }
    }
  return FALSE;
}

/* Without a description EOF is the last byte. That it is none in the middle of a device's state is
 * seen by the footer before it, of a section that has begun. */
static gboolean
ends_with_eof (const guint8 *data, gsize len)
{
  guint8 start[5] = { QSNAP_STREAM_SECTION_FULL };

  if (len == 1)
    return data[0] == QSNAP_STREAM_EOF;
  if (len < 6 + sizeof start || data[len - 1] != QSNAP_STREAM_EOF ||
      data[len - 6] != QSNAP_STREAM_FOOTER)
    return FALSE;
  memcpy (start + 1, data + len - 5, 4);
  return memmem (data, len - 6, start, sizeof start) != NULL;
}

static gboolean
finish (QsnapStreamParser *parser, GError **error)
{
  const GByteArray *state = parser->collected;
  gsize eof_offset;

  if (parser->step != step_device_state || state->len == 0)
    {
      qsnap_stream_corrupt (parser, error, "it ends before the device state");
      return FALSE;
    }
  if (!find_description (state->data, state->len, &eof_offset))
    {
      if (!ends_with_eof (state->data, state->len))
        {
          qsnap_stream_corrupt (parser, error, "it ends in the middle of the device state");
          return FALSE;
        }
      eof_offset = state->len - 1;
    }
  return parser->callbacks.device_state == NULL ||
         parser->callbacks.device_state (state->data, state->len, eof_offset, parser->user_data,
                                         error);
}

gboolean
qsnap_stream_parser_finish (QsnapStreamParser *parser, GError **error)
{
  if (parser->failure == NULL)
    finish (parser, &parser->failure);
  if (parser->failure == NULL)
    return TRUE;
  g_propagate_error (error, g_error_copy (parser->failure));
  return FALSE;
}

const char *
qsnap_stream_parser_get_machine (QsnapStreamParser *parser)
{
  return parser->machine;
}

guint32
qsnap_stream_parser_get_ram_section_id (QsnapStreamParser *parser)
{
  return parser->section_id;
}

guint64
qsnap_stream_parser_get_pages (QsnapStreamParser *parser)
{
  return parser->pages;
}

gboolean
qsnap_stream_parser_has_ram_end (QsnapStreamParser *parser)
{
  return parser->ending;
}

guint64
qsnap_stream_parser_get_bytes (QsnapStreamParser *parser)
{
  return parser->bytes;
}

guint64
qsnap_stream_parser_get_device_offset (QsnapStreamParser *parser)
{
  return parser->device_offset;
}

static void
clear_block (gpointer block)
{
  g_free (((QsnapStreamBlock *)block)->name);
}

QsnapStreamParser *
qsnap_stream_parser_new (const QsnapStreamCallbacks *callbacks, gpointer user_data)
{
  QsnapStreamParser *parser = g_new0 (QsnapStreamParser, 1);

  parser->callbacks = *callbacks;
  parser->user_data = user_data;
  parser->step = qsnap_stream_step_header;
  parser->pending = g_byte_array_new ();
  parser->collected = g_byte_array_new ();
  parser->blocks = g_array_new (FALSE, FALSE, sizeof (QsnapStreamBlock));
  g_array_set_clear_func (parser->blocks, clear_block);
  parser->indices = g_hash_table_new (g_str_hash, g_str_equal);
  parser->last_block = G_MAXUINT;
  return parser;
}

void
qsnap_stream_parser_free (QsnapStreamParser *parser)
{
  g_hash_table_unref (parser->indices);
  g_array_unref (parser->blocks);
  g_byte_array_unref (parser->collected);
  g_byte_array_unref (parser->pending);
  g_free (parser->machine);
  g_clear_error (&parser->failure);
  g_free (parser);
}
