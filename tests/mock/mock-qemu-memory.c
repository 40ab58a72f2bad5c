/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock program's guest memory: mapped as the command line says, filled by the stream, compared
 * with what the mock that was captured had. */

#include "mock-qemu.h"

#include "memory/qsnap-stream-parser.h"
#include "qsnap-mock-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Every stream is longer, a pipe is shorter. */
#define MIDDLE 100000

typedef struct
{
  const char *name;
  guint64 length;
  guint8 *data;
  gboolean is_file;
  guint n_normal, n_zero;
} Block;

struct _Memory
{
  GArray *blocks;
  /* Of the stream's blocks, by their order there; indices into blocks. */
  GArray *announced;
  guint64 n_bytes;
  Rescue *rescue;
  gboolean stays_paused;
};

/* --- mapping --- */

static Block *
find_block (Memory *memory, const char *name, guint *index)
{
  for (guint i = 0; i < memory->blocks->len; i++)
    {
      Block *block = &g_array_index (memory->blocks, Block, i);

      if (g_str_equal (block->name, name))
        {
          if (index != NULL)
            *index = i;
          return block;
        }
    }
  return NULL;
}

static guint8 *
map_anonymous (guint64 length)
{
  guint8 *data = mmap (NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  g_assert_true (data != MAP_FAILED);
  return data;
}

static gboolean
map_fd (Block *block, int fd, gboolean shared, const char *path)
{
  struct stat found;

  if (fd < 0)
    {
      complain ("can't open backing store %s for guest RAM: %s", path, g_strerror (errno));
      return FALSE;
    }
  if (fstat (fd, &found) != 0 || (guint64)found.st_size < block->length)
    {
      complain ("backing store size 0x%" G_GINT64_MODIFIER
                "x does not match 'size' option 0x%" G_GINT64_MODIFIER "x",
                (gint64)found.st_size, block->length);
      return FALSE;
    }
  munmap (block->data, block->length);
  block->data =
      mmap (NULL, block->length, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
  block->is_file = TRUE;
  if (block->data == MAP_FAILED)
    complain ("unable to map backing store for guest RAM: %s", g_strerror (errno));
  return block->data != MAP_FAILED;
}

static gboolean
is_on (const char *text, const char *key)
{
  g_autofree char *value = option_dup (text, key);

  return g_strcmp0 (value, "on") == 0;
}

static gboolean
map_file (Block *block, MockQemu *mock, const char *object)
{
  g_autofree char *path = option_dup (object, "mem-path");
  g_autofree char *rom = option_dup (object, "rom");
  gboolean read_only = is_on (object, "readonly");
  gboolean ok;
  int fd;

  report ("map", "%s %s", block->name, object);
  if (rom != NULL && mock->style == MOCK_STYLE_7_2)
    {
      complain ("-object %s: Property 'memory-backend-file.rom' not found", object);
      return FALSE;
    }
  if (read_only && g_strcmp0 (rom, "off") != 0)
    {
      complain ("-object %s: the guest's RAM would be read-only", object);
      return FALSE;
    }
  fd = open (path != NULL ? path : "", (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  ok = map_fd (block, fd, is_on (object, "share"), path);
  mock_clear_fd (&fd);
  return ok;
}

/* QEMU calls the block by the backend's id, or by its path. */
static char *
dup_block_name (const char *object)
{
  g_autofree char *id = option_dup (object, "id");
  const char *prefix = is_on (object, "x-use-canonical-path-for-ramblock-id") ? "/objects/" : "";

  return g_strconcat (prefix, id, NULL);
}

static gboolean
add_backend (Memory *memory, MockQemu *mock, const char *object)
{
  g_autofree char *type = option_dup_first (object, "qom-type");
  g_autofree char *name = NULL, *size = NULL;
  Block *block;

  if (!g_str_has_prefix (type, "memory-backend-"))
    return TRUE;
  name = dup_block_name (object);
  size = option_dup (object, "size");
  block = find_block (memory, name, NULL);
  if (block == NULL || size == NULL || option_size (size, 1) != block->length)
    {
      complain ("-object %s: the mock's machine has no such memory", object);
      return FALSE;
    }
  return !g_str_equal (type, "memory-backend-file") || map_file (block, mock, object);
}

Memory *
memory_new (MockQemu *mock, char **argv)
{
  g_autoptr (Memory) memory = g_new0 (Memory, 1);

  memory->blocks = g_array_new (FALSE, TRUE, sizeof (Block));
  memory->announced = g_array_new (FALSE, FALSE, sizeof (guint));
  for (guint i = 0; i < mock_get_n_ram_blocks (mock); i++)
    {
      MockRamBlock info = mock_get_ram_block (mock, i);
      Block block = { .name = info.name, .length = info.size, .data = map_anonymous (info.size) };

      g_array_append_val (memory->blocks, block);
    }
  for (guint i = 1; argv[i] != NULL && argv[i + 1] != NULL; i++)
    {
      if (g_str_equal (argv[i], "-object") && !add_backend (memory, mock, argv[i + 1]))
        return NULL;
    }
  return g_steal_pointer (&memory);
}

void
memory_free (Memory *memory)
{
  for (guint i = 0; i < memory->blocks->len; i++)
    {
      Block *block = &g_array_index (memory->blocks, Block, i);

      if (block->data != MAP_FAILED)
        munmap (block->data, block->length);
    }
  g_array_unref (memory->blocks);
  g_array_unref (memory->announced);
  g_free (memory);
}

void
memory_touch (Memory *memory)
{
  for (guint i = 0; i < memory->blocks->len; i++)
    {
      Block *block = &g_array_index (memory->blocks, Block, i);

      memset (block->data, 0xee, MOCK_PAGE_SIZE);
      memset (block->data + block->length - MOCK_PAGE_SIZE, 0xee, MOCK_PAGE_SIZE);
    }
}

void
memory_set_rescue (Memory *memory, Rescue *rescue, gboolean stays_paused)
{
  memory->rescue = rescue;
  memory->stays_paused = stays_paused;
}

guint64
memory_get_length (Memory *memory, const char *block)
{
  Block *found = find_block (memory, block, NULL);

  return found != NULL ? found->length : 0;
}

void
memory_put_page (Memory *memory, const char *block, guint64 offset, const guint8 *data)
{
  Block *found = find_block (memory, block, NULL);

  if (data != NULL)
    memcpy (found->data + offset, data, MOCK_PAGE_SIZE);
  else
    memset (found->data + offset, 0, MOCK_PAGE_SIZE);
  found->n_normal += data != NULL;
  found->n_zero += data == NULL;
}

/* --- the stream --- */

static gboolean
on_ram_setup (const QsnapStreamBlock *blocks,
              guint n_blocks,
              G_GNUC_UNUSED const guint8 *data,
              G_GNUC_UNUSED gsize len,
              gpointer user_data,
              GError **error)
{
  Memory *memory = user_data;

  for (guint i = 0; i < n_blocks; i++)
    {
      guint index = 0;
      Block *block = find_block (memory, blocks[i].name, &index);

      if (block == NULL || block->length != blocks[i].length)
        {
          g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                       "Unknown ramblock \"%s\", cannot accept migration", blocks[i].name);
          return FALSE;
        }
      g_array_append_val (memory->announced, index);
      report ("announced", "%s", block->name);
    }
  return TRUE;
}

static gboolean
on_page (guint stream_block,
         guint64 offset,
         const guint8 *data,
         gpointer user_data,
         G_GNUC_UNUSED GError **error)
{
  Memory *memory = user_data;
  guint index = g_array_index (memory->announced, guint, stream_block);
  Block *block = &g_array_index (memory->blocks, Block, index);

  if (data != NULL)
    memcpy (block->data + offset, data, MOCK_PAGE_SIZE);
  else
    memset (block->data + offset, 0, MOCK_PAGE_SIZE);
  block->n_normal += data != NULL;
  block->n_zero += data == NULL;
  return TRUE;
}

/* In the middle of the stream. A text is what the load fails with. */
static char *
act_out_faults (MockQemu *mock)
{
  if (fault_is_set ("exit:stream"))
    {
      complain ("simulated crash in the middle of the stream");
      _exit (1);
    }
  if (fault_is_set ("kill:stream"))
    raise (SIGKILL);
  if (fault_is_set ("hang:stream"))
    {
      report ("hang", "stream");
      while (!mock_is_stopping (mock))
        g_usleep (1000);
    }
  if (fault_is_set ("fail:stream"))
    return g_strdup ("simulated failure in the middle of the stream");
  return NULL;
}

static gssize
read_some (MockQemu *mock, int fd, guint8 *buffer, gsize size)
{
  struct pollfd poll_fd = { fd, POLLIN, 0 };
  gssize n = -1;

  while (!mock_is_stopping (mock) && (n = read (fd, buffer, size)) < 0 &&
         (errno == EAGAIN || errno == EINTR))
    poll (&poll_fd, 1, 20);
  return n;
}

static char *
read_stream (MockQemu *mock, int fd, Memory *memory, QsnapStreamParser *parser)
{
  guint8 buffer[32768];
  g_autoptr (GError) error = NULL;
  gssize n;

  while ((n = read_some (mock, fd, buffer, sizeof buffer)) > 0)
    {
      gboolean is_middle = memory->n_bytes < MIDDLE && memory->n_bytes + (guint64)n >= MIDDLE;
      char *problem;

      memory->n_bytes += (guint64)n;
      if (!qsnap_stream_parser_push (parser, buffer, (gsize)n, &error))
        return g_strdup (error->message);
      if (is_middle && (problem = act_out_faults (mock)) != NULL)
        return problem;
    }
  if (!mock_is_stopping (mock) && !qsnap_stream_parser_finish (parser, &error))
    return g_strdup (error->message);
  return NULL;
}

static guint
count_wrong_pages (Block *block, guint index)
{
  guint n_wrong = 0;

  for (guint64 page = 0; page < block->length / MOCK_PAGE_SIZE; page++)
    {
      guint8 expected[MOCK_PAGE_SIZE];

      mock_fill_page (index, page, expected);
      n_wrong += memcmp (block->data + page * MOCK_PAGE_SIZE, expected, MOCK_PAGE_SIZE) != 0;
    }
  return n_wrong;
}

static void
report_blocks (Memory *memory)
{
  for (guint i = 0; i < memory->blocks->len; i++)
    {
      Block *block = &g_array_index (memory->blocks, Block, i);

      report ("block", "%s %s: %u of %u pages sent, %u wrong", block->name,
              block->is_file ? "mapped" : "anonymous", block->n_normal + block->n_zero,
              (guint)(block->length / MOCK_PAGE_SIZE), count_wrong_pages (block, i));
    }
}

char *
memory_load (MockQemu *mock, int fd, gpointer user_data)
{
  static const QsnapStreamCallbacks callbacks = { .ram_setup = on_ram_setup, .page = on_page };
  Memory *memory = user_data;
  g_autoptr (QsnapStreamParser) parser = qsnap_stream_parser_new (&callbacks, memory);
  gboolean is_postcopy = memory->rescue != NULL && mock_get_capability (mock, "postcopy-ram");
  char *problem = is_postcopy
                      ? postcopy_load (mock, fd, memory, memory->rescue, memory->stays_paused)
                      : read_stream (mock, fd, memory, parser);

  if (problem != NULL)
    complain ("load of migration failed: %s", problem);
  else
    {
      if (!is_postcopy)
        report ("machine", "%s", qsnap_stream_parser_get_machine (parser));
      report_blocks (memory);
    }
  report ("stream", "%s", problem != NULL ? problem : "complete");
  return problem;
}
