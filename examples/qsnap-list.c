/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: list, as a tree of what came from what, and describe. */

#include "qsnap-tool.h"

#include <string.h>

/* --- the tree ------------------------------------------------------------------------------ */

typedef struct
{
  const char *node;
  const char *fork;
  const char *last;
  const char *down;
  const char *none;
  const char *guest;
} Marks;

static const Marks unicode = { "● ", "├─", "└─", "│ ", "  ", "  ◀ a guest goes on from here" };
static const Marks ascii = { "* ", "|-", "`-", "| ", "  ", "  <- a guest goes on from here" };

typedef struct
{
  GListModel *list;
  const Marks *marks;
  /* Of each in the list: its parent's place there, or -1. */
  int *parents;
} Tree;

static int
find_parent (GListModel *list, QsnapSnapshot *snapshot)
{
  g_autofree char *wanted = qsnap_snapshot_dup_parent_id (snapshot);

  for (guint i = 0; wanted != NULL && i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapSnapshot) other = g_list_model_get_item (list, i);
      g_autofree char *id = qsnap_snapshot_dup_id (other);

      /* One that says it came from a later one is copied or forged: no circles. */
      if (other == snapshot)
        return -1;
      if (g_strcmp0 (id, wanted) == 0)
        return (int)i;
    }

  return -1;
}

static guint
count_children (const Tree *tree, int parent)
{
  guint n = 0;

  for (guint i = 0; i < g_list_model_get_n_items (tree->list); i++)
    n += tree->parents[i] == parent;

  return n;
}

static void
print_line (const Tree *tree, guint index, const char *prefix)
{
  g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (tree->list, index);
  g_autofree char *time = time_text (snapshot, "%F %T");
  g_autofree char *data = size_text (qsnap_snapshot_get_data_size (snapshot));
  g_autofree char *directory = g_file_get_basename (qsnap_snapshot_get_directory (snapshot));
  g_autofree char *description = qsnap_snapshot_dup_description (snapshot);
  g_autofree char *first_line =
      description != NULL ? g_strndup (description, strcspn (description, "\n")) : NULL;

  g_print ("%s  %10s  %6.1f ms  %s%s%s  (%s)%s%s%s\n", time, data,
           (double)qsnap_snapshot_get_pause_us (snapshot) / 1e3, prefix, tree->marks->node,
           qsnap_snapshot_get_name (snapshot), directory, first_line != NULL ? "  " : "",
           first_line != NULL ? first_line : "",
           qsnap_snapshot_has_guest (snapshot) ? tree->marks->guest : "");
}

static void print_children (const Tree *tree, int parent, const char *prefix);

static void
print_child (const Tree *tree, guint index, const char *prefix, const char *fork, const char *below)
{
  g_autofree char *own = g_strconcat (prefix, fork, NULL);
  g_autofree char *inner = g_strconcat (prefix, below, NULL);

  print_line (tree, index, own);
  print_children (tree, (int)index, inner);
}

/* An only child is right below its parent, so that a long chain stays a column. */
static void
print_children (const Tree *tree, int parent, const char *prefix)
{
  gboolean forks = parent >= 0 && count_children (tree, parent) > 1;
  guint left = count_children (tree, parent);

  for (guint i = 0; i < g_list_model_get_n_items (tree->list); i++)
    {
      if (tree->parents[i] != parent)
        continue;

      left--;
      if (!forks)
        print_child (tree, i, prefix, "", "");
      else if (left > 0)
        print_child (tree, i, prefix, tree->marks->fork, tree->marks->down);
      else
        print_child (tree, i, prefix, tree->marks->last, tree->marks->none);
    }
}

static void
print_tree (GListModel *list)
{
  g_autofree int *parents = g_new (int, g_list_model_get_n_items (list) + 1);
  Tree tree = { list, g_get_charset (NULL) ? &unicode : &ascii, parents };

  for (guint i = 0; i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (list, i);

      parents[i] = find_parent (list, snapshot);
    }
  print_children (&tree, -1, "");
}

/* --- list ---------------------------------------------------------------------------------- */

static int
print_list_json (GFile *parent, GListModel *list)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_ARRAY);
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (list, i);

      json_array_add_element (array, snapshot_to_json (snapshot));
    }
  add_groups_to_json (parent, array);
  json_node_take_array (node, array);

  return print_json (node);
}

