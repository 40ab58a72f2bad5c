/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-backing-chain.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-qemu-img.h"
#include "qsnap/qsnap-error.h"

/* An image, as the one above it names it. */
typedef struct
{
  /* NULL: it is no local file. */
  char *file;
  char *format;
  /* Options of what is below it, which count and not its header; NULL: its header does. */
  JsonNode *below;
} Layer;

static void
layer_clear (Layer *layer)
{
  g_clear_pointer (&layer->file, g_free);
  g_clear_pointer (&layer->format, g_free);
  g_clear_pointer (&layer->below, json_node_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Layer, layer_clear)

/* --- names --------------------------------------------------------------------------------- */

static gboolean
is_file_driver (const char *driver)
{
  return g_strcmp0 (driver, "file") == 0 || g_strcmp0 (driver, "host_device") == 0;
}

/* What json:{…} has in it, as a revert of a clone writes it. */
static void
take_options (Layer *layer, JsonObject *options)
{
  const char *driver = qsnap_json_get_string (options, "driver");
  JsonObject *protocol =
      is_file_driver (driver) ? options : qsnap_json_get_object (options, "file");
  const char *file = is_file_driver (qsnap_json_get_string (protocol, "driver"))
                         ? qsnap_json_get_string (protocol, "filename")
                         : NULL;

  if (driver == NULL || file == NULL || !g_path_is_absolute (file))
    return;

  layer->file = g_canonicalize_filename (file, NULL);
  layer->format = g_strdup (protocol == options ? "raw" : driver);
  if (json_object_has_member (options, "backing"))
    layer->below = qsnap_json_copy (json_object_get_member (options, "backing"));
}

static void
take_pseudo_name (Layer *layer, const char *name)
{
  const char *text = name + strlen ("json:");
  g_autoptr (JsonNode) options = qsnap_json_parse_object (text, strlen (text), NULL);

  if (options != NULL)
    take_options (layer, json_node_get_object (options));
}

static gboolean
take_header (Layer *layer, const char *above, JsonObject *info, GError **error)
{
  const char *name = qsnap_json_get_string (info, "backing-filename");
  const char *format = qsnap_json_get_string (info, "backing-filename-format");
  g_autofree char *folder = g_path_get_dirname (above);

  if (name == NULL)
    return TRUE;
  if (g_str_has_prefix (name, "json:"))
    {
      take_pseudo_name (layer, name);
      return TRUE;
    }

  layer->file = qsnap_image_resolve_backing (name, folder);
  layer->format = g_strdup (format);
  if (layer->file == NULL || format != NULL)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "the header of %s does not say the format of %s, on which it stands: "
               "`qemu-img rebase -u -b FILE -F FORMAT` writes it",
               above, layer->file);

  return FALSE;
}

static gboolean
find_below (Layer *below, const Layer *above, JsonObject *info, GError **error)
{
  memset (below, 0, sizeof *below);
  if (above->below == NULL)
    return take_header (below, above->file, info, error);

  /* null: it stands on nothing. */
  if (JSON_NODE_HOLDS_OBJECT (above->below))
    take_options (below, json_node_get_object (above->below));

  return TRUE;
}

/* --- images -------------------------------------------------------------------------------- */

JsonNode *
qsnap_backing_chain_look (const char *file,
                          const char *format,
                          GCancellable *cancellable,
                          GError **error)
{
  struct stat found;

  if (stat (file, &found) != 0 || access (file, R_OK) != 0)
    {
      qsnap_io_fail (error, errno, "%s", file);
      return NULL;
    }
  /* Whoever opens a pipe waits for its other end. */
  if (!S_ISREG (found.st_mode) && !S_ISBLK (found.st_mode))
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "%s is neither a file nor a block device", file);
      return NULL;
    }

  return qsnap_qemu_img_info (file, format, cancellable, error);
}

static JsonNode *
look_below (const Layer *above, const Layer *below, GCancellable *cancellable, GError **error)
{
  JsonNode *info = qsnap_backing_chain_look (below->file, below->format, cancellable, error);

  if (info == NULL)
    {
      g_prefix_error (error,
                      "%s stands on %s, which cannot be read (`qemu-img rebase -u` names another "
                      "one in its header): ",
                      above->file, below->file);
      return NULL;
    }
  if (!qsnap_image_is_written (below->file))
    return info;

  json_node_unref (info);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
               "%s stands on %s, and a QEMU may write to that: end it first", above->file,
               below->file);

  return NULL;
}

/* Images may name each other in a circle. */
static gboolean
check_new (const char *file, GPtrArray *chain, const char *below, GError **error)
{
  gboolean known = qsnap_is_same_file (file, below);

  for (guint i = 0; i < chain->len; i++)
    known |= qsnap_is_same_file (chain->pdata[i], below);
  if (known)
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "%s stands on %s, which stands on itself",
                 file, below);

  return !known;
}

GPtrArray *
qsnap_backing_chain_read (const char *file,
                          JsonObject *info,
                          GCancellable *cancellable,
                          GError **error)
{
  g_autoptr (GPtrArray) chain = g_ptr_array_new_with_free_func (g_free);
  g_auto (Layer) above = { .file = g_strdup (file) };
  g_autoptr (JsonNode) known = NULL;

  for (;;)
    {
      g_auto (Layer) below = { NULL };

      if (!find_below (&below, &above, known != NULL ? qsnap_json_object (known) : info, error))
        return NULL;
      if (below.file == NULL)
        return g_steal_pointer (&chain);
      if (!check_new (file, chain, below.file, error))
        return NULL;

      g_clear_pointer (&known, json_node_unref);
      known = look_below (&above, &below, cancellable, error);
      if (known == NULL)
        return NULL;

      g_ptr_array_add (chain, g_strdup (below.file));
      layer_clear (&above);
      above = below;
      memset (&below, 0, sizeof below);
    }
}
