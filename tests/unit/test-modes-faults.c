/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fault at each command of captures in all modes: they fail, the guest is as it was, and nothing
 * is left of them. */

#include "modes-trouble.h"

#include <string.h>

/* --- a fault at each command --------------------------------------------------------------- */

typedef enum
{
  FAULT_ERROR,
  FAULT_NO_REPLY,
  FAULT_GONE_BEFORE,
  FAULT_GONE_AFTER
} FaultKind;

static const char *const fault_names[] = { "error", "no reply", "gone before", "gone after" };

/* Those that only a capture in one of these modes sends, or sends at another time. What comes
 * before the capture's own directory is there changes nothing; other tests are about it. */
static const char *const commands_of_interest[] = { "stop",
                                                    "transaction",
                                                    "cont",
                                                    "migrate",
                                                    "migrate-continue",
                                                    "query-jobs",
                                                    "job-dismiss",
                                                    "blockdev-add",
                                                    "blockdev-create",
                                                    "blockdev-del",
                                                    "remove-fd",
                                                    "query-migrate-parameters",
                                                    "migrate-set-parameters",
                                                    "query-status",
                                                    "query-fdsets",
                                                    NULL };

typedef struct
{
  char *command;
  guint nth;
} Target;

static void
target_free (gpointer data)
{
  g_free (((Target *)data)->command);
  g_free (data);
}

static GPtrArray *
list_targets (MockStyle style, const Way *way)
{
  GPtrArray *targets = g_ptr_array_new_with_free_func (target_free);
  g_autoptr (GHashTable) counts = g_hash_table_new (g_str_hash, g_str_equal);
  g_auto (GStrv) lines = NULL;
  Trouble trouble;

  trouble_set_up (&trouble, style, way);
  fixture_open (&trouble.fixture);
  trouble_run (&trouble);
  g_assert_no_error (trouble.error);
  lines = mock_dup_transcript (trouble.fixture.mock);
  trouble_clear (&trouble);
  for (guint i = 0; lines[i] != NULL; i++)
    {
      Target *target = g_new0 (Target, 1);

      target->command = g_strndup (lines[i], strcspn (lines[i], " "));
      target->nth = GPOINTER_TO_UINT (g_hash_table_lookup (counts, target->command)) + 1;
      g_ptr_array_add (targets, target);
      g_hash_table_insert (counts, target->command, GUINT_TO_POINTER (target->nth));
    }
  return targets;
}

static void
inject (MockQemu *mock, const Target *target, FaultKind fault)
{
  if (fault == FAULT_ERROR)
    mock_fail_command (mock, target->command, target->nth, "GenericError", INJECTED);
  else if (fault == FAULT_NO_REPLY)
    mock_drop_reply (mock, target->command, target->nth);
  else
    mock_disconnect_at (mock, target->command, target->nth,
                        fault == FAULT_GONE_BEFORE ? MOCK_DISCONNECT_BEFORE
                                                   : MOCK_DISCONNECT_AFTER);
}

static void
try_fault (MockStyle style, const Way *way, const Target *target, FaultKind fault)
{
  Trouble trouble;

  trouble_set_up (&trouble, style, way);
  inject (trouble.fixture.mock, target, fault);
  fixture_open (&trouble.fixture);
  if (fault == FAULT_NO_REPLY)
    qsnap_session_set_timeout (trouble.fixture.session, 500);
  trouble_run (&trouble);
  g_test_message ("%s: %s #%u, %s →%s %.140s", way->name, target->command, target->nth,
                  fault_names[fault], trouble.fixture.news->str, trouble_outcome (&trouble));
  trouble_judge (&trouble);
  trouble_clear (&trouble);
}

static void
try_faults (MockStyle style, const Way *way, FaultKind fault, const char *const *commands)
{
  g_autoptr (GPtrArray) targets = list_targets (style, way);

  for (guint i = 0; i < targets->len; i++)
    {
      const Target *target = g_ptr_array_index (targets, i);

      if (g_strv_contains (commands, target->command))
        try_fault (style, way, target, fault);
    }
}

/* A live capture meets another QEMU there; the others each meet one of both. */
static gboolean
is_tried (guint way, gconstpointer style)
{
  return ways[way].mode == QSNAP_SNAPSHOT_MODE_LIVE ||
         way % 2 == (GPOINTER_TO_INT (style) == MOCK_STYLE_10 ? 0 : 1);
}

static void
test_error (gconstpointer style)
{
  for (guint i = 0; i < N_WAYS; i++)
    if (is_tried (i, style))
      try_faults (GPOINTER_TO_INT (style), &ways[i], FAULT_ERROR, commands_of_interest);
}

static void
test_gone (gconstpointer style)
{
  static const char *const commands[] = { "stop",    "transaction",      "cont",
                                          "migrate", "migrate-continue", "job-dismiss",
                                          NULL };

  for (guint i = 0; i < N_WAYS; i++)
    {
      if (!is_tried (i, style))
        try_faults (GPOINTER_TO_INT (style), &ways[i], FAULT_GONE_BEFORE, commands);
      else
        try_faults (GPOINTER_TO_INT (style), &ways[i], FAULT_GONE_AFTER, commands);
    }
}

static void
test_no_reply (gconstpointer style)
{
  static const char *const commands[] = { "transaction", "migrate-continue", NULL };

  for (guint i = 0; i < N_WAYS; i++)
    if (is_tried (i, style))
      try_faults (GPOINTER_TO_INT (style), &ways[i], FAULT_NO_REPLY, commands);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/modes-faults/error", test_error);
  fixture_add ("/modes-faults/gone", test_gone);
  fixture_add ("/modes-faults/no-reply", test_no_reply);
  return g_test_run ();
}
