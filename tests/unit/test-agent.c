/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client of the guest agent, and what the agent has seen of it. */

#include "config.h"

#include <string.h>

#include "agent-peer.h"
#include "qsnap-agent.h"
#include "qsnap/qsnap-error.h"

#define WAIT 60000

/* --- what the client makes of it ----------------------------------------------------------- */

#define CONNECTED "connect ff sync status "
#define FROZEN CONNECTED "freeze "
#define THAWED_ANEW "connect ff sync thaw end"

static QsnapAgent *
make_agent (AgentPeer *peer)
{
  QsnapAgent *agent = qsnap_agent_new (peer->path);

  qsnap_agent_set_timeouts (agent, WAIT, WAIT, WAIT);

  return agent;
}

static void
freeze_well (QsnapAgent *agent)
{
  g_autoptr (GError) error = NULL;
  guint n_frozen = 0;
  gboolean frozen = qsnap_agent_freeze (agent, &n_frozen, NULL, &error);

  g_assert_no_error (error);
  g_assert_true (frozen);
  g_assert_cmpuint (n_frozen, ==, N_FILE_SYSTEMS);
}

static void
thaw_well (QsnapAgent *agent)
{
  g_autoptr (GError) error = NULL;
  gboolean thawed = qsnap_agent_thaw (agent, &error);

  g_assert_no_error (error);
  g_assert_true (thawed);
}

static void
assert_says (const GError *error, GQuark domain, int code, const char *text)
{
  g_test_message ("%.300s", error != NULL ? error->message : "no error");
  g_assert_error (error, domain, code);
  if (strstr (error->message, text) == NULL)
    g_error ("\"%s\" is not in: %s", text, error->message);
  g_assert_true (g_utf8_validate (error->message, -1, NULL));
  for (const char *p = error->message; *p != '\0'; p++)
    g_assert_false (g_ascii_iscntrl (*p));
}

static void
assert_freeze_fails (AgentPeer *peer, QsnapAgent *agent, GQuark domain, int code, const char *text)
{
  g_autoptr (GError) error = NULL;
  guint n_frozen = 0;

  g_assert_false (qsnap_agent_freeze (agent, &n_frozen, peer->cancellable, &error));
  assert_says (error, domain, code, text);
  assert_says (error, domain, code, peer->path);
}

static void
assert_thaw_fails (QsnapAgent *agent, GQuark domain, int code, const char *text)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_agent_thaw (agent, &error));
  assert_says (error, domain, code, text);
  assert_says (error, domain, code, "may be frozen");
}

static void
test_good (void)
{
  AgentPeer peer;
  QsnapAgent *agent;
  g_autofree char *address = NULL;

  agent_peer_start (&peer, NULL);
  address = g_strconcat ("unix:", peer.path, NULL);
  agent = qsnap_agent_new (address);
  freeze_well (agent);
  thaw_well (agent);
  /* Nothing is left to thaw. */
  thaw_well (agent);
  freeze_well (agent);
  thaw_well (agent);
  agent_peer_finish (&peer, agent, FROZEN "thaw end " FROZEN "thaw end");
}

/* Each is followed by the answers that it should give. */
static void
test_well_in_spite (gconstpointer data)
{
  const AgentFault faults[] = { *(const AgentFault *)data, { NULL } };
  AgentPeer peer;
  QsnapAgent *agent;

  agent_peer_start (&peer, faults);
  agent = make_agent (&peer);
  freeze_well (agent);
  thaw_well (agent);
  agent_peer_finish (&peer, agent, FROZEN "thaw end");
}

static void
test_long_stale_answer (void)
{
  g_autofree char *filler = g_strnfill (3 * 1024 * 1024, 'A');
  g_autofree char *stale = g_strdup_printf ("{\"return\": \"%s\"}\n\xff{\"return\": 7}\n"
                                            "{\"return\": \"%s\"}\n",
                                            filler, filler);
  AgentFault fault = { "sync", 1, AGENT_ANSWER_BEFORE, stale };

  test_well_in_spite (&fault);
}

