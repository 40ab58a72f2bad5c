/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock program as the destination of a postcopy migration. Its bytes are tested elsewhere
 * (tests/unit/pages-peer.c); here it is what QEMU says and when. */

#include "mock-qemu.h"
#include "qsnap-mock-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define PAGE ((guint64)MOCK_PAGE_SIZE)
/* What has come when a guest is held. */
#define HOLD_PAGES 300
#define TICK 10

typedef struct
{
  MockQemu *mock;
  Memory *memory;
  Rescue *rescue;
  gboolean stays_paused;
  int fd;
  /* Nothing more comes: the reads answer zeros. */
  gboolean lost;
  /* There is a new connection, and nothing has been said on it. */
  gboolean recovering;
  gboolean ended;
  char *problem;
  GPtrArray *names;   /* the blocks, as they are announced */
  GPtrArray *arrived; /* for each, a bitmap in a GByteArray */
  guint block;
  guint n_pages;
} Postcopy;

static gboolean
is_over (Postcopy *postcopy)
{
  return postcopy->lost || postcopy->problem != NULL;
}

static void
refuse (Postcopy *postcopy, const char *problem)
{
  if (postcopy->problem == NULL)
    postcopy->problem = g_strdup (problem);
}

/* --- bytes --- */

static gboolean
has_to_stop (gpointer data)
{
  return mock_is_stopping (((Postcopy *)data)->mock);
}

static void
read_bytes (Postcopy *postcopy, void *data, gsize len)
{
  guint8 *bytes = data;

  while (len > 0 && !is_over (postcopy))
    {
      struct pollfd poll_fd = { postcopy->fd, POLLIN, 0 };
      gssize n = poll (&poll_fd, 1, TICK) == 1 ? recv (postcopy->fd, bytes, len, 0) : -1;

      if (n > 0)
        {
          bytes += n;
          len -= (gsize)n;
        }
      else if (n == 0 || (poll_fd.revents != 0 && errno != EAGAIN && errno != EINTR) ||
               has_to_stop (postcopy))
        postcopy->lost = TRUE;
    }
  memset (bytes, 0, len);
}

static guint64
read_number (Postcopy *postcopy, gsize len)
{
  guint8 data[8];
  guint64 value = 0;

  read_bytes (postcopy, data, len);
  for (gsize i = 0; i < len; i++)
    value = value << 8 | data[i];
  return value;
}

static char *
read_name (Postcopy *postcopy, gsize len)
{
  char *name = g_malloc0 (len + 1);

  read_bytes (postcopy, name, len);
  return name;
}

static void
skip (Postcopy *postcopy, gsize len)
{
  g_autofree guint8 *data = g_malloc (len + 1);

  read_bytes (postcopy, data, len);
}

/* --- what it says --- */

static void
put_number (GByteArray *out, guint64 value, gsize len)
{
  for (gsize i = len; i-- > 0;)
    {
      guint8 byte = (guint8)(value >> 8 * i);

      g_byte_array_append (out, &byte, 1);
    }
}

static void
put_name (GByteArray *out, const char *name)
{
  put_number (out, strlen (name), 1);
  g_byte_array_append (out, (const guint8 *)name, (guint)strlen (name));
}

static void
send_out (Postcopy *postcopy, GByteArray *out)
{
  (void)!send (postcopy->fd, out->data, out->len, MSG_NOSIGNAL);
  g_byte_array_unref (out);
}

static void
send_number (Postcopy *postcopy, guint type, guint32 value)
{
  GByteArray *out = g_byte_array_new ();

  put_number (out, type, 2);
  put_number (out, 4, 2);
  put_number (out, value, 4);
  send_out (postcopy, out);
}

static guint8 *
find_bits (Postcopy *postcopy, guint block)
{
  return ((GByteArray *)g_ptr_array_index (postcopy->arrived, block))->data;
}

/* The guest's processors wait for the last page of the first block. */
static void
send_request (Postcopy *postcopy)
{
  const char *name = g_ptr_array_index (postcopy->names, 0);
  guint64 last = memory_get_length (postcopy->memory, name) / PAGE - 1;
  GByteArray *out = g_byte_array_new ();

  put_number (out, 3, 2);
  put_number (out, 13 + strlen (name), 2);
  put_number (out, last * PAGE, 8);
  put_number (out, PAGE, 4);
  put_name (out, name);
  if (find_bits (postcopy, 0)[last / 8] >> last % 8 & 1)
    g_byte_array_unref (out);
  else
    send_out (postcopy, out);
}

