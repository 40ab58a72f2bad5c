/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Huge pages are given back after a capture. The mock is in this process, so a mapping of the
 * test's own that looks like RAM of QEMU is the guest's. */

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "other-users.h"
#include "qsnap-huge-pages.h"
#include "qsnap-ram.h"

#define NOBODY 65534
#define PIECE (2 * 1024 * 1024)
#define PATIENCE_US (60 * G_USEC_PER_SEC)

/* --- what smaps says ----------------------------------------------------------------------- */

static const char smaps[] =
    "7f0000000000-7f0020000000 rw-p 00000000 00:00 0 \n"
    "Size:             524288 kB\nRss:              468992 kB\nAnonHugePages:     14336 kB\n"
    "THPeligible:           1\nVmFlags: rd wr mr mw me dc ac hg mg \n"
    "7f0020000000-7f0024000000 rwxp 00000000 00:00 0 \n"
    "Rss:               36864 kB\nAnonHugePages:     36864 kB\nTHPeligible:           1\n"
    "VmFlags: rd wr ex mr mw me ac hg \n"
    "7f0030000000-7f0040000000 rw-s 00000000 00:01 1234   /memfd:memory-backend-memfd (deleted)\n"
    "Rss:                  16 kB\nAnonHugePages:         0 kB\nTHPeligible:    0\n"
    "VmFlags: rd wr sh mr mw me ms dc \n"
    "7f0040000000-7f0050000000 rw-p 00000000 fe:00 99     /srv/snap/ram/pc.ram\n"
    "Rss:                  32 kB\nAnonHugePages:         0 kB\nTHPeligible:    0\n"
    "VmFlags: rd wr mr mw me dc \n"
    "7f0050000000-7f0060000000 rw-p 00000000 00:0f 77     /dev/hugepages/x (deleted)\n"
    "Rss:                   0 kB\nVmFlags: rd wr mr mw me dc de ht \n"
    "7f0060000000-7f0060100000 rw-s 00000000 00:0f 78     /dev/vfio/1\n"
    "Rss:                   0 kB\nVmFlags: rd wr sh mr mw me ms io pf dc de dd \n"
    "7f0070000000-7f0080000000 rw-p 00000000 00:00 0      [anon:pc.ram]\n"
    "Rss:                   4 kB\nAnonHugePages:         0 kB\nTHPeligible:    0\n"
    "VmFlags: rd wr mr mw me dc nh \n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
    "Rss:                   0 kB\nVmFlags: ex ";

static void
test_parse (void)
{
  static const QsnapRamMapping expected[] = {
    { .start = 0x7f0000000000,
      .end = 0x7f0020000000,
      .resident = 468992 * 1024,
      .huge = 14336 * 1024,
      .anonymous = TRUE,
      .eligible = TRUE },
    { .start = 0x7f0030000000, .end = 0x7f0040000000, .resident = 16384, .shared = TRUE },
    { .start = 0x7f0040000000, .end = 0x7f0050000000, .resident = 32768 },
    { .start = 0x7f0050000000, .end = 0x7f0060000000, .hugetlb = TRUE },
    { .start = 0x7f0070000000, .end = 0x7f0080000000, .resident = 4096, .anonymous = TRUE },
  };
  g_autoptr (GArray) ram = qsnap_ram_parse (smaps);

  g_assert_cmpuint (ram->len, ==, G_N_ELEMENTS (expected));
  for (guint i = 0; i < ram->len; i++)
    {
      const QsnapRamMapping *found = &g_array_index (ram, QsnapRamMapping, i);

      g_test_message ("mapping %u", i);
      g_assert_cmphex (found->start, ==, expected[i].start);
      g_assert_cmphex (found->end, ==, expected[i].end);
      g_assert_cmpuint (found->resident, ==, expected[i].resident);
      g_assert_cmpuint (found->huge, ==, expected[i].huge);
      g_assert_cmpint (found->shared, ==, expected[i].shared);
      g_assert_cmpint (found->anonymous, ==, expected[i].anonymous);
      g_assert_cmpint (found->eligible, ==, expected[i].eligible);
      g_assert_cmpint (found->hugetlb, ==, expected[i].hugetlb);
    }
}

/* Whatever it is cut to. */
static void
test_parse_cut (void)
{
  guint most = 0;

  for (gsize length = 0; length < sizeof smaps; length++)
    {
      g_autofree char *cut = g_strndup (smaps, length);
      g_autoptr (GArray) ram = qsnap_ram_parse (cut);

      g_assert_cmpuint (ram->len, >=, most);
      most = ram->len;
    }
  g_assert_cmpuint (most, ==, 5);
}

