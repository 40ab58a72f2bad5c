/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fault at every command of a capture: it fails with a clear error, and the guest is as it was.
 */

#include "fixture.h"

#include <string.h>

typedef enum
{
  FAULT_ERROR,
  FAULT_NO_REPLY,
  FAULT_GONE_BEFORE,
  FAULT_GONE_AFTER,
  N_FAULTS
} FaultKind;

static const char *const fault_names[N_FAULTS] = { "error", "no reply", "gone before",
                                                   "gone after" };

#define INJECTED "injected by the test"

/* What can do without an answer; the first qom-get is for the machine's type. */
static const char *const optional_commands[] = { "query-name",      "query-uuid",
                                                 "query-cpus-fast", "query-memory-size-summary",
                                                 "query-memdev",    NULL };

/* These look for what would make the snapshot a bad one. A QEMU that says no may be captured, but
 * not one whose answer is missing. */
static const char *const searching_commands[] = { "qom-list", "human-monitor-command",
                                                  "query-block-exports", "qom-get", NULL };

typedef struct
{
  char *command;
  guint nth;
  /* It puts something back after the memory was saved. */
  gboolean settles;
} Target;

/* --- the list of commands ------------------------------------------------------------------ */

static void
target_free (gpointer data)
{
  Target *target = data;

  g_free (target->command);
  g_free (target);
}

static GPtrArray *
targets_of_transcript (const char *const *lines)
{
  GPtrArray *targets = g_ptr_array_new_with_free_func (target_free);
  g_autoptr (GHashTable) counts = g_hash_table_new (g_str_hash, g_str_equal);
  gboolean settles = FALSE;

  for (; *lines != NULL; lines++)
    {
      Target *target = g_new0 (Target, 1);
      guint n;

      target->command = g_strndup (*lines, strcspn (*lines, " "));
      n = GPOINTER_TO_UINT (g_hash_table_lookup (counts, target->command)) + 1;
      target->nth = n;
      g_ptr_array_add (targets, target);
      g_hash_table_insert (counts, target->command, GUINT_TO_POINTER (n));
      settles = settles || (g_str_equal (target->command, "migrate-set-capabilities") &&
                            g_hash_table_contains (counts, "migrate"));
      target->settles = settles;
    }

  /* The negotiation is no part of the capture. */
  g_ptr_array_remove_index (targets, 0);
  return targets;
}

/* Also answers how long the capture took, to choose timeouts by. */
static GPtrArray *
list_targets (MockStyle style, guint *milliseconds)
{
  g_auto (GStrv) lines = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  gint64 begin;
  Fixture fixture;
  GPtrArray *targets;

  fixture_set_up (&fixture, style, 1);
  fixture_open (&fixture);
  begin = g_get_monotonic_time ();
  snapshot = fixture_capture_well (&fixture, "snapshot");
  *milliseconds = (guint)((g_get_monotonic_time () - begin) / 1000);
  lines = mock_dup_transcript (fixture.mock);
  targets = targets_of_transcript ((const char *const *)lines);
  fixture_clear (&fixture);
  return targets;
}

/* --- one capture --------------------------------------------------------------------------- */

static void
inject (Fixture *fixture, const Target *target, FaultKind fault)
{
  switch (fault)
    {
    case FAULT_ERROR:
      mock_fail_command (fixture->mock, target->command, target->nth, "GenericError", INJECTED);
      break;
    case FAULT_NO_REPLY:
      mock_drop_reply (fixture->mock, target->command, target->nth);
      break;
    case FAULT_GONE_BEFORE:
      mock_disconnect_at (fixture->mock, target->command, target->nth, MOCK_DISCONNECT_BEFORE);
      break;
    case FAULT_GONE_AFTER:
      mock_disconnect_at (fixture->mock, target->command, target->nth, MOCK_DISCONNECT_AFTER);
      break;
    case N_FAULTS:
    default:
      g_assert_not_reached ();
    }
}

static void G_GNUC_PRINTF (3, 4)
    wrong (const Target *target, FaultKind fault, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list values;

  va_start (values, format);
  text = g_strdup_vprintf (format, values);
  va_end (values);
  g_test_message ("WRONG: %s #%u, %s: %s", target->command, target->nth, fault_names[fault], text);
  g_test_fail ();
}

/* What puts something back at once: where it fails itself, the thing stays, and the error names the
 * command. */
static gboolean
is_last_resort (const Target *target)
{
  return g_str_equal (target->command, "job-dismiss") && target->nth == 1;
}

/* The first switches it on to see whether it can be, the second off again. A capability that stays
 * on would turn the next migration into two guests on one disk. */
static gboolean
leaves_capability_on (const Target *target)
{
  return g_str_equal (target->command, "migrate-set-capabilities") && target->nth <= 2;
}

