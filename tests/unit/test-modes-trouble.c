/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Captures in all modes that are cancelled, or whose jobs, files and agents fail: the guest is as
 * it was, and nothing is left of them. */

#include "modes-trouble.h"

#include <errno.h>
#include <string.h>

/* --- cancelling ---------------------------------------------------------------------------- */

static void
cancel_at_command (G_GNUC_UNUSED MockQemu *mock,
                   G_GNUC_UNUSED JsonObject *arguments,
                   gpointer user_data)
{
  Trouble *trouble = user_data;

  if (++trouble->count == trouble->nth)
    g_cancellable_cancel (trouble->cancellable);
}

static void
judge_cancelled (Trouble *trouble)
{
  if (trouble->error != NULL)
    g_assert_error (trouble->error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  trouble_judge (trouble);
}

static void
try_cancel_at (MockStyle style, const Way *way, const char *command, guint nth)
{
  Trouble trouble;

  trouble_set_up (&trouble, style, way);
  trouble.nth = nth;
  mock_on_command (trouble.fixture.mock, command, cancel_at_command, &trouble);
  fixture_open (&trouble.fixture);
  trouble_run (&trouble);
  g_test_message ("%s: cancelled at %s #%u → %s", way->name, command, nth,
                  trouble_outcome (&trouble));
  judge_cancelled (&trouble);
  trouble_clear (&trouble);
}

static void
test_cancel_at_command (gconstpointer style)
{
  static const struct
  {
    const char *command;
    guint nth;
  } places[] = { { "blockdev-create", 1 },  { "stop", 1 },       { "transaction", 1 },
                 { "migrate", 1 },          { "cont", 1 },       { "query-jobs", 2 },
                 { "migrate-continue", 1 }, { "job-dismiss", 2 } };

  for (guint i = 0; i < N_WAYS; i++)
    for (guint j = (i + (GPOINTER_TO_INT (style) == MOCK_STYLE_10)) % 2; j < G_N_ELEMENTS (places);
         j += 2)
      try_cancel_at (GPOINTER_TO_INT (style), &ways[i], places[j].command, places[j].nth);
}

static void
cancel_in_phase (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer user_data)
{
  Trouble *trouble = user_data;

  if (qsnap_session_get_phase (session) == trouble->phase)
    g_cancellable_cancel (trouble->cancellable);
}

static void
try_cancel_in (MockStyle style, const Way *way, QsnapPhase phase)
{
  Trouble trouble;

  trouble_set_up (&trouble, style, way);
  trouble.phase = phase;
  fixture_open (&trouble.fixture);
  g_signal_connect (trouble.fixture.session, "notify::phase", G_CALLBACK (cancel_in_phase),
                    &trouble);
  trouble_run (&trouble);
  g_test_message ("%s: cancelled in phase %d → %s", way->name, phase, trouble_outcome (&trouble));
  judge_cancelled (&trouble);
  trouble_clear (&trouble);
}

static void
test_cancel_in_phase (gconstpointer style)
{
  static const QsnapPhase phases[] = { QSNAP_PHASE_PREPARING, QSNAP_PHASE_PAUSING };
  guint other = GPOINTER_TO_INT (style) == MOCK_STYLE_10;

  for (guint i = 0; i < N_WAYS; i++)
    try_cancel_in (GPOINTER_TO_INT (style), &ways[i], phases[(i + other) % 2]);
}

/* When all is saved, and QEMU is put back: a guest that was to stay paused goes on as well. */
static void
test_cancel_at_end (gconstpointer style)
{
  for (guint i = 0; i < N_WAYS; i++)
    {
      Trouble trouble;

      trouble_set_up (&trouble, GPOINTER_TO_INT (style), &ways[i]);
      trouble.nth = 2;
      mock_on_command (trouble.fixture.mock, "set-action", cancel_at_command, &trouble);
      fixture_open (&trouble.fixture);
      trouble_run (&trouble);
      g_test_message ("%s → %s", ways[i].name, trouble_outcome (&trouble));
      g_assert_error (trouble.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      trouble_judge (&trouble);
      trouble_clear (&trouble);
    }
}

/* Its owner pauses a guest that goes on already, and keeps it so. */
static void
pause_and_cancel (MockQemu *mock, JsonObject *arguments, gpointer user_data)
{
  Trouble *trouble = user_data;

  cancel_at_command (mock, arguments, user_data);
  if (trouble->count == trouble->nth)
    mock_stop_guest (mock);
}

static void
test_paused_meanwhile (gconstpointer style)
{
  for (guint i = 0; i < N_WAYS; i++)
    {
      Trouble trouble;
      g_autofree char *state = NULL;

      if (ways[i].leave == QSNAP_LEAVE_PAUSED)
        continue;
      trouble_set_up (&trouble, GPOINTER_TO_INT (style), &ways[i]);
      trouble.nth = 2;
      mock_on_command (trouble.fixture.mock, "set-action", pause_and_cancel, &trouble);
      fixture_open (&trouble.fixture);
      trouble_run (&trouble);
      g_assert_error (trouble.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      state = mock_dup_run_state (trouble.fixture.mock);
      if (!g_str_equal (state, "paused"))
        trouble_wrong (&trouble, "%s: it is %s after", ways[i].name, state);
      trouble_clear (&trouble);
    }
}

/* --- copies -------------------------------------------------------------------------------- */

static const Way *const copies[] = { &ways[0], &ways[4], &ways[7] };

/* In the middle: the target is full, say. */
static void
test_copy_fails (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (copies); i++)
    {
      Trouble trouble;

      trouble_set_up (&trouble, GPOINTER_TO_INT (style), copies[i]);
      mock_fail_job (trouble.fixture.mock, "backup", "No space left on device");
      fixture_open (&trouble.fixture);
      trouble_run (&trouble);
      g_assert_error (trouble.error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC);
      g_assert_nonnull (strstr (trouble.error->message, "copying drive virtio0: "));
      g_assert_nonnull (strstr (trouble.error->message, "No space left on device"));
      g_assert_null (strstr (trouble.fixture.news->str, "disks"));
      trouble_judge (&trouble);
      trouble_clear (&trouble);
    }
}

static gboolean
has_come_to_half (MockQemu *mock, G_GNUC_UNUSED gpointer user_data)
{
  return mock_count_command (mock, "query-jobs") > 3;
}

static gpointer
act_on_job (gpointer data)
{
  Trouble *trouble = data;

  g_assert_true (mock_wait (trouble->fixture.mock, has_come_to_half, NULL, WAIT));
  g_cancellable_cancel (trouble->cancellable);
  return NULL;
}

/* While it does not end. */
static void
test_copy_cancelled (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (copies); i++)
    {
      Trouble trouble;
      GThread *thread;

      trouble_set_up (&trouble, GPOINTER_TO_INT (style), copies[i]);
      mock_hold_backups (trouble.fixture.mock, NULL);
      fixture_open (&trouble.fixture);
      thread = g_thread_new ("cancel", act_on_job, &trouble);
      trouble_run (&trouble);
      g_thread_join (thread);
      g_assert_cmpuint (mock_count_command (trouble.fixture.mock, "job-cancel"), ==, 1);
      judge_cancelled (&trouble);
      g_assert_null (trouble.snapshot);
      trouble_clear (&trouble);
    }
}

/* By whom it may be. */
static void
test_copy_removed (void)
{
  Trouble trouble;

  trouble_set_up (&trouble, MOCK_STYLE_10, copies[0]);
  fixture_open (&trouble.fixture);
  mock_set_reply (trouble.fixture.mock, "query-jobs", "[]");
  trouble_run (&trouble);
  g_assert_nonnull (trouble.error);
  g_test_message ("%s", trouble_outcome (&trouble));
  trouble_clear (&trouble);
}

/* --- clones -------------------------------------------------------------------------------- */

static void
test_clone_fails (gconstpointer style)
{
  static const struct
  {
    int number;
    GQuark (*domain) (void);
    int code;
  } errors[] = { { EXDEV, qsnap_error_quark, QSNAP_ERROR_UNSUPPORTED },
                 { ENOSPC, g_io_error_quark, G_IO_ERROR_NO_SPACE },
                 { EIO, g_io_error_quark, G_IO_ERROR_FAILED } };
  static const Way *const clones[] = { &ways[5], &ways[8] };

  for (guint i = 0; i < G_N_ELEMENTS (clones); i++)
    for (guint j = 0; j < G_N_ELEMENTS (errors); j++)
      {
        Trouble trouble;

        trouble_set_up (&trouble, GPOINTER_TO_INT (style), clones[i]);
        /* The first is the trial of the check. */
        modes_clone_error = errors[j].number;
        modes_clone_error_from = 2;
        fixture_open (&trouble.fixture);
        trouble_run (&trouble);
        g_test_message ("%s", trouble_outcome (&trouble));
        g_assert_error (trouble.error, errors[j].domain (), errors[j].code);
        g_assert_nonnull (strstr (trouble.error->message, "snapshotting drive virtio0: "));
        trouble_judge (&trouble);
        trouble_clear (&trouble);
      }
}

/* --- targets ------------------------------------------------------------------------------- */

static void
try_bad_target (QsnapDiskMode mode, const char *json)
{
  Trouble trouble;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapDiskOptions) disk = qsnap_disk_options_new ("disk0", mode);
  g_autoptr (JsonNode) target = json_from_string (json, NULL);

  trouble_set_up (&trouble, MOCK_STYLE_10, &ways[8]);
  mock_set_lenient (trouble.fixture.mock, TRUE);
  fixture_open (&trouble.fixture);
  trouble.before = fixture_describe (&trouble.fixture);
  options =
      modes_options (&trouble.fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_EXCLUDE);
  qsnap_disk_options_set_target (disk, target);
  qsnap_snapshot_options_add_disk (options, disk);
  trouble.snapshot = modes_capture (&trouble.fixture, options, &trouble.error);
  g_assert_error (trouble.error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC);
  g_assert_nonnull (strstr (trouble.error->message, "preparing a"));
  g_assert_cmpuint (mock_count_command (trouble.fixture.mock, "stop"), ==, 0);
  trouble_assert_undone (&trouble);
  trouble_clear (&trouble);
}

