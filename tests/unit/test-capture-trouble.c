/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A capture is cancelled, its saver is killed, its guest powers off, somebody else resumes it: it
 * is undone, or the snapshot is a sound one. */

#include "fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The stream is longer than its pipe, so that the middle of it is the middle of saving. */
#define RAM_SIZE (16 * 1024 * 1024)

static const char *const point_names[MOCK_N_POINTS] = {
  "setup",      "header", "active",     "stopped",     "point in time", "resumed",
  "first page", "half",   "pages done", "stream done", "completed"
};

typedef struct
{
  Fixture fixture;
  GCancellable *cancellable;
  /* At the @nth time of the command, or at the point, if that is not MOCK_N_POINTS. */
  guint nth, count;
  MockPoint point;
  QsnapPhase phase;
  gboolean acted;
  char *before;
} Trouble;

static void
set_up (Trouble *trouble, MockStyle style, const char *state)
{
  memset (trouble, 0, sizeof *trouble);
  fixture_set_up (&trouble->fixture, style, 1);
  mock_set_ram_size (trouble->fixture.mock, RAM_SIZE);
  mock_set_run_state (trouble->fixture.mock, state);
  trouble->cancellable = g_cancellable_new ();
  fixture_open (&trouble->fixture);
  trouble->before = fixture_describe (&trouble->fixture);
}

static void
clear (Trouble *trouble)
{
  fixture_clear (&trouble->fixture);
  g_object_unref (trouble->cancellable);
  g_free (trouble->before);
}

/* Run states, and the descriptors that depend on them, do not count where somebody else changed
 * them. */
static char *
comparable (const char *description, gboolean state_counts)
{
  g_autoptr (GRegex) regex = g_regex_new ("^state [a-z]+|; -?[0-9]+ fdsets", 0, 0, NULL);

  return state_counts ? g_strdup (description)
                      : g_regex_replace (regex, description, -1, 0, "", 0, NULL);
}

/* Either it failed, for one of the reasons, and nothing is left of it; or it is good. */
static void
assert_undone_or_sound (Trouble *trouble,
                        QsnapSnapshot *snapshot,
                        const GError *error,
                        GQuark domain,
                        int code,
                        gboolean state_counts)
{
  Fixture *fixture = &trouble->fixture;
  g_autofree char *after = fixture_describe (fixture);
  g_autofree char *news = g_strdup (fixture->news->str);
  g_autofree char *wanted = NULL, *found = NULL;

  fixture_assert_phases (fixture);
  g_assert_false (mock_is_hung (fixture->mock));
  if (snapshot != NULL)
    {
      g_autoptr (GError) failure = NULL;

      g_assert_cmpstr (news, ==, " point memory");
      g_assert_false (mock_is_torn (fixture->mock));
      g_assert_true (qsnap_snapshot_verify (snapshot, NULL, &failure));
      g_assert_no_error (failure);
      return;
    }

  if (!g_error_matches (error, domain, code))
    g_error ("another code than %d: %s", code, error->message);
  wanted = comparable (trouble->before, state_counts);
  found = comparable (after, state_counts);
  g_assert_cmpstr (found, ==, wanted);
  g_assert_null (strstr (news, "memory"));
  fixture_drain_context ();
  g_assert_cmpstr (fixture->news->str, ==, news);
}

/* --- cancelling ---------------------------------------------------------------------------- */

static void
cancel_in_phase (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer user_data)
{
  Trouble *trouble = user_data;

  if (qsnap_session_get_phase (session) == trouble->phase)
    g_cancellable_cancel (trouble->cancellable);
}

static void
try_cancel_in_phase (MockStyle style, const char *state, QsnapPhase phase)
{
  Trouble trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&trouble, style, state);
  trouble.phase = phase;
  g_signal_connect (trouble.fixture.session, "notify::phase", G_CALLBACK (cancel_in_phase),
                    &trouble);
  snapshot = fixture_capture (&trouble.fixture, "snapshot", trouble.cancellable, &error);
  g_test_message ("%s, phase %d → %s", state, phase, error != NULL ? error->message : "sealed");
  assert_undone_or_sound (&trouble, snapshot, error, G_IO_ERROR, G_IO_ERROR_CANCELLED, TRUE);
  clear (&trouble);
}