/* A step, or the command itself. */
static gboolean
names_its_place (const Target *target, const GError *error)
{
  static const char *const steps[] = { "checking the guest",
                                       "preparing",
                                       "starting the",
                                       "stopping the guest",
                                       "snapshotting",
                                       "resuming the guest",
                                       "saving the memory",
                                       "sealing",
                                       "put back",
                                       "QEMU cannot track",
                                       NULL };

  if (strstr (error->message, target->command) != NULL)
    return TRUE;
  for (guint i = 0; steps[i] != NULL; i++)
    if (strstr (error->message, steps[i]) != NULL)
      return TRUE;

  return FALSE;
}

static void
judge_error (Fixture *fixture,
             const Target *target,
             FaultKind fault,
             const GError *error,
             const char *before)
{
  g_autofree char *after = fixture_describe (fixture);

  if (!names_its_place (target, error))
    wrong (target, fault, "the error names no step: %s", error->message);
  if (fault == FAULT_ERROR && strstr (error->message, INJECTED) == NULL)
    wrong (target, fault, "QEMU's text is not in the error: %s", error->message);
  if (fault == FAULT_NO_REPLY && error->domain != QSNAP_ERROR)
    wrong (target, fault, "the error is no timeout: %s", error->message);
  if (fault == FAULT_ERROR && is_last_resort (target))
    return;
  if (fault == FAULT_ERROR && leaves_capability_on (target) && target->nth == 2)
    {
      if (!g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED))
        wrong (target, fault, "it stays on, and the error says other: %s", error->message);
    }
  else if (strcmp (before, after) != 0)
    wrong (target, fault, "it was\n  %s\nand is\n  %s\nafter: %s", before, after, error->message);
}

/* QEMU lives and can be called again. Where that does not help all that QEMU uses stays, and the
 * journal says what there is to do. */
static void
judge_gone (Fixture *fixture,
            const Target *target,
            FaultKind fault,
            const GError *error,
            const char *before)
{
  g_autofree char *after = fixture_describe (fixture);
  g_autofree char *journal = fixture_path (fixture, "snapshot/journal.json");
  g_autofree char *manifest = fixture_path (fixture, "snapshot/snapshot.json");

  fixture_assert_graph_whole (fixture);
  if (g_file_test (manifest, G_FILE_TEST_EXISTS))
    wrong (target, fault, "it failed and left a snapshot");
  /* The check makes no directory that could hold a journal: its error has to say it. */
  if (leaves_capability_on (target) &&
      g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED))
    return;
  if (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED))
    {
      if (!g_file_test (journal, G_FILE_TEST_EXISTS))
        wrong (target, fault, "it is not undone, and there is no journal: %s", after);
    }
  else if (strcmp (before, after) != 0)
    wrong (target, fault, "it was\n  %s\nand is\n  %s\nafter: %s", before, after, error->message);
}

/* Settling comes after the point in time, before the seal: the snapshot is complete. */
static void
judge_unsettled (Fixture *fixture,
                 const Target *target,
                 FaultKind fault,
                 const GError *error,
                 const char *settings)
{
  g_autofree char *after = fixture_describe_settings (fixture);
  g_autoptr (GFile) directory = fixture_file (fixture, "snapshot");
  g_autoptr (GError) failure = NULL;
  g_autoptr (QsnapSnapshot) snapshot = qsnap_snapshot_load (directory, NULL, &failure);

  if (snapshot == NULL)
    wrong (target, fault, "what was saved is lost: %s", failure->message);
  if (error != NULL && !g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED))
    wrong (target, fault, "another code: %s", error->message);
  if (error == NULL && strcmp (settings, after) != 0)
    wrong (target, fault, "QEMU lives, was not put back, and nobody is told: %s", after);
}

static void
judge_success (Fixture *fixture, const Target *target, FaultKind fault, const char *settings)
{
  g_autofree char *after = fixture_describe_settings (fixture);

  if (g_strv_contains (searching_commands, target->command) && fault != FAULT_ERROR &&
      !(g_str_equal (target->command, "qom-get") && target->nth == 1))
    wrong (target, fault, "captured although nobody knows who else writes to the memory");
  /* The trial of the capability is switched off once more if that failed. */
  else if (!g_strv_contains (optional_commands, target->command) &&
           !g_strv_contains (searching_commands, target->command) &&
           !(g_str_equal (target->command, "migrate-set-capabilities") && target->nth == 2))
    wrong (target, fault, "captured all the same");
  if (mock_is_torn (fixture->mock))
    wrong (target, fault, "torn");
  if (strcmp (settings, after) != 0)
    wrong (target, fault, "settings were %s and are %s", settings, after);
}

static const char *
outcome_of (const GError *error)
{
  return error != NULL ? error->message : "success";
}

