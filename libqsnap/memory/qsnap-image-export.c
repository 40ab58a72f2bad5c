/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The migration stream again, out of the files. */

#include "config.h"

#include "memory/qsnap-image-private.h"

#include "memory/qsnap-buffer.h"
#include "memory/qsnap-fd-writer.h"
#include "memory/qsnap-io.h"
#include "memory/qsnap-ram-encoder.h"

typedef struct
{
  QsnapImage *image;
  QsnapRamEncoder *encoder;
  int fd;
  const gboolean *left_out; /* one for each block, or NULL */
  GCancellable *cancellable;
} Export;

static gboolean
write_out (const guint8 *data, gsize len, gpointer user_data, GError **error)
{
  Export *export = user_data;

  return qsnap_fd_write (export->fd, data, len, export->cancellable, error);
}

static gboolean
copy_state (Export *export, guint64 begin, guint64 end, GError **error)
{
  g_autoptr (QsnapBuffer) buffer = qsnap_buffer_new (QSNAP_IMAGE_PIECE);

  for (guint64 at = begin; at < end; at += QSNAP_IMAGE_PIECE)
    {
      gsize len = MIN (QSNAP_IMAGE_PIECE, end - at);

      if (!qsnap_io_pread (export->image->state_fd, buffer, len, at, QSNAP_IMAGE_STATE, error) ||
          !qsnap_ram_encoder_raw (export->encoder, buffer, len, error))
        return FALSE;
    }
  return TRUE;
}

/* Zero pages are sent, and so are those that QEMU left out: the QEMU that loads may have something
 * there, and postcopy counts every page. */
static gboolean
export_piece (QsnapImageBlock *block,
              guint64 offset,
              guint64 len,
              const guint8 *data,
              gpointer user_data,
              GError **error)
{
  Export *export = user_data;

  for (guint64 i = 0; i < len; i += QSNAP_PAGE_SIZE)
    {
      const guint8 *page = data != NULL && !qsnap_page_is_zero (data + i) ? data + i : NULL;

      if (!qsnap_ram_encoder_page (export->encoder, block->name, offset + i, page, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
export_all (Export *export, GError **error)
{
  QsnapImage *image = export->image;

  if (!copy_state (export, 0, image->device_offset, error))
    return FALSE;
  for (guint i = 0; i < image->blocks->len; i++)
    {
      QsnapImageBlock *block = qsnap_image_block (image, i);

      if (export->left_out != NULL && export->left_out[i])
        continue;
      if (block->path != NULL &&
          !qsnap_image_scan_block (image, block, export_piece, export, export->cancellable, error))
        return FALSE;
    }
  return copy_state (export, image->device_offset, image->state_length, error) &&
         qsnap_ram_encoder_flush (export->encoder, error);
}

gboolean
qsnap_image_export_without (
    QsnapImage *image, const gboolean *left_out, int fd, GCancellable *cancellable, GError **error)
{
  g_autoptr (QsnapRamEncoder) encoder = NULL;
  Export export = { image, NULL, fd, left_out, cancellable };
  QsnapStateLayout layout;

  /* Before the first byte is out, as much as can be known quickly is known to be right. */
  if (!qsnap_image_check (image, error) ||
      !qsnap_image_scan_state (image, NULL, NULL, &layout, cancellable, error))
    return FALSE;
  encoder = qsnap_ram_encoder_new (layout.section_id, write_out, &export);
  export.encoder = encoder;
  return export_all (&export, error);
}

gboolean
qsnap_image_export (QsnapImage *image, int fd, GCancellable *cancellable, GError **error)
{
  return qsnap_image_export_without (image, NULL, fd, cancellable, error);
}
