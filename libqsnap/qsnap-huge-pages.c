/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-huge-pages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-ram.h"
#include "qsnap/qsnap-error.h"

/* Of Linux 6.1; glibc knows it since 2.37. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define THP_FOLDER "/sys/kernel/mm/transparent_hugepage/"
/* How many pieces the kernel is told of at once: it empties its caches of all processors each time.
 */
#define PIECES_AT_ONCE 4
/* Of the pages of a piece, how many have to be there: an untouched page that the guest has only
 * read takes no memory, but would in a huge page. */
#define NEEDED_EIGHTHS 7
/* So many pieces that cannot be put together one after the other: more would only cost time. */
#define MAX_FAILURES_IN_A_ROW 64

/* In /proc/PID/pagemap, a number a page: it is there, and it is this process's own, which the
 * kernel's page of zeros, and one that is shared with others, is not. */
#define PAGEMAP_PRESENT (G_GUINT64_CONSTANT (1) << 63)
#define PAGEMAP_EXCLUSIVE (G_GUINT64_CONSTANT (1) << 56)

typedef struct
{
  QsnapProcess *process;
  GCancellable *cancellable;
  gint64 deadline;
  int pagemap;
  gsize page_size;
  gsize piece_size;
  /* Of one piece. */
  guint64 *pages;

  guint64 n_pieces;
  guint64 n_failed;
  guint n_failed_in_a_row;
  int failure;
} Work;

/* --- can it be done ------------------------------------------------------------------------ */

/* The piece that becomes a huge page; 0: the kernel has none. */
static gsize
huge_page_size (void)
{
  g_autofree char *text = NULL;

  return g_file_get_contents (THP_FOLDER "hpage_pmd_size", &text, NULL, NULL)
             ? (gsize)g_ascii_strtoull (text, NULL, 10)
             : 0;
}

static gboolean
is_switched_off (void)
{
  g_autofree char *text = NULL;

  return g_file_get_contents (THP_FOLDER "enabled", &text, NULL, NULL) &&
         strstr (text, "[never]") != NULL;
}

/* The number of bytes that were done; -1, with errno. */
static gssize
collapse (QsnapProcess *process, guint64 start, gsize length)
{
  struct iovec range = { .iov_base = (gpointer)(guintptr)start, .iov_len = length };

  return syscall (SYS_process_madvise, process->pidfd, &range, 1, MADV_COLLAPSE, 0);
}

/* The kernel looks at everything but the range before it finds that there is none. */
static gboolean
probe (QsnapProcess *process, GError **error)
{
  if (collapse (process, 0, 0) == 0)
    return TRUE;

  switch (errno)
    {
    case ENOSYS:
    case EINVAL:
    case EBADF:
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                           "this kernel cannot do it (process_madvise with MADV_COLLAPSE): Linux "
                           "6.1 and later can");
      return FALSE;
    case EPERM:
    case EACCES:
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                           "the kernel does not let this process do it: it needs CAP_SYS_NICE, and "
                           "to be QEMU's user or to have CAP_SYS_PTRACE");
      return FALSE;
    default:
      return qsnap_io_fail (error, errno, "process_madvise");
    }
}

gboolean
qsnap_huge_pages_check (QsnapProcess *process, GError **error)
{
  if (!qsnap_process_check_known (process, error))
    return FALSE;
  if (huge_page_size () == 0 || is_switched_off ())
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                           "this host has no transparent huge pages, or they are switched off "
                           "in " THP_FOLDER "enabled (madvise is enough)");
      return FALSE;
    }

  return probe (process, error);
}

static gboolean
fits (const QsnapRamMapping *mapping)
{
  return mapping->anonymous && mapping->eligible;
}

/* The firmware's RAM is small, and always private. */
gboolean
qsnap_huge_pages_fit (GArray *ram, GError **error)
{
  guint64 all = 0, fitting = 0;

  for (guint i = 0; i < ram->len; i++)
    {
      const QsnapRamMapping *mapping = &g_array_index (ram, QsnapRamMapping, i);

      all += mapping->end - mapping->start;
      fitting += fits (mapping) ? mapping->end - mapping->start : 0;
    }
  if (fitting > 0 && fitting >= all / 8)
    return TRUE;

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                       "the guest's RAM has none: it is shared, in a file or in hugetlbfs, or QEMU "
                       "may not use any");

  return FALSE;
}

/* --- one step ------------------------------------------------------------------------------ */

static gboolean
is_used (Work *work, guint64 start)
{
  const gsize n = work->piece_size / work->page_size;
  const off_t offset = (off_t)(start / work->page_size * sizeof (guint64));
  const guint64 wanted = PAGEMAP_PRESENT | PAGEMAP_EXCLUSIVE;
  gsize used = 0;

  if (pread (work->pagemap, work->pages, n * sizeof (guint64), offset) !=
      (gssize)(n * sizeof (guint64)))
    return FALSE;

  for (gsize i = 0; i < n; i++)
    used += (work->pages[i] & wanted) == wanted;

  return used * 8 >= n * NEEDED_EIGHTHS;
}

