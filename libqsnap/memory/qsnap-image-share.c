/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-image-share.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "memory/qsnap-image-private.h"
#include "memory/qsnap-io.h"
#include "qsnap/qsnap-error.h"

/* btrfs and XFS compare no more at once. */
#define PIECE_PAGES ((16u << 20) / QSNAP_PAGE_SIZE)
/* What is shared is an extent of its own in both files: a shorter one is not worth it. */
#define LEAST_PAGES ((16u << 10) / QSNAP_PAGE_SIZE)

typedef struct
{
  QsnapImageBlock *ours;
  QsnapImageBlock *theirs;
  /* Pages in a block of the file system. */
  gsize unit;
  guint64 our_sums[PIECE_PAGES];
  guint64 their_sums[PIECE_PAGES];
  guint64 n_bytes;
  guint64 n_different;
} Sharing;

/* --- what is the same ---------------------------------------------------------------------- */

static gboolean
is_same (const guint64 *ours, const guint64 *theirs, gsize first, gsize n)
{
  for (gsize i = first; i < first + n; i++)
    if (ours[i] != theirs[i] || ours[i] == 0)
      return FALSE;

  return TRUE;
}

gsize
qsnap_share_find_run (
    const guint64 *ours, const guint64 *theirs, gsize n, gsize unit, gsize least, gsize *begin)
{
  gsize first = (*begin + unit - 1) / unit * unit;
  gsize length = 0;

  for (gsize at = first; at + unit <= n; at += unit)
    if (is_same (ours, theirs, at, unit))
      length += unit;
    else if (length >= least)
      break;
    else
      {
        first = at + unit;
        length = 0;
      }
  *begin = first;

  return length >= least ? length : 0;
}

/* --- the file system ----------------------------------------------------------------------- */

/* As the kernel wants it. */
typedef union
{
  struct file_dedupe_range range;
  char room[sizeof (struct file_dedupe_range) + sizeof (struct file_dedupe_range_info)];
} Request;

/* How much of it is shared now; 0: it is not the same in both. -1, with errno. */
static gint64
ask_kernel (int source, int target, guint64 offset, guint64 length)
{
  Request request;
  struct file_dedupe_range_info *info = request.range.info;

  memset (&request, 0, sizeof request);
  request.range.src_offset = offset;
  request.range.src_length = length;
  request.range.dest_count = 1;
  info->dest_fd = target;
  info->dest_offset = offset;
  if (ioctl (source, FIDEDUPERANGE, &request.range) != 0)
    return -1;
  if (info->status == FILE_DEDUPE_RANGE_DIFFERS)
    return 0;
  if (info->status == FILE_DEDUPE_RANGE_SAME)
    return (gint64)MIN (info->bytes_deduped, length);

  errno = -info->status;

  return -1;
}

static gboolean
is_unsupported (int code)
{
  return code == EOPNOTSUPP || code == ENOTTY || code == ENOSYS || code == EINVAL || code == EXDEV;
}

static gboolean
fail (int code, const char *what, GError **error)
{
  if (!is_unsupported (code))
    return qsnap_io_fail (error, code, "the file system could not share the pages of %s", what);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "the file system of %s cannot share what two files have (%s): XFS (with reflink) "
               "and btrfs can, and a file on btrfs must not be NOCOW",
               what, g_strerror (code));

  return FALSE;
}

/* --- can it be done ------------------------------------------------------------------------ */

static int
make_nameless (const char *directory, gsize length, GError **error)
{
  g_autofree char *bytes = g_malloc (length);
  int fd = qsnap_io_create_nameless (directory, error);

  if (fd < 0)
    return -1;

  memset (bytes, 'q', length);
  if (!qsnap_io_pwrite (fd, bytes, length, 0, directory, error))
    {
      close (fd);
      return -1;
    }

  return fd;
}

static gboolean
try_files (int source, int target, gsize length, const char *directory, GError **error)
{
  return ask_kernel (source, target, 0, length) >= 0 || fail (errno, directory, error);
}

/* Of all file systems that can do it, none has larger blocks. */
#define TRIAL_LENGTH (64u << 10)

gboolean
qsnap_share_try (const char *directory, GError **error)
{
  int source = make_nameless (directory, TRIAL_LENGTH, error);
  int target = source >= 0 ? make_nameless (directory, TRIAL_LENGTH, error) : -1;
  gboolean can = target >= 0 && try_files (source, target, TRIAL_LENGTH, directory, error);

  if (source >= 0)
    close (source);
  if (target >= 0)
    close (target);

  return can;
}

/* --- all of it ----------------------------------------------------------------------------- */

static void
advise (Sharing *sharing, guint64 offset, guint64 length, int advice)
{
  (void)posix_fadvise (sharing->ours->fd, (off_t)offset, (off_t)length, advice);
  (void)posix_fadvise (sharing->theirs->fd, (off_t)offset, (off_t)length, advice);
}

