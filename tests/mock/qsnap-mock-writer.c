/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: the course of one migration, in a thread of its own as in QEMU, and what tests see of it.
 */

#include "qsnap-mock-migration.h"

#include <fcntl.h>
#include <glib-unix.h>
#include <pthread.h>
#include <signal.h>

typedef struct
{
  MockWriter *writer;
  MockPoint point;
} Reach;

/* STOPPED: QEMU's own stop; a guest that is stopped already gets no event. */
/* 7.2 does not survive it. */
static void
check_stop (MockQemu *mock)
{
  static const char *const deadly[] = { "guest-panicked", "io-error", "watchdog", NULL };

  if (mock->style == MOCK_STYLE_7_2 && g_strv_contains (deadly, mock_run_state (mock)))
    mock_complain (mock, "from \"%s\" there is no way to \"paused\"", mock_run_state (mock));
}

static void
stop_for_migration (MockMigration *migration, gboolean background)
{
  MockQemu *mock = migration->mock;

  if (background)
    check_stop (mock);
  migration->stopped_by_us = mock_is_running (mock);
  g_free (migration->old_state);
  migration->old_state = g_strdup (mock_run_state (mock));
  if (!background)
    mock_enter_state (mock, "finish-migrate");
  else if (migration->stopped_by_us)
    mock_enter_state (mock, "paused");
  if (migration->stopped_by_us)
    mock_event (mock, "STOP", NULL);
}

static void
note_point_in_time (MockMigration *migration)
{
  migration->point_done = TRUE;
  migration->point_while_running = mock_is_running (migration->mock);
  migration->point_epoch = mock_run_epoch (migration->mock);
}

/* 7.2 always starts the guest, even one that its owner had paused. */
static void
resume_after_migration (MockMigration *migration)
{
  MockQemu *mock = migration->mock;

  if (migration->resumed || mock_is_running (mock))
    return;
  migration->resumed = TRUE;
  if (mock->style != MOCK_STYLE_7_2 && !migration->stopped_by_us)
    return;
  mock_enter_state (mock, "running");
  mock_event (mock, "RESUME", NULL);
}

static void
pass_event (MockMigration *migration)
{
  int pass = g_atomic_int_add (&migration->n_passes, 1) + 1;
  JsonObject *data;

  if (!mock_migration_has (migration, "events"))
    return;
  data = json_object_new ();
  json_object_set_int_member (data, "pass", pass);
  mock_event (migration->mock, "MIGRATION_PASS", data);
}

static void
complete (MockMigration *migration, gboolean background)
{
  migration->ended_at = g_get_monotonic_time ();
  if (!background && migration->mock->style == MOCK_STYLE_10 &&
      !g_str_equal (migration->status, "device"))
    mock_migration_set_status (migration, "device");
  if (!background)
    pass_event (migration);
  mock_migration_set_status (migration, "completed");
}

/* A moment after the event. */
static void
finish_plain (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  mock_enter_state (mock, "postmigrate");
}

static void
reach_in_mock (MockQemu *mock, gpointer data)
{
  Reach *reach = data;
  MockMigration *migration = mock->migration;
  gboolean background = reach->writer->background;

  if (migration->fail_at == reach->point)
    {
      reach->writer->broken = g_strdup ("Simulated failure");
      return;
    }
  migration->point = reach->point;
  if (reach->point == MOCK_POINT_ACTIVE && !background)
    pass_event (migration);
  if (reach->point == MOCK_POINT_ACTIVE && !g_atomic_int_get (&migration->cancelled))
    mock_migration_set_status (migration, "active");
  else if (reach->point == MOCK_POINT_STOPPED)
    stop_for_migration (migration, background);
  else if (reach->point == MOCK_POINT_POINT_IN_TIME)
    note_point_in_time (migration);
  else if (reach->point == MOCK_POINT_RESUMED)
    resume_after_migration (migration);
  else if (reach->point == MOCK_POINT_COMPLETED)
    complete (migration, background);
  if (migration->funcs[reach->point] != NULL)
    migration->funcs[reach->point](mock, reach->point, migration->func_data[reach->point]);
}

