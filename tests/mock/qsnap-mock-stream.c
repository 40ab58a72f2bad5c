/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: the bytes of a migration stream. Small, but a parser cannot tell it from a real one. */

#include "qsnap-mock-private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define FLAG_ZERO 0x02
#define FLAG_MEM_SIZE 0x04
#define FLAG_PAGE 0x08
#define FLAG_EOS 0x10
#define FLAG_CONTINUE 0x20

#define SECTION_EOF 0x00
#define SECTION_START 0x01
#define SECTION_PART 0x02
#define SECTION_END 0x03
#define SECTION_FULL 0x04
#define SECTION_VMDESCRIPTION 0x06
#define SECTION_CONFIGURATION 0x07
#define SECTION_FOOTER 0x7e

#define RAM_SECTION 2
#define PAGES_A_SECTION 64

gboolean
mock_fill_page (guint block, guint64 page, guint8 *data)
{
  memset (data, 0, MOCK_PAGE_SIZE);
  /* The large block is mostly zeros, but for one run; the small ones are mostly not. */
  if (block == 0 ? page % 64 != 1 && page / MOCK_RUN_PAGES != 2 : page % 4 == 3)
    return FALSE;
  for (guint i = 0; i < MOCK_PAGE_SIZE / 8; i++)
    {
      guint64 value =
          GUINT64_TO_LE ((page + 1) * G_GUINT64_CONSTANT (0x9e3779b97f4a7c15) + block * 7919 + i);

      memcpy (data + i * 8, &value, sizeof value);
    }
  return TRUE;
}

/* Only as much as a pipe that polls writable takes for sure: so the thread never blocks where it
 * cannot be stopped. */
static gboolean
write_chunk (MockWriter *writer, const guint8 *data, gsize length)
{
  while (length > 0 && writer->broken == NULL)
    {
      struct pollfd poll_fd = { writer->fd, POLLOUT, 0 };
      gssize n;

      if (mock_writer_has_to_end (writer))
        writer->broken = g_strdup ("QEMU is going away");
      else if (poll (&poll_fd, 1, 20) <= 0)
        continue;
      else if ((n = write (writer->fd, data, MIN (length, MOCK_PAGE_SIZE))) > 0)
        {
          data += n;
          length -= (gsize)n;
        }
      else if (errno != EAGAIN && errno != EINTR)
        writer->broken = g_strdup_printf ("Unable to write to file: %s", g_strerror (errno));
    }
  return writer->broken == NULL;
}

static gboolean
flush (MockWriter *writer)
{
  gboolean ok = write_chunk (writer, writer->buffer->data, writer->buffer->len);

  g_byte_array_set_size (writer->buffer, 0);
  return ok;
}

static void
put (MockWriter *writer, gconstpointer data, gsize length)
{
  g_byte_array_append (writer->buffer, data, (guint)length);
}

static void
put_u8 (MockWriter *writer, guint8 value)
{
  put (writer, &value, 1);
}

static void
put_u32 (MockWriter *writer, guint32 value)
{
  value = GUINT32_TO_BE (value);
  put (writer, &value, sizeof value);
}

static void
put_u64 (MockWriter *writer, guint64 value)
{
  value = GUINT64_TO_BE (value);
  put (writer, &value, sizeof value);
}

/* A length in one byte, then the text without its NUL. */
static void
put_name (MockWriter *writer, const char *name)
{
  put_u8 (writer, (guint8)strlen (name));
  put (writer, name, strlen (name));
}

static void
put_footer (MockWriter *writer, guint32 section)
{
  put_u8 (writer, SECTION_FOOTER);
  put_u32 (writer, section);
}

gboolean
mock_stream_write_header (MockWriter *writer)
{
  g_autofree char *machine = mock_writer_machine (writer);
  guint n_blocks = mock_get_n_ram_blocks (writer->mock);
  guint64 total = 0;

  for (guint i = 0; i < n_blocks; i++)
    total += mock_get_ram_block (writer->mock, i).size;
  writer->n_pages = total / MOCK_PAGE_SIZE;
  put (writer, "QEVM", 4);
  put_u32 (writer, 3);
  put_u8 (writer, SECTION_CONFIGURATION);
  put_u32 (writer, (guint32)strlen (machine));
  put (writer, machine, strlen (machine));
  put_u8 (writer, SECTION_START);
  put_u32 (writer, RAM_SECTION);
  put_name (writer, "ram");
  put_u32 (writer, 0);
  put_u32 (writer, 4);
  put_u64 (writer, total | FLAG_MEM_SIZE);
  for (guint i = 0; i < n_blocks; i++)
    {
      MockRamBlock block = mock_get_ram_block (writer->mock, i);

      put_name (writer, block.name);
      put_u64 (writer, block.size);
    }
  put_u64 (writer, FLAG_EOS);
  put_footer (writer, RAM_SECTION);
  return flush (writer);
}

