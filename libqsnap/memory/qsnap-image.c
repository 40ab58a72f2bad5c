/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the manifest says of the image, checked. */

#include "config.h"

#include "memory/qsnap-image-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-buffer.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

/* The longest that 4096 blocks with names of 255 escaped bytes can make. */
#define MAX_JSON (16u << 20)

gboolean
qsnap_image_corrupt (GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "The memory image is damaged: %s", what);
  return FALSE;
}

/* A missing one, a negative one and one that is no integer are the same. */
static gboolean
get_size (JsonObject *object, const char *name, guint64 *value, GError **error)
{
  gint64 number = qsnap_json_get_int (object, name, -1);

  if (number < 0)
    return qsnap_image_corrupt (error, "its description has no “%s”", name);
  *value = (guint64)number;
  return TRUE;
}

static gboolean
get_digest (JsonObject *object, const char *name, char **value, GError **error)
{
  const char *string = qsnap_json_get_string (object, name);

  if (string == NULL || strlen (string) != QSNAP_DIGEST_LENGTH ||
      strspn (string, "0123456789abcdef") != QSNAP_DIGEST_LENGTH)
    return qsnap_image_corrupt (error, "its description has no “%s”", name);
  *value = g_strdup (string);
  return TRUE;
}

/* A path out of the description is only compared, never used. */
static gboolean
check_path (JsonObject *object, const char *name, const char *expected, GError **error)
{
  if (g_strcmp0 (qsnap_json_get_string (object, name), expected) != 0)
    return qsnap_image_corrupt (error, "“%s” must be “%s”", name, expected);
  return TRUE;
}

static gboolean
parse_compression (JsonObject *object, QsnapImageBlock *block, GError **error)
{
  const char *compression = qsnap_json_get_string (object, "compression");

  block->file_length = block->length;
  block->packed = json_object_has_member (object, "compression");
  if (!block->packed)
    return TRUE;
  if (g_strcmp0 (compression, QSNAP_IMAGE_PACKED_COMPRESSION) == 0)
    return get_size (object, "packed-length", &block->file_length, error);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "The RAM block “%s” is compressed in a way that is not known here", block->name);
  return FALSE;
}

static gboolean
parse_files (JsonObject *object, QsnapImageBlock *block, GError **error)
{
  if (!json_object_has_member (object, "file") && !json_object_has_member (object, "sums") &&
      !json_object_has_member (object, "sums-checksum"))
    {
      if (block->length > QSNAP_IMAGE_MAX_SMALL_BLOCK)
        return qsnap_image_corrupt (error, "the RAM block “%s” has no file", block->name);
      return TRUE;
    }
  if (!parse_compression (object, block, error))
    return FALSE;
  block->path = qsnap_image_block_path (block->name, block->packed);
  block->sums_path = qsnap_image_sums_path (block->name, block->packed);
  return check_path (object, "file", block->path, error) &&
         check_path (object, "sums", block->sums_path, error) &&
         get_digest (object, "sums-checksum", &block->sums_checksum, error);
}

static gboolean
parse_block (QsnapImage *image, JsonObject *object, QsnapImageBlock *block, GError **error)
{
  const char *name = qsnap_json_get_string (object, "name");

  if (name == NULL || !qsnap_stream_name_is_valid (name, strlen (name)))
    return qsnap_image_corrupt (error, "a RAM block has no valid name");
  /* Before this block has its own name. */
  if (qsnap_image_find_block (image, name) != G_MAXUINT)
    return qsnap_image_corrupt (error, "there are two RAM blocks “%s”", name);
  block->name = g_strdup (name);
  if (!get_size (object, "length", &block->length, error) ||
      !get_size (object, "pages", &block->n_data, error) ||
      !get_size (object, "zero-pages", &block->n_zero, error))
    return FALSE;
  if (block->length == 0 || block->length % QSNAP_PAGE_SIZE != 0 ||
      block->length > G_MAXINT64 - image->bytes)
    return qsnap_image_corrupt (error, "the RAM block “%s” cannot have %" G_GUINT64_FORMAT " bytes",
                                name, block->length);
  /* Neither is more than a gint64, so that their sum cannot overflow. */
  if (block->n_data + block->n_zero > block->length / QSNAP_PAGE_SIZE)
    return qsnap_image_corrupt (error, "the RAM block “%s” has more pages than fit", name);
  image->bytes += block->length;
  return parse_files (object, block, error);
}

