/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Needs QSNAP_PAGE_SERVER in the environment. */

#include "config.h"

#include "pages-case.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "image-maker.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"

/* Seconds after which SIGALRM says which case hangs. */
#define PATIENCE 60
#define MAX_PACKET 8192
#define MACHINE "pc-q35-7.2"

const PagesBlock pages_blocks[N_BLOCKS] = { { "pc.ram", RAM_PAGES },
                                            { "vga.vram", 16 },
                                            { "system.flash1", 5 },
                                            { "0000:00:02.0/virtio,pmem", 130 },
                                            { "/rom@etc/acpi/tables", 65 } };

/* ---- the snapshot ---- */

static void
put_page (PagesCase *pages, StreamBuilder *stream, guint block, guint page, guint32 seed)
{
  stream_builder_page (stream, pages_blocks[block].name, (guint64)page * PAGE, seed);
  pages->seeds[block][page] = seed;
}

/* Three of its six huge pages are full; one is a hole, one has been sent as zeros, one has a page
 * of data somewhere. */
static void
put_ram (PagesCase *pages, StreamBuilder *stream)
{
  for (guint i = 0; i < 512; i++)
    {
      put_page (pages, stream, BLOCK_RAM, i, 1 + i);
      put_page (pages, stream, BLOCK_RAM, 512 + i, 1000 + i);
      put_page (pages, stream, BLOCK_RAM, 3 * 512 + i, 0);
      put_page (pages, stream, BLOCK_RAM, 5 * 512 + i, 3000 + i);
    }
  put_page (pages, stream, BLOCK_RAM, 4 * 512 + 77, 4000);
}

static void
put_small (PagesCase *pages, StreamBuilder *stream)
{
  put_page (pages, stream, BLOCK_VGA, 3, 5000);
  put_page (pages, stream, BLOCK_VGA, 4, 0);
  put_page (pages, stream, BLOCK_VGA, 15, 5001);
  put_page (pages, stream, BLOCK_FLASH, 1, 5002);
  put_page (pages, stream, BLOCK_FLASH, 4, 5003);
  put_page (pages, stream, BLOCK_ROM, 0, 5004);
  put_page (pages, stream, BLOCK_ROM, 64, 5005);
}

static void
put_configuration (PagesCase *pages, StreamBuilder *stream)
{
  static const char capabilities[] = "\0\0\0\2\x06"
                                     "x-some"
                                     "\x13"
                                     "background-snapshot";
  static const char bits[] = { 0, 0, 0, 12 };
  g_autoptr (StreamBuilder) wanted = stream_builder_new ();

  stream_builder_head (stream, MACHINE);
  stream_builder_subsection (stream, "configuration/target-page-bits", bits, sizeof bits);
  stream_builder_subsection (stream, "configuration/capabilities", capabilities,
                             sizeof capabilities - 1);
  stream_builder_subsection (stream, "configuration/uuid", "0123456789abcdef", 16);

  stream_builder_head (wanted, MACHINE);
  stream_builder_subsection (wanted, "configuration/target-page-bits", bits, sizeof bits);
  stream_builder_subsection (wanted, "configuration/uuid", "0123456789abcdef", 16);
  pages->configuration = g_byte_array_ref (wanted->bytes);
}

static void
put_devices (PagesCase *pages, StreamBuilder *stream)
{
  g_autoptr (StreamBuilder) wanted = stream_builder_new ();

  stream_builder_device (wanted, 0, "timer", 500);
  stream_builder_device (wanted, 7, "pci", 70001);
  stream_builder_raw (stream, wanted->bytes->data, wanted->bytes->len);
  stream_builder_end (stream, "{\"devices\": []}");
  pages->device_state = g_byte_array_ref (wanted->bytes);
}

static void
build_stream (PagesCase *pages, StreamBuilder *stream)
{
  guint64 total = 0;

  stream->section_id = RAM_SECTION;
  put_configuration (pages, stream);
  for (guint i = 0; i < N_BLOCKS; i++)
    total += (guint64)pages_blocks[i].n_pages * PAGE;
  stream_builder_ram_head (stream, total);
  for (guint i = 0; i < N_BLOCKS; i++)
    stream_builder_block (stream, pages_blocks[i].name, (guint64)pages_blocks[i].n_pages * PAGE);
  stream_builder_ram_tail (stream);
  stream_builder_part (stream);
  put_ram (pages, stream);
  put_small (pages, stream);
  stream_builder_end_part (stream);
  put_devices (pages, stream);
}

