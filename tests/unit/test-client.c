/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands, replies and events over an open session. */

#include "fixture.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define N_THREADS 8
#define N_CALLS 200

static JsonNode *
execute (Fixture *fixture, const char *command, GCancellable *cancellable, GError **error)
{
  return qsnap_session_execute (fixture->session, command, NULL, NULL, cancellable, error);
}

/* Runs a command for which a script has an answer, so its name and arguments do not matter. */
static void
assert_works (Fixture *fixture)
{
  g_autoptr (JsonNode) reply = fixture_execute (fixture, "query-status", NULL);

  g_assert_true (JSON_NODE_HOLDS_OBJECT (reply));
}

static void
set_up (Fixture *fixture)
{
  fixture_set_up (fixture, MOCK_STYLE_10, 0);
  mock_expect (fixture->mock, "qmp_capabilities");
}

static void
note_event (G_GNUC_UNUSED QsnapSession *session,
            const char *name,
            JsonNode *data,
            gint64 time,
            gpointer user_data)
{
  Fixture *fixture = user_data;
  g_autofree char *text = data != NULL ? json_to_string (data, FALSE) : g_strdup ("");

  g_assert_cmpint (time, >, 0);
  g_string_append_printf (fixture->news, " %s%s", name, text);
}

/* --- replies ------------------------------------------------------------------------------- */

static void
test_reply (void)
{
  Fixture fixture;
  MockStep *step;
  g_autoptr (JsonNode) reply = NULL;
  g_autofree char *text = NULL;

  set_up (&fixture);
  step = mock_expect (fixture.mock, "query-block");
  mock_step_arguments (step, "{\"x\": [1, \"two\", {\"three\": null}], \"y\": \"\\\"\\u00fc\\n\"}");
  mock_step_return (step, "[{\"a\": 9007199254740993}, \"\\u00fc\", null, 1.5, true]");
  fixture_open (&fixture);
  reply = fixture_execute (&fixture, "query-block",
                           "{\"x\": [1, \"two\", {\"three\": null}], \"y\": \"\\\"\\u00fc\\n\"}");
  text = json_to_string (reply, FALSE);
  g_assert_cmpstr (text, ==, "[{\"a\":9007199254740993},\"ü\",null,1.5,true]");

  /* It is the caller's: nothing keeps it from being changed. */
  json_array_add_int_element (json_node_get_array (reply), 1);
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

static void
test_errors (void)
{
  static const struct
  {
    const char *class;
    QsnapQmpError code;
  } classes[] = { { "GenericError", QSNAP_QMP_ERROR_GENERIC },
                  { "CommandNotFound", QSNAP_QMP_ERROR_COMMAND_NOT_FOUND },
                  { "DeviceNotActive", QSNAP_QMP_ERROR_DEVICE_NOT_ACTIVE },
                  { "DeviceNotFound", QSNAP_QMP_ERROR_DEVICE_NOT_FOUND } };
  static const char text[] = "Device 'a\"b' 100% %s not\nfound: ü";
  Fixture fixture;

  set_up (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (classes); i++)
    mock_step_error (mock_expect (fixture.mock, "query-block"), classes[i].class, text);
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (classes); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_null (execute (&fixture, "query-block", NULL, &error));
      g_assert_error (error, QSNAP_QMP_ERROR, (int)classes[i].code);
      g_assert_cmpstr (error->message, ==, text);
    }
  fixture_clear (&fixture);
}

/* Whatever an error looks like, it is one. */
static void
test_odd_errors (void)
{
  static const char *const errors[] = { "{\"class\": \"KVMMissingCap\", \"desc\": \"no\"}",
                                        "{\"class\": \"Brandnew\", \"desc\": \"no\"}",
                                        "{\"class\": 1, \"desc\": 2}",
                                        "{}",
                                        "[]",
                                        "null" };
  Fixture fixture;

  set_up (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (errors); i++)
    {
      /* Commands count from 1, and 1 was the negotiation. */
      g_autofree char *raw = g_strdup_printf ("{\"id\": %u, \"error\": %s}\n", i + 2, errors[i]);

      mock_step_raw (mock_expect (fixture.mock, "query-block"), raw, -1);
    }
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (errors); i++)
    {
      int code = i == 0 ? QSNAP_QMP_ERROR_KVM_MISSING_CAP : QSNAP_QMP_ERROR_UNKNOWN;
      g_autoptr (GError) error = NULL;

      g_assert_null (execute (&fixture, "query-block", NULL, &error));
      g_assert_error (error, QSNAP_QMP_ERROR, code);
      g_assert_cmpstr (error->message, !=, "");
    }
  fixture_clear (&fixture);
}

