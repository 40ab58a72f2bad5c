/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "stream-check.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "memory/qsnap-image-writer.h"
#include "memory/qsnap-image.h"
#include "memory/qsnap-postcopy.h"
#include "memory/qsnap-stream-parser.h"
#include "qsnap/qsnap-error.h"

/* An image is only made of so little RAM. */
#define MAX_RAM (1024 * 1024)
#define MAX_BYTEWISE 8192

typedef enum
{
  BEFORE_PREFIX,
  BEFORE_SETUP,
  IN_PAGES,
  BEHIND_DEVICES
} Place;

/* What a parser told. */
typedef struct
{
  Place place;
  GArray *lengths; /* guint64 of each block */
  guint64 ram;
  guint64 n_pages;
  QsnapDigest *digest;
} Told;

static gboolean
on_prefix (const guint8 *data, gsize len, gpointer user_data, G_GNUC_UNUSED GError **error)
{
  Told *told = user_data;
  g_autoptr (GByteArray) copy = g_byte_array_new ();
  g_autoptr (GError) failure = NULL;

  g_assert (told->place == BEFORE_PREFIX);
  told->place = BEFORE_SETUP;
  qsnap_digest_update (told->digest, data, len);
  if (qsnap_stream_copy_configuration (data, len, copy, &failure))
    g_assert (copy->len <= len);
  else
    g_assert (g_error_matches (failure, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED));

  return TRUE;
}

static gboolean
on_ram_setup (const QsnapStreamBlock *blocks,
              guint n_blocks,
              const guint8 *data,
              gsize len,
              gpointer user_data,
              G_GNUC_UNUSED GError **error)
{
  Told *told = user_data;

  g_assert (told->place == BEFORE_SETUP && n_blocks > 0 && n_blocks <= QSNAP_STREAM_MAX_BLOCKS);
  told->place = IN_PAGES;
  qsnap_digest_update (told->digest, data, len);
  for (guint i = 0; i < n_blocks; i++)
    {
      g_assert (qsnap_stream_name_is_valid (blocks[i].name, strlen (blocks[i].name)));
      g_assert (blocks[i].length > 0 && blocks[i].length % QSNAP_PAGE_SIZE == 0);
      g_assert (blocks[i].length <= G_MAXINT64 - told->ram);
      told->ram += blocks[i].length;
      g_array_append_val (told->lengths, blocks[i].length);
      for (guint k = 0; k < i; k++)
        g_assert (strcmp (blocks[i].name, blocks[k].name) != 0);
    }

  return TRUE;
}

static gboolean
on_page (guint block,
         guint64 offset,
         const guint8 *data,
         gpointer user_data,
         G_GNUC_UNUSED GError **error)
{
  Told *told = user_data;

  g_assert (told->place == IN_PAGES && block < told->lengths->len);
  g_assert (offset % QSNAP_PAGE_SIZE == 0);
  g_assert (offset < g_array_index (told->lengths, guint64, block));
  told->n_pages++;
  qsnap_digest_update (told->digest, &block, sizeof block);
  qsnap_digest_update (told->digest, &offset, sizeof offset);
  if (data != NULL)
    qsnap_digest_update (told->digest, data, QSNAP_PAGE_SIZE);

  return TRUE;
}

static gboolean
on_device_state (const guint8 *data,
                 gsize len,
                 gsize eof_offset,
                 gpointer user_data,
                 G_GNUC_UNUSED GError **error)
{
  Told *told = user_data;

  g_assert (told->place == IN_PAGES && eof_offset < len && data[eof_offset] == 0);
  told->place = BEHIND_DEVICES;
  qsnap_digest_update (told->digest, data, len);
  qsnap_digest_update (told->digest, &eof_offset, sizeof eof_offset);

  return TRUE;
}

static const QsnapStreamCallbacks callbacks = { on_prefix, on_ram_setup, on_page, on_device_state };

/* Each byte is in memory of its own, so that what is read beyond a piece is found. */
static gboolean
push_pieces (QsnapStreamParser *parser, const guint8 *data, gsize size, gsize piece, GError **error)
{
  for (gsize at = 0; at < size; at += piece)
    {
      gsize len = MIN (piece, size - at);
      g_autofree guint8 *copy = g_memdup2 (data + at, len);

      if (!qsnap_stream_parser_push (parser, copy, len, error))
        return FALSE;
    }

  return TRUE;
}

