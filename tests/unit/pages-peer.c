/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The destination of a postcopy migration, from the outside: every byte is expected. */

#include "config.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pages-case.h"
#include "stream-builder.h"

/* Little, so that the page server cannot be far ahead. */
#define READ_BYTES 16384
#define PATIENCE_MS 30000
#define SILENCE_MS 50

enum
{
  SECTION_START = 1,
  SECTION_PART = 2,
  SECTION_END = 3,
  COMMAND = 8,
  FOOTER = 0x7e
};

enum
{
  RECORD_ZERO = 0x02,
  RECORD_PAGE = 0x08,
  RECORD_EOS = 0x10,
  RECORD_CONTINUE = 0x20
};

/* ---- bytes ---- */

static gboolean
read_more (PagesCase *pages)
{
  guint8 data[READ_BYTES];
  struct pollfd fd = { pages->socket, POLLIN, 0 };
  gssize n;

  g_byte_array_remove_range (pages->in, 0, (guint)pages->at);
  pages->at = 0;
  if (poll (&fd, 1, PATIENCE_MS) != 1)
    g_error ("nothing comes after byte %" G_GUINT64_FORMAT, pages->position);
  n = recv (pages->socket, data, sizeof data, 0);
  if (n > 0)
    {
      g_byte_array_append (pages->in, data, (guint)n);
      return TRUE;
    }

  pages->closed = TRUE;
  if (!pages->may_close)
    g_error ("the connection is closed after byte %" G_GUINT64_FORMAT, pages->position);

  return FALSE;
}

/* Zeros, where the connection is closed and may be. */
static void
read_bytes (PagesCase *pages, guint8 *data, gsize len)
{
  while (pages->in->len - pages->at < len)
    if (pages->closed || !read_more (pages))
      {
        memset (data, 0, len);
        return;
      }

  memcpy (data, pages->in->data + pages->at, len);
  pages->at += len;
  pages->position += len;
}

static guint64
read_number (PagesCase *pages, gsize len)
{
  guint8 data[8];
  guint64 value = 0;

  read_bytes (pages, data, len);
  for (gsize i = 0; i < len; i++)
    value = value << 8 | data[i];

  return value;
}

guint8
pages_read_u8 (PagesCase *pages)
{
  return (guint8)read_number (pages, 1);
}

guint16
pages_read_u16 (PagesCase *pages)
{
  return (guint16)read_number (pages, 2);
}

guint32
pages_read_u32 (PagesCase *pages)
{
  return (guint32)read_number (pages, 4);
}

guint64
pages_read_u64 (PagesCase *pages)
{
  return read_number (pages, 8);
}

static void
expect_bytes (PagesCase *pages, const void *expected, gsize len)
{
  g_autofree guint8 *data = g_malloc (len);

  read_bytes (pages, data, len);
  g_assert_cmpmem (data, len, expected, len);
}

void
pages_expect_name (PagesCase *pages, const char *name)
{
  g_assert_cmpuint (pages_read_u8 (pages), ==, strlen (name));
  expect_bytes (pages, name, strlen (name));
}

void
pages_expect_command (PagesCase *pages, guint command, guint len)
{
  g_assert_cmpuint (pages_read_u8 (pages), ==, COMMAND);
  g_assert_cmpuint (pages_read_u16 (pages), ==, command);
  g_assert_cmpuint (pages_read_u16 (pages), ==, len);
}

static void
expect_end_of_section (PagesCase *pages)
{
  g_assert_cmpuint (pages_read_u8 (pages), ==, FOOTER);
  g_assert_cmpuint (pages_read_u32 (pages), ==, RAM_SECTION);
}

/* ---- the head ---- */

static void
expect_advice (PagesCase *pages)
{
  guint64 summary = 0;

  for (guint i = 0; i < N_BLOCKS; i++)
    summary |= pages->host_pages[i];
  pages_expect_command (pages, 3, 16);
  g_assert_cmphex (pages_read_u64 (pages), ==, summary);
  g_assert_cmpuint (pages_read_u64 (pages), ==, PAGE);
}

static void
expect_ram_setup (PagesCase *pages)
{
  guint64 total = 0;

  for (guint i = 0; i < N_BLOCKS; i++)
    total += (guint64)pages_blocks[i].n_pages * PAGE;
  g_assert_cmpuint (pages_read_u8 (pages), ==, SECTION_START);
  g_assert_cmpuint (pages_read_u32 (pages), ==, RAM_SECTION);
  pages_expect_name (pages, "ram");
  g_assert_cmpuint (pages_read_u32 (pages), ==, 0);
  g_assert_cmpuint (pages_read_u32 (pages), ==, 4);
  g_assert_cmphex (pages_read_u64 (pages), ==, total | 0x04);
  for (guint i = 0; i < N_BLOCKS; i++)
    {
      pages_expect_name (pages, pages_blocks[i].name);
      g_assert_cmpuint (pages_read_u64 (pages), ==, (guint64)pages_blocks[i].n_pages * PAGE);
      if (pages->host_pages[i] != PAGE)
        g_assert_cmpuint (pages_read_u64 (pages), ==, pages->host_pages[i]);
    }
  g_assert_cmphex (pages_read_u64 (pages), ==, RECORD_EOS);
  expect_end_of_section (pages);
}