static void
test_ways_of_bytes (void)
{
  Fixture fixture;
  MockStep *step;

  set_up (&fixture);
  for (guint mode = MOCK_WRITE_WHOLE; mode <= MOCK_WRITE_MERGED; mode++)
    {
      step = mock_expect (fixture.mock, "query-status");
      mock_step_write (step, mode);
      mock_step_event_before (step, "STOP", NULL);
      mock_step_event_after (step, "RESUME", "{\"a\": \"}\\\"{\"}");
    }
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "event", G_CALLBACK (note_event), &fixture);
  for (guint mode = MOCK_WRITE_WHOLE; mode <= MOCK_WRITE_MERGED; mode++)
    assert_works (&fixture);
  assert_works (&fixture);
  fixture_drain_context ();
  g_assert_cmpstr (fixture.news->str, ==,
                   " STOP RESUME{\"a\":\"}\\\"{\"} STOP RESUME{\"a\":\"}\\\"{\"}"
                   " STOP RESUME{\"a\":\"}\\\"{\"}");
  fixture_clear (&fixture);
}

/* What nobody waits for is dropped, and the next command works. */
static void
test_unexpected_messages (void)
{
  static const char *const odd[] = {
    "{\"return\": {}}\n",
    "{\"return\": {}, \"id\": 4711}\n",
    "{\"return\": {}, \"id\": \"x\"}\n",
    "{\"return\": {}, \"id\": -1}\n",
    "{\"return\": {}, \"id\": 0}\n",
    "{\"return\": {}, \"id\": 18446744073709551615}\n",
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n",
    "{\"neither\": 1}\n",
    "{}\n",
    "{\"event\": 7}\n",
    "{\"event\": \"NO_STAMP\"}\n",
    "{\"event\": \"ODD\", \"data\": [], \"timestamp\": {\"seconds\": -1}}\n",
    "{\"event\": \"ODD\", \"data\": 1, \"timestamp\": {\"seconds\": 9223372036854775807}}\n",
    ("{\"event\": \"ODD\", \"timestamp\": {\"seconds\": 9223372036853, "
     "\"microseconds\": 9223372036854775807}}\n"),
    "{\"event\": \"STOP\", \"data\": \"x\", \"timestamp\": 5}\n",
    "{\"event\": \"MIGRATION\", \"timestamp\": 5}\n",
    "\n\r\n\n",
  };
  Fixture fixture;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (odd); i++)
    {
      mock_send_raw (fixture.mock, odd[i], -1);
      assert_works (&fixture);
    }
  fixture_drain_context ();
  g_assert_cmpstr (fixture.news->str, ==, "");
  fixture_clear (&fixture);
}

