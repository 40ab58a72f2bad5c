/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reverts whose guest runs while its memory is still being brought in. */

#include "mock-process.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANONYMOUS "memory-backend-ram"
#define RECORD "revert.json"

static const char all_blocks[] = "pc.ram anonymous: 6144 of 6144 pages sent, 0 wrong; "
                                 "pc.bios anonymous: 64 of 64 pages sent, 0 wrong; "
                                 "/rom@etc/acpi/tables anonymous: 32 of 32 pages sent, 0 wrong";
#define ALL_BYTES ((6144 + 64 + 32) * 4096u)

typedef struct
{
  Fixture base;
  QsnapSnapshot *snapshot;
  QsnapSession *session;
  int pid;
  /* " settled", " failed": what the session's signals said. */
  GString *news;
  GError *error;
  guint64 bytes_done;
} Case;

/* --- set up -------------------------------------------------------------------------------- */

static void
on_settled (QsnapSession *session, gpointer user_data)
{
  g_assert_cmpint (qsnap_session_get_phase (session), ==, QSNAP_PHASE_IDLE);
  g_string_append (((Case *)user_data)->news, " settled");
}

static void
on_settle_failed (G_GNUC_UNUSED QsnapSession *session, const GError *error, gpointer user_data)
{
  Case *test = user_data;

  g_string_append (test->news, " failed");
  g_assert_null (test->error);
  test->error = g_error_copy (error);
}

static void
on_bytes (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer user_data)
{
  Case *test = user_data;

  /* What comes later are those of a capture. */
  if (test->news->len > 0)
    return;
  g_assert_cmpuint (qsnap_session_get_bytes_done (session), >=, test->bytes_done);
  test->bytes_done = qsnap_session_get_bytes_done (session);
}

static void
set_up (Case *test, gconstpointer style)
{
  memset (test, 0, sizeof *test);
  process_set_up (&test->base, GPOINTER_TO_INT (style), 1);
  fixture_open (&test->base);
  test->snapshot = fixture_capture_well (&test->base, "snapshot");
  test->news = g_string_new (NULL);
}

static void
clear (Case *test)
{
  g_clear_object (&test->session);
  g_clear_object (&test->snapshot);
  g_clear_error (&test->error);
  process_clear (&test->base);
  g_string_free (test->news, TRUE);
}

static QsnapRestoreOptions *
make_options (Case *test)
{
  return process_options (&test->base, QSNAP_RESTORE_METHOD_ON_DEMAND, ANONYMOUS, 1);
}

static void
restore_with (Case *test, QsnapRestoreOptions *options, const char *fault)
{
  g_autoptr (GError) error = NULL;

  process_set_fault (fault);
  test->session = qsnap_snapshot_restore (test->snapshot, options, NULL, &error);
  g_assert_no_error (error);
  test->pid = qsnap_session_get_pid (test->session);
  g_assert_cmpint (qsnap_session_get_restore_method (test->session), ==,
                   QSNAP_RESTORE_METHOD_ON_DEMAND);
  g_signal_connect (test->session, "settled", G_CALLBACK (on_settled), test);
  g_signal_connect (test->session, "settle-failed", G_CALLBACK (on_settle_failed), test);
  g_signal_connect (test->session, "notify::bytes-done", G_CALLBACK (on_bytes), test);
}

/* Some of the pages are there, and no more come until let_go(). */
static void
restore_held (Case *test)
{
  g_autoptr (QsnapRestoreOptions) options = make_options (test);

  restore_with (test, options, "hold:pages");
  process_wait_report (&test->base, "guest", "hold", "pages");
  g_assert_cmpint (qsnap_session_get_phase (test->session), ==, QSNAP_PHASE_FETCHING);
}

static void
let_go (Case *test)
{
  g_autofree char *go = fixture_path (&test->base, "report.go");

  g_assert_true (g_file_set_contents (go, "", 0, NULL));
}

/* --- what is seen -------------------------------------------------------------------------- */

static gboolean
has_record (Case *test)
{
  g_autoptr (GFile) record =
      g_file_get_child (qsnap_session_get_restore_directory (test->session), RECORD);

  return g_file_query_exists (record, NULL);
}