static void
test_fit (void)
{
  g_autoptr (GArray) ram = qsnap_ram_parse (smaps);
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_huge_pages_fit (ram, &error));
  g_assert_no_error (error);
  /* What is left of it is as the firmware's, beside what is shared. */
  g_array_index (ram, QsnapRamMapping, 0).end =
      g_array_index (ram, QsnapRamMapping, 0).start + PIECE;
  g_assert_false (qsnap_huge_pages_fit (ram, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_clear_error (&error);
  g_array_remove_index (ram, 0);
  g_assert_false (qsnap_huge_pages_fit (ram, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
}

/* --- memory that is a guest's -------------------------------------------------------------- */

typedef struct
{
  char *map;
  gsize map_size;
  char *ram;
  guint n_pieces;
  guint64 by_khugepaged; /* pages of the whole host, when it was made */
} Memory;

/* The kernel's own thread makes huge pages as well, of what is advised to be, when its time has
 * come. */
static guint64
collapsed_by_khugepaged (void)
{
  g_autofree char *number = NULL;
  g_autoptr (GError) error = NULL;

  g_file_get_contents ("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_collapsed", &number,
                       NULL, &error);
  g_assert_no_error (error);

  return g_ascii_strtoull (number, NULL, 10);
}

/* As a capture does it: what nobody has written to becomes the kernel's page of zeros. */
static void
read_all (const volatile char *memory, gsize size)
{
  for (gsize at = 0; at < size; at += 4096)
    (void)memory[at];
}

/* Each piece has its own part of its pages written to, each by itself. */
static void
memory_make (Memory *memory, const gsize *touched, guint n_pieces)
{
  memory->n_pieces = n_pieces;
  memory->by_khugepaged = collapsed_by_khugepaged ();
  memory->map_size = (gsize)(n_pieces + 1) * PIECE;
  memory->map =
      mmap (NULL, memory->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  g_assert_true (memory->map != MAP_FAILED);
  memory->ram = (char *)(((guintptr)memory->map + PIECE - 1) / PIECE * PIECE);
  g_assert_cmpint (madvise (memory->map, memory->map_size, MADV_NOHUGEPAGE), ==, 0);

  for (guint i = 0; i < n_pieces; i++)
    for (gsize at = 0; at < touched[i]; at += 4096)
      memory->ram[i * PIECE + at] = (char)(i + 1);
  read_all (memory->ram, n_pieces * PIECE);

  (void)madvise (memory->ram, n_pieces * PIECE, MADV_HUGEPAGE);
  g_assert_cmpint (madvise (memory->ram, n_pieces * PIECE, MADV_DONTFORK), ==, 0);
}

static void
memory_clear (Memory *memory)
{
  munmap (memory->map, memory->map_size);
}

static void
memory_assert_kept (Memory *memory, const gsize *touched)
{
  for (guint i = 0; i < memory->n_pieces; i++)
    for (gsize at = 0; at < touched[i]; at += 4096)
      g_assert_cmpint (memory->ram[i * PIECE + at], ==, (char)(i + 1));
}

static QsnapProcess *
new_process (GPid pid)
{
  QsnapProcess *process = qsnap_process_new_unknown ();

  process->pid = pid;
  process->pidfd = (int)syscall (SYS_pidfd_open, pid, 0);

  return process;
}

/* What the kernel counts of this process's RAM. */
static guint64
count (gboolean huge)
{
  g_autoptr (QsnapProcess) process = new_process (getpid ());
  g_autoptr (GError) error = NULL;
  g_autoptr (GArray) ram = qsnap_ram_read (process, &error);
  guint64 total = 0;

  g_assert_no_error (error);
  for (guint i = 0; i < ram->len; i++)
    {
      const QsnapRamMapping *mapping = &g_array_index (ram, QsnapRamMapping, i);

      total += huge ? mapping->huge : mapping->resident;
    }

  return total;
}

/* Says nothing if khugepaged was at work meanwhile. */
static void
memory_assert_counts (const Memory *memory, guint64 resident, guint64 huge)
{
  guint64 found_resident = count (FALSE);
  guint64 found_huge = count (TRUE);

  if (collapsed_by_khugepaged () != memory->by_khugepaged)
    {
      g_test_message ("khugepaged has made huge pages at the same time");
      return;
    }
  g_assert_cmpuint (found_resident, ==, resident);
  g_assert_cmpuint (found_huge, ==, huge);
}

/* Not on every host. */
static gboolean
can_be_done (void)
{
  g_autoptr (QsnapProcess) process = new_process (getpid ());
  g_autoptr (GError) error = NULL;

  if (qsnap_huge_pages_check (process, &error))
    return TRUE;

  g_test_skip (error->message);

  return FALSE;
}

/* --- the work itself ----------------------------------------------------------------------- */

/* Used pieces only: what was not touched costs no memory before, and none after. */
static void
test_pieces (void)
{
  static const gsize touched[] = { PIECE, 0,     PIECE, PIECE, PIECE,         PIECE, PIECE,
                                   0,     PIECE, 0,     4096,  PIECE / 4 * 3, PIECE };
  g_autoptr (QsnapProcess) process = new_process (getpid ());
  g_autoptr (GError) error = NULL;
  Memory memory;
  guint64 resident;

  if (!can_be_done ())
    return;

  memory_make (&memory, touched, G_N_ELEMENTS (touched));
  resident = count (FALSE);
  memory_assert_counts (&memory, resident, 0);
  g_assert_true (qsnap_huge_pages_give_back (process, PATIENCE_US, NULL, &error));
  g_assert_no_error (error);
  memory_assert_counts (&memory, resident, 8 * PIECE);
  memory_assert_kept (&memory, touched);

  /* Once more: they are there already. */
  g_assert_true (qsnap_huge_pages_give_back (process, PATIENCE_US, NULL, &error));
  g_assert_no_error (error);
  memory_assert_kept (&memory, touched);
  memory_clear (&memory);
}

/* It is given up before it has begun: by the caller, or because time is up. */
static void
test_given_up (void)
{
  static const gsize touched[] = { PIECE, PIECE };
  g_autoptr (QsnapProcess) process = new_process (getpid ());
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  Memory memory;
  guint64 resident;

  if (!can_be_done ())
    return;

  memory_make (&memory, touched, G_N_ELEMENTS (touched));
  resident = count (FALSE);
  g_assert_false (qsnap_huge_pages_give_back (process, 0, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
  g_clear_error (&error);
  g_cancellable_cancel (cancellable);
  g_assert_false (qsnap_huge_pages_give_back (process, PATIENCE_US, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  memory_assert_counts (&memory, resident, 0);
  memory_clear (&memory);
}

static void
test_unknown (void)
{
  g_autoptr (QsnapProcess) process = qsnap_process_new_unknown ();
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_huge_pages_check (process, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_clear_error (&error);
  g_assert_false (qsnap_huge_pages_give_back (process, PATIENCE_US, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
}

static void
test_gone (void)
{
  g_autoptr (QsnapProcess) process = NULL;
  g_autoptr (GError) error = NULL;
  pid_t pid = fork ();

  if (pid == 0)
    _exit (0);
  process = new_process (pid);
  g_assert_cmpint (waitpid (pid, NULL, 0), ==, pid);
  g_assert_true (qsnap_process_has_ended (process));
  g_assert_false (qsnap_huge_pages_give_back (process, PATIENCE_US, NULL, &error));
  g_assert_nonnull (error);
}

static int
check_as_nobody (GPid pid)
{
  g_autoptr (QsnapProcess) process = new_process (pid);
  g_autoptr (GError) error = NULL;

  if (setuid (NOBODY) != 0 || qsnap_huge_pages_check (process, &error))
    return 1;

  return g_error_matches (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED) ? 0 : 2;
}

static void
test_not_allowed (void)
{
  pid_t parent = getpid ();
  pid_t child;
  int status;

  if (!can_be_done ())
    return;
  if (!can_be_other_users (NOBODY))
    {
      g_test_skip ("only root can become somebody else");
      return;
    }

  child = fork ();
  if (child == 0)
    _exit (check_as_nobody (parent));
  g_assert_cmpint (waitpid (child, &status, 0), ==, child);
  g_assert_cmpint (status, ==, 0);
}

/* --- after a capture ----------------------------------------------------------------------- */

static QsnapSnapshot *
capture (Fixture *fixture, QsnapSnapshotMode mode, gboolean huge_pages)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, "snapshot");
  QsnapSnapshot *snapshot;
  g_autoptr (GError) error = NULL;

  g_object_set (options, "huge-pages", huge_pages, "mode", mode, NULL);
  snapshot = qsnap_session_instant_snapshot (fixture->session, options, NULL, &error);
  g_assert_no_error (error);
  fixture_assert_phases (fixture);

  return snapshot;
}

static void
assert_warnings (QsnapSnapshot *snapshot, guint n, const char *pattern)
{
  g_auto (GStrv) warnings = qsnap_snapshot_dup_warnings (snapshot);
  g_autofree char *all = g_strjoinv ("; ", warnings);

  g_test_message ("%s", all);
  g_assert_cmpuint (g_strv_length (warnings), ==, n);
  if (pattern != NULL)
    g_assert_nonnull (strstr (all, pattern));
}

static void
try_capture (MockStyle style, QsnapSnapshotMode mode, gboolean wanted, gboolean given)
{
  static const gsize touched[] = { PIECE, PIECE, 0, PIECE };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  Memory memory;
  guint64 resident;

  memory_make (&memory, touched, G_N_ELEMENTS (touched));
  resident = count (FALSE);
  fixture_set_up (&fixture, style, 1);
  fixture_open (&fixture);
  snapshot = capture (&fixture, mode, wanted);
  g_assert_cmpstr (fixture.news->str, ==, " point memory");
  assert_warnings (snapshot, 0, NULL);
  memory_assert_counts (&memory, resident, given ? 3 * PIECE : 0);
  memory_assert_kept (&memory, touched);
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
  memory_clear (&memory);
}

static void
test_capture (gconstpointer style)
{
  if (!can_be_done ())
    return;

  try_capture (GPOINTER_TO_INT (style), QSNAP_SNAPSHOT_MODE_INSTANT, FALSE, FALSE);
  try_capture (GPOINTER_TO_INT (style), QSNAP_SNAPSHOT_MODE_INSTANT, TRUE, TRUE);
  /* Which does not split any. */
  try_capture (GPOINTER_TO_INT (style), QSNAP_SNAPSHOT_MODE_STOPPED, TRUE, FALSE);
}

/* Nothing is a guest's here. The snapshot is there, and what is on the disk does not tell of it. */
static void
test_failure (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapSnapshot) loaded = NULL;
  g_autoptr (GError) error = NULL;

  if (!can_be_done ())
    return;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  snapshot = capture (&fixture, QSNAP_SNAPSHOT_MODE_INSTANT, TRUE);
  assert_warnings (snapshot, 1, "not all given back");
  loaded = qsnap_snapshot_load (qsnap_snapshot_get_directory (snapshot), NULL, &error);
  g_assert_no_error (error);
  assert_warnings (loaded, 0, NULL);
  fixture_clear (&fixture);
}

/* Over TCP nobody knows the process. */
static void
test_warned (void)
{
  MockQemu *mock = mock_new (MOCK_STYLE_10, MOCK_TRANSPORT_TCP);
  g_autoptr (QsnapSnapshotOptions) options = qsnap_snapshot_options_new (NULL);
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (GError) error = NULL;

  mock_start (mock);
  session = qsnap_session_new (mock_get_address (mock));
  qsnap_session_open (session, NULL, &error);
  g_assert_no_error (error);
  for (guint wanted = 0; wanted < 2; wanted++)
    {
      g_autoptr (QsnapReport) report = NULL;
      g_auto (GStrv) warnings = NULL;
      g_autofree char *all = NULL;

      qsnap_snapshot_options_set_huge_pages (options, wanted != 0);
      report = qsnap_session_check (session, options, NULL, &error);
      g_assert_no_error (error);
      warnings = qsnap_report_get_warnings (report);
      all = g_strjoinv ("; ", warnings);
      g_test_message ("%s", all);
      g_assert_cmpint (strstr (all, "huge pages cannot be given back: QEMU's process") != NULL, ==,
                       wanted != 0);
    }
  g_clear_object (&session);
  fixture_drain_context ();
  mock_free (mock);
}

static void
test_option (void)
{
  g_autoptr (QsnapSnapshotOptions) options = qsnap_snapshot_options_new (NULL);
  gboolean huge_pages;

  g_object_get (options, "huge-pages", &huge_pages, NULL);
  g_assert_false (huge_pages);
  qsnap_snapshot_options_set_huge_pages (options, 2);
  g_assert_cmpint (qsnap_snapshot_options_get_huge_pages (options), ==, TRUE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/ram/parse", test_parse);
  g_test_add_func ("/ram/parse-cut", test_parse_cut);
  g_test_add_func ("/huge-pages/fit", test_fit);
  g_test_add_func ("/huge-pages/pieces", test_pieces);
  g_test_add_func ("/huge-pages/given-up", test_given_up);
  g_test_add_func ("/huge-pages/unknown", test_unknown);
  g_test_add_func ("/huge-pages/gone", test_gone);
  g_test_add_func ("/huge-pages/not-allowed", test_not_allowed);
  fixture_add ("/huge-pages/capture", test_capture);
  fixture_add ("/huge-pages/failure", test_failure);
  g_test_add_func ("/huge-pages/warned", test_warned);
  g_test_add_func ("/huge-pages/option", test_option);
  return g_test_run ();
}