static void
expect_discard (PagesCase *pages)
{
  const char *name = pages_blocks[0].name;

  pages_expect_command (pages, 6, 3 + (guint)strlen (name) + 16);
  g_assert_cmpuint (pages_read_u8 (pages), ==, 0);
  pages_expect_name (pages, name);
  g_assert_cmpuint (pages_read_u8 (pages), ==, 0);
  g_assert_cmpuint (pages_read_u64 (pages), ==, 0);
  g_assert_cmpuint (pages_read_u64 (pages), ==, pages->host_pages[0]);
}

void
pages_expect_head (PagesCase *pages)
{
  expect_bytes (pages, pages->configuration->data, pages->configuration->len);
  pages_expect_command (pages, 1, 0);
  expect_advice (pages);
  expect_ram_setup (pages);
  expect_discard (pages);
  pages_expect_command (pages, 7, 4);
  g_assert_cmpuint (pages_read_u32 (pages), ==, 5 + pages->device_state->len + 5);
  pages_expect_command (pages, 4, 0);
  expect_bytes (pages, pages->device_state->data, pages->device_state->len);
  pages_expect_command (pages, 5, 0);
}

/* ---- pages ---- */

static void
check_data (const guint8 *data, guint32 seed, guint block, guint page)
{
  guint8 expected[PAGE];

  memset (expected, 0, sizeof expected);
  if (seed != 0)
    stream_builder_fill (expected, seed);
  if (memcmp (data, expected, PAGE) != 0)
    g_error ("page %u of “%s” is not what it was", page, pages_blocks[block].name);
}

/* All of a host page comes in one section, in order and with nothing between. */
static void
check_order (PagesCase *pages, PagesPage page, gboolean first)
{
  guint many = (guint)(pages->host_pages[page.block] / PAGE);
  PagesPage before = { 0, 0 };

  if (page.page % many == 0)
    return;
  g_assert_false (first);
  before = g_array_index (pages->order, PagesPage, pages->order->len - 1);
  g_assert_cmpuint (before.block, ==, page.block);
  g_assert_cmpuint (before.page + 1, ==, page.page);
}

static void
take_page (PagesCase *pages, PagesPage page, const guint8 *data, gboolean first)
{
  guint32 seed;

  g_assert_cmpuint (page.page, <, pages_blocks[page.block].n_pages);
  seed = pages->seeds[page.block][page.page];
  if (pages->received[page.block][page.page])
    g_error ("page %u of “%s” comes again", page.page, pages_blocks[page.block].name);
  /* A zero page is never sent as data. */
  g_assert_true ((data != NULL) == (seed != 0));
  if (data != NULL)
    check_data (data, seed, page.block, page.page);
  check_order (pages, page, first);
  pages->received[page.block][page.page] = TRUE;
  pages->n_received++;
  g_array_append_val (pages->order, page);
}

static guint
read_block (PagesCase *pages)
{
  guint8 len = pages_read_u8 (pages);
  char name[256];

  read_bytes (pages, (guint8 *)name, len);
  name[len] = '\0';
  for (guint i = 0; i < N_BLOCKS; i++)
    if (g_str_equal (name, pages_blocks[i].name))
      return i;
  if (!pages->closed)
    g_error ("there is no RAM block “%s”", name);

  return 0;
}

/* FALSE at the last one. */
static gboolean
read_record (PagesCase *pages, gboolean first)
{
  guint64 head = pages_read_u64 (pages);
  guint flags = head & (PAGE - 1);
  guint8 data[PAGE];
  gboolean has_data = flags & RECORD_PAGE;

  if (head == RECORD_EOS || pages->closed)
    return FALSE;
  g_assert_cmphex (flags & ~RECORD_CONTINUE, ==, has_data ? RECORD_PAGE : RECORD_ZERO);
  if (!(flags & RECORD_CONTINUE))
    pages->block = read_block (pages);
  else
    g_assert_cmpuint (pages->block, <, N_BLOCKS);
  read_bytes (pages, data, has_data ? PAGE : 1);
  if (pages->closed)
    return FALSE;
  if (!has_data)
    g_assert_cmpuint (data[0], ==, 0);
  take_page (pages, (PagesPage){ pages->block, (guint)(head / PAGE) }, has_data ? data : NULL,
             first);

  return TRUE;
}

