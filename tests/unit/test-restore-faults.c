/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reverts that fail or are cancelled, at every step: the error says why, with QEMU's own words, and
 * nothing is left. */

#include "mock-process.h"

#include <signal.h>
#include <string.h>

#define ANONYMOUS "memory-backend-ram"

typedef struct
{
  /* What $QSNAP_MOCK_FAULT says. */
  const char *fault;
  /* What the error has to have. */
  const char *words[3];
} Fault;

static const Fault faults[] = {
  { "exit", { "simulated failure at the start", "ended with status 1" } },
  { "silent-exit", { "ended with status 3" } },
  { "kill", { "was killed by signal 9" } },
  { "bad-greeting", { "not" } },
  { "ignore-term,error:cont", { "simulated error of cont" } },
  { "fail:stream", { "simulated failure in the middle", "ended with status 1" } },
  { "exit:stream", { "simulated crash in the middle", "ended with status 1" } },
  { "kill:stream", { "was killed by signal 9" } },
  { "probe:exit", { "asking", "simulated failure at the start" } },
  { "probe:silent-exit", { "asking", "mock-qemu" } },
  { "probe:kill", { "asking", "mock-qemu" } },
  { "probe:bad-greeting", { "asking", "mock-qemu" } },
};

/* --- one revert ---------------------------------------------------------------------------- */

static guint
count_descriptors (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  return n;
}

/* The library's threads let go of the last ones a moment after the end. */
static void
assert_descriptors (guint n)
{
  gint64 patience = g_get_monotonic_time () + 5 * G_USEC_PER_SEC;

  while (count_descriptors () > n && g_get_monotonic_time () < patience)
    {
      fixture_drain_context ();
      g_usleep (1000);
    }
  g_assert_cmpuint (count_descriptors (), <=, n);
}

static void G_GNUC_PRINTF (2, 3) wrong (const char *fault, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list values;

  va_start (values, format);
  text = g_strdup_vprintf (format, values);
  va_end (values);
  g_test_message ("WRONG: %s: %s", fault, text);
  g_test_fail ();
}

static void
judge_error (const Fault *fault, const GError *error)
{
  if (error == NULL)
    {
      wrong (fault->fault, "reverted all the same");
      return;
    }
  for (guint i = 0; i < G_N_ELEMENTS (fault->words) && fault->words[i] != NULL; i++)
    {
      if (strstr (error->message, fault->words[i]) == NULL)
        wrong (fault->fault, "\"%s\" is not in: %s", fault->words[i], error->message);
    }
  if (error->code == QSNAP_ERROR_ROLLBACK_FAILED && error->domain == QSNAP_ERROR)
    wrong (fault->fault, "it could not be undone: %s", error->message);
}

static void
judge_remains (Fixture *fixture, QsnapSnapshot *snapshot, const char *fault, const char *before)
{
  g_autofree char *after = process_describe (fixture);
  g_autoptr (GError) error = NULL;

  process_assert_all_gone (fixture);
  if (strcmp (before, after) != 0)
    wrong (fault, "there was\n  %s\nand is\n  %s", before, after);
  if (!qsnap_snapshot_verify (snapshot, NULL, &error))
    wrong (fault, "the snapshot was changed: %s", error->message);
}

static void
try_fault (Fixture *fixture, QsnapSnapshot *snapshot, QsnapRestoreMethod method, const Fault *fault)
{
  g_autoptr (QsnapRestoreOptions) options = process_options (fixture, method, ANONYMOUS, 1);
  g_autofree char *before = process_describe (fixture);
  guint n_descriptors = count_descriptors ();
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (GError) error = NULL;

  process_set_fault (fault->fault);
  session = qsnap_snapshot_restore (snapshot, options, NULL, &error);
  g_test_message ("%s → %s", fault->fault, error != NULL ? error->message : "success");
  judge_error (fault, error);
  judge_remains (fixture, snapshot, fault->fault, before);
  g_clear_object (&session);
  assert_descriptors (n_descriptors);
  process_set_fault (NULL);
}

/* --- all of them --------------------------------------------------------------------------- */

static void
try_all (gconstpointer style, QsnapRestoreMethod method)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  for (guint i = 0; i < G_N_ELEMENTS (faults); i++)
    try_fault (&fixture, snapshot, method, &faults[i]);
  process_clear (&fixture);
}

static void
test_load (gconstpointer style)
{
  try_all (style, QSNAP_RESTORE_METHOD_LOAD);
}

static void
test_map (gconstpointer style)
{
  try_all (style, QSNAP_RESTORE_METHOD_MAP);
}