static void
send_bitmap (Postcopy *postcopy, const char *name)
{
  guint block = 0;
  GByteArray *out = g_byte_array_new (), *bits;

  while (block < postcopy->names->len &&
         !g_str_equal (name, g_ptr_array_index (postcopy->names, block)))
    block++;
  if (block == postcopy->names->len && !postcopy->lost)
    refuse (postcopy, "a bitmap of an unknown block is wanted");
  if (block == postcopy->names->len)
    ;
  else
    {
      bits = g_ptr_array_index (postcopy->arrived, block);
      put_number (out, 5, 2);
      put_number (out, 1 + strlen (name), 2);
      put_name (out, name);
      put_number (out, bits->len, 8);
      g_byte_array_append (out, bits->data, bits->len);
      put_number (out, G_GUINT64_CONSTANT (0x0123456789abcdef), 8);
    }
  send_out (postcopy, out);
}

/* --- the head --- */

static void
read_configuration (Postcopy *postcopy)
{
  if (read_number (postcopy, 8) != G_GUINT64_CONSTANT (0x5145564d00000003) ||
      read_number (postcopy, 1) != 7)
    refuse (postcopy, "this is no migration stream");
  skip (postcopy, read_number (postcopy, 4));
}

static void
read_setup (Postcopy *postcopy)
{
  guint64 total;

  skip (postcopy, 4 + 4 + 4 + 4);
  total = read_number (postcopy, 8) & ~(PAGE - 1);
  while (total > 0 && !is_over (postcopy))
    {
      char *name = read_name (postcopy, read_number (postcopy, 1));
      guint64 length = read_number (postcopy, 8);
      GByteArray *bits = g_byte_array_new ();

      g_ptr_array_add (postcopy->names, name);
      g_ptr_array_add (postcopy->arrived, bits);
      if (length == 0 || memory_get_length (postcopy->memory, name) != length || length > total)
        {
          refuse (postcopy, "an unknown block is announced");
          break;
        }
      g_byte_array_set_size (bits, (guint)((length / PAGE + 63) / 64 * 8));
      memset (bits->data, 0, bits->len);
      report ("announced", "%s", name);
      total -= length;
    }
  skip (postcopy, 8 + 5);
}

static void
enter (Postcopy *postcopy, const char *status)
{
  report ("migration", "%s", status);
  mock_incoming_set_status (postcopy->mock, status);
}

static void
read_package (Postcopy *postcopy)
{
  guint64 length = read_number (postcopy, 4);
  guint8 first[5], last[5];

  read_bytes (postcopy, first, 5);
  skip (postcopy, length - 10);
  read_bytes (postcopy, last, 5);
  if (postcopy->lost)
    return;
  if (memcmp (first, "\x08\0\4\0\0", 5) != 0 || memcmp (last, "\x08\0\5\0\0", 5) != 0)
    refuse (postcopy, "the package is none");
  if (is_over (postcopy))
    return;
  if (fault_is_set ("hang:devices"))
    {
      report ("hang", "devices");
      while (!has_to_stop (postcopy))
        g_usleep (1000);
    }
  enter (postcopy, "postcopy-active");
  send_request (postcopy);
  mock_incoming_run (postcopy->mock, postcopy->stays_paused);
  report ("state", "%s", postcopy->stays_paused ? "paused" : "running");
}

static void
resume (Postcopy *postcopy)
{
  postcopy->recovering = FALSE;
  enter (postcopy, "postcopy-active");
  send_number (postcopy, 6, 1);
  send_request (postcopy);
}

static void
read_command (Postcopy *postcopy)
{
  guint command = (guint)read_number (postcopy, 2);
  guint len = (guint)read_number (postcopy, 2);
  g_autofree char *name = NULL;

  switch (command)
    {
    case 7:
      read_package (postcopy);
      break;

    case 9:
      resume (postcopy);
      break;

    case 10:
      name = read_name (postcopy, read_number (postcopy, 1));
      send_bitmap (postcopy, name);
      break;

    default:
      skip (postcopy, len);
      break;
    }
}

/* --- pages --- */

static void
hold (Postcopy *postcopy)
{
  g_autofree char *go = g_strconcat (g_getenv ("QSNAP_MOCK_REPORT"), ".go", NULL);

  if (!fault_is_set ("hold:pages"))
    return;
  report ("hold", "pages");
  while (!g_file_test (go, G_FILE_TEST_EXISTS) && !has_to_stop (postcopy))
    g_usleep (1000);
}

