/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

#include "memory/qsnap-checksum.h"

G_BEGIN_DECLS

/* What is accepted of a stream; a real guest is far below each of these. */
#define QSNAP_STREAM_MAX_BLOCKS 4096u
#define QSNAP_STREAM_MAX_PREFIX (1u << 20)
#define QSNAP_STREAM_MAX_DEVICE_STATE (256u << 20)

/* Takes QEMU's migration stream apart while it arrives: a background snapshot's, which has no
 * SECTION_END for RAM, and a plain migration's, in which pages come repeatedly and the last one
 * counts. The parser does no I/O and trusts nothing: what it does not know it refuses by name
 * (QSNAP_ERROR_UNSUPPORTED), what cannot be right is QSNAP_ERROR_CORRUPT.
 *
 * Pages that are never sent are legal, a virtio-mem or a balloon device causes them. */
typedef struct _QsnapStreamParser QsnapStreamParser;

typedef struct
{
  char *name;     /* printable ASCII, 1 to 255 bytes, unique */
  guint64 length; /* a multiple of the page size, not 0; the sum over all blocks fits a gint64 */
} QsnapStreamBlock;

/* Called from within push() and finish(), in the order prefix, ram_setup, page..., device_state. A
 * callback that answers FALSE with an error stops the parser for good. NULL ones are skipped. */
typedef struct
{
  /* All before the ram section: header, configuration, early device state. Verbatim. */
  gboolean (*prefix) (const guint8 *data, gsize len, gpointer user_data, GError **error);

  /* The start section of ram, verbatim with its footer, and the blocks it announces. */
  gboolean (*ram_setup) (const QsnapStreamBlock *blocks,
                         guint n_blocks,
                         const guint8 *data,
                         gsize len,
                         gpointer user_data,
                         GError **error);

  /* @data is NULL for a zero page; else it is good for this call only, and not aligned. */
  gboolean (*page) (
      guint block, guint64 offset, const guint8 *data, gpointer user_data, GError **error);

  /* All from the first byte after RAM to the end, verbatim; @eof_offset is where in it the EOF byte
   * stands, that the description in JSON follows, if the machine type has one. From finish(). */
  gboolean (*device_state) (
      const guint8 *data, gsize len, gsize eof_offset, gpointer user_data, GError **error);
} QsnapStreamCallbacks;

QsnapStreamParser *qsnap_stream_parser_new (const QsnapStreamCallbacks *callbacks,
                                            gpointer user_data);
void qsnap_stream_parser_free (QsnapStreamParser *parser);

/* Any number of bytes. After an error every further call fails with the same one. */
gboolean
qsnap_stream_parser_push (QsnapStreamParser *parser, const void *data, gsize len, GError **error);

/* The stream has ended. That it has ended where it may is found out here: a stream that was cut off
 * is QSNAP_ERROR_CORRUPT. One cut right behind its EOF byte is complete: only the description is
 * missing, which some machine types never send. */
gboolean qsnap_stream_parser_finish (QsnapStreamParser *parser, GError **error);

/* NULL before it is known, and for a stream without configuration. */
const char *qsnap_stream_parser_get_machine (QsnapStreamParser *parser);
guint32 qsnap_stream_parser_get_ram_section_id (QsnapStreamParser *parser);
/* Records seen: a page that came twice counts twice. */
guint64 qsnap_stream_parser_get_pages (QsnapStreamParser *parser);
/* Whether RAM had an end section: a plain migration's has one, a background snapshot's has not. */
gboolean qsnap_stream_parser_has_ram_end (QsnapStreamParser *parser);
/* Bytes pushed. */
guint64 qsnap_stream_parser_get_bytes (QsnapStreamParser *parser);
/* Where in the stream the device state begins; 0 while that has not come. */
guint64 qsnap_stream_parser_get_device_offset (QsnapStreamParser *parser);

/* Appends header and configuration, out of what the prefix callback got, to @out, without the list
 * of migration capabilities that were on: it is for the destination of another kind of migration.
 * QSNAP_ERROR_UNSUPPORTED if there is more, the state of devices that comes before RAM. */
gboolean
qsnap_stream_copy_configuration (const guint8 *prefix, gsize len, GByteArray *out, GError **error);

/* Printable ASCII only, not empty. */
gboolean qsnap_stream_name_is_valid (const char *name, gsize len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapStreamParser, qsnap_stream_parser_free)

G_END_DECLS