/* The error's code, or 0; and in *@digest what was told. */
static int
parse (const guint8 *data, gsize size, gsize piece, char **digest, Told *told)
{
  g_autoptr (QsnapStreamParser) parser = qsnap_stream_parser_new (&callbacks, told);
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) again = NULL;

  told->lengths = g_array_new (FALSE, FALSE, sizeof (guint64));
  told->digest = qsnap_digest_new ();
  if (push_pieces (parser, data, size, piece, &error))
    {
      g_assert (qsnap_stream_parser_get_bytes (parser) == size);
      qsnap_stream_parser_finish (parser, &error);
    }
  g_assert (qsnap_stream_parser_get_pages (parser) == told->n_pages);
  if (error == NULL)
    g_assert (told->place == BEHIND_DEVICES);
  else
    {
      g_assert (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT) ||
                g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED));
      g_assert (g_utf8_validate (error->message, -1, NULL));
      g_assert (!qsnap_stream_parser_push (parser, "", 1, &again));
      g_assert (g_error_matches (again, QSNAP_ERROR, error->code));
    }

  *digest = qsnap_digest_get_string (told->digest);
  qsnap_digest_free (told->digest);
  g_array_unref (told->lengths);

  return error != NULL ? error->code + 1 : 0;
}

gboolean
stream_check (const guint8 *data, gsize size)
{
  /* Byte by byte takes too long for a long one. */
  const gsize pieces[] = { size + 1, size <= MAX_BYTEWISE ? 1 : 509, 7 + size % 2048 };
  g_autofree char *first = NULL;
  int first_code = 0;

  for (guint i = 0; i < G_N_ELEMENTS (pieces); i++)
    {
      Told told = { 0 };
      g_autofree char *digest = NULL;
      int code = parse (data, size, pieces[i], &digest, &told);

      if (first == NULL)
        {
          first = g_steal_pointer (&digest);
          first_code = code;
          continue;
        }
      g_assert (code == first_code);
      g_assert (strcmp (first, digest) == 0);
    }

  return first_code == 0;
}

/* --- the image ----------------------------------------------------------------------------- */

static void
parse_export (int fd, QsnapImage *image)
{
  off_t size = lseek (fd, 0, SEEK_END);
  guint8 *data = mmap (NULL, (gsize)size, PROT_READ, MAP_PRIVATE, fd, 0);
  Told told = { 0 };
  g_autofree char *digest = NULL;

  g_assert (data != MAP_FAILED);
  g_assert (parse (data, (gsize)size, (gsize)size, &digest, &told) == 0);
  g_assert (told.n_pages == qsnap_image_get_bytes (image) / QSNAP_PAGE_SIZE);
  munmap (data, (gsize)size);
}

static void
export_image (QsnapImage *image)
{
  int fd = memfd_create ("export", MFD_CLOEXEC);
  g_autoptr (GError) error = NULL;

  if (!qsnap_image_export (image, fd, NULL, &error))
    g_error ("export: %s", error->message);
  parse_export (fd, image);
  close (fd);
}

static void
put_postcopy (QsnapImage *image)
{
  guint n = qsnap_image_get_n_blocks (image);
  g_autofree guint64 *host_pages = g_new (guint64, n);
  g_autoptr (GByteArray) head = g_byte_array_new ();
  g_autoptr (GError) error = NULL;
  guint32 section_id;

  for (guint i = 0; i < n; i++)
    host_pages[i] = QSNAP_PAGE_SIZE;
  if (qsnap_postcopy_put_head (image, host_pages, head, &section_id, &error))
    g_assert (qsnap_postcopy_is_possible (image, NULL));
  else
    g_assert (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED));
}

static void
read_back (JsonObject *memory)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapImage) image = qsnap_image_new (fuzz_folder (), memory, &error);

  if (image == NULL || !qsnap_image_check (image, &error) ||
      !qsnap_image_verify (image, NULL, &error))
    g_error ("what was written cannot be read: %s", error->message);
  export_image (image);
  put_postcopy (image);
}

static gboolean
is_small (const guint8 *data, gsize size)
{
  Told told = { 0 };
  g_autofree char *digest = NULL;

  return parse (data, size, size + 1, &digest, &told) == 0 && told.ram <= MAX_RAM;
}

void
stream_check_image (const guint8 *data, gsize size)
{
  static const char *const raw[] = { "pc.ram", NULL };
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapImageWriter) writer = NULL;
  g_autoptr (QsnapStreamParser) parser = NULL;

  if (!is_small (data, size))
    return;

  fuzz_folder_empty ();
  writer = qsnap_image_writer_new (fuzz_folder (), raw, FALSE, &error);
  g_assert_no_error (error);
  parser = qsnap_stream_parser_new (&qsnap_image_writer_callbacks, writer);
  if (push_pieces (parser, data, size, 4093, &error) &&
      qsnap_stream_parser_finish (parser, &error) &&
      qsnap_image_writer_finish (writer, parser, &error))
    read_back (qsnap_image_writer_get_json (writer));
  else
    g_assert (error->domain == QSNAP_ERROR);
}