static int
list_orphans (Options *options, GFile *parent)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GListModel) list = qsnap_orphan_list (parent, NULL, &error);
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_ARRAY);
  JsonArray *array = json_array_new ();

  json_node_take_array (node, array);
  for (guint i = 0; list != NULL && i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapOrphan) orphan = g_list_model_get_item (list, i);
      const char *path = g_file_peek_path (qsnap_orphan_get_file (orphan));
      JsonObject *object = json_object_new ();

      json_object_set_string_member (object, "file", path);
      json_object_set_string_member (object, "reason", qsnap_orphan_get_reason (orphan));
      json_object_set_boolean_member (object, "certain", qsnap_orphan_get_certain (orphan));
      json_array_add_object_element (array, object);
      if (!options->json)
        g_print ("%-9s %s\n          %s\n",
                 qsnap_orphan_get_certain (orphan) ? "no use" : "not sure", path,
                 qsnap_orphan_get_reason (orphan));
    }
  if (list == NULL)
    return fail (error);

  return options->json ? print_json (node) : EXIT_OK;
}

int
run_list (Options *options, char **arguments)
{
  g_autoptr (GFile) parent = g_file_new_for_commandline_arg (arguments[0]);
  g_autoptr (GError) error = NULL;
  g_autoptr (GListModel) list = NULL;

  if (options->orphans)
    return list_orphans (options, parent);

  list = qsnap_snapshot_list (parent, NULL, &error);
  if (list == NULL)
    return fail (error);
  if (options->json)
    return print_list_json (parent, list);

  print_tree (list);
  print_groups (parent);

  return EXIT_OK;
}

/* --- describe ------------------------------------------------------------------------------ */

/* KEY=VALUE… over @before; KEY= takes one away. NULL with the error for what is none. */
GVariant *
metadata_from_words (GVariant *before, GStrv words, GError **error)
{
  g_autoptr (GVariantDict) dict = g_variant_dict_new (before);

  for (; words != NULL && *words != NULL; words++)
    {
      const char *equals = strchr (*words, '=');
      g_autofree char *key = NULL;

      if (equals == NULL || equals == *words || !g_utf8_validate (*words, -1, NULL))
        {
          g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                       "--metadata: \"%s\" is not KEY=VALUE", *words);
          return NULL;
        }
      key = g_strndup (*words, (gsize)(equals - *words));
      if (equals[1] == '\0')
        g_variant_dict_remove (dict, key);
      else
        g_variant_dict_insert (dict, key, "s", equals + 1);
    }

  return g_variant_ref_sink (g_variant_dict_end (dict));
}

void
print_about (QsnapSnapshot *snapshot)
{
  g_autofree char *parent = qsnap_snapshot_dup_parent_name (snapshot);
  g_autofree char *description = qsnap_snapshot_dup_description (snapshot);
  g_autoptr (GVariant) metadata = qsnap_snapshot_dup_metadata (snapshot);
  GVariantIter iter;
  const char *key;
  GVariant *value;

  if (parent != NULL)
    g_print ("its guest came from snapshot %s\n", parent);
  if (description != NULL)
    g_print ("%s\n", description);
  if (metadata == NULL)
    return;

  g_variant_iter_init (&iter, metadata);
  while (g_variant_iter_loop (&iter, "{&sv}", &key, &value))
    {
      g_autofree char *text = g_variant_is_of_type (value, G_VARIANT_TYPE_STRING)
                                  ? g_variant_dup_string (value, NULL)
                                  : g_variant_print (value, TRUE);

      g_print ("%s=%s\n", key, text);
    }
}

static gboolean
describe (Options *options, QsnapSnapshot *snapshot, const char *text, GError **error)
{
  g_autofree char *before = qsnap_snapshot_dup_description (snapshot);
  g_autoptr (GVariant) known = qsnap_snapshot_dup_metadata (snapshot);
  g_autoptr (GVariant) metadata = metadata_from_words (known, options->metadata, error);
  const char *description = text != NULL ? text : before;

  return metadata != NULL &&
         qsnap_snapshot_annotate (
             snapshot, description != NULL && *description != '\0' ? description : NULL,
             g_variant_n_children (metadata) > 0 ? metadata : NULL, NULL, error);
}

int
run_describe (Options *options, char **arguments)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = load_snapshot (arguments[0], &error);

  if (snapshot == NULL)
    return fail (error);
  if (arguments[1] == NULL && options->metadata == NULL)
    return usage ("describe: say something, or give --metadata", "");
  if (!describe (options, snapshot, arguments[1], &error))
    return g_error_matches (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE)
               ? usage ("", error->message)
               : fail (error);
  if (options->json)
    {
      g_autoptr (JsonNode) node = snapshot_to_json (snapshot);

      return print_json (node);
    }

  return EXIT_OK;
}
