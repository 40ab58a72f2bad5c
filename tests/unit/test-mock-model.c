/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock QEMU's model: disks, descriptors, migration, against what real ones were seen to do. */

#include "mock-client.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* --- model: disks --- */

/* As the library does it: descriptors, file node, create, overlay node. */
static void
prepare_overlay (Client *client, const char *path, int set, const char *backing)
{
  int writer = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600),
      reader = open (path, O_RDONLY | O_CLOEXEC);
  g_autofree char *fd_arguments =
      g_strdup_printf ("{\"fdset-id\": %d, \"opaque\": \"%s\"}", set, path);
  g_autofree char *file = g_strdup_printf (
      "{\"driver\": \"file\", \"filename\": \"/dev/fdset/%d\", \"node-name\": \"file%d\"}", set,
      set);
  g_autofree char *create =
      g_strdup_printf ("{\"job-id\": \"job%d\", \"options\": {\"driver\": \"qcow2\", \"file\": "
                       "\"file%d\", \"size\": 1048576, \"backing-file\": \"%s\", "
                       "\"backing-fmt\": \"raw\"}}",
                       set, set, backing);
  g_autofree char *dismiss = g_strdup_printf ("{\"id\": \"job%d\"}", set);
  g_autofree char *node = g_strdup_printf ("{\"driver\": \"qcow2\", \"file\": \"file%d\", "
                                           "\"node-name\": \"overlay%d\", \"backing\": null}",
                                           set, set);

  client_fd (client, "add-fd", fd_arguments, reader);
  client_fd (client, "add-fd", fd_arguments, writer);
  client_void (client, "blockdev-add", file);
  g_string_truncate (client->events, 0);
  client_void (client, "blockdev-create", create);
  client_wait_event (client, "JOB_STATUS_CHANGE:concluded");
  client_void (client, "job-dismiss", dismiss);
  g_assert_cmpstr (client->events->str, ==,
                   " JOB_STATUS_CHANGE:created JOB_STATUS_CHANGE:running JOB_STATUS_CHANGE:waiting "
                   "JOB_STATUS_CHANGE:pending JOB_STATUS_CHANGE:concluded JOB_STATUS_CHANGE:null");
  client_void (client, "blockdev-add", node);
  close (writer);
  close (reader);
}

static void
commit_back (Client *client, const char *device)
{
  g_autofree char *commit = g_strdup_printf ("{\"job-id\": \"undo\", \"device\": \"%s\"}", device);

  g_string_truncate (client->events, 0);
  client_void (client, "block-commit", commit);
  client_wait_event (client, "BLOCK_JOB_READY");
  client_error (client, "blockdev-del", "{\"node-name\": \"overlay1\"}", "GenericError",
                "*is busy: block device is in use*");
  client_void (client, "job-complete", "{\"id\": \"undo\"}");
  client_wait_event (client, "BLOCK_JOB_COMPLETED");
  client_wait_event (client, "JOB_STATUS_CHANGE:null");
}