static void
test_cancel_in_phase (gconstpointer style)
{
  for (int phase = QSNAP_PHASE_CHECKING; phase <= QSNAP_PHASE_SEALING; phase++)
    {
      try_cancel_in_phase (GPOINTER_TO_INT (style), "running", phase);
      try_cancel_in_phase (GPOINTER_TO_INT (style), "paused", phase);
    }
}

static void
test_cancelled_before (void)
{
  Trouble trouble;
  g_autoptr (GError) error = NULL;

  set_up (&trouble, MOCK_STYLE_10, "running");
  mock_clear_transcript (trouble.fixture.mock);
  g_cancellable_cancel (trouble.cancellable);
  g_assert_null (fixture_capture (&trouble.fixture, "snapshot", trouble.cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_cmpuint (mock_count_command (trouble.fixture.mock, "stop"), ==, 0);
  g_assert_cmpuint (mock_count_command (trouble.fixture.mock, "add-fd"), ==, 0);
  assert_undone_or_sound (&trouble, NULL, error, G_IO_ERROR, G_IO_ERROR_CANCELLED, TRUE);
  clear (&trouble);
}

/* A plain migration, which a paused guest gets on 7.2, resumes nothing. */
static gboolean
has_point (MockStyle style, const char *state, int point)
{
  return point != MOCK_POINT_RESUMED || style != MOCK_STYLE_7_2 || g_str_equal (state, "running");
}

static gboolean
is_at_point (MockQemu *mock, gpointer user_data)
{
  return mock_get_point (mock) == ((Trouble *)user_data)->point &&
         mock_count_command (mock, "migrate") > 0;
}

/* The migration waits at the point until the capture has been cancelled. */
static gpointer
cancel_at_held_point (gpointer user_data)
{
  Trouble *trouble = user_data;

  g_assert_true (mock_wait (trouble->fixture.mock, is_at_point, trouble, WAIT));
  g_cancellable_cancel (trouble->cancellable);
  /* On its way out already, most likely; either way it has to wait for the stream's end. */
  g_usleep (20000);
  mock_release_point (trouble->fixture.mock);
  return NULL;
}

static void
try_cancel_at_point (MockStyle style, const char *state, MockPoint point)
{
  Trouble trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  GThread *thread;

  set_up (&trouble, style, state);
  trouble.point = point;
  mock_hold_point (trouble.fixture.mock, point);
  thread = g_thread_new ("cancel", cancel_at_held_point, &trouble);
  snapshot = fixture_capture (&trouble.fixture, "snapshot", trouble.cancellable, &error);
  g_thread_join (thread);
  g_test_message ("%s, %s → %s", state, point_names[point],
                  error != NULL ? error->message : "sealed");
  assert_undone_or_sound (&trouble, snapshot, error, G_IO_ERROR, G_IO_ERROR_CANCELLED, TRUE);
  /* The seal comes only after the migration, which was held. */
  if (point < MOCK_POINT_COMPLETED)
    g_assert_null (snapshot);
  clear (&trouble);
}

static void
test_cancel_at_point (gconstpointer style)
{
  for (int point = MOCK_POINT_SETUP; point < MOCK_N_POINTS; point++)
    {
      try_cancel_at_point (GPOINTER_TO_INT (style), "running", point);
      if (has_point (GPOINTER_TO_INT (style), "paused", point))
        try_cancel_at_point (GPOINTER_TO_INT (style), "paused", point);
    }
}

/* --- somebody else ------------------------------------------------------------------------- */

typedef void (*ActFunc) (MockQemu *mock);

typedef struct
{
  Trouble trouble;
  ActFunc act;
} Stranger;

static void
act_on_command (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer user_data)
{
  Stranger *stranger = user_data;

  if (++stranger->trouble.count != stranger->trouble.nth)
    return;
  stranger->trouble.acted = TRUE;
  stranger->act (mock);
}

static void
act_at_point (MockQemu *mock, G_GNUC_UNUSED MockPoint point, gpointer user_data)
{
  Stranger *stranger = user_data;

  stranger->trouble.acted = TRUE;
  stranger->act (mock);
}

static void
stop_and_cont (MockQemu *mock)
{
  mock_stop_guest (mock);
  mock_cont_guest (mock);
}

static void
cont_and_stop (MockQemu *mock)
{
  mock_cont_guest (mock);
  mock_stop_guest (mock);
}

static const struct
{
  const char *name;
  ActFunc act;
} acts[] = { { "cont", mock_cont_guest },
             { "stop", mock_stop_guest },
             { "stop, cont", stop_and_cont },
             { "cont, stop", cont_and_stop } };

/* @command, or @point if that is NULL. */
static void
try_stranger (
    MockStyle style, const char *state, guint act, const char *command, guint nth, MockPoint point)
{
  Stranger stranger;
  Trouble *trouble = &stranger.trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *after = NULL;

  set_up (trouble, style, state);
  stranger.act = acts[act].act;
  trouble->nth = nth;
  if (command != NULL)
    mock_on_command (trouble->fixture.mock, command, act_on_command, &stranger);
  else
    mock_on_point (trouble->fixture.mock, point, act_at_point, &stranger);
  snapshot = fixture_capture (&trouble->fixture, "snapshot", NULL, &error);
  after = mock_dup_run_state (trouble->fixture.mock);
  g_test_message ("%s: %s at %s%s → %.110s, %s", state, acts[act].name,
                  command != NULL ? command : point_names[point], trouble->acted ? "" : " (never)",
                  error != NULL ? error->message : "sealed", after);
  if (snapshot != NULL && mock_is_torn (trouble->fixture.mock))
    {
      g_test_message ("WRONG: a torn snapshot was sealed");
      g_test_fail ();
    }
  else
    assert_undone_or_sound (trouble, snapshot, error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED, FALSE);
  clear (trouble);
}

/* QEMU holds its big lock from its own stop to the point in time: nobody gets in between, so these
 * two points are left out. */
static gboolean
is_reachable (int point)
{
  return point != MOCK_POINT_STOPPED && point != MOCK_POINT_POINT_IN_TIME;
}

static void
test_stranger (gconstpointer style)
{
  static const char *const states[] = { "running", "paused" };
  static const struct
  {
    const char *command;
    guint nth;
  } commands[] = { { "stop", 1 },         { "transaction", 1 },
                   { "query-status", 2 }, { "query-status", 3 },
                   { "query-status", 4 }, { "migrate", 1 },
                   { "cont", 1 },         { "migrate-set-capabilities", 3 } };

  for (guint s = 0; s < G_N_ELEMENTS (states); s++)
    for (guint act = 0; act < G_N_ELEMENTS (acts); act++)
      {
        /* A paused guest is stopped already. */
        if (s == 1 && g_str_has_prefix (acts[act].name, "stop"))
          continue;
        for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
          try_stranger (GPOINTER_TO_INT (style), states[s], act, commands[i].command,
                        commands[i].nth, MOCK_N_POINTS);
        for (int point = MOCK_POINT_SETUP; point < MOCK_N_POINTS; point++)
          if (is_reachable (point) && has_point (GPOINTER_TO_INT (style), states[s], point))
            try_stranger (GPOINTER_TO_INT (style), states[s], act, NULL, 0, point);
      }
}

/* --- the guest's own doing ----------------------------------------------------------------- */

static gboolean
runs_at_point (MockQemu *mock, gpointer user_data)
{
  g_autofree char *state = mock_dup_run_state (mock);

  return is_at_point (mock, user_data) && g_str_equal (state, "running");
}

/* The migration waits until the guest runs again, and has acted. */
static gpointer
act_when_resumed (gpointer user_data)
{
  Stranger *stranger = user_data;
  MockQemu *mock = stranger->trouble.fixture.mock;

  g_assert_true (mock_wait (mock, runs_at_point, &stranger->trouble, WAIT));
  stranger->act (mock);
  mock_release_point (mock);
  return NULL;
}

static gboolean
has_exited (MockQemu *mock, G_GNUC_UNUSED gpointer user_data)
{
  return mock_has_exited (mock);
}

/* @no_reboot: a reset is a shutdown, as under -no-reboot. */
static void
try_guest_act (MockStyle style, ActFunc act, gboolean no_reboot, MockPoint point, gboolean exits)
{
  Stranger stranger;
  Trouble *trouble = &stranger.trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *state = NULL;
  GThread *thread;

  set_up (trouble, style, "running");
  stranger.act = act;
  trouble->point = point;
  if (no_reboot)
    json_node_unref (
        fixture_execute (&trouble->fixture, "set-action", "{\"reboot\": \"shutdown\"}"));
  mock_hold_point (trouble->fixture.mock, point);
  thread = g_thread_new ("guest", act_when_resumed, &stranger);
  snapshot = fixture_capture (&trouble->fixture, "snapshot", NULL, &error);
  g_thread_join (thread);
  g_test_message ("%s → %s", point_names[point], error != NULL ? error->message : "sealed");
  g_assert_no_error (error);
  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, NULL));
  g_assert_cmpstr (trouble->fixture.news->str, ==, " point memory");
  g_assert_cmpint (mock_wait (trouble->fixture.mock, has_exited, NULL, exits ? WAIT : 0), ==,
                   exits);
  g_assert_false (mock_is_hung (trouble->fixture.mock));
  g_assert_cmpuint (mock_count_command (trouble->fixture.mock, "quit"), ==, exits);
  state = mock_dup_run_state (trouble->fixture.mock);
  g_assert_cmpstr (state, ==,
                   !exits                    ? "running"
                   : act == mock_guest_panic ? "guest-panicked"
                                             : "shutdown");
  clear (trouble);
}

