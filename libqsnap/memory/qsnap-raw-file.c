/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-raw-file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/qsnap-buffer.h"
#include "memory/qsnap-io.h"

/* A write costs a system call and a walk through the page cache. */
#define RUN_BYTES (1u << 20)

/* Runs of this length go to the disk directly where the file system can: they cost less than half
 * of the time that the page cache takes, and nothing of the guest's is pushed out of it. Shorter
 * ones would wait too often. */
#define DIRECT_BYTES (128u << 10)

/* Of what does not go directly, writing to the disk starts each time this much is dirty, and at
 * most so much is under way: the last fsync has little to do, and the guest's own page cache is not
 * pushed out. */
#define WRITEBACK_BYTES (8u << 20)
#define MAX_UNDER_WAY (64u << 20)

/* Checksums are written, and skipped where all are zero, in pieces of this size. */
#define SUMS_PIECE (64u << 10)

struct _QsnapRun
{
  QsnapRawFile *file; /* whose pages are gathered; NULL when there are none */
  guint64 offset;
  gsize len;
  guint64 written;
  QsnapBuffer *bytes; /* aligned as the disk wants it */
};

typedef struct
{
  guint64 begin;
  guint64 end;
  guint64 bytes; /* fewer than end - begin where pages came out of order */
} Extent;

struct _QsnapRawFile
{
  QsnapRun *run;
  int fd;
  int sums_fd;
  char *name;
  char *sums_name;
  guint64 length;

  /* Anonymous mappings, for memory is used only where something is written: RAM that is huge and
   * empty costs nothing. */
  guint64 *sums;
  guint8 *seen; /* a bit a page */
  guint64 n_data;
  guint64 n_seen;

  int flags; /* of the descriptor */
  gboolean cannot_direct;

  /* For compressed pages: where each is, and the frames that are not written yet. */
  QsnapPacker *packer;
  guint64 *places;
  QsnapBuffer *pending;
  gsize n_pending;
  guint64 packed_length;

  Extent dirty;
  GQueue under_way; /* Extent */
  guint64 bytes_under_way;
  char *digest;
};

static gsize
sums_size (const QsnapRawFile *file)
{
  return file->length / QSNAP_PAGE_SIZE * sizeof (guint64);
}

/* Numbers that the file of checksums has for each page. */
static guint
entry_width (const QsnapRawFile *file)
{
  return file->packer != NULL ? 2 : 1;
}

static gsize
seen_size (const QsnapRawFile *file)
{
  return (file->length / QSNAP_PAGE_SIZE + 7) / 8;
}

/* A writeback error is told to only one asker per descriptor: it must not be lost here. */
static gboolean
sync_range (QsnapRawFile *file, const Extent *extent, guint flags, GError **error)
{
  if (sync_file_range (file->fd, (off_t)extent->begin, (off_t)(extent->end - extent->begin),
                       flags) == 0 ||
      errno == ENOSYS || errno == EINVAL || errno == ESPIPE || errno == EINTR)
    return TRUE;
  return qsnap_io_fail (error, errno, "Could not write “%s”", file->name);
}

static gboolean
wait_for_oldest (QsnapRawFile *file, GError **error)
{
  g_autofree Extent *extent = g_queue_pop_head (&file->under_way);

  file->bytes_under_way -= extent->bytes;
  return sync_range (
      file, extent,
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER, error);
}

static gboolean
start_writeback (QsnapRawFile *file, GError **error)
{
  Extent *extent = g_memdup2 (&file->dirty, sizeof file->dirty);

  g_queue_push_tail (&file->under_way, extent);
  file->bytes_under_way += extent->bytes;
  memset (&file->dirty, 0, sizeof file->dirty);
  if (!sync_range (file, extent, SYNC_FILE_RANGE_WRITE, error))
    return FALSE;
  while (file->bytes_under_way > MAX_UNDER_WAY)
    if (!wait_for_oldest (file, error))
      return FALSE;
  return TRUE;
}

static gboolean
switch_direct (QsnapRawFile *file, gboolean direct)
{
  int flags = direct ? file->flags | O_DIRECT : file->flags & ~O_DIRECT;

  if (flags != file->flags && fcntl (file->fd, F_SETFL, flags) != 0)
    return FALSE;
  file->flags = flags;
  return TRUE;
}

/* FALSE if it has to be written through the page cache, which then says what is wrong. */
static gboolean
write_directly (QsnapRawFile *file, const QsnapBuffer *bytes, gsize len, guint64 offset)
{
  gssize n;

  if (len < DIRECT_BYTES || len % QSNAP_PAGE_SIZE != 0 || file->cannot_direct)
    return FALSE;
  if (!switch_direct (file, TRUE))
    {
      file->cannot_direct = TRUE;
      return FALSE;
    }
  n = pwrite (file->fd, bytes, len, (off_t)offset);
  file->cannot_direct = n < 0 && errno == EINVAL;
  return n == (gssize)len;
}

