/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that two snapshots have are kept once by the file system: by one that is made up, which
 * says what it was asked, and by XFS. */

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fixture.h"
#include "image-maker.h"
#include "memory/qsnap-image-share.h"
#include "memory/qsnap-pack.h"
#include "other-users.h"
#include "qsnap-snapshot-private.h"
#include "stream-builder.h"

#define N_PAGES 6000u
#define BLOCK "pc.ram"
#define XFS_MIB 320
/* So that it has a file of its own. */
#define RAM_SIZE (24 * 1024 * 1024)

/* --- a file system that can share ---------------------------------------------------------- */

typedef struct
{
  guint64 offset;
  guint64 length;
} Range;

typedef void (*AskedFunc) (gpointer data);

static struct
{
  /* The kernel is asked. */
  gboolean real;
  /* Of the ioctl; of the range; 0: it can. */
  int error;
  int status;
  /* Bytes that are done at once; 0: all. */
  guint64 most;
  guint n_trials;
  GArray *asked; /* Range */
  AskedFunc func;
  gpointer data;
} kernel;

static void
reset_kernel (void)
{
  g_clear_pointer (&kernel.asked, g_array_unref);
  memset (&kernel, 0, sizeof kernel);
  kernel.asked = g_array_new (FALSE, FALSE, sizeof (Range));
}

static gboolean
is_same (int source, int target, guint64 offset, guint64 length)
{
  g_autofree char *one = g_malloc (length);
  g_autofree char *other = g_malloc (length);

  g_assert_cmpint (pread (source, one, length, (off_t)offset), ==, (gssize)length);
  g_assert_cmpint (pread (target, other, length, (off_t)offset), ==, (gssize)length);

  return memcmp (one, other, length) == 0;
}

static int
share_range (int source, struct file_dedupe_range *range)
{
  struct file_dedupe_range_info *info = range->info;
  const guint64 length = kernel.most > 0 ? MIN (kernel.most, range->src_length) : range->src_length;
  const Range asked = { range->src_offset, range->src_length };
  struct stat found;

  g_assert_cmpuint (range->dest_count, ==, 1);
  g_assert_cmpuint (info->dest_offset, ==, range->src_offset);
  g_assert_cmpuint (range->src_length, <=, 16 << 20);
  g_assert_cmpint (fstat ((int)info->dest_fd, &found), ==, 0);
  if (found.st_nlink == 0)
    kernel.n_trials++;
  else
    g_array_append_val (kernel.asked, asked);
  if (kernel.func != NULL && found.st_nlink > 0)
    kernel.func (kernel.data);
  if (kernel.real)
    return (int)syscall (SYS_ioctl, source, FIDEDUPERANGE, range);
  if (kernel.error != 0)
    {
      errno = kernel.error;
      return -1;
    }

  info->status = -kernel.status;
  if (info->status == 0 && !is_same (source, (int)info->dest_fd, range->src_offset, length))
    info->status = FILE_DEDUPE_RANGE_DIFFERS;
  else
    info->bytes_deduped = length;

  return 0;
}

/* Before the C library's. */
int
ioctl (int fd, unsigned long request, ...)
{
  va_list values;
  gpointer argument;

  va_start (values, request);
  argument = va_arg (values, gpointer);
  va_end (values);
  if (request == FIDEDUPERANGE)
    return share_range (fd, argument);

  return (int)syscall (SYS_ioctl, fd, request, argument);
}

static void
assert_asked (const Range *expected, guint n)
{
  for (guint i = 0; i < kernel.asked->len; i++)
    g_test_message ("asked for %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT,
                    g_array_index (kernel.asked, Range, i).length / STREAM_PAGE,
                    g_array_index (kernel.asked, Range, i).offset / STREAM_PAGE);
  g_assert_cmpuint (kernel.asked->len, ==, n);
  for (guint i = 0; i < n; i++)
    {
      g_assert_cmpuint (g_array_index (kernel.asked, Range, i).offset, ==,
                        expected[i].offset * STREAM_PAGE);
      g_assert_cmpuint (g_array_index (kernel.asked, Range, i).length, ==,
                        expected[i].length * STREAM_PAGE);
    }
}