static gboolean
parse_blocks (QsnapImage *image, JsonObject *memory, GError **error)
{
  JsonArray *array = qsnap_json_get_array (memory, "blocks");
  guint n = array != NULL ? json_array_get_length (array) : 0;
  guint64 small_total = 0;

  if (n == 0 || n > QSNAP_STREAM_MAX_BLOCKS)
    return qsnap_image_corrupt (error, "it has %u RAM blocks", n);
  for (guint i = 0; i < n; i++)
    {
      JsonObject *object = qsnap_json_array_object (array, i);
      QsnapImageBlock empty = { .fd = -1, .sums_fd = -1 };

      g_array_append_val (image->blocks, empty);
      if (object == NULL)
        return qsnap_image_corrupt (error, "RAM block %u is not described", i);
      if (!parse_block (image, object, qsnap_image_block (image, i), error))
        return FALSE;
      if (qsnap_image_block (image, i)->path == NULL)
        small_total += qsnap_image_block (image, i)->length;
    }
  if (small_total > QSNAP_IMAGE_MAX_SMALL_TOTAL)
    return qsnap_image_corrupt (error, "too many RAM blocks have no file");
  return TRUE;
}

static gboolean
check_totals (QsnapImage *image, JsonObject *memory, GError **error)
{
  guint64 pages = 0, zero_pages = 0, absent_pages = 0, stream_bytes;
  guint64 n_data = 0, n_zero = 0;

  if (!get_size (memory, "pages", &pages, error) ||
      !get_size (memory, "zero-pages", &zero_pages, error) ||
      !get_size (memory, "absent-pages", &absent_pages, error) ||
      !get_size (memory, "stream-bytes", &stream_bytes, error))
    return FALSE;
  for (guint i = 0; i < image->blocks->len; i++)
    {
      n_data += qsnap_image_block (image, i)->n_data;
      n_zero += qsnap_image_block (image, i)->n_zero;
    }
  if (pages != n_data || zero_pages != n_zero ||
      absent_pages != image->bytes / QSNAP_PAGE_SIZE - n_data - n_zero)
    return qsnap_image_corrupt (error, "the numbers of its pages contradict each other");
  return TRUE;
}

static gboolean
parse_state (QsnapImage *image, JsonObject *memory, GError **error)
{
  JsonObject *state = qsnap_json_get_object (memory, "state");

  if (state == NULL)
    return qsnap_image_corrupt (error, "its state is not described");
  if (!check_path (state, "file", QSNAP_IMAGE_STATE, error) ||
      !get_size (state, "length", &image->state_length, error) ||
      !get_size (state, "device-offset", &image->device_offset, error) ||
      !get_size (state, "eof-offset", &image->eof_offset, error) ||
      !get_digest (state, "checksum", &image->state_checksum, error))
    return FALSE;
  if (image->device_offset > image->eof_offset || image->eof_offset >= image->state_length)
    return qsnap_image_corrupt (error, "the offsets in its state contradict each other");
  return TRUE;
}

static gboolean
parse_machine (QsnapImage *image, JsonObject *memory, GError **error)
{
  const char *machine = qsnap_json_get_string (memory, "machine");

  if (!json_object_has_member (memory, "machine"))
    return TRUE;
  if (machine == NULL || !qsnap_stream_name_is_valid (machine, strlen (machine)))
    return qsnap_image_corrupt (error, "the machine has no valid name");
  image->machine = g_strdup (machine);
  return TRUE;
}

static gboolean
parse (QsnapImage *image, JsonObject *memory, GError **error)
{
  gint64 format = qsnap_json_get_int (memory, "format", -1);

  if (format > QSNAP_IMAGE_PACKED_FORMAT)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "The memory image has format %" G_GINT64_FORMAT
                   ", which a newer version of this library made",
                   format);
      return FALSE;
    }
  if (format < QSNAP_IMAGE_FORMAT)
    return qsnap_image_corrupt (error, "it has no known format");
  if (qsnap_json_get_int (memory, "page-size", -1) != QSNAP_PAGE_SIZE)
    return qsnap_image_corrupt (error, "its pages are not of %u bytes", QSNAP_PAGE_SIZE);
  return check_path (memory, "checksum", QSNAP_IMAGE_CHECKSUM, error) &&
         parse_machine (image, memory, error) && parse_blocks (image, memory, error) &&
         check_totals (image, memory, error) && parse_state (image, memory, error);
}

static void
clear_fd (int *fd)
{
  if (*fd >= 0)
    close (*fd);
  *fd = -1;
}

static void
clear_block (gpointer data)
{
  QsnapImageBlock *block = data;

  clear_fd (&block->fd);
  clear_fd (&block->sums_fd);
  g_free (block->name);
  g_free (block->path);
  g_free (block->sums_path);
  g_free (block->sums_checksum);
  qsnap_buffer_free (block->memory);
}

QsnapImage *
qsnap_image_new (int dir_fd, JsonObject *memory, GError **error)
{
  g_autoptr (QsnapImage) image = g_new0 (QsnapImage, 1);

  image->ram_fd = -1;
  image->state_fd = -1;
  image->blocks = g_array_new (FALSE, TRUE, sizeof (QsnapImageBlock));
  g_array_set_clear_func (image->blocks, clear_block);
  image->dir_fd = fcntl (dir_fd, F_DUPFD_CLOEXEC, 3);
  if (image->dir_fd < 0)
    {
      qsnap_io_fail (error, errno, "Could not keep the snapshot's folder open");
      return NULL;
    }
  return parse (image, memory, error) ? g_steal_pointer (&image) : NULL;
}