static void
test_overlay (gconstpointer style)
{
  Client client;
  g_autofree char *image = NULL, *overlay = NULL, *before = NULL, *after = NULL, *block = NULL,
                  *node = NULL;

  client_set_up (&client, GPOINTER_TO_INT (style));
  image = client_make_image (client.mock, "a.raw", 1 << 20);
  overlay = g_build_filename (mock_get_directory (client.mock), "o.qcow2", NULL);
  mock_add_drive (client.mock, "virtio0", "/machine/x", NULL, "raw", image);
  client_begin (&client);
  before = mock_dup_graph (client.mock);
  prepare_overlay (&client, overlay, 1, image);
  client_error (
      &client, "transaction",
      "{\"actions\": [{\"type\": \"blockdev-snapshot\", \"data\": {\"node\": \"#block002\", "
      "\"overlay\": "
      "\"overlay1\"}}, {\"type\": \"abort\", \"data\": {}}]}",
      "GenericError", "Transaction aborted*");
  node = mock_dup_drive_node (client.mock, "virtio0");
  g_assert_cmpstr (node, ==, "#block002");
  client_void (
      &client, "transaction",
      "{\"actions\": [{\"type\": \"blockdev-snapshot\", \"data\": {\"node\": \"#block002\", "
      "\"overlay\": "
      "\"overlay1\"}}]}");
  block = client_ok (&client, "query-block", NULL);
  g_assert_nonnull (strstr (block, "\"node-name\":\"overlay1\""));
  g_assert_nonnull (strstr (block, "\"backing_file_depth\":1"));
  g_assert_nonnull (strstr (block, "\"backing-filename-format\":\"raw\""));
  client_void (&client, "query-named-block-nodes", "{\"flat\": true}");
  client_error (&client, "blockdev-del", "{\"node-name\": \"overlay1\"}", "GenericError",
                "Node overlay1 is in use");
  client_error (&client, "blockdev-del", "{\"node-name\": \"#block002\"}", "GenericError",
                "*used as backing hd of 'overlay1'");
  commit_back (&client, "virtio0");
  client_void (&client, "blockdev-del", "{\"node-name\": \"overlay1\"}");
  client_void (&client, "blockdev-del", "{\"node-name\": \"file1\"}");
  client_void (&client, "remove-fd", "{\"fdset-id\": 1}");
  after = mock_dup_graph (client.mock);
  g_assert_cmpstr (before, ==, after);
  g_assert_cmpuint (mock_get_n_fdsets (client.mock), ==, 0);
  g_assert_cmpuint (mock_get_n_jobs (client.mock), ==, 0);
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

static void
test_failed_create (void)
{
  Client client;
  g_autofree char *jobs = NULL;

  client_set_up (&client, MOCK_STYLE_10);
  client_begin (&client);
  client_void (&client, "blockdev-create",
               "{\"job-id\": \"j\", \"options\": {\"driver\": \"qcow2\", \"file\": \"nope\", "
               "\"size\": 65536}}");
  client_wait_event (&client, "JOB_STATUS_CHANGE:concluded");
  jobs = client_ok (&client, "query-jobs", NULL);
  g_assert_nonnull (strstr (jobs, "Cannot find device='nope' nor node-name='nope'"));
  client_void (&client, "job-dismiss", "{\"id\": \"j\"}");
  client_error (&client, "job-dismiss", "{\"id\": \"j\"}", "GenericError", "Job not found");
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

/* Measured: 7.2 keeps what is removed while the guest is stopped listed, and drops unused sets with
 * the client. */
static void
test_fdsets (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  Client client;
  int fd = open ("/dev/null", O_RDWR | O_CLOEXEC);

  client_set_up (&client, GPOINTER_TO_INT (style));
  client_begin (&client);
  client_fd (&client, "add-fd", "{\"fdset-id\": 5}", fd);
  client_fd (&client, "add-fd", "{\"fdset-id\": 6}", fd);
  client_void (&client, "stop", NULL);
  client_void (&client, "remove-fd", "{\"fdset-id\": 5}");
  g_assert_cmpuint (mock_get_n_fdsets (client.mock), ==, old ? 2 : 1);
  client_void (&client, "cont", NULL);
  g_assert_cmpuint (mock_get_n_fdset_fds (client.mock), ==, old ? 2 : 1);
  mock_disconnect (client.mock);
  g_assert_cmpuint (mock_get_n_fdsets (client.mock), ==, old ? 0 : 1);
  close (fd);
  client_clear (&client);
}

/* --- model: migration --- */

typedef struct
{
  int fd;
  GByteArray *bytes;
  GThread *thread;
} Reader;

static gpointer
reader_main (gpointer data)
{
  Reader *reader = data;
  guint8 bytes[65536];
  gssize n;

  while ((n = read (reader->fd, bytes, sizeof bytes)) > 0)
    g_byte_array_append (reader->bytes, bytes, (guint)n);
  return NULL;
}

static void
reader_start (Reader *reader)
{
  reader->bytes = g_byte_array_new ();
  reader->thread = g_thread_new ("reader", reader_main, reader);
}

static void
reader_finish (Reader *reader)
{
  g_thread_join (reader->thread);
  close (reader->fd);
}

/* Gives the mock a pipe; the reader has its other end. */
static void
send_pipe (Client *client, Reader *reader)
{
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  client_fd (client, "getfd", "{\"fdname\": \"mig\"}", fds[1]);
  close (fds[1]);
  reader->fd = fds[0];
}

/* Until the pipe has not taken anything for a while. */
static void
wait_full (Reader *reader)
{
  int last = -1, now = 0;

  while (now == 0 || now != last)
    {
      last = now;
      g_usleep (100000);
      g_assert_cmpint (ioctl (reader->fd, FIONREAD, &now), ==, 0);
    }
}

static void
enable_background (Client *client)
{
  client_void (client, "migrate-set-capabilities",
               "{\"capabilities\": [{\"capability\": \"background-snapshot\", \"state\": true}, "
               "{\"capability\": \"events\", \"state\": true}]}");
}

static guint64
get_be (const guint8 *at, guint n)
{
  guint64 value = 0;

  while (n-- > 0)
    value = value << 8 | *at++;
  return value;
}

typedef struct
{
  const guint8 *at, *end;
  GByteArray *blocks[3];
  guint n_pages;
  int last;
} Parse;

static guint64
take (Parse *parse, guint n)
{
  g_assert_cmpint (parse->end - parse->at, >=, n);
  parse->at += n;
  return get_be (parse->at - n, n);
}

static int
take_block (Parse *parse, MockQemu *mock)
{
  guint length = (guint)take (parse, 1);

  parse->at += length;
  for (guint i = 0; i < mock_get_n_ram_blocks (mock); i++)
    {
      if (strlen (mock_get_ram_block (mock, i).name) == length &&
          memcmp (mock_get_ram_block (mock, i).name, parse->at - length, length) == 0)
        return (int)i;
    }
  g_assert_not_reached ();
}

static void
parse_records (Parse *parse, MockQemu *mock)
{
  guint64 word;

  while (((word = take (parse, 8)) & 0x10) == 0)
    {
      guint8 expected[MOCK_PAGE_SIZE];
      gboolean normal;

      if ((word & 0x20) == 0)
        parse->last = take_block (parse, mock);
      normal =
          mock_fill_page ((guint)parse->last, (word & ~(guint64)0xfff) / MOCK_PAGE_SIZE, expected);
      g_assert_cmpuint (word & 0x0a, ==, normal ? 0x08 : 0x02);
      if (normal)
        g_assert_cmpmem (parse->at, MOCK_PAGE_SIZE, expected, MOCK_PAGE_SIZE);
      parse->at += normal ? MOCK_PAGE_SIZE : 1;
      parse->n_pages++;
    }
}

/* Follows stream.md: header, configuration, RAM, devices by their known end. */
static void
check_stream (MockQemu *mock, GByteArray *bytes, gboolean background)
{
  Parse parse = { .at = bytes->data, .end = bytes->data + bytes->len, .last = -1 };
  guint64 total;

  g_assert_cmpuint (take (&parse, 8), ==, 0x5145564d00000003);
  g_assert_cmpuint (take (&parse, 1), ==, 7);
  parse.at += take (&parse, 4);
  g_assert_cmpuint (take (&parse, 1), ==, 1);
  parse.at += 4 + 4 + 4 + 4;
  total = take (&parse, 8);
  g_assert_cmpuint (total & 0xfff, ==, 4);
  for (guint i = 0; i < mock_get_n_ram_blocks (mock); i++)
    {
      g_assert_cmpint (take_block (&parse, mock), ==, i);
      g_assert_cmpuint (take (&parse, 8), ==, mock_get_ram_block (mock, i).size);
    }
  g_assert_cmpuint (take (&parse, 8), ==, 0x10);
  g_assert_cmpuint (take (&parse, 5), ==, 0x7e00000002);
  while (*parse.at == 2)
    {
      g_assert_cmpuint (take (&parse, 5), ==, 0x0200000002);
      parse_records (&parse, mock);
      g_assert_cmpuint (take (&parse, 5), ==, 0x7e00000002);
    }
  g_assert_cmpuint (parse.n_pages, ==, (total & ~(guint64)0xfff) / MOCK_PAGE_SIZE);
  g_assert_cmpuint (*parse.at, ==, background ? 4 : 3);
  g_assert_cmpuint (parse.end[-1], ==, '}');
}

static void
test_background (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  Client client;
  Reader reader;
  g_autofree char *info = NULL;

  for (int paused = 0; paused < 2; paused++)
    {
      client_set_up (&client, GPOINTER_TO_INT (style));
      mock_set_run_state (client.mock, paused ? "paused" : "running");
      client_begin (&client);
      enable_background (&client);
      send_pipe (&client, &reader);
      reader_start (&reader);
      client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
      client_wait_event (&client, "MIGRATION:completed");
      reader_finish (&reader);
      g_assert_cmpstr (client.events->str, ==,
                       !paused ? " MIGRATION:setup MIGRATION:active STOP RESUME MIGRATION:completed"
                       : old   ? " MIGRATION:setup MIGRATION:active RESUME MIGRATION:completed"
                               : " MIGRATION:setup MIGRATION:active MIGRATION:completed");
      check_stream (client.mock, reader.bytes, TRUE);
      g_byte_array_unref (reader.bytes);
      g_free (info);
      info = client_ok (&client, "query-migrate", NULL);
      g_assert_nonnull (strstr (info, "\"downtime\""));
      client_error (&client, "closefd", "{\"fdname\": \"mig\"}", "GenericError", "*not found");
      client_assert_no_complaints (client.mock);
      client_clear (&client);
    }
}

/* That comes a moment after the migration's end. */
static void
wait_run_state (MockQemu *mock, const char *wanted)
{
  gint64 patience = g_get_monotonic_time () + WAIT * 1000;
  g_autofree char *state = mock_dup_run_state (mock);

  while (!g_str_equal (state, wanted) && g_get_monotonic_time () < patience)
    {
      g_usleep (1000);
      g_free (state);
      state = mock_dup_run_state (mock);
    }
  g_assert_cmpstr (state, ==, wanted);
}

static void
test_plain_migration (gconstpointer style)
{
  Client client;
  Reader reader;

  client_set_up (&client, GPOINTER_TO_INT (style));
  client_begin (&client);
  client_void (&client, "stop", NULL);
  send_pipe (&client, &reader);
  reader_start (&reader);
  client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
  g_assert_true (mock_wait_migration (client.mock, "completed", WAIT));
  reader_finish (&reader);
  check_stream (client.mock, reader.bytes, FALSE);
  g_byte_array_unref (reader.bytes);
  wait_run_state (client.mock, "postmigrate");
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

static gboolean
is_frozen (MockQemu *mock, G_GNUC_UNUSED gpointer user_data)
{
  return mock_is_frozen (mock);
}

/* The gate: with a full pipe 7.2 still answers, 10 does not until somebody reads. */
static void
test_gate (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  static const char filler[4096];
  Client client;
  Reader reader;
  int fds[2];

  client_set_up (&client, GPOINTER_TO_INT (style));
  client_begin (&client);
  enable_background (&client);
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  g_assert_cmpint (fcntl (fds[1], F_SETPIPE_SZ, 4096), ==, 4096);
  g_assert_cmpint (write (fds[1], filler, sizeof filler), ==, sizeof filler);
  client_fd (&client, "getfd", "{\"fdname\": \"mig\"}", fds[1]);
  close (fds[1]);
  client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
  if (!old)
    g_assert_true (mock_wait (client.mock, is_frozen, NULL, WAIT));
  client_send (&client, "stop", NULL, -1);
  g_assert_true (client_read_more (&client, old ? WAIT : 100) == old);
  reader.fd = fds[0];
  reader_start (&reader);
  g_assert_cmpint (client_reply_id (&client), ==, client.id);
  client_wait_event (&client, "MIGRATION:completed");
  reader_finish (&reader);
  g_byte_array_unref (reader.bytes);
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

static void
test_broken_stream (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  Client client;
  Reader reader;

  client_set_up (&client, GPOINTER_TO_INT (style));
  client_begin (&client);
  enable_background (&client);
  send_pipe (&client, &reader);
  mock_hold_point (client.mock, MOCK_POINT_RESUMED);
  client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
  client_wait_event (&client, "RESUME");
  close (reader.fd);
  mock_release_point (client.mock);
  if (old)
    {
      g_assert_true (mock_wait (client.mock, is_frozen, NULL, WAIT));
      client_send (&client, "query-status", NULL, -1);
      g_assert_null (client_read_reply (&client, 100));
    }
  else
    {
      client_wait_event (&client, "MIGRATION:failed");
      client_void (&client, "query-migrate", NULL);
    }
  g_assert_true (mock_is_hung (client.mock) == old);
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

static void
test_cancel (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  Client client;
  Reader reader;
  g_autofree char *state = NULL;

  client_set_up (&client, GPOINTER_TO_INT (style));
  client_begin (&client);
  enable_background (&client);
  send_pipe (&client, &reader);
  client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
  client_wait_event (&client, "RESUME");
  /* Until the pipe is full: from then on the writer can notice nothing. */
  wait_full (&reader);
  client_void (&client, "migrate_cancel", NULL);
  g_assert_false (mock_wait_migration (client.mock, "cancelled", 100));
  reader_start (&reader);
  client_wait_event (&client, "MIGRATION:cancelled");
  reader_finish (&reader);
  g_byte_array_unref (reader.bytes);
  g_assert_true (mock_is_hung (client.mock) == old);
  state = mock_dup_run_state (client.mock);
  g_assert_cmpstr (state, ==, "running");
  client_clear (&client);
}

static void
cut_short (MockQemu *mock, G_GNUC_UNUSED MockPoint point, G_GNUC_UNUSED gpointer user_data)
{
  mock_guest_shutdown (mock);
}

/* facts 1.20 */
static void
test_guest_shutdown (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;

  for (int careful = 0; careful < 2; careful++)
    {
      Client client;
      Reader reader;

      client_set_up (&client, GPOINTER_TO_INT (style));
      mock_on_point (client.mock, MOCK_POINT_HALF, cut_short, NULL);
      client_begin (&client);
      enable_background (&client);
      if (careful)
        client_void (&client, "set-action", "{\"shutdown\": \"pause\"}");
      send_pipe (&client, &reader);
      mock_set_page_delay (client.mock, 20);
      reader_start (&reader);
      client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
      reader_finish (&reader);
      g_assert_true (mock_wait_migration (client.mock, "completed", careful || old ? WAIT : 50) ==
                     (careful || old));
      g_assert_true (mock_is_hung (client.mock) == (!careful && old));
      g_assert_true (mock_has_exited (client.mock) == (!careful && !old));
      g_byte_array_unref (reader.bytes);
      client_clear (&client);
    }
}

/* The transaction in the pause, or a moment too early. */
static void
test_torn (void)
{
  for (int torn = 0; torn < 2; torn++)
    {
      Client client;
      Reader reader;
      g_autofree char *image = NULL, *overlay = NULL;

      client_set_up (&client, MOCK_STYLE_10);
      image = client_make_image (client.mock, "a.raw", 1 << 20);
      overlay = g_build_filename (mock_get_directory (client.mock), "o.qcow2", NULL);
      mock_add_drive (client.mock, "virtio0", "/machine/x", "n0", "raw", image);
      client_begin (&client);
      enable_background (&client);
      prepare_overlay (&client, overlay, 1, image);
      send_pipe (&client, &reader);
      reader_start (&reader);
      if (!torn)
        client_void (&client, "stop", NULL);
      client_void (&client, "transaction",
                   "{\"actions\": [{\"type\": \"blockdev-snapshot\", \"data\": {\"node\": \"n0\", "
                   "\"overlay\": "
                   "\"overlay1\"}}]}");
      client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
      client_wait_event (&client, "MIGRATION:completed");
      reader_finish (&reader);
      g_byte_array_unref (reader.bytes);
      g_assert_true (mock_is_torn (client.mock) == (torn != 0));
      client_assert_no_complaints (client.mock);
      client_clear (&client);
    }
}

/* A mock can be freed at any moment. */
static void
test_free_anywhere (void)
{
  for (int point = MOCK_POINT_SETUP; point < MOCK_N_POINTS; point++)
    {
      Client client;
      Reader reader;

      client_set_up (&client, point % 2 == 0 ? MOCK_STYLE_7_2 : MOCK_STYLE_10);
      client_begin (&client);
      enable_background (&client);
      send_pipe (&client, &reader);
      reader_start (&reader);
      mock_hold_point (client.mock, point);
      client_void (&client, "migrate", "{\"uri\": \"fd:mig\"}");
      while (mock_get_point (client.mock) != (MockPoint)point)
        g_usleep (1000);
      client_clear (&client);
      reader_finish (&reader);
      g_byte_array_unref (reader.bytes);
    }
}

static void
add_for_styles (const char *path, GTestDataFunc func)
{
  g_autofree char *old = g_strconcat (path, "/7.2", NULL);
  g_autofree char *new = g_strconcat (path, "/10.0", NULL);

  g_test_add_data_func (old, GINT_TO_POINTER (MOCK_STYLE_7_2), func);
  g_test_add_data_func (new, GINT_TO_POINTER (MOCK_STYLE_10), func);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_for_styles ("/mock/overlay", test_overlay);
  g_test_add_func ("/mock/failed-create", test_failed_create);
  add_for_styles ("/mock/fdsets", test_fdsets);
  add_for_styles ("/mock/background", test_background);
  add_for_styles ("/mock/plain-migration", test_plain_migration);
  add_for_styles ("/mock/gate", test_gate);
  add_for_styles ("/mock/broken-stream", test_broken_stream);
  add_for_styles ("/mock/cancel", test_cancel);
  add_for_styles ("/mock/guest-shutdown", test_guest_shutdown);
  g_test_add_func ("/mock/torn", test_torn);
  g_test_add_func ("/mock/free-anywhere", test_free_anywhere);
  return g_test_run ();
}