static void
test_guest_acts (gconstpointer style)
{
  static const MockPoint points[] = { MOCK_POINT_HALF, MOCK_POINT_PAGES_DONE,
                                      MOCK_POINT_STREAM_DONE };

  for (guint i = 0; i < G_N_ELEMENTS (points); i++)
    {
      try_guest_act (GPOINTER_TO_INT (style), mock_guest_shutdown, FALSE, points[i], TRUE);
      try_guest_act (GPOINTER_TO_INT (style), mock_guest_panic, FALSE, points[i], TRUE);
      try_guest_act (GPOINTER_TO_INT (style), mock_guest_reset, FALSE, points[i], FALSE);
      try_guest_act (GPOINTER_TO_INT (style), mock_guest_reset, TRUE, points[i], TRUE);
    }
}

/* It powers off, or panics, just before it is stopped: there is nothing to capture any more, and
 * QEMU ends as it would have. */
static void
try_end_before (MockStyle style, ActFunc act, const char *command, guint nth)
{
  Stranger stranger;
  Trouble *trouble = &stranger.trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (trouble, style, "running");
  stranger.act = act;
  trouble->nth = nth;
  mock_on_command (trouble->fixture.mock, command, act_on_command, &stranger);
  snapshot = fixture_capture (&trouble->fixture, "snapshot", NULL, &error);
  g_assert_null (snapshot);
  g_test_message ("%s #%u: %s", command, nth, error->message);
  g_assert_true (mock_wait (trouble->fixture.mock, has_exited, NULL, WAIT / 3));
  g_assert_false (mock_is_hung (trouble->fixture.mock));
  g_assert_cmpstr (trouble->fixture.news->str, ==, "");
  clear (trouble);
}

