/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include <string.h>

typedef struct
{
  QsnapOption *option;
  QsnapProps *props;
  /* How many nodes stand on it before anything is adapted. */
  guint n_parents;
  /* The node below that it does not stand on any more, or NULL. */
  char *loose;
} Node;

static void
node_free (Node *node)
{
  g_clear_pointer (&node->props, qsnap_props_free);
  g_free (node->loose);
  g_free (node);
}

static Node *
find_node (GPtrArray *nodes, const char *name)
{
  for (guint i = 0; i < nodes->len; i++)
    {
      Node *node = g_ptr_array_index (nodes, i);

      if (g_strcmp0 (qsnap_props_get (node->props, "node-name"), name) == 0)
        return node;
    }

  return NULL;
}

/* --- which nodes guests use ---------------------------------------------------------------- */

/* A property that may be the name of a node below, in this node or in one that is nested in it. */
static gboolean
is_child_key (const char *key)
{
  static const char *const names[] = { "file", "backing", "data-file", "image",
                                       "raw",  "test",    "log",       NULL };
  const char *dot = strrchr (key, '.');

  return g_strv_contains (names, dot != NULL ? dot + 1 : key) || strstr (key, "children.") != NULL;
}

static guint
count_parents (GPtrArray *nodes, const char *name)
{
  guint n_parents = 0;

  for (guint i = 0; name != NULL && i < nodes->len; i++)
    {
      Node *node = g_ptr_array_index (nodes, i);

      for (guint j = 0; j < qsnap_props_length (node->props); j++)
        if (is_child_key (qsnap_props_key (node->props, j)) &&
            g_strcmp0 (qsnap_props_value (node->props, j), name) == 0)
          n_parents++;
    }

  return n_parents;
}

static GPtrArray *
collect_nodes (QsnapCommand *command, GError **error)
{
  g_autoptr (GPtrArray) nodes = g_ptr_array_new_with_free_func ((GDestroyNotify)node_free);

  for (guint i = 0; i < command->options->len; i++)
    {
      QsnapOption *option = g_ptr_array_index (command->options, i);
      Node *node;

      if (!qsnap_option_is (option, "blockdev"))
        continue;

      node = g_new0 (Node, 1);
      g_ptr_array_add (nodes, node);
      node->option = option;
      node->props = qsnap_option_parse (option, "driver", error);
      if (node->props == NULL)
        return NULL;
    }

  for (guint i = 0; i < nodes->len; i++)
    {
      Node *node = g_ptr_array_index (nodes, i);

      node->n_parents = count_parents (nodes, qsnap_props_get (node->props, "node-name"));
    }

  return g_steal_pointer (&nodes);
}

/* --- the chain below an image that is replaced --------------------------------------------- */

/* The name of the node below @node in its chain, or NULL. */
static const char *
backing_of (const Node *node)
{
  const char *backing = qsnap_props_get (node->props, "backing");

  return backing != NULL && *backing != '\0' ? backing : NULL;
}

/* The images are opened as their headers say, without what a node says beside. */
static gboolean
check_chain (GPtrArray *nodes, const Node *node, GError **error)
{
  /* Nodes of a hostile command line may stand on themselves. */
  for (guint depth = 0; depth < nodes->len && backing_of (node) != NULL; depth++)
    {
      const Node *below = find_node (nodes, backing_of (node));
      const char *driver = below != NULL ? qsnap_props_get (below->props, "driver") : NULL;

      if (below == NULL)
        return qsnap_option_refuse (node->option, error, "there is no -blockdev %s",
                                    backing_of (node));
      if ((driver == NULL || !qsnap_disk_driver_is_file (driver)) &&
          !qsnap_disk_check_image (below->option, below->props, "driver", error))
        return FALSE;
      node = below;
    }

  return TRUE;
}

static gboolean
cut_chain (GPtrArray *nodes, Node *node, GError **error)
{
  if (!check_chain (nodes, node, error))
    return FALSE;

  node->loose = g_strdup (backing_of (node));
  if (node->loose != NULL)
    qsnap_props_remove (node->props, "backing");

  return TRUE;
}

static void
list_children (const Node *node, GPtrArray *names)
{
  for (guint i = 0; i < qsnap_props_length (node->props); i++)
    if (is_child_key (qsnap_props_key (node->props, i)) &&
        qsnap_props_value (node->props, i) != NULL)
      g_ptr_array_add (names, g_strdup (qsnap_props_value (node->props, i)));
}

/* Unless something else uses them; what they stood on is loose then, too. */
static void
drop_loose (QsnapCommand *command, GPtrArray *nodes)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < nodes->len; i++)
    {
      const Node *node = g_ptr_array_index (nodes, i);

      if (node->loose != NULL)
        g_ptr_array_add (names, g_strdup (node->loose));
    }

  for (guint i = 0; i < names->len; i++)
    {
      const char *name = g_ptr_array_index (names, i);
      Node *node = find_node (nodes, name);

      if (node == NULL || qsnap_command_refers_to (command, name))
        continue;

      list_children (node, names);
      g_ptr_array_remove (command->options, node->option);
      g_ptr_array_remove (nodes, node);
    }
}

