/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stream up to the blocks of RAM: header, configuration, early device state, and the start
 * section of ram. */

#include "config.h"

#include "memory/qsnap-stream-parser-private.h"

#include <string.h>

#include "qsnap/qsnap-error.h"

/* Type, section id, length of the name and "ram", instance, version, total length. */
#define RAM_START_LENGTH (1 + 4 + 1 + 3 + 4 + 4 + 8)

static gssize step_start (QsnapStreamParser *, const guint8 *, gsize, GError **);

static gboolean
collect (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  g_byte_array_append (parser->collected, data, (guint)len);
  /* Less than where a search gives up, which needs room to begin. */
  if (parser->collected->len > QSNAP_STREAM_MAX_PREFIX)
    {
      qsnap_stream_corrupt (parser, error, "no RAM within %u bytes", QSNAP_STREAM_MAX_PREFIX);
      return FALSE;
    }
  return TRUE;
}

static gssize
add_block (QsnapStreamParser *parser, const guint8 *name, gsize len, guint64 length, GError **error)
{
  QsnapStreamBlock block = { NULL, length };
  g_autofree char *printable = qsnap_stream_printable (name, len);

  if (!qsnap_stream_name_is_valid ((const char *)name, len))
    return qsnap_stream_corrupt (parser, error, "the RAM block “%s” has no valid name", printable);
  if (parser->blocks->len == QSNAP_STREAM_MAX_BLOCKS)
    return qsnap_stream_refuse (parser, error, "more than %u RAM blocks", QSNAP_STREAM_MAX_BLOCKS);
  if (length == 0 || length % QSNAP_PAGE_SIZE != 0 || length > parser->unannounced)
    return qsnap_stream_corrupt (parser, error,
                                 "the RAM block “%s” cannot have %" G_GUINT64_FORMAT
                                 " of the %" G_GUINT64_FORMAT " bytes that are left",
                                 printable, length, parser->unannounced);
  block.name = g_strndup ((const char *)name, len);
  g_array_append_val (parser->blocks, block);
  if (!g_hash_table_insert (parser->indices, block.name,
                            GUINT_TO_POINTER (parser->blocks->len - 1)))
    return qsnap_stream_corrupt (parser, error, "two RAM blocks “%s”", printable);
  parser->unannounced -= length;
  return 0;
}

static gssize
step_blocks (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  gsize name_len, whole;

  name_len = data[0];
  whole = 1 + name_len + 8;
  if (!qsnap_stream_has (parser, len, whole))
    return 0;
  if (add_block (parser, data + 1, name_len, qsnap_stream_u64 (data + 1 + name_len), error) < 0)
    return -1;
  g_byte_array_append (parser->collected, data, (guint)whole);
  if (parser->unannounced == 0)
    parser->step = qsnap_stream_step_setup_end;
  return (gssize)whole;
}

/* @data is the beginning of ram's start section, RAM_START_LENGTH bytes. */
static gboolean
begin_ram (QsnapStreamParser *parser, const guint8 *data, GError **error)
{
  guint64 total = qsnap_stream_u64 (data + 17);

  if (qsnap_stream_u32 (data + 9) != 0 || qsnap_stream_u32 (data + 13) != QSNAP_STREAM_RAM_VERSION)
    {
      qsnap_stream_refuse (parser, error, "the ram section's instance %u and version %u",
                           qsnap_stream_u32 (data + 9), qsnap_stream_u32 (data + 13));
      return FALSE;
    }
  if ((total & QSNAP_STREAM_RAM_FLAGS) != QSNAP_STREAM_RAM_MEM_SIZE || total >> 63 != 0 ||
      total <= QSNAP_STREAM_RAM_MEM_SIZE)
    {
      qsnap_stream_corrupt (parser, error, "0x%" G_GINT64_MODIFIER "x is no length of RAM", total);
      return FALSE;
    }
  if (parser->callbacks.prefix != NULL &&
      !parser->callbacks.prefix (parser->collected->data, parser->collected->len, parser->user_data,
                                 error))
    return FALSE;

  parser->section_id = qsnap_stream_u32 (data + 1);
  parser->unannounced = total & ~(guint64)QSNAP_STREAM_RAM_FLAGS;
  g_byte_array_set_size (parser->collected, 0);
  g_byte_array_append (parser->collected, data, RAM_START_LENGTH);
  parser->step = step_blocks;
  return TRUE;
}

