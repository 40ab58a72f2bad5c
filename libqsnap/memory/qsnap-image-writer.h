/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "memory/qsnap-image-names.h"
#include "memory/qsnap-stream-parser.h"

G_BEGIN_DECLS

/* Writes the memory part of a snapshot from what the stream parser finds:
 *
 *   ram/NAME        a large RAM block, raw and sparse
 *   ram/NAME.sums   a little-endian u64 a page: its XXH3-64, 0 for a zero page; sparse
 *   ram/NAME.zst    instead of it, if it is to be compressed: see qsnap-pack.h
 *   ram/NAME.zst.sums    as the other one; each checksum is followed by the page's place
 *   state           a valid stream with the small blocks and the devices
 *   memory.json     what there is, written last; its object becomes a part of the manifest:
 *
 *     format          1; 2 if there are compressed blocks
 *     machine         the machine type; not there if the stream does not name it
 *     page-size       4096
 *     checksum        "xxh3-64"
 *     stream          "background-snapshot" or "migration"
 *     stream-bytes    what QEMU sent
 *     pages, zero-pages, absent-pages    over all blocks: with data, all zero, never sent
 *     blocks          in QEMU's order: name, length, pages, zero-pages; one with a file of its own
 *                     also has file, sums, sums-checksum; if it is compressed, compression, which is
 *                     "zstd", and packed-length
 *     state           file, length, device-offset, eof-offset (both from the file's beginning),
 *                     checksum
 *
 * The checksums of whole files are XXH3-128 in hexadecimal. */
typedef struct _QsnapImageWriter QsnapImageWriter;

/* For the parser; the user data is the writer. */
extern const QsnapStreamCallbacks qsnap_image_writer_callbacks;

/* @dir_fd is duplicated. @raw_blocks, which may be NULL, names blocks that get a file of their own
 * whatever their length is, and are never compressed, as others are with @pack; it does not matter
 * if there is no such block. */
QsnapImageWriter *
qsnap_image_writer_new (int dir_fd, const char *const *raw_blocks, gboolean pack, GError **error);
void qsnap_image_writer_free (QsnapImageWriter *writer);

/* When the parser has finished: brings all to stable storage and memory.json into place. */
gboolean
qsnap_image_writer_finish (QsnapImageWriter *writer, QsnapStreamParser *parser, GError **error);

/* What memory.json says; NULL before finish(). */
JsonObject *qsnap_image_writer_get_json (QsnapImageWriter *writer);

/* All RAM; what has come of it, zero pages too (more than the total, if pages come twice); and what
 * was written to files. */
guint64 qsnap_image_writer_get_bytes_total (QsnapImageWriter *writer);
guint64 qsnap_image_writer_get_bytes_done (QsnapImageWriter *writer);
guint64 qsnap_image_writer_get_bytes_written (QsnapImageWriter *writer);

/* Replaces memory.json. */
gboolean qsnap_image_write_json (int dir_fd, JsonObject *json, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapImageWriter, qsnap_image_writer_free)

G_END_DECLS