static void
check_last_host_page (PagesCase *pages)
{
  PagesPage last = g_array_index (pages->order, PagesPage, pages->order->len - 1);

  g_assert_cmpuint ((last.page + 1) % (pages->host_pages[last.block] / PAGE), ==, 0);
}

gboolean
pages_read_section (PagesCase *pages)
{
  guint8 type = pages_read_u8 (pages);
  gboolean first = TRUE;

  if (pages->closed)
    return FALSE;
  g_assert_false (pages->ended);
  g_assert_true (type == SECTION_PART || type == SECTION_END);
  g_assert_cmpuint (pages_read_u32 (pages), ==, RAM_SECTION);
  while (read_record (pages, first))
    first = FALSE;
  if (pages->closed)
    return FALSE;

  pages->ended = type == SECTION_END;
  /* There is no page in the last one, and some in every other. */
  g_assert_true (first == pages->ended);
  if (!first)
    check_last_host_page (pages);
  expect_end_of_section (pages);
  if (pages->ended && !pages->closed)
    g_assert_cmpuint (pages_read_u8 (pages), ==, 0);

  return !pages->ended;
}

void
pages_read_until (PagesCase *pages, guint block, guint page)
{
  while (!pages->received[block][page])
    g_assert_true (pages_read_section (pages));
}

void
pages_read_to_end (PagesCase *pages)
{
  while (pages_read_section (pages))
    ;
  for (guint i = 0; i < N_BLOCKS; i++)
    for (guint n = 0; n < pages_blocks[i].n_pages; n++)
      if (!pages->received[i][n])
        g_error ("page %u of “%s” has not come", n, pages_blocks[i].name);
  pages_expect_silence (pages);
}

void
pages_read_until_closed (PagesCase *pages)
{
  pages->may_close = TRUE;
  while (!pages->closed)
    pages_read_section (pages);
}

void
pages_expect_silence (PagesCase *pages)
{
  struct pollfd fd = { pages->socket, POLLIN, 0 };

  g_assert_cmpuint (pages->in->len, ==, pages->at);
  g_assert_cmpint (poll (&fd, 1, SILENCE_MS), ==, 0);
}

/* ---- what it says ---- */

void
pages_send (PagesCase *pages, const void *data, gsize len)
{
  const guint8 *bytes = data;

  while (len > 0)
    {
      gssize n = send (pages->socket, bytes, len, MSG_NOSIGNAL);

      /* It may have closed the connection already. */
      if (n < 0)
        return;
      bytes += n;
      len -= (gsize)n;
    }
}

static void
send_all (PagesCase *pages, StreamBuilder *out)
{
  pages_send (pages, out->bytes->data, out->bytes->len);
}

void
pages_request (PagesCase *pages, const char *block, guint64 start, guint32 len)
{
  g_autoptr (StreamBuilder) out = stream_builder_new ();

  stream_builder_u16 (out, block != NULL ? 3 : 4);
  stream_builder_u16 (out, block != NULL ? 13 + (guint)strlen (block) : 12);
  stream_builder_u64 (out, start);
  stream_builder_u32 (out, len);
  if (block != NULL)
    stream_builder_name (out, block);
  send_all (pages, out);
}

void
pages_request_page (PagesCase *pages, guint block, guint page)
{
  guint64 host_page = pages->host_pages[block];
  guint64 start = (guint64)page * PAGE;

  pages_request (pages, pages_blocks[block].name, start - start % host_page, (guint32)host_page);
}

static void
send_number (PagesCase *pages, guint type, guint32 value)
{
  g_autoptr (StreamBuilder) out = stream_builder_new ();

  stream_builder_u16 (out, type);
  stream_builder_u16 (out, 4);
  stream_builder_u32 (out, value);
  send_all (pages, out);
}

void
pages_send_shut (PagesCase *pages, guint32 status)
{
  send_number (pages, 1, status);
}

void
pages_send_ack (PagesCase *pages, guint32 value)
{
  send_number (pages, 6, value);
}

void
pages_send_bitmap (PagesCase *pages, guint block, gsize len)
{
  g_autoptr (StreamBuilder) out = stream_builder_new ();
  const char *name = pages_blocks[block].name;

  stream_builder_u16 (out, 5);
  stream_builder_u16 (out, 1 + (guint)strlen (name));
  stream_builder_name (out, name);
  stream_builder_u64 (out, len);
  for (gsize i = 0; i < len; i++)
    {
      guint8 byte = 0;

      for (guint bit = 0; bit < 8; bit++)
        if (i * 8 + bit < pages_blocks[block].n_pages && pages->received[block][i * 8 + bit])
          byte |= (guint8)(1 << bit);
      stream_builder_u8 (out, byte);
    }
  stream_builder_u64 (out, G_GUINT64_CONSTANT (0x0123456789abcdef));
  send_all (pages, out);
}

void
pages_close (PagesCase *pages)
{
  close (pages->socket);
  pages->socket = -1;
}
