/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-postcopy.h"

#include <string.h>

#include "memory/qsnap-image-private.h"
#include "memory/qsnap-io.h"
#include "memory/qsnap-stream-format.h"
#include "qsnap/qsnap-error.h"

enum
{
  COMMAND_OPEN_RETURN_PATH = 1,
  COMMAND_ADVISE = 3,
  COMMAND_LISTEN = 4,
  COMMAND_RUN = 5,
  COMMAND_RAM_DISCARD = 6,
  COMMAND_PACKAGED = 7,
  COMMAND_RESUME = 9,
  COMMAND_RECV_BITMAP = 10
};

static void
put (GByteArray *out, const void *data, gsize len)
{
  g_byte_array_append (out, data, (guint)len);
}

static void
put_byte (GByteArray *out, guint8 value)
{
  put (out, &value, 1);
}

static void
put_u16 (GByteArray *out, gsize value)
{
  guint16 big = GUINT16_TO_BE ((guint16)value);

  put (out, &big, sizeof big);
}

static void
put_u32 (GByteArray *out, guint32 value)
{
  value = GUINT32_TO_BE (value);
  put (out, &value, sizeof value);
}

static void
put_u64 (GByteArray *out, guint64 value)
{
  value = GUINT64_TO_BE (value);
  put (out, &value, sizeof value);
}

static void
put_name (GByteArray *out, const char *name)
{
  put_byte (out, (guint8)strlen (name));
  put (out, name, strlen (name));
}

/* Its @len bytes follow. */
static void
put_command (GByteArray *out, guint command, gsize len)
{
  put_byte (out, QSNAP_STREAM_COMMAND);
  put_u16 (out, command);
  put_u16 (out, len);
}

static void
put_footer (GByteArray *out, guint32 section_id)
{
  put_byte (out, QSNAP_STREAM_FOOTER);
  put_u32 (out, section_id);
}

/* --- the parts of the head ------------------------------------------------------------------ */

static void
put_advise (GByteArray *out, QsnapImage *image, const guint64 *host_pages)
{
  guint64 summary = 0;

  for (guint i = 0; i < image->blocks->len; i++)
    summary |= host_pages[i];
  put_command (out, COMMAND_ADVISE, 16);
  put_u64 (out, summary);
  put_u64 (out, QSNAP_PAGE_SIZE);
}

/* After the advice a block with other host pages than usual has their size behind it. */
static void
put_ram_setup (GByteArray *out, QsnapImage *image, const guint64 *host_pages, guint32 section_id)
{
  put_byte (out, QSNAP_STREAM_SECTION_START);
  put_u32 (out, section_id);
  put_name (out, "ram");
  put_u32 (out, 0);
  put_u32 (out, QSNAP_STREAM_RAM_VERSION);
  put_u64 (out, image->bytes | QSNAP_STREAM_RAM_MEM_SIZE);
  for (guint i = 0; i < image->blocks->len; i++)
    {
      put_name (out, qsnap_image_block (image, i)->name);
      put_u64 (out, qsnap_image_block (image, i)->length);
      if (host_pages[i] != QSNAP_PAGE_SIZE)
        put_u64 (out, host_pages[i]);
    }
  put_u64 (out, QSNAP_STREAM_RAM_EOS);
  put_footer (out, section_id);
}

/* One page is enough. Without any, the destination goes from listening back to discarding, and
 * waits for ever (QEMU 7.2 and 10.0: loadvm_postcopy_handle_listen). */
static void
put_discard (GByteArray *out, QsnapImage *image, const guint64 *host_pages)
{
  const char *name = qsnap_image_block (image, 0)->name;

  put_command (out, COMMAND_RAM_DISCARD, 3 + strlen (name) + 16);
  put_byte (out, 0);
  put_name (out, name);
  put_byte (out, 0);
  put_u64 (out, 0);
  put_u64 (out, host_pages[0]);
}

/* The devices' state goes without its EOF byte and description, which would end the package before
 * the command to run. */
static gboolean
put_package (GByteArray *out, QsnapImage *image, GError **error)
{
  gsize len = image->eof_offset - image->device_offset;
  g_autofree guint8 *state = g_malloc (len);

  if (!qsnap_io_pread (image->state_fd, state, len, image->device_offset, QSNAP_IMAGE_STATE, error))
    return FALSE;

  put_command (out, COMMAND_PACKAGED, 4);
  put_u32 (out, (guint32)(5 + len + 5));
  put_command (out, COMMAND_LISTEN, 0);
  put (out, state, len);
  put_command (out, COMMAND_RUN, 0);

  return TRUE;
}

static gboolean
put_configuration (GByteArray *out, QsnapImage *image, guint64 prefix_length, GError **error)
{
  g_autofree guint8 *prefix = g_malloc (prefix_length);

  return qsnap_io_pread (image->state_fd, prefix, prefix_length, 0, QSNAP_IMAGE_STATE, error) &&
         qsnap_stream_copy_configuration (prefix, prefix_length, out, error);
}

/* --- public --------------------------------------------------------------------------------- */

gboolean
qsnap_postcopy_put_head (QsnapImage *image,
                         const guint64 *host_pages,
                         GByteArray *out,
                         guint32 *section_id,
                         GError **error)
{
  QsnapStateLayout layout;

  if (!qsnap_image_scan_state (image, NULL, NULL, &layout, NULL, error) ||
      !put_configuration (out, image, layout.prefix_length, error))
    return FALSE;

  *section_id = layout.section_id;
  put_command (out, COMMAND_OPEN_RETURN_PATH, 0);
  put_advise (out, image, host_pages);
  put_ram_setup (out, image, host_pages, layout.section_id);
  put_discard (out, image, host_pages);

  return put_package (out, image, error);
}

gboolean
qsnap_postcopy_is_possible (QsnapImage *image, GError **error)
{
  g_autoptr (GByteArray) configuration = g_byte_array_new ();
  QsnapStateLayout layout;

  return qsnap_image_scan_state (image, NULL, NULL, &layout, NULL, error) &&
         put_configuration (configuration, image, layout.prefix_length, error);
}

gboolean
qsnap_postcopy_find_section (QsnapImage *image, guint32 *section_id, GError **error)
{
  QsnapStateLayout layout;

  if (!qsnap_image_scan_state (image, NULL, NULL, &layout, NULL, error))
    return FALSE;

  *section_id = layout.section_id;

  return TRUE;
}

void
qsnap_postcopy_put_recovery (QsnapImage *image, GByteArray *out)
{
  for (guint i = 0; i < qsnap_image_get_n_blocks (image); i++)
    {
      const char *name = qsnap_image_get_block_name (image, i);

      put_command (out, COMMAND_RECV_BITMAP, 1 + strlen (name));
      put_name (out, name);
    }
  put_command (out, COMMAND_RESUME, 0);
}

void
qsnap_postcopy_put_end (GByteArray *out, guint32 section_id)
{
  put_byte (out, QSNAP_STREAM_SECTION_END);
  put_u32 (out, section_id);
  put_u64 (out, QSNAP_STREAM_RAM_EOS);
  put_footer (out, section_id);
  put_byte (out, QSNAP_STREAM_EOF);
}
