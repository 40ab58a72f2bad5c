/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading the image: everything that leaves this file has been compared with its checksum. */

#include "config.h"

#include "memory/qsnap-image-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "memory/qsnap-buffer.h"
#include "memory/qsnap-io.h"
#include "qsnap/qsnap-error.h"

#define SUMS_PIECE (QSNAP_IMAGE_PIECE / QSNAP_PAGE_SIZE)

/* ---- the state ---- */

typedef struct
{
  QsnapImage *image;
  gboolean (*page) (guint, guint64, const guint8 *, gpointer, GError **);
  gpointer user_data;
  guint64 *n_data; /* by block */
  guint64 *n_pages;
  gsize eof_offset;
  guint64 prefix_length;
} StateScan;

static gboolean
on_prefix (const guint8 *data, gsize len, gpointer user_data, GError **error)
{
  StateScan *scan = user_data;

  scan->prefix_length = len;
  return TRUE;
}

static gboolean
on_ram_setup (const QsnapStreamBlock *blocks,
              guint n_blocks,
              const guint8 *data,
              gsize len,
              gpointer user_data,
              GError **error)
{
  StateScan *scan = user_data;

  if (n_blocks != scan->image->blocks->len)
    return qsnap_image_corrupt (error, "its state has %u RAM blocks, its description %u", n_blocks,
                                scan->image->blocks->len);
  for (guint i = 0; i < n_blocks; i++)
    {
      QsnapImageBlock *block = qsnap_image_block (scan->image, i);

      if (strcmp (block->name, blocks[i].name) != 0 || block->length != blocks[i].length)
        return qsnap_image_corrupt (error,
                                    "its state and its description have different RAM "
                                    "blocks “%s” and “%s”",
                                    blocks[i].name, block->name);
    }
  return TRUE;
}

static gboolean
on_page (guint index, guint64 offset, const guint8 *data, gpointer user_data, GError **error)
{
  StateScan *scan = user_data;

  scan->n_pages[index]++;
  if (data != NULL)
    scan->n_data[index]++;
  return scan->page == NULL || scan->page (index, offset, data, scan->user_data, error);
}

static gboolean
on_device_state (
    const guint8 *data, gsize len, gsize eof_offset, gpointer user_data, GError **error)
{
  StateScan *scan = user_data;

  scan->eof_offset = eof_offset;
  return TRUE;
}

static gboolean
feed_state (QsnapImage *image, QsnapStreamParser *parser, GCancellable *cancellable, GError **error)
{
  g_autoptr (QsnapDigest) digest = qsnap_digest_new ();
  g_autoptr (QsnapBuffer) buffer = qsnap_buffer_new (QSNAP_IMAGE_PIECE);
  g_autofree char *checksum = NULL;
  g_autoptr (GError) parse_error = NULL;

  for (guint64 at = 0; at < image->state_length; at += QSNAP_IMAGE_PIECE)
    {
      gsize len = MIN (QSNAP_IMAGE_PIECE, image->state_length - at);

      if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
          !qsnap_io_pread (image->state_fd, buffer, len, at, QSNAP_IMAGE_STATE, error))
        return FALSE;
      qsnap_digest_update (digest, buffer, len);
      if (parse_error == NULL)
        qsnap_stream_parser_push (parser, buffer, len, &parse_error);
    }
  checksum = qsnap_digest_get_string (digest);
  /* Why the parser dislikes it is the less clear message. */
  if (strcmp (checksum, image->state_checksum) != 0)
    return qsnap_image_corrupt (error, "the file “%s” does not match its checksum",
                                QSNAP_IMAGE_STATE);
  if (parse_error != NULL)
    {
      g_propagate_error (error, g_steal_pointer (&parse_error));
      return FALSE;
    }
  return qsnap_stream_parser_finish (parser, error);
}

/* A description that was changed may fit its own checksums. */
static gboolean
compare_state (QsnapImage *image, QsnapStreamParser *parser, StateScan *scan, GError **error)
{
  if (g_strcmp0 (qsnap_stream_parser_get_machine (parser), image->machine) != 0)
    return qsnap_image_corrupt (error, "its state and its description name different machines");
  if (qsnap_stream_parser_get_device_offset (parser) != image->device_offset ||
      image->device_offset + scan->eof_offset != image->eof_offset)
    return qsnap_image_corrupt (error, "its device state is not where its description says");
  for (guint i = 0; i < image->blocks->len; i++)
    {
      QsnapImageBlock *block = qsnap_image_block (image, i);
      guint64 n_pages = block->path == NULL ? block->length / QSNAP_PAGE_SIZE : 0;
      guint64 n_data = block->path == NULL ? block->n_data : 0;

      if (scan->n_pages[i] != n_pages || scan->n_data[i] != n_data)
        return qsnap_image_corrupt (error,
                                    "its state has %" G_GUINT64_FORMAT
                                    " pages of the RAM block “%s”, %" G_GUINT64_FORMAT " with data",
                                    scan->n_pages[i], block->name, scan->n_data[i]);
    }
  return TRUE;
}