static void
write_manifest (int dir_fd, JsonObject *memory)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) manifest = qsnap_json_object_new (
      "id", 's', "0123456789abcdef", "name", 's', "one", "time", 's', "2026-01-02T03:04:05Z",
      "qemu", 'o', qsnap_json_object_new ("version", 's', "7.2.0", "machine", 's', MACHINE, NULL),
      "guest", 'o', qsnap_json_object_new ("run-state", 's', "running", NULL), "memory", 'o',
      json_object_ref (memory), "disks", 'a', json_array_new (), "timing", 'o', json_object_new (),
      NULL);

  qsnap_manifest_write (dir_fd, manifest, &error);
  g_assert_no_error (error);
}

static void
write_image (StreamBuilder *stream, const char *path)
{
  static const char *const raw[] = { "pc.ram", "system.flash1", "0000:00:02.0/virtio,pmem", NULL };
  int dir_fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_autoptr (JsonObject) memory = image_maker_write (stream, dir_fd, raw, FALSE);

  write_manifest (dir_fd, memory);
  close (dir_fd);
}

/* ---- set up ---- */

/* Bringing it to stable storage takes longer than all else, so that it is made once. */
static char *shared;

static char *
make_dir (void)
{
  g_autoptr (GError) error = NULL;
  char *path = g_dir_make_tmp ("qsnap-pages-XXXXXX", &error);

  g_assert_no_error (error);

  return path;
}

static void
run (const char *const *argv)
{
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status,
                &error);
  g_assert_no_error (error);
  g_assert_cmpint (status, ==, 0);
}

static void
remove_dir (char *path)
{
  run ((const char *const[]){ "rm", "-rf", path, NULL });
  g_free (path);
}

static char *
copy_dir (const char *path)
{
  g_autofree char *all = g_build_filename (path, ".", NULL);
  char *copy = make_dir ();

  run ((const char *const[]){ "cp", "-a", "--sparse=always", all, copy, NULL });

  return copy;
}

static void
make_snapshot (PagesCase *pages, gboolean own)
{
  g_autoptr (StreamBuilder) stream = stream_builder_new ();

  build_stream (pages, stream);
  if (shared == NULL)
    {
      shared = make_dir ();
      write_image (stream, shared);
    }
  pages->path = own ? copy_dir (shared) : g_strdup (shared);
}

int
pages_case_run (void)
{
  int status = g_test_run ();

  if (shared != NULL)
    remove_dir (shared);

  return status;
}

void
pages_case_set_up (PagesCase *pages, gconstpointer data)
{
  g_autofree char *record = NULL;

  alarm (PATIENCE);
  pages->revert_path = make_dir ();
  record = g_build_filename (pages->revert_path, "revert.json", NULL);
  g_assert_true (g_file_set_contents (record, "{}", -1, NULL));
  for (guint i = 0; i < N_BLOCKS; i++)
    {
      pages->seeds[i] = g_new0 (guint32, pages_blocks[i].n_pages);
      pages->received[i] = g_new0 (gboolean, pages_blocks[i].n_pages);
      pages->host_pages[i] = PAGE;
    }
  pages->in = g_byte_array_new ();
  pages->order = g_array_new (FALSE, FALSE, sizeof (PagesPage));
  pages->control = pages->rescue = pages->socket = -1;
  pages->block = N_BLOCKS;
  make_snapshot (pages, data != NULL);
}

void
pages_case_tear_down (PagesCase *pages, G_GNUC_UNUSED gconstpointer data)
{
  const int fds[] = { pages->control, pages->rescue, pages->socket };

  for (guint i = 0; i < G_N_ELEMENTS (fds); i++)
    if (fds[i] >= 0)
      close (fds[i]);
  if (pages->process != NULL)
    g_subprocess_force_exit (pages->process);
  g_clear_object (&pages->process);
  for (guint i = 0; i < N_BLOCKS; i++)
    {
      g_free (pages->seeds[i]);
      g_free (pages->received[i]);
    }
  g_byte_array_unref (pages->configuration);
  g_byte_array_unref (pages->device_state);
  g_byte_array_unref (pages->in);
  g_array_unref (pages->order);
  if (g_str_equal (pages->path, shared))
    g_free (pages->path);
  else
    remove_dir (pages->path);
  remove_dir (pages->revert_path);
  alarm (0);
}

void
pages_case_set_host_page (PagesCase *pages, guint block, guint64 size)
{
  pages->host_pages[block] = size;
}

/* ---- the process ---- */

