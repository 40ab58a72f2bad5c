/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-buffer.h"
#include "memory/qsnap-image-writer.h"
#include "memory/qsnap-image.h"
#include "memory/qsnap-pack.h"
#include "qsnap/qsnap-error.h"
#include "stream-builder.h"

#define DESCRIPTION "{\"devices\": []}"
#define BIG_PAGES 6000u /* 23 MiB: raw by its length */
#define VARS_PAGES 5u   /* raw because it is asked for */
#define ROM_PAGES 3u    /* small */
#define ODD_NAME "/objects/ram 1%.sums"

static const struct
{
  const char *name;
  guint n_pages;
} blocks[] = { { "pc.ram", BIG_PAGES },
               { "system.flash1", VARS_PAGES },
               { "/rom@etc/acpi/tables", ROM_PAGES },
               { ODD_NAME, VARS_PAGES } };

static const char *const raw_blocks[] = { "system.flash1", ODD_NAME, "not there", NULL };

/* Of an image: NULL is a raw one, beside other temporary files. */
typedef struct
{
  const char *parent;
  gboolean pack;
} Kind;

static const Kind on_tmpfs = { "/dev/shm", FALSE };
static const Kind packed = { NULL, TRUE };

typedef struct
{
  char *path;
  int dir_fd;
  StreamBuilder *stream;
  guint32 *seeds[G_N_ELEMENTS (blocks)]; /* what each page is in the end; 0 is zero */
  JsonObject *json;
} Fixture;

static void
put_page (Fixture *fixture, guint block, guint page, guint32 seed)
{
  stream_builder_page (fixture->stream, blocks[block].name, (guint64)page * STREAM_PAGE, seed);
  fixture->seeds[block][page] = seed;
}

static void
build_stream (Fixture *fixture)
{
  StreamBuilder *stream = fixture->stream;
  guint64 total = 0;

  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    total += (guint64)blocks[i].n_pages * STREAM_PAGE;
  stream_builder_head (stream, "pc-q35-7.2");
  stream_builder_ram_head (stream, total);
  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    stream_builder_block (stream, blocks[i].name, (guint64)blocks[i].n_pages * STREAM_PAGE);
  stream_builder_ram_tail (stream);

  stream_builder_part (stream);
  /* More than one gathered write in a row, then alone, then at the very end. */
  for (guint i = 0; i < 600; i++)
    put_page (fixture, 0, i, 1000 + i);
  put_page (fixture, 0, 3000, 1);
  put_page (fixture, 0, 2999, 2);
  put_page (fixture, 0, BIG_PAGES - 1, 3);
  stream_builder_end_part (stream);
  stream_builder_part (stream);
  for (guint i = 0; i < VARS_PAGES; i++)
    put_page (fixture, 1, i, i % 2);
  put_page (fixture, 2, 2, 11);
  put_page (fixture, 2, 0, 0);
  put_page (fixture, 3, 4, 12);
  /* Again, as in a plain migration: the last one counts. In the gathered run, and written long ago.
   */
  put_page (fixture, 0, 4000, 20);
  put_page (fixture, 0, 4000, 21);
  put_page (fixture, 0, 4001, 22);
  put_page (fixture, 0, 4001, 0);
  put_page (fixture, 0, 5, 0);
  put_page (fixture, 0, 6, 23);
  put_page (fixture, 0, 7, 0);
  put_page (fixture, 0, 7, 24);
  /* A run that goes to the disk directly, over what is in the page cache. */
  put_page (fixture, 0, 170, 25);
  put_page (fixture, 0, 80, 26);
  for (guint i = 64; i < 192; i++)
    put_page (fixture, 0, i, 2000 + i);
  put_page (fixture, 2, 2, 0);
  put_page (fixture, 2, 1, 13);
  stream_builder_end_part (stream);
  stream_builder_device (stream, 0, "timer", 500);
  stream_builder_device (stream, 7, "pci", 300);
  stream_builder_end (stream, DESCRIPTION);
}

static gboolean
write_image (int dir_fd,
             StreamBuilder *stream,
             const char *const *raw,
             gboolean pack,
             JsonObject **json,
             GError **error)
{
  g_autoptr (QsnapImageWriter) writer = qsnap_image_writer_new (dir_fd, raw, pack, error);
  g_autoptr (QsnapStreamParser) parser =
      qsnap_stream_parser_new (&qsnap_image_writer_callbacks, writer);
  const GByteArray *bytes = stream->bytes;

  if (writer == NULL)
    return FALSE;
  for (gsize at = 0; at < bytes->len; at += 300000)
    if (!qsnap_stream_parser_push (parser, bytes->data + at, MIN (300000, bytes->len - at), error))
      return FALSE;
  if (!qsnap_stream_parser_finish (parser, error) ||
      !qsnap_image_writer_finish (writer, parser, error))
    return FALSE;
  *json = json_object_ref (qsnap_image_writer_get_json (writer));
  return TRUE;
}