gboolean
mock_writer_has_to_end (MockWriter *writer)
{
  return mock_is_stopping (writer->mock) || g_atomic_int_get (&writer->mock->migration->aborted);
}

gboolean
mock_writer_reach (MockWriter *writer, MockPoint point)
{
  MockMigration *migration = writer->mock->migration;
  Reach reach = { writer, point };

  mock_call (writer->mock, reach_in_mock, &reach);
  while (g_atomic_int_get (&migration->hold) == (gint)point && !mock_writer_has_to_end (writer))
    g_usleep (500);
  return writer->broken == NULL && !mock_writer_has_to_end (writer);
}

gboolean
mock_writer_is_cancelled (MockWriter *writer)
{
  return g_atomic_int_get (&writer->mock->migration->cancelled) || mock_writer_has_to_end (writer);
}

void
mock_writer_count_page (MockWriter *writer, gboolean normal)
{
  MockMigration *migration = writer->mock->migration;
  gint delay = g_atomic_int_get (&migration->page_delay);

  g_atomic_int_inc (normal ? &migration->n_normal : &migration->n_zero);
  if (delay > 0)
    g_usleep ((gulong)delay);
}

char *
mock_writer_machine (MockWriter *writer)
{
  return g_strdup (writer->mock->style == MOCK_STYLE_7_2 ? "pc-q35-7.2" : "pc-q35-10.0");
}

static void
set_frozen (MockQemu *mock, gpointer data)
{
  mock_link_set_frozen (mock->link, GPOINTER_TO_INT (data));
}

/* 10 holds the big lock while it writes the headers: with nobody reading, QMP waits as well. */
static gboolean
write_header (MockWriter *writer)
{
  gboolean freezes = writer->background && writer->mock->style == MOCK_STYLE_10;
  gboolean ok;

  if (!mock_writer_reach (writer, MOCK_POINT_SETUP))
    return FALSE;
  if (freezes)
    mock_call (writer->mock, set_frozen, GINT_TO_POINTER (TRUE));
  ok = mock_stream_write_header (writer);
  if (freezes)
    mock_call (writer->mock, set_frozen, GINT_TO_POINTER (FALSE));
  return ok && mock_writer_reach (writer, MOCK_POINT_HEADER) && !mock_writer_is_cancelled (writer);
}

static gboolean
run_background (MockWriter *writer)
{
  return write_header (writer) && mock_writer_reach (writer, MOCK_POINT_ACTIVE) &&
         mock_writer_reach (writer, MOCK_POINT_STOPPED) &&
         mock_writer_reach (writer, MOCK_POINT_POINT_IN_TIME) &&
         mock_writer_reach (writer, MOCK_POINT_RESUMED) && mock_stream_write_pages (writer) &&
         mock_writer_reach (writer, MOCK_POINT_PAGES_DONE) && mock_stream_write_devices (writer) &&
         mock_writer_reach (writer, MOCK_POINT_STREAM_DONE) && !mock_writer_is_cancelled (writer);
}

static void
begin_pass (MockQemu *mock, gpointer data)
{
  gboolean *runs = data;

  *runs = mock_is_running (mock);
  if (*runs)
    pass_event (mock->migration);
}

/* One pass after the other, for as long as the guest runs. */
static gboolean
write_again (MockWriter *writer)
{
  gboolean runs = TRUE;

  while (runs && g_atomic_int_get (&writer->mock->migration->endless) &&
         !mock_writer_is_cancelled (writer))
    {
      g_usleep (2000);
      mock_call (writer->mock, begin_pass, &runs);
    }
  return !mock_writer_is_cancelled (writer);
}

