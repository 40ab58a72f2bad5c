/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock as a program: what the tests of the revert stand on. */

#include "mock-process.h"

#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

typedef struct
{
  GSubprocess *process;
  QsnapSession *session;
  int pid;
} Guest;

/* Options that the revert adds. */
static GStrv
complete_command (Fixture *fixture, char **command, gboolean incoming)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_autofree char *path = fixture_path (fixture, "process.sock");

  g_strv_builder_addv (builder, (const char **)command);
  g_strv_builder_add (builder, "-chardev");
  process_add (builder, "socket,id=qsnap-monitor,path=%s,server=on,wait=off", path);
  g_strv_builder_add_many (builder, "-mon", "chardev=qsnap-monitor,mode=control", NULL);
  if (incoming)
    g_strv_builder_add_many (builder, "-S", "-incoming", "defer", NULL);
  return g_strv_builder_end (builder);
}

static void
start (Fixture *fixture, Guest *guest, char **command, gboolean incoming)
{
  g_auto (GStrv) complete = complete_command (fixture, command, incoming);
  g_autofree char *path = fixture_path (fixture, "process.sock");
  g_autoptr (GError) error = NULL;

  guest->process = g_subprocess_newv (
      (const char *const *)complete,
      G_SUBPROCESS_FLAGS_STDERR_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error);
  g_assert_no_error (error);
  guest->pid = atoi (g_subprocess_get_identifier (guest->process));
  while (!g_file_test (path, G_FILE_TEST_EXISTS))
    g_usleep (1000);
  guest->session = qsnap_session_new (path);
  /* The socket is there before it listens. */
  while (!qsnap_session_open (guest->session, NULL, &error))
    {
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
      g_clear_error (&error);
    }
}

static char *
execute (Guest *guest, const char *command, const char *arguments, int fd)
{
  g_autoptr (JsonNode) node = arguments != NULL ? json_from_string (arguments, NULL) : NULL;
  g_autoptr (GUnixFDList) fds = fd >= 0 ? g_unix_fd_list_new () : NULL;
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) error = NULL;

  if (fd >= 0)
    g_unix_fd_list_append (fds, fd, &error);
  reply = qsnap_session_execute (guest->session, command, node, fds, NULL, &error);
  g_assert_no_error (error);
  return json_to_string (reply, FALSE);
}

static void
wait_for_state (Guest *guest, const char *state)
{
  for (;;)
    {
      g_autofree char *status = execute (guest, "query-status", NULL, -1);

      if (strstr (status, state) != NULL)
        return;
      g_usleep (1000);
    }
}

/* Answers what it printed. */
static char *
end (Guest *guest, int exit_code)
{
  char *words = NULL;
  g_autoptr (GError) error = NULL;

  g_subprocess_communicate_utf8 (guest->process, NULL, NULL, NULL, &words, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_get_if_exited (guest->process));
  g_assert_cmpint (g_subprocess_get_exit_status (guest->process), ==, exit_code);
  g_clear_object (&guest->session);
  g_clear_object (&guest->process);
  return words;
}

static int
begin_load (Guest *guest)
{
  int fds[2];

  g_assert_true (g_unix_open_pipe (fds, FD_CLOEXEC, NULL));
  g_free (execute (guest, "getfd", "{\"fdname\": \"stream\"}", fds[0]));
  close (fds[0]);
  g_free (execute (guest, "migrate-incoming", "{\"uri\": \"fd:stream\"}", -1));
  return fds[1];
}

static void
assert_report (Fixture *fixture, Guest *guest, const char *key, const char *expected)
{
  g_autofree char *values = process_join_report (fixture, guest->pid, key);

  g_assert_cmpstr (values, ==, expected);
}

/* --- with a guest -------------------------------------------------------------------------- */

static void
load_into (Fixture *fixture, QsnapSnapshot *snapshot, const char *memory, const char *blocks)
{
  g_auto (GStrv) command = process_dup_command (fixture, memory, 1);
  g_autofree char *words = NULL;
  g_autoptr (GError) error = NULL;
  Guest guest;
  int fd;

  start (fixture, &guest, command, TRUE);
  wait_for_state (&guest, "inmigrate");
  fd = begin_load (&guest);
  g_assert_true (qsnap_snapshot_export_stream (snapshot, fd, NULL, &error));
  close (fd);
  wait_for_state (&guest, "paused");
  g_free (execute (&guest, "cont", NULL, -1));
  wait_for_state (&guest, "running");
  g_free (execute (&guest, "quit", NULL, -1));
  words = end (&guest, 0);
  g_assert_cmpstr (words, ==, "");
  assert_report (fixture, &guest, "block", blocks);
  assert_report (fixture, &guest, "stream", "complete");
  assert_report (fixture, &guest, "complaint", "");
  assert_report (fixture, &guest, "end", "0");
}

