/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands that get no reply: cancelled, timed out, and the end of the connection. */

#include "fixture.h"

#include <string.h>

#define N_PENDING 20

typedef struct
{
  guint n_done, n_wrong;
  GQuark domain;
  int code;
} Tally;

/* A fixture whose QEMU reads commands, and answers none. */
static void
set_up_silent (Fixture *fixture)
{
  fixture_set_up (fixture, MOCK_STYLE_10, 0);
  mock_drop_reply (fixture->mock, "query-name", 0);
  fixture_open (fixture);
}

static void
assert_works (Fixture *fixture)
{
  json_node_unref (fixture_execute (fixture, "query-status", NULL));
}

static gpointer
call_silent (gpointer user_data)
{
  Fixture *fixture = user_data;
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_session_execute (fixture->session, "query-name", NULL, NULL, NULL, &error));
  return g_steal_pointer (&error);
}

static void
on_reply (GObject *source, GAsyncResult *result, gpointer user_data)
{
  Tally *tally = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply =
      qsnap_session_execute_finish (QSNAP_SESSION (source), result, &error);

  tally->n_done++;
  if (tally->code < 0 ? reply == NULL : !g_error_matches (error, tally->domain, tally->code))
    {
      g_test_message ("%s", error != NULL ? error->message : "a reply");
      tally->n_wrong++;
    }
}

static void
start (Fixture *fixture, const char *command, GCancellable *cancellable, Tally *tally)
{
  qsnap_session_execute_async (fixture->session, command, NULL, NULL, cancellable, on_reply, tally);
}

static void
wait_for (Tally *tally, guint n)
{
  while (tally->n_done < n)
    g_main_context_iteration (NULL, TRUE);
  g_assert_cmpuint (tally->n_done, ==, n);
  g_assert_cmpuint (tally->n_wrong, ==, 0);
}

/* --- asynchronously ------------------------------------------------------------------------ */

static void
test_async (void)
{
  Fixture fixture;
  Tally good = { .code = -1 };
  Tally unknown = { .domain = QSNAP_QMP_ERROR, .code = QSNAP_QMP_ERROR_COMMAND_NOT_FOUND };

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  mock_remove_command (fixture.mock, "query-kvm");
  fixture_open (&fixture);
  for (guint i = 0; i < N_PENDING; i++)
    start (&fixture, "query-status", NULL, &good);
  start (&fixture, "query-kvm", NULL, &unknown);
  g_assert_cmpuint (good.n_done, ==, 0);
  wait_for (&good, N_PENDING);
  wait_for (&unknown, 1);

  qsnap_session_close (fixture.session);
  unknown = (Tally){ .domain = QSNAP_ERROR, .code = QSNAP_ERROR_CLOSED };
  start (&fixture, "query-status", NULL, &unknown);
  wait_for (&unknown, 1);
  fixture_clear (&fixture);
}

static void
test_async_timeout (void)
{
  Fixture fixture;
  Tally tally = { .domain = QSNAP_ERROR, .code = QSNAP_ERROR_TIMED_OUT };

  set_up_silent (&fixture);
  qsnap_session_set_timeout (fixture.session, 200);
  for (guint i = 0; i < N_PENDING; i++)
    start (&fixture, "query-name", NULL, &tally);
  wait_for (&tally, N_PENDING);
  qsnap_session_set_timeout (fixture.session, WAIT);
  assert_works (&fixture);
  fixture_clear (&fixture);
}

/* --- cancelling ---------------------------------------------------------------------------- */

