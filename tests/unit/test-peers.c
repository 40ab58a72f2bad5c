/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMUs that mean harm: at the connection, in the negotiation, while nothing happens, and in the
 * middle of a capture. Memory and descriptors have a bound, nothing hangs, an error says what was
 * wrong, and a capture is undone or sound. */

#include "footprint.h"
#include "hostile-deeds.h"
#include "modes-trouble.h"

#include <string.h>

/* An event takes room until it is dispatched, but there is a limit to that. */
static void
ignore_event (G_GNUC_UNUSED QsnapSession *session,
              G_GNUC_UNUSED const char *name,
              G_GNUC_UNUSED JsonNode *data,
              G_GNUC_UNUSED gint64 time,
              gpointer user_data)
{
  ++*(guint *)user_data;
}

static void
assert_error (const Deed *deed, GError *error)
{
  g_test_message ("%s: %s", deed->name, error->message);
  g_assert_error (error, QSNAP_ERROR, deed->code);
  g_assert_nonnull (strstr (error->message, deed->words));
  g_assert_cmpuint (strlen (error->message), <, 1000);
}

/* --- before the session is open ------------------------------------------------------------ */

typedef struct
{
  Ear ear;
  const Deed *deed;
  const char *command;
} Opening;

static gboolean
has_connection (MockQemu *mock, G_GNUC_UNUSED gpointer user_data)
{
  return mock_get_n_connections (mock) > 0;
}

static gpointer
do_while_opening (gpointer data)
{
  Opening *opening = data;

  if (opening->command == NULL)
    g_assert_true (mock_wait (opening->ear.mock, has_connection, NULL, WAIT));
  else
    g_assert_true (mock_wait_command (opening->ear.mock, opening->command, 1, WAIT));
  opening->deed->func (&opening->ear);

  return NULL;
}

/* What comes instead of a greeting, or of the answer to @command; that never comes. */
static void
try_opening (const Deed *deed, const char *command)
{
  Fixture fixture;
  Footprint footprint;
  Opening opening = { .deed = deed, .command = command };
  g_autoptr (GError) error = NULL;
  GThread *thread;

  footprint_begin (&footprint);
  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  opening.ear.mock = fixture.mock;
  if (command == NULL)
    mock_set_greeting (fixture.mock, NULL);
  else
    mock_step_silent (mock_expect (fixture.mock, command));
  mock_start (fixture.mock);
  fixture.session = qsnap_session_new (mock_get_address (fixture.mock));
  /* What comes is known to be wrong at once; only for what does not come is there no other way. */
  qsnap_session_set_timeout (
      fixture.session, deed_is_fatal (deed) && deed->code != QSNAP_ERROR_TIMED_OUT ? 0 : 1000);
  thread = g_thread_new ("deed", do_while_opening, &opening);
  g_assert_false (qsnap_session_open (fixture.session, NULL, &error));
  g_atomic_int_set (&opening.ear.over, TRUE);
  g_thread_join (thread);

  if (command != NULL && deed_is_fatal (deed))
    assert_error (deed, error);
  else
    g_test_message ("%s", error->message);
  g_assert_true (error->domain == QSNAP_ERROR);
  g_assert_false (qsnap_session_get_is_open (fixture.session));
  g_test_message ("%" G_GSIZE_FORMAT " KiB more",
                  footprint_assert_peak (&footprint, deed->max_growth) / KIB);
  fixture_clear (&fixture);
  footprint_assert_fds (&footprint);
}

static void
test_connect (gconstpointer deed)
{
  try_opening (deed, NULL);
}

static void
test_handshake (gconstpointer deed)
{
  try_opening (deed, "qmp_capabilities");
}

/* --- while nothing happens ----------------------------------------------------------------- */

static gpointer
do_deed (gpointer data)
{
  Opening *opening = data;

  opening->deed->func (&opening->ear);

  return NULL;
}

static void
on_closed (G_GNUC_UNUSED QsnapSession *session, const GError *error, gpointer user_data)
{
  GError **closed = user_data;

  g_assert_no_error (*closed);
  *closed = g_error_copy (error);
}

static gboolean
has_ended (Fixture *fixture, const Deed *deed, GError **error)
{
  g_autoptr (JsonNode) reply = NULL;

  /* No command meanwhile: the answer would come in the middle of what is being said. */
  if (deed->code != QSNAP_ERROR_TIMED_OUT)
    return !qsnap_session_get_is_open (fixture->session);

  qsnap_session_set_timeout (fixture->session, 500);
  reply = qsnap_session_execute (fixture->session, "query-status", NULL, NULL, NULL, error);

  return reply == NULL;
}

/* The main context is not iterated meanwhile. */
static void
test_idle (gconstpointer data)
{
  const Deed *deed = data;
  Fixture fixture;
  Footprint footprint;
  Opening opening = { .deed = deed };
  guint n_events = 0;
  g_autoptr (GError) error = NULL;
  GThread *thread;

  footprint_begin (&footprint);
  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "event", G_CALLBACK (ignore_event), &n_events);
  g_signal_connect (fixture.session, "closed", G_CALLBACK (on_closed), &error);

  opening.ear.mock = fixture.mock;
  thread = g_thread_new ("deed", do_deed, &opening);
  while (deed_is_fatal (deed) && !has_ended (&fixture, deed, &error))
    g_usleep (1000);
  g_atomic_int_set (&opening.ear.over, deed_is_fatal (deed));
  g_thread_join (thread);
  if (!deed_is_fatal (deed))
    json_node_unref (fixture_execute (&fixture, "query-status", NULL));
  g_assert_cmpuint (n_events, ==, 0);
  fixture_drain_context ();

  if (deed_is_fatal (deed))
    assert_error (deed, error);
  g_test_message ("%u events, %" G_GUINT64_FORMAT " lost, %" G_GSIZE_FORMAT " KiB more", n_events,
                  qsnap_session_get_events_lost (fixture.session),
                  footprint_assert_peak (&footprint, deed->max_growth) / KIB);
  mock_thaw (fixture.mock);
  fixture_clear (&fixture);
  footprint_assert_fds (&footprint);
}

