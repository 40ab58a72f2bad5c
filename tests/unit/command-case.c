/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "command-case.h"

#include <string.h>

#include "qsnap/qsnap-error.h"

#define PROGRAM "qemu-system-x86_64"

typedef struct
{
  const CommandCase *test;
  CommandCaseFunc adapt;
} Run;

QsnapCommand *
command_from_text (const char *arguments)
{
  g_autofree char *text =
      *arguments != '\0' ? g_strconcat (PROGRAM " ", arguments, NULL) : g_strdup (PROGRAM);
  g_auto (GStrv) argv = g_strsplit (text, " ", -1);
  g_autoptr (GError) error = NULL;
  QsnapCommand *command = qsnap_command_parse ((const char *const *)argv, &error);

  g_assert_no_error (error);

  return command;
}

char *
command_to_text (QsnapCommand *command)
{
  g_auto (GStrv) argv = qsnap_command_to_strv (command);

  g_assert_cmpstr (argv[0], ==, PROGRAM);

  return g_strjoinv (" ", argv + 1);
}

static void
assert_warning (GPtrArray *warnings, const char *words)
{
  if (words == NULL)
    {
      if (warnings->len > 0)
        g_test_message ("unexpected: %s", (const char *)g_ptr_array_index (warnings, 0));
      g_assert_cmpuint (warnings->len, ==, 0);
      return;
    }

  for (guint i = 0; i < warnings->len; i++)
    if (strstr (g_ptr_array_index (warnings, i), words) != NULL)
      return;

  g_test_message ("no warning has: %s", words);
  g_test_fail ();
}

static void
assert_error (const CommandCase *test, GError *error)
{
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_assert_true (g_utf8_validate (error->message, -1, NULL));
  g_assert_nonnull (strstr (error->message, "give another command line"));
  if (strstr (error->message, test->error) == NULL)
    g_test_message ("the message is: %s", error->message);
  g_assert_nonnull (strstr (error->message, test->error));
}

static void
run (gconstpointer data)
{
  const Run *this = data;
  g_autoptr (QsnapCommand) command = command_from_text (this->test->before);
  g_autoptr (GPtrArray) warnings = g_ptr_array_new_with_free_func (g_free);
  QsnapAdaptContext context = { COMMAND_CASE_DIRECTORY, COMMAND_CASE_WORKING_DIRECTORY, warnings };
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;
  gboolean done = this->adapt (command, &context, this->test, &error);

  g_assert_cmpint (done, ==, error == NULL);
  if (this->test->error != NULL)
    {
      assert_error (this->test, error);
      return;
    }

  g_assert_no_error (error);
  text = command_to_text (command);
  g_assert_cmpstr (text, ==, this->test->after != NULL ? this->test->after : this->test->before);
  assert_warning (warnings, this->test->warning);
}

void
command_cases_add (const char *path, const CommandCase *cases, guint n_cases, CommandCaseFunc adapt)
{
  for (guint i = 0; i < n_cases; i++)
    {
      g_autofree char *name = g_strdup_printf ("%s/%s", path, cases[i].name);
      Run *this = g_new (Run, 1);

      *this = (Run){ &cases[i], adapt };
      g_test_add_data_func_full (name, this, run, g_free);
    }
}
