/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an address to an open session: addresses, greetings, negotiation, the end. */

#include "fixture.h"

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* --- addresses ----------------------------------------------------------------------------- */

static void
assert_not_opened (const char *address, GQuark domain, int code, const char *pattern)
{
  g_autoptr (QsnapSession) session = qsnap_session_new (address);
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_session_open (session, NULL, &error));
  g_test_message ("%.60s: %.200s", address, error->message);
  g_assert_error (error, domain, code);
  if (pattern != NULL && strstr (error->message, pattern) == NULL)
    g_error ("\"%s\" is not in: %s", pattern, error->message);
  g_assert_false (qsnap_session_get_is_open (session));
}

static void
test_bad_addresses (void)
{
  static const char *const bad[] = { "",         "unix:",       "tcp:",        "tcp:localhost",
                                     "tcp:a:b",  "tcp:a:70000", "tcp:a:-1",    "tcp:a:0",
                                     "tcp:[::1", "tcp:a:",      "tcp:a:1:2:3", NULL };
  g_autofree char *long_path = g_strnfill (300, 'x');
  g_autofree char *long_address = g_strconcat ("unix:/", long_path, NULL);

  for (guint i = 0; bad[i] != NULL; i++)
    assert_not_opened (bad[i], G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, bad[i]);
  assert_not_opened (long_address, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "longer");
  assert_not_opened (long_path, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "longer");
}

/* Looking up nothing is no question for a resolver. */
static void
test_empty_host (void)
{
  assert_not_opened ("tcp::4444", G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "tcp::4444");
}

static void
test_nobody_there (void)
{
  Fixture fixture;
  g_autofree char *missing = NULL, *file = NULL, *address = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  missing = fixture_path (&fixture, "missing.sock");
  file = fixture_make_image (&fixture, "file", 10);
  address = g_strconcat ("unix:", missing, NULL);
  assert_not_opened (missing, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, missing);
  assert_not_opened (address, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, missing);
  assert_not_opened (file, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED, file);
  assert_not_opened (mock_get_directory (fixture.mock), G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED,
                     NULL);
  assert_not_opened ("tcp:127.0.0.1:1", G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED,
                     "tcp:127.0.0.1:1");
  fixture_clear (&fixture);
}

static void
test_no_address (void)
{
  g_autoptr (QsnapSession) session = g_object_new (QSNAP_TYPE_SESSION, NULL);
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_session_open (session, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
}

/* With the prefix, without it, and through a symbolic link. */
static void
test_ways_to_write_it (void)
{
  Fixture fixture;
  g_autofree char *link = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  link = fixture_path (&fixture, "link");
  g_assert_cmpint (symlink (mock_get_socket_path (fixture.mock), link), ==, 0);
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GError) error = NULL;

      g_clear_object (&fixture.session);
      fixture.session = qsnap_session_new (i == 0 ? mock_get_socket_path (fixture.mock) : link);
      g_assert_true (qsnap_session_open (fixture.session, NULL, &error));
      g_assert_no_error (error);
      json_node_unref (fixture_execute (&fixture, "query-status", NULL));
    }
  fixture_clear (&fixture);
}

/* --- greetings ----------------------------------------------------------------------------- */

typedef struct
{
  const char *greeting; /* NULL: none */
  int code;
  const char *pattern;
} Greeting;