gboolean
qsnap_image_scan_state (QsnapImage *image,
                        gboolean (*page) (guint, guint64, const guint8 *, gpointer, GError **),
                        gpointer user_data,
                        QsnapStateLayout *layout,
                        GCancellable *cancellable,
                        GError **error)
{
  static const QsnapStreamCallbacks callbacks = { on_prefix, on_ram_setup, on_page,
                                                  on_device_state };
  g_autofree guint64 *n_data = g_new0 (guint64, image->blocks->len);
  g_autofree guint64 *n_pages = g_new0 (guint64, image->blocks->len);
  StateScan scan = { image, page, user_data, n_data, n_pages, 0, 0 };
  g_autoptr (QsnapStreamParser) parser = qsnap_stream_parser_new (&callbacks, &scan);

  if (!qsnap_image_open_state (image, error) || !feed_state (image, parser, cancellable, error) ||
      !compare_state (image, parser, &scan, error))
    return FALSE;
  if (layout != NULL)
    {
      layout->section_id = qsnap_stream_parser_get_ram_section_id (parser);
      layout->prefix_length = scan.prefix_length;
    }
  return TRUE;
}

/* ---- blocks with a file ---- */

/* The caller's numbers for up to a piece of pages: the checksums, and behind them all places. */
typedef guint64 Entries[2 * SUMS_PIECE];

static gboolean
read_sums (QsnapImageBlock *block, guint64 first_page, Entries sums, gsize n_pages, GError **error)
{
  guint width = qsnap_image_sums_width (block);
  gsize size = width * sizeof *sums;
  Entries entries;

  if (!qsnap_io_pread (block->sums_fd, entries, n_pages * size, first_page * size, block->sums_path,
                       error))
    return FALSE;
  for (gsize i = 0; i < n_pages; i++)
    {
      sums[i] = GUINT64_FROM_LE (entries[i * width]);
      sums[SUMS_PIECE + i] = block->packed ? GUINT64_FROM_LE (entries[i * width + 1]) : 0;
    }
  return TRUE;
}

