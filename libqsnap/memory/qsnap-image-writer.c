/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-image-writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "memory/qsnap-ram-encoder.h"
#include "memory/qsnap-raw-file.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

typedef struct
{
  char *name;
  guint64 length;
  QsnapRawFile *raw; /* or else the two below it */
  gboolean packed;
  guint8 *memory;
  guint8 *seen; /* a byte a page */
  guint64 n_data;
  guint64 n_zero;
} Block;

struct _QsnapImageWriter
{
  int dir_fd;
  int ram_fd;
  char **raw_blocks;
  GArray *blocks; /* Block */
  QsnapRun *run;
  QsnapPacker *packer; /* NULL: nothing is compressed */

  GByteArray *head; /* of the state: the prefix and the start of ram */
  int state_fd;
  guint64 state_length;
  guint64 device_offset;
  guint64 eof_offset;
  QsnapDigest *state_digest;

  guint64 bytes_total;
  guint64 bytes_done;
  guint64 small_total;
  guint32 section_id;
  JsonObject *json;
};

static gboolean
on_prefix (const guint8 *data, gsize len, gpointer user_data, GError **error)
{
  QsnapImageWriter *writer = user_data;

  g_byte_array_append (writer->head, data, (guint)len);
  return TRUE;
}

static gboolean
is_to_be_raw (QsnapImageWriter *writer, const char *name)
{
  return writer->raw_blocks != NULL &&
         g_strv_contains ((const char *const *)writer->raw_blocks, name);
}

static gboolean
has_file (QsnapImageWriter *writer, const QsnapStreamBlock *block)
{
  return is_to_be_raw (writer, block->name) || block->length > QSNAP_IMAGE_MAX_SMALL_BLOCK ||
         block->length > QSNAP_IMAGE_MAX_SMALL_TOTAL - writer->small_total;
}

static gboolean
set_up_file (QsnapImageWriter *writer, Block *block, GError **error)
{
  gboolean packed = writer->packer != NULL && !is_to_be_raw (writer, block->name);
  g_autofree char *path = qsnap_image_block_path (block->name, packed);
  g_autofree char *sums_path = qsnap_image_sums_path (block->name, packed);

  block->packed = packed;
  block->raw =
      qsnap_raw_file_new (writer->ram_fd, strchr (path, '/') + 1, strchr (sums_path, '/') + 1,
                          block->length, writer->run, packed ? writer->packer : NULL, error);
  return block->raw != NULL;
}

static gboolean
set_up_small (QsnapImageWriter *writer, Block *block, GError **error)
{
  writer->small_total += block->length;
  block->memory = g_try_malloc0 (block->length);
  block->seen = g_try_malloc0 (block->length / QSNAP_PAGE_SIZE);
  if (block->memory == NULL || block->seen == NULL)
    return qsnap_io_fail (error, ENOMEM, "No memory for the RAM block “%s”", block->name);
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
  QsnapImageWriter *writer = user_data;
  guint32 section_id;

  g_byte_array_append (writer->head, data, (guint)len);
  memcpy (&section_id, data + 1, sizeof section_id);
  writer->section_id = GUINT32_FROM_BE (section_id);
  g_array_set_size (writer->blocks, n_blocks);

  for (guint i = 0; i < n_blocks; i++)
    {
      Block *block = &g_array_index (writer->blocks, Block, i);
      gboolean ok;

      block->name = g_strdup (blocks[i].name);
      block->length = blocks[i].length;
      writer->bytes_total += block->length;
      ok = has_file (writer, &blocks[i]) ? set_up_file (writer, block, error)
                                         : set_up_small (writer, block, error);
      if (!ok)
        return FALSE;
    }
  return TRUE;
}

static gboolean
on_page (guint index, guint64 offset, const guint8 *data, gpointer user_data, GError **error)
{
  QsnapImageWriter *writer = user_data;
  Block *block = &g_array_index (writer->blocks, Block, index);

  writer->bytes_done += QSNAP_PAGE_SIZE;
  if (block->raw != NULL)
    return qsnap_raw_file_write_page (block->raw, offset, data, error);

  if (data != NULL)
    memcpy (block->memory + offset, data, QSNAP_PAGE_SIZE);
  else if (block->seen[offset / QSNAP_PAGE_SIZE])
    memset (block->memory + offset, 0, QSNAP_PAGE_SIZE);
  block->seen[offset / QSNAP_PAGE_SIZE] = 1;
  return TRUE;
}

static gboolean
write_state (const guint8 *data, gsize len, gpointer user_data, GError **error)
{
  QsnapImageWriter *writer = user_data;

  if (!qsnap_io_pwrite (writer->state_fd, data, len, writer->state_length, QSNAP_IMAGE_STATE,
                        error))
    return FALSE;
  qsnap_digest_update (writer->state_digest, data, len);
  writer->state_length += len;
  return TRUE;
}