static void
test_load (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *path = NULL, *mapped = NULL, *socket = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  load_into (&fixture, snapshot, "memory-backend-ram",
             "pc.ram anonymous: 6144 of 6144 pages sent, 0 wrong; "
             "pc.bios anonymous: 64 of 64 pages sent, 0 wrong; "
             "/rom@etc/acpi/tables anonymous: 32 of 32 pages sent, 0 wrong");
  socket = fixture_path (&fixture, "process.sock");
  g_unlink (socket);
  path = fixture_path (&fixture, "snapshot/ram/pc.ram");
  mapped = g_strdup_printf ("memory-backend-file,mem-path=%s,share=off", path);
  load_into (&fixture, snapshot, mapped,
             "pc.ram mapped: 6144 of 6144 pages sent, 0 wrong; "
             "pc.bios anonymous: 64 of 64 pages sent, 0 wrong; "
             "/rom@etc/acpi/tables anonymous: 32 of 32 pages sent, 0 wrong");
  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, NULL));
  process_clear (&fixture);
}

/* A stream that is cut off, and one that is none. */
static void
test_bad_stream (gconstpointer style)
{
  static const char *const streams[] = { "", "nonsense, and a lot of it", "QEVM" };
  Fixture fixture;
  g_auto (GStrv) command = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  command = process_dup_command (&fixture, "memory-backend-ram", 0);
  for (guint i = 0; i < G_N_ELEMENTS (streams); i++)
    {
      g_autofree char *words = NULL, *socket = NULL;
      Guest guest;
      int fd;

      start (&fixture, &guest, command, TRUE);
      fd = begin_load (&guest);
      g_assert_cmpint (write (fd, streams[i], strlen (streams[i])), ==, strlen (streams[i]));
      close (fd);
      words = end (&guest, 1);
      g_test_message ("%s", words);
      g_assert_nonnull (strstr (words, "load of migration failed"));
      socket = fixture_path (&fixture, "process.sock");
      g_unlink (socket);
    }
  process_clear (&fixture);
}

/* --- without a guest ----------------------------------------------------------------------- */

static void
test_probe (gconstpointer style)
{
  const char *command[] = { g_getenv ("QSNAP_MOCK_QEMU"), "-machine", "none", NULL };
  gboolean is_new = GPOINTER_TO_INT (style) == MOCK_STYLE_10;
  Fixture fixture;
  g_autofree char *version = NULL, *machines = NULL, *devices = NULL, *properties = NULL;
  g_autofree char *words = NULL;
  Guest guest;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  start (&fixture, &guest, (char **)command, FALSE);
  version = execute (&guest, "query-version", NULL, -1);
  g_assert_nonnull (strstr (version, is_new ? "\"major\":10" : "\"major\":7"));
  machines = execute (&guest, "query-machines", NULL, -1);
  g_assert_nonnull (strstr (machines, is_new ? "pc-q35-10.0" : "pc-q35-7.2"));
  devices = execute (&guest, "qom-list-properties", "{\"typename\": \"virtio-blk-pci\"}", -1);
  g_assert_null (strstr (devices, "mem-path"));
  properties =
      execute (&guest, "qom-list-properties", "{\"typename\": \"memory-backend-file\"}", -1);
  g_assert_nonnull (strstr (properties, "mem-path"));
  g_assert_cmpint (strstr (properties, "\"rom\"") != NULL, ==, is_new);
  g_free (execute (&guest, "query-cpu-definitions", NULL, -1));
  g_free (execute (&guest, "quit", NULL, -1));
  words = end (&guest, 0);
  assert_report (&fixture, &guest, "start", "probe");
  assert_report (&fixture, &guest, "complaint", "");
  process_clear (&fixture);
}

/* --- that does not start ------------------------------------------------------------------- */

static void
assert_refused (Fixture *fixture, const char *memory, const char *fault, const char *expected)
{
  g_auto (GStrv) command = process_dup_command (fixture, memory, 1);
  g_auto (GStrv) complete = complete_command (fixture, command, TRUE);
  g_autoptr (GSubprocess) process = NULL;
  g_autofree char *words = NULL;
  g_autoptr (GError) error = NULL;

  process_set_fault (fault);
  process =
      g_subprocess_newv ((const char *const *)complete, G_SUBPROCESS_FLAGS_STDERR_PIPE, &error);
  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, NULL, NULL, NULL, &words, &error);
  g_assert_no_error (error);
  g_assert_false (g_subprocess_get_successful (process));
  g_assert_nonnull (strstr (words, expected));
  process_set_fault (NULL);
}

static void
test_refusals (gconstpointer style)
{
  gboolean is_new = GPOINTER_TO_INT (style) == MOCK_STYLE_10;
  Fixture fixture;
  g_autofree char *path = NULL, *rom = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  path = fixture_path (&fixture, "a.raw");
  rom = g_strdup_printf ("memory-backend-file,mem-path=%s,readonly=on,rom=off", path);
  assert_refused (&fixture, "memory-backend-ram", "exit", "simulated failure at the start");
  assert_refused (&fixture, "memory-backend-file,mem-path=/nowhere", NULL, "can't open");
  assert_refused (&fixture, rom, NULL, is_new ? "backing store size" : "Property");
  g_unlink (path);
  assert_refused (&fixture, "memory-backend-ram", NULL, "Could not open");
  process_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/mock-process/load", test_load);
  fixture_add ("/mock-process/bad-stream", test_bad_stream);
  fixture_add ("/mock-process/probe", test_probe);
  fixture_add ("/mock-process/refusals", test_refusals);
  return g_test_run ();
}