static void
test_end_before_pause (gconstpointer style)
{
  static const ActFunc ends[] = { mock_guest_shutdown, mock_guest_panic };

  for (guint i = 0; i < G_N_ELEMENTS (ends); i++)
    {
      try_end_before (GPOINTER_TO_INT (style), ends[i], "migrate-set-capabilities", 3);
      try_end_before (GPOINTER_TO_INT (style), ends[i], "stop", 1);
    }
}

/* QEMU exits in the middle, whoever wanted it: no snapshot, no hang. */
static void
kill_qemu (MockQemu *mock, G_GNUC_UNUSED MockPoint point, gpointer user_data)
{
  Trouble *trouble = user_data;

  /* As a signal does it, which nothing holds: as if "shutdown" were still "poweroff". */
  trouble->acted = TRUE;
  mock_freeze (mock);
  mock_disconnect (mock);
}

static void
test_connection_lost_while_saving (gconstpointer style)
{
  Trouble trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&trouble, GPOINTER_TO_INT (style), "running");
  mock_on_point (trouble.fixture.mock, MOCK_POINT_HALF, kill_qemu, &trouble);
  snapshot = fixture_capture (&trouble.fixture, "snapshot", NULL, &error);
  g_test_message ("%s", error != NULL ? error->message : "sealed");
  g_assert_true ((snapshot == NULL) == (error != NULL));
  fixture_assert_graph_whole (&trouble.fixture);
  fixture_assert_phases (&trouble.fixture);
  clear (&trouble);
}

/* --- the saver ----------------------------------------------------------------------------- */

