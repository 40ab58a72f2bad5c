/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "stream-builder.h"

#include <string.h>

StreamBuilder *
stream_builder_new (void)
{
  StreamBuilder *builder = g_new0 (StreamBuilder, 1);

  builder->bytes = g_byte_array_new ();
  builder->section_id = STREAM_SECTION;
  return builder;
}

void
stream_builder_free (StreamBuilder *builder)
{
  g_byte_array_unref (builder->bytes);
  g_free (builder);
}

void
stream_builder_raw (StreamBuilder *builder, const void *data, gsize len)
{
  g_byte_array_append (builder->bytes, data, (guint)len);
}

void
stream_builder_u8 (StreamBuilder *builder, guint value)
{
  guint8 byte = (guint8)value;

  stream_builder_raw (builder, &byte, 1);
}

void
stream_builder_u16 (StreamBuilder *builder, guint value)
{
  stream_builder_u8 (builder, value >> 8);
  stream_builder_u8 (builder, value);
}

void
stream_builder_u32 (StreamBuilder *builder, guint32 value)
{
  stream_builder_u16 (builder, value >> 16);
  stream_builder_u16 (builder, value);
}

void
stream_builder_u64 (StreamBuilder *builder, guint64 value)
{
  stream_builder_u32 (builder, (guint32)(value >> 32));
  stream_builder_u32 (builder, (guint32)value);
}

void
stream_builder_name (StreamBuilder *builder, const char *name)
{
  stream_builder_u8 (builder, (guint)strlen (name));
  stream_builder_raw (builder, name, strlen (name));
}

void
stream_builder_head (StreamBuilder *builder, const char *machine)
{
  stream_builder_u32 (builder, 0x5145564d);
  stream_builder_u32 (builder, 3);
  if (machine == NULL)
    return;
  stream_builder_u8 (builder, 0x07);
  stream_builder_u32 (builder, (guint32)strlen (machine));
  stream_builder_raw (builder, machine, strlen (machine));
}

void
stream_builder_subsection (StreamBuilder *builder, const char *name, const void *body, gsize len)
{
  stream_builder_u8 (builder, 0x05);
  stream_builder_name (builder, name);
  stream_builder_u32 (builder, 1);
  stream_builder_raw (builder, body, len);
}

void
stream_builder_ram_head (StreamBuilder *builder, guint64 total)
{
  stream_builder_u8 (builder, 0x01);
  stream_builder_u32 (builder, builder->section_id);
  stream_builder_name (builder, "ram");
  stream_builder_u32 (builder, 0);
  stream_builder_u32 (builder, 4);
  stream_builder_u64 (builder, total | 0x04);
}

void
stream_builder_block (StreamBuilder *builder, const char *name, guint64 length)
{
  stream_builder_name (builder, name);
  stream_builder_u64 (builder, length);
}

void
stream_builder_ram_tail (StreamBuilder *builder)
{
  stream_builder_end_part (builder);
}

void
stream_builder_part (StreamBuilder *builder)
{
  stream_builder_u8 (builder, 0x02);
  stream_builder_u32 (builder, builder->section_id);
}

void
stream_builder_last_part (StreamBuilder *builder)
{
  stream_builder_u8 (builder, 0x03);
  stream_builder_u32 (builder, builder->section_id);
}

void
stream_builder_page (StreamBuilder *builder, const char *block, guint64 offset, guint32 seed)
{
  guint8 page[STREAM_PAGE];

  stream_builder_u64 (builder, offset | (block == NULL ? 0x20 : 0) | (seed == 0 ? 0x02 : 0x08));
  if (block != NULL)
    stream_builder_name (builder, block);
  if (seed == 0)
    {
      stream_builder_u8 (builder, 0);
      return;
    }
  stream_builder_fill (page, seed);
  stream_builder_raw (builder, page, sizeof page);
}

void
stream_builder_end_part (StreamBuilder *builder)
{
  stream_builder_u64 (builder, 0x10);
  stream_builder_u8 (builder, 0x7e);
  stream_builder_u32 (builder, builder->section_id);
}

void
stream_builder_device (StreamBuilder *builder, guint32 id, const char *name, gsize len)
{
  stream_builder_u8 (builder, 0x04);
  stream_builder_u32 (builder, id);
  stream_builder_name (builder, name);
  stream_builder_u32 (builder, 0);
  stream_builder_u32 (builder, 1);
  /* With what looks like sections, footers and the end in it. */
  for (gsize i = 0; i < len; i++)
    stream_builder_u8 (builder, "\x00\x06\x00\x04\x00\x7e\x00\x02\x00\x00"[i % 10]);
  stream_builder_u8 (builder, 0x7e);
  stream_builder_u32 (builder, id);
}

void
stream_builder_end (StreamBuilder *builder, const char *description)
{
  stream_builder_u8 (builder, 0x00);
  if (description == NULL)
    return;
  stream_builder_u8 (builder, 0x06);
  stream_builder_u32 (builder, (guint32)strlen (description));
  stream_builder_raw (builder, description, strlen (description));
}

void
stream_builder_fill (guint8 *page, guint32 seed)
{
  guint64 state = seed * G_GUINT64_CONSTANT (0x9e3779b97f4a7c15);

  for (gsize i = 0; i < STREAM_PAGE; i += sizeof state)
    {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      memcpy (page + i, &state, sizeof state);
    }
}