static gboolean
looks_like_ram_start (const guint8 *data)
{
  static const guint8 name_instance_version[] = { 3, 'r', 'a', 'm', 0, 0, 0, 0, 0, 0, 0, 4 };

  return data[0] == QSNAP_STREAM_SECTION_START &&
         memcmp (data + 5, name_instance_version, sizeof name_instance_version) == 0 &&
         (qsnap_stream_u64 (data + 17) & QSNAP_STREAM_RAM_FLAGS) == QSNAP_STREAM_RAM_MEM_SIZE;
}

/* Device state in front of RAM (QEMU 9 and later have it for virtio-mem) has no length that could
 * be known here; the start of ram, 25 bytes of which 18 are fixed, is searched in it. */
static gssize
step_search (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  guint old_len = parser->collected->len;
  guint8 start[RAM_START_LENGTH];
  gsize take = MIN (len, 2 * QSNAP_STREAM_MAX_PREFIX - old_len);

  g_byte_array_append (parser->collected, data, (guint)take);
  for (gsize i = parser->search_from; i + RAM_START_LENGTH <= parser->collected->len; i++)
    {
      gsize end = i + RAM_START_LENGTH;

      if (i > QSNAP_STREAM_MAX_PREFIX)
        return qsnap_stream_corrupt (parser, error, "no RAM within %u bytes",
                                     QSNAP_STREAM_MAX_PREFIX);
      parser->search_from = i + 1;
      if (!looks_like_ram_start (parser->collected->data + i))
        continue;
      memcpy (start, parser->collected->data + i, sizeof start);
      g_byte_array_set_size (parser->collected, (guint)i);
      return begin_ram (parser, start, error) ? (gssize)(end - old_len) : -1;
    }
  return (gssize)take;
}

static gssize
begin_search (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  parser->search_from = parser->collected->len;
  parser->step = step_search;
  return step_search (parser, data, len, error);
}

static gboolean
is_name (const guint8 *data, const char *name)
{
  return data[0] == strlen (name) && memcmp (data + 1, name, data[0]) == 0;
}

/* Both answer where what is at @at ends, 0 if it is not whole yet, -1 on an error. Two capabilities
 * change the stream itself. */
static gssize
check_capabilities (
    QsnapStreamParser *parser, const guint8 *data, gsize at, gsize len, GError **error)
{
  guint32 n;

  if (!qsnap_stream_has (parser, len, at + 4))
    return 0;
  n = qsnap_stream_u32 (data + at);
  at += 4;
  if (n > 1024)
    return qsnap_stream_corrupt (parser, error, "%u capabilities", n);
  for (guint32 i = 0; i < n; i++)
    {
      if (!qsnap_stream_has (parser, len, at + 1) ||
          !qsnap_stream_has (parser, len, at + 1 + data[at]))
        return 0;
      if (is_name (data + at, "x-ignore-shared") || is_name (data + at, "mapped-ram"))
        {
          g_autofree char *name = qsnap_stream_printable (data + at + 1, data[at]);

          return qsnap_stream_refuse (parser, error, "the capability “%s”", name);
        }
      at += 1 + data[at];
    }
  return (gssize)at;
}

static gssize
check_subsection (QsnapStreamParser *parser,
                  const char *name,
                  const guint8 *data,
                  gsize at,
                  gsize len,
                  GError **error)
{
  if (g_str_equal (name, "configuration/uuid"))
    return qsnap_stream_has (parser, len, at + 16) ? (gssize)at + 16 : 0;
  if (g_str_equal (name, "configuration/capabilities"))
    return check_capabilities (parser, data, at, len, error);
  if (!qsnap_stream_has (parser, len, at + 4))
    return 0;
  if (qsnap_stream_u32 (data + at) != 12)
    return qsnap_stream_refuse (parser, error, "pages of 2^%u bytes", qsnap_stream_u32 (data + at));
  return (gssize)at + 4;
}

static gssize
step_subsection (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  g_autofree char *name = NULL;
  gsize head;
  gssize end;

  if (data[0] != QSNAP_STREAM_SUBSECTION)
    {
      parser->step = step_start;
      return step_start (parser, data, len, error);
    }
  if (!qsnap_stream_has (parser, len, 2))
    return 0;
  head = 2 + data[1] + 4;
  if (!qsnap_stream_has (parser, len, head))
    return 0;
  name = qsnap_stream_printable (data + 2, data[1]);
  if (!g_str_equal (name, "configuration/uuid") &&
      !g_str_equal (name, "configuration/capabilities") &&
      !g_str_equal (name, "configuration/target-page-bits"))
    return begin_search (parser, data, len, error);

  end = check_subsection (parser, name, data, head, len, error);
  if (end <= 0)
    return end;
  return collect (parser, data, (gsize)end, error) ? end : -1;
}