static void
test_async_cancel (void)
{
  Fixture fixture;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  Tally cancelled = { .domain = G_IO_ERROR, .code = G_IO_ERROR_CANCELLED };
  Tally good = { .code = -1 };

  set_up_silent (&fixture);
  for (guint i = 0; i < N_PENDING; i++)
    start (&fixture, "query-name", cancellable, &cancelled);
  start (&fixture, "query-status", NULL, &good);
  wait_for (&good, 1);
  g_assert_cmpuint (cancelled.n_done, ==, 0);
  g_cancellable_cancel (cancellable);
  wait_for (&cancelled, N_PENDING);

  /* Cancelled already: it is not even sent. */
  start (&fixture, "query-kvm", cancellable, &cancelled);
  wait_for (&cancelled, N_PENDING + 1);
  assert_works (&fixture);
  g_assert_cmpuint (mock_count_command (fixture.mock, "query-kvm"), ==, 0);
  g_assert_cmpuint (mock_count_command (fixture.mock, "query-name"), ==, N_PENDING);
  fixture_clear (&fixture);
}

static gpointer
cancel_when_sent (gpointer user_data)
{
  Fixture *fixture = user_data;

  g_assert_true (mock_wait_command (fixture->mock, "query-name", 1, WAIT));
  g_cancellable_cancel (g_object_get_data (G_OBJECT (fixture->session), "cancellable"));
  return NULL;
}

