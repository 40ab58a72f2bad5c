/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes into lines, however they come. */

#include "qmp-framing.h"

#include <string.h>

#include "qmp/qsnap-qmp-framer.h"
#include "qsnap/qsnap.h"

#define SMALL_LIMIT 64

static const char stream[] =
    "{\"a\": 1}\r\n\n\r\n{\"b\": 2}\n   \n\n\n{\"c\":\r3}\r\nx\n\r\r\n\"\\n\"\n";
static const char cut[] = "{\"a\": 1}|{\"b\": 2}|   |{\"c\":\r3}|x|\r|\"\\n\"|";

static void
push (QsnapQmpFramer *framer, const char *data, gsize length)
{
  g_autofree char *copy = g_memdup2 (data, length + (length == 0));
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_qmp_framer_push (framer, copy, length, &error));
  g_assert_no_error (error);
}

static void
pop_all (QsnapQmpFramer *framer, GString *lines)
{
  const char *line;
  gsize length;

  while ((line = qsnap_qmp_framer_pop (framer, &length)) != NULL)
    {
      g_assert_cmpuint (length, >, 0);
      g_string_append_len (lines, line, (gssize)length);
      g_string_append_c (lines, '|');
    }
}

static void
test_bytewise (void)
{
  g_autoptr (QsnapQmpFramer) framer = qsnap_qmp_framer_new (SMALL_LIMIT);
  g_autoptr (GString) lines = g_string_new (NULL);

  for (gsize i = 0; i < strlen (stream); i++)
    {
      push (framer, stream + i, 1);
      pop_all (framer, lines);
      g_assert_cmpint (qsnap_qmp_framer_is_inside_line (framer), ==, stream[i] != '\n');
    }
  g_assert_cmpstr (lines->str, ==, cut);
}

static void
test_merged (void)
{
  g_autoptr (QsnapQmpFramer) framer = qsnap_qmp_framer_new (1024);
  g_autoptr (GString) lines = g_string_new (NULL);

  push (framer, stream, strlen (stream));
  push (framer, "", 0);
  push (framer, stream, strlen (stream));
  pop_all (framer, lines);
  g_assert_true (g_str_has_prefix (lines->str, cut));
  g_assert_cmpstr (lines->str + strlen (cut), ==, cut);
  g_assert_false (qsnap_qmp_framer_is_inside_line (framer));
}

/* Popped now and then, so that what was not consumed is kept over several pushes. */
static void
test_random_splits (void)
{
  for (guint round = 0; round < 500; round++)
    {
      g_autoptr (QsnapQmpFramer) framer = qsnap_qmp_framer_new (1024);
      g_autoptr (GString) lines = g_string_new (NULL);
      gsize n;

      for (gsize at = 0; at < strlen (stream); at += n)
        {
          n = (gsize)g_test_rand_int_range (0, 20);
          n = MIN (n, strlen (stream) - at);
          push (framer, stream + at, n);
          if (g_test_rand_bit ())
            pop_all (framer, lines);
        }
      pop_all (framer, lines);
      g_assert_cmpstr (lines->str, ==, cut);
    }
}

/* A line may have as many bytes as the limit says, whole or in parts, and not one more. */
static void
test_limit (void)
{
  for (guint excess = 0; excess < 2; excess++)
    for (gsize part = 1; part <= SMALL_LIMIT + 2; part++)
      {
        g_autoptr (QsnapQmpFramer) framer = qsnap_qmp_framer_new (SMALL_LIMIT);
        g_autofree char *line = g_strnfill (SMALL_LIMIT - 1 + excess, 'x');
        g_autofree char *text = g_strconcat (line, excess ? "yyy" : "\n", NULL);
        g_autoptr (GError) error = NULL;
        gboolean pushed = TRUE;

        for (gsize at = 0; pushed && at < strlen (text); at += part)
          pushed =
              qsnap_qmp_framer_push (framer, text + at, MIN (part, strlen (text) - at), &error);
        g_assert_cmpint (pushed, ==, !excess);
        if (excess)
          g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
      }
}

/* Many short lines in one push are more than the limit together, which is nothing bad. A long one
 * behind them is. */
static void
test_limit_is_for_a_line (void)
{
  g_autoptr (QsnapQmpFramer) framer = qsnap_qmp_framer_new (SMALL_LIMIT);
  g_autoptr (GString) text = g_string_new (NULL);
  g_autoptr (GString) lines = g_string_new (NULL);
  g_autofree char *endless = g_strnfill (10 * SMALL_LIMIT, 'x');
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < 100; i++)
    g_string_append (text, "{}\r\n");
  push (framer, text->str, text->len);
  pop_all (framer, lines);
  g_assert_cmpuint (lines->len, ==, 300);

  g_string_append (text, endless);
  if (qsnap_qmp_framer_push (framer, text->str, text->len, &error))
    {
      /* At the latest when the short ones are out of the way. */
      pop_all (framer, lines);
      g_assert_false (qsnap_qmp_framer_push (framer, "x", 1, &error));
    }
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
}

static void
test_nul (void)
{
  g_autoptr (QsnapQmpFramer) framer = qsnap_qmp_framer_new (SMALL_LIMIT);
  const char *line;
  gsize length;

  push (framer, "a\0b\n\0\n", 6);
  line = qsnap_qmp_framer_pop (framer, &length);
  g_assert_cmpmem (line, length, "a\0b", 3);
  line = qsnap_qmp_framer_pop (framer, &length);
  g_assert_cmpmem (line, length, "\0", 1);
  g_assert_null (qsnap_qmp_framer_pop (framer, &length));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_json_tests ();
  g_test_add_func ("/framer/bytewise", test_bytewise);
  g_test_add_func ("/framer/merged", test_merged);
  g_test_add_func ("/framer/random-splits", test_random_splits);
  g_test_add_func ("/framer/limit", test_limit);
  g_test_add_func ("/framer/limit-is-for-a-line", test_limit_is_for_a_line);
  g_test_add_func ("/framer/nul", test_nul);
  return g_test_run ();
}
