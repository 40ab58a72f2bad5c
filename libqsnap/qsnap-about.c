/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-about.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

#define FORMAT "qsnap-about"
#define MAX_DESCRIPTION (64 * 1024)
#define MAX_METADATA (1024 * 1024)
/* In JSON a byte may take six. */
#define MAX_SIZE (6 * (MAX_DESCRIPTION + MAX_METADATA) + 4096)

void
qsnap_about_clear (QsnapAbout *about)
{
  g_clear_pointer (&about->description, g_free);
  g_clear_pointer (&about->metadata, g_variant_unref);
}

const char *
qsnap_about_problem (const char *description, GVariant *metadata)
{
  g_autofree char *text = NULL;

  if (description != NULL && strlen (description) > MAX_DESCRIPTION)
    return "the description has more than 64 KiB";
  if (description != NULL && !g_utf8_validate (description, -1, NULL))
    return "the description is not UTF-8";
  if (metadata == NULL)
    return NULL;
  if (!g_variant_is_of_type (metadata, G_VARIANT_TYPE_VARDICT))
    return "the metadata is no dictionary of strings and variants (a{sv})";

  text = g_variant_print (metadata, TRUE);

  return strlen (text) > MAX_METADATA ? "the metadata has more than 1 MiB as text" : NULL;
}

/* As text, with its types: JSON has fewer than GVariant. */
static gboolean
take_metadata (QsnapAbout *about, const char *text, GError **error)
{
  about->metadata = g_variant_parse (G_VARIANT_TYPE_VARDICT, text, NULL, NULL, error);

  return about->metadata != NULL;
}

static gboolean
take_members (QsnapAbout *about, JsonObject *object, GError **error)
{
  const char *metadata = qsnap_json_get_string (object, "metadata");

  if (g_strcmp0 (qsnap_json_get_string (object, "format"), FORMAT) != 0 ||
      qsnap_json_get_int (object, "schema", 0) != 1)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                           "it does not describe a snapshot, or not in a way that this version of "
                           "libqsnap reads");
      return FALSE;
    }

  about->description = g_strdup (qsnap_json_get_string (object, "description"));

  return metadata == NULL || take_metadata (about, metadata, error);
}

gboolean
qsnap_about_read (QsnapAbout *about, int dir_fd, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (JsonNode) node = NULL;
  gsize length;
  g_autofree char *text =
      qsnap_io_read_whole (dir_fd, QSNAP_ABOUT_FILE, MAX_SIZE, &length, &failure);

  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    return TRUE;

  if (text != NULL)
    node = qsnap_json_parse_object (text, length, &failure);
  if (node != NULL && take_members (about, json_node_get_object (node), &failure))
    return TRUE;

  qsnap_about_clear (about);
  g_propagate_prefixed_error (error, g_steal_pointer (&failure), QSNAP_ABOUT_FILE ": ");

  return FALSE;
}

gboolean
qsnap_about_write (int dir_fd, const char *description, GVariant *metadata, GError **error)
{
  g_autofree char *printed = metadata != NULL ? g_variant_print (metadata, TRUE) : NULL;
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *text = NULL;

  if (description == NULL && metadata == NULL)
    {
      if (unlinkat (dir_fd, QSNAP_ABOUT_FILE, 0) == 0)
        return qsnap_io_fsync (dir_fd, QSNAP_ABOUT_FILE, error);
      return errno == ENOENT || qsnap_io_fail (error, errno, "cannot remove " QSNAP_ABOUT_FILE);
    }

  node = qsnap_json_node_new ("format", 's', FORMAT, "schema", 'i', (gint64)1, "description", 's',
                              description, "metadata", 's', printed, NULL);
  text = qsnap_json_to_text (node, TRUE);

  return qsnap_io_replace (dir_fd, QSNAP_ABOUT_FILE, text, strlen (text), error);
}