static void
test_bad_target (void)
{
  static const char *const targets[] = { "{\"driver\":\"file\",\"filename\":\"/nowhere/x\"}",
                                         "{\"driver\":\"no-such-driver\"}" };

  for (guint i = 0; i < G_N_ELEMENTS (targets); i++)
    {
      try_bad_target (QSNAP_DISK_MODE_COPY, targets[i]);
      try_bad_target (QSNAP_DISK_MODE_OVERLAY, targets[i]);
    }
}

/* --- the agent ----------------------------------------------------------------------------- */

static void
try_agent (const AgentFault *faults, const char *reason)
{
  Trouble trouble;

  trouble_set_up (&trouble, MOCK_STYLE_10, &ways[6]);
  agent_peer_finish (&trouble.peer, NULL, "*");
  agent_peer_start (&trouble.peer, faults);
  fixture_open (&trouble.fixture);
  trouble_run (&trouble);
  g_test_message ("%s", trouble_outcome (&trouble));
  g_assert_nonnull (trouble.error);
  g_assert_nonnull (strstr (trouble.error->message, "freezing the guest's file systems: "));
  g_assert_nonnull (strstr (trouble.error->message, reason));
  g_assert_cmpuint (mock_count_command (trouble.fixture.mock, "stop"), ==, 0);
  trouble_judge (&trouble);
  trouble_clear (&trouble);
}

