/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Needs QSNAP_SAVER in the environment. */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory/qsnap-image.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"
#include "saver/qsnap-saver-client.h"
#include "helper/qsnap-helper-reports.h"
#include "sandbox-case.h"
#include "stream-builder.h"

#define FILLER 4096u
#define MEBI (1u << 20)

typedef struct
{
  GMainContext *context;
  char *path;
  int dir_fd;
  int read_fd;
  int write_fd;
  QsnapSaver *saver;

  GString *kinds; /* what was reported: f(irst page) p(rogress) s(aved) F(ailed) d(rained) D(ied) */
  GError *error;
  QsnapSaverReport last;

  GThread *feeder;
  guint n_pages;
  gsize pause_at; /* bytes after which the feeder waits for @resume */
  GMutex lock;
  GCond changed;
  gboolean paused;
  gboolean resume;
} Fixture;

static void
on_report (const QsnapSaverReport *report, gpointer user_data)
{
  Fixture *fixture = user_data;

  g_assert_true (g_main_context_is_owner (fixture->context));
  g_assert_cmpint (report->time, >=, fixture->last.time);
  fixture->last = *report;
  if (report->kind != QSNAP_SAVER_PROGRESS || !g_str_has_suffix (fixture->kinds->str, "p"))
    g_string_append_c (fixture->kinds, "rfpsFdD"[report->kind]);
  g_assert_true ((report->error != NULL) ==
                 (report->kind == QSNAP_SAVER_FAILED || report->kind == QSNAP_SAVER_DIED));
  if (report->error != NULL)
    {
      g_clear_error (&fixture->error);
      fixture->error = g_error_copy (report->error);
    }
}

/* Until the last report is one of @kinds. */
static void
wait_for (Fixture *fixture, const char *kinds)
{
  gint64 deadline = g_get_monotonic_time () + 60 * G_USEC_PER_SEC;

  while (fixture->kinds->len == 0 ||
         strchr (kinds, fixture->kinds->str[fixture->kinds->len - 1]) == NULL)
    {
      if (g_get_monotonic_time () > deadline)
        g_error ("no “%s” after “%s”", kinds, fixture->kinds->str);
      if (!g_main_context_iteration (fixture->context, FALSE))
        g_usleep (1000);
    }
}