static int
read_server (const char *directory)
{
  g_autofree char *path = g_build_filename (directory, RECORD, NULL);
  g_autofree char *text = NULL;
  g_autoptr (JsonNode) node = NULL;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  node = json_from_string (text, NULL);

  return (int)json_object_get_int_member (json_node_get_object (node), "server-pid");
}

static int
get_server (Case *test)
{
  return read_server (g_file_peek_path (qsnap_session_get_restore_directory (test->session)));
}

static void
wait_for_news (Case *test, const char *expected)
{
  gint64 patience = g_get_monotonic_time () + WAIT * (gint64)1000;

  while (test->news->len == 0)
    {
      if (g_get_monotonic_time () > patience)
        g_error ("nothing is said of the guest's memory");
      g_main_context_iteration (NULL, FALSE);
      g_usleep (1000);
    }
  g_assert_cmpstr (test->news->str, ==, expected);
}

/* The process writes its report in its own time. */
static void
assert_report (Case *test, const char *key, const char *expected)
{
  gint64 patience = g_get_monotonic_time () + WAIT * (gint64)1000;
  g_autofree char *values = process_join_report (&test->base, test->pid, key);

  while (g_strcmp0 (values, expected) != 0 && g_get_monotonic_time () < patience)
    {
      g_usleep (10 * 1000);
      g_free (values);
      values = process_join_report (&test->base, test->pid, key);
    }
  g_assert_cmpstr (values, ==, expected);
}

static void
assert_state (Case *test, const char *expected)
{
  g_autofree char *state = process_dup_state (test->session);

  g_assert_cmpstr (state, ==, expected);
}

/* All is there, and nothing is left of how it came. */
static void
assert_settled (Case *test)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_session_wait_settled (test->session, NULL, &error));
  g_assert_no_error (error);
  g_assert_cmpint (qsnap_session_get_phase (test->session), ==, QSNAP_PHASE_IDLE);
  g_assert_cmpuint (qsnap_session_get_bytes_done (test->session), ==, ALL_BYTES);
  g_assert_cmpuint (qsnap_session_get_bytes_total (test->session), ==, ALL_BYTES);
  g_assert_false (has_record (test));
  assert_report (test, "block", all_blocks);
  assert_report (test, "stream", "complete");
}

static void
quit (Case *test)
{
  process_quit (&test->base, g_steal_pointer (&test->session));
}

/* --- it goes well -------------------------------------------------------------------------- */

static void
assert_capabilities (Case *test)
{
  g_autoptr (JsonNode) reply =
      qsnap_session_execute (test->session, "query-migrate-capabilities", NULL, NULL, NULL, NULL);
  JsonArray *array = json_node_get_array (reply);

  for (guint i = 0; i < json_array_get_length (array); i++)
    g_assert_false (
        json_object_get_boolean_member (json_array_get_object_element (array, i), "state"));
}

static void
test_settles (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapSnapshotOptions) capture = NULL;
  g_autoptr (QsnapSnapshot) second = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test, style);
  restore_held (&test);
  assert_state (&test, "running");
  g_assert_true (has_record (&test));
  g_assert_cmpstr (test.news->str, ==, "");
  let_go (&test);
  wait_for_news (&test, " settled");
  g_assert_cmpuint (test.bytes_done, ==, ALL_BYTES);
  assert_settled (&test);
  assert_capabilities (&test);
  assert_report (&test, "rescue", "qmp_capabilities: done; getfd: done; closefd: done; closed");

  /* It is a guest like any other now. */
  capture = fixture_options (&test.base, "second");
  second = qsnap_session_instant_snapshot (test.session, capture, NULL, &error);
  g_assert_no_error (error);
  quit (&test);
  g_assert_cmpstr (test.news->str, ==, " settled");
  g_assert_true (qsnap_snapshot_verify (test.snapshot, NULL, NULL));
  clear (&test);
}

/* Without a main context, and at once. */
static void
test_wait (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapRestoreOptions) options = NULL;

  set_up (&test, style);
  options = make_options (&test);
  restore_with (&test, options, NULL);
  assert_settled (&test);
  fixture_drain_context ();
  g_assert_cmpstr (test.news->str, ==, " settled");
  quit (&test);
  clear (&test);
}