static void
try_greeting (const Greeting *greeting)
{
  g_autoptr (GError) error = NULL;
  Fixture fixture;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  mock_set_greeting (fixture.mock, greeting->greeting);
  mock_set_lenient (fixture.mock, TRUE);
  mock_start (fixture.mock);
  fixture.session = qsnap_session_new (mock_get_address (fixture.mock));
  /* What is garbage is known at once; only what never comes takes this long. */
  qsnap_session_set_timeout (fixture.session, greeting->code == QSNAP_ERROR_TIMED_OUT ? 300 : WAIT);
  g_assert_false (qsnap_session_open (fixture.session, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, QSNAP_ERROR, greeting->code);
  if (strstr (error->message, greeting->pattern) == NULL)
    g_error ("\"%s\" is not in: %s", greeting->pattern, error->message);
  g_assert_false (qsnap_session_get_is_open (fixture.session));
  g_assert_null (qsnap_session_dup_qemu_version (fixture.session));
  fixture_clear (&fixture);
}

static void
test_greetings (void)
{
  static const Greeting greetings[] = {
    { NULL, QSNAP_ERROR_TIMED_OUT, "another client" },
    { "{\"QMP\": {\"version\"", QSNAP_ERROR_TIMED_OUT, "greeting" },
    { "220 mail.example ESMTP\r\n", QSNAP_ERROR_PROTOCOL, "QMP" },
    { "QEMU 10.0.0 monitor - type 'help' for more information\r\n(qemu) \r\n", QSNAP_ERROR_PROTOCOL,
      "QMP" },
    { "\x16\x03\x01\x02\x01\n", QSNAP_ERROR_PROTOCOL, "QMP" },
    { "{\"hello\": 1}\r\n", QSNAP_ERROR_PROTOCOL, "greeting" },
    { "{\"QMP\": 1}\r\n", QSNAP_ERROR_PROTOCOL, "greeting" },
    { "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 1}}\r\n",
      QSNAP_ERROR_PROTOCOL, "greeting" },
    { "{\"return\": {}, \"id\": 0}\r\n", QSNAP_ERROR_PROTOCOL, "greeting" },
    { "[]\r\n", QSNAP_ERROR_PROTOCOL, "QMP" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (greetings); i++)
    try_greeting (&greetings[i]);
}

/* What is not needed of a greeting may be missing or odd. */
static void
test_odd_greetings (void)
{
  static const char *const odd[] = {
    "{\"QMP\": {}}\r\n",
    "\r\n\n{\"QMP\": {\"version\": 7, \"capabilities\": {}}}\n",
    "{\"QMP\": {\"version\": {\"qemu\": {\"major\": \"x\"}}, \"capabilities\": [1, null]}}\n",
  };

  for (guint i = 0; i < G_N_ELEMENTS (odd); i++)
    {
      Fixture fixture;
      g_autofree char *version = NULL;

      fixture_set_up (&fixture, MOCK_STYLE_10, 0);
      mock_set_greeting (fixture.mock, odd[i]);
      fixture_open (&fixture);
      version = qsnap_session_dup_qemu_version (fixture.session);
      g_assert_cmpstr (version, ==, "0.0.0");
      fixture_clear (&fixture);
    }
}

typedef struct
{
  GSocketListener *listener;
} Slammer;

static gpointer
slam_door (gpointer user_data)
{
  g_autoptr (GSocketConnection) connection =
      g_socket_listener_accept (((Slammer *)user_data)->listener, NULL, NULL, NULL);

  g_assert_nonnull (connection);
  g_io_stream_close (G_IO_STREAM (connection), NULL, NULL);
  return NULL;
}

/* A peer that closes without a word. */
static void
test_closed_at_once (void)
{
  Fixture fixture;
  g_autoptr (GSocketListener) listener = g_socket_listener_new ();
  g_autoptr (GSocketAddress) address = NULL;
  g_autofree char *path = NULL;
  Slammer slammer = { listener };
  GThread *thread;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  path = fixture_path (&fixture, "slam.sock");
  address = g_unix_socket_address_new (path);
  g_assert_true (g_socket_listener_add_address (listener, address, G_SOCKET_TYPE_STREAM,
                                                G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL, NULL));
  thread = g_thread_new ("slammer", slam_door, &slammer);
  assert_not_opened (path, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, "without a QMP greeting");
  g_thread_join (thread);
  fixture_clear (&fixture);
}

static void
test_refused_negotiation (void)
{
  Fixture fixture;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  mock_step_error (mock_expect (fixture.mock, "qmp_capabilities"), "CommandNotFound",
                   "Capabilities negotiation is already complete, command ignored");
  mock_start (fixture.mock);
  fixture.session = qsnap_session_new (mock_get_address (fixture.mock));
  g_assert_false (qsnap_session_open (fixture.session, NULL, &error));
  g_assert_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_COMMAND_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "already complete, command ignored"));
  fixture_clear (&fixture);
}

