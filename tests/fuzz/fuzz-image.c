/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The image reader: a folder out of the input, with checksums that are right or wrong.
 *
 * An input is a byte of flags; the number of pages of ram/pc.ram, and a byte for the content of
 * each, 0 for a hole; the length of the file "state" in two bytes, and its content; and then
 * memory.json, in which $STATE and $SUMS stand for the right checksums. With compressed pages, each
 * byte is followed by the page's place, in two, and all of them by the length of the file with the
 * frames and its content. */

#include "config.h"

#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-image.h"
#include "memory/qsnap-postcopy.h"
#include "qsnap/qsnap-error.h"
#include "stream-builder.h"

#define RAM "ram/pc.ram"
#define SUMS "ram/pc.ram.sums"
#define PACKED "ram/pc.ram.zst"
#define PACKED_SUMS "ram/pc.ram.zst.sums"

enum
{
  FLAG_WRONG_SUM = 1 << 0, /* of the first page */
  FLAG_LOST_PAGE = 1 << 1, /* a hole where data was */
  FLAG_LINK = 1 << 2,      /* the folder of RAM is a link */
  FLAG_REPLACE = 1 << 3,   /* a block gets another content first */
  FLAG_LEAVE_OUT = 1 << 4, /* of the export */
  FLAG_PACKED = 1 << 5
};

static void
make_folder (guint flags)
{
  fuzz_folder_empty ();
  if (flags & FLAG_LINK)
    {
      g_assert (mkdirat (fuzz_folder (), "else", 0700) == 0);
      g_assert (symlinkat ("else", fuzz_folder (), "ram") == 0);
      return;
    }
  g_assert (mkdirat (fuzz_folder (), "ram", 0700) == 0);
}

/* Answers the checksum of the checksums. */
static char *
make_ram (FuzzInput *input, guint flags)
{
  guint n = fuzz_take_u8 (input);
  int fd = openat (fuzz_folder (), RAM, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  g_autofree guint64 *sums = g_new0 (guint64, n + 1);
  guint8 page[QSNAP_PAGE_SIZE];

  g_assert (ftruncate (fd, n * (off_t)sizeof page) == 0);
  for (guint i = 0; i < n; i++)
    {
      guint seed = fuzz_take_u8 (input);

      if (seed == 0)
        continue;
      stream_builder_fill (page, seed);
      sums[i] = GUINT64_TO_LE (qsnap_page_checksum (page));
      if (!(flags & FLAG_LOST_PAGE && i == 1))
        g_assert (pwrite (fd, page, sizeof page, i * (off_t)sizeof page) == sizeof page);
    }
  if (flags & FLAG_WRONG_SUM)
    sums[0] ^= 1;
  close (fd);
  fuzz_folder_write (SUMS, sums, n * sizeof *sums);

  return qsnap_digest_of (sums, n * sizeof *sums);
}

/* The same, compressed. */
static char *
make_packed_ram (FuzzInput *input)
{
  guint n = fuzz_take_u8 (input);
  g_autofree guint64 *sums = g_new0 (guint64, 2 * n + 1);
  guint8 page[QSNAP_PAGE_SIZE];
  const guint8 *frames;
  gsize length;

  for (guint i = 0; i < n; i++)
    {
      guint seed = fuzz_take_u8 (input);

      sums[2 * i + 1] = GUINT64_TO_LE (fuzz_take_u16 (input));
      if (seed == 0)
        continue;
      stream_builder_fill (page, seed);
      sums[2 * i] = GUINT64_TO_LE (qsnap_page_checksum (page));
    }
  length = fuzz_take_u16 (input);
  frames = fuzz_take (input, &length);
  fuzz_folder_write (PACKED, frames, length);
  fuzz_folder_write (PACKED_SUMS, sums, 2 * n * sizeof *sums);

  return qsnap_digest_of (sums, 2 * n * sizeof *sums);
}

static char *
make_state (FuzzInput *input)
{
  gsize length = fuzz_take_u16 (input);
  const guint8 *data = fuzz_take (input, &length);

  fuzz_folder_write (QSNAP_IMAGE_STATE, data, length);

  return qsnap_digest_of (data, length);
}

static JsonObject *
make_json (FuzzInput *input, const char *state, const char *sums)
{
  g_autofree char *text = fuzz_take_text (input);
  g_autoptr (GString) json = g_string_new (text);
  g_autoptr (GError) error = NULL;
  JsonObject *memory;

  g_string_replace (json, "$STATE", state, 0);
  g_string_replace (json, "$SUMS", sums, 0);
  fuzz_folder_write (QSNAP_IMAGE_JSON, json->str, json->len);
  memory = qsnap_image_load_json (fuzz_folder (), &error);
  if (memory == NULL)
    g_assert (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT));

  return memory;
}