static void
set_up (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  int fds[2];

  fixture->context = g_main_context_new ();
  fixture->kinds = g_string_new (NULL);
  fixture->path = g_dir_make_tmp ("qsnap-saver-XXXXXX", &error);
  g_assert_no_error (error);
  fixture->dir_fd = open (fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  fixture->read_fd = fds[0];
  fixture->write_fd = fds[1];
  g_mutex_init (&fixture->lock);
  g_cond_init (&fixture->changed);
  g_assert_true (g_main_context_acquire (fixture->context));
}

static void
tear_down (Fixture *fixture, gconstpointer data)
{
  const char *argv[] = { "rm", "-rf", fixture->path, NULL };

  if (fixture->feeder != NULL)
    g_thread_join (fixture->feeder);
  g_clear_pointer (&fixture->saver, qsnap_saver_free);
  g_main_context_release (fixture->context);
  g_main_context_unref (fixture->context);
  if (fixture->read_fd >= 0)
    close (fixture->read_fd);
  if (fixture->write_fd >= 0)
    close (fixture->write_fd);
  close (fixture->dir_fd);
  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
  g_free (fixture->path);
  g_string_free (fixture->kinds, TRUE);
  g_clear_error (&fixture->error);
  g_mutex_clear (&fixture->lock);
  g_cond_clear (&fixture->changed);
}

/* With our copy of the read end closed a saver that goes away shows as a broken pipe. */
static void
start (Fixture *fixture, gsize skip)
{
  static const char *const raw_blocks[] = { "vars", NULL };
  g_autoptr (GError) error = NULL;

  fixture->saver = qsnap_saver_start (fixture->context, fixture->read_fd, fixture->dir_fd,
                                      raw_blocks, FALSE, skip, on_report, fixture, &error);
  g_assert_no_error (error);
  g_assert_cmpint (qsnap_saver_get_pid (fixture->saver), >, 0);
  close (fixture->read_fd);
  fixture->read_fd = -1;
}

static void
go (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;

  qsnap_saver_go (fixture->saver, &error);
  g_assert_no_error (error);
}

/* ---- the stream ---- */

static void
feed (Fixture *fixture, const guint8 *data, gsize len)
{
  while (len > 0)
    {
      gssize n = write (fixture->write_fd, data, len);

      /* The one thing that must never happen, in any test here. */
      if (n < 0)
        g_error ("the stream broke: %s", g_strerror (errno));
      data += n;
      len -= n;
    }
}

static void
pause_here (Fixture *fixture)
{
  g_mutex_lock (&fixture->lock);
  fixture->paused = TRUE;
  g_cond_broadcast (&fixture->changed);
  while (!fixture->resume)
    g_cond_wait (&fixture->changed, &fixture->lock);
  g_mutex_unlock (&fixture->lock);
}

static gpointer
feed_stream (gpointer data)
{
  Fixture *fixture = data;
  g_autoptr (StreamBuilder) stream = stream_builder_new ();
  gsize fed = 0;

  stream_builder_head (stream, "pc");
  stream_builder_ram_head (stream, (guint64)(fixture->n_pages + 2) * STREAM_PAGE);
  stream_builder_block (stream, "pc.ram", (guint64)fixture->n_pages * STREAM_PAGE);
  stream_builder_block (stream, "vars", 2 * STREAM_PAGE);
  stream_builder_ram_tail (stream);
  stream_builder_part (stream);
  stream_builder_page (stream, "vars", STREAM_PAGE, 1);
  stream_builder_page (stream, "vars", 0, 0);
  for (guint i = 0; i < fixture->n_pages; i++)
    {
      stream_builder_page (stream, "pc.ram", (guint64)i * STREAM_PAGE, i % 8 == 7 ? 0 : i + 1);
      if (stream->bytes->len < MEBI)
        continue;
      feed (fixture, stream->bytes->data, stream->bytes->len);
      fed += stream->bytes->len;
      g_byte_array_set_size (stream->bytes, 0);
      if (fixture->pause_at != 0 && fed >= fixture->pause_at && !fixture->paused)
        pause_here (fixture);
    }
  stream_builder_end_part (stream);
  stream_builder_device (stream, 0, "timer", 5000);
  stream_builder_end (stream, "{}");
  feed (fixture, stream->bytes->data, stream->bytes->len);
  close (fixture->write_fd);
  fixture->write_fd = -1;
  return NULL;
}

static void
begin_feeding (Fixture *fixture, guint n_pages, gsize pause_at)
{
  fixture->n_pages = n_pages;
  fixture->pause_at = pause_at;
  fixture->feeder = g_thread_new ("feeder", feed_stream, fixture);
}

static void
wait_for_pause (Fixture *fixture)
{
  g_mutex_lock (&fixture->lock);
  while (!fixture->paused)
    g_cond_wait (&fixture->changed, &fixture->lock);
  g_mutex_unlock (&fixture->lock);
}

static void
resume_feeding (Fixture *fixture)
{
  g_mutex_lock (&fixture->lock);
  fixture->resume = TRUE;
  g_cond_broadcast (&fixture->changed);
  g_mutex_unlock (&fixture->lock);
}

static void
assert_image (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) json = qsnap_image_load_json (fixture->dir_fd, &error);
  g_autoptr (QsnapImage) image = NULL;
  guint8 page[STREAM_PAGE], expected[STREAM_PAGE];

  g_assert_no_error (error);
  image = qsnap_image_new (fixture->dir_fd, json, &error);
  g_assert_no_error (error);
  qsnap_image_verify (image, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (qsnap_image_get_block_file (image, 1), ==, "ram/vars");
  for (guint i = 0; i < fixture->n_pages; i += 97)
    {
      memset (expected, 0, sizeof expected);
      if (i % 8 != 7)
        stream_builder_fill (expected, i + 1);
      qsnap_image_read (image, 0, (guint64)i * STREAM_PAGE, page, sizeof page, &error);
      g_assert_no_error (error);
      g_assert_cmpmem (page, sizeof page, expected, sizeof expected);
    }
}

static void
assert_no_image (Fixture *fixture)
{
  g_assert_cmpint (faccessat (fixture->dir_fd, "memory.json", F_OK, 0), !=, 0);
}

/* For when nobody reports any more. */
static void
wait_for_image (Fixture *fixture)
{
  for (guint i = 0; i < 6000 && faccessat (fixture->dir_fd, "memory.json", F_OK, 0) != 0; i++)
    g_usleep (10000);
  assert_image (fixture);
}

/* ---- the tests ---- */

static void
test_saved (Fixture *fixture, gconstpointer data)
{
  g_autofree guint8 *filler = g_malloc0 (FILLER);

  feed (fixture, filler, FILLER);
  start (fixture, FILLER);
  begin_feeding (fixture, 6000, 0);
  /* Nothing is read before "go". */
  g_usleep (200000);
  while (g_main_context_iteration (fixture->context, FALSE))
    ;
  g_assert_cmpstr (fixture->kinds->str, ==, "");
  go (fixture);
  wait_for (fixture, "sFD");
  g_assert_cmpstr (fixture->kinds->str, ==, "fps");
  g_assert_cmpuint (fixture->last.bytes_done, ==, 6002 * STREAM_PAGE);
  g_assert_cmpuint (fixture->last.bytes_total, ==, 6002 * STREAM_PAGE);
  g_assert_cmpuint (fixture->last.bytes_written, >=, 5250 * STREAM_PAGE);
  g_assert_cmpuint (fixture->last.bytes_written, <, 5300 * STREAM_PAGE);
  assert_image (fixture);
  /* Its end is not its death. */
  g_usleep (100000);
  while (g_main_context_iteration (fixture->context, FALSE))
    ;
  g_assert_cmpstr (fixture->kinds->str, ==, "fps");
}

/* Before the first byte, and to the end. */
static void
test_sandbox (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  sandbox_assert_holds (qsnap_saver_get_pid (fixture->saver), TRUE);
  begin_feeding (fixture, 6000, 2 * MEBI);
  go (fixture);
  wait_for_pause (fixture);
  sandbox_assert_holds (qsnap_saver_get_pid (fixture->saver), TRUE);
  resume_feeding (fixture);
  wait_for (fixture, "sFD");
  g_assert_true (g_str_has_suffix (fixture->kinds->str, "s"));
  assert_image (fixture);
}

static void
test_hundred_mebibytes (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  begin_feeding (fixture, 100 * MEBI / STREAM_PAGE, 0);
  go (fixture);
  wait_for (fixture, "sFD");
  g_assert_true (g_str_has_suffix (fixture->kinds->str, "ps"));
  assert_image (fixture);
}

/* The first page is reported when it comes, not when more of the stream does. */
static void
test_first_page (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  begin_feeding (fixture, 6000, 2 * MEBI);
  go (fixture);
  wait_for_pause (fixture);
  wait_for (fixture, "fpFD");
  g_assert_cmpint (fixture->kinds->str[0], ==, 'f');
  resume_feeding (fixture);
  wait_for (fixture, "sFD");
}

static void
test_busy_application (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  begin_feeding (fixture, 6000, 0);
  go (fixture);
  wait_for_image (fixture);
  g_assert_cmpstr (fixture->kinds->str, ==, "");
  wait_for (fixture, "sFD");
  g_assert_cmpstr (fixture->kinds->str, ==, "fps");
}

static void
test_signals (Fixture *fixture, gconstpointer data)
{
  static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };

  start (fixture, 0);
  begin_feeding (fixture, 6000, 5 * MEBI);
  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    kill (qsnap_saver_get_pid (fixture->saver), signals[i]);
  go (fixture);
  wait_for_pause (fixture);
  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    kill (qsnap_saver_get_pid (fixture->saver), signals[i]);
  resume_feeding (fixture);
  wait_for (fixture, "sFD");
  g_assert_cmpint (fixture->last.kind, ==, QSNAP_SAVER_SAVED);
}