static void
test_agent (void)
{
  static const AgentFault refuses[] = {
    { "freeze", 0, AGENT_ANSWER_INSTEAD,
      "{\"error\": {\"class\": \"GenericError\", \"desc\": \"" INJECTED "\"}}\n" },
    { NULL, 0, AGENT_ANSWER_INSTEAD, NULL },
  };
  static const AgentFault hangs_up[] = {
    { "freeze", 1, AGENT_HANG_UP, NULL },
    { NULL, 0, AGENT_ANSWER_INSTEAD, NULL },
  };

  try_agent (refuses, INJECTED);
  try_agent (hangs_up, "");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/modes-trouble/cancel-at-command", test_cancel_at_command);
  fixture_add ("/modes-trouble/cancel-in-phase", test_cancel_in_phase);
  fixture_add ("/modes-trouble/cancel-at-end", test_cancel_at_end);
  fixture_add ("/modes-trouble/paused-meanwhile", test_paused_meanwhile);
  fixture_add ("/modes-trouble/copy-fails", test_copy_fails);
  fixture_add ("/modes-trouble/copy-cancelled", test_copy_cancelled);
  g_test_add_func ("/modes-trouble/copy-removed", test_copy_removed);
  fixture_add ("/modes-trouble/clone-fails", test_clone_fails);
  g_test_add_func ("/modes-trouble/bad-target", test_bad_target);
  g_test_add_func ("/modes-trouble/agent", test_agent);
  return g_test_run ();
}
