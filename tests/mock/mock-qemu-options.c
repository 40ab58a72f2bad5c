/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock program's report, faults and option values. */

#include "mock-qemu.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static gboolean process_is_probe;

/* --- report --- */

/* Written at once: the process may be killed at any time. */
void
report (const char *key, const char *format, ...)
{
  const char *path = g_getenv ("QSNAP_MOCK_REPORT");
  g_autofree char *value = NULL, *escaped = NULL, *line = NULL;
  va_list args;
  int fd;

  if (path == NULL)
    return;
  va_start (args, format);
  value = g_strdup_vprintf (format, args);
  va_end (args);
  escaped = g_strescape (value, NULL);
  line = g_strdup_printf ("%d %s %s\n", (int)getpid (), key, escaped);
  fd = open (path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || write (fd, line, strlen (line)) != (gssize)strlen (line))
    g_error ("%s: the report cannot be written", path);
  close (fd);
}

void
complain (const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  fprintf (stderr, "%s: %s\n", g_get_prgname (), text);
  report ("error", "%s", text);
}

/* --- faults --- */

void
fault_set_probe (gboolean is_probe)
{
  process_is_probe = is_probe;
}

GStrv
fault_dup_all (const char *prefix)
{
  const char *text = g_getenv ("QSNAP_MOCK_FAULT");
  g_auto (GStrv) faults = g_strsplit (text != NULL ? text : "", ",", -1);
  g_autofree char *start = g_strconcat (process_is_probe ? "probe:" : "", prefix, ":", NULL);
  g_autoptr (GStrvBuilder) found = g_strv_builder_new ();

  for (guint i = 0; faults[i] != NULL; i++)
    {
      if (g_str_has_prefix (faults[i], start))
        g_strv_builder_add (found, faults[i] + strlen (start));
    }
  return g_strv_builder_end (found);
}

gboolean
fault_is_set (const char *fault)
{
  const char *text = g_getenv ("QSNAP_MOCK_FAULT");
  g_auto (GStrv) faults = g_strsplit (text != NULL ? text : "", ",", -1);
  g_autofree char *wanted = g_strconcat (process_is_probe ? "probe:" : "", fault, NULL);

  return g_strv_contains ((const char *const *)faults, wanted);
}

/* --- option values --- */

/* Cuts one "key=value" off; ",," is a comma. */
static char *
take_part (const char **text)
{
  GString *part = g_string_new (NULL);
  const char *c = *text;

  for (; *c != '\0'; c++)
    {
      if (c[0] == ',' && c[1] == ',')
        c++;
      else if (c[0] == ',')
        break;
      g_string_append_c (part, *c);
    }
  *text = *c == ',' ? c + 1 : c;
  return g_string_free (part, FALSE);
}

char *
option_dup (const char *text, const char *key)
{
  while (*text != '\0')
    {
      g_autofree char *part = take_part (&text);
      gsize length = strlen (key);

      if (g_str_equal (part, key))
        return g_strdup ("on");
      if (g_str_has_prefix (part, key) && part[length] == '=')
        return g_strdup (part + length + 1);
    }
  return NULL;
}

char *
option_dup_first (const char *text, const char *key)
{
  char *named = option_dup (text, key);

  if (named != NULL)
    return named;
  return take_part (&text);
}

guint64
option_size (const char *text, guint64 default_unit)
{
  char *end = NULL;
  guint64 number = g_ascii_strtoull (text, &end, 10);

  switch (*end)
    {
    case '\0':
      return number * default_unit;
    case 'K':
      return number << 10;
    case 'M':
      return number << 20;
    case 'G':
      return number << 30;
    default:
      return 0;
    }
}