static void
test_sync_cancel (void)
{
  Fixture fixture;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  GThread *thread;

  set_up_silent (&fixture);
  g_object_set_data (G_OBJECT (fixture.session), "cancellable", cancellable);
  thread = g_thread_new ("cancel", cancel_when_sent, &fixture);
  g_assert_null (
      qsnap_session_execute (fixture.session, "query-name", NULL, NULL, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_thread_join (thread);
  g_clear_error (&error);

  g_assert_null (
      qsnap_session_execute (fixture.session, "query-kvm", NULL, NULL, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  assert_works (&fixture);
  g_assert_cmpuint (mock_count_command (fixture.mock, "query-kvm"), ==, 0);
  fixture_clear (&fixture);
}

static gpointer
cancel_at_once (gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
  return NULL;
}

/* A cancel that meets the reply: one of the two, and never a hang. */
static void
test_cancel_race (void)
{
  Fixture fixture;
  guint n_cancelled = 0;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  for (guint i = 0; i < 300; i++)
    {
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();
      g_autoptr (JsonNode) reply = NULL;
      g_autoptr (GError) error = NULL;
      GThread *thread = g_thread_new ("cancel", cancel_at_once, cancellable);

      reply =
          qsnap_session_execute (fixture.session, "query-status", NULL, NULL, cancellable, &error);
      g_assert_true ((reply == NULL) == (error != NULL));
      if (error != NULL)
        g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      n_cancelled += error != NULL;
      g_thread_join (thread);
    }
  g_test_message ("%u of 300 were cancelled", n_cancelled);
  assert_works (&fixture);
  fixture_clear (&fixture);
}

/* --- the end of the connection ------------------------------------------------------------- */

static void
note_closed (G_GNUC_UNUSED QsnapSession *session, const GError *error, gpointer user_data)
{
  g_string_append (user_data, error == NULL ? " NULL" : " ERROR");
}

typedef enum
{
  END_BY_PEER,
  END_BY_CLOSE,
  END_IN_LINE
} End;

static void
end_connection (Fixture *fixture, End end)
{
  if (end == END_IN_LINE)
    mock_send_raw (fixture->mock, "{\"return\": {\"a\": ", -1);
  if (end == END_BY_CLOSE)
    qsnap_session_close (fixture->session);
  else
    mock_disconnect (fixture->mock);
}

/* All that is under way, in threads and asynchronously, fails at once; `closed` comes once. */
static void
test_dying (gconstpointer data)
{
  End end = GPOINTER_TO_INT (data);
  Fixture fixture;
  GThread *threads[N_PENDING];
  Tally tally = { .domain = QSNAP_ERROR, .code = QSNAP_ERROR_CLOSED };

  set_up_silent (&fixture);
  g_signal_connect (fixture.session, "closed", G_CALLBACK (note_closed), fixture.news);
  for (guint i = 0; i < N_PENDING; i++)
    {
      threads[i] = g_thread_new ("pending", call_silent, &fixture);
      start (&fixture, "query-name", NULL, &tally);
    }
  g_assert_true (mock_wait_command (fixture.mock, "query-name", 2 * N_PENDING, WAIT));
  end_connection (&fixture, end);
  for (guint i = 0; i < N_PENDING; i++)
    {
      g_autoptr (GError) error = g_thread_join (threads[i]);

      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED);
      if (end == END_IN_LINE)
        g_assert_nonnull (strstr (error->message, "mid-message"));
    }
  wait_for (&tally, N_PENDING);
  while (strlen (fixture.news->str) < strlen (" closed NULL"))
    g_main_context_iteration (NULL, TRUE);
  qsnap_session_close (fixture.session);
  fixture_drain_context ();
  g_assert_cmpstr (fixture.news->str, ==, end == END_BY_CLOSE ? " closed NULL" : " closed ERROR");
  g_assert_false (qsnap_session_get_is_open (fixture.session));

  /* An address can be had again. */
  qsnap_session_open (fixture.session, NULL, NULL);
  assert_works (&fixture);
  fixture_clear (&fixture);
}

/* The application drops the session: what is under way still ends. */
static void
test_drop_with_pending (void)
{
  Fixture fixture;
  Tally silent = { .domain = QSNAP_ERROR, .code = QSNAP_ERROR_CLOSED };
  Tally good = { .code = -1 };
  GWeakRef weak;

  set_up_silent (&fixture);
  g_weak_ref_init (&weak, fixture.session);
  for (guint i = 0; i < N_PENDING; i++)
    {
      start (&fixture, "query-status", NULL, &good);
      start (&fixture, "query-name", NULL, &silent);
    }
  g_clear_object (&fixture.session);
  wait_for (&good, N_PENDING);
  mock_disconnect (fixture.mock);
  wait_for (&silent, N_PENDING);
  fixture_wait_gone (&weak);
  fixture_clear (&fixture);
}

static void
ignore_event (G_GNUC_UNUSED QsnapSession *session,
              G_GNUC_UNUSED const char *name,
              G_GNUC_UNUSED JsonNode *data,
              G_GNUC_UNUSED gint64 time,
              G_GNUC_UNUSED gpointer user_data)
{
}

/* Last unreffed in another thread than its own, with news on the way. */
static gpointer
drop (gpointer session)
{
  g_object_unref (session);
  return NULL;
}

static void
test_drop_elsewhere (void)
{
  for (guint i = 0; i < 30; i++)
    {
      Fixture fixture;
      GThread *thread;

      fixture_set_up (&fixture, MOCK_STYLE_10, 0);
      fixture_open (&fixture);
      g_signal_connect (fixture.session, "event", G_CALLBACK (ignore_event), NULL);
      for (guint n = 0; n < 20; n++)
        mock_emit_event (fixture.mock, "QSNAP_DROP", NULL);
      thread = g_thread_new ("drop", drop, g_steal_pointer (&fixture.session));
      mock_emit_event (fixture.mock, "QSNAP_DROP", NULL);
      mock_disconnect (fixture.mock);
      g_thread_join (thread);
      fixture_clear (&fixture);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/end/async", test_async);
  g_test_add_func ("/end/async-timeout", test_async_timeout);
  g_test_add_func ("/end/async-cancel", test_async_cancel);
  g_test_add_func ("/end/sync-cancel", test_sync_cancel);
  g_test_add_func ("/end/cancel-race", test_cancel_race);
  g_test_add_data_func ("/end/dying", GINT_TO_POINTER (END_BY_PEER), test_dying);
  g_test_add_data_func ("/end/dying-in-line", GINT_TO_POINTER (END_IN_LINE), test_dying);
  g_test_add_data_func ("/end/closed", GINT_TO_POINTER (END_BY_CLOSE), test_dying);
  g_test_add_func ("/end/drop-with-pending", test_drop_with_pending);
  g_test_add_func ("/end/drop-elsewhere", test_drop_elsewhere);
  return g_test_run ();
}