static void
test_discard_first (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  begin_feeding (fixture, 6000, 0);
  qsnap_saver_discard (fixture->saver);
  wait_for (fixture, "dsFD");
  g_assert_cmpstr (fixture->kinds->str, ==, "d");
  assert_no_image (fixture);
}

static void
test_discard (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  begin_feeding (fixture, 6000, 5 * MEBI);
  go (fixture);
  wait_for_pause (fixture);
  wait_for (fixture, "fpFD");
  qsnap_saver_discard (fixture->saver);
  resume_feeding (fixture);
  wait_for (fixture, "dsFD");
  g_assert_cmpint (fixture->last.kind, ==, QSNAP_SAVER_DRAINED);
  g_assert_null (strchr (fixture->kinds->str, 'F'));
  assert_no_image (fixture);
}

static void
test_no_go (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  begin_feeding (fixture, 6000, 0);
  g_clear_pointer (&fixture->saver, qsnap_saver_free);
  wait_for_image (fixture);
}

static void
test_no_application (Fixture *fixture, gconstpointer data)
{
  start (fixture, 0);
  begin_feeding (fixture, 6000, 5 * MEBI);
  go (fixture);
  wait_for_pause (fixture);
  g_clear_pointer (&fixture->saver, qsnap_saver_free);
  resume_feeding (fixture);
  wait_for_image (fixture);
}