static void
test_reply_without_id (void)
{
  Fixture fixture;
  g_autoptr (GError) error = NULL;

  set_up (&fixture);
  mock_step_without_id (mock_expect (fixture.mock, "query-status"));
  fixture_open (&fixture);
  qsnap_session_set_timeout (fixture.session, 300);
  g_assert_null (execute (&fixture, "query-status", NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
  g_assert_nonnull (strstr (error->message, "query-status"));
  qsnap_session_set_timeout (fixture.session, WAIT);
  assert_works (&fixture);
  fixture_clear (&fixture);
}

/* The reply to the first comes after that to the second: it must not be taken for one. */
static void
test_late_reply (void)
{
  Fixture fixture;
  MockStep *step;
  g_autoptr (GError) error = NULL;

  set_up (&fixture);
  step = mock_expect (fixture.mock, "query-block");
  mock_step_return (step, "\"late\"");
  mock_step_late (step, 1);
  fixture_open (&fixture);
  qsnap_session_set_timeout (fixture.session, 300);
  g_assert_null (execute (&fixture, "query-block", NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
  qsnap_session_set_timeout (fixture.session, WAIT);
  for (guint i = 0; i < 3; i++)
    assert_works (&fixture);
  fixture_clear (&fixture);
}

static void
test_huge (void)
{
  const gsize size = 5 * 1024 * 1024;
  Fixture fixture;
  g_autoptr (JsonNode) reply = NULL, back = NULL;
  g_autoptr (JsonNode) arguments = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *text = g_strnfill (size, 'y');
  g_autoptr (GError) error = NULL;

  set_up (&fixture);
  mock_step_huge (mock_expect (fixture.mock, "query-block"), size);
  mock_expect (fixture.mock, "human-monitor-command");
  fixture_open (&fixture);
  reply = fixture_execute (&fixture, "query-block", NULL);
  g_assert_cmpuint (strlen (json_node_get_string (reply)), ==, size);

  json_node_take_object (arguments, json_object_new ());
  json_object_set_string_member (json_node_get_object (arguments), "command-line", text);
  back = qsnap_session_execute (fixture.session, "human-monitor-command", arguments, NULL, NULL,
                                &error);
  g_assert_no_error (error);
  fixture_clear (&fixture);
}

static void
test_deep (void)
{
  Fixture fixture;
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture);
  /* Made by hand, these have no id. */
  mock_step_raw (mock_expect (fixture.mock, "query-block"),
                 "{\"id\": 2, \"return\": [[[[[[[[[[]]]]]]]]]]}\n", -1);
  mock_step_deep (mock_expect (fixture.mock, "query-block"), 100000);
  fixture_open (&fixture);
  reply = fixture_execute (&fixture, "query-block", NULL);
  g_assert_null (execute (&fixture, "query-block", NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
  g_assert_false (qsnap_session_get_is_open (fixture.session));
  fixture_drain_context ();
  g_assert_cmpstr (fixture.news->str, ==, " closed");
  fixture_clear (&fixture);
}

static void
test_garbage_later (void)
{
  Fixture fixture;
  g_autoptr (GError) error = NULL;

  set_up (&fixture);
  mock_step_raw (mock_expect (fixture.mock, "query-block"), "{\"return\": {}, \"id\": 2}}\n", -1);
  fixture_open (&fixture);
  g_assert_null (execute (&fixture, "query-block", NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
  fixture_clear (&fixture);
}

/* --- descriptors --------------------------------------------------------------------------- */

static GUnixFDList *
some_fds (guint n)
{
  GUnixFDList *fds = g_unix_fd_list_new ();
  int fd = open ("/dev/null", O_RDWR | O_CLOEXEC);

  for (guint i = 0; i < n; i++)
    g_assert_cmpint (g_unix_fd_list_append (fds, fd, NULL), ==, (int)i);
  close (fd);
  return fds;
}

/* Beside other commands, small and larger than the socket's buffer. */
static gpointer
send_fds (gpointer user_data)
{
  Fixture *fixture = user_data;
  g_autoptr (GUnixFDList) fds = some_fds (1);

  for (guint i = 0; i < 30; i++)
    {
      g_autofree char *name = g_strdup_printf ("{\"opaque\": \"/fd/%p/%u\"}", (void *)fds, i);
      g_autoptr (JsonNode) arguments = json_from_string (name, NULL);
      g_autoptr (JsonNode) reply = NULL;
      g_autoptr (GError) error = NULL;

      reply = qsnap_session_execute (fixture->session, "add-fd", arguments, fds, NULL, &error);
      g_assert_no_error (error);
    }
  return NULL;
}

static gpointer
send_bulk (gpointer user_data)
{
  g_autofree char *text = g_strnfill (400000, 'x');
  g_autofree char *arguments = g_strdup_printf ("{\"command-line\": \"%s\"}", text);

  for (guint i = 0; i < 10; i++)
    json_node_unref (fixture_execute (user_data, "human-monitor-command", arguments));
  return NULL;
}

static void
test_fds (void)
{
  Fixture fixture;
  GThread *threads[4];

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("sender", i == 0 ? send_bulk : send_fds, &fixture);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
  g_assert_cmpuint (mock_get_n_fds_received (fixture.mock), ==, 90);
  g_assert_cmpuint (mock_get_n_fdset_fds (fixture.mock), ==, 90);
  g_assert_cmpuint (mock_get_n_fds_stray (fixture.mock), ==, 0);
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

static void
test_several_fds (void)
{
  Fixture fixture;
  g_autoptr (GUnixFDList) fds = some_fds (3);
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture);
  mock_step_fds (mock_expect (fixture.mock, "getfd"), 3);
  mock_step_fds (mock_expect (fixture.mock, "query-status"), 0);
  fixture_open (&fixture);
  reply = qsnap_session_execute (fixture.session, "getfd", NULL, fds, NULL, &error);
  g_assert_no_error (error);
  assert_works (&fixture);
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

static void
test_fds_over_tcp (void)
{
  MockQemu *mock = mock_new (MOCK_STYLE_10, MOCK_TRANSPORT_TCP);
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (GUnixFDList) fds = some_fds (1);
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) error = NULL;

  mock_start (mock);
  session = qsnap_session_new (mock_get_address (mock));
  qsnap_session_open (session, NULL, &error);
  g_assert_no_error (error);
  g_assert_null (qsnap_session_execute (session, "getfd", NULL, fds, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_clear_error (&error);
  reply = qsnap_session_execute (session, "query-status", NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  g_clear_object (&session);
  fixture_drain_context ();
  mock_free (mock);
}

/* --- many at once -------------------------------------------------------------------------- */

typedef struct
{
  Fixture *fixture;
  guint number;
} Caller;

/* Each asks for something of its own, so a reply that went to another would be seen. */
static gpointer
call_often (gpointer user_data)
{
  Caller *caller = user_data;
  g_autofree char *line = g_strdup_printf ("caller %u", caller->number);
  g_autofree char *arguments = g_strdup_printf ("{\"command-line\": \"%s\"}", line);

  for (guint i = 0; i < N_CALLS; i++)
    {
      g_autoptr (JsonNode) reply =
          fixture_execute (caller->fixture, "human-monitor-command", arguments);

      g_assert_cmpstr (json_node_get_string (reply), ==, line);
    }
  return NULL;
}

static void
test_many_threads (void)
{
  Fixture fixture;
  Caller callers[N_THREADS];
  GThread *threads[N_THREADS];

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  for (guint i = 0; i < N_THREADS; i++)
    {
      g_autofree char *line = g_strdup_printf ("caller %u", i);

      mock_set_hmp (fixture.mock, line, line);
      callers[i] = (Caller){ &fixture, i };
      threads[i] = g_thread_new ("caller", call_often, &callers[i]);
    }
  for (guint i = 0; i < N_THREADS; i++)
    g_thread_join (threads[i]);
  g_assert_cmpuint (mock_count_command (fixture.mock, "human-monitor-command"), ==,
                    N_THREADS * N_CALLS);
  fixture_clear (&fixture);
}

/* --- events -------------------------------------------------------------------------------- */

static void
count_up (G_GNUC_UNUSED QsnapSession *session,
          G_GNUC_UNUSED const char *name,
          G_GNUC_UNUSED JsonNode *data,
          G_GNUC_UNUSED gint64 time,
          gpointer count)
{
  ++*(guint *)count;
}

/* A handler for one name gets that name, one without a detail gets all, each time. */
static void
test_event_names (void)
{
  Fixture fixture;
  guint n_all = 0, n_rtc = 0, n_never = 0;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "event", G_CALLBACK (count_up), &n_all);
  g_signal_connect (fixture.session, "event::QSNAP_A", G_CALLBACK (count_up), &n_rtc);
  g_signal_connect (fixture.session, "event::QSNAP_NEVER", G_CALLBACK (count_up), &n_never);
  for (guint i = 0; i < 3; i++)
    {
      mock_emit_event (fixture.mock, "QSNAP_A", NULL);
      mock_emit_event (fixture.mock, "QSNAP_B", "{\"x\": 1}");
      assert_works (&fixture);
      fixture_drain_context ();
      g_assert_cmpuint (n_rtc, ==, i + 1);
      g_assert_cmpuint (n_all, ==, 2 * (i + 1));
    }
  g_assert_cmpuint (n_never, ==, 0);
  fixture_clear (&fixture);
}

/* Events nobody asked for take no room. */
static void
test_event_flood (void)
{
  static const guint n_events = 6000;
  Fixture fixture;
  guint n_seen = 0, n_lost = 0;
  g_autoptr (GString) flood = g_string_new (NULL);

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "event::FLOOD", G_CALLBACK (count_up), &n_seen);
  g_signal_connect_swapped (fixture.session, "notify::events-lost", G_CALLBACK (g_atomic_int_inc),
                            &n_lost);
  for (guint i = 0; i < n_events; i++)
    g_string_append (flood, "{\"event\": \"FLOOD\", \"timestamp\": {\"seconds\": 1, "
                            "\"microseconds\": 2}}\n{\"event\": \"OTHER\"}\n");
  /* The main context is not iterated meanwhile; the reply comes after the events. */
  mock_send_raw (fixture.mock, flood->str, (gssize)flood->len);
  assert_works (&fixture);
  fixture_drain_context ();
  g_assert_cmpuint (n_seen, ==, 4096);
  g_assert_cmpuint (qsnap_session_get_events_lost (fixture.session), ==, n_events - 4096);
  g_assert_cmpuint (n_lost, >=, 1);

  /* There is room again. */
  mock_emit_event (fixture.mock, "FLOOD", NULL);
  assert_works (&fixture);
  fixture_drain_context ();
  g_assert_cmpuint (n_seen, ==, 4097);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/client/reply", test_reply);
  g_test_add_func ("/client/errors", test_errors);
  g_test_add_func ("/client/odd-errors", test_odd_errors);
  g_test_add_func ("/client/ways-of-bytes", test_ways_of_bytes);
  g_test_add_func ("/client/unexpected-messages", test_unexpected_messages);
  g_test_add_func ("/client/reply-without-id", test_reply_without_id);
  g_test_add_func ("/client/late-reply", test_late_reply);
  g_test_add_func ("/client/huge", test_huge);
  g_test_add_func ("/client/deep", test_deep);
  g_test_add_func ("/client/garbage-later", test_garbage_later);
  g_test_add_func ("/client/fds", test_fds);
  g_test_add_func ("/client/several-fds", test_several_fds);
  g_test_add_func ("/client/fds-over-tcp", test_fds_over_tcp);
  g_test_add_func ("/client/many-threads", test_many_threads);
  g_test_add_func ("/client/event-flood", test_event_flood);
  g_test_add_func ("/client/event-names", test_event_names);
  return g_test_run ();
}