/* Our child of that name, or 0. */
static GPid
find_saver (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc", 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename ("/proc", name, "stat", NULL);
      g_autofree char *stat = NULL;
      const char *end;
      int parent;
      char state;

      if (!g_ascii_isdigit (*name) || !g_file_get_contents (path, &stat, NULL, NULL) ||
          strstr (stat, "(qsnap-saver)") == NULL)
        continue;
      end = strrchr (stat, ')');
      if (sscanf (end + 1, " %c %d", &state, &parent) == 2 && state != 'Z' && parent == getpid ())
        return (GPid)g_ascii_strtoll (name, NULL, 10);
    }
  return 0;
}

static void
kill_saver (MockQemu *mock)
{
  GPid pid = find_saver ();

  g_assert_cmpint (pid, >, 0);
  g_assert_cmpint (kill (pid, SIGKILL), ==, 0);
}

static void
try_kill_saver (MockStyle style, const char *state, const char *command, guint nth, MockPoint point)
{
  Stranger stranger;
  Trouble *trouble = &stranger.trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (trouble, style, state);
  stranger.act = kill_saver;
  trouble->nth = nth;
  if (command != NULL)
    mock_on_command (trouble->fixture.mock, command, act_on_command, &stranger);
  else
    mock_on_point (trouble->fixture.mock, point, act_at_point, &stranger);
  snapshot = fixture_capture (&trouble->fixture, "snapshot", NULL, &error);
  g_test_message ("%s, %s → %s", state, command != NULL ? command : point_names[point],
                  error != NULL ? error->message : "sealed");
  g_assert_true (trouble->acted);
  g_assert_null (snapshot);
  g_assert_true (error->domain == QSNAP_ERROR || error->domain == G_IO_ERROR);
  assert_undone_or_sound (trouble, NULL, error, error->domain, error->code, TRUE);
  g_assert_false (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED));
  clear (trouble);
}

static void
test_kill_saver (gconstpointer style)
{
  static const char *const states[] = { "running", "paused" };
  static const struct
  {
    const char *command;
    guint nth;
  } commands[] = { { "getfd", 2 },       { "getfd", 3 },        { "set-action", 1 },
                   { "transaction", 1 }, { "query-status", 2 }, { "migrate", 1 } };

  for (guint s = 0; s < G_N_ELEMENTS (states); s++)
    {
      for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
        try_kill_saver (GPOINTER_TO_INT (style), states[s], commands[i].command, commands[i].nth,
                        MOCK_N_POINTS);
      for (int point = MOCK_POINT_SETUP; point <= MOCK_POINT_HALF; point++)
        if (has_point (GPOINTER_TO_INT (style), states[s], point))
          try_kill_saver (GPOINTER_TO_INT (style), states[s], NULL, 0, point);
    }
}

/* A saver that cannot be started is an error before anything is asked of QEMU's memory. */
static void
test_no_saver (gconstpointer style)
{
  static const char *const programs[] = { "/nowhere/qsnap-saver", "/bin/false", "/bin/cat" };
  g_autofree char *saver = g_strdup (g_getenv ("QSNAP_SAVER"));

  for (guint i = 0; i < G_N_ELEMENTS (programs); i++)
    {
      Trouble trouble;
      g_autoptr (GError) error = NULL;

      set_up (&trouble, GPOINTER_TO_INT (style), "running");
      g_setenv ("QSNAP_SAVER", programs[i], TRUE);
      g_assert_null (fixture_capture (&trouble.fixture, "snapshot", NULL, &error));
      g_setenv ("QSNAP_SAVER", saver, TRUE);
      g_test_message ("%s", error->message);
      assert_undone_or_sound (&trouble, NULL, error, error->domain, error->code, TRUE);
      g_assert_cmpuint (mock_count_command (trouble.fixture.mock, "stop"), ==, 0);
      clear (&trouble);
    }
}

/* --- QEMU's own failure -------------------------------------------------------------------- */

static void
test_migration_fails (gconstpointer style)
{
  /* On 7.2 a stream that breaks after the point in time hangs the guest, whoever broke it. */
  int last = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2 ? MOCK_POINT_STOPPED : MOCK_POINT_COMPLETED;

  for (int point = MOCK_POINT_SETUP; point < last; point++)
    {
      Trouble trouble;
      g_autoptr (QsnapSnapshot) snapshot = NULL;
      g_autoptr (GError) error = NULL;

      set_up (&trouble, GPOINTER_TO_INT (style), "running");
      mock_fail_migration_at (trouble.fixture.mock, point);
      snapshot = fixture_capture (&trouble.fixture, "snapshot", NULL, &error);
      g_assert_null (snapshot);
      g_test_message ("%s → %s", point_names[point], error->message);
      assert_undone_or_sound (&trouble, NULL, error, error->domain, error->code, TRUE);
      g_assert_false (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED));
      clear (&trouble);
    }
}