static int
make_dir_in (const char *parent, char **path)
{
  int fd;

  *path = g_build_filename (parent, "qsnap-image-XXXXXX", NULL);
  g_assert_nonnull (g_mkdtemp (*path));
  fd = open (*path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  return fd;
}

static int
make_dir (char **path)
{
  return make_dir_in (g_get_tmp_dir (), path);
}

static void
remove_dir (const char *path)
{
  const char *argv[] = { "rm", "-rf", path, NULL };

  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
}

static void
set_up (Fixture *fixture, gconstpointer data)
{
  const Kind *kind = data;
  gboolean pack = kind != NULL && kind->pack;
  g_autoptr (GError) error = NULL;

  fixture->dir_fd = make_dir_in (
      kind != NULL && kind->parent != NULL ? kind->parent : g_get_tmp_dir (), &fixture->path);
  fixture->stream = stream_builder_new ();
  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    fixture->seeds[i] = g_new0 (guint32, blocks[i].n_pages);
  build_stream (fixture);
  write_image (fixture->dir_fd, fixture->stream, raw_blocks, pack, &fixture->json, &error);
  g_assert_no_error (error);
}

static void
tear_down (Fixture *fixture, gconstpointer data)
{
  close (fixture->dir_fd);
  remove_dir (fixture->path);
  g_free (fixture->path);
  stream_builder_free (fixture->stream);
  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    g_free (fixture->seeds[i]);
  json_object_unref (fixture->json);
}

static QsnapImage *
open_image (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;
  QsnapImage *image = qsnap_image_new (fixture->dir_fd, fixture->json, &error);

  g_assert_no_error (error);
  return image;
}

static void
assert_verifies (Fixture *fixture)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  g_autoptr (GError) error = NULL;

  qsnap_image_verify (image, NULL, &error);
  g_assert_no_error (error);
}

static void
expect_page (guint8 *page, guint32 seed)
{
  memset (page, 0, STREAM_PAGE);
  if (seed != 0)
    stream_builder_fill (page, seed);
}

static void
assert_content (Fixture *fixture)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  g_autoptr (GError) error = NULL;

  g_assert_cmpuint (qsnap_image_get_n_blocks (image), ==, G_N_ELEMENTS (blocks));
  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    for (guint n = 0; n < blocks[i].n_pages; n++)
      {
        guint8 page[STREAM_PAGE], expected[STREAM_PAGE];

        qsnap_image_read (image, i, (guint64)n * STREAM_PAGE, page, sizeof page, &error);
        g_assert_no_error (error);
        expect_page (expected, fixture->seeds[i][n]);
        g_assert_cmpmem (page, sizeof page, expected, sizeof expected);
      }
}

static gint64
get_size (Fixture *fixture, const char *file, gint64 *blocks_used)
{
  struct stat info;

  g_assert_cmpint (fstatat (fixture->dir_fd, file, &info, AT_SYMLINK_NOFOLLOW), ==, 0);
  g_assert_cmpuint (info.st_mode & 07777, ==, S_ISDIR (info.st_mode) ? 0700 : 0600);
  if (blocks_used != NULL)
    *blocks_used = info.st_blocks * 512;
  return info.st_size;
}

static void
test_round_trip (Fixture *fixture, gconstpointer data)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  guint64 n_data = 0, n_pages = 0;
  gint64 used;

  g_assert_cmpint (get_size (fixture, "ram/pc.ram", &used), ==, BIG_PAGES * STREAM_PAGE);
  g_assert_cmpint (used, <, 700 * STREAM_PAGE);
  g_assert_cmpint (get_size (fixture, "ram/pc.ram.sums", NULL), ==, BIG_PAGES * 8);
  get_size (fixture, "ram", NULL);
  get_size (fixture, "memory.json", NULL);
  get_size (fixture, "ram/%2Fobjects%2Fram%201%25%2Esums", NULL);
  get_size (fixture, "ram/%2Fobjects%2Fram%201%25%2Esums.sums", NULL);
  g_assert_cmpstr (qsnap_image_get_machine (image), ==, "pc-q35-7.2");
  g_assert_cmpstr (qsnap_image_get_block_file (image, 0), ==, "ram/pc.ram");
  g_assert_null (qsnap_image_get_block_file (image, 2));

  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    for (guint n = 0; n < blocks[i].n_pages; n++, n_pages++)
      n_data += fixture->seeds[i][n] != 0;
  g_assert_cmpint (json_object_get_int_member (fixture->json, "pages"), ==, n_data);
  /* 4001, 5; flash pages 0, 2, 4; rom pages 0 and 2 */
  g_assert_cmpint (json_object_get_int_member (fixture->json, "zero-pages"), ==, 7);
  g_assert_cmpint (json_object_get_int_member (fixture->json, "absent-pages"), ==,
                   n_pages - n_data - 7);
  g_assert_cmpint (json_object_get_int_member (fixture->json, "stream-bytes"), ==,
                   fixture->stream->bytes->len);
  assert_content (fixture);
  assert_verifies (fixture);
}