static gboolean
may_go_on (Work *work, GError **error)
{
  if (g_cancellable_set_error_if_cancelled (work->cancellable, error))
    return FALSE;
  if (qsnap_process_has_ended (work->process))
    return qsnap_io_fail (error, ESRCH, "QEMU has ended");
  if (g_get_monotonic_time () < work->deadline)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
               "it took too long; %" G_GUINT64_FORMAT " MiB were done",
               (work->n_pieces - work->n_failed) * work->piece_size >> 20);

  return FALSE;
}

/* A page that is being read or written by a device cannot be moved: the next piece may do. */
static gboolean
note_failure (Work *work, GError **error)
{
  work->failure = errno;
  work->n_failed++;
  work->n_failed_in_a_row++;
  if ((errno == EAGAIN || errno == EBUSY || errno == EINVAL || errno == EINTR) &&
      work->n_failed_in_a_row < MAX_FAILURES_IN_A_ROW)
    return TRUE;

  return qsnap_io_fail (error, errno, "process_madvise (MADV_COLLAPSE)");
}

static gboolean
collapse_piece (Work *work, guint64 start, GError **error)
{
  work->n_pieces++;
  if (collapse (work->process, start, work->piece_size) < 0)
    return note_failure (work, error);

  work->n_failed_in_a_row = 0;

  return TRUE;
}

/* Then the guest has as long for itself, so that it gets at its memory in between. */
static gboolean
collapse_run (Work *work, guint64 start, gsize n, GError **error)
{
  gint64 begin = g_get_monotonic_time ();

  if (!may_go_on (work, error))
    return FALSE;

  if (collapse (work->process, start, n * work->piece_size) == (gssize)(n * work->piece_size))
    {
      work->n_pieces += n;
      work->n_failed_in_a_row = 0;
    }
  else
    for (gsize i = 0; i < n; i++)
      if (!collapse_piece (work, start + i * work->piece_size, error))
        return FALSE;
  g_usleep ((gulong)(g_get_monotonic_time () - begin));

  return TRUE;
}

/* --- all of it ----------------------------------------------------------------------------- */

static gboolean
collapse_mapping (Work *work, const QsnapRamMapping *mapping, GError **error)
{
  const guint64 size = work->piece_size;
  const guint64 end = mapping->end / size * size;
  gsize n = 0;

  for (guint64 start = (mapping->start + size - 1) / size * size; start < end; start += size)
    {
      gboolean used = is_used (work, start);

      if (used)
        n++;
      if (n > 0 && (!used || n == PIECES_AT_ONCE || start + size >= end))
        {
          if (!collapse_run (work, start + (used ? size : 0) - n * size, n, error))
            return FALSE;
          n = 0;
        }
    }

  return TRUE;
}

static gboolean
collapse_all (Work *work, GArray *ram, GError **error)
{
  for (guint i = 0; i < ram->len; i++)
    {
      const QsnapRamMapping *mapping = &g_array_index (ram, QsnapRamMapping, i);

      if (fits (mapping) && !collapse_mapping (work, mapping, error))
        return FALSE;
    }

  if (work->n_failed * 8 <= work->n_pieces)
    return TRUE;

  return qsnap_io_fail (error, work->failure,
                        "%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " pieces were refused",
                        work->n_failed, work->n_pieces);
}

gboolean
qsnap_huge_pages_give_back (QsnapProcess *process,
                            gint64 patience_us,
                            GCancellable *cancellable,
                            GError **error)
{
  g_autoptr (GArray) ram = qsnap_ram_read (process, error);
  g_autofree char *path = g_strdup_printf ("/proc/%d/pagemap", (int)process->pid);
  Work work = { .process = process,
                .cancellable = cancellable,
                .deadline = g_get_monotonic_time () + patience_us,
                .page_size = (gsize)sysconf (_SC_PAGESIZE),
                .piece_size = huge_page_size () };
  gboolean done;

  if (ram == NULL || !qsnap_huge_pages_fit (ram, error))
    return FALSE;

  work.pagemap = open (path, O_RDONLY | O_CLOEXEC);
  if (work.pagemap < 0)
    return qsnap_io_fail (error, errno, "%s", path);

  work.pages = g_malloc (work.piece_size / work.page_size * sizeof (guint64));
  done = collapse_all (&work, ram, error);
  g_debug ("huge pages: %" G_GUINT64_FORMAT " pieces, %" G_GUINT64_FORMAT " of them refused",
           work.n_pieces, work.n_failed);
  g_free (work.pages);
  close (work.pagemap);

  return done;
}