static void
enter_status (MockQemu *mock, gpointer data)
{
  mock_migration_set_status (mock->migration, data);
}

/* With pause-before-switchover: the guest stands still, its images are still active. */
static gboolean
wait_before_switchover (MockWriter *writer)
{
  MockMigration *migration = writer->mock->migration;

  if (!mock_migration_has (migration, "pause-before-switchover"))
    return TRUE;
  mock_call (writer->mock, enter_status, (gpointer) "pre-switchover");
  while (!g_atomic_int_get (&migration->continued) && !mock_writer_is_cancelled (writer))
    g_usleep (500);
  if (mock_writer_is_cancelled (writer))
    return FALSE;
  mock_call (writer->mock, enter_status, (gpointer) "device");
  return TRUE;
}

static void
has_backup (MockQemu *mock, gpointer data)
{
  *(gboolean *)data = mock_jobs_has_backup (mock);
}

/* A job that writes cannot go on in an image that is let go. */
static gboolean
let_go_of_images (MockWriter *writer)
{
  gboolean copies = FALSE;

  mock_call (writer->mock, has_backup, &copies);
  if (copies)
    writer->broken = g_strdup ("bdrv_inactivate_all failed: -1");
  return !copies;
}

static gboolean
run_plain (MockWriter *writer)
{
  return write_header (writer) && mock_writer_reach (writer, MOCK_POINT_ACTIVE) &&
         mock_stream_write_pages (writer) && mock_writer_reach (writer, MOCK_POINT_PAGES_DONE) &&
         write_again (writer) && mock_writer_reach (writer, MOCK_POINT_STOPPED) &&
         wait_before_switchover (writer) && let_go_of_images (writer) &&
         mock_writer_reach (writer, MOCK_POINT_POINT_IN_TIME) &&
         mock_stream_write_devices (writer) && mock_writer_reach (writer, MOCK_POINT_STREAM_DONE) &&
         !mock_writer_is_cancelled (writer);
}

/* Of a guest that stood still before: 7.2 forgets what it was. */
static void
leave_finish_migrate (MockMigration *migration)
{
  MockQemu *mock = migration->mock;

  if (!g_str_equal (mock_run_state (mock), "finish-migrate") || migration->stopped_by_us)
    return;
  mock_enter_state (mock, mock->style == MOCK_STYLE_7_2 ? "postmigrate" : migration->old_state);
}

/* A guest that had its memory write protected does not survive a failure on 7.2. */
static void
end_badly (MockQemu *mock, gpointer data)
{
  MockWriter *writer = data;
  MockMigration *migration = mock->migration;
  gboolean is_protected = writer->background && migration->point >= MOCK_POINT_POINT_IN_TIME;

  migration->ended_at = g_get_monotonic_time ();
  if (mock->style == MOCK_STYLE_7_2 && writer->broken != NULL && writer->background &&
      (is_protected || migration->fail_at == MOCK_N_POINTS))
    {
      mock_set_hung (mock);
      mock_link_set_frozen (mock->link, TRUE);
      return;
    }
  if (mock->style == MOCK_STYLE_7_2 && is_protected)
    mock_set_hung (mock);
  /* Back to what it was. 7.2's cancel even says that the guest runs. */
  if (migration->stopped_by_us || (mock->style == MOCK_STYLE_7_2 && is_protected))
    resume_after_migration (migration);
  leave_finish_migrate (migration);
  if (writer->broken != NULL && !g_atomic_int_get (&migration->cancelled))
    {
      g_free (migration->error);
      migration->error = g_strdup (writer->broken);
      mock_migration_set_status (migration, "failed");
    }
  else
    mock_migration_set_status (migration, "cancelled");
}

/* A write to a broken pipe has to be an error here, not a signal to the test. */
static void
block_sigpipe (void)
{
  sigset_t set;

  sigemptyset (&set);
  sigaddset (&set, SIGPIPE);
  pthread_sigmask (SIG_BLOCK, &set, NULL);
}