static void
test_load_json (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) json = qsnap_image_load_json (fixture->dir_fd, &error);
  g_autoptr (QsnapImage) image = NULL;
  g_autofree char *path = g_build_filename (fixture->path, "memory.json", NULL);
  g_autofree char *deep = g_strnfill (300000, '[');

  g_assert_no_error (error);
  image = qsnap_image_new (fixture->dir_fd, json, &error);
  g_assert_no_error (error);

  g_file_set_contents (path, deep, -1, NULL);
  g_assert_null (qsnap_image_load_json (fixture->dir_fd, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_clear_error (&error);
  g_unlink (path);
  g_assert_null (qsnap_image_load_json (fixture->dir_fd, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
}

static void
test_read_parts (Fixture *fixture, gconstpointer data)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  g_autofree guint8 *whole = g_malloc (BIG_PAGES * STREAM_PAGE);
  g_autofree guint8 *part = g_malloc (BIG_PAGES * STREAM_PAGE);
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < BIG_PAGES; i++)
    expect_page (whole + i * STREAM_PAGE, fixture->seeds[0][i]);
  for (guint i = 0; i < 50; i++)
    {
      gint32 begin = g_test_rand_int_range (0, 700 * STREAM_PAGE);
      gint32 len = g_test_rand_int_range (0, i < 40 ? 20000 : 3000000);

      qsnap_image_read (image, 0, begin, part, len, &error);
      g_assert_no_error (error);
      g_assert_cmpmem (part, len, whole + begin, len);
    }
  g_assert_false (qsnap_image_read (image, 0, BIG_PAGES * STREAM_PAGE - 1, part, 2, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (qsnap_image_read (image, 2, G_MAXUINT64, part, 1, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
}

/* ---- damage ---- */

static void
flip (Fixture *fixture, const char *file, gint64 offset)
{
  int fd = openat (fixture->dir_fd, file, O_RDWR);
  guint8 byte;

  g_assert_cmpint (pread (fd, &byte, 1, offset), ==, 1);
  byte ^= 0x10;
  g_assert_cmpint (pwrite (fd, &byte, 1, offset), ==, 1);
  close (fd);
}

static void
assert_damaged (Fixture *fixture, const char *text)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_image_verify (image, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  if (strstr (error->message, text) == NULL)
    g_error ("no “%s” in “%s”", text, error->message);
}

static void
test_flips (Fixture *fixture, gconstpointer data)
{
  static const char *const files[] = { "ram/pc.ram", "ram/pc.ram.sums", "ram/system.flash1",
                                       "ram/system.flash1.sums", "state" };

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    for (guint n = 0; n < 40; n++)
      {
        gint64 size = get_size (fixture, files[i], NULL);
        /* The first and the last byte, data, and bytes in holes. */
        gint64 at = n == 0 ? 0 : n == 1 ? size - 1 : g_test_rand_int_range (0, (gint32)size);

        flip (fixture, files[i], at);
        assert_damaged (fixture, files[i]);
        flip (fixture, files[i], at);
      }
  assert_verifies (fixture);
}

/* Each single byte of the small files; of a guest that has nothing else. */
static void
test_every_flip (Fixture *fixture, gconstpointer data)
{
  static const char *const files[] = { "ram/a", "ram/a.sums", "state" };
  g_autoptr (GError) error = NULL;
  StreamBuilder *stream = fixture->stream;

  close (fixture->dir_fd);
  remove_dir (fixture->path);
  g_free (fixture->path);
  fixture->dir_fd = make_dir (&fixture->path);
  g_byte_array_set_size (stream->bytes, 0);
  stream_builder_head (stream, "pc");
  stream_builder_ram_head (stream, 3 * STREAM_PAGE);
  stream_builder_block (stream, "a", 2 * STREAM_PAGE);
  stream_builder_block (stream, "b", STREAM_PAGE);
  stream_builder_ram_tail (stream);
  stream_builder_part (stream);
  stream_builder_page (stream, "a", STREAM_PAGE, 1);
  stream_builder_end_part (stream);
  stream_builder_device (stream, 0, "timer", 50);
  stream_builder_end (stream, NULL);
  json_object_unref (fixture->json);
  write_image (fixture->dir_fd, stream, (const char *const[]){ "a", NULL }, FALSE, &fixture->json,
               &error);
  g_assert_no_error (error);

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    for (gint64 at = 0; at < get_size (fixture, files[i], NULL); at++)
      {
        flip (fixture, files[i], at);
        assert_damaged (fixture, files[i]);
        flip (fixture, files[i], at);
      }
  assert_verifies (fixture);
}

static void
test_lost_files (Fixture *fixture, gconstpointer data)
{
  g_autofree char *ram = g_build_filename (fixture->path, "ram/pc.ram", NULL);
  g_autofree char *away = g_build_filename (fixture->path, "away", NULL);
  g_autofree char *ram_dir = g_build_filename (fixture->path, "ram", NULL);
  g_autofree char *state = g_build_filename (fixture->path, "state", NULL);

  g_assert_cmpint (g_rename (ram, away), ==, 0);
  assert_damaged (fixture, "missing");
  g_assert_cmpint (symlink (away, ram), ==, 0);
  assert_damaged (fixture, "“pc.ram” of the snapshot is not a regular file");
  g_unlink (ram);
  g_assert_cmpint (mkfifo (ram, 0600), ==, 0);
  assert_damaged (fixture, "not a regular file");
  g_unlink (ram);
  g_assert_cmpint (g_rename (away, ram), ==, 0);

  g_assert_cmpint (truncate (ram, BIG_PAGES * STREAM_PAGE - 1), ==, 0);
  assert_damaged (fixture, "bytes");
  /* The same length, but a page is gone. */
  g_assert_cmpint (truncate (ram, BIG_PAGES * STREAM_PAGE), ==, 0);
  assert_damaged (fixture, "ram/pc.ram");
  g_assert_cmpint (truncate (ram, (BIG_PAGES - 1) * STREAM_PAGE), ==, 0);
  g_assert_cmpint (truncate (ram, BIG_PAGES * STREAM_PAGE), ==, 0);
  assert_damaged (fixture, "0x176f000 of the file “ram/pc.ram” is missing");

  g_assert_cmpint (truncate (state, 100), ==, 0);
  assert_damaged (fixture, "“state”");
  g_unlink (state);
  assert_damaged (fixture, "“state”");

  g_assert_cmpint (g_rename (ram_dir, away), ==, 0);
  g_assert_cmpint (symlink (away, ram_dir), ==, 0);
  {
    g_autoptr (QsnapImage) image = open_image (fixture);
    guint8 byte;

    g_assert_false (qsnap_image_read (image, 0, 0, &byte, 1, NULL));
  }
}

static void
test_other_owner (Fixture *fixture, gconstpointer data)
{
  /* In a container root may have no other users. */
  if (fchownat (fixture->dir_fd, "state", 12345, -1, 0) != 0)
    {
      g_test_skip ("needs root");
      return;
    }
  assert_damaged (fixture, "12345");
  /* Root may look at a user's snapshot. */
  g_assert_cmpint (fchown (fixture->dir_fd, 12345, -1), ==, 0);
  assert_verifies (fixture);
}

/* ---- hostile descriptions ---- */

static void
assert_rejected (Fixture *fixture, const char *from, const char *to)
{
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), fixture->json);
  g_autofree char *text = json_to_string (node, FALSE);
  g_auto (GStrv) parts = g_strsplit (text, from, 2);
  g_autofree char *changed = NULL;
  g_autoptr (JsonNode) parsed = NULL;
  g_autoptr (QsnapImage) image = NULL;
  g_autoptr (GError) error = NULL;

  if (g_strv_length (parts) != 2)
    g_error ("no “%s” in %s", from, text);
  changed = g_strjoinv (to, parts);
  parsed = json_from_string (changed, &error);
  g_assert_no_error (error);
  image = qsnap_image_new (fixture->dir_fd, json_node_get_object (parsed), &error);
  if (image != NULL)
    qsnap_image_verify (image, NULL, &error);
  if (error == NULL)
    g_error ("accepted: %s", changed);
  g_assert_true (error->domain == QSNAP_ERROR);
}

static void
test_hostile_json (Fixture *fixture, gconstpointer data)
{
  static const struct
  {
    const char *from;
    const char *to;
  } changes[] = {
    { "\"format\":1", "\"format\":3" },
    { "\"format\":1", "\"format\":\"1\"" },
    { "\"format\":1,", "" },
    { "\"page-size\":4096", "\"page-size\":16384" },
    { "xxh3-64", "md5" },
    { "pc-q35-7.2", "pc-q35-8.0" },
    { "\"machine\":\"pc-q35-7.2\",", "" },
    { "\"machine\":\"pc-q35-7.2\"", "\"machine\":{}" },
    { "\"name\":\"pc.ram\"", "\"name\":\"../x\"" },
    { "\"name\":\"pc.ram\"", "\"name\":\"system.flash1\"" },
    { "\"name\":\"pc.ram\"", "\"name\":\"\"" },
    { "\"name\":\"pc.ram\"", "\"name\":7" },
    { "\"name\":\"pc.ram\"", "\"name\":null" },
    { "ram/pc.ram\"", "ram/../../etc/passwd\"" },
    { "ram/pc.ram\"", "/etc/passwd\"" },
    { "ram/pc.ram.sums", "ram/system.flash1.sums" },
    { "\"file\":\"ram/pc.ram\",", "" },
    { "\"length\":24576000", "\"length\":24576001" },
    { "\"length\":24576000", "\"length\":0" },
    { "\"length\":24576000", "\"length\":-4096" },
    { "\"length\":24576000", "\"length\":9223372036854771712" },
    { "\"length\":24576000", "\"length\":18446744073709547520" },
    { "\"length\":24576000", "\"length\":24576000.0" },
    { "\"length\":24576000", "\"length\":\"24576000\"" },
    { "\"length\":24576000", "\"length\":24580096" },
    { "\"pages\":", "\"pages\":1" },
    { "\"zero-pages\":7", "\"zero-pages\":8" },
    { "\"absent-pages\":", "\"absent-pages\":1" },
    { "\"absent-pages\":", "\"absent\":" },
    { "\"stream-bytes\":", "\"stream-bytes\":-" },
    { "\"file\":\"state\"", "\"file\":\"ram/pc.ram\"" },
    { "\"device-offset\":", "\"device-offset\":1" },
    { "\"device-offset\":", "\"device-offset\":-1" },
    { "\"eof-offset\":", "\"eof-offset\":9223372036854775807,\"x\":" },
    { "\"eof-offset\":", "\"eof-offset\":12400,\"x\":" },
    { "\"state\":{", "\"state\":[],\"x\":{" },
    { "\"state\":{", "\"x\":{" },
    { "\"blocks\":[", "\"blocks\":[null," },
    { "\"blocks\":[", "\"blocks\":[],\"x\":[" },
    { "\"blocks\":[", "\"blocks\":{},\"x\":[" },
    { "\"sums-checksum\":\"", "\"sums-checksum\":\"00" },
    { "\"sums-checksum\":\"", "\"sums-checksum\":1,\"x\":\"" },
    { "\"checksum\":\"", "\"checksum\":null,\"x\":\"" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (changes); i++)
    assert_rejected (fixture, changes[i].from, changes[i].to);
}

/* ---- export ---- */

typedef struct
{
  Fixture *fixture;
  guint8 *counts[G_N_ELEMENTS (blocks)];
} Exported;

static gboolean
check_page (guint block, guint64 offset, const guint8 *data, gpointer user_data, GError **error)
{
  static const guint8 zeros[STREAM_PAGE];
  Exported *exported = user_data;
  guint page = (guint)(offset / STREAM_PAGE);
  guint8 expected[STREAM_PAGE];

  exported->counts[block][page]++;
  expect_page (expected, exported->fixture->seeds[block][page]);
  g_assert_cmpmem (data != NULL ? data : zeros, STREAM_PAGE, expected, STREAM_PAGE);
  return TRUE;
}

static gboolean
check_device_state (
    const guint8 *data, gsize len, gsize eof_offset, gpointer user_data, GError **error)
{
  const GByteArray *stream = ((Exported *)user_data)->fixture->stream->bytes;

  g_assert_cmpmem (data, len, stream->data + stream->len - len, len);
  g_assert_cmpuint (eof_offset, ==, len - 6 - strlen (DESCRIPTION));
  return TRUE;
}

typedef struct
{
  int fd;
  GByteArray *bytes;
} Reader;

static gpointer
read_slowly (gpointer data)
{
  Reader *reader = data;
  guint8 buffer[50000];
  gssize n;

  while ((n = read (reader->fd, buffer, sizeof buffer)) > 0)
    {
      g_byte_array_append (reader->bytes, buffer, (guint)n);
      if (reader->bytes->len % 7 == 0)
        g_usleep (1000);
    }
  close (reader->fd);
  return NULL;
}

static GByteArray *
export_through (Fixture *fixture, int read_fd, int write_fd)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  g_autoptr (GError) error = NULL;
  Reader reader = { read_fd, g_byte_array_new () };
  GThread *thread = g_thread_new ("reader", read_slowly, &reader);

  qsnap_image_export (image, write_fd, NULL, &error);
  g_assert_no_error (error);
  close (write_fd);
  g_thread_join (thread);
  return reader.bytes;
}

static void
assert_exported (Fixture *fixture, GByteArray *bytes)
{
  const QsnapStreamCallbacks callbacks = { NULL, NULL, check_page, check_device_state };
  Exported exported = { fixture, { NULL } };
  g_autoptr (QsnapStreamParser) parser = qsnap_stream_parser_new (&callbacks, &exported);
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    exported.counts[i] = g_malloc0 (blocks[i].n_pages);
  qsnap_stream_parser_push (parser, bytes->data, bytes->len, &error);
  g_assert_no_error (error);
  qsnap_stream_parser_finish (parser, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++)
    {
      for (guint n = 0; n < blocks[i].n_pages; n++)
        g_assert_cmpuint (exported.counts[i][n], ==, 1);
      g_free (exported.counts[i]);
    }
  g_byte_array_unref (bytes);
}

static void
test_export (Fixture *fixture, gconstpointer data)
{
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  assert_exported (fixture, export_through (fixture, fds[0], fds[1]));
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  fcntl (fds[1], F_SETFL, O_NONBLOCK);
  assert_exported (fixture, export_through (fixture, fds[0], fds[1]));
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  fcntl (fds[1], F_SETFL, O_NONBLOCK);
  assert_exported (fixture, export_through (fixture, fds[0], fds[1]));
}

static void
test_export_to_file (Fixture *fixture, gconstpointer data)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (fixture->path, "export", NULL);
  g_autofree char *text = NULL;
  gsize len;
  int fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

  qsnap_image_export (image, fd, NULL, &error);
  g_assert_no_error (error);
  close (fd);
  g_file_get_contents (path, &text, &len, &error);
  g_assert_no_error (error);
  assert_exported (fixture, g_byte_array_new_take ((guint8 *)g_steal_pointer (&text), len));
}

static gpointer
cancel_later (gpointer cancellable)
{
  g_usleep (100000);
  g_cancellable_cancel (cancellable);
  return NULL;
}

static void
test_export_failures (Fixture *fixture, gconstpointer data)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  sigset_t pending;
  GThread *thread;
  int fds[2], full;

  /* The default action of SIGPIPE would end this test. */
  signal (SIGPIPE, SIG_DFL);
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  close (fds[0]);
  g_assert_false (qsnap_image_export (image, fds[1], NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE);
  g_clear_error (&error);
  close (fds[1]);
  sigpending (&pending);
  g_assert_false (sigismember (&pending, SIGPIPE));

  full = open ("/dev/full", O_WRONLY | O_CLOEXEC);
  g_assert_false (qsnap_image_export (image, full, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NO_SPACE);
  g_clear_error (&error);
  close (full);

  /* A blocking pipe that nobody reads. */
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  thread = g_thread_new ("cancel", cancel_later, cancellable);
  g_assert_false (qsnap_image_export (image, fds[1], cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
  g_thread_join (thread);
  close (fds[0]);
  close (fds[1]);

  flip (fixture, "ram/pc.ram", 4096);
  full = open ("/dev/null", O_WRONLY | O_CLOEXEC);
  g_assert_false (qsnap_image_export (image, full, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  close (full);
}

/* ---- replacing a block ---- */

static void
test_replace (Fixture *fixture, gconstpointer data)
{
  g_autofree char *path = g_build_filename (fixture->path, "vars", NULL);
  guint8 vars[2 * STREAM_PAGE + 100];
  guint8 page[STREAM_PAGE] = { 0 };
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) stored = NULL;
  g_autoptr (QsnapImage) image = NULL;
  int fd;

  stream_builder_fill (vars, 77);
  stream_builder_fill (vars + STREAM_PAGE, 78);
  memset (vars + 2 * STREAM_PAGE, 0xff, 100);
  g_file_set_contents (path, (char *)vars, sizeof vars, &error);
  g_assert_no_error (error);
  fd = open (path, O_RDONLY | O_CLOEXEC);
  qsnap_image_replace_block (fixture->dir_fd, fixture->json, ODD_NAME, fd, sizeof vars, &error);
  g_assert_no_error (error);

  assert_verifies (fixture);
  image = open_image (fixture);
  qsnap_image_read (image, 3, 2 * STREAM_PAGE, page, sizeof page, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (page, 100, vars + 2 * STREAM_PAGE, 100);
  for (guint i = 100; i < sizeof page; i++)
    g_assert_cmpuint (page[i], ==, 0);
  qsnap_image_read (image, 3, 4 * STREAM_PAGE, page, sizeof page, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (page[0], ==, 0);
  stored = qsnap_image_load_json (fixture->dir_fd, &error);
  g_assert_no_error (error);
  g_assert_cmpint (json_object_get_int_member (stored, "pages"), ==,
                   json_object_get_int_member (fixture->json, "pages"));

  /* What cannot be, changes nothing. */
  g_assert_false (qsnap_image_replace_block (fixture->dir_fd, fixture->json, "none", fd, 1, NULL));
  g_assert_false (qsnap_image_replace_block (fixture->dir_fd, fixture->json, "/rom@etc/acpi/tables",
                                             fd, 1, NULL));
  g_assert_false (qsnap_image_replace_block (fixture->dir_fd, fixture->json, "system.flash1", fd,
                                             6 * STREAM_PAGE, NULL));
  g_assert_false (qsnap_image_replace_block (fixture->dir_fd, fixture->json, "system.flash1", fd,
                                             3 * STREAM_PAGE, NULL));
  close (fd);
  assert_verifies (fixture);
}

/* ---- writing ---- */

static void
test_existing (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) json = NULL;

  g_assert_false (write_image (fixture->dir_fd, fixture->stream, raw_blocks, FALSE, &json, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_EXISTS);
  assert_verifies (fixture);
}

static void
test_no_pages (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) json = NULL;
  g_autofree char *path = NULL;
  int dir_fd = make_dir (&path);

  g_byte_array_set_size (fixture->stream->bytes, 0);
  stream_builder_head (fixture->stream, "pc");
  stream_builder_ram_head (fixture->stream, STREAM_PAGE);
  stream_builder_block (fixture->stream, "a", STREAM_PAGE);
  stream_builder_ram_tail (fixture->stream);
  stream_builder_device (fixture->stream, 0, "timer", 50);
  stream_builder_end (fixture->stream, NULL);
  g_assert_false (write_image (dir_fd, fixture->stream, NULL, FALSE, &json, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  close (dir_fd);
  remove_dir (path);
}

static void
test_names (void)
{
  static const struct
  {
    const char *name;
    const char *path;
  } names[] = {
    { "pc.ram", "ram/pc.ram" }, { ".", "ram/%2E" },
    { "..", "ram/%2E." },       { "../../etc/passwd", "ram/%2E.%2F..%2Fetc%2Fpasswd" },
    { "a%2F", "ram/a%252F" },   { "x.sums", "ram/x%2Esums" },
    { "x.zst", "ram/x%2Ezst" }, { "0000:00:02.0/vga.vram", "ram/0000%3A00%3A02.0%2Fvga.vram" }
  };
  g_autofree char *longest = g_strnfill (255, '/');
  g_autofree char *path = qsnap_image_sums_path (longest, FALSE);
  g_autofree char *other = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *made = qsnap_image_block_path (names[i].name, FALSE);

      g_assert_cmpstr (made, ==, names[i].path);
    }
  g_assert_cmpuint (strlen (path), <, 4 + 255);
  longest[254] = ':';
  other = qsnap_image_sums_path (longest, FALSE);
  g_assert_cmpstr (path, !=, other);
}

/* ---- buffers ---- */

/* What the kernel says of the mapping that begins at @address. */
static char *
flags_of_mapping (gconstpointer address)
{
  g_autofree char *begin = g_strdup_printf ("%" G_GINTPTR_MODIFIER "x-", (guintptr)address);
  g_autofree char *maps = NULL;
  const char *mapping, *flags;

  g_assert_true (g_file_get_contents ("/proc/self/smaps", &maps, NULL, NULL));
  mapping = strstr (maps, begin);
  g_assert_nonnull (mapping);
  flags = strstr (mapping, "VmFlags:");
  g_assert_nonnull (flags);
  return g_strndup (flags, strcspn (flags, "\n"));
}

static void
test_buffer (void)
{
  QsnapBuffer *buffer = qsnap_buffer_new (3 * STREAM_PAGE + 1);
  /* The mapping's first page is the buffer's own. */
  g_autofree char *flags = flags_of_mapping (buffer - STREAM_PAGE);

  g_test_message ("%s", flags);
  g_assert_nonnull (strstr (flags, " dd"));
  for (guint i = 0; i <= 3 * STREAM_PAGE; i++)
    g_assert_cmpuint (buffer[i], ==, 0);
  memset (buffer, 0xff, 3 * STREAM_PAGE + 1);
  qsnap_buffer_free (buffer);
  qsnap_buffer_free (NULL);
  g_assert_null (qsnap_buffer_try_new (G_MAXSIZE));
  g_assert_null (qsnap_buffer_try_new (G_MAXSIZE / 2));
}

/* ---- compressed ---- */

static JsonObject *
packed_block (Fixture *fixture)
{
  return json_array_get_object_element (json_object_get_array_member (fixture->json, "blocks"), 0);
}

static void
test_packed (Fixture *fixture, gconstpointer data)
{
  g_autoptr (QsnapImage) image = open_image (fixture);
  JsonObject *block = packed_block (fixture);

  g_assert_cmpint (json_object_get_int_member (fixture->json, "format"), ==, 2);
  g_assert_cmpstr (json_object_get_string_member (block, "compression"), ==, "zstd");
  g_assert_cmpstr (json_object_get_string_member (block, "file"), ==, "ram/pc.ram.zst");
  g_assert_cmpint (get_size (fixture, "ram/pc.ram.zst", NULL), ==,
                   json_object_get_int_member (block, "packed-length"));
  g_assert_cmpint (get_size (fixture, "ram/pc.ram.zst.sums", NULL), ==, BIG_PAGES * 16);
  /* Those that were asked for are as they were. */
  g_assert_cmpint (get_size (fixture, "ram/system.flash1", NULL), ==, VARS_PAGES * STREAM_PAGE);
  g_assert_true (qsnap_image_is_packed (image));
  assert_content (fixture);
  assert_verifies (fixture);
}

/* Pages that are alike take next to nothing; the file is one that any program decompresses. */
static void
test_packed_size (Fixture *fixture, gconstpointer data)
{
  StreamBuilder *stream = fixture->stream;
  g_autoptr (GError) error = NULL;
  g_autofree char *path = NULL;
  int dir_fd = make_dir (&path);

  g_byte_array_set_size (stream->bytes, 0);
  stream_builder_head (stream, "pc");
  stream_builder_ram_head (stream, BIG_PAGES * STREAM_PAGE);
  stream_builder_block (stream, "pc.ram", BIG_PAGES * STREAM_PAGE);
  stream_builder_ram_tail (stream);
  stream_builder_part (stream);
  for (guint i = 0; i < BIG_PAGES; i++)
    stream_builder_page (stream, "pc.ram", (guint64)i * STREAM_PAGE, 77);
  stream_builder_end_part (stream);
  stream_builder_device (stream, 0, "timer", 50);
  stream_builder_end (stream, NULL);
  g_clear_pointer (&fixture->json, json_object_unref);
  write_image (dir_fd, stream, NULL, TRUE, &fixture->json, &error);
  g_assert_no_error (error);
  g_assert_cmpint (json_object_get_int_member (packed_block (fixture), "packed-length"), <,
                   BIG_PAGES * STREAM_PAGE / 12);
  close (dir_fd);
  remove_dir (path);
}

/* A flipped bit is found, or it is one that nothing depends on. */
static void
test_packed_flips (Fixture *fixture, gconstpointer data)
{
  static const char *const files[] = { "ram/pc.ram.zst", "ram/pc.ram.zst.sums" };

  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      gint64 size = get_size (fixture, files[i], NULL);
      guint n_found = 0;

      for (guint n = 0; n < 60; n++)
        {
          gint64 at = g_test_rand_int_range (0, (gint32)size);
          g_autoptr (QsnapImage) image = open_image (fixture);
          g_autoptr (GError) error = NULL;

          flip (fixture, files[i], at);
          if (qsnap_image_verify (image, NULL, &error))
            assert_content (fixture);
          else
            {
              g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
              n_found++;
            }
          flip (fixture, files[i], at);
        }
      g_assert_cmpuint (n_found, >, 30);
    }
  assert_verifies (fixture);
}

static void
put_place (Fixture *fixture, guint page, guint64 place)
{
  guint64 value = GUINT64_TO_LE (place);
  int fd = openat (fixture->dir_fd, "ram/pc.ram.zst.sums", O_RDWR);

  g_assert_cmpint (pwrite (fd, &value, sizeof value, page * 16 + 8), ==, sizeof value);
  close (fd);
}

/* Places that lead nowhere, into the middle of a frame, or to another page. */
static void
test_packed_places (Fixture *fixture, gconstpointer data)
{
  gint64 length = json_object_get_int_member (packed_block (fixture), "packed-length");
  const guint64 places[] = {
    G_MAXUINT64, (guint64)length * 16, (guint64)(length - 1) * 16, (guint64)1 << 63,
    16,          5 * 16 + 3,           G_MAXUINT64 - 4095,         1
  };

  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      g_autoptr (QsnapImage) image = open_image (fixture);
      g_autoptr (GError) error = NULL;
      guint8 page[STREAM_PAGE];

      put_place (fixture, 300, places[i]);
      g_assert_false (qsnap_image_read (image, 0, 300 * STREAM_PAGE, page, sizeof page, &error));
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
      g_assert_true ((strstr (error->message, "behind the end") != NULL) ==
                     (places[i] / 16 >= (guint64)length));
      g_clear_error (&error);
      /* The others can be read all the same. */
      g_assert_true (qsnap_image_read (image, 0, 301 * STREAM_PAGE, page, sizeof page, &error));
      g_assert_no_error (error);
    }
}

static void
test_packed_hostile_json (Fixture *fixture, gconstpointer data)
{
  assert_rejected (fixture, "\"compression\":\"zstd\"", "\"compression\":\"lz4\"");
  assert_rejected (fixture, "\"compression\":\"zstd\"", "\"compression\":1");
  assert_rejected (fixture, "\"compression\":\"zstd\"", "\"x\":1");
  assert_rejected (fixture, "\"packed-length\":", "\"packed-length\":1");
  assert_rejected (fixture, "\"packed-length\":", "\"packed-length\":-");
  assert_rejected (fixture, "\"packed-length\":", "\"x\":");
}

static void
add_packed (void)
{
  static const struct
  {
    const char *path;
    void (*func) (Fixture *, gconstpointer);
  } tests[] = { { "round-trip", test_packed },
                { "size", test_packed_size },
                { "flips", test_packed_flips },
                { "places", test_packed_places },
                { "hostile-json", test_packed_hostile_json },
                { "read-parts", test_read_parts },
                { "export", test_export },
                { "export-to-file", test_export_to_file } };

  if (!qsnap_pack_is_supported (NULL))
    return;
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++)
    {
      g_autofree char *path = g_strconcat ("/image/packed/", tests[i].path, NULL);

      g_test_add (path, Fixture, &packed, set_up, tests[i].func, tear_down);
    }
}

#define ADD(name, func) g_test_add ("/image/" name, Fixture, NULL, set_up, func, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("round-trip", test_round_trip);
  /* Where nothing can go to a disk directly. */
  g_test_add ("/image/round-trip-on-tmpfs", Fixture, &on_tmpfs, set_up, test_round_trip, tear_down);
  add_packed ();
  ADD ("load-json", test_load_json);
  ADD ("read-parts", test_read_parts);
  ADD ("flips", test_flips);
  ADD ("every-flip", test_every_flip);
  ADD ("lost-files", test_lost_files);
  ADD ("other-owner", test_other_owner);
  g_test_add_func ("/image/buffer", test_buffer);
  ADD ("hostile-json", test_hostile_json);
  ADD ("export", test_export);
  ADD ("export-to-file", test_export_to_file);
  ADD ("export-failures", test_export_failures);
  ADD ("replace", test_replace);
  ADD ("existing", test_existing);
  ADD ("no-pages", test_no_pages);
  g_test_add_func ("/image/names", test_names);
  return g_test_run ();
}
