/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "memory/qsnap-stream-parser.h"
#include "memory/qsnap-stream-format.h"

G_BEGIN_DECLS

/* Looks at the first item of @data. Answers how many bytes it took, or 0 if the item is not whole
 * yet: then parser->need is how many bytes are needed at least to get on. -1 is an error. A state
 * may take nothing and hand over to the next one's function. */
typedef gssize (*QsnapStreamStep) (QsnapStreamParser *parser,
                                   const guint8 *data,
                                   gsize len,
                                   GError **error);

struct _QsnapStreamParser
{
  QsnapStreamCallbacks callbacks;
  gpointer user_data;

  QsnapStreamStep step; /* the state */
  gsize need;
  GByteArray *pending;   /* the beginning of an item whose end has not been pushed yet */
  GByteArray *collected; /* what the next callback gets verbatim: prefix, setup, device state */
  gsize search_from;     /* in collected */

  char *machine;
  guint32 section_id;
  guint64 unannounced; /* bytes of RAM whose block has not been named yet */
  GArray *blocks;      /* QsnapStreamBlock */
  GHashTable *indices; /* name, owned by blocks, to index */

  guint last_block; /* for CONTINUE, which holds across sections; G_MAXUINT at first */
  gboolean setup_done;
  gboolean ending; /* in RAM's end section, or behind it */

  guint64 bytes;    /* pushed */
  guint64 consumed; /* where the current item begins */
  guint64 pages;
  guint64 device_offset;
  GError *failure; /* each later call repeats it */
};

/* Both answer -1. */
gssize qsnap_stream_corrupt (QsnapStreamParser *parser, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
gssize qsnap_stream_refuse (QsnapStreamParser *parser, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* A name out of the stream, fit for a message. */
char *qsnap_stream_printable (const guint8 *name, gsize len);

static inline gboolean
qsnap_stream_has (QsnapStreamParser *parser, gsize len, gsize need)
{
  parser->need = need;
  return len >= need;
}

static inline guint16
qsnap_stream_u16 (const guint8 *p)
{
  return (guint16)(p[0] << 8 | p[1]);
}

static inline guint32
qsnap_stream_u32 (const guint8 *p)
{
  return (guint32)qsnap_stream_u16 (p) << 16 | qsnap_stream_u16 (p + 2);
}

static inline guint64
qsnap_stream_u64 (const guint8 *p)
{
  return (guint64)qsnap_stream_u32 (p) << 32 | qsnap_stream_u32 (p + 4);
}

/* The states at which one file hands over to the other. */
gssize qsnap_stream_step_header (QsnapStreamParser *, const guint8 *, gsize, GError **);
gssize qsnap_stream_step_setup_end (QsnapStreamParser *, const guint8 *, gsize, GError **);
gssize qsnap_stream_refuse_section (QsnapStreamParser *, const guint8 *, gsize, GError **);

G_END_DECLS