static void
try_fault (MockStyle style, const Target *target, FaultKind fault, guint timeout_ms)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *before = NULL, *settings = NULL, *news = NULL;
  Fixture fixture;

  fixture_set_up (&fixture, style, 1);
  inject (&fixture, target, fault);
  fixture_open (&fixture);
  before = fixture_describe (&fixture);
  settings = fixture_describe_settings (&fixture);
  if (fault == FAULT_NO_REPLY)
    qsnap_session_set_timeout (fixture.session, timeout_ms);
  snapshot = fixture_capture (&fixture, "snapshot", NULL, &error);
  news = g_strdup (fixture.news->str);
  g_assert_true ((snapshot == NULL) == (error != NULL));
  g_test_message ("%-26s #%u  %-11s  →%s %.140s", target->command, target->nth, fault_names[fault],
                  news, outcome_of (error));

  if (target->settles)
    judge_unsettled (&fixture, target, fault, error, settings);
  else if (error == NULL)
    judge_success (&fixture, target, fault, settings);
  else if (fault == FAULT_ERROR || fault == FAULT_NO_REPLY)
    judge_error (&fixture, target, fault, error, before);
  else
    judge_gone (&fixture, target, fault, error, before);

  fixture_drain_context ();
  if (strstr (fixture.news->str + strlen (news), "point") != NULL ||
      strstr (fixture.news->str + strlen (news), "memory") != NULL)
    wrong (target, fault, "a signal came after the end: %s", fixture.news->str);
  if (error != NULL && !target->settles && strstr (news, "memory") != NULL)
    wrong (target, fault, "it failed after it had said that it is complete");
  fixture_assert_phases (&fixture);
  fixture_clear (&fixture);
}

static void
try_all (MockStyle style, FaultKind fault)
{
  guint milliseconds;
  g_autoptr (GPtrArray) targets = list_targets (style, &milliseconds);

  /* A command takes a small part of a capture, even on a busy machine. */
  for (guint i = 0; i < targets->len; i++)
    try_fault (style, g_ptr_array_index (targets, i), fault, MAX (500, 2 * milliseconds));
}

static void
test_error (gconstpointer style)
{
  try_all (GPOINTER_TO_INT (style), FAULT_ERROR);
}

static void
test_no_reply (gconstpointer style)
{
  try_all (GPOINTER_TO_INT (style), FAULT_NO_REPLY);
}

static void
test_gone_before (gconstpointer style)
{
  try_all (GPOINTER_TO_INT (style), FAULT_GONE_BEFORE);
}

static void
test_gone_after (gconstpointer style)
{
  try_all (GPOINTER_TO_INT (style), FAULT_GONE_AFTER);
}

/* --- faults while a fault is undone -------------------------------------------------------- */

typedef struct
{
  const char *command;
  guint nth;
  gboolean in_use; /* the guest goes on in the overlay */
} UndoFault;

/* What is still in use stays, and so does the journal, which says what is left. */
static void
try_undo_fault (MockStyle style, const UndoFault *fault)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *journal = NULL, *state = NULL;
  /* The first is the check's, one comes before 7.2's gate, and one after the transaction. */
  guint nth = style == MOCK_STYLE_7_2 ? 3 : 2;
  Fixture fixture;

  fixture_set_up (&fixture, style, 1);
  if (g_str_equal (fault->command, "block-commit job"))
    mock_fail_job (fixture.mock, "commit", INJECTED);
  else
    mock_fail_command (fixture.mock, fault->command, fault->nth, "GenericError", INJECTED);
  mock_fail_command (fixture.mock, "query-status", nth, "GenericError", "the first failure");
  fixture_open (&fixture);
  snapshot = fixture_capture (&fixture, "snapshot", NULL, &error);
  g_test_message ("%s #%u → %s", fault->command, fault->nth, outcome_of (error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED);
  g_assert_nonnull (strstr (error->message, "the first failure"));
  g_assert_nonnull (strstr (error->message, INJECTED));
  fixture_assert_graph_whole (&fixture);
  state = mock_dup_run_state (fixture.mock);
  g_assert_cmpstr (state, ==, "running");
  journal = fixture_path (&fixture, "snapshot/journal.json");
  if (!g_file_test (journal, G_FILE_TEST_EXISTS))
    {
      g_test_message ("WRONG: %s: what is left is in no journal", fault->command);
      g_test_fail ();
    }
  fixture_clear (&fixture);
}

static void
test_undo (gconstpointer style)
{
  static const UndoFault faults[] = {
    { "query-block", 2, TRUE },
    { "block-commit", 1, TRUE },
    { "block-commit job", 1, TRUE },
    { "blockdev-del", 1, FALSE },
    { "blockdev-del", 2, FALSE },
    { "query-fdsets", 1, FALSE },
    { "remove-fd", 1, FALSE },
    { "set-action", 2, FALSE },
    { "migrate-set-capabilities", 4, FALSE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (faults); i++)
    try_undo_fault (GPOINTER_TO_INT (style), &faults[i]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/faults/error", test_error);
  fixture_add ("/faults/no-reply", test_no_reply);
  fixture_add ("/faults/gone-before", test_gone_before);
  fixture_add ("/faults/gone-after", test_gone_after);
  fixture_add ("/faults/undo", test_undo);
  return g_test_run ();
}