static int
give_socket (GSubprocessLauncher *launcher, int type, int child_fd)
{
  int sockets[2];

  g_assert_cmpint (socketpair (AF_UNIX, type | SOCK_CLOEXEC, 0, sockets), ==, 0);
  g_subprocess_launcher_take_fd (launcher, sockets[1], child_fd);

  return sockets[0];
}

static void
give_dir (GSubprocessLauncher *launcher, const char *path, int child_fd)
{
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  g_subprocess_launcher_take_fd (launcher, fd, child_fd);
}

/* Without @control, nobody is at the other end of its control socket. */
static void
spawn (PagesCase *pages, gboolean recover, gboolean control)
{
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_NONE);
  g_autoptr (GError) error = NULL;
  const char *argv[] = { g_getenv ("QSNAP_PAGE_SERVER"),
                         "--control-fd=3",
                         "--socket-fd=4",
                         "--dir-fd=5",
                         "--revert-fd=6",
                         "--rescue-fd=7",
                         recover ? "--recover" : NULL,
                         NULL };

  pages->control = give_socket (launcher, SOCK_SEQPACKET, 3);
  if (!control)
    close (g_steal_fd (&pages->control));
  pages->socket = give_socket (launcher, SOCK_STREAM, 4);
  give_dir (launcher, pages->path, 5);
  give_dir (launcher, pages->revert_path, 6);
  pages->rescue = give_socket (launcher, SOCK_STREAM, 7);
  pages->process = g_subprocess_launcher_spawnv (launcher, argv, &error);
  g_assert_no_error (error);
}

void
pages_case_start (PagesCase *pages, gboolean recover)
{
  spawn (pages, recover, TRUE);
  pages_case_expect_report (pages, "ready");
}

JsonObject *
pages_case_start_badly (PagesCase *pages)
{
  spawn (pages, FALSE, TRUE);

  return pages_case_next_report (pages);
}

void
pages_case_start_alone (PagesCase *pages)
{
  spawn (pages, FALSE, FALSE);
}

static JsonObject *
describe_host_pages (PagesCase *pages)
{
  JsonObject *object = json_object_new ();

  for (guint i = 0; i < N_BLOCKS; i++)
    if (pages->host_pages[i] != PAGE)
      json_object_set_int_member (object, pages_blocks[i].name, (gint64)pages->host_pages[i]);

  return object;
}

void
pages_case_go (PagesCase *pages, const char *host_pages)
{
  JsonObject *sizes;
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *text = NULL;

  if (host_pages != NULL)
    text = g_strdup_printf ("{\"command\":\"go\",\"host-pages\":%s}", host_pages);
  else
    {
      sizes = describe_host_pages (pages);
      node = qsnap_json_node_new ("command", 's', "go", "host-pages", 'o', sizes, NULL);
      text = qsnap_json_to_text (node, FALSE);
    }
  g_assert_cmpint (send (pages->control, text, strlen (text), MSG_NOSIGNAL), ==, strlen (text));
}

/* ---- reports ---- */

static JsonObject *
read_report (PagesCase *pages)
{
  g_autofree char *text = g_malloc (MAX_PACKET);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = NULL;
  gssize n = recv (pages->control, text, MAX_PACKET, 0);

  if (n <= 0)
    g_error ("the process has ended, and has not said why");
  node = qsnap_json_parse_object (text, (gsize)n, &error);
  g_assert_no_error (error);

  return json_object_ref (qsnap_json_object (node));
}

static void
check_progress (PagesCase *pages, JsonObject *report)
{
  guint64 done = (guint64)json_object_get_int_member (report, "bytes-done");
  guint64 total = 0;

  for (guint i = 0; i < N_BLOCKS; i++)
    total += (guint64)pages_blocks[i].n_pages * PAGE;
  g_assert_cmpuint ((guint64)json_object_get_int_member (report, "bytes-total"), ==, total);
  g_assert_cmpuint (done, >=, pages->bytes_done);
  g_assert_cmpuint (done, <=, total);
  g_assert_cmpint (json_object_get_int_member (report, "requests"), >=, 0);
  pages->bytes_done = done;
}

JsonObject *
pages_case_next_report (PagesCase *pages)
{
  for (;;)
    {
      g_autoptr (JsonObject) report = read_report (pages);

      if (g_strcmp0 (qsnap_json_get_string (report, "report"), "progress") != 0)
        return g_steal_pointer (&report);
      check_progress (pages, report);
    }
}