static void
test_frozen_already (void)
{
  static const AgentFault faults[] = {
    { "status", 0, AGENT_ANSWER_INSTEAD, "{\"return\": \"frozen\"}\n" },
    { NULL },
  };
  AgentPeer peer;
  QsnapAgent *agent;

  agent_peer_start (&peer, faults);
  agent = make_agent (&peer);
  assert_freeze_fails (&peer, agent, QSNAP_ERROR, QSNAP_ERROR_BUSY, "frozen already");
  /* It is for those to thaw who froze. */
  thaw_well (agent);
  agent_peer_finish (&peer, agent, CONNECTED "end");
}

/* --- before the freeze --------------------------------------------------------------------- */

typedef struct
{
  AgentFault fault;
  QsnapError code;
  const char *text;
  const char *log;
} FailureCase;

static const FailureCase early[] = {
  { { "status", 1, AGENT_HANG_UP, NULL }, 0, "guest-fsfreeze-status", CONNECTED "hangup" },
  { { "sync", 1, AGENT_HANG_UP, NULL }, 0, "guest-sync-delimited", "connect ff sync hangup" },
  { { "status", 1, AGENT_ANSWER_INSTEAD, "ok\n" },
    QSNAP_ERROR_PROTOCOL,
    "guest-fsfreeze-status",
    CONNECTED "end" },
  { { "status", 1, AGENT_ANSWER_INSTEAD, "{\"return\": 1}\n" },
    QSNAP_ERROR_PROTOCOL,
    "neither frozen nor thawed",
    CONNECTED "end" },
  { { "status", 1, AGENT_ANSWER_INSTEAD, "{\"event\": \"STOP\"}\n" },
    QSNAP_ERROR_PROTOCOL,
    "neither a result nor an error",
    CONNECTED "end" },
};

static void
assert_early_failure (const FailureCase *one, guint answer_ms)
{
  const AgentFault faults[] = { one->fault, { NULL } };
  gboolean closed = one->fault.deed == AGENT_HANG_UP;
  AgentPeer peer;
  QsnapAgent *agent;

  agent_peer_start (&peer, faults);
  agent = make_agent (&peer);
  qsnap_agent_set_timeouts (agent, WAIT, answer_ms, WAIT);
  assert_freeze_fails (&peer, agent, closed ? G_IO_ERROR : QSNAP_ERROR,
                       closed ? G_IO_ERROR_CONNECTION_CLOSED : (int)one->code, one->text);
  /* Nothing was frozen, so the agent is not asked again. */
  thaw_well (agent);
  agent_peer_finish (&peer, agent, one->log);
}

static void
test_early (gconstpointer data)
{
  assert_early_failure (data, WAIT);
}

/* Whether nothing comes, a little or a lot. */
static void
test_early_timeout (gconstpointer data)
{
  const FailureCase one = { *(const AgentFault *)data, QSNAP_ERROR_TIMED_OUT,
                            "does it run in the guest", "connect ff sync end" };

  assert_early_failure (&one, 200);
}

/* One that sends without a pause never lets the client wait, and its time is over all the same. */
static void
test_no_time_left (void)
{
  const FailureCase one = { { "sync", 1, AGENT_FLOOD, NULL },
                            QSNAP_ERROR_TIMED_OUT,
                            "guest-sync-delimited in 0.0",
                            "connect end" };

  assert_early_failure (&one, 0);
}

static void
test_nobody_there (void)
{
  g_autoptr (QsnapAgent) agent = qsnap_agent_new ("/nonexistent/agent.sock");
  AgentPeer peer = { .path = (char *)"/nonexistent/agent.sock" };

  assert_freeze_fails (&peer, agent, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "the guest agent");
  thaw_well (agent);
}

static void
test_bad_address (void)
{
  g_autoptr (QsnapAgent) agent = qsnap_agent_new ("unix:");
  AgentPeer peer = { .path = (char *)"unix:" };

  assert_freeze_fails (&peer, agent, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "no path");
}