/* --- reading ------------------------------------------------------------------------------- */

static void
read_parts (QsnapImage *image, guint block)
{
  guint64 length = qsnap_image_get_block_length (image, block);
  g_autofree guint8 *buffer = g_malloc (3 * QSNAP_PAGE_SIZE);
  guint64 offset = 0;

  qsnap_image_will_need (image, block, 0, length);
  for (guint i = 0; i < 20 && offset < length; i++)
    {
      gsize len = MIN (length - offset, (i * 1000) % (3 * QSNAP_PAGE_SIZE) + 1);

      if (!qsnap_image_read (image, block, offset, buffer, len, NULL) ||
          !qsnap_image_skip_zeros (image, block, &offset, length, NULL))
        return;
      offset += len;
    }
  g_assert (!qsnap_image_read (image, block, length, buffer, 1, NULL));
  g_assert (!qsnap_image_read (image, block, G_MAXUINT64, buffer, 2, NULL));
}

static void export(QsnapImage *image, gboolean good, guint flags)
{
  guint n = qsnap_image_get_n_blocks (image);
  g_autofree gboolean *left_out = g_new0 (gboolean, n);
  g_autoptr (GError) error = NULL;
  int fd = memfd_create ("export", MFD_CLOEXEC);
  gboolean done;

  if (flags & FLAG_LEAVE_OUT)
    for (guint i = 0; i < n; i++)
      left_out[i] = qsnap_image_get_block_file (image, i) != NULL;
  done = qsnap_image_export_without (image, left_out, fd, NULL, &error);
  close (fd);
  g_assert (done == (error == NULL));
  /* What is left out is not read. */
  if (!(flags & FLAG_LEAVE_OUT))
    g_assert (done == good);
}

static void
put_postcopy (QsnapImage *image)
{
  guint n = qsnap_image_get_n_blocks (image);
  g_autofree guint64 *host_pages = g_new (guint64, n);
  g_autoptr (GByteArray) head = g_byte_array_new ();
  guint32 section_id;

  for (guint i = 0; i < n; i++)
    host_pages[i] = QSNAP_PAGE_SIZE;
  (void)qsnap_postcopy_put_head (image, host_pages, head, &section_id, NULL);
}

static void
replace (JsonObject *memory)
{
  int fd = memfd_create ("new", MFD_CLOEXEC);

  g_assert (write (fd, "new", 3) == 3);
  (void)qsnap_image_replace_block (fuzz_folder (), memory, "pc.ram", fd, 3, NULL);
  close (fd);
}

static void
read_image (JsonObject *memory, guint flags)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) verify_error = NULL;
  g_autoptr (QsnapImage) image = qsnap_image_new (fuzz_folder (), memory, &error);
  gboolean good;

  if (image == NULL)
    {
      g_assert (error->domain == QSNAP_ERROR);
      return;
    }

  good = qsnap_image_verify (image, NULL, &verify_error);
  if (!good)
    g_assert (verify_error->domain == QSNAP_ERROR || verify_error->domain == G_IO_ERROR);
  export(image, good, flags);
  put_postcopy (image);
  for (guint i = 0; i < MIN (qsnap_image_get_n_blocks (image), 8); i++)
    read_parts (image, i);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  FuzzInput input = { data, size };
  guint flags = fuzz_take_u8 (&input);
  g_autofree char *sums = NULL;
  g_autofree char *state = NULL;
  g_autoptr (JsonObject) memory = NULL;

  make_folder (flags);
  sums = flags & FLAG_PACKED ? make_packed_ram (&input) : make_ram (&input, flags);
  state = make_state (&input);
  memory = make_json (&input, state, sums);
  if (memory == NULL)
    return 0;

  if (flags & FLAG_REPLACE)
    replace (memory);
  read_image (memory, flags);

  return 0;
}
