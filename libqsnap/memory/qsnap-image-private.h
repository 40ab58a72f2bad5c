/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "memory/qsnap-image.h"
#include "memory/qsnap-pack.h"
#include "memory/qsnap-stream-parser.h"

G_BEGIN_DECLS

typedef struct
{
  char *name;
  guint64 length;
  guint64 n_data;
  guint64 n_zero;
  char *path; /* this and the next two are NULL for a small block */
  char *sums_path;
  char *sums_checksum;
  gboolean packed;
  guint64 file_length;
  int fd; /* -1 until needed */
  int sums_fd;
  guint8 *memory; /* a small block, once loaded: a QsnapBuffer */
} QsnapImageBlock;

struct _QsnapImage
{
  int dir_fd;
  int ram_fd;
  int state_fd;
  char *machine;
  GArray *blocks; /* QsnapImageBlock */
  guint64 bytes;
  guint64 state_length;
  guint64 device_offset;
  guint64 eof_offset;
  char *state_checksum;
  QsnapUnpacker *unpacker; /* NULL until needed */
};

static inline QsnapImageBlock *
qsnap_image_block (QsnapImage *image, guint index)
{
  return &g_array_index (image->blocks, QsnapImageBlock, index);
}

/* The file of checksums has for each page one, and behind it, if it is compressed, its place. */
static inline guint
qsnap_image_sums_width (const QsnapImageBlock *block)
{
  return block->packed ? 2 : 1;
}

static inline guint64
qsnap_image_sums_length (const QsnapImageBlock *block)
{
  return block->length / QSNAP_PAGE_SIZE * sizeof (guint64) * qsnap_image_sums_width (block);
}

/* Sets QSNAP_ERROR_CORRUPT and answers FALSE. */
gboolean qsnap_image_corrupt (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* Both open what is not open yet, and check it. */
gboolean qsnap_image_open_state (QsnapImage *image, GError **error);
gboolean qsnap_image_open_block (QsnapImage *image, QsnapImageBlock *block, GError **error);

/* Where things are in the state. */
typedef struct
{
  guint32 section_id;    /* of ram */
  guint64 prefix_length; /* all before ram's start section */
} QsnapStateLayout;

/* Reads the whole state, compares it with its checksum and with what the manifest says. @page,
 * which may be NULL as well as @layout, is called for the pages of the small blocks. */
gboolean
qsnap_image_scan_state (QsnapImage *image,
                        gboolean (*page) (guint, guint64, const guint8 *, gpointer, GError **),
                        gpointer user_data,
                        QsnapStateLayout *layout,
                        GCancellable *cancellable,
                        GError **error);

/* Reads the pages of a block with a file in their order, comparing all with their checksums. @func
 * gets pieces of any number of pages, with NULL for a hole; it may be NULL. */
typedef gboolean (*QsnapImagePieceFunc) (QsnapImageBlock *block,
                                         guint64 offset,
                                         guint64 len,
                                         const guint8 *data,
                                         gpointer user_data,
                                         GError **error);

gboolean qsnap_image_scan_block (QsnapImage *image,
                                 QsnapImageBlock *block,
                                 QsnapImagePieceFunc func,
                                 gpointer user_data,
                                 GCancellable *cancellable,
                                 GError **error);

/* Whole pages of a block with a file, compared with their checksums; no more than a piece. */
#define QSNAP_IMAGE_PIECE (1u << 20)

gboolean qsnap_image_read_pages (QsnapImage *image,
                                 QsnapImageBlock *block,
                                 guint64 offset,
                                 guint8 *buffer,
                                 gsize len,
                                 guint64 *n_data,
                                 GError **error);

G_END_DECLS