static void
try_command (Fixture *fixture, QsnapSnapshot *snapshot, const char *prefix, const char *command)
{
  static const struct
  {
    const char *fault, *words[2];
  } kinds[] = {
    { "error", { "simulated error of" } },
    { "exit", { "loading the guest", "simulated crash at" } },
    { "kill", { "killed by signal 9" } },
    { "hangup", { "closed" } },
  };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_autofree char *text = g_strdup_printf ("%s%s:%s", prefix, kinds[i].fault, command);
      Fault fault = { text, { kinds[i].words[0], kinds[i].words[1] } };

      /* Of a program that is only asked how it ended is not kept; at its start it is another step.
       */
      if (*prefix != '\0' && i > 0)
        fault.words[0] = "asking";
      if ((*prefix != '\0' && i != 1) || g_str_equal (command, "qmp_capabilities"))
        fault.words[1] = NULL;
      if (*prefix == '\0' && i == 1 && g_str_equal (command, "qmp_capabilities"))
        fault.words[0] = "simulated crash at";
      try_fault (fixture, snapshot, QSNAP_RESTORE_METHOD_AUTO, &fault);
    }
}

/* All that are sent to processes of the kind, each once. */
static GStrv
list_commands (Fixture *fixture, const char *kind)
{
  g_autoptr (GArray) pids = process_list_pids (fixture, kind);
  g_auto (GStrv) lines = NULL;
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  g_assert_cmpuint (pids->len, ==, 1);
  lines = process_dup_report (fixture, g_array_index (pids, int, 0), "command");
  for (guint i = 0; lines[i] != NULL; i++)
    {
      lines[i][strcspn (lines[i], " ")] = '\0';
      if (g_hash_table_add (seen, lines[i]) && !g_str_equal (lines[i], "quit"))
        g_strv_builder_add (builder, lines[i]);
    }
  return g_strv_builder_end (builder);
}

static void
test_commands (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_auto (GStrv) guest = NULL, probe = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  options = process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  qsnap_restore_options_set_start_paused (options, TRUE);
  process_quit (&fixture, process_restore_well (&fixture, snapshot, options));
  guest = list_commands (&fixture, "guest");
  probe = list_commands (&fixture, "probe");
  g_assert_true (g_strv_contains ((const char *const *)guest, "migrate-incoming"));
  for (guint i = 0; guest[i] != NULL; i++)
    try_command (&fixture, snapshot, "", guest[i]);
  try_command (&fixture, snapshot, "", "cont");
  for (guint i = 0; probe[i] != NULL; i++)
    try_command (&fixture, snapshot, "probe:", probe[i]);
  process_clear (&fixture);
}

/* Nobody waits for ever. */
static void
test_no_greeting (gconstpointer style)
{
  static const Fault fault = { "no-greeting", { "starting QEMU", "greeting" } };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  try_fault (&fixture, snapshot, QSNAP_RESTORE_METHOD_AUTO, &fault);
  process_clear (&fixture);
}

/* --- cancelling ---------------------------------------------------------------------------- */

/* Where it stands still until it is cancelled, and what is reported then. */
typedef struct
{
  const char *fault, *kind, *key, *text;
} Stop;

static const Stop stops[] = {
  { "probe:no-socket", "probe", "start", "probe" },
  { "probe:freeze:qmp_capabilities", "probe", "command", "qmp_capabilities" },
  { "probe:freeze:query-machines", "probe", "command", "query-machines" },
  { "no-socket", "guest", "start", "guest" },
  { "no-greeting", "guest", "start", "guest" },
  { "freeze:qmp_capabilities", "guest", "command", "qmp_capabilities" },
  { "freeze:migrate-set-capabilities", "guest", "command", "migrate-set-capabilities" },
  { "freeze:getfd", "guest", "command", "getfd" },
  { "no-reply:getfd", "guest", "command", "getfd" },
  { "freeze:migrate-incoming", "guest", "command", "migrate-incoming" },
  { "hang:stream", "guest", "hang", "stream" },
  { "ignore-term,hang:stream", "guest", "hang", "stream" },
  { "freeze:cont", "guest", "command", "cont" },
};

static void
try_cancel (MockStyle style, QsnapRestoreMethod method, const Stop *stop)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autofree char *before = NULL;
  ProcessResult result;
  gint64 begin;

  process_set_up (&fixture, style, 1);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  options = process_options (&fixture, method, ANONYMOUS, 1);
  before = process_describe (&fixture);
  process_set_fault (stop->fault);
  process_start_restore (snapshot, options, cancellable, &result);
  process_wait_report (&fixture, stop->kind, stop->key, stop->text);
  /* The library has to have come as far as that, too. */
  g_usleep (50000);
  begin = g_get_monotonic_time ();
  g_cancellable_cancel (cancellable);
  process_wait_result (&result);
  g_test_message ("%s: %d ms, %s", stop->fault, (int)((g_get_monotonic_time () - begin) / 1000),
                  result.error != NULL ? result.error->message : "success");
  if (!g_error_matches (result.error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    wrong (stop->fault, "not cancelled: %s", result.error != NULL ? result.error->message : "");
  judge_remains (&fixture, snapshot, stop->fault, before);
  g_clear_error (&result.error);
  g_clear_object (&result.session);
  process_clear (&fixture);
}

static void
test_cancel (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (stops); i++)
    try_cancel (GPOINTER_TO_INT (style),
                i % 2 == 0 ? QSNAP_RESTORE_METHOD_MAP : QSNAP_RESTORE_METHOD_LOAD, &stops[i]);
}