static void
test_cancelled_before (void)
{
  AgentPeer peer;
  QsnapAgent *agent;
  g_autoptr (GError) error = NULL;
  guint n_frozen = 0;

  agent_peer_start (&peer, NULL);
  agent = make_agent (&peer);
  g_cancellable_cancel (peer.cancellable);
  g_assert_false (qsnap_agent_freeze (agent, &n_frozen, peer.cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  agent_peer_finish (&peer, agent, "");
}

/* --- from the freeze on -------------------------------------------------------------------- */

/* The file systems are frozen when it fails, and have to be thawed. */
static void
assert_freeze_undone (const AgentFault *fault,
                      guint freeze_ms,
                      GQuark domain,
                      int code,
                      const char *text,
                      const char *log)
{
  const AgentFault faults[] = { *fault, { NULL } };
  AgentPeer peer;
  QsnapAgent *agent;

  agent_peer_start (&peer, faults);
  agent = make_agent (&peer);
  qsnap_agent_set_timeouts (agent, freeze_ms, WAIT, WAIT);
  assert_freeze_fails (&peer, agent, domain, code, text);
  /* As a caller would that undoes what it may have done. */
  thaw_well (agent);
  agent_peer_finish (&peer, agent, log);
}

static void
test_freeze_error (void)
{
  static const AgentFault fault = {
    "freeze", 1, AGENT_ANSWER_INSTEAD,
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"failed to open /mnt: \\u001b[2J!\"}}\n"
  };

  assert_freeze_undone (&fault, WAIT, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC,
                        "guest-fsfreeze-freeze with GenericError: failed to open /mnt: ?[2J!",
                        FROZEN "thaw end");
}

static void
test_freeze_unknown (void)
{
  static const AgentFault fault = {
    "freeze", 1, AGENT_ANSWER_INSTEAD,
    "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}\n"
  };

  assert_freeze_undone (&fault, WAIT, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_COMMAND_NOT_FOUND,
                        "CommandNotFound: no", FROZEN "thaw end");
}

static void
test_freeze_strange (gconstpointer text)
{
  const AgentFault fault = { "freeze", 1, AGENT_ANSWER_INSTEAD, text };

  assert_freeze_undone (&fault, WAIT, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, "guest-fsfreeze-freeze",
                        FROZEN "*thaw end");
}

static void
test_freeze_endless_line (void)
{
  static const AgentFault fault = { "freeze", 1, AGENT_FLOOD, NULL };

  assert_freeze_undone (&fault, WAIT, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, "a line without an end",
                        FROZEN "end " THAWED_ANEW);
}

static void
test_freeze_hangup (void)
{
  static const AgentFault fault = { "freeze", 1, AGENT_HANG_UP, NULL };

  assert_freeze_undone (&fault, WAIT, G_IO_ERROR, G_IO_ERROR_CONNECTION_CLOSED,
                        "guest-fsfreeze-freeze", FROZEN "hangup " THAWED_ANEW);
}

static void
test_freeze_timeout (gconstpointer data)
{
  assert_freeze_undone (data, 200, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "guest-fsfreeze-freeze",
                        FROZEN "end " THAWED_ANEW);
}

static void
test_freeze_cancelled (void)
{
  static const AgentFault fault = { "freeze", 1, AGENT_CANCEL, NULL };

  assert_freeze_undone (&fault, WAIT, G_IO_ERROR, G_IO_ERROR_CANCELLED, "guest-fsfreeze-freeze",
                        FROZEN "end " THAWED_ANEW);
}

static void
test_freeze_and_thaw_fail (void)
{
  static const AgentFault faults[] = {
    { "freeze", 1, AGENT_HANG_UP, NULL },
    { "sync", 2, AGENT_HANG_UP, NULL },
    { NULL },
  };
  AgentPeer peer;
  QsnapAgent *agent;

  agent_peer_start (&peer, faults);
  agent = make_agent (&peer);
  qsnap_agent_set_timeouts (agent, WAIT, WAIT, 0);
  assert_freeze_fails (&peer, agent, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED, "may be frozen");
  /* It is not forgotten, and not taken for somebody else's. */
  assert_freeze_fails (&peer, agent, QSNAP_ERROR, QSNAP_ERROR_BUSY, "frozen already");
  thaw_well (agent);
  agent_peer_finish (&peer, agent,
                     FROZEN "hangup connect ff sync hangup " CONNECTED "end " THAWED_ANEW);
}

/* --- the thaw ------------------------------------------------------------------------------ */

static void
assert_thaws (const AgentFault *fault, const char *log)
{
  const AgentFault faults[] = { *fault, { NULL } };
  AgentPeer peer;
  QsnapAgent *agent;

  agent_peer_start (&peer, faults);
  agent = make_agent (&peer);
  freeze_well (agent);
  thaw_well (agent);
  agent_peer_finish (&peer, agent, log);
}

static void
test_thaw_late (void)
{
  static const AgentFault fault = { "thaw", 1, AGENT_GO_AWAY, NULL };

  assert_thaws (&fault, FROZEN "thaw hangup " THAWED_ANEW);
}

static void
test_thaw_garbage (void)
{
  static const AgentFault fault = { "thaw", 1, AGENT_ANSWER_INSTEAD, "\x01\x02\n" };

  assert_thaws (&fault, FROZEN "thaw end " THAWED_ANEW);
}

static void
test_thaw_not_frozen (void)
{
  static const AgentFault fault = {
    "thaw", 1, AGENT_ANSWER_INSTEAD,
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"what?\"}}\n"
  };

  assert_thaws (&fault, FROZEN "thaw status end");
}

/* By who comes after a process that died. */
static void
test_thaw_alone (void)
{
  AgentPeer peer;
  QsnapAgent *dead, *agent;

  agent_peer_start (&peer, NULL);
  dead = make_agent (&peer);
  freeze_well (dead);
  qsnap_agent_free (dead);
  agent = make_agent (&peer);
  thaw_well (agent);
  agent_peer_finish (&peer, agent, FROZEN "end " THAWED_ANEW);
}

static void
assert_thaw_in_vain (const AgentFault *faults,
                     guint answer_ms,
                     GQuark domain,
                     int code,
                     const char *text,
                     const char *log)
{
  AgentPeer peer;
  QsnapAgent *agent;

  agent_peer_start (&peer, faults);
  agent = make_agent (&peer);
  qsnap_agent_set_timeouts (agent, WAIT, answer_ms, 0);
  assert_thaw_fails (agent, domain, code, text);
  agent_peer_finish (&peer, agent, log);
}

static void
test_thaw_error (void)
{
  static const AgentFault faults[] = {
    { "thaw", 0, AGENT_ANSWER_INSTEAD,
      "{\"error\": {\"class\": \"GenericError\", \"desc\": \"device is on fire\"}}\n" },
    { "status", 0, AGENT_ANSWER_INSTEAD, "{\"return\": \"frozen\"}\n" },
    { NULL },
  };

  assert_thaw_in_vain (faults, WAIT, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC, "device is on fire",
                       "connect ff sync thaw status end");
}

static void
test_thaw_timeout (void)
{
  static const AgentFault faults[] = { { "sync", 0, AGENT_BE_SILENT, NULL }, { NULL } };

  assert_thaw_in_vain (faults, 100, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "did not answer",
                       "connect ff sync end");
}

/* --- the list ------------------------------------------------------------------------------ */

static void
add_good_tests (void)
{
  static const AgentFault stale_text = { "sync", 1, AGENT_ANSWER_BEFORE,
                                         "{\"return\": {\"half\": 1, \n{\"return\": {}}\n" };
  static const AgentFault stale_sync = {
    "sync", 1, AGENT_ANSWER_BEFORE, "\xff{\"return\": 1}\n{\"return\": 3}\n\xff{\"ret\xff\n\xff"
  };
  static const AgentFault pieces_sync = { "sync", 1, AGENT_ANSWER_IN_PIECES, NULL };
  static const AgentFault pieces_freeze = { "freeze", 1, AGENT_ANSWER_IN_PIECES, NULL };

  g_test_add_func ("/agent/good", test_good);
  g_test_add_data_func ("/agent/stale/text", &stale_text, test_well_in_spite);
  g_test_add_data_func ("/agent/stale/sync", &stale_sync, test_well_in_spite);
  g_test_add_func ("/agent/stale/long", test_long_stale_answer);
  g_test_add_data_func ("/agent/pieces/sync", &pieces_sync, test_well_in_spite);
  g_test_add_data_func ("/agent/pieces/freeze", &pieces_freeze, test_well_in_spite);
}

static void
add_early_tests (void)
{
  static const AgentFault silent = { "sync", 1, AGENT_BE_SILENT, NULL };
  static const AgentFault trickle = { "sync", 1, AGENT_TRICKLE, NULL };
  static const AgentFault flood = { "sync", 1, AGENT_FLOOD, NULL };

  g_test_add_func ("/agent/frozen-already", test_frozen_already);
  for (gsize i = 0; i < G_N_ELEMENTS (early); i++)
    {
      g_autofree char *path = g_strdup_printf ("/agent/early/%zu", i);

      g_test_add_data_func (path, &early[i], test_early);
    }
  g_test_add_data_func ("/agent/early/silent", &silent, test_early_timeout);
  g_test_add_data_func ("/agent/early/trickle", &trickle, test_early_timeout);
  g_test_add_data_func ("/agent/early/flood", &flood, test_early_timeout);
  g_test_add_func ("/agent/early/no-time-left", test_no_time_left);
  g_test_add_func ("/agent/early/nobody-there", test_nobody_there);
  g_test_add_func ("/agent/early/bad-address", test_bad_address);
  g_test_add_func ("/agent/early/cancelled", test_cancelled_before);
}

static void
add_freeze_tests (void)
{
  static const AgentFault silent = { "freeze", 1, AGENT_BE_SILENT, NULL };
  static const AgentFault trickle = { "freeze", 1, AGENT_TRICKLE, NULL };

  g_test_add_func ("/agent/freeze/error", test_freeze_error);
  g_test_add_func ("/agent/freeze/unknown", test_freeze_unknown);
  g_test_add_data_func ("/agent/freeze/garbage", "\x01{]\n", test_freeze_strange);
  g_test_add_data_func ("/agent/freeze/escape", "{\"return\": \x1b[2J}\n", test_freeze_strange);
  g_test_add_data_func ("/agent/freeze/word", "{\"return\": x\xc3\x28}\n", test_freeze_strange);
  g_test_add_data_func ("/agent/freeze/surrogate", "{\"error\": {\"desc\": \"\\ud800\"}}\n",
                        test_freeze_strange);
  g_test_add_data_func ("/agent/freeze/array", "[1]\n", test_freeze_strange);
  g_test_add_data_func ("/agent/freeze/text", "{\"return\": \"2\"}\n", test_freeze_strange);
  g_test_add_data_func ("/agent/freeze/negative", "{\"return\": -1}\n", test_freeze_strange);
  g_test_add_func ("/agent/freeze/endless-line", test_freeze_endless_line);
  g_test_add_func ("/agent/freeze/hangup", test_freeze_hangup);
  g_test_add_data_func ("/agent/freeze/silent", &silent, test_freeze_timeout);
  g_test_add_data_func ("/agent/freeze/trickle", &trickle, test_freeze_timeout);
  g_test_add_func ("/agent/freeze/cancelled", test_freeze_cancelled);
  g_test_add_func ("/agent/freeze/and-thaw-fail", test_freeze_and_thaw_fail);
}

static void
add_thaw_tests (void)
{
  g_test_add_func ("/agent/thaw/late", test_thaw_late);
  g_test_add_func ("/agent/thaw/garbage", test_thaw_garbage);
  g_test_add_func ("/agent/thaw/not-frozen", test_thaw_not_frozen);
  g_test_add_func ("/agent/thaw/alone", test_thaw_alone);
  g_test_add_func ("/agent/thaw/error", test_thaw_error);
  g_test_add_func ("/agent/thaw/timeout", test_thaw_timeout);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_good_tests ();
  add_early_tests ();
  add_freeze_tests ();
  add_thaw_tests ();

  return g_test_run ();
}