static gssize
step_start (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  switch (data[0])
    {
    case QSNAP_STREAM_SECTION_START:
      if (!qsnap_stream_has (parser, len, 6))
        return 0;
      if (!qsnap_stream_has (parser, len, 6 + data[5]))
        return 0;
      if (data[5] != 3 || memcmp (data + 6, "ram", 3) != 0)
        return qsnap_stream_refuse_section (parser, data, len, error);
      if (!qsnap_stream_has (parser, len, RAM_START_LENGTH))
        return 0;
      return begin_ram (parser, data, error) ? RAM_START_LENGTH : -1;

    case QSNAP_STREAM_SECTION_FULL:
      return begin_search (parser, data, len, error);

    case QSNAP_STREAM_COMMAND:
      return qsnap_stream_refuse (parser, error, "a command before RAM, as postcopy sends it");

    default:
      return qsnap_stream_corrupt (parser, error, "0x%02x is no section", data[0]);
    }
}

static gssize
step_configuration (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  guint32 name_len;

  /* Machine types before 2.4 have none. */
  if (data[0] != QSNAP_STREAM_CONFIGURATION)
    {
      parser->step = step_start;
      return step_start (parser, data, len, error);
    }
  if (!qsnap_stream_has (parser, len, 5))
    return 0;
  name_len = qsnap_stream_u32 (data + 1);
  if (name_len > 255)
    return qsnap_stream_corrupt (parser, error, "a machine name of %u bytes", name_len);
  if (!qsnap_stream_has (parser, len, 5 + name_len))
    return 0;
  if (!qsnap_stream_name_is_valid ((const char *)data + 5, name_len))
    return qsnap_stream_corrupt (parser, error, "the machine has no valid name");
  parser->machine = g_strndup ((const char *)data + 5, name_len);
  parser->step = step_subsection;
  return collect (parser, data, 5 + name_len, error) ? 5 + (gssize)name_len : -1;
}

gssize
qsnap_stream_step_header (QsnapStreamParser *parser, const guint8 *data, gsize len, GError **error)
{
  if (!qsnap_stream_has (parser, len, 8))
    return 0;
  if (qsnap_stream_u32 (data) != QSNAP_STREAM_MAGIC)
    return qsnap_stream_corrupt (parser, error, "this is no migration stream");
  if (qsnap_stream_u32 (data + 4) != QSNAP_STREAM_VERSION)
    return qsnap_stream_refuse (parser, error, "version %u", qsnap_stream_u32 (data + 4));
  parser->step = step_configuration;
  return collect (parser, data, 8, error) ? 8 : -1;
}

/* ---- for another destination ---- */

static gsize
subsection_length (const guint8 *data, gsize len, const char *name)
{
  gsize head = 2 + data[1] + 4;
  gsize at = head + 4;

  if (g_str_equal (name, "configuration/uuid"))
    return head + 16;
  if (!g_str_equal (name, "configuration/capabilities") || len < at)
    return at;
  for (guint32 n = qsnap_stream_u32 (data + head); n > 0 && at < len; n--)
    at += 1 + data[at];
  return at;
}

/* Only what the parser has accepted gets here, so that only the end has to be watched. */
gboolean
qsnap_stream_copy_configuration (const guint8 *prefix, gsize len, GByteArray *out, GError **error)
{
  gsize at = 8;

  if (len > at + 5 && prefix[at] == QSNAP_STREAM_CONFIGURATION)
    at += 5 + qsnap_stream_u32 (prefix + at + 1);
  g_byte_array_append (out, prefix, (guint)MIN (at, len));
  while (at + 2 < len && prefix[at] == QSNAP_STREAM_SUBSECTION && at + 2 + prefix[at + 1] < len)
    {
      g_autofree char *name = qsnap_stream_printable (prefix + at + 2, prefix[at + 1]);
      gsize whole = subsection_length (prefix + at, len - at, name);

      if (!g_str_has_prefix (name, "configuration/") || whole > len - at)
        break;
      if (!g_str_equal (name, "configuration/capabilities"))
        g_byte_array_append (out, prefix + at, (guint)whole);
      at += whole;
    }
  if (at == len)
    return TRUE;
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "The snapshot has device state that must be loaded before the guest's RAM");
  return FALSE;
}