/* A chardev serves one client: the second gets no greeting, until the first has gone. */
static void
test_second_client (void)
{
  Fixture fixture;
  g_autoptr (QsnapSession) second = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  second = qsnap_session_new (mock_get_address (fixture.mock));
  qsnap_session_set_timeout (second, 300);
  g_assert_false (qsnap_session_open (second, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
  g_clear_error (&error);

  g_clear_object (&fixture.session);
  qsnap_session_set_timeout (second, WAIT);
  qsnap_session_open (second, NULL, &error);
  g_assert_no_error (error);
  fixture_clear (&fixture);
}

/* --- cancelling, closing, opening again ---------------------------------------------------- */

static gpointer
cancel_soon (gpointer cancellable)
{
  g_usleep (50000);
  g_cancellable_cancel (cancellable);
  return NULL;
}

static void
test_cancelled_open (void)
{
  Fixture fixture;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  GThread *thread;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  mock_set_greeting (fixture.mock, NULL);
  mock_start (fixture.mock);
  fixture.session = qsnap_session_new (mock_get_address (fixture.mock));
  thread = g_thread_new ("cancel", cancel_soon, cancellable);
  g_assert_false (qsnap_session_open (fixture.session, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_thread_join (thread);

  g_clear_error (&error);
  g_assert_false (qsnap_session_open (fixture.session, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  fixture_clear (&fixture);
}

typedef struct
{
  gboolean done;
  GError *error;
} OpenResult;

static void
on_open (GObject *source, GAsyncResult *result, gpointer user_data)
{
  OpenResult *open = user_data;

  open->done = TRUE;
  qsnap_session_open_finish (QSNAP_SESSION (source), result, &open->error);
}

static void
test_async_open (void)
{
  Fixture fixture;
  OpenResult first = { FALSE, NULL }, second = { FALSE, NULL };
  g_autofree char *version = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_7_2, 0);
  mock_start (fixture.mock);
  fixture.session = qsnap_session_new (mock_get_address (fixture.mock));
  qsnap_session_open_async (fixture.session, NULL, on_open, &first);
  while (!first.done)
    g_main_context_iteration (NULL, TRUE);
  g_assert_no_error (first.error);
  version = qsnap_session_dup_qemu_version (fixture.session);
  g_assert_cmpstr (version, ==, "7.2.22");

  qsnap_session_open_async (fixture.session, NULL, on_open, &second);
  while (!second.done)
    g_main_context_iteration (NULL, TRUE);
  g_assert_error (second.error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_clear_error (&second.error);
  fixture_clear (&fixture);
}

static void
note_closed (QsnapSession *session, const GError *error, gpointer news)
{
  g_assert_false (qsnap_session_get_is_open (session));
  g_string_append_printf (news, " %s", error != NULL ? error->message : "NULL");
}

static void
test_close_and_reopen (void)
{
  Fixture fixture;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "closed", G_CALLBACK (note_closed), fixture.news);
  for (guint i = 1; i < 5; i++)
    {
      g_autoptr (JsonNode) reply = NULL;

      qsnap_session_close (fixture.session);
      qsnap_session_close (fixture.session);
      g_assert_false (qsnap_session_get_is_open (fixture.session));
      g_assert_null (
          qsnap_session_execute (fixture.session, "query-status", NULL, NULL, NULL, &error));
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED);
      g_clear_error (&error);
      fixture_drain_context ();
      g_assert_cmpstr (fixture.news->str, ==, " closed NULL");
      fixture_forget_news (&fixture);

      qsnap_session_open (fixture.session, NULL, &error);
      g_assert_no_error (error);
      reply = fixture_execute (&fixture, "query-status", NULL);
      g_assert_cmpuint (mock_get_n_connections (fixture.mock), ==, i + 1);
    }
  fixture_clear (&fixture);
}

static void
test_stream (void)
{
  MockQemu *mock = mock_new (MOCK_STYLE_10, MOCK_TRANSPORT_SOCKETPAIR);
  g_autoptr (GSocketConnection) connection = NULL;
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (GSocket) socket = NULL;
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) error = NULL;

  mock_start (mock);
  socket = g_socket_new_from_fd (mock_steal_client_fd (mock), &error);
  connection = g_socket_connection_factory_create_connection (socket);
  session = qsnap_session_new_for_stream (G_IO_STREAM (connection));
  g_assert_null (qsnap_session_get_address (session));
  qsnap_session_open (session, NULL, &error);
  g_assert_no_error (error);
  reply = qsnap_session_execute (session, "query-status", NULL, NULL, NULL, &error);
  g_assert_no_error (error);

  /* A stream that has ended cannot be had again. */
  qsnap_session_close (session);
  g_assert_false (qsnap_session_open (session, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED);
  g_clear_object (&session);
  fixture_drain_context ();
  mock_free (mock);
}

/* QEMU ends right after the negotiation: either open() fails, or `closed` comes. */
static void
test_gone_after_negotiation (void)
{
  guint n_opened = 0;

  for (guint i = 0; i < 200; i++)
    {
      Fixture fixture;
      g_autoptr (GError) error = NULL;
      gint64 patience;

      fixture_set_up (&fixture, MOCK_STYLE_10, 0);
      mock_disconnect_at (fixture.mock, "qmp_capabilities", 1, MOCK_DISCONNECT_REPLIED);
      mock_start (fixture.mock);
      fixture.session = qsnap_session_new (mock_get_address (fixture.mock));
      g_signal_connect (fixture.session, "closed", G_CALLBACK (note_closed), fixture.news);
      if (qsnap_session_open (fixture.session, NULL, &error))
        {
          n_opened++;
          patience = g_get_monotonic_time () + 5 * G_USEC_PER_SEC;
          while (fixture.news->len == 0 && g_get_monotonic_time () < patience)
            g_main_context_iteration (NULL, FALSE);
          g_assert_cmpstr (fixture.news->str, !=, "");
        }
      else
        g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED);
      fixture_clear (&fixture);
    }
  g_test_message ("opened %u times of 200", n_opened);
}

/* The error of open() is no end of a session that was open: `closed` does not come, not even a
 * moment later. */
static void
test_no_closed_without_open (void)
{
  for (guint i = 0; i < 100; i++)
    {
      Fixture fixture;

      fixture_set_up (&fixture, MOCK_STYLE_10, 0);
      mock_set_greeting (fixture.mock, "220 mail.example ESMTP\r\n");
      mock_start (fixture.mock);
      fixture.session = qsnap_session_new (mock_get_address (fixture.mock));
      g_signal_connect (fixture.session, "closed", G_CALLBACK (note_closed), fixture.news);
      g_assert_false (qsnap_session_open (fixture.session, NULL, NULL));
      g_usleep (2000);
      fixture_drain_context ();
      g_assert_cmpstr (fixture.news->str, ==, "");
      fixture_clear (&fixture);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/open/bad-addresses", test_bad_addresses);
  g_test_add_func ("/open/nobody-there", test_nobody_there);
  g_test_add_func ("/open/no-address", test_no_address);
  g_test_add_func ("/open/ways-to-write-it", test_ways_to_write_it);
  g_test_add_func ("/open/greetings", test_greetings);
  g_test_add_func ("/open/odd-greetings", test_odd_greetings);
  g_test_add_func ("/open/closed-at-once", test_closed_at_once);
  g_test_add_func ("/open/refused-negotiation", test_refused_negotiation);
  g_test_add_func ("/open/second-client", test_second_client);
  g_test_add_func ("/open/cancelled", test_cancelled_open);
  g_test_add_func ("/open/async", test_async_open);
  g_test_add_func ("/open/close-and-reopen", test_close_and_reopen);
  g_test_add_func ("/open/stream", test_stream);
  g_test_add_func ("/open/gone-after-negotiation", test_gone_after_negotiation);
  g_test_add_func ("/open/no-closed-without-open", test_no_closed_without_open);
  g_test_add_func ("/open/empty-host", test_empty_host);
  return g_test_run ();
}