void
pages_case_expect_report (PagesCase *pages, const char *kind)
{
  g_autoptr (JsonObject) report = pages_case_next_report (pages);
  const char *found = qsnap_json_get_string (report, "report");

  if (g_strcmp0 (found, kind) != 0)
    g_error ("it says “%s” (%s), and not “%s”", found, qsnap_json_get_string (report, "message"),
             kind);
}

static void
check_failure (JsonObject *report, GQuark domain, int code, va_list texts)
{
  const char *message = qsnap_json_get_string (report, "message");
  const char *text;

  g_assert_cmpstr (qsnap_json_get_string (report, "report"), ==, "failed");
  g_assert_nonnull (message);
  if (g_strcmp0 (qsnap_json_get_string (report, "domain"), g_quark_to_string (domain)) != 0 ||
      json_object_get_int_member (report, "code") != code)
    g_error ("an error %s %d: %s", qsnap_json_get_string (report, "domain"),
             (int)json_object_get_int_member (report, "code"), message);
  while ((text = va_arg (texts, const char *)) != NULL)
    if (strstr (message, text) == NULL)
      g_error ("no “%s” in “%s”", text, message);
}

void
pages_case_expect_failure (PagesCase *pages, GQuark domain, int code, ...)
{
  g_autoptr (JsonObject) report = NULL;
  va_list texts;

  if (pages->socket >= 0)
    pages_read_until_closed (pages);
  report = pages_case_next_report (pages);
  va_start (texts, code);
  check_failure (report, domain, code, texts);
  va_end (texts);
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 1);
  g_assert_true (pages_case_has_record (pages));
}

int
pages_case_wait_exit (PagesCase *pages)
{
  g_autoptr (GError) error = NULL;

  g_subprocess_wait (pages->process, NULL, &error);
  g_assert_no_error (error);
  if (!g_subprocess_get_if_exited (pages->process))
    g_error ("the process was ended by signal %d", g_subprocess_get_term_sig (pages->process));

  return g_subprocess_get_exit_status (pages->process);
}

gboolean
pages_case_has_record (PagesCase *pages)
{
  g_autofree char *record = g_build_filename (pages->revert_path, "revert.json", NULL);

  return g_file_test (record, G_FILE_TEST_EXISTS);
}

/* ---- the end ---- */

static JsonNode *
read_command (PagesCase *pages)
{
  g_autoptr (GString) line = g_string_new (NULL);
  g_autoptr (GError) error = NULL;
  JsonNode *node;
  char byte = '\0';

  while (byte != '\n')
    {
      if (recv (pages->rescue, &byte, 1, 0) != 1)
        g_error ("nothing is said on the rescue connection");
      g_string_append_c (line, byte);
    }
  node = qsnap_json_parse_object (line->str, line->len, &error);
  g_assert_no_error (error);

  return node;
}

/* An event, and the answer to somebody else's command, are in between. */
void
pages_case_answer_rescue (PagesCase *pages)
{
  static const char answer[] =
      "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\r\n"
      "{\"return\": {}, \"id\": \"getfd\"}\r\n"
      "{\"return\": {}, \"id\": \"closefd\"}\r\n";
  g_autoptr (JsonNode) node = read_command (pages);
  JsonObject *command = qsnap_json_object (node);

  g_assert_cmpstr (qsnap_json_get_string (command, "execute"), ==, "closefd");
  g_assert_cmpstr (qsnap_json_get_string (command, "id"), ==, "closefd");
  g_assert_cmpstr (qsnap_json_get_string (qsnap_json_get_object (command, "arguments"), "fdname"),
                   ==, "qsnap-rescue");
  /* Not before: until then another process may have to go on. */
  g_assert_true (pages->ended);
  g_assert_cmpint (write (pages->rescue, answer, strlen (answer)), ==, strlen (answer));
}

void
pages_case_settle (PagesCase *pages, guint n_requests)
{
  g_autoptr (JsonObject) report = NULL;

  g_assert_true (pages_case_has_record (pages));
  pages_send_shut (pages, 0);
  pages_case_answer_rescue (pages);
  report = pages_case_next_report (pages);
  g_assert_cmpstr (qsnap_json_get_string (report, "report"), ==, "settled");
  g_assert_false (pages_case_has_record (pages));
  check_progress (pages, report);
  g_assert_cmpuint (pages->bytes_done, ==,
                    (guint64)json_object_get_int_member (report, "bytes-total"));
  g_assert_cmpint (json_object_get_int_member (report, "requests"), ==, n_requests);
  pages_read_until_closed (pages);
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 0);
}