static gboolean
unpack_pages (QsnapImage *image,
              QsnapImageBlock *block,
              const Entries sums,
              guint8 *buffer,
              gsize n_pages,
              GError **error)
{
  for (gsize i = 0; i < n_pages; i++)
    {
      guint8 *page = buffer + i * QSNAP_PAGE_SIZE;

      if (sums[i] == 0)
        memset (page, 0, QSNAP_PAGE_SIZE);
      else if (!qsnap_unpacker_read (image->unpacker, block->fd, block->file_length, block->path,
                                     sums[SUMS_PIECE + i], page, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
get_pages (QsnapImage *image,
           QsnapImageBlock *block,
           guint64 offset,
           const Entries sums,
           guint8 *buffer,
           gsize len,
           GError **error)
{
  if (block->packed)
    return unpack_pages (image, block, sums, buffer, len / QSNAP_PAGE_SIZE, error);
  return qsnap_io_pread (block->fd, buffer, len, offset, block->path, error);
}

gboolean
qsnap_image_read_pages (QsnapImage *image,
                        QsnapImageBlock *block,
                        guint64 offset,
                        guint8 *buffer,
                        gsize len,
                        guint64 *n_data,
                        GError **error)
{
  Entries sums;
  gsize n_pages = len / QSNAP_PAGE_SIZE;

  g_return_val_if_fail (n_pages <= SUMS_PIECE, FALSE);

  if (!qsnap_image_open_block (image, block, error) ||
      !read_sums (block, offset / QSNAP_PAGE_SIZE, sums, n_pages, error) ||
      !get_pages (image, block, offset, sums, buffer, len, error))
    return FALSE;
  for (gsize i = 0; i < n_pages; i++)
    {
      if (qsnap_page_checksum (buffer + i * QSNAP_PAGE_SIZE) != sums[i])
        return qsnap_image_corrupt (error,
                                    "in the RAM block “%s”, the page at 0x%" G_GINT64_MODIFIER
                                    "x of the file “%s” does not match its checksum",
                                    block->name, offset + i * QSNAP_PAGE_SIZE, block->path);
      if (n_data != NULL && sums[i] != 0)
        ++*n_data;
    }
  return TRUE;
}

/* Where the next page with data may be, at @offset or behind it; all may have data on a file system
 * that has no holes. Of compressed pages the checksums tell, as far as they have holes. */
static guint64
find_data (QsnapImageBlock *block, guint64 offset)
{
  guint64 scale =
      block->packed ? QSNAP_PAGE_SIZE / (sizeof (guint64) * qsnap_image_sums_width (block)) : 1;
  off_t data =
      lseek (block->packed ? block->sums_fd : block->fd, (off_t)(offset / scale), SEEK_DATA);

  if (data >= 0)
    return MAX (offset, (guint64)data * scale & ~(guint64)(QSNAP_PAGE_SIZE - 1));
  return errno == ENXIO ? block->length : offset;
}

/* What was data and is a hole now is lost data. */
static gboolean
check_hole (QsnapImageBlock *block, guint64 begin, guint64 end, GError **error)
{
  Entries sums;

  for (guint64 at = begin; at < end; at += QSNAP_IMAGE_PIECE)
    {
      gsize n_pages = MIN (QSNAP_IMAGE_PIECE, end - at) / QSNAP_PAGE_SIZE;

      if (!read_sums (block, at / QSNAP_PAGE_SIZE, sums, n_pages, error))
        return FALSE;
      for (gsize i = 0; i < n_pages; i++)
        if (sums[i] != 0)
          return qsnap_image_corrupt (error,
                                      "in the RAM block “%s”, the page at 0x%" G_GINT64_MODIFIER
                                      "x of the file “%s” is missing",
                                      block->name, at + i * QSNAP_PAGE_SIZE, block->path);
    }
  return TRUE;
}

static gboolean
check_sums_file (QsnapImageBlock *block, GCancellable *cancellable, GError **error)
{
  g_autoptr (QsnapDigest) digest = qsnap_digest_new ();
  g_autofree guint8 *buffer = g_malloc (QSNAP_IMAGE_PIECE);
  g_autofree char *checksum = NULL;
  guint64 size = qsnap_image_sums_length (block);

  for (guint64 at = 0; at < size; at += QSNAP_IMAGE_PIECE)
    {
      gsize len = MIN (QSNAP_IMAGE_PIECE, size - at);

      if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
          !qsnap_io_pread (block->sums_fd, buffer, len, at, block->sums_path, error))
        return FALSE;
      qsnap_digest_update (digest, buffer, len);
    }
  checksum = qsnap_digest_get_string (digest);
  if (strcmp (checksum, block->sums_checksum) != 0)
    return qsnap_image_corrupt (error,
                                "the checksums of the RAM block “%s”, the file “%s”, do not "
                                "match their own checksum",
                                block->name, block->sums_path);
  return TRUE;
}

static gboolean
scan_pieces (QsnapImage *image,
             QsnapImageBlock *block,
             QsnapImagePieceFunc func,
             gpointer user_data,
             GCancellable *cancellable,
             GError **error)
{
  g_autoptr (QsnapBuffer) buffer = qsnap_buffer_new (QSNAP_IMAGE_PIECE);
  guint64 at = 0, n_data = 0;

  while (at < block->length)
    {
      guint64 data = find_data (block, at);
      gsize len = MIN (QSNAP_IMAGE_PIECE, block->length - data);

      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;
      if (data > at && (!check_hole (block, at, data, error) ||
                        (func != NULL && !func (block, at, data - at, NULL, user_data, error))))
        return FALSE;
      if (len > 0 && (!qsnap_image_read_pages (image, block, data, buffer, len, &n_data, error) ||
                      (func != NULL && !func (block, data, len, buffer, user_data, error))))
        return FALSE;
      at = data + len;
    }
  if (n_data != block->n_data)
    return qsnap_image_corrupt (error,
                                "the RAM block “%s” has %" G_GUINT64_FORMAT
                                " pages with data, its description %" G_GUINT64_FORMAT,
                                block->name, n_data, block->n_data);
  return TRUE;
}

gboolean
qsnap_image_scan_block (QsnapImage *image,
                        QsnapImageBlock *block,
                        QsnapImagePieceFunc func,
                        gpointer user_data,
                        GCancellable *cancellable,
                        GError **error)
{
  return qsnap_image_open_block (image, block, error) &&
         check_sums_file (block, cancellable, error) &&
         scan_pieces (image, block, func, user_data, cancellable, error);
}

gboolean
qsnap_image_verify (QsnapImage *image, GCancellable *cancellable, GError **error)
{
  if (!qsnap_image_check (image, error) ||
      !qsnap_image_scan_state (image, NULL, NULL, NULL, cancellable, error))
    return FALSE;
  for (guint i = 0; i < image->blocks->len; i++)
    if (qsnap_image_block (image, i)->path != NULL &&
        !qsnap_image_scan_block (image, qsnap_image_block (image, i), NULL, NULL, cancellable,
                                 error))
      return FALSE;
  return TRUE;
}

/* ---- parts of a block ---- */

gboolean
qsnap_image_skip_zeros (
    QsnapImage *image, guint index, guint64 *offset, guint64 end, GError **error)
{
  QsnapImageBlock *block = qsnap_image_block (image, index);
  guint64 data;

  if (block->path == NULL)
    return TRUE;
  if (!qsnap_image_open_block (image, block, error))
    return FALSE;
  data = MIN (find_data (block, *offset), end);
  if (!check_hole (block, *offset, data, error))
    return FALSE;
  *offset = data;
  return TRUE;
}

void
qsnap_image_will_need (QsnapImage *image, guint index, guint64 offset, guint64 len)
{
  QsnapImageBlock *block = qsnap_image_block (image, index);

  if (block->fd >= 0 && !block->packed)
    (void)posix_fadvise (block->fd, (off_t)offset, (off_t)len, POSIX_FADV_WILLNEED);
}

static gboolean
keep_page (guint index, guint64 offset, const guint8 *data, gpointer user_data, GError **error)
{
  QsnapImageBlock *block = qsnap_image_block (user_data, index);

  if (block->memory == NULL)
    block->memory = qsnap_buffer_try_new (block->length);
  if (block->memory == NULL)
    return qsnap_io_fail (error, ENOMEM, "No memory for the RAM block “%s”", block->name);
  if (data != NULL)
    memcpy (block->memory + offset, data, QSNAP_PAGE_SIZE);
  else
    memset (block->memory + offset, 0, QSNAP_PAGE_SIZE);
  return TRUE;
}

static void
forget_small_blocks (QsnapImage *image)
{
  for (guint i = 0; i < image->blocks->len; i++)
    g_clear_pointer (&qsnap_image_block (image, i)->memory, qsnap_buffer_free);
}

static gboolean
load_small_blocks (QsnapImage *image, GError **error)
{
  if (qsnap_image_scan_state (image, keep_page, image, NULL, NULL, error))
    return TRUE;
  /* Part of it is there, unverified. */
  forget_small_blocks (image);
  return FALSE;
}

static gboolean
read_raw (QsnapImage *image,
          QsnapImageBlock *block,
          guint64 offset,
          guint8 *buffer,
          gsize len,
          GError **error)
{
  g_autoptr (QsnapBuffer) pages = NULL;

  while (len > 0)
    {
      guint64 begin = offset & ~(guint64)(QSNAP_PAGE_SIZE - 1);
      gsize skip = offset - begin;
      gsize take = MIN (len, QSNAP_IMAGE_PIECE - skip);
      gsize whole = (skip + take + QSNAP_PAGE_SIZE - 1) & ~(gsize)(QSNAP_PAGE_SIZE - 1);
      gboolean direct = whole == take;

      if (!direct && pages == NULL)
        pages = qsnap_buffer_new (MIN (QSNAP_IMAGE_PIECE, len + 2 * QSNAP_PAGE_SIZE));
      if (!qsnap_image_read_pages (image, block, begin, direct ? buffer : pages, whole, NULL,
                                   error))
        return FALSE;
      if (!direct)
        memcpy (buffer, pages + skip, take);
      offset += take;
      buffer += take;
      len -= take;
    }
  return TRUE;
}

gboolean
qsnap_image_read (
    QsnapImage *image, guint index, guint64 offset, gpointer buffer, gsize len, GError **error)
{
  QsnapImageBlock *block;

  g_return_val_if_fail (index < image->blocks->len, FALSE);
  block = qsnap_image_block (image, index);
  if (offset > block->length || len > block->length - offset)
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "0x%" G_GSIZE_MODIFIER "x bytes at 0x%" G_GINT64_MODIFIER
                   "x are not in the RAM block “%s”",
                   len, offset, block->name);
      return FALSE;
    }
  if (block->path != NULL)
    return read_raw (image, block, offset, buffer, len, error);
  if (block->memory == NULL && !load_small_blocks (image, error))
    return FALSE;
  /* compare_state() saw as many pages as its length says. */
  g_assert (block->memory != NULL);
  memcpy (buffer, block->memory + offset, len);
  return TRUE;
}