static gpointer
writer_main (gpointer data)
{
  MockWriter *writer = data;
  gboolean ok;

  block_sigpipe ();
  ok = writer->background ? run_background (writer) : run_plain (writer);
  /* The reader sees the end before anybody hears of it. */
  mock_clear_fd (&writer->fd);
  if (ok)
    {
      mock_writer_reach (writer, MOCK_POINT_COMPLETED);
      if (!writer->background)
        mock_call (writer->mock, finish_plain, NULL);
    }
  else if (!mock_writer_has_to_end (writer))
    mock_call (writer->mock, end_badly, writer);
  g_byte_array_unref (writer->buffer);
  g_free (writer->broken);
  g_free (writer);
  return NULL;
}

static void
start_writer (MockQemu *mock, gpointer data)
{
  mock->migration->thread = g_thread_new ("mock-migration", writer_main, data);
}

void
mock_migration_begin (MockMigration *migration, int fd)
{
  MockWriter *writer = g_new0 (MockWriter, 1);

  mock_migration_join (migration);
  migration->started_at = g_get_monotonic_time ();
  migration->ended_at = 0;
  migration->stopped_by_us = migration->resumed = FALSE;
  migration->point = MOCK_POINT_SETUP;
  g_atomic_int_set (&migration->cancelled, 0);
  g_atomic_int_set (&migration->continued, 0);
  g_atomic_int_set (&migration->n_passes, 0);
  g_atomic_int_set (&migration->n_normal, 0);
  g_atomic_int_set (&migration->n_zero, 0);
  /* QEMU does so too, and the flag is shared with the client's descriptor. */
  g_unix_set_fd_nonblocking (fd, FALSE, NULL);
  writer->mock = migration->mock;
  writer->fd = fd;
  writer->buffer = g_byte_array_new ();
  writer->background = mock_migration_has (migration, "background-snapshot");
  start_writer (migration->mock, writer);
}

void
mock_migration_join (MockMigration *migration)
{
  g_clear_pointer (&migration->thread, g_thread_join);
}

/* QEMU exits in the middle: the stream just ends. */
void
mock_migration_abort (MockQemu *mock)
{
  g_atomic_int_set (&mock->migration->aborted, 1);
}

/* --- what tests see and set --- */

typedef struct
{
  const char *name;
  gboolean state;
  char *text;
  MockPoint point;
  MockPointFunc func;
  gpointer user_data;
} MigrationCall;

static void
get_capability (MockQemu *mock, gpointer data)
{
  MigrationCall *call = data;

  call->state = mock_migration_has (mock->migration, call->name);
}

gboolean
mock_get_capability (MockQemu *mock, const char *name)
{
  MigrationCall call = { .name = name };

  mock_call (mock, get_capability, &call);
  return call.state;
}

static void
set_capability (MockQemu *mock, gpointer data)
{
  MigrationCall *call = data;

  if (call->state)
    g_hash_table_add (mock->migration->on, g_strdup (call->name));
  else
    g_hash_table_remove (mock->migration->on, call->name);
}

void
mock_set_capability (MockQemu *mock, const char *name, gboolean state)
{
  MigrationCall call = { .name = name, .state = state };

  mock_call (mock, set_capability, &call);
}

static void
list_capabilities (MockQemu *mock, gpointer data)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_auto (GStrv) names = NULL;

  for (guint i = 0; mock->migration->names[i] != NULL; i++)
    {
      if (mock_migration_has (mock->migration, mock->migration->names[i]))
        g_strv_builder_add (builder, mock->migration->names[i]);
    }
  names = g_strv_builder_end (builder);
  ((MigrationCall *)data)->text = g_strjoinv (",", names);
}

char *
mock_dup_capabilities (MockQemu *mock)
{
  MigrationCall call = { 0 };

  mock_call (mock, list_capabilities, &call);
  return call.text;
}