static void
test_cancelled_before (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autofree char *before = NULL, *started = NULL;
  g_autoptr (QsnapSession) session = NULL;
  ProcessResult result;
  g_autoptr (GError) error = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  options = process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  before = process_describe (&fixture);
  g_cancellable_cancel (cancellable);
  session = qsnap_snapshot_restore (snapshot, options, cancellable, &error);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  process_start_restore (snapshot, options, cancellable, &result);
  process_wait_result (&result);
  g_assert_error (result.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&result.error);
  started = process_join_report (&fixture, 0, "start");
  g_assert_cmpstr (started, ==, "");
  judge_remains (&fixture, snapshot, "cancelled before", before);
  process_clear (&fixture);
}

/* At any moment: it is done, or it is as if it had not been. */
static void
test_cancel_at_any_time (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_autofree char *before = NULL;
  guint n_done = 0, n_cancelled = 0;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  options = process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  before = process_describe (&fixture);
  for (guint i = 0; i < 40 && n_done < 3; i++)
    {
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();
      ProcessResult result;

      process_start_restore (snapshot, options, cancellable, &result);
      g_usleep (i * 3000);
      g_cancellable_cancel (cancellable);
      process_wait_result (&result);
      if (result.error == NULL)
        {
          n_done++;
          process_quit (&fixture, result.session);
          continue;
        }
      n_cancelled++;
      g_assert_error (result.error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      g_clear_error (&result.error);
      if (n_done == 0)
        judge_remains (&fixture, snapshot, "cancelled at any time", before);
    }
  g_test_message ("%u were cancelled, %u done", n_cancelled, n_done);
  g_assert_cmpuint (n_cancelled, >, 0);
  process_assert_all_gone (&fixture);
  process_clear (&fixture);
}

/* --- the end ------------------------------------------------------------------------------- */

static QsnapSession *
restore_with_fault (Fixture *fixture, gconstpointer style, const char *fault)
{
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapRestoreOptions) options = NULL;

  process_set_up (fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (fixture);
  snapshot = fixture_capture_well (fixture, "snapshot");
  options = process_options (fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  process_set_fault (fault);
  return process_restore_well (fixture, snapshot, options);
}

/* It says yes and stays, even when it is asked by a signal. */
static void
test_quit_ignored (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSession) session =
      restore_with_fault (&fixture, style, "ignore:quit,ignore-term");
  int pid = qsnap_session_get_pid (session);
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_session_quit (session, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (process_is_gone (pid));
  process_clear (&fixture);
}

static void
test_quit_cancelled (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSession) session = restore_with_fault (&fixture, style, "freeze:quit");
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  int pid = qsnap_session_get_pid (session);
  g_autoptr (GError) error = NULL;

  g_cancellable_cancel (cancellable);
  g_assert_false (qsnap_session_quit (session, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_cmpint (kill (pid, 0), ==, 0);
  g_clear_error (&error);

  /* One that does not answer any more is ended all the same. */
  qsnap_session_set_timeout (session, 500);
  g_assert_true (qsnap_session_quit (session, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (process_is_gone (pid));
  process_clear (&fixture);
}

/* With the connection gone, or the process itself. */
static void
test_quit_without_connection (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSession) session = restore_with_fault (&fixture, style, NULL);
  int pid = qsnap_session_get_pid (session);
  g_autoptr (GError) error = NULL;

  qsnap_session_close (session);
  g_assert_cmpint (kill (pid, 0), ==, 0);
  g_assert_true (qsnap_session_quit (session, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (process_is_gone (pid));
  g_assert_true (qsnap_session_quit (session, NULL, &error));
  g_assert_no_error (error);
  process_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;
  fixture_add ("/restore-faults/load", test_load);
  fixture_add ("/restore-faults/map", test_map);
  fixture_add ("/restore-faults/commands", test_commands);
  /* Seconds of waiting, whichever QEMU it is. */
  g_test_add_data_func ("/restore-faults/no-greeting", GINT_TO_POINTER (MOCK_STYLE_7_2),
                        test_no_greeting);
  fixture_add ("/restore-faults/cancel", test_cancel);
  fixture_add ("/restore-faults/cancelled-before", test_cancelled_before);
  fixture_add ("/restore-faults/cancel-at-any-time", test_cancel_at_any_time);
  g_test_add_data_func ("/restore-faults/quit-ignored", GINT_TO_POINTER (MOCK_STYLE_10),
                        test_quit_ignored);
  fixture_add ("/restore-faults/quit-cancelled", test_quit_cancelled);
  fixture_add ("/restore-faults/quit-without-connection", test_quit_without_connection);
  return g_test_run ();
}