/* In parts, as the kernel may do less than it was asked for. Where one page is another one than its
 * checksum says, all that was asked for at once stays as it is. */
static gboolean
share_run (Sharing *sharing, guint64 offset, guint64 length, GError **error)
{
  /* It would read them page by page, and wait for each. */
  advise (sharing, offset, length, POSIX_FADV_WILLNEED);
  while (length > 0)
    {
      gint64 n = ask_kernel (sharing->theirs->fd, sharing->ours->fd, offset, length);

      if (n < 0)
        return fail (errno, sharing->ours->path, error);
      if (n == 0)
        {
          sharing->n_different += length;
          return TRUE;
        }
      sharing->n_bytes += (guint64)n;
      offset += (guint64)n;
      length -= (guint64)n;
    }

  return TRUE;
}

static gboolean
share_piece (Sharing *sharing, guint64 first_page, gsize n, GError **error)
{
  const guint64 before = sharing->n_bytes;
  gsize begin = 0;
  gsize length;

  while ((length = qsnap_share_find_run (sharing->our_sums, sharing->their_sums, n, sharing->unit,
                                         LEAST_PAGES, &begin)) > 0)
    {
      if (!share_run (sharing, (first_page + begin) * QSNAP_PAGE_SIZE,
                      (guint64)length * QSNAP_PAGE_SIZE, error))
        return FALSE;
      begin += length;
    }
  /* Comparing has brought both into the page cache, where nobody needs them. */
  if (sharing->n_bytes > before)
    advise (sharing, first_page * QSNAP_PAGE_SIZE, (guint64)n * QSNAP_PAGE_SIZE,
            POSIX_FADV_DONTNEED);

  return TRUE;
}

static gboolean
read_sums (QsnapImageBlock *block, guint64 *sums, guint64 first_page, gsize n, GError **error)
{
  return qsnap_io_pread (block->sums_fd, sums, n * sizeof *sums, first_page * sizeof *sums,
                         block->sums_path, error);
}

static gboolean
share_pieces (Sharing *sharing, GCancellable *cancellable, GError **error)
{
  const guint64 n_pages = sharing->ours->length / QSNAP_PAGE_SIZE;

  for (guint64 first = 0; first < n_pages; first += PIECE_PAGES)
    {
      const gsize n = MIN (PIECE_PAGES, n_pages - first);

      if (g_cancellable_set_error_if_cancelled (cancellable, error) ||
          !read_sums (sharing->ours, sharing->our_sums, first, n, error) ||
          !read_sums (sharing->theirs, sharing->their_sums, first, n, error) ||
          !share_piece (sharing, first, n, error))
        return FALSE;
    }

  return TRUE;
}

/* What the file system shares are whole blocks of its own. */
static gboolean
find_unit (Sharing *sharing, GError **error)
{
  struct statvfs found;

  if (fstatvfs (sharing->ours->fd, &found) != 0)
    return qsnap_io_fail (error, errno, "%s", sharing->ours->path);
  sharing->unit = MAX (1, found.f_frsize / QSNAP_PAGE_SIZE);

  return TRUE;
}

static gboolean
share_block (Sharing *sharing,
             QsnapImage *image,
             QsnapImage *parent,
             guint index,
             GCancellable *cancellable,
             GError **error)
{
  guint other = qsnap_image_find_block (parent, qsnap_image_get_block_name (image, index));

  if (other == G_MAXUINT)
    return TRUE;
  sharing->ours = qsnap_image_block (image, index);
  sharing->theirs = qsnap_image_block (parent, other);
  if (sharing->ours->path == NULL || sharing->theirs->path == NULL || sharing->ours->packed ||
      sharing->theirs->packed || sharing->ours->length != sharing->theirs->length)
    return TRUE;

  return qsnap_image_open_block (image, sharing->ours, error) &&
         qsnap_image_open_block (parent, sharing->theirs, error) && find_unit (sharing, error) &&
         share_pieces (sharing, cancellable, error);
}

gboolean
qsnap_image_share (QsnapImage *image,
                   QsnapImage *parent,
                   GCancellable *cancellable,
                   guint64 *n_bytes,
                   GError **error)
{
  g_autofree Sharing *sharing = g_new0 (Sharing, 1);
  gboolean done = TRUE;

  for (guint i = 0; done && i < image->blocks->len; i++)
    done = share_block (sharing, image, parent, i, cancellable, error);
  *n_bytes = sharing->n_bytes;
  if (!done || sharing->n_different == 0)
    return done;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "where %" G_GUINT64_FORMAT " KiB have the same checksums they are not the same: one "
               "of the two is damaged",
               sharing->n_different >> 10);

  return FALSE;
}