/* Pages that were never sent are written as zero pages: what a new QEMU has there is not known. */
static gboolean
encode_small (QsnapRamEncoder *encoder, Block *block, GError **error)
{
  for (guint64 offset = 0; offset < block->length; offset += QSNAP_PAGE_SIZE)
    {
      const guint8 *page = block->memory + offset;
      gboolean zero = qsnap_page_is_zero (page);

      block->n_data += !zero;
      block->n_zero += zero && block->seen[offset / QSNAP_PAGE_SIZE];
      if (!qsnap_ram_encoder_page (encoder, block->name, offset, zero ? NULL : page, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
encode_state (QsnapImageWriter *writer, const guint8 *device_state, gsize len, GError **error)
{
  g_autoptr (QsnapRamEncoder) encoder =
      qsnap_ram_encoder_new (writer->section_id, write_state, writer);

  if (!qsnap_ram_encoder_raw (encoder, writer->head->data, writer->head->len, error))
    return FALSE;
  for (guint i = 0; i < writer->blocks->len; i++)
    {
      Block *block = &g_array_index (writer->blocks, Block, i);

      if (block->raw == NULL && !encode_small (encoder, block, error))
        return FALSE;
    }
  if (!qsnap_ram_encoder_flush (encoder, error))
    return FALSE;
  writer->device_offset = qsnap_ram_encoder_get_position (encoder);
  return qsnap_ram_encoder_raw (encoder, device_state, len, error) &&
         qsnap_ram_encoder_flush (encoder, error);
}

static gboolean
on_device_state (
    const guint8 *data, gsize len, gsize eof_offset, gpointer user_data, GError **error)
{
  QsnapImageWriter *writer = user_data;

  /* Device state that comes early, but behind the start of ram, would look like the end of RAM. */
  if (writer->bytes_done == 0)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                   "The migration stream has not a single page of RAM");
      return FALSE;
    }
  writer->state_fd = qsnap_io_create (writer->dir_fd, QSNAP_IMAGE_STATE, error);
  if (writer->state_fd < 0 || !encode_state (writer, data, len, error))
    return FALSE;
  writer->eof_offset = writer->device_offset + eof_offset;
  return TRUE;
}

const QsnapStreamCallbacks qsnap_image_writer_callbacks = { on_prefix, on_ram_setup, on_page,
                                                            on_device_state };

static void
describe_file (const Block *block, JsonObject *object)
{
  g_autofree char *file = qsnap_image_block_path (block->name, block->packed);
  g_autofree char *sums = qsnap_image_sums_path (block->name, block->packed);

  json_object_set_string_member (object, "file", file);
  json_object_set_string_member (object, "sums", sums);
  json_object_set_string_member (object, "sums-checksum", qsnap_raw_file_get_digest (block->raw));
  if (!block->packed)
    return;
  json_object_set_string_member (object, "compression", QSNAP_IMAGE_PACKED_COMPRESSION);
  json_object_set_int_member (object, "packed-length",
                              (gint64)qsnap_raw_file_get_packed_length (block->raw));
}

static JsonObject *
describe_block (Block *block)
{
  JsonObject *object;

  if (block->raw != NULL)
    {
      block->n_data = qsnap_raw_file_get_n_data (block->raw);
      block->n_zero = qsnap_raw_file_get_n_seen (block->raw) - block->n_data;
    }
  object = qsnap_json_object_new ("name", 's', block->name, "length", 'i', (gint64)block->length,
                                  "pages", 'i', (gint64)block->n_data, "zero-pages", 'i',
                                  (gint64)block->n_zero, NULL);
  if (block->raw != NULL)
    describe_file (block, object);
  return object;
}

static JsonObject *
describe (QsnapImageWriter *writer, QsnapStreamParser *parser)
{
  g_autofree char *checksum = qsnap_digest_get_string (writer->state_digest);
  JsonArray *blocks = json_array_new ();
  guint64 n_data = 0, n_zero = 0;

  for (guint i = 0; i < writer->blocks->len; i++)
    {
      Block *block = &g_array_index (writer->blocks, Block, i);

      json_array_add_object_element (blocks, describe_block (block));
      n_data += block->n_data;
      n_zero += block->n_zero;
    }
  return qsnap_json_object_new (
      "format", 'i',
      (gint64)(writer->packer != NULL ? QSNAP_IMAGE_PACKED_FORMAT : QSNAP_IMAGE_FORMAT), "machine",
      's', qsnap_stream_parser_get_machine (parser), "page-size", 'i', (gint64)QSNAP_PAGE_SIZE,
      "checksum", 's', QSNAP_IMAGE_CHECKSUM, "stream", 's',
      qsnap_stream_parser_has_ram_end (parser) ? "migration" : "background-snapshot",
      "stream-bytes", 'i', (gint64)qsnap_stream_parser_get_bytes (parser), "pages", 'i',
      (gint64)n_data, "zero-pages", 'i', (gint64)n_zero, "absent-pages", 'i',
      (gint64)(writer->bytes_total / QSNAP_PAGE_SIZE - n_data - n_zero), "blocks", 'a', blocks,
      "state", 'o',
      qsnap_json_object_new ("file", 's', QSNAP_IMAGE_STATE, "length", 'i',
                             (gint64)writer->state_length, "device-offset", 'i',
                             (gint64)writer->device_offset, "eof-offset", 'i',
                             (gint64)writer->eof_offset, "checksum", 's', checksum, NULL),
      NULL);
}

gboolean
qsnap_image_write_json (int dir_fd, JsonObject *json, GError **error)
{
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), json);
  g_autofree char *text = qsnap_json_to_text (node, TRUE);

  return qsnap_io_replace (dir_fd, QSNAP_IMAGE_JSON, text, strlen (text), error);
}