/* It dies before "ready" can be said, and before anybody has the stream's write end. */
static void
test_no_application_from_the_start (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_NONE);
  g_autoptr (GSubprocess) saver = NULL;
  g_autoptr (GError) error = NULL;
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), ==, 0);
  close (fds[1]);
  g_subprocess_launcher_take_fd (launcher, fds[0], 3);
  g_subprocess_launcher_take_fd (launcher, dup (fixture->read_fd), 4);
  g_subprocess_launcher_take_fd (launcher, dup (fixture->dir_fd), 5);
  close (fixture->write_fd);
  fixture->write_fd = -1;
  saver = g_subprocess_launcher_spawn (launcher, &error, g_getenv ("QSNAP_SAVER"), "--control-fd=3",
                                       "--stream-fd=4", "--dir-fd=5", "--skip=0", NULL);
  g_assert_no_error (error);
  alarm (30);
  g_assert_true (g_subprocess_wait (saver, NULL, NULL));
  alarm (0);
  g_assert_cmpint (g_subprocess_get_exit_status (saver), ==, 1);
}

static void
test_garbage (Fixture *fixture, gconstpointer data)
{
  g_autofree guint8 *garbage = g_malloc (8 * MEBI);

  for (guint i = 0; i < 8 * MEBI; i++)
    garbage[i] = (guint8)(i * 7);
  start (fixture, 0);
  go (fixture);
  feed (fixture, garbage, 8 * MEBI);
  wait_for (fixture, "sFdD");
  g_assert_cmpstr (fixture->kinds->str, ==, "F");
  g_assert_error (fixture->error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  feed (fixture, garbage, 8 * MEBI);
  close (fixture->write_fd);
  fixture->write_fd = -1;
  wait_for (fixture, "dD");
  g_assert_cmpstr (fixture->kinds->str, ==, "Fd");
  assert_no_image (fixture);
}

static void
test_cut_off (Fixture *fixture, gconstpointer data)
{
  g_autoptr (StreamBuilder) stream = stream_builder_new ();

  stream_builder_head (stream, "pc");
  start (fixture, 0);
  go (fixture);
  feed (fixture, stream->bytes->data, stream->bytes->len);
  close (fixture->write_fd);
  fixture->write_fd = -1;
  wait_for (fixture, "dsD");
  g_assert_cmpstr (fixture->kinds->str, ==, "Fd");
  g_assert_error (fixture->error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
}

static void
test_file_too_large (Fixture *fixture, gconstpointer data)
{
  const struct rlimit limit = { 10 * MEBI, 10 * MEBI };

  start (fixture, 0);
  g_assert_cmpint (prlimit (qsnap_saver_get_pid (fixture->saver), RLIMIT_FSIZE, &limit, NULL), ==,
                   0);
  begin_feeding (fixture, 6000, 0);
  go (fixture);
  wait_for (fixture, "dsD");
  g_assert_cmpstr (fixture->kinds->str, ==, "Fd");
  g_assert_nonnull (strstr (fixture->error->message, g_strerror (EFBIG)));
  assert_no_image (fixture);
}

static void
test_full_disk (Fixture *fixture, gconstpointer data)
{
  if (mount ("none", fixture->path, "tmpfs", 0, "size=12m") != 0)
    {
      g_test_skip ("cannot mount a small file system here");
      return;
    }
  close (fixture->dir_fd);
  fixture->dir_fd = open (fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  start (fixture, 0);
  begin_feeding (fixture, 6000, 0);
  go (fixture);
  wait_for (fixture, "dsD");
  g_assert_true (g_str_has_suffix (fixture->kinds->str, "Fd"));
  g_assert_error (fixture->error, G_IO_ERROR, G_IO_ERROR_NO_SPACE);
  assert_no_image (fixture);
  umount2 (fixture->path, MNT_DETACH);
}

static void
test_killed (Fixture *fixture, gconstpointer data)
{
  int copy = fcntl (fixture->read_fd, F_DUPFD_CLOEXEC, 3);

  start (fixture, 0);
  go (fixture);
  kill (qsnap_saver_get_pid (fixture->saver), SIGKILL);
  wait_for (fixture, "D");
  g_assert_cmpstr (fixture->kinds->str, ==, "D");
  g_assert_error (fixture->error, QSNAP_ERROR, QSNAP_ERROR_FAILED);
  g_assert_false (qsnap_saver_go (fixture->saver, NULL));
  close (copy);
}

static void
free_at_once (const QsnapSaverReport *report, gpointer user_data)
{
  Fixture *fixture = user_data;

  g_string_append_c (fixture->kinds, 'x');
  g_clear_pointer (&fixture->saver, qsnap_saver_free);
}

static void
test_free_in_report (Fixture *fixture, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  fixture->saver = qsnap_saver_start (fixture->context, fixture->read_fd, fixture->dir_fd,
                                      (const char *const[]){ "vars", NULL }, FALSE, 0, free_at_once,
                                      fixture, &error);
  g_assert_no_error (error);
  begin_feeding (fixture, 6000, 0);
  go (fixture);
  wait_for (fixture, "x");
  wait_for_image (fixture);
  while (g_main_context_iteration (fixture->context, FALSE))
    ;
  g_assert_cmpstr (fixture->kinds->str, ==, "x");
}

static void
assert_does_not_start (Fixture *fixture, const char *program, int dir_fd, const char *text)
{
  g_autofree char *before = g_strdup (g_getenv ("QSNAP_SAVER"));
  g_autoptr (GError) error = NULL;

  g_setenv ("QSNAP_SAVER", program != NULL ? program : before, TRUE);
  g_assert_null (qsnap_saver_start (fixture->context, fixture->read_fd, dir_fd, NULL, FALSE, 0,
                                    on_report, fixture, &error));
  g_setenv ("QSNAP_SAVER", before, TRUE);
  g_assert_nonnull (error);
  if (strstr (error->message, text) == NULL)
    g_error ("no “%s” in “%s”", text, error->message);
}

static void
test_does_not_start (Fixture *fixture, gconstpointer data)
{
  assert_does_not_start (fixture, "/nonexistent/saver", fixture->dir_fd, "/nonexistent/saver");
  assert_does_not_start (fixture, "/bin/false", fixture->dir_fd, "did not start");
  assert_does_not_start (fixture, NULL, -1, "descriptor");
  /* It starts, but cannot make its files there. */
  assert_does_not_start (fixture, NULL, fixture->read_fd, "folder");
}

/* A socket that is full of progress must not keep back what matters. */
static void
test_full_socket (void)
{
  g_autoptr (QsnapHelperReports) reports = NULL;
  g_autoptr (GError) error = g_error_new (G_IO_ERROR, G_IO_ERROR_NO_SPACE, "full \xff");
  char text[QSNAP_HELPER_MAX_PACKET];
  guint n_progress = 0;
  gssize n;
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), ==, 0);
  reports = qsnap_helper_reports_new (fds[0]);
  for (guint i = 0; i < 5000; i++)
    qsnap_helper_reports_try (reports, qsnap_json_object_new ("report", 's', "progress", NULL));
  g_assert_false (qsnap_helper_reports_is_waiting (reports));
  qsnap_helper_reports_send_error (reports, error);
  qsnap_helper_reports_send_kind (reports, "drained");
  g_assert_true (qsnap_helper_reports_is_waiting (reports));

  while ((n = recv (fds[1], text, sizeof text - 1, MSG_DONTWAIT)) > 0)
    {
      text[n] = '\0';
      g_assert_nonnull (strstr (text, "progress"));
      n_progress++;
    }
  g_assert_cmpuint (n_progress, >, 10);
  g_assert_cmpuint (n_progress, <, 5000);
  qsnap_helper_reports_flush (reports);
  g_assert_false (qsnap_helper_reports_is_waiting (reports));
  n = recv (fds[1], text, sizeof text - 1, MSG_DONTWAIT);
  g_assert_cmpint (n, >, 0);
  text[n] = '\0';
  g_assert_nonnull (strstr (text, "\"failed\""));
  n = recv (fds[1], text, sizeof text - 1, MSG_DONTWAIT);
  g_assert_cmpint (n, >, 0);
  text[n] = '\0';
  g_assert_nonnull (strstr (text, "\"drained\""));

  close (fds[1]);
  qsnap_helper_reports_send_kind (reports, "saved");
  g_assert_true (qsnap_helper_reports_is_closed (reports));
  g_assert_false (qsnap_helper_reports_is_waiting (reports));
  close (fds[0]);
}

#define ADD(name, func) g_test_add ("/saver/" name, Fixture, NULL, set_up, func, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  signal (SIGPIPE, SIG_IGN);
  ADD ("saved", test_saved);
  ADD ("sandbox", test_sandbox);
  ADD ("hundred-mebibytes", test_hundred_mebibytes);
  ADD ("first-page", test_first_page);
  ADD ("busy-application", test_busy_application);
  ADD ("signals", test_signals);
  ADD ("discard-first", test_discard_first);
  ADD ("discard", test_discard);
  ADD ("no-go", test_no_go);
  ADD ("no-application", test_no_application);
  ADD ("no-application-from-the-start", test_no_application_from_the_start);
  ADD ("garbage", test_garbage);
  ADD ("cut-off", test_cut_off);
  ADD ("file-too-large", test_file_too_large);
  ADD ("full-disk", test_full_disk);
  ADD ("killed", test_killed);
  ADD ("free-in-report", test_free_in_report);
  ADD ("does-not-start", test_does_not_start);
  g_test_add_func ("/saver/full-socket", test_full_socket);
  return g_test_run ();
}
