/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The saver, which a guest may have taken over, and the guest's agent mean harm. */

#include "footprint.h"
#include "modes-trouble.h"

#include <string.h>

#define MAX_GROWTH (32 * MIB)

static const Way instant = { "instant, overlay", QSNAP_SNAPSHOT_MODE_INSTANT,
                             QSNAP_DISK_MODE_OVERLAY, QSNAP_LEAVE_RUNNING, FALSE };

static void
judge (Trouble *trouble, const Footprint *footprint)
{
  g_test_message ("%s; %" G_GSIZE_FORMAT " KiB more", trouble_outcome (trouble),
                  footprint_assert_peak (footprint, MAX_GROWTH) / KIB);
  g_assert_nonnull (trouble->error);
  g_assert_cmpuint (strlen (trouble->error->message), <, 2000);
  trouble_judge (trouble);
  g_assert_null (strstr (trouble->fixture.news->str, "memory"));
}

/* --- the saver ----------------------------------------------------------------------------- */

/* It has saved nothing, whatever it says. */
static void
try_saver (MockStyle style, const char *deed)
{
  g_autofree char *before = g_strdup (g_getenv ("QSNAP_SAVER"));
  Footprint footprint;
  Trouble trouble;

  footprint_begin (&footprint);
  g_setenv ("QSNAP_SAVER", g_getenv ("QSNAP_TEST_SAVER"), TRUE);
  g_setenv ("QSNAP_HOSTILE_SAVER", deed, TRUE);
  trouble_set_up (&trouble, style, &instant);
  fixture_open (&trouble.fixture);
  trouble_run (&trouble);
  g_setenv ("QSNAP_SAVER", before, TRUE);
  judge (&trouble, &footprint);
  trouble_clear (&trouble);
  footprint_assert_fds (&footprint);
}

static void
test_saver (gconstpointer deed)
{
  try_saver (MOCK_STYLE_7_2, deed);
  try_saver (MOCK_STYLE_10, deed);
}

static void
count_up (G_GNUC_UNUSED QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer n)
{
  ++*(guint *)n;
}

/* Progress without end, and an application that does not iterate its main context. */
static void
test_unread_progress (void)
{
  g_autofree char *before = g_strdup (g_getenv ("QSNAP_SAVER"));
  Fixture fixture;
  FixtureResult result;
  guint n_told = 0;

  g_setenv ("QSNAP_SAVER", g_getenv ("QSNAP_TEST_SAVER"), TRUE);
  g_setenv ("QSNAP_HOSTILE_SAVER", "flood", TRUE);
  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  mock_hold_point (fixture.mock, MOCK_POINT_HALF);
  fixture_open (&fixture);
  fixture_drain_context ();
  g_signal_connect (fixture.session, "notify::bytes-done", G_CALLBACK (count_up), &n_told);
  fixture_start_capture (&fixture, "snapshot", NULL, &result);
  while (qsnap_session_get_bytes_done (fixture.session) < 5000)
    g_usleep (1000);
  g_setenv ("QSNAP_SAVER", before, TRUE);

  /* All that waits is dispatched in one go. */
  g_assert_cmpuint (n_told, ==, 0);
  g_main_context_iteration (NULL, FALSE);
  g_assert_cmpuint (n_told, ==, 1);
  mock_release_point (fixture.mock);
  fixture_wait_result (&result);
  g_assert_nonnull (result.error);
  fixture_result_clear (&result);
  fixture_clear (&fixture);
}

/* --- the agent ----------------------------------------------------------------------------- */

static void
test_agent (gconstpointer fault)
{
  const AgentFault faults[] = { *(const AgentFault *)fault,
                                { NULL, 0, AGENT_ANSWER_INSTEAD, NULL } };
  Footprint footprint;
  Trouble trouble;

  footprint_begin (&footprint);
  trouble_set_up (&trouble, MOCK_STYLE_10, &ways[6]);
  agent_peer_finish (&trouble.peer, NULL, "*");
  agent_peer_start (&trouble.peer, faults);
  fixture_open (&trouble.fixture);
  trouble_run (&trouble);
  g_assert_nonnull (strstr (trouble_outcome (&trouble), "freezing the guest's file systems: "));
  judge (&trouble, &footprint);
  trouble_clear (&trouble);
  footprint_assert_fds (&footprint);
}

/* Threads and main contexts that a process keeps from then on. */
static void
warm_up (void)
{
  Trouble trouble;

  trouble_set_up (&trouble, MOCK_STYLE_10, &instant);
  fixture_open (&trouble.fixture);
  trouble_run (&trouble);
  g_assert_no_error (trouble.error);
  trouble_clear (&trouble);
}

int
main (int argc, char **argv)
{
  static const char *const savers[] = { "flood", "garbage", "fail-twice", "saved-early", "no-end" };
  static const AgentFault agents[] = {
    { "freeze", 1, AGENT_FLOOD, NULL },
    { "status", 1, AGENT_FLOOD, NULL },
    { "status", 1, AGENT_ANSWER_INSTEAD, "{\"return\": [[[[[[[[[[[[[[[[[[[[[[\n" },
    { "freeze", 1, AGENT_HANG_UP, NULL },
  };

  g_test_init (&argc, &argv, NULL);
  warm_up ();
  for (guint i = 0; i < G_N_ELEMENTS (savers); i++)
    {
      g_autofree char *path = g_strdup_printf ("/peers-others/saver/%s", savers[i]);

      g_test_add_data_func (path, savers[i], test_saver);
    }
  g_test_add_func ("/peers-others/saver/unread", test_unread_progress);
  for (guint i = 0; i < G_N_ELEMENTS (agents); i++)
    {
      g_autofree char *path = g_strdup_printf ("/peers-others/agent/%u", i);

      g_test_add_data_func (path, &agents[i], test_agent);
    }

  return g_test_run ();
}