/* --- what is the same ---------------------------------------------------------------------- */

static const struct
{
  /* A digit a page. */
  const char *ours;
  const char *theirs;
  gsize unit;
  gsize least;
  /* "BEGIN+LENGTH " of each run. */
  const char *runs;
} find_table[] = {
  { "", "", 1, 1, "" },
  { "1", "1", 1, 1, "0+1 " },
  { "1", "2", 1, 1, "" },
  { "0000", "0000", 1, 1, "" },
  { "1234", "1234", 1, 4, "0+4 " },
  { "1234", "1234", 1, 5, "" },
  { "12349", "12348", 1, 4, "0+4 " },
  { "91234", "81234", 1, 4, "1+4 " },
  { "1230123", "1230123", 1, 3, "0+3 4+3 " },
  { "1230123", "1230123", 1, 4, "" },
  { "12345678", "12395678", 1, 2, "0+3 4+4 " },
  { "12345678", "12395678", 2, 2, "0+2 4+4 " },
  { "12345678", "12395678", 4, 2, "4+4 " },
  { "123456789", "123456789", 2, 2, "0+8 " },
  { "91234567", "81234567", 2, 4, "2+6 " },
  { "1204567", "1204567", 4, 4, "" },
};

static void
test_find (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (find_table); i++)
    {
      const gsize n = strlen (find_table[i].ours);
      g_autofree guint64 *ours = g_new (guint64, n + 1);
      g_autofree guint64 *theirs = g_new (guint64, n + 1);
      g_autoptr (GString) runs = g_string_new (NULL);
      gsize begin = 0, length;

      for (gsize at = 0; at < n; at++)
        {
          ours[at] = (guint64)(find_table[i].ours[at] - '0') << 40;
          theirs[at] = (guint64)(find_table[i].theirs[at] - '0') << 40;
        }
      /* What is behind the end is not looked at. */
      ours[n] = theirs[n] = 1;
      while ((length = qsnap_share_find_run (ours, theirs, n, find_table[i].unit,
                                             find_table[i].least, &begin)) > 0)
        {
          g_string_append_printf (runs, "%zu+%zu ", begin, length);
          begin += length;
        }
      g_test_message ("row %u", i);
      g_assert_cmpstr (runs->str, ==, find_table[i].runs);
    }
}

/* --- images -------------------------------------------------------------------------------- */

typedef struct
{
  char *path;
  int dir_fd;
  JsonObject *json;
  QsnapImage *image;
} Image;

typedef guint32 (*SeedFunc) (guint page);

/* Two runs, of which one is across the pieces of 16 MiB, and two that are too short. */
static guint32
seed_of_parent (guint page)
{
  return page < 100 || (page >= 4000 && page < 4200) || page == 5000 || page >= N_PAGES - 3
             ? page + 1
             : 0;
}

/* One page is another, one is zero, and some are new. */
static guint32
seed_of_child (guint page)
{
  if (page == 50)
    return 7777;

  return page == 4010 ? 0 : page >= 200 && page < 300 ? page : seed_of_parent (page);
}

static const Range all_ranges[] = {
  { 0, 50 }, { 51, 49 }, { 4000, 10 }, { 4011, 85 }, { 4096, 104 },
};
#define N_SHARED (50 + 49 + 10 + 85 + 104)

static void
build_stream (StreamBuilder *stream, guint n_pages, SeedFunc seed)
{
  stream_builder_head (stream, "pc-q35-7.2");
  stream_builder_ram_head (stream, (guint64)n_pages * STREAM_PAGE);
  stream_builder_block (stream, BLOCK, (guint64)n_pages * STREAM_PAGE);
  stream_builder_ram_tail (stream);
  stream_builder_part (stream);
  for (guint i = 0; i < n_pages; i++)
    if (seed (i) != 0)
      stream_builder_page (stream, BLOCK, (guint64)i * STREAM_PAGE, seed (i));
  stream_builder_end_part (stream);
  stream_builder_device (stream, 0, "timer", 500);
  stream_builder_end (stream, "{\"devices\": []}");
}