gboolean
qsnap_image_writer_finish (QsnapImageWriter *writer, QsnapStreamParser *parser, GError **error)
{
  g_return_val_if_fail (writer->state_fd >= 0 && writer->json == NULL, FALSE);

  for (guint i = 0; i < writer->blocks->len; i++)
    {
      Block *block = &g_array_index (writer->blocks, Block, i);

      if (block->raw != NULL && !qsnap_raw_file_finish (block->raw, error))
        return FALSE;
    }
  if (!qsnap_io_fsync (writer->state_fd, QSNAP_IMAGE_STATE, error) ||
      !qsnap_io_fsync (writer->ram_fd, "the folder “" QSNAP_IMAGE_RAM_DIR "”", error))
    return FALSE;
  writer->json = describe (writer, parser);
  return qsnap_image_write_json (writer->dir_fd, writer->json, error);
}

JsonObject *
qsnap_image_writer_get_json (QsnapImageWriter *writer)
{
  return writer->json;
}

guint64
qsnap_image_writer_get_bytes_total (QsnapImageWriter *writer)
{
  return writer->bytes_total;
}

guint64
qsnap_image_writer_get_bytes_done (QsnapImageWriter *writer)
{
  return writer->bytes_done;
}

guint64
qsnap_image_writer_get_bytes_written (QsnapImageWriter *writer)
{
  return qsnap_run_get_written (writer->run) + writer->state_length;
}

static void
clear_block (gpointer data)
{
  Block *block = data;

  g_clear_pointer (&block->raw, qsnap_raw_file_free);
  g_free (block->name);
  g_free (block->memory);
  g_free (block->seen);
}

QsnapImageWriter *
qsnap_image_writer_new (int dir_fd, const char *const *raw_blocks, gboolean pack, GError **error)
{
  g_autoptr (QsnapImageWriter) writer = g_new0 (QsnapImageWriter, 1);

  writer->dir_fd = -1;
  writer->ram_fd = -1;
  writer->state_fd = -1;
  writer->raw_blocks = g_strdupv ((char **)raw_blocks);
  writer->blocks = g_array_new (FALSE, TRUE, sizeof (Block));
  g_array_set_clear_func (writer->blocks, clear_block);
  writer->run = qsnap_run_new ();
  writer->head = g_byte_array_new ();
  writer->state_digest = qsnap_digest_new ();

  if (pack)
    {
      writer->packer = qsnap_packer_new (error);
      if (writer->packer == NULL)
        return NULL;
    }
  writer->dir_fd = fcntl (dir_fd, F_DUPFD_CLOEXEC, 3);
  if (writer->dir_fd < 0)
    {
      qsnap_io_fail (error, errno, "Could not keep the snapshot's folder open");
      return NULL;
    }
  writer->ram_fd = qsnap_io_make_dir (writer->dir_fd, QSNAP_IMAGE_RAM_DIR, error);
  return writer->ram_fd >= 0 ? g_steal_pointer (&writer) : NULL;
}

static void
close_if_open (int fd)
{
  if (fd >= 0)
    close (fd);
}

void
qsnap_image_writer_free (QsnapImageWriter *writer)
{
  /* The files first, they use the run and the packer. */
  g_array_unref (writer->blocks);
  qsnap_run_free (writer->run);
  g_clear_pointer (&writer->packer, qsnap_packer_free);
  close_if_open (writer->dir_fd);
  close_if_open (writer->ram_fd);
  close_if_open (writer->state_fd);
  g_strfreev (writer->raw_blocks);
  g_byte_array_unref (writer->head);
  qsnap_digest_free (writer->state_digest);
  g_clear_pointer (&writer->json, json_object_unref);
  g_free (writer);
}