static void
get_status (MockQemu *mock, gpointer data)
{
  MigrationCall *call = data;

  call->text = g_strdup (mock->migration->status);
  call->point = mock->migration->point;
}

char *
mock_dup_migration_status (MockQemu *mock)
{
  MigrationCall call = { 0 };

  mock_call (mock, get_status, &call);
  return call.text;
}

MockPoint
mock_get_point (MockQemu *mock)
{
  MigrationCall call = { 0 };

  mock_call (mock, get_status, &call);
  g_free (call.text);
  return call.point;
}

static gboolean
has_status (MockQemu *mock, gpointer user_data)
{
  return g_str_equal (mock->migration->status, user_data);
}

gboolean
mock_wait_migration (MockQemu *mock, const char *status, guint milliseconds)
{
  return mock_wait (mock, has_status, (gpointer)status, milliseconds);
}

static void
add_blocker (MockQemu *mock, gpointer data)
{
  g_ptr_array_add (mock->migration->blockers, data);
}

void
mock_add_migration_blocker (MockQemu *mock, const char *reason)
{
  mock_call (mock, add_blocker, g_strdup (reason));
}

/* Before a migration only: the writer reads the sizes without asking. */
void
mock_set_ram_size (MockQemu *mock, guint64 bytes)
{
  mock->migration->ram[0].size = bytes;
}

guint
mock_get_n_ram_blocks (G_GNUC_UNUSED MockQemu *mock)
{
  return MOCK_N_RAM_BLOCKS;
}

MockRamBlock
mock_get_ram_block (MockQemu *mock, guint block)
{
  return mock->migration->ram[block];
}

void
mock_set_endless (MockQemu *mock, gboolean endless)
{
  g_atomic_int_set (&mock->migration->endless, endless);
}

static void
get_max_bandwidth (MockQemu *mock, gpointer data)
{
  *(gint64 *)data = mock->migration->max_bandwidth;
}

gint64
mock_get_max_bandwidth (MockQemu *mock)
{
  gint64 bandwidth = 0;

  mock_call (mock, get_max_bandwidth, &bandwidth);
  return bandwidth;
}

void
mock_set_page_delay (MockQemu *mock, guint microseconds)
{
  g_atomic_int_set (&mock->migration->page_delay, (gint)microseconds);
}

static void
set_point_func (MockQemu *mock, gpointer data)
{
  MigrationCall *call = data;

  mock->migration->funcs[call->point] = call->func;
  mock->migration->func_data[call->point] = call->user_data;
}

void
mock_on_point (MockQemu *mock, MockPoint point, MockPointFunc func, gpointer user_data)
{
  MigrationCall call = { .point = point, .func = func, .user_data = user_data };

  mock_call (mock, set_point_func, &call);
}

void
mock_hold_point (MockQemu *mock, MockPoint point)
{
  g_atomic_int_set (&mock->migration->hold, (gint)point);
}

void
mock_release_point (MockQemu *mock)
{
  g_atomic_int_set (&mock->migration->hold, MOCK_N_POINTS);
}

static void
set_failure (MockQemu *mock, gpointer data)
{
  mock->migration->fail_at = ((MigrationCall *)data)->point;
}

void
mock_fail_migration_at (MockQemu *mock, MockPoint point)
{
  MigrationCall call = { .point = point };

  mock_call (mock, set_failure, &call);
}

static void
judge_torn (MockQemu *mock, gpointer data)
{
  MockMigration *migration = mock->migration;
  gboolean done, while_running;
  guint epoch;

  mock_graph_get_snapshot (mock, &done, &while_running, &epoch);
  ((MigrationCall *)data)->state =
      done && migration->point_done &&
      (while_running || migration->point_while_running || epoch != migration->point_epoch);
}

gboolean
mock_is_torn (MockQemu *mock)
{
  MigrationCall call = { 0 };

  mock_call (mock, judge_torn, &call);
  return call.state;
}