void
qsnap_image_free (QsnapImage *image)
{
  g_array_unref (image->blocks);
  clear_fd (&image->dir_fd);
  clear_fd (&image->ram_fd);
  clear_fd (&image->state_fd);
  g_free (image->machine);
  g_free (image->state_checksum);
  g_clear_pointer (&image->unpacker, qsnap_unpacker_free);
  g_free (image);
}

const char *
qsnap_image_get_machine (QsnapImage *image)
{
  return image->machine;
}

guint
qsnap_image_get_n_blocks (QsnapImage *image)
{
  return image->blocks->len;
}

const char *
qsnap_image_get_block_name (QsnapImage *image, guint block)
{
  g_return_val_if_fail (block < image->blocks->len, NULL);
  return qsnap_image_block (image, block)->name;
}

guint64
qsnap_image_get_block_length (QsnapImage *image, guint block)
{
  g_return_val_if_fail (block < image->blocks->len, 0);
  return qsnap_image_block (image, block)->length;
}

gboolean
qsnap_image_is_packed (QsnapImage *image)
{
  for (guint i = 0; i < image->blocks->len; i++)
    if (qsnap_image_block (image, i)->packed)
      return TRUE;
  return FALSE;
}

const char *
qsnap_image_get_block_file (QsnapImage *image, guint block)
{
  g_return_val_if_fail (block < image->blocks->len, NULL);
  return qsnap_image_block (image, block)->path;
}

guint
qsnap_image_find_block (QsnapImage *image, const char *name)
{
  for (guint i = 0; i < image->blocks->len; i++)
    if (g_strcmp0 (qsnap_image_block (image, i)->name, name) == 0)
      return i;
  return G_MAXUINT;
}

guint64
qsnap_image_get_bytes (QsnapImage *image)
{
  return image->bytes;
}

gboolean
qsnap_image_open_state (QsnapImage *image, GError **error)
{
  if (image->state_fd < 0)
    image->state_fd = qsnap_io_open (image->dir_fd, QSNAP_IMAGE_STATE, image->state_length, error);
  return image->state_fd >= 0;
}

static gboolean
make_unpacker (QsnapImage *image, GError **error)
{
  if (image->unpacker == NULL)
    image->unpacker = qsnap_unpacker_new (error);
  return image->unpacker != NULL;
}

gboolean
qsnap_image_open_block (QsnapImage *image, QsnapImageBlock *block, GError **error)
{
  /* In two steps, so that the folder cannot be a link to elsewhere either. */
  if (image->ram_fd < 0)
    image->ram_fd = qsnap_io_open_dir (image->dir_fd, QSNAP_IMAGE_RAM_DIR, error);
  if (image->ram_fd < 0)
    return FALSE;
  if (block->fd < 0)
    block->fd =
        qsnap_io_open (image->ram_fd, strchr (block->path, '/') + 1, block->file_length, error);
  if (block->fd < 0)
    return FALSE;
  if (block->sums_fd < 0)
    block->sums_fd = qsnap_io_open (image->ram_fd, strchr (block->sums_path, '/') + 1,
                                    qsnap_image_sums_length (block), error);
  return block->sums_fd >= 0 && (!block->packed || make_unpacker (image, error));
}

gboolean
qsnap_image_check (QsnapImage *image, GError **error)
{
  if (!qsnap_image_open_state (image, error))
    return FALSE;
  for (guint i = 0; i < image->blocks->len; i++)
    if (qsnap_image_block (image, i)->path != NULL &&
        !qsnap_image_open_block (image, qsnap_image_block (image, i), error))
      return FALSE;
  return TRUE;
}

JsonObject *
qsnap_image_load_json (int dir_fd, GError **error)
{
  gsize len = 0;
  g_autofree char *text = qsnap_io_read_whole (dir_fd, QSNAP_IMAGE_JSON, MAX_JSON, &len, error);
  g_autoptr (JsonParser) parser = NULL;
  g_autoptr (JsonNode) checked = NULL;
  g_autoptr (GError) local_error = NULL;

  if (text == NULL)
    return NULL;
  checked = qsnap_json_parse_object (text, len, &local_error);
  parser = json_parser_new ();
  /* Again, since the object that was checked cannot be changed, which replacing a block does. */
  if (checked == NULL || !json_parser_load_from_data (parser, text, (gssize)len, &local_error))
    {
      qsnap_image_corrupt (error, "“%s”: %s", QSNAP_IMAGE_JSON, local_error->message);
      return NULL;
    }
  return json_object_ref (json_node_get_object (json_parser_get_root (parser)));
}
