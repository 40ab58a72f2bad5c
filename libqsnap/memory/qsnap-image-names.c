/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-image-names.h"

#include <string.h>
#include <xxhash.h>

/* Leaves room for ".sums" and the hash in a file name of 255 bytes. */
#define MAX_ESCAPED 200

static char *
escape_name (const char *name)
{
  GString *escaped = g_string_new (NULL);
  /* Else the block "x.sums" would be the checksums of block "x". */
  const char *suffix = g_str_has_suffix (name, QSNAP_IMAGE_SUMS_SUFFIX)
                           ? name + strlen (name) - strlen (QSNAP_IMAGE_SUMS_SUFFIX)
                           : NULL;

  for (const char *c = name; *c != '\0'; c++)
    if (g_ascii_isalnum (*c) || *c == '_' || *c == '-' || (*c == '.' && c != name && c != suffix))
      g_string_append_c (escaped, *c);
    else
      g_string_append_printf (escaped, "%%%02X", (guchar)*c);

  if (escaped->len > MAX_ESCAPED)
    {
      g_string_truncate (escaped, MAX_ESCAPED);
      /* '~' is never left unescaped: no other block can have this name. */
      g_string_append_printf (escaped, "~%016" G_GINT64_MODIFIER "x",
                              (guint64)XXH3_64bits (name, strlen (name)));
    }
  return g_string_free (escaped, FALSE);
}

char *
qsnap_image_block_path (const char *block)
{
  g_autofree char *escaped = escape_name (block);

  return g_strconcat (QSNAP_IMAGE_RAM_DIR "/", escaped, NULL);
}

char *
qsnap_image_sums_path (const char *block)
{
  g_autofree char *escaped = escape_name (block);

  return g_strconcat (QSNAP_IMAGE_RAM_DIR "/", escaped, QSNAP_IMAGE_SUMS_SUFFIX, NULL);
}
