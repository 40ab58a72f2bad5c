/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "sandbox-case.h"

#include <string.h>

#include "helper/qsnap-sandbox.h"

static char *
read_proc (GPid pid, const char *name)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/%s", (int)pid, name);
  char *text = NULL;
  g_autoptr (GError) error = NULL;

  g_file_get_contents (path, &text, NULL, &error);
  g_assert_no_error (error);

  return text;
}

/* The words of the line that begins with @name. */
static GStrv
words_of_line (const char *text, const char *name)
{
  const char *line = strstr (text, name);
  g_autofree char *rest = NULL;

  if (line == NULL)
    return NULL;
  line += strlen (name);
  rest = g_strndup (line, strcspn (line, "\n"));

  return g_strsplit (g_strstrip (rest), " ", 2);
}

static void
assert_word (const char *text, const char *name, const char *expected)
{
  g_auto (GStrv) words = words_of_line (text, name);

  g_test_message ("%s %s", name, words != NULL ? words[0] : "is not there");
  g_assert_nonnull (words);
  g_assert_cmpstr (words[0], ==, expected);
}

void
sandbox_assert_holds (GPid pid, gboolean may_write)
{
  g_autofree char *status = read_proc (pid, "status");
  g_autofree char *limits = read_proc (pid, "limits");

  assert_word (status, "NoNewPrivs:\t", "1");
  if (!QSNAP_SANDBOX_IS_ON)
    return;
#ifdef HAVE_SECCOMP
  assert_word (status, "\nSeccomp:\t", "2");
#endif
  assert_word (limits, "Max core file size", "0");
  assert_word (limits, "Max processes", "0");
  if (!may_write)
    assert_word (limits, "Max file size", "0");
}