static void
test_start_paused (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autoptr (JsonNode) reply = NULL;

  set_up (&test, style);
  options = make_options (&test);
  qsnap_restore_options_set_start_paused (options, TRUE);
  restore_with (&test, options, NULL);
  assert_state (&test, "paused");
  assert_settled (&test);
  assert_state (&test, "paused");
  reply = qsnap_session_execute (test.session, "cont", NULL, NULL, NULL, NULL);
  assert_state (&test, "running");
  quit (&test);
  clear (&test);
}

/* --- before it has settled ----------------------------------------------------------------- */

static void
test_capture_is_busy (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapSnapshotOptions) capture = NULL;
  g_autoptr (QsnapSnapshot) second = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;

  set_up (&test, style);
  capture = fixture_options (&test.base, "second");
  restore_held (&test);
  second = qsnap_session_instant_snapshot (test.session, capture, NULL, &error);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_assert_nonnull (strstr (error->message, "still being brought in"));
  g_assert_null (second);
  g_clear_error (&error);

  /* Only the wait ends. */
  g_cancellable_cancel (cancellable);
  g_assert_false (qsnap_session_wait_settled (test.session, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_cmpint (qsnap_session_get_phase (test.session), ==, QSNAP_PHASE_FETCHING);
  let_go (&test);
  wait_for_news (&test, " settled");
  assert_settled (&test);
  quit (&test);
  clear (&test);
}

static void
test_quit (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (GError) error = NULL;
  int server;

  set_up (&test, style);
  restore_held (&test);
  server = get_server (&test);
  session = g_object_ref (test.session);
  quit (&test);
  g_assert_true (process_is_gone (server));
  /* Of a guest that was ended nobody wants to know it. */
  g_assert_false (qsnap_session_wait_settled (session, NULL, &error));
  g_assert_nonnull (error);
  fixture_drain_context ();
  g_assert_cmpstr (test.news->str, ==, "");
  clear (&test);
}

/* The guest depends on nobody. */
static void
test_dropped_session (gconstpointer style)
{
  Case test;
  g_autofree char *address = NULL;
  g_autoptr (QsnapSession) other = NULL;
  g_autoptr (GError) error = NULL;
  GWeakRef weak;

  set_up (&test, style);
  restore_held (&test);
  address = g_strdup (qsnap_session_get_address (test.session));
  g_weak_ref_init (&weak, test.session);
  g_clear_object (&test.session);
  fixture_wait_gone (&weak);
  let_go (&test);
  process_wait_report (&test.base, "guest", "stream", "complete");
  assert_report (&test, "block", all_blocks);

  other = qsnap_session_new (address);
  g_assert_true (qsnap_session_open (other, NULL, &error));
  g_assert_true (qsnap_session_quit (other, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (process_is_gone (test.pid));
  g_assert_cmpstr (test.news->str, ==, "");
  clear (&test);
}

/* --- the page server dies ------------------------------------------------------------------ */

static void
test_killed (gconstpointer style)
{
  Case test;
  g_autofree char *rescue = NULL;
  int server;

  set_up (&test, style);
  restore_held (&test);
  server = get_server (&test);
  kill (server, SIGKILL);
  g_assert_true (process_is_gone (server));
  let_go (&test);
  wait_for_news (&test, " settled");
  assert_settled (&test);
  rescue = process_join_report (&test.base, test.pid, "rescue");
  g_assert_nonnull (strstr (rescue, "migrate-recover: done"));
  quit (&test);
  clear (&test);
}

/* The thread that follows it goes on without its session. */
static void
test_killed_and_dropped (gconstpointer style)
{
  Case test;
  GWeakRef weak;
  int server;

  set_up (&test, style);
  restore_held (&test);
  server = get_server (&test);
  g_weak_ref_init (&weak, test.session);
  g_clear_object (&test.session);
  fixture_wait_gone (&weak);
  kill (server, SIGKILL);
  let_go (&test);
  process_wait_report (&test.base, "guest", "stream", "complete");
  assert_report (&test, "block", all_blocks);
  clear (&test);
}

/* Page servers of which the first is good, and so many after it end before they do anything. */
static char *
replace_page_server (Case *test, int deaths)
{
  char *before = g_strdup (g_getenv ("QSNAP_PAGE_SERVER"));
  g_autofree char *path = fixture_path (&test->base, "page-server");
  g_autofree char *text =
      g_strdup_printf ("#!/bin/sh\n"
                       "echo started >>'%s.log'\n"
                       "n=$(wc -l <'%s.log')\n"
                       "[ $n -eq 1 ] || [ $n -gt %d ] || exit 1\n"
                       "exec '%s' \"$@\"\n",
                       path, path, 1 + deaths, before);

  g_assert_true (g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL));
  g_setenv ("QSNAP_PAGE_SERVER", path, TRUE);

  return before;
}

static void
put_page_server_back (char *before)
{
  g_setenv ("QSNAP_PAGE_SERVER", before, TRUE);
  g_free (before);
}

/* The guest survives each of them, and gets its memory from the first one that lives. */
static void
test_successors_die (gconstpointer style)
{
  Case test;
  g_autofree char *rescue = NULL;
  g_auto (GStrv) recoveries = NULL;
  char *before;

  set_up (&test, style);
  before = replace_page_server (&test, 3);
  restore_held (&test);
  kill (get_server (&test), SIGKILL);
  let_go (&test);
  wait_for_news (&test, " settled");
  assert_settled (&test);
  rescue = process_join_report (&test.base, test.pid, "rescue");
  recoveries = g_strsplit (rescue, "migrate-recover: done", -1);
  g_assert_cmpuint (g_strv_length (recoveries), ==, 1 + 4);
  put_page_server_back (before);
  quit (&test);
  clear (&test);
}

/* It is told in the end, and a recovery goes on. */
static void
test_all_successors_die (gconstpointer style)
{
  Case test;
  GFile *directory;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  char *before;

  set_up (&test, style);
  before = replace_page_server (&test, 5);
  restore_held (&test);
  kill (get_server (&test), SIGKILL);
  let_go (&test);
  wait_for_news (&test, " failed");
  g_assert_error (test.error, QSNAP_ERROR, QSNAP_ERROR_FAILED);
  g_assert_nonnull (strstr (test.error->message, "did not start"));
  put_page_server_back (before);
  directory = qsnap_session_get_restore_directory (test.session);
  snapshot = qsnap_session_recover (test.session, directory, NULL, &error);
  g_assert_no_error (error);
  process_wait_report (&test.base, "guest", "stream", "complete");
  assert_report (&test, "block", all_blocks);
  quit (&test);
  clear (&test);
}

/* --- the application dies ------------------------------------------------------------------ */

static const char *program;

/* Another process: brings a guest back, says where, and is gone. */
static int
restore_and_die (const char *snapshot_path, char **command)
{
  g_autoptr (GFile) directory = g_file_new_for_path (snapshot_path);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = qsnap_snapshot_load (directory, NULL, &error);
  g_autoptr (QsnapRestoreOptions) options = qsnap_restore_options_new ();
  QsnapSession *session;

  g_assert_no_error (error);
  qsnap_restore_options_set_method (options, QSNAP_RESTORE_METHOD_ON_DEMAND);
  qsnap_restore_options_set_command (options, (const char *const *)command);
  session = qsnap_snapshot_restore (snapshot, options, NULL, &error);
  g_assert_no_error (error);
  g_print ("%s", g_file_peek_path (qsnap_session_get_restore_directory (session)));
  fflush (stdout);
  _exit (0);
}

static char *
restore_elsewhere (Case *test)
{
  g_autofree char *snapshot = fixture_path (&test->base, "snapshot");
  g_auto (GStrv) command = process_dup_command (&test->base, ANONYMOUS, 1);
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_auto (GStrv) argv = NULL;
  g_autoptr (GError) error = NULL;
  char *directory = NULL;
  int status;

  g_strv_builder_add_many (builder, program, "--restore", snapshot, NULL);
  g_strv_builder_addv (builder, (const char **)command);
  argv = g_strv_builder_end (builder);
  process_set_fault ("hold:pages");
  g_spawn_sync (NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &directory, NULL, &status, &error);
  g_assert_no_error (error);
  g_assert_cmpint (status, ==, 0);

  return directory;
}

static void
recover (Case *test, const char *path)
{
  g_autofree char *address = g_build_filename (path, "qsnap.sock", NULL);
  g_autofree char *record = g_build_filename (path, RECORD, NULL);
  g_autoptr (GFile) directory = g_file_new_for_path (path);
  g_autoptr (QsnapSession) session = qsnap_session_new (address);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  int server = read_server (path);

  g_assert_true (qsnap_session_open (session, NULL, &error));
  snapshot = qsnap_session_recover (session, directory, NULL, &error);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_assert_null (snapshot);
  g_clear_error (&error);

  kill (server, SIGKILL);
  g_assert_true (process_is_gone (server));
  let_go (test);
  snapshot = qsnap_session_recover (session, directory, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (QSNAP_IS_SNAPSHOT (snapshot));
  process_wait_report (&test->base, "guest", "stream", "complete");
  assert_report (test, "block", all_blocks);
  process_wait_report (&test->base, "guest", "rescue", "closefd: done");
  g_assert_false (g_file_test (record, G_FILE_TEST_EXISTS));
  g_assert_true (qsnap_session_quit (session, NULL, &error));
  g_assert_no_error (error);
}

/* The guest is held by its page server alone; when that dies, somebody has to come. */
static void
test_recover (gconstpointer style)
{
  Case test;
  g_autofree char *directory = NULL;

  /* Valgrind 3.19, and kernels before 5.6. */
  if (syscall (SYS_pidfd_getfd, -1, -1, 0) < 0 && errno == ENOSYS)
    {
      g_test_skip ("pidfd_getfd() is not there");
      return;
    }

  set_up (&test, style);
  directory = restore_elsewhere (&test);
  process_wait_report (&test.base, "guest", "hold", "pages");
  recover (&test, directory);
  clear (&test);
}

/* Nothing has to be done as long as that lives. */
static void
test_application_dies (gconstpointer style)
{
  Case test;
  g_autofree char *directory = NULL;

  set_up (&test, style);
  directory = restore_elsewhere (&test);
  let_go (&test);
  process_wait_report (&test.base, "guest", "stream", "complete");
  assert_report (&test, "block", all_blocks);
  clear (&test);
}

/* --- it does not go well ------------------------------------------------------------------- */

static void
damage_page (Case *test, guint page)
{
  g_autofree char *path = fixture_path (&test->base, "snapshot/ram/pc.ram");
  guint8 byte;
  int fd;

  g_assert_cmpint (g_chmod (path, 0600), ==, 0);
  fd = open (path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (pread (fd, &byte, 1, page * (off_t)4096), ==, 1);
  byte ^= 0x40;
  g_assert_cmpint (pwrite (fd, &byte, 1, page * (off_t)4096), ==, 1);
  close (fd);
}

static void
test_damage (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test, style);
  options = make_options (&test);
  damage_page (&test, 5000);
  restore_with (&test, options, NULL);
  wait_for_news (&test, " failed");
  g_assert_error (test.error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_nonnull (strstr (test.error->message, "“pc.ram”"));
  g_assert_nonnull (strstr (test.error->message, "0x1388000"));
  g_assert_false (qsnap_session_wait_settled (test.session, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_true (has_record (&test));
  quit (&test);
  g_assert_cmpstr (test.news->str, ==, " failed");
  clear (&test);
}

static void
test_refused (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autofree char *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test, style);
  options = make_options (&test);
  before = process_describe (&test.base);
  process_set_fault ("refuse:postcopy-ram");
  test.session = qsnap_snapshot_restore (test.snapshot, options, NULL, &error);
  g_assert_null (test.session);
  g_assert_true (error->domain == QSNAP_QMP_ERROR);
  g_assert_nonnull (strstr (error->message, "The host does not support postcopy-ram"));
  process_assert_all_gone (&test.base);
  after = process_describe (&test.base);
  g_assert_cmpstr (after, ==, before);
  clear (&test);
}

/* auto goes on with the same command line, and says why. */
static void
test_auto_refused (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_auto (GStrv) warnings = NULL, command = NULL;
  g_autofree char *all = NULL;
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_auto (GStrv) longer = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test, style);
  options = make_options (&test);
  qsnap_restore_options_set_method (options, QSNAP_RESTORE_METHOD_AUTO);
  /* It would punch holes into what is mapped, where the files are not clones. */
  command = qsnap_restore_options_dup_command (options);
  g_strv_builder_addv (builder, (const char **)command);
  g_strv_builder_add_many (builder, "-device", "virtio-balloon-pci", NULL);
  longer = g_strv_builder_end (builder);
  qsnap_restore_options_set_command (options, (const char *const *)longer);
  process_set_fault ("refuse:postcopy-ram");
  test.session = process_restore_well (&test.base, test.snapshot, options);
  if (qsnap_session_get_restore_method (test.session) == QSNAP_RESTORE_METHOD_MAP)
    {
      g_test_skip ("the file system can clone files");
      quit (&test);
      clear (&test);
      return;
    }
  g_assert_cmpint (qsnap_session_get_restore_method (test.session), ==, QSNAP_RESTORE_METHOD_LOAD);
  warnings = qsnap_session_dup_restore_warnings (test.session);
  all = g_strjoinv ("; ", warnings);
  g_test_message ("%s", all);
  g_assert_nonnull (strstr (all, "The host does not support postcopy-ram"));
  g_assert_true (qsnap_session_wait_settled (test.session, NULL, &error));
  assert_state (&test, "running");
  quit (&test);
  clear (&test);
}

static void
test_cancel (gconstpointer style)
{
  Case test;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autofree char *before = NULL, *after = NULL;
  ProcessResult result;

  set_up (&test, style);
  options = make_options (&test);
  before = process_describe (&test.base);
  process_set_fault ("hang:devices");
  process_start_restore (test.snapshot, options, cancellable, &result);
  process_wait_report (&test.base, "guest", "hang", "devices");
  g_cancellable_cancel (cancellable);
  process_wait_result (&result);
  g_assert_error (result.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_null (result.session);
  g_clear_error (&result.error);
  process_assert_all_gone (&test.base);
  after = process_describe (&test.base);
  g_assert_cmpstr (after, ==, before);
  clear (&test);
}

/* Where both QEMUs say the same, one of them is enough. */
static void
add_one (const char *path, GTestDataFunc func, MockStyle style)
{
  g_test_add_data_func (path, GINT_TO_POINTER (style), func);
}

int
main (int argc, char **argv)
{
  if (argc > 3 && g_str_equal (argv[1], "--restore"))
    return restore_and_die (argv[2], argv + 3);
  program = argv[0];
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;
  fixture_add ("/on-demand/settles", test_settles);
  add_one ("/on-demand/wait", test_wait, MOCK_STYLE_7_2);
  fixture_add ("/on-demand/start-paused", test_start_paused);
  add_one ("/on-demand/capture-is-busy", test_capture_is_busy, MOCK_STYLE_10);
  add_one ("/on-demand/quit", test_quit, MOCK_STYLE_7_2);
  add_one ("/on-demand/dropped-session", test_dropped_session, MOCK_STYLE_10);
  fixture_add ("/on-demand/killed", test_killed);
  add_one ("/on-demand/killed-and-dropped", test_killed_and_dropped, MOCK_STYLE_7_2);
  add_one ("/on-demand/successors-die", test_successors_die, MOCK_STYLE_7_2);
  add_one ("/on-demand/all-successors-die", test_all_successors_die, MOCK_STYLE_10);
  add_one ("/on-demand/application-dies", test_application_dies, MOCK_STYLE_7_2);
  fixture_add ("/on-demand/recover", test_recover);
  add_one ("/on-demand/damage", test_damage, MOCK_STYLE_10);
  add_one ("/on-demand/refused", test_refused, MOCK_STYLE_7_2);
  add_one ("/on-demand/auto-refused", test_auto_refused, MOCK_STYLE_7_2);
  fixture_add ("/on-demand/cancel", test_cancel);
  return g_test_run ();
}