static void
image_make (Image *image, const char *folder, guint n_pages, SeedFunc seed, gboolean pack)
{
  g_autoptr (StreamBuilder) stream = stream_builder_new ();
  g_autoptr (GError) error = NULL;

  image->path = g_build_filename (folder, "qsnap-share-XXXXXX", NULL);
  g_assert_nonnull (g_mkdtemp (image->path));
  image->dir_fd = open (image->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (image->dir_fd, >=, 0);
  build_stream (stream, n_pages, seed);
  image->json = image_maker_write (stream, image->dir_fd, NULL, pack);
  image->image = qsnap_image_new (image->dir_fd, image->json, &error);
  g_assert_no_error (error);
}

static void
run_command (const char *first, ...)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  int status;
  va_list more;

  g_ptr_array_add (words, (gpointer)first);
  va_start (more, first);
  do
    g_ptr_array_add (words, va_arg (more, char *));
  while (words->pdata[words->len - 1] != NULL);
  va_end (more);
  g_spawn_sync (NULL, (char **)words->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                &status, &error);
  g_assert_no_error (error);
  g_spawn_check_wait_status (status, &error);
  g_assert_no_error (error);
}

static void
image_clear (Image *image)
{
  qsnap_image_free (image->image);
  json_object_unref (image->json);
  close (image->dir_fd);
  run_command ("rm", "-rf", image->path, NULL);
  g_free (image->path);
}

static void
assert_verifies (Image *image)
{
  g_autoptr (GError) error = NULL;

  qsnap_image_verify (image->image, NULL, &error);
  g_assert_no_error (error);
}

/* Of the page's last byte. */
static void
damage (Image *image, guint page)
{
  g_autofree char *path = g_build_filename (image->path, "ram", BLOCK, NULL);
  const off_t at = (off_t)(page + 1) * STREAM_PAGE - 1;
  int fd = open (path, O_RDWR | O_CLOEXEC);
  char byte;

  g_assert_cmpint (pread (fd, &byte, 1, at), ==, 1);
  byte = (char)~byte;
  g_assert_cmpint (pwrite (fd, &byte, 1, at), ==, 1);
  close (fd);
}

typedef struct
{
  Image parent;
  Image child;
} Pair;

static void
pair_make (Pair *pair, const char *folder)
{
  reset_kernel ();
  image_make (&pair->parent, folder, N_PAGES, seed_of_parent, FALSE);
  image_make (&pair->child, folder, N_PAGES, seed_of_child, FALSE);
}

static void
pair_clear (Pair *pair)
{
  image_clear (&pair->parent);
  image_clear (&pair->child);
}

static void
pair_share (Pair *pair, guint n_pages, GQuark domain, int code)
{
  g_autoptr (GError) error = NULL;
  guint64 n_bytes = 1;
  gboolean done = qsnap_image_share (pair->child.image, pair->parent.image, NULL, &n_bytes, &error);

  if (domain == 0)
    g_assert_no_error (error);
  else
    {
      g_test_message ("%s", error != NULL ? error->message : "no error");
      g_assert_error (error, domain, code);
    }
  g_assert_cmpint (done, ==, domain == 0);
  g_assert_cmpuint (n_bytes, ==, (guint64)n_pages * STREAM_PAGE);
}

static void
test_share (void)
{
  Pair pair;

  pair_make (&pair, g_get_tmp_dir ());
  pair_share (&pair, N_SHARED, 0, 0);
  assert_asked (all_ranges, G_N_ELEMENTS (all_ranges));
  assert_verifies (&pair.child);
  pair_clear (&pair);
}

