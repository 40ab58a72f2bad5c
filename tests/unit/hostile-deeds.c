/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "hostile-deeds.h"

#include <string.h>

#include "footprint.h"
#include "qsnap-json.h"

#define EVENT "{\"event\": \"FLOOD\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}"
#define N_FDS 10000
#define FDS_AT_ONCE 250
#define GIGABYTE (1024 * MIB)

/* A line of the longest kind, and what is made of it. */
#define MAX_GROWTH (256 * MIB)
/* Where no line is long, but all that is kept of them has a limit. */
#define MAX_GROWTH_OF_MANY (64 * MIB)

static gboolean
is_over (Ear *ear)
{
  return g_atomic_int_get (&ear->over) ||
         (ear->session != NULL && !qsnap_session_get_is_open (ear->session));
}

static void
say_bytes (Ear *ear, const char *text, gsize length)
{
  if (!is_over (ear))
    mock_send_raw (ear->mock, text, (gssize)length);
}

/* @text again and again, until these are that many bytes. */
static void
say_often (Ear *ear, const char *text, gsize total)
{
  g_autoptr (GString) block = g_string_new (NULL);

  while (block->len < MIN (total, MIB / 4))
    g_string_append (block, text);
  for (gsize said = 0; said < total && !is_over (ear); said += block->len)
    say_bytes (ear, block->str, block->len);
}

static void
say (Ear *ear, const char *text)
{
  say_bytes (ear, text, strlen (text));
}

static void
endless_line (Ear *ear)
{
  say (ear, "{\"event\": \"");
  say_often (ear, "x", GIGABYTE);
}

static void
endless_escape (Ear *ear)
{
  say (ear, "{\"event\": \"");
  say_often (ear, "\\u0041", GIGABYTE);
}

static void
many_values (Ear *ear)
{
  say (ear, "{\"return\": [");
  say_often (ear, "{},", 12 * MIB);
  say (ear, "{}]}\n");
}

/* As many as there may be, of the kind that takes most. */
static void
enough_values (Ear *ear)
{
  g_autoptr (GString) line = g_string_new (EVENT ", \"data\": {\"a\": [");

  for (guint i = 0; i < (QSNAP_JSON_MAX_VALUES - 20) / 2; i++)
    g_string_append (line, "{\"a\": 1},");
  g_string_append (line, "{}]}}\n");
  say (ear, line->str);
}

static void
deep (Ear *ear)
{
  say (ear, "{\"return\": ");
  say_often (ear, "[", 4 * MIB);
  say_often (ear, "]", 4 * MIB);
  say (ear, "}\n");
}

static void
huge_string (Ear *ear)
{
  say (ear, EVENT ", \"data\": {\"a\": \"");
  say_often (ear, "y", 15 * MIB);
  say (ear, "\"}}\n");
}

static void
huge_name (Ear *ear)
{
  say (ear, "{\"event\": \"");
  say_often (ear, "N", 15 * MIB);
  say (ear, "\"}\n");
}

static void
event_flood (Ear *ear)
{
  say_often (ear, EVENT "}\n", 2 * MIB);
}

static void
fat_event_flood (Ear *ear)
{
  g_autofree char *fat = g_strnfill (MIB, 'z');
  g_autofree char *line = g_strconcat (EVENT, ", \"data\": {\"a\": \"", fat, "\"}}\n", NULL);

  say_often (ear, line, 96 * MIB);
}

static void
empty_lines (Ear *ear)
{
  say_often (ear, "\n\r\n", MIB);
}

/* To questions that were not asked. */
static void
unknown_answers (Ear *ear)
{
  say_often (ear, "{\"return\": {}, \"id\": 4000000000}\n{\"return\": {}}\n", MIB / 2);
  say_often (ear, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}, \"id\": \"x\"}\n",
             MIB / 2);
}

static void
say_answers (Ear *ear, guint from, guint to, const char *answer)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint id = from; id < to; id++)
    g_string_append_printf (text, "{\"return\": %s, \"id\": %u}\n", answer, id);
  say (ear, text->str);
}

/* Long before the questions. */
static void
early_answers (Ear *ear)
{
  say_answers (ear, 300, 2000, "\"wrong\"");
}

static void
descriptors (Ear *ear)
{
  static const char text[] = EVENT "}\n";

  for (guint n = 0; n < N_FDS; n += FDS_AT_ONCE)
    mock_send_raw_with_fds (ear->mock, text, -1, FDS_AT_ONCE);
}