static void
take_page (Postcopy *postcopy, guint64 offset, const guint8 *data)
{
  guint8 *bits = find_bits (postcopy, postcopy->block);
  const char *name = g_ptr_array_index (postcopy->names, postcopy->block);
  guint64 page = offset / PAGE;

  if (is_over (postcopy))
    return;
  if (offset >= memory_get_length (postcopy->memory, name) || bits[page / 8] >> page % 8 & 1)
    {
      refuse (postcopy, "a page comes twice, or is none");
      return;
    }
  bits[page / 8] |= (guint8)(1 << page % 8);
  memory_put_page (postcopy->memory, name, offset, data);
  if (++postcopy->n_pages == HOLD_PAGES)
    hold (postcopy);
}

static void
find_block (Postcopy *postcopy)
{
  g_autofree char *name = read_name (postcopy, read_number (postcopy, 1));

  for (guint i = 0; i < postcopy->names->len; i++)
    if (g_str_equal (name, g_ptr_array_index (postcopy->names, i)))
      {
        postcopy->block = i;
        return;
      }
  if (!postcopy->lost)
    refuse (postcopy, "a page of an unknown block");
}

static void
read_pages (Postcopy *postcopy)
{
  skip (postcopy, 4);
  while (!is_over (postcopy))
    {
      guint64 head = read_number (postcopy, 8);
      guint8 data[MOCK_PAGE_SIZE];

      if (head & 0x10)
        break;
      if (!(head & 0x20))
        find_block (postcopy);
      read_bytes (postcopy, data, head & 0x08 ? sizeof data : 1);
      take_page (postcopy, head & ~(PAGE - 1), head & 0x08 ? data : NULL);
    }
  skip (postcopy, 5);
}

/* --- all of it --- */

static void
read_subsection (Postcopy *postcopy)
{
  g_autofree char *name = read_name (postcopy, read_number (postcopy, 1));

  skip (postcopy, 4 + (g_str_equal (name, "configuration/uuid") ? 16 : 4));
}

static void
read_one (Postcopy *postcopy)
{
  guint8 type = (guint8)read_number (postcopy, 1);

  if (postcopy->lost)
    return;
  switch (type)
    {
    case 0:
      postcopy->ended = !is_over (postcopy);
      break;

    case 1:
      read_setup (postcopy);
      break;

    case 2:
    case 3:
      read_pages (postcopy);
      break;

    case 5:
      read_subsection (postcopy);
      break;

    case 8:
      read_command (postcopy);
      break;

    default:
      refuse (postcopy, "this is no section");
      break;
    }
}

static void
go_on (Postcopy *postcopy)
{
  /* QEMU 7.2 uses what it has closed. */
  if (postcopy->recovering)
    {
      refuse (postcopy, "the connection is lost before it was told to resume");
      return;
    }
  enter (postcopy, "postcopy-paused");
  close (postcopy->fd);
  postcopy->fd = rescue_wait_stream (postcopy->rescue, has_to_stop, postcopy);
  if (postcopy->fd < 0)
    return;
  enter (postcopy, "postcopy-recover");
  postcopy->recovering = TRUE;
  postcopy->lost = FALSE;
}

static void
receive_all (Postcopy *postcopy)
{
  read_configuration (postcopy);
  while (!postcopy->ended && postcopy->problem == NULL && postcopy->fd >= 0 &&
         !has_to_stop (postcopy))
    {
      read_one (postcopy);
      if (!postcopy->lost || has_to_stop (postcopy))
        continue;
      if (!mock_incoming_has_run (postcopy->mock))
        {
          postcopy->problem = g_strdup ("the stream ends before the guest runs");
          return;
        }
      go_on (postcopy);
    }
  if (postcopy->ended)
    send_number (postcopy, 1, 0);
  else
    refuse (postcopy, "QEMU ends before all has come");
}

char *
postcopy_load (MockQemu *mock, int fd, Memory *memory, Rescue *rescue, gboolean stays_paused)
{
  Postcopy postcopy = { .mock = mock,
                        .memory = memory,
                        .rescue = rescue,
                        .stays_paused = stays_paused,
                        .fd = fcntl (fd, F_DUPFD_CLOEXEC, 3),
                        .names = g_ptr_array_new_with_free_func (g_free),
                        .arrived =
                            g_ptr_array_new_with_free_func ((GDestroyNotify)g_byte_array_unref) };

  receive_all (&postcopy);
  if (postcopy.fd >= 0)
    close (postcopy.fd);
  g_ptr_array_unref (postcopy.names);
  g_ptr_array_unref (postcopy.arrived);
  return postcopy.problem;
}
