/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "memory/qsnap-image-names.h"

G_BEGIN_DECLS

/* The memory part of a snapshot, read back. Neither the files nor what the manifest says of them is
 * trusted: what does not fit is QSNAP_ERROR_CORRUPT. One thread at a time. */
typedef struct _QsnapImage QsnapImage;

/* What an interrupted capture, of which there is no manifest yet, has in memory.json. */
JsonObject *qsnap_image_load_json (int dir_fd, GError **error);

/* @memory is what qsnap_image_writer_get_json() gave. Only it is looked at, no file. @dir_fd is
 * duplicated. */
QsnapImage *qsnap_image_new (int dir_fd, JsonObject *memory, GError **error);
void qsnap_image_free (QsnapImage *image);

/* NULL if the stream did not name it. */
const char *qsnap_image_get_machine (QsnapImage *image);
guint qsnap_image_get_n_blocks (QsnapImage *image);
const char *qsnap_image_get_block_name (QsnapImage *image, guint block);
guint64 qsnap_image_get_block_length (QsnapImage *image, guint block);
/* Whether the pages of any block are compressed: then its file is nothing that could be mapped. */
gboolean qsnap_image_is_packed (QsnapImage *image);
/* Relative to the snapshot's folder; NULL for a block whose pages are in the state. */
const char *qsnap_image_get_block_file (QsnapImage *image, guint block);
/* G_MAXUINT if there is none. */
guint qsnap_image_find_block (QsnapImage *image, const char *name);
/* All RAM. */
guint64 qsnap_image_get_bytes (QsnapImage *image);

/* That the files are there, regular, ours, and of the right length: takes no time. */
gboolean qsnap_image_check (QsnapImage *image, GError **error);

/* Reads all and compares every checksum. The error names the block, the file and the offset. */
gboolean qsnap_image_verify (QsnapImage *image, GCancellable *cancellable, GError **error);

/* Any part of a block; the pages are compared with their checksums. The first access to a block
 * that has no file of its own loads all of those. */
gboolean qsnap_image_read (
    QsnapImage *image, guint block, guint64 offset, gpointer buffer, gsize len, GError **error);

/* Moves *@offset on to the first page that may have data, at most to @end. The pages before it are
 * zero, and not read. */
gboolean qsnap_image_skip_zeros (
    QsnapImage *image, guint block, guint64 *offset, guint64 end, GError **error);

/* A part of a block is about to be read: begins to bring it into the cache. */
void qsnap_image_will_need (QsnapImage *image, guint block, guint64 offset, guint64 len);

/* Writes the plain migration stream that any QEMU loads to @fd, whatever that is, blocking or not.
 * Checksums are compared on the way; a stream that fails in the middle is one that QEMU refuses. */
gboolean qsnap_image_export (QsnapImage *image, int fd, GCancellable *cancellable, GError **error);

/* The same for a QEMU that has some blocks already, as it maps their files: no page of a block that
 * is @left_out (one flag for each block) is in the stream. Only blocks with a file can be. */
gboolean qsnap_image_export_without (
    QsnapImage *image, const gboolean *left_out, int fd, GCancellable *cancellable, GError **error);

/* Gives the block @block, which must have a file of its own, the first @source_length bytes of
 * @source_fd and zeros behind them; brings files, checksums, memory.json and @memory up to date. */
gboolean qsnap_image_replace_block (int dir_fd,
                                    JsonObject *memory,
                                    const char *block,
                                    int source_fd,
                                    guint64 source_length,
                                    GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapImage, qsnap_image_free)

G_END_DECLS
