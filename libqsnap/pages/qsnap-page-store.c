/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "pages/qsnap-page-store.h"

#include "memory/qsnap-page-map.h"
#include "memory/qsnap-postcopy.h"
#include "memory/qsnap-ram-encoder.h"
#include "qsnap/qsnap-error.h"

/* A request that comes meanwhile waits for this much. */
#define PIECE_BYTES (64u << 10)
/* Zero pages are cheap to send; QEMU takes a microsecond or two for each. */
#define ZERO_PIECE_BYTES (1u << 20)
/* Read from the disk ahead of the background. */
#define AHEAD_BYTES (8u << 20)

typedef struct
{
  const char *name;
  guint64 length;
  guint64 host_page;
  QsnapPageMap *map;
} Block;

struct _QsnapPageStore
{
  QsnapImage *image;
  GArray *blocks;
  guint64 bytes_left;
  QsnapRamEncoder *encoder;
  GByteArray *out; /* of the call that is under way */
  guint8 *buffer;
  /* Where the background goes on, and up to where its reading has been asked for. */
  guint block;
  guint64 offset;
  guint64 ahead;
};

static Block *
get_block (QsnapPageStore *store, guint index)
{
  return &g_array_index (store->blocks, Block, index);
}

static void
clear_block (gpointer block)
{
  qsnap_page_map_free (((Block *)block)->map);
}

static gboolean
append (const guint8 *data, gsize len, gpointer user_data, GError **error)
{
  QsnapPageStore *store = user_data;

  g_byte_array_append (store->out, data, (guint)len);

  return TRUE;
}

/* --- sending -------------------------------------------------------------------------------- */

/* @data is NULL for zeros. */
static gboolean
put_pages (QsnapPageStore *store,
           Block *block,
           guint64 offset,
           guint64 len,
           const guint8 *data,
           GError **error)
{
  for (guint64 i = 0; i < len; i += QSNAP_PAGE_SIZE)
    {
      const guint8 *page = data != NULL && !qsnap_page_is_zero (data + i) ? data + i : NULL;

      if (!qsnap_ram_encoder_page (store->encoder, block->name, offset + i, page, error))
        return FALSE;
    }

  return TRUE;
}

/* Only what is not there yet; the caller knows that for all of a range with data. */
static gboolean
put_zeros (QsnapPageStore *store, Block *block, guint64 begin, guint64 end, GError **error)
{
  for (guint64 at = begin; at < end; at += block->host_page)
    if (qsnap_page_map_take (block->map, at / block->host_page))
      {
        store->bytes_left -= block->host_page;
        if (!put_pages (store, block, at, block->host_page, NULL, error))
          return FALSE;
      }

  return TRUE;
}

static gboolean
put_data (QsnapPageStore *store, guint index, guint64 offset, guint64 len, GError **error)
{
  Block *block = get_block (store, index);

  if (!qsnap_image_read (store->image, index, offset, store->buffer, len, error))
    return FALSE;
  for (guint64 at = offset; at < offset + len; at += block->host_page)
    (void)qsnap_page_map_take (block->map, at / block->host_page);
  store->bytes_left -= len;

  return put_pages (store, block, offset, len, store->buffer, error);
}

/* --- what is asked for ---------------------------------------------------------------------- */

gboolean
qsnap_page_store_can_have (QsnapPageStore *store, guint index, guint64 start, guint32 len)
{
  const Block *block = get_block (store, index);

  return len == block->host_page && start % block->host_page == 0 && start < block->length;
}

gboolean
qsnap_page_store_is_left (QsnapPageStore *store, guint index, guint64 start)
{
  Block *block = get_block (store, index);

  return !qsnap_page_map_is_taken (block->map, start / block->host_page);
}

/* QEMU asks again for what is under way. */
gboolean
qsnap_page_store_put_requested (
    QsnapPageStore *store, guint index, guint64 start, GByteArray *out, GError **error)
{
  Block *block = get_block (store, index);

  if (!qsnap_page_store_is_left (store, index, start))
    return TRUE;

  store->out = out;

  return put_data (store, index, start, block->host_page, error) &&
         qsnap_ram_encoder_flush (store->encoder, error);
}

/* --- the background -------------------------------------------------------------------------- */

/* One block after the other, from its beginning to its end. Following the guest, on from the page
 * that it last asked for, was measured: more requests, and later settled (docs/how-it-works.md). */