static gboolean
write_bytes (
    QsnapRawFile *file, const QsnapBuffer *bytes, gsize len, guint64 offset, GError **error)
{
  file->run->written += len;
  if (write_directly (file, bytes, len, offset))
    return TRUE;
  (void)switch_direct (file, FALSE);
  if (!qsnap_io_pwrite (file->fd, bytes, len, offset, file->name, error))
    return FALSE;
  if (file->dirty.bytes == 0)
    file->dirty.begin = offset;
  file->dirty.begin = MIN (file->dirty.begin, offset);
  file->dirty.end = MAX (file->dirty.end, offset + len);
  file->dirty.bytes += len;
  return file->dirty.bytes < WRITEBACK_BYTES || start_writeback (file, error);
}

/* The first @len bytes of what is pending. */
static gboolean
write_pending (QsnapRawFile *file, gsize len, GError **error)
{
  if (!write_bytes (file, file->pending, len, file->packed_length - file->n_pending, error))
    return FALSE;
  file->n_pending -= len;
  memmove (file->pending, file->pending + len, file->n_pending);
  return TRUE;
}

static gboolean
pack_run (QsnapRawFile *file, const QsnapRun *run, GError **error)
{
  for (gsize at = 0; at < run->len; at += QSNAP_PACK_PAGES * QSNAP_PAGE_SIZE)
    {
      guint n = (guint)MIN (QSNAP_PACK_PAGES, (run->len - at) / QSNAP_PAGE_SIZE);
      guint64 *places = file->places + (run->offset + at) / QSNAP_PAGE_SIZE;
      gsize len =
          qsnap_packer_pack (file->packer, run->bytes + at, n, file->pending + file->n_pending);

      for (guint i = 0; i < n; i++)
        places[i] = file->packed_length * QSNAP_PACK_PAGES + i;
      file->packed_length += len;
      file->n_pending += len;
      if (file->n_pending >= RUN_BYTES && !write_pending (file, RUN_BYTES, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
flush_run (QsnapRun *run, GError **error)
{
  QsnapRawFile *file = run->file;

  if (file == NULL)
    return TRUE;
  run->file = NULL;
  return file->packer != NULL ? pack_run (file, run, error)
                              : write_bytes (file, run->bytes, run->len, run->offset, error);
}

static gboolean
gather_page (QsnapRawFile *file, guint64 offset, const guint8 *data, GError **error)
{
  QsnapRun *run = file->run;

  if ((run->file != file || offset != run->offset + run->len || run->len == RUN_BYTES) &&
      !flush_run (run, error))
    return FALSE;
  if (run->file == NULL)
    {
      run->file = file;
      run->offset = offset;
      run->len = 0;
    }
  memcpy (run->bytes + run->len, data, QSNAP_PAGE_SIZE);
  run->len += QSNAP_PAGE_SIZE;
  return TRUE;
}

/* The page held data that has been written, or is still gathered. Compressed pages are only
 * forgotten. */
static gboolean
clear_page (QsnapRawFile *file, guint64 offset, GError **error)
{
  static const guint8 zeros[QSNAP_PAGE_SIZE];

  if (!flush_run (file->run, error))
    return FALSE;
  if (file->packer != NULL)
    return TRUE;
  if (fallocate (file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                 QSNAP_PAGE_SIZE) == 0)
    return TRUE;
  (void)switch_direct (file, FALSE);
  return qsnap_io_pwrite (file->fd, zeros, sizeof zeros, offset, file->name, error);
}

gboolean
qsnap_raw_file_write_page (QsnapRawFile *file, guint64 offset, const guint8 *data, GError **error)
{
  guint64 page = offset / QSNAP_PAGE_SIZE;
  guint64 sum = data != NULL ? qsnap_page_checksum (data) : 0;
  guint8 bit = (guint8)(1u << page % 8);
  gboolean had_data = file->sums[page] != 0;

  g_return_val_if_fail (offset < file->length, FALSE);

  if (!(file->seen[page / 8] & bit))
    {
      file->seen[page / 8] |= bit;
      file->n_seen++;
    }
  if (sum != 0 && !had_data)
    file->n_data++;
  if (sum == 0 && had_data)
    file->n_data--;
  /* Reading is free, writing would give memory to the checksums of an empty block. */
  if (sum != 0 || had_data)
    file->sums[page] = sum;

  if (sum != 0)
    return gather_page (file, offset, data, error);
  return !had_data || clear_page (file, offset, error);
}

static gboolean
is_zero (const guint64 *values, gsize n)
{
  for (gsize i = 0; i < n; i++)
    if (values[i] != 0)
      return FALSE;
  return TRUE;
}

static void
fill_piece (const QsnapRawFile *file, guint64 first_page, gsize n_pages, guint64 *piece)
{
  for (guint64 page = first_page; page < first_page + n_pages; page++)
    {
      *piece++ = GUINT64_TO_LE (file->sums[page]);
      if (file->packer != NULL)
        *piece++ = file->sums[page] != 0 ? GUINT64_TO_LE (file->places[page]) : 0;
    }
}

static gboolean
write_sums (QsnapRawFile *file, GError **error)
{
  g_autoptr (QsnapDigest) digest = qsnap_digest_new ();
  g_autofree guint64 *piece = g_malloc (SUMS_PIECE);
  guint width = entry_width (file);
  gsize size = sums_size (file) * width;

  for (gsize at = 0; at < size; at += SUMS_PIECE)
    {
      gsize len = MIN (SUMS_PIECE, size - at);
      gsize n = len / sizeof (guint64);

      fill_piece (file, at / sizeof (guint64) / width, n / width, piece);
      qsnap_digest_update (digest, piece, len);
      if (is_zero (piece, n))
        continue;
      if (!qsnap_io_pwrite (file->sums_fd, piece, len, at, file->sums_name, error))
        return FALSE;
      file->run->written += len;
    }
  file->digest = qsnap_digest_get_string (digest);
  return TRUE;
}

gboolean
qsnap_raw_file_finish (QsnapRawFile *file, GError **error)
{
  if (file->run->file == file && !flush_run (file->run, error))
    return FALSE;
  if (file->n_pending > 0 && !write_pending (file, file->n_pending, error))
    return FALSE;
  if (!write_sums (file, error))
    return FALSE;
  return qsnap_io_fsync (file->fd, file->name, error) &&
         qsnap_io_fsync (file->sums_fd, file->sums_name, error);
}

static gpointer
map_zeros (gsize size)
{
  gpointer memory =
      mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  return memory != MAP_FAILED ? memory : NULL;
}

static gboolean
set_up (QsnapRawFile *file, int ram_fd, GError **error)
{
  file->fd = qsnap_io_create (ram_fd, file->name, error);
  if (file->fd < 0)
    return FALSE;
  file->flags = fcntl (file->fd, F_GETFL);
  file->sums_fd = qsnap_io_create (ram_fd, file->sums_name, error);
  if (file->sums_fd < 0)
    return FALSE;
  if ((file->packer == NULL && ftruncate (file->fd, (off_t)file->length) != 0) ||
      ftruncate (file->sums_fd, (off_t)(sums_size (file) * entry_width (file))) != 0)
    return qsnap_io_fail (error, errno, "Could not make “%s” %" G_GUINT64_FORMAT " bytes long",
                          file->name, file->length);
  file->sums = map_zeros (sums_size (file));
  file->seen = map_zeros (seen_size (file));
  if (file->packer != NULL)
    {
      file->places = map_zeros (sums_size (file));
      file->pending = qsnap_buffer_try_new (RUN_BYTES + qsnap_pack_bound ());
    }
  if (file->sums == NULL || file->seen == NULL ||
      (file->packer != NULL && (file->places == NULL || file->pending == NULL)))
    return qsnap_io_fail (error, ENOMEM, "No memory for the checksums of “%s”", file->name);
  return TRUE;
}

QsnapRawFile *
qsnap_raw_file_new (int ram_fd,
                    const char *name,
                    const char *sums_name,
                    guint64 length,
                    QsnapRun *run,
                    QsnapPacker *packer,
                    GError **error)
{
  g_autoptr (QsnapRawFile) file = g_new0 (QsnapRawFile, 1);

  file->run = run;
  file->packer = packer;
  file->fd = -1;
  file->sums_fd = -1;
  file->name = g_strdup (name);
  file->sums_name = g_strdup (sums_name);
  file->length = length;
  g_queue_init (&file->under_way);
  return set_up (file, ram_fd, error) ? g_steal_pointer (&file) : NULL;
}

void
qsnap_raw_file_free (QsnapRawFile *file)
{
  if (file->run->file == file)
    file->run->file = NULL;
  if (file->sums != NULL)
    munmap (file->sums, sums_size (file));
  if (file->places != NULL)
    munmap (file->places, sums_size (file));
  qsnap_buffer_free (file->pending);
  if (file->seen != NULL)
    munmap (file->seen, seen_size (file));
  if (file->fd >= 0)
    close (file->fd);
  if (file->sums_fd >= 0)
    close (file->sums_fd);
  g_queue_clear_full (&file->under_way, g_free);
  g_free (file->name);
  g_free (file->sums_name);
  g_free (file->digest);
  g_free (file);
}

guint64
qsnap_raw_file_get_n_data (QsnapRawFile *file)
{
  return file->n_data;
}

guint64
qsnap_raw_file_get_n_seen (QsnapRawFile *file)
{
  return file->n_seen;
}

guint64
qsnap_raw_file_get_packed_length (QsnapRawFile *file)
{
  return file->packed_length;
}

const char *
qsnap_raw_file_get_digest (QsnapRawFile *file)
{
  return file->digest;
}

QsnapRun *
qsnap_run_new (void)
{
  QsnapRun *run = g_new0 (QsnapRun, 1);

  run->bytes = qsnap_buffer_new (RUN_BYTES);
  return run;
}

void
qsnap_run_free (QsnapRun *run)
{
  qsnap_buffer_free (run->bytes);
  g_free (run);
}

guint64
qsnap_run_get_written (QsnapRun *run)
{
  return run->written;
}
