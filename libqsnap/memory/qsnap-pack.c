/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-pack.h"

#include <string.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#include "memory/qsnap-checksum.h"
#include "memory/qsnap-io.h"
#include "qsnap/qsnap-error.h"

#define FRAME_BYTES ((gsize)QSNAP_PACK_PAGES * QSNAP_PAGE_SIZE)

#ifdef HAVE_ZSTD

/* The guest waits when its memory comes faster than it is saved. */
#define LEVEL 1

struct _QsnapPacker
{
  ZSTD_CCtx *context;
};

struct _QsnapUnpacker
{
  ZSTD_DCtx *context;
  QsnapBuffer *packed;
  QsnapBuffer *pages;
  /* The frame in pages: -1 if there is none. */
  int fd;
  guint64 frame;
  guint n_pages;
};

gboolean
qsnap_pack_is_supported (GError **error)
{
  return TRUE;
}

QsnapPacker *
qsnap_packer_new (GError **error)
{
  QsnapPacker *packer = g_new0 (QsnapPacker, 1);

  packer->context = ZSTD_createCCtx ();
  if (packer->context == NULL)
    g_error ("out of memory");
  ZSTD_CCtx_setParameter (packer->context, ZSTD_c_compressionLevel, LEVEL);
  return packer;
}

void
qsnap_packer_free (QsnapPacker *packer)
{
  ZSTD_freeCCtx (packer->context);
  g_free (packer);
}

gsize
qsnap_pack_bound (void)
{
  return ZSTD_COMPRESSBOUND (FRAME_BYTES);
}

gsize
qsnap_packer_pack (QsnapPacker *packer, const guint8 *pages, guint n_pages, guint8 *out)
{
  gsize len = ZSTD_compress2 (packer->context, out, qsnap_pack_bound (), pages,
                              (gsize)n_pages * QSNAP_PAGE_SIZE);

  /* There is room for everything, so that only memory can be missing. */
  if (ZSTD_isError (len))
    g_error ("could not compress: %s", ZSTD_getErrorName (len));
  return len;
}

QsnapUnpacker *
qsnap_unpacker_new (GError **error)
{
  QsnapUnpacker *unpacker = g_new0 (QsnapUnpacker, 1);

  unpacker->context = ZSTD_createDCtx ();
  if (unpacker->context == NULL)
    g_error ("out of memory");
  unpacker->packed = qsnap_buffer_new (qsnap_pack_bound ());
  unpacker->pages = qsnap_buffer_new (FRAME_BYTES);
  unpacker->fd = -1;
  return unpacker;
}

void
qsnap_unpacker_free (QsnapUnpacker *unpacker)
{
  ZSTD_freeDCtx (unpacker->context);
  qsnap_buffer_free (unpacker->packed);
  qsnap_buffer_free (unpacker->pages);
  g_free (unpacker);
}

static gboolean
read_frame (QsnapUnpacker *unpacker,
            int fd,
            guint64 length,
            const char *name,
            guint64 frame,
            GError **error)
{
  gsize len = MIN (qsnap_pack_bound (), length - frame);
  gsize packed, unpacked;

  unpacker->fd = -1;
  if (!qsnap_io_pread (fd, unpacker->packed, len, frame, name, error))
    return FALSE;
  packed = ZSTD_findFrameCompressedSize (unpacker->packed, len);
  unpacked = ZSTD_isError (packed) ? packed
                                   : ZSTD_decompressDCtx (unpacker->context, unpacker->pages,
                                                          FRAME_BYTES, unpacker->packed, packed);
  if (ZSTD_isError (unpacked))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                   "The frame at 0x%" G_GINT64_MODIFIER "x of “%s” cannot be decompressed: %s",
                   frame, name, ZSTD_getErrorName (unpacked));
      return FALSE;
    }
  unpacker->fd = fd;
  unpacker->frame = frame;
  unpacker->n_pages = (guint)(unpacked / QSNAP_PAGE_SIZE);
  return TRUE;
}

gboolean
qsnap_unpacker_read (QsnapUnpacker *unpacker,
                     int fd,
                     guint64 length,
                     const char *name,
                     guint64 place,
                     guint8 *page,
                     GError **error)
{
  guint64 frame = place / QSNAP_PACK_PAGES;
  guint number = place % QSNAP_PACK_PAGES;

  if (frame >= length)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                   "A page would be at 0x%" G_GINT64_MODIFIER "x, behind the end of “%s”", frame,
                   name);
      return FALSE;
    }
  if ((unpacker->fd != fd || unpacker->frame != frame) &&
      !read_frame (unpacker, fd, length, name, frame, error))
    return FALSE;
  if (number >= unpacker->n_pages)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                   "The frame at 0x%" G_GINT64_MODIFIER "x of “%s” has no page %u", frame, name,
                   number);
      return FALSE;
    }
  memcpy (page, unpacker->pages + (gsize)number * QSNAP_PAGE_SIZE, QSNAP_PAGE_SIZE);
  return TRUE;
}

#else

gboolean
qsnap_pack_is_supported (GError **error)
{
  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                       "this build of libqsnap cannot compress and decompress memory: it was made "
                       "without libzstd");
  return FALSE;
}

QsnapPacker *
qsnap_packer_new (GError **error)
{
  (void)qsnap_pack_is_supported (error);
  return NULL;
}

void
qsnap_packer_free (QsnapPacker *packer)
{
}

gsize
qsnap_pack_bound (void)
{
  return FRAME_BYTES;
}

gsize
qsnap_packer_pack (QsnapPacker *packer, const guint8 *pages, guint n_pages, guint8 *out)
{
  g_return_val_if_reached (0);
}

QsnapUnpacker *
qsnap_unpacker_new (GError **error)
{
  (void)qsnap_pack_is_supported (error);
  return NULL;
}

void
qsnap_unpacker_free (QsnapUnpacker *unpacker)
{
}

gboolean
qsnap_unpacker_read (QsnapUnpacker *unpacker,
                     int fd,
                     guint64 length,
                     const char *name,
                     guint64 place,
                     guint8 *page,
                     GError **error)
{
  return qsnap_pack_is_supported (error);
}

#endif
