/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-image-names.h"

#include <string.h>
#include <xxhash.h>

/* Leaves room for the suffixes and the hash in a file name of 255 bytes. */
#define MAX_ESCAPED 200

/* Else the block "x.sums" would be the checksums of block "x". */
static const char *
find_our_suffix (const char *name)
{
  static const char *const suffixes[] = { QSNAP_IMAGE_SUMS_SUFFIX, QSNAP_IMAGE_PACKED_SUFFIX };

  for (gsize i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (name, suffixes[i]))
      return name + strlen (name) - strlen (suffixes[i]);
  return NULL;
}

static char *
escape_name (const char *name)
{
  GString *escaped = g_string_new (NULL);
  const char *suffix = find_our_suffix (name);

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
qsnap_image_block_path (const char *block, gboolean packed)
{
  g_autofree char *escaped = escape_name (block);

  return g_strconcat (QSNAP_IMAGE_RAM_DIR "/", escaped, packed ? QSNAP_IMAGE_PACKED_SUFFIX : NULL,
                      NULL);
}

char *
qsnap_image_sums_path (const char *block, gboolean packed)
{
  g_autofree char *path = qsnap_image_block_path (block, packed);

  return g_strconcat (path, QSNAP_IMAGE_SUMS_SUFFIX, NULL);
}