/* --- what its image is --------------------------------------------------------------------- */

/* The node's own driver opens the file: a format goes between, in the node that has the name. What
 * belongs to the file goes down with it, the rest is inherited. */
static gboolean
adapt_protocol_node (Node *node, QsnapDiskSearch *search, GError **error)
{
  static const char *const of_file[] = {
    "filename",   "aio",        "aio-max-batch",         "locking",
    "pr-manager", "drop-cache", "x-check-cache-dropped", NULL
  };
  const char *image = qsnap_props_get (node->props, "filename");
  const char *overlay;

  if (image == NULL)
    return qsnap_option_refuse (node->option, error, "the node has no file name");
  overlay = qsnap_disk_search_take (search, node->option, image, error);
  if (overlay == NULL)
    return FALSE;

  qsnap_props_set (node->props, "driver", "qcow2");
  for (guint i = 0; of_file[i] != NULL; i++)
    {
      g_autofree char *below = g_strconcat ("file.", of_file[i], NULL);

      qsnap_props_rename (node->props, of_file[i], below);
    }
  qsnap_props_set (node->props, "file.driver", "file");
  qsnap_props_set (node->props, "file.filename", overlay);

  return TRUE;
}

/* The node that opens the image of @node, and what its keys begin with there. */
static Node *
find_file_node (GPtrArray *nodes, Node *node, const char **prefix, GError **error)
{
  const char *name = qsnap_props_get (node->props, "file");
  Node *file;

  *prefix = "file.";
  if (name == NULL)
    return node;

  *prefix = "";
  file = find_node (nodes, name);
  if (file == NULL)
    qsnap_option_refuse (node->option, error, "there is no -blockdev %s", name);
  else if (file->n_parents > 1)
    qsnap_option_refuse (node->option, error, "more than one node uses %s", name);
  else
    return file;

  return NULL;
}

static gboolean
adapt_format_node (GPtrArray *nodes, Node *node, QsnapDiskSearch *search, GError **error)
{
  const char *prefix;
  Node *file = find_file_node (nodes, node, &prefix, error);
  gboolean says_backing = qsnap_props_has (node->props, "backing");
  g_autofree char *driver_key = NULL;
  g_autofree char *filename_key = NULL;
  const char *driver;
  const char *image;
  const char *overlay;

  if (file == NULL || !cut_chain (nodes, node, error) ||
      !qsnap_disk_make_qcow2 (node->option, node->props, "driver", error))
    return FALSE;

  driver_key = g_strconcat (prefix, "driver", NULL);
  filename_key = g_strconcat (prefix, "filename", NULL);
  driver = qsnap_props_get (file->props, driver_key);
  image = qsnap_props_get (file->props, filename_key);
  if (driver == NULL || image == NULL || !qsnap_disk_driver_is_file (driver))
    return qsnap_option_refuse (file->option, error, "the image is not a local file (%s)",
                                driver != NULL ? driver : "no driver");

  overlay = qsnap_disk_search_take (search, file->option, image, error);
  if (overlay == NULL ||
      (says_backing && !qsnap_disk_check_headers (search, node->option, overlay, error)))
    return FALSE;

  qsnap_props_set (file->props, driver_key, "file");
  qsnap_props_set (file->props, filename_key, overlay);

  return TRUE;
}

static gboolean
adapt_node (GPtrArray *nodes, Node *node, QsnapDiskSearch *search, GError **error)
{
  const char *driver = qsnap_props_get (node->props, "driver");

  if (qsnap_props_get_bool (node->props, "read-only", FALSE) || node->n_parents > 0)
    return TRUE;

  if (driver == NULL)
    return qsnap_option_refuse (node->option, error, "the node has no driver");

  return qsnap_disk_driver_is_file (driver) ? adapt_protocol_node (node, search, error)
                                            : adapt_format_node (nodes, node, search, error);
}

gboolean
qsnap_command_adapt_blockdevs (QsnapCommand *command, QsnapDiskSearch *search, GError **error)
{
  g_autoptr (GPtrArray) nodes = collect_nodes (command, error);

  if (nodes == NULL)
    return FALSE;

  for (guint i = 0; i < nodes->len; i++)
    if (!adapt_node (nodes, g_ptr_array_index (nodes, i), search, error))
      return FALSE;

  for (guint i = 0; i < nodes->len; i++)
    {
      Node *node = g_ptr_array_index (nodes, i);

      qsnap_option_store (node->option, node->props);
    }
  drop_loose (command, nodes);

  return TRUE;
}
