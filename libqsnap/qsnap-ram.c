/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-ram.h"

#include <stdio.h>
#include <string.h>

/* --- one mapping --------------------------------------------------------------------------- */

/* "start-end rwxp offset device inode name": a field is "Name: value", without a dash before its
 * colon. */
static gboolean
parse_head (const char *line, QsnapRamMapping *mapping)
{
  guint64 inode;
  char sharing;

  if (sscanf (line,
              "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x %*3c%c %*s %*s %" G_GUINT64_FORMAT,
              &mapping->start, &mapping->end, &sharing, &inode) != 4)
    return FALSE;

  mapping->shared = sharing == 's';
  mapping->anonymous = sharing == 'p' && inode == 0;

  return mapping->end > mapping->start;
}

static gboolean
read_number (const char *line, const char *name, guint64 *value)
{
  if (!g_str_has_prefix (line, name))
    return FALSE;

  *value = g_ascii_strtoull (line + strlen (name), NULL, 10);

  return TRUE;
}

static gboolean
has_flag (const char *flags, const char *flag)
{
  g_auto (GStrv) words = g_strsplit (flags, " ", -1);

  return g_strv_contains ((const char *const *)words, flag);
}

/* QEMU keeps RAM, and nothing else, from being inherited by its children ("dc"). What is a device's
 * ("io", "pf") is no RAM. */
static gboolean
is_ram (const char *flags)
{
  return has_flag (flags, "dc") && !has_flag (flags, "io") && !has_flag (flags, "pf");
}

/* The flags are the last field. */
static gboolean
parse_field (const char *line, QsnapRamMapping *mapping, gboolean *ram)
{
  guint64 value;

  if (read_number (line, "Rss:", &value))
    mapping->resident = value * 1024;
  else if (read_number (line, "AnonHugePages:", &value))
    mapping->huge = value * 1024;
  else if (read_number (line, "THPeligible:", &value))
    mapping->eligible = value != 0;
  else if (g_str_has_prefix (line, "VmFlags:"))
    {
      mapping->hugetlb = has_flag (line, "ht");
      *ram = is_ram (line);
      return TRUE;
    }

  return FALSE;
}

/* --- all of them --------------------------------------------------------------------------- */

GArray *
qsnap_ram_parse (const char *smaps)
{
  GArray *mappings = g_array_new (FALSE, FALSE, sizeof (QsnapRamMapping));
  QsnapRamMapping mapping = { 0 };
  gboolean inside = FALSE;

  for (const char *line = smaps; *line != '\0';)
    {
      const char *end = strchrnul (line, '\n');
      g_autofree char *text = g_strndup (line, (gsize)(end - line));
      QsnapRamMapping next = { 0 };
      gboolean ram = FALSE;

      if (parse_head (text, &next))
        {
          mapping = next;
          inside = TRUE;
        }
      else if (inside && parse_field (text, &mapping, &ram))
        {
          if (ram)
            g_array_append_val (mappings, mapping);
          inside = FALSE;
        }
      line = *end == '\n' ? end + 1 : end;
    }

  return mappings;
}

GArray *
qsnap_ram_read (QsnapProcess *process, GError **error)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/smaps", (int)process->pid);
  g_autofree char *text = NULL;

  if (!qsnap_process_check_known (process, error) ||
      !g_file_get_contents (path, &text, NULL, error))
    return NULL;

  return qsnap_ram_parse (text);
}
