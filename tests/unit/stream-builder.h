/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Makes migration streams for tests, good and bad ones, piece by piece. */
typedef struct
{
  GByteArray *bytes;
  guint32 section_id;
} StreamBuilder;

#define STREAM_PAGE 4096u
#define STREAM_SECTION 2u

StreamBuilder *stream_builder_new (void);
void stream_builder_free (StreamBuilder *builder);

void stream_builder_u8 (StreamBuilder *builder, guint value);
void stream_builder_u16 (StreamBuilder *builder, guint value);
void stream_builder_u32 (StreamBuilder *builder, guint32 value);
void stream_builder_u64 (StreamBuilder *builder, guint64 value);
void stream_builder_raw (StreamBuilder *builder, const void *data, gsize len);
/* A byte for the length, and the name. */
void stream_builder_name (StreamBuilder *builder, const char *name);

/* Header and configuration; no configuration if @machine is NULL. */
void stream_builder_head (StreamBuilder *builder, const char *machine);
void
stream_builder_subsection (StreamBuilder *builder, const char *name, const void *body, gsize len);

/* "ram" up to its length; the whole start section; its end. */
void stream_builder_ram_head (StreamBuilder *builder, guint64 total);
void stream_builder_block (StreamBuilder *builder, const char *name, guint64 length);
void stream_builder_ram_tail (StreamBuilder *builder);

void stream_builder_part (StreamBuilder *builder);
void stream_builder_last_part (StreamBuilder *builder);
/* @block is NULL for the one before; @seed is 0 for a zero page. */
void stream_builder_page (StreamBuilder *builder, const char *block, guint64 offset, guint32 seed);
void stream_builder_end_part (StreamBuilder *builder);

/* A device's section with @len bytes; the end with or without a description. */
void stream_builder_device (StreamBuilder *builder, guint32 id, const char *name, gsize len);
void stream_builder_end (StreamBuilder *builder, const char *description);

/* The content of a page with that seed, which is not 0. */
void stream_builder_fill (guint8 *page, guint32 seed);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (StreamBuilder, stream_builder_free)

G_END_DECLS