static void
find_next (QsnapPageStore *store)
{
  for (;;)
    {
      Block *block = get_block (store, store->block);
      guint64 page = qsnap_page_map_find_left (block->map, store->offset / block->host_page);

      store->offset = page * block->host_page;
      if (store->offset < block->length)
        return;

      store->block++;
      store->offset = 0;
      store->ahead = 0;
    }
}

/* How many bytes from the current place on, at most @most, are not there yet. */
static guint64
length_left (QsnapPageStore *store, guint64 most)
{
  Block *block = get_block (store, store->block);
  guint64 page = store->offset / block->host_page;
  guint64 n = 1;

  most = MIN (most, block->length - store->offset);
  while ((n + 1) * block->host_page <= most && !qsnap_page_map_is_taken (block->map, page + n))
    n++;

  return n * block->host_page;
}

static void
read_ahead (QsnapPageStore *store)
{
  guint64 offset = store->offset;

  if (store->ahead >= offset + AHEAD_BYTES / 2 && store->ahead <= offset + 2 * AHEAD_BYTES)
    return;

  if (store->ahead > offset && store->ahead < offset + AHEAD_BYTES)
    offset = store->ahead;
  store->ahead = store->offset + AHEAD_BYTES;
  qsnap_image_will_need (store->image, store->block, offset, store->ahead - offset);
}

gboolean
qsnap_page_store_put_more (QsnapPageStore *store, GByteArray *out, GError **error)
{
  Block *block;
  guint64 data;

  if (store->bytes_left == 0)
    return TRUE;

  store->out = out;
  find_next (store);
  block = get_block (store, store->block);
  data = store->offset;
  if (!qsnap_image_skip_zeros (store->image, store->block, &data,
                               MIN (store->offset + ZERO_PIECE_BYTES, block->length), error))
    return FALSE;

  /* A host page that is only partly a hole has data. */
  data -= data % block->host_page;
  if (data > store->offset)
    {
      if (!put_zeros (store, block, store->offset, data, error))
        return FALSE;
      store->offset = data;
    }
  else
    {
      guint64 len = length_left (store, MAX (PIECE_BYTES, block->host_page));

      read_ahead (store);
      if (!put_data (store, store->block, store->offset, len, error))
        return FALSE;
      store->offset += len;
    }

  return qsnap_ram_encoder_flush (store->encoder, error);
}

/* --- the store ------------------------------------------------------------------------------ */

gboolean
qsnap_page_store_mark (
    QsnapPageStore *store, guint index, const guint8 *bits, gsize len, GError **error)
{
  Block *block = get_block (store, index);
  guint64 n_pages = block->length / QSNAP_PAGE_SIZE;

  if (len < (n_pages + 7) / 8)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                   "QEMU's list of the pages of “%s” that it has is too short", block->name);
      return FALSE;
    }

  /* A host page is placed as a whole, so that its first page tells. */
  for (guint64 at = 0; at < block->length; at += block->host_page)
    {
      guint64 bit = at / QSNAP_PAGE_SIZE;

      if (bits[bit / 8] >> bit % 8 & 1 && qsnap_page_map_take (block->map, at / block->host_page))
        store->bytes_left -= block->host_page;
    }

  return TRUE;
}

void
qsnap_page_store_begin (QsnapPageStore *store, guint32 section_id)
{
  store->encoder = qsnap_ram_encoder_new (section_id, append, store);
}

guint64
qsnap_page_store_get_bytes_left (QsnapPageStore *store)
{
  return store->bytes_left;
}

QsnapPageStore *
qsnap_page_store_new (QsnapImage *image, const guint64 *host_pages)
{
  QsnapPageStore *store = g_new0 (QsnapPageStore, 1);

  store->image = image;
  store->blocks = g_array_new (FALSE, FALSE, sizeof (Block));
  g_array_set_clear_func (store->blocks, clear_block);
  for (guint i = 0; i < qsnap_image_get_n_blocks (image); i++)
    {
      Block block = { qsnap_image_get_block_name (image, i),
                      qsnap_image_get_block_length (image, i), host_pages[i], NULL };

      block.map = qsnap_page_map_new (block.length / block.host_page);
      g_array_append_val (store->blocks, block);
    }
  store->bytes_left = qsnap_image_get_bytes (image);
  store->buffer = g_malloc (QSNAP_POSTCOPY_MAX_HOST_PAGE);

  return store;
}

void
qsnap_page_store_free (QsnapPageStore *store)
{
  g_clear_pointer (&store->encoder, qsnap_ram_encoder_free);
  g_array_unref (store->blocks);
  g_free (store->buffer);
  g_free (store);
}