/* Each time the kernel does a part of what is left. */
static void
test_parts (void)
{
  static const Range expected[] = { { 0, 50 },     { 40, 10 },   { 51, 49 },   { 91, 9 },
                                    { 4000, 10 },  { 4011, 85 }, { 4051, 45 }, { 4091, 5 },
                                    { 4096, 104 }, { 4136, 64 }, { 4176, 24 } };
  Pair pair;

  pair_make (&pair, g_get_tmp_dir ());
  kernel.most = 40 * STREAM_PAGE;
  pair_share (&pair, N_SHARED, 0, 0);
  assert_asked (expected, G_N_ELEMENTS (expected));
  pair_clear (&pair);
}

/* Nothing of what was asked for with the bad page is done, and all else is. */
static void
try_damaged (const char *folder, gboolean real)
{
  Pair pair;

  pair_make (&pair, folder);
  kernel.real = real;
  damage (&pair.parent, 4150);
  pair_share (&pair, N_SHARED - 104, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  assert_asked (all_ranges, G_N_ELEMENTS (all_ranges));
  assert_verifies (&pair.child);
  pair_clear (&pair);
}

static void
test_damaged (void)
{
  try_damaged (g_get_tmp_dir (), FALSE);
}

static void
try_refused (int error, int status, GQuark domain, int code)
{
  Pair pair;

  pair_make (&pair, g_get_tmp_dir ());
  kernel.error = error;
  kernel.status = status;
  pair_share (&pair, 0, domain, code);
  assert_asked (all_ranges, 1);
  pair_clear (&pair);
}

static void
test_refused (void)
{
  try_refused (EOPNOTSUPP, 0, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  try_refused (ENOTTY, 0, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  try_refused (0, EXDEV, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  try_refused (0, EINVAL, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  try_refused (0, ENOSPC, G_IO_ERROR, G_IO_ERROR_NO_SPACE);
}

static void
test_cancelled (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  guint64 n_bytes;
  Pair pair;

  pair_make (&pair, g_get_tmp_dir ());
  kernel.func = (AskedFunc)g_cancellable_cancel;
  kernel.data = cancellable;
  g_assert_false (
      qsnap_image_share (pair.child.image, pair.parent.image, cancellable, &n_bytes, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  /* The piece that it was in, and none behind it. */
  assert_asked (all_ranges, 4);
  g_assert_cmpuint (n_bytes, ==, (N_SHARED - 104) * STREAM_PAGE);
  pair_clear (&pair);
}

/* Nothing is the same file for file. */
static void
try_unlike (guint n_pages, gboolean pack_parent, gboolean pack_child)
{
  Pair pair;

  reset_kernel ();
  image_make (&pair.parent, g_get_tmp_dir (), n_pages, seed_of_parent, pack_parent);
  image_make (&pair.child, g_get_tmp_dir (), N_PAGES, seed_of_parent, pack_child);
  pair_share (&pair, 0, 0, 0);
  assert_asked (NULL, 0);
  pair_clear (&pair);
}

static void
test_unlike (void)
{
  try_unlike (N_PAGES + 1000, FALSE, FALSE);
  try_unlike (N_PAGES, TRUE, FALSE);
  try_unlike (N_PAGES, FALSE, TRUE);
  try_unlike (N_PAGES, TRUE, TRUE);
}

static void
test_try (void)
{
  g_autofree char *missing = g_build_filename (g_get_tmp_dir (), "qsnap-not-there", NULL);
  g_autoptr (GError) error = NULL;

  reset_kernel ();
  g_assert_true (qsnap_share_try (missing, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (kernel.n_trials, ==, 1);
  kernel.error = EOPNOTSUPP;
  g_assert_false (qsnap_share_try (g_get_tmp_dir (), &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "XFS"));
  g_clear_error (&error);
  g_assert_false (qsnap_share_try ("/proc/self/nothing/there", &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
}

/* --- XFS ----------------------------------------------------------------------------------- */

/* NULL, and TAP says why, where it cannot be had. */
static char *
mount_xfs (void)
{
  g_autofree char *program = g_find_program_in_path ("mkfs.xfs");
  g_autofree char *folder = g_dir_make_tmp ("qsnap-share-xfs-XXXXXX", NULL);
  g_autofree char *image = g_strconcat (folder, ".image", NULL);
  const char *mount[] = { "mount", "-o", "loop", image, folder, NULL };
  int status = -1;

  if (program == NULL)
    program = g_find_program_in_path ("/usr/sbin/mkfs.xfs");
  if (program != NULL && can_be_other_users (65534))
    {
      int fd = open (image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

      g_assert_cmpint (ftruncate (fd, (off_t)XFS_MIB << 20), ==, 0);
      close (fd);
      run_command (program, "-q", "-m", "reflink=1", image, NULL);
      g_spawn_sync (NULL, (char **)mount, NULL,
                    G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                    NULL, NULL, NULL, NULL, &status, NULL);
    }
  if (status == 0)
    return g_steal_pointer (&folder);

  g_test_skip ("no XFS in a file: it needs root, loop devices and mkfs.xfs");
  (void)unlink (image);
  g_rmdir (folder);

  return NULL;
}

static void
unmount (const char *folder)
{
  g_autofree char *image = g_strconcat (folder, ".image", NULL);

  run_command ("umount", folder, NULL);
  g_assert_cmpint (g_rmdir (folder), ==, 0);
  g_assert_cmpint (g_unlink (image), ==, 0);
}

static gint64
used_pages (const char *folder)
{
  int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct statvfs found;

  g_assert_cmpint (syncfs (fd), ==, 0);
  g_assert_cmpint (fstatvfs (fd, &found), ==, 0);
  close (fd);

  return (gint64)((found.f_blocks - found.f_bfree) * found.f_frsize / STREAM_PAGE);
}

static void
test_xfs (void)
{
  g_autofree char *folder = mount_xfs ();
  g_autoptr (GError) error = NULL;
  gint64 before;
  Pair pair;

  if (folder == NULL)
    return;

  pair_make (&pair, folder);
  kernel.real = TRUE;
  g_assert_true (qsnap_share_try (folder, &error));
  g_assert_no_error (error);
  before = used_pages (folder);
  pair_share (&pair, N_SHARED, 0, 0);
  /* Some blocks are the file system's own. */
  g_assert_cmpint (before - used_pages (folder), >, N_SHARED - 30);
  assert_verifies (&pair.parent);
  assert_verifies (&pair.child);

  image_clear (&pair.parent);
  assert_verifies (&pair.child);
  image_clear (&pair.child);
  try_damaged (folder, TRUE);
  unmount (folder);
}

/* --- after a capture ----------------------------------------------------------------------- */

static const Range range_of_mock = { 2 * MOCK_RUN_PAGES, MOCK_RUN_PAGES };

static QsnapSnapshot *
capture (Fixture *fixture,
         const char *name,
         gboolean share_pages,
         QsnapCompression compression,
         GCancellable *cancellable)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, name);
  QsnapSnapshot *snapshot;
  g_autoptr (GError) error = NULL;

  g_object_set (options, "share-pages", share_pages, "compression", compression, NULL);
  snapshot = qsnap_session_instant_snapshot (fixture->session, options, cancellable, &error);
  g_assert_no_error (error);

  return snapshot;
}

static void
assert_warning (QsnapSnapshot *snapshot, const char *pattern)
{
  g_auto (GStrv) warnings = qsnap_snapshot_dup_warnings (snapshot);
  g_autofree char *all = g_strjoinv ("; ", warnings);

  g_test_message ("%s", all);
  g_assert_cmpuint (g_strv_length (warnings), ==, pattern != NULL);
  if (pattern != NULL)
    g_assert_nonnull (strstr (all, pattern));
}

static void
assert_snapshot_verifies (QsnapSnapshot *snapshot)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_assert_no_error (error);
}

typedef struct
{
  Fixture fixture;
  QsnapSnapshot *first;
  QsnapSnapshot *second;
} Capture;

static void
capture_first (Capture *capture_, MockStyle style, QsnapCompression compression)
{
  reset_kernel ();
  fixture_set_up (&capture_->fixture, style, 1);
  mock_set_ram_size (capture_->fixture.mock, RAM_SIZE);
  fixture_open (&capture_->fixture);
  capture_->first = capture (&capture_->fixture, "first", FALSE, compression, NULL);
}

static void
capture_second (Capture *capture_, GCancellable *cancellable)
{
  capture_->second =
      capture (&capture_->fixture, "second", TRUE, QSNAP_COMPRESSION_NONE, cancellable);
}

static void
capture_clear (Capture *capture_)
{
  assert_snapshot_verifies (capture_->first);
  assert_snapshot_verifies (capture_->second);
  fixture_assert_no_complaints (&capture_->fixture);
  g_object_unref (capture_->first);
  g_object_unref (capture_->second);
  fixture_clear (&capture_->fixture);
}

static gboolean
can_lock (Fixture *fixture, const char *name, int how)
{
  g_autofree char *path = fixture_path (fixture, name);
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  gboolean locked = flock (fd, how | LOCK_NB) == 0;

  close (fd);

  return locked;
}

/* As a deletion does it: the saver ends a moment after its snapshot was sealed, and holds it as
 * long. */
static void
assert_can_be_deleted (Fixture *fixture, const char *name)
{
  g_autofree char *path = fixture_path (fixture, name);
  g_autoptr (GError) error = NULL;
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  g_assert_true (qsnap_snapshot_lock_directory (fd, TRUE, &error));
  g_assert_no_error (error);
  close (fd);
}

/* A revert of either may begin, a deletion may not. */
static void
assert_locked (gpointer data)
{
  g_assert_true (can_lock (data, "first", LOCK_SH));
  g_assert_true (can_lock (data, "second", LOCK_SH));
  g_assert_false (can_lock (data, "first", LOCK_EX));
  g_assert_false (can_lock (data, "second", LOCK_EX));
}

static void
test_capture (gconstpointer style)
{
  Capture made;
  g_autoptr (QsnapSnapshot) third = NULL;

  capture_first (&made, GPOINTER_TO_INT (style), QSNAP_COMPRESSION_NONE);
  kernel.func = assert_locked;
  kernel.data = &made.fixture;
  capture_second (&made, NULL);
  g_assert_cmpstr (made.fixture.news->str, ==, " point memory point memory");
  assert_warning (made.second, NULL);
  g_assert_cmpuint (kernel.n_trials, ==, 1);
  assert_asked (&range_of_mock, 1);
  assert_can_be_deleted (&made.fixture, "first");
  assert_can_be_deleted (&made.fixture, "second");

  /* Only where it is wanted. */
  reset_kernel ();
  third = capture (&made.fixture, "third", FALSE, QSNAP_COMPRESSION_NONE, NULL);
  g_assert_cmpuint (kernel.n_trials, ==, 0);
  assert_asked (NULL, 0);
  capture_clear (&made);
}

static void
test_first (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) first = NULL;

  reset_kernel ();
  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  first = capture (&fixture, "first", TRUE, QSNAP_COMPRESSION_NONE, NULL);
  assert_warning (first, NULL);
  assert_asked (NULL, 0);
  fixture_clear (&fixture);
}

static void
test_compressed_parent (void)
{
  Capture made;

  if (!qsnap_pack_is_supported (NULL))
    {
      g_test_skip ("this build has no zstd");
      return;
    }

  capture_first (&made, MOCK_STYLE_10, QSNAP_COMPRESSION_ZSTD);
  capture_second (&made, NULL);
  assert_warning (made.second, "before, first: it is compressed");
  assert_asked (NULL, 0);
  capture_clear (&made);
}

/* Somebody else holds it for himself. The snapshot on the disk does not have the warning. */
static void
test_deleted_parent (void)
{
  Capture made;
  g_autoptr (QsnapSnapshot) loaded = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *path = NULL;
  int fd;

  capture_first (&made, MOCK_STYLE_10, QSNAP_COMPRESSION_NONE);
  path = fixture_path (&made.fixture, "first");
  fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (flock (fd, LOCK_EX | LOCK_NB), ==, 0);
  capture_second (&made, NULL);
  close (fd);
  assert_warning (made.second, "brought back or deleted by somebody else");
  assert_asked (NULL, 0);
  loaded = qsnap_snapshot_load (qsnap_snapshot_get_directory (made.second), NULL, &error);
  g_assert_no_error (error);
  assert_warning (loaded, NULL);
  capture_clear (&made);
}

static void
rename_in_mock (Fixture *fixture, const char *from, const char *to)
{
  g_autofree char *old = fixture_path (fixture, from);
  g_autofree char *new = fixture_path (fixture, to);

  g_assert_cmpint (g_rename (old, new), ==, 0);
}

/* Another one has its place, which is no parent of this one. */
static void
swap_parents (MockQemu *mock, JsonObject *arguments, gpointer data)
{
  rename_in_mock (data, "other", "kept");
  rename_in_mock (data, "first", "other");
  rename_in_mock (data, "kept", "first");
}

static void
test_other_parent (void)
{
  g_autoptr (QsnapSnapshot) other = NULL;
  Capture made;

  capture_first (&made, MOCK_STYLE_10, QSNAP_COMPRESSION_NONE);
  other = capture (&made.fixture, "other", FALSE, QSNAP_COMPRESSION_NONE, NULL);
  mock_on_command (made.fixture.mock, "transaction", swap_parents, &made.fixture);
  capture_second (&made, NULL);
  assert_warning (made.second, "before, other: it is not there any more");
  assert_asked (NULL, 0);
  swap_parents (NULL, NULL, &made.fixture);
  capture_clear (&made);
}

static void
test_cancelled_capture (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  Capture made;

  capture_first (&made, MOCK_STYLE_10, QSNAP_COMPRESSION_NONE);
  kernel.func = (AskedFunc)g_cancellable_cancel;
  kernel.data = cancellable;
  capture_second (&made, cancellable);
  assert_warning (made.second, "cancelled");
  assert_asked (&range_of_mock, 1);
  capture_clear (&made);
}

static void
test_failed_capture (void)
{
  Capture made;

  capture_first (&made, MOCK_STYLE_10, QSNAP_COMPRESSION_NONE);
  kernel.status = ENOSPC;
  capture_second (&made, NULL);
  assert_warning (made.second, "No space left");
  capture_clear (&made);
}

/* The check says so, and the capture goes on without it. */
static void
test_no_reflink (void)
{
  Capture made;

  capture_first (&made, MOCK_STYLE_10, QSNAP_COMPRESSION_NONE);
  kernel.error = EOPNOTSUPP;
  capture_second (&made, NULL);
  assert_warning (made.second, "cannot share what two files have (Operation not supported): XFS");
  assert_asked (NULL, 0);
  capture_clear (&made);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  reset_kernel ();
  g_test_add_func ("/share/find", test_find);
  g_test_add_func ("/share/all", test_share);
  g_test_add_func ("/share/parts", test_parts);
  g_test_add_func ("/share/damaged", test_damaged);
  g_test_add_func ("/share/refused", test_refused);
  g_test_add_func ("/share/cancelled", test_cancelled);
  g_test_add_func ("/share/unlike", test_unlike);
  g_test_add_func ("/share/try", test_try);
  g_test_add_func ("/share/xfs", test_xfs);
  fixture_add ("/share/capture", test_capture);
  g_test_add_func ("/share/capture/first", test_first);
  g_test_add_func ("/share/capture/compressed-parent", test_compressed_parent);
  g_test_add_func ("/share/capture/deleted-parent", test_deleted_parent);
  g_test_add_func ("/share/capture/other-parent", test_other_parent);
  g_test_add_func ("/share/capture/cancelled", test_cancelled_capture);
  g_test_add_func ("/share/capture/failed", test_failed_capture);
  g_test_add_func ("/share/capture/no-reflink", test_no_reflink);

  return g_test_run ();
}
