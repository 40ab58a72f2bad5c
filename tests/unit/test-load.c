/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Much at once, and for long: sixteen captures of one application, and what a guest says in eight
 * hours. */

#include "fixture.h"
#include "footprint.h"

#include <unistd.h>

/* --- sixteen guests ------------------------------------------------------------------------ */

#define N_GUESTS 16
/* Each has a saver, whose memory is its own. */
#define MAX_GROWTH_OF_CAPTURES (64 * MIB)

static void
assert_captured (Fixture *fixture, FixtureResult *result)
{
  g_autoptr (GError) error = NULL;

  g_assert_no_error (result->error);
  g_assert_true (qsnap_snapshot_get_sealed (result->snapshot));
  g_assert_true (qsnap_snapshot_verify (result->snapshot, NULL, &error));
  g_assert_no_error (error);
  g_assert_cmpstr (fixture->news->str, ==, " point memory");
  g_assert_false (mock_is_torn (fixture->mock));
  g_assert_false (mock_is_hung (fixture->mock));
  fixture_assert_phases (fixture);
  fixture_assert_graph_whole (fixture);
  fixture_assert_no_complaints (fixture);
}

static void
capture_all (guint n)
{
  Fixture fixtures[N_GUESTS];
  FixtureResult results[N_GUESTS];

  for (guint i = 0; i < n; i++)
    {
      fixture_set_up (&fixtures[i], i % 2 == 0 ? MOCK_STYLE_7_2 : MOCK_STYLE_10, 2);
      fixture_open (&fixtures[i]);
    }
  /* All have begun before the first can say so. */
  for (guint i = 0; i < n; i++)
    fixture_start_capture (&fixtures[i], "snapshot", NULL, &results[i]);
  for (guint i = 0; i < n; i++)
    fixture_wait_result (&results[i]);
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *state = mock_dup_run_state (fixtures[i].mock);

      assert_captured (&fixtures[i], &results[i]);
      g_assert_cmpstr (state, ==, "running");
    }
  for (guint i = 0; i < n; i++)
    {
      fixture_result_clear (&results[i]);
      fixture_clear (&fixtures[i]);
    }
}

static void
test_sixteen_guests (void)
{
  Footprint footprint;

  /* Threads and main contexts that a process keeps from then on. */
  capture_all (1);
  footprint_begin (&footprint);
  capture_all (N_GUESTS);
  g_test_message ("%" G_GSIZE_FORMAT " KiB more",
                  footprint_assert_peak (&footprint, MAX_GROWTH_OF_CAPTURES) / KIB);
  footprint_assert_fds (&footprint);
}

/* --- eight hours --------------------------------------------------------------------------- */

/* A guest can do these as often as it likes; QEMU passes on one a second of each of the first five,
 * and each error of a disk, of which a guest that tries again and again makes ten. */
static const char *const second[] = {
  "RTC_CHANGE\", \"data\": {\"offset\": 78, \"qom-path\": \"/machine/unattached/device[5]\"}",
  "BALLOON_CHANGE\", \"data\": {\"actual\": 944766976}",
  "VSERPORT_CHANGE\", \"data\": {\"id\": \"channel0\", \"open\": true}",
  "WATCHDOG\", \"data\": {\"action\": \"none\"}",
  ("MEMORY_DEVICE_SIZE_CHANGE\", \"data\": {\"id\": \"vm0\", \"size\": 1073741824, "
   "\"qom-path\": \"/machine/unattached/device[2]\"}"),
};
static const char io_error[] =
    "BLOCK_IO_ERROR\", \"data\": {\"qom-path\": \"/machine/unattached/device[0]\", "
    "\"device\": \"ide0-hd1\", \"node-name\": \"#block212\", \"operation\": \"write\", "
    "\"action\": \"ignore\", \"nospace\": false, \"reason\": \"Input/output error\"}";
#define N_IO_ERRORS 10
#define N_EVENTS (G_N_ELEMENTS (second) + N_IO_ERRORS)

/* What an application that is blocked may find waiting for it, with its sources. */
#define MAX_GROWTH_OF_EVENTS (32 * MIB)

typedef enum
{
  NO_HANDLER,
  HANDLED,
  BLOCKED /* there is a handler, but the main context is not iterated */
} Listener;

static void
append_event (GString *text, const char *event, guint time)
{
  g_string_append_printf (
      text, "{\"timestamp\": {\"seconds\": %u, \"microseconds\": 1}, \"event\": \"%s}\r\n",
      1700000000 + time, event);
}

static void
say_second (Fixture *fixture, guint time)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (second); i++)
    append_event (text, second[i], time);
  for (guint i = 0; i < N_IO_ERRORS; i++)
    append_event (text, io_error, time);
  mock_send_raw (fixture->mock, text->str, (gssize)text->len);
}

static void
count_event (G_GNUC_UNUSED QsnapSession *session,
             G_GNUC_UNUSED const char *name,
             JsonNode *data,
             gint64 time,
             gpointer n_seen)
{
  /* None is missing, and none comes twice. */
  g_assert_cmpint (time / G_USEC_PER_SEC - 1700000000, ==, *(guint *)n_seen / N_EVENTS);
  g_assert_true (JSON_NODE_HOLDS_OBJECT (data));
  ++*(guint *)n_seen;
}

static void
test_events (gconstpointer data)
{
  Listener listener = (Listener)GPOINTER_TO_INT (data);
  /* A quarter of an hour, or all of it. */
  guint seconds = g_test_slow () ? 8 * 3600 : 15 * 60;
  Fixture fixture;
  Footprint footprint;
  guint n_seen = 0;
  guint64 lost;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  fixture_drain_context ();
  if (listener != NO_HANDLER)
    g_signal_connect (fixture.session, "event", G_CALLBACK (count_event), &n_seen);
  footprint_begin (&footprint);
  for (guint i = 0; i < seconds; i++)
    {
      say_second (&fixture, i);
      /* The answer comes after the events. */
      if (i % 60 == 59 || i + 1 == seconds)
        {
          alarm (240);
          json_node_unref (fixture_execute (&fixture, "query-status", NULL));
        }
      if (listener != BLOCKED)
        fixture_drain_context ();
    }
  fixture_drain_context ();

  lost = qsnap_session_get_events_lost (fixture.session);
  g_test_message ("%u seconds, %zu events: %u seen, %" G_GUINT64_FORMAT " lost, %" G_GSIZE_FORMAT
                  " KiB more",
                  seconds, seconds * N_EVENTS, n_seen, lost,
                  footprint_assert_peak (&footprint, MAX_GROWTH_OF_EVENTS) / KIB);
  g_assert_cmpuint (n_seen + lost, ==, listener == NO_HANDLER ? 0 : seconds * N_EVENTS);
  g_assert_cmpint (lost > 0, ==, listener == BLOCKED);
  footprint_assert_fds (&footprint);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/load/sixteen-guests", test_sixteen_guests);
  g_test_add_data_func ("/load/events/no-handler", GINT_TO_POINTER (NO_HANDLER), test_events);
  g_test_add_data_func ("/load/events/handled", GINT_TO_POINTER (HANDLED), test_events);
  g_test_add_data_func ("/load/events/blocked", GINT_TO_POINTER (BLOCKED), test_events);
  return g_test_run ();
}