static void
close_in_line (Ear *ear)
{
  say (ear, "{\"event\": \"ST");
  mock_disconnect (ear->mock);
}

static void
other_protocol (Ear *ear)
{
  say (ear, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
}

static void
binary (Ear *ear)
{
  static const char bytes[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n";

  say_bytes (ear, bytes, sizeof bytes - 1);
}

static void
greet_again (Ear *ear)
{
  say_often (ear, "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\n", MIB);
}

static void
silence (Ear *ear)
{
  mock_freeze (ear->mock);
}

const Deed deeds[] = {
  { "endless-line", endless_line, QSNAP_ERROR_PROTOCOL, "longer than", MAX_GROWTH, NULL },
  { "endless-escape", endless_escape, QSNAP_ERROR_PROTOCOL, "longer than", MAX_GROWTH, NULL },
  { "many-values", many_values, QSNAP_ERROR_PROTOCOL, "values", MAX_GROWTH, NULL },
  { "enough-values", enough_values, -1, NULL, MAX_GROWTH, NULL },
  { "deep", deep, QSNAP_ERROR_PROTOCOL, "nested deeper", MAX_GROWTH, NULL },
  { "huge-string", huge_string, -1, NULL, MAX_GROWTH, NULL },
  { "huge-name", huge_name, -1, NULL, MAX_GROWTH, NULL },
  { "event-flood", event_flood, -1, NULL, MAX_GROWTH_OF_MANY, NULL },
  { "fat-event-flood", fat_event_flood, -1, NULL, MAX_GROWTH_OF_MANY, NULL },
  { "empty-lines", empty_lines, -1, NULL, MAX_GROWTH, NULL },
  { "unknown-answers", unknown_answers, -1, NULL, MAX_GROWTH, NULL },
  { "early-answers", early_answers, -1, NULL, MAX_GROWTH, NULL },
  { "descriptors", descriptors, -1, NULL, MAX_GROWTH, NULL },
  { "close-in-line", close_in_line, QSNAP_ERROR_CLOSED, "in mid-message", MAX_GROWTH, NULL },
  { "other-protocol", other_protocol, QSNAP_ERROR_PROTOCOL, "not one JSON document", MAX_GROWTH,
    NULL },
  { "binary", binary, QSNAP_ERROR_PROTOCOL, "not one JSON document", MAX_GROWTH, NULL },
  { "greet-again", greet_again, -1, NULL, MAX_GROWTH, "connect" },
  { "silence", silence, QSNAP_ERROR_TIMED_OUT, "no answer", MAX_GROWTH, "capture" },
  { NULL },
};

static void
run_flood (Ear *ear)
{
  say_often (ear, "{\"event\": \"STOP\"}\n{\"event\": \"RESUME\"}\n", 8 * MIB);
}

static void
job_flood (Ear *ear)
{
  for (guint i = 0; i < 10000; i++)
    {
      g_autofree char *line =
          g_strdup_printf ("{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"id\": \"job%u\", "
                           "\"status\": \"running\"}}\n",
                           i);

      say (ear, line);
    }
}

static void
fat_jobs (Ear *ear)
{
  g_autofree char *fat = g_strnfill (MIB, 'z');

  for (guint i = 0; i < 64; i++)
    {
      g_autofree char *line =
          g_strdup_printf ("{\"event\": \"BLOCK_JOB_COMPLETED\", \"data\": {\"device\": \"j%u\", "
                           "\"error\": \"%s\"}}\n"
                           "{\"event\": \"JOB_STATUS_CHANGE\", \"data\": {\"id\": \"%u%s\", "
                           "\"status\": \"running\"}}\n",
                           i, fat, i, fat);

      say (ear, line);
    }
}

/* To what is being asked, before the answer, and once more after it. */
static void
answers_twice (Ear *ear)
{
  say_answers (ear, 1, 300, "{}");
}

const Deed capture_deeds[] = {
  { "run-flood", run_flood, QSNAP_ERROR_PROTOCOL, "floods", MAX_GROWTH, NULL },
  { "job-flood", job_flood, QSNAP_ERROR_PROTOCOL, "floods", MAX_GROWTH, NULL },
  { "fat-jobs", fat_jobs, -1, NULL, MAX_GROWTH_OF_MANY, NULL },
  { "answers-twice", answers_twice, QSNAP_ERROR_PROTOCOL, "", MAX_GROWTH, NULL },
  { NULL },
};

gboolean
deed_is_fatal (const Deed *deed)
{
  return deed->code >= 0;
}