static void
put_page (MockWriter *writer, guint block, guint64 page, gboolean same_block)
{
  guint8 data[MOCK_PAGE_SIZE];
  gboolean normal = mock_fill_page (block, page, data);

  put_u64 (writer, page * MOCK_PAGE_SIZE | (normal ? FLAG_PAGE : FLAG_ZERO) |
                       (same_block ? FLAG_CONTINUE : 0));
  if (!same_block)
    put_name (writer, mock_get_ram_block (writer->mock, block).name);
  if (normal)
    put (writer, data, sizeof data);
  else
    put_u8 (writer, 0);
  mock_writer_count_page (writer, normal);
}

static void
begin_part (MockWriter *writer)
{
  put_u8 (writer, SECTION_PART);
  put_u32 (writer, RAM_SECTION);
}

static gboolean
end_part (MockWriter *writer)
{
  put_u64 (writer, FLAG_EOS);
  put_footer (writer, RAM_SECTION);
  return flush (writer);
}

static gboolean
reach_points (MockWriter *writer)
{
  if (writer->n_written == 1 && !mock_writer_reach (writer, MOCK_POINT_FIRST_PAGE))
    return FALSE;
  if (writer->n_written == writer->n_pages / 2 && !mock_writer_reach (writer, MOCK_POINT_HALF))
    return FALSE;
  return !mock_writer_is_cancelled (writer);
}

/* The first page is one from the middle, as if the guest had written to it: pages come in no order.
 */
static gboolean
write_block (MockWriter *writer, guint block, gboolean *same_block)
{
  guint64 n = mock_get_ram_block (writer->mock, block).size / MOCK_PAGE_SIZE;
  guint64 urgent = n / 3;

  for (guint64 i = 0; i < n; i++)
    {
      guint64 page = i == 0 ? urgent : (i <= urgent ? i - 1 : i);

      if (writer->n_written % PAGES_A_SECTION == 0)
        begin_part (writer);
      put_page (writer, block, page, *same_block);
      *same_block = TRUE;
      writer->n_written++;
      if ((writer->n_written % PAGES_A_SECTION == 0 || writer->n_written == 1) &&
          !(writer->n_written == 1 ? flush (writer) : end_part (writer)))
        return FALSE;
      if (!reach_points (writer))
        return FALSE;
    }
  return TRUE;
}

gboolean
mock_stream_write_pages (MockWriter *writer)
{
  guint n_blocks = mock_get_n_ram_blocks (writer->mock);

  for (guint i = 0; i < n_blocks; i++)
    {
      gboolean same_block = FALSE;

      if (!write_block (writer, i, &same_block))
        return FALSE;
    }
  return writer->n_written % PAGES_A_SECTION == 0 || end_part (writer);
}

static void
put_device (MockWriter *writer, guint32 section, const char *name, guint32 version, gsize length)
{
  put_u8 (writer, SECTION_FULL);
  put_u32 (writer, section);
  put_name (writer, name);
  put_u32 (writer, 0);
  put_u32 (writer, version);
  /* Contents that look like markers of the stream: whoever searches for the end must not stop here.
   */
  for (gsize i = 0; i < length; i++)
    put_u8 (writer, (guint8)((i * i) % 251));
  put (writer, "\0\6\0\0\0\2{}", 8);
  put_footer (writer, section);
}

/* A plain migration ends its RAM section; a background snapshot never does. */
gboolean
mock_stream_write_devices (MockWriter *writer)
{
  static const char description[] =
      "{\"configuration\": {\"vmsd_name\": \"configuration\", \"version\": 1}, "
      "\"page_size\": 4096, \"devices\": [{\"name\": \"mock\", \"instance_id\": 0}]}";

  if (!writer->background)
    {
      put_u8 (writer, SECTION_END);
      put_u32 (writer, RAM_SECTION);
      put_u64 (writer, FLAG_EOS);
      put_footer (writer, RAM_SECTION);
    }
  put_device (writer, 0, "timer", 2, 24);
  put_device (writer, 3, "mock-device", 1, 20000);
  put_device (writer, 4, "globalstate", 1, 112);
  put_u8 (writer, SECTION_EOF);
  put_u8 (writer, SECTION_VMDESCRIPTION);
  put_u32 (writer, (guint32)strlen (description));
  put (writer, description, strlen (description));
  return flush (writer);
}