/* --- in the middle of a capture ------------------------------------------------------------ */

typedef struct
{
  const Deed *deed;
  Fixture *fixture;
  gboolean done;
} Misdeed;

static void
misbehave (MockQemu *mock, Misdeed *misdeed)
{
  Ear ear = { .mock = mock, .session = misdeed->fixture->session };

  if (!misdeed->done)
    misdeed->deed->func (&ear);
  misdeed->done = TRUE;
}

static void
at_command (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer misdeed)
{
  misbehave (mock, misdeed);
}

static void
at_half (MockQemu *mock, G_GNUC_UNUSED MockPoint point, gpointer misdeed)
{
  misbehave (mock, misdeed);
}

/* Who believes nobody's answers cannot resume a guest either: then the journal says what is left. */
static void
judge_capture (Trouble *trouble)
{
  g_autofree char *journal = fixture_path (&trouble->fixture, "snapshot/journal.json");

  if (!g_error_matches (trouble->error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED) ||
      !g_file_test (journal, G_FILE_TEST_EXISTS))
    trouble_judge (trouble);
}

/* At @moment, which is a command, or with half of the memory saved. */
static void
try_capture (MockStyle style, const Deed *deed, const char *moment)
{
  static const Way way = { "instant, overlay", QSNAP_SNAPSHOT_MODE_INSTANT, QSNAP_DISK_MODE_OVERLAY,
                           QSNAP_LEAVE_RUNNING, FALSE };
  Footprint footprint;
  Trouble trouble;
  Misdeed misdeed = { .deed = deed, .fixture = &trouble.fixture };
  guint n_events = 0;

  footprint_begin (&footprint);
  trouble_set_up (&trouble, style, &way);
  if (moment != NULL)
    mock_on_command (trouble.fixture.mock, moment, at_command, &misdeed);
  else
    mock_on_point (trouble.fixture.mock, MOCK_POINT_HALF, at_half, &misdeed);
  fixture_open (&trouble.fixture);
  g_signal_connect (trouble.fixture.session, "event", G_CALLBACK (ignore_event), &n_events);
  trouble_run (&trouble);
  g_test_message ("%s at %s → %s; %" G_GSIZE_FORMAT " KiB more", deed->name,
                  moment != NULL ? moment : "half", trouble_outcome (&trouble),
                  footprint_assert_peak (&footprint, deed->max_growth) / KIB);
  g_assert_true (misdeed.done);
  if (deed_is_fatal (deed) && *deed->words != '\0')
    g_assert_nonnull (trouble.error);
  if (trouble.error != NULL)
    g_assert_cmpuint (strlen (trouble.error->message), <, 2000);
  if (!deed_is_fatal (deed))
    g_assert_no_error (trouble.error);
  else if (*deed->words != '\0')
    g_assert_nonnull (strstr (trouble.error->message, deed->words));
  judge_capture (&trouble);
  trouble_clear (&trouble);
  footprint_assert_fds (&footprint);
}

static void
test_capture (gconstpointer deed)
{
  try_capture (MOCK_STYLE_7_2, deed, NULL);
  try_capture (MOCK_STYLE_10, deed, "transaction");
}

/* --- it does not read ---------------------------------------------------------------------- */

/* Each command is given up; what has not been sent by then is not kept. */
static void
test_deaf (void)
{
  Fixture fixture;
  Footprint footprint;
  g_autoptr (JsonNode) arguments = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *text = g_strnfill (MIB, 'x');
  g_autoptr (GUnixFDList) fds = g_unix_fd_list_new ();

  json_node_take_object (arguments, json_object_new ());
  json_object_set_string_member (json_node_get_object (arguments), "command-line", text);
  g_assert_cmpint (g_unix_fd_list_append (fds, 0, NULL), ==, 0);
  footprint_begin (&footprint);
  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  mock_freeze (fixture.mock);
  qsnap_session_set_timeout (fixture.session, 20);
  for (guint i = 0; i < 200; i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_null (qsnap_session_execute (fixture.session, "human-monitor-command", arguments,
                                            fds, NULL, &error));
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
    }
  g_test_message ("%" G_GSIZE_FORMAT " KiB more",
                  footprint_assert_peak (&footprint, 32 * MIB) / KIB);
  fixture_clear (&fixture);
  footprint_assert_fds (&footprint);
}

static void
add_all (const Deed *all, const char *where, GTestDataFunc func)
{
  for (const Deed *deed = all; deed->name != NULL; deed++)
    {
      g_autofree char *path = g_strdup_printf ("/peers/%s/%s", where, deed->name);

      if (g_strcmp0 (deed->not_at, where) != 0)
        g_test_add_data_func (path, deed, func);
    }
}

/* Threads and main contexts that a process keeps from then on. */
static void
warm_up (void)
{
  Fixture fixture;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  g_object_unref (fixture_capture_well (&fixture, "snapshot"));
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  warm_up ();
  add_all (deeds, "connect", test_connect);
  add_all (deeds, "handshake", test_handshake);
  add_all (deeds, "idle", test_idle);
  add_all (deeds, "capture", test_capture);
  add_all (capture_deeds, "capture", test_capture);
  g_test_add_func ("/peers/deaf", test_deaf);
  return g_test_run ();
}