/* --- limits of the caller ------------------------------------------------------------------ */

#define DAWDLE_US (700 * 1000)

static gpointer
release_later (gpointer mock)
{
  g_usleep (DAWDLE_US);
  mock_release_point (mock);

  return NULL;
}

/* QEMU stays at the point for a while, but answers. */
static void
dawdle (MockQemu *mock, G_GNUC_UNUSED MockPoint point, G_GNUC_UNUSED gpointer user_data)
{
  g_thread_unref (g_thread_new ("release", release_later, mock));
}

static void
count_stall (G_GNUC_UNUSED QsnapSession *session, guint milliseconds, gpointer user_data)
{
  g_assert_cmpuint (milliseconds, >=, 100);
  (*(guint *)user_data)++;
}

static QsnapSnapshot *
capture_with_limits (
    Trouble *trouble, MockPoint point, guint max_pause_ms, guint max_stall_ms, GError **error)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (&trouble->fixture, "snapshot");

  mock_on_point (trouble->fixture.mock, point, dawdle, NULL);
  mock_hold_point (trouble->fixture.mock, point);
  qsnap_snapshot_options_set_max_pause_ms (options, max_pause_ms);
  qsnap_snapshot_options_set_max_stall_ms (options, max_stall_ms);

  return qsnap_session_instant_snapshot (trouble->fixture.session, options, NULL, error);
}

static void
test_pause_too_long (gconstpointer style)
{
  Trouble trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&trouble, GPOINTER_TO_INT (style), "running");
  snapshot = capture_with_limits (&trouble, MOCK_POINT_STOPPED, 200, 0, &error);
  g_assert_null (snapshot);
  g_assert_nonnull (strstr (error->message, "the limit of 200 ms"));
  assert_undone_or_sound (&trouble, NULL, error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, TRUE);
  g_assert_cmpstr (trouble.fixture.news->str, ==, "");
  clear (&trouble);
}

static void
test_pause_within_limit (gconstpointer style)
{
  Trouble trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&trouble, GPOINTER_TO_INT (style), "running");
  snapshot = capture_with_limits (&trouble, MOCK_POINT_STOPPED, 60000, 60000, &error);
  g_assert_no_error (error);
  assert_undone_or_sound (&trouble, snapshot, NULL, 0, 0, TRUE);
  clear (&trouble);
}

static void
test_stalled (gconstpointer style)
{
  Trouble trouble;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  guint n_stalls = 0;

  set_up (&trouble, GPOINTER_TO_INT (style), "running");
  g_signal_connect (trouble.fixture.session, "stalled", G_CALLBACK (count_stall), &n_stalls);
  snapshot = capture_with_limits (&trouble, MOCK_POINT_HALF, 0, 300, &error);
  g_assert_null (snapshot);
  g_assert_nonnull (strstr (error->message, "nothing was written"));
  assert_undone_or_sound (&trouble, NULL, error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, TRUE);
  g_assert_cmpuint (n_stalls, ==, 1);
  clear (&trouble);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/trouble/cancelled-before", test_cancelled_before);
  fixture_add ("/trouble/cancel-in-phase", test_cancel_in_phase);
  fixture_add ("/trouble/cancel-at-point", test_cancel_at_point);
  fixture_add ("/trouble/stranger", test_stranger);
  fixture_add ("/trouble/guest-acts", test_guest_acts);
  fixture_add ("/trouble/connection-lost", test_connection_lost_while_saving);
  fixture_add ("/trouble/kill-saver", test_kill_saver);
  fixture_add ("/trouble/no-saver", test_no_saver);
  fixture_add ("/trouble/migration-fails", test_migration_fails);
  fixture_add ("/trouble/pause-too-long", test_pause_too_long);
  fixture_add ("/trouble/pause-within-limit", test_pause_within_limit);
  fixture_add ("/trouble/stalled", test_stalled);
  fixture_add ("/trouble/end-before-pause", test_end_before_pause);
  return g_test_run ();
}
