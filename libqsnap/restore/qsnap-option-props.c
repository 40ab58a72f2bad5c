/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-option-props.h"

#include <string.h>

#include "qsnap-json.h"

typedef struct
{
  char *key;
  /* NULL for JSON's null, lists and empty objects. */
  char *value;
  /* key=value: as it was written; NULL once it has another value. */
  char *raw;
  /* key=value: written without its key, as the first one may be. */
  gboolean implied;
  /* JSON: the value, and its members' names from the top; a name may have dots of its own. */
  JsonNode *node;
  GStrv path;
} Item;

struct _QsnapProps
{
  char *text;
  gboolean is_json;
  gboolean touched;
  /* Item * */
  GPtrArray *items;
};

static void
item_free (Item *item)
{
  g_free (item->key);
  g_free (item->value);
  g_free (item->raw);
  g_clear_pointer (&item->node, json_node_unref);
  g_strfreev (item->path);
  g_free (item);
}

/* --- key=value ----------------------------------------------------------------------------- */

/* Up to the comma that ends it; returns where that is. */
static const char *
take_value (const char *from, char **value)
{
  GString *taken = g_string_new (NULL);
  const char *p = from;

  while (*p != '\0' && (*p != ',' || p[1] == ','))
    {
      if (*p == ',')
        p++;
      g_string_append_c (taken, *p++);
    }

  *value = g_string_free (taken, FALSE);

  return p;
}

/* "server" is server=on, "nowait" is wait=off. */
static void
take_flag (Item *item, const char *from, gsize length)
{
  gboolean off = length > 2 && strncmp (from, "no", 2) == 0;

  item->key = off ? g_strndup (from + 2, length - 2) : g_strndup (from, length);
  item->value = g_strdup (off ? "off" : "on");
}

static const char *
take_item (QsnapProps *props, const char *from, const char *implied_key)
{
  gsize length = strcspn (from, "=,");
  const char *end = from + length;
  Item *item = g_new0 (Item, 1);

  if (*end == '=')
    {
      item->key = g_strndup (from, length);
      end = take_value (end + 1, &item->value);
    }
  else if (implied_key != NULL)
    {
      item->key = g_strdup (implied_key);
      item->implied = TRUE;
      end = take_value (from, &item->value);
    }
  else
    take_flag (item, from, length);

  item->raw = g_strndup (from, (gsize)(end - from));
  g_ptr_array_add (props->items, item);

  return *end == ',' ? end + 1 : end;
}

static void
print_item (GString *text, const Item *item)
{
  g_auto (GStrv) parts = NULL;
  g_autofree char *escaped = NULL;

  if (item->raw != NULL)
    {
      g_string_append (text, item->raw);
      return;
    }

  parts = g_strsplit (item->value, ",", -1);
  escaped = g_strjoinv (",,", parts);
  if (!item->implied || strpbrk (item->value, "=,") != NULL)
    g_string_append_printf (text, "%s=", item->key);
  g_string_append (text, escaped);
}

static char *
print_list (QsnapProps *props)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < props->items->len; i++)
    {
      if (i > 0)
        g_string_append_c (text, ',');
      print_item (text, g_ptr_array_index (props->items, i));
    }

  return g_string_free (text, FALSE);
}

/* --- JSON ---------------------------------------------------------------------------------- */

static char *
text_of_value (JsonNode *node)
{
  char number[G_ASCII_DTOSTR_BUF_SIZE];

  if (!JSON_NODE_HOLDS_VALUE (node))
    return NULL;

  switch (json_node_get_value_type (node))
    {
    case G_TYPE_STRING:
      return json_node_dup_string (node);
    case G_TYPE_BOOLEAN:
      return g_strdup (json_node_get_boolean (node) ? "on" : "off");
    case G_TYPE_INT64:
      return g_strdup_printf ("%" G_GINT64_FORMAT, json_node_get_int (node));
    case G_TYPE_DOUBLE:
      return g_strdup (g_ascii_dtostr (number, sizeof number, json_node_get_double (node)));
    default:
      return NULL;
    }
}

/* The parser bounds the depth. */
static void
flatten (QsnapProps *props, JsonObject *object, GPtrArray *path)
{
  g_autoptr (GList) names = json_object_get_members (object);

  for (GList *l = names; l != NULL; l = l->next)
    {
      JsonNode *node = json_object_get_member (object, l->data);
      JsonObject *inner = qsnap_json_object (node);

      g_ptr_array_add (path, l->data);
      if (inner != NULL && json_object_get_size (inner) > 0)
        flatten (props, inner, path);
      else
        {
          Item *item = g_new0 (Item, 1);
          g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

          for (guint i = 0; i < path->len; i++)
            g_strv_builder_add (builder, g_ptr_array_index (path, i));
          item->path = g_strv_builder_end (builder);
          item->key = g_strjoinv (".", item->path);
          item->node = json_node_ref (node);
          item->value = text_of_value (node);
          g_ptr_array_add (props->items, item);
        }
      g_ptr_array_set_size (path, (int)path->len - 1);
    }
}

static char *
print_json (QsnapProps *props)
{
  JsonObject *root = json_object_new ();
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (root);

  for (guint i = 0; i < props->items->len; i++)
    {
      const Item *item = g_ptr_array_index (props->items, i);
      JsonObject *object = root;
      guint depth = 0;

      for (; item->path[depth + 1] != NULL; depth++)
        {
          if (qsnap_json_get_object (object, item->path[depth]) == NULL)
            json_object_set_object_member (object, item->path[depth], json_object_new ());
          object = qsnap_json_get_object (object, item->path[depth]);
        }
      json_object_set_member (object, item->path[depth], json_node_copy (item->node));
    }

  return qsnap_json_to_text (node, FALSE);
}

/* --- both ---------------------------------------------------------------------------------- */

QsnapProps *
qsnap_props_parse (const char *text, const char *implied_key, GError **error)
{
  g_autoptr (QsnapProps) props = g_new0 (QsnapProps, 1);
  const char *next = text;

  props->text = g_strdup (text);
  props->is_json = *text == '{';
  props->items = g_ptr_array_new_with_free_func ((GDestroyNotify)item_free);

  if (props->is_json)
    {
      g_autoptr (JsonNode) node = qsnap_json_parse_object (text, strlen (text), error);
      g_autoptr (GPtrArray) path = g_ptr_array_new ();

      if (node == NULL)
        return NULL;
      flatten (props, json_node_get_object (node), path);

      return g_steal_pointer (&props);
    }

  while (*next != '\0')
    next = take_item (props, next, next == text ? implied_key : NULL);

  return g_steal_pointer (&props);
}

void
qsnap_props_free (QsnapProps *props)
{
  g_free (props->text);
  g_clear_pointer (&props->items, g_ptr_array_unref);
  g_free (props);
}

char *
qsnap_props_to_text (QsnapProps *props)
{
  if (!props->touched)
    return g_strdup (props->text);

  return props->is_json ? print_json (props) : print_list (props);
}

guint
qsnap_props_length (QsnapProps *props)
{
  return props->items->len;
}

const char *
qsnap_props_key (QsnapProps *props, guint index)
{
  return ((const Item *)g_ptr_array_index (props->items, index))->key;
}

const char *
qsnap_props_value (QsnapProps *props, guint index)
{
  return ((const Item *)g_ptr_array_index (props->items, index))->value;
}

static Item *
lookup (QsnapProps *props, const char *key)
{
  for (guint i = props->items->len; i > 0; i--)
    if (g_str_equal (qsnap_props_key (props, i - 1), key))
      return g_ptr_array_index (props->items, i - 1);

  return NULL;
}

static gboolean
is_or_below (const char *name, const char *key)
{
  gsize length = strlen (key);

  return strncmp (name, key, length) == 0 && (name[length] == '\0' || name[length] == '.');
}

gboolean
qsnap_props_has (QsnapProps *props, const char *key)
{
  for (guint i = 0; i < props->items->len; i++)
    if (is_or_below (qsnap_props_key (props, i), key))
      return TRUE;

  return FALSE;
}

const char *
qsnap_props_find (QsnapProps *props, const char *const *keys)
{
  for (guint i = 0; keys[i] != NULL; i++)
    if (qsnap_props_has (props, keys[i]))
      return keys[i];

  return NULL;
}

const char *
qsnap_props_get (QsnapProps *props, const char *key)
{
  Item *item = lookup (props, key);

  return item != NULL ? item->value : NULL;
}

gboolean
qsnap_props_get_bool (QsnapProps *props, const char *key, gboolean otherwise)
{
  static const char *const yes[] = { "on", "yes", "true", "y", NULL };
  const char *value = qsnap_props_get (props, key);

  return value != NULL ? g_strv_contains (yes, value) : otherwise;
}

static gboolean
node_has (JsonNode *node, const char *text)
{
  JsonArray *array = JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  JsonObject *object = qsnap_json_object (node);
  g_autoptr (GList) inner = NULL;

  if (JSON_NODE_HOLDS_VALUE (node))
    return g_strcmp0 (json_node_get_string (node), text) == 0;

  if (array != NULL)
    inner = json_array_get_elements (array);
  else if (object != NULL)
    inner = json_object_get_values (object);
  for (GList *l = inner; l != NULL; l = l->next)
    if (node_has (l->data, text))
      return TRUE;

  return FALSE;
}

gboolean
qsnap_props_refer_to (QsnapProps *props, const char *name)
{
  static const char *const own[] = { "id", "node-name", NULL };

  for (guint i = 0; i < props->items->len; i++)
    {
      const Item *item = g_ptr_array_index (props->items, i);

      if (g_strv_contains (own, item->key))
        continue;
      if (props->is_json ? node_has (item->node, name) : g_str_equal (item->value, name))
        return TRUE;
    }

  return FALSE;
}

/* The item of @key that is in force, alone. */
static Item *
take_place (QsnapProps *props, const char *key)
{
  Item *item = lookup (props, key);

  for (guint i = props->items->len; i > 0; i--)
    if (g_str_equal (qsnap_props_key (props, i - 1), key) &&
        g_ptr_array_index (props->items, i - 1) != item)
      g_ptr_array_remove_index (props->items, i - 1);

  if (item == NULL)
    {
      item = g_new0 (Item, 1);
      item->key = g_strdup (key);
      item->path = props->is_json ? g_strsplit (key, ".", -1) : NULL;
      g_ptr_array_add (props->items, item);
    }
  props->touched = TRUE;

  return item;
}

static void
set_node (QsnapProps *props, const char *key, const char *value, JsonNode *node)
{
  g_autoptr (JsonNode) owned = node;
  Item *item = lookup (props, key);

  if (item != NULL && g_strcmp0 (item->value, value) == 0)
    return;

  item = take_place (props, key);
  g_free (item->value);
  item->value = g_strdup (value);
  g_clear_pointer (&item->raw, g_free);
  g_clear_pointer (&item->node, json_node_unref);
  item->node = g_steal_pointer (&owned);
}

void
qsnap_props_set (QsnapProps *props, const char *key, const char *value)
{
  set_node (props, key, value, json_node_init_string (json_node_alloc (), value));
}

void
qsnap_props_set_bool (QsnapProps *props, const char *key, gboolean value)
{
  set_node (props, key, value ? "on" : "off", json_node_init_boolean (json_node_alloc (), value));
}

void
qsnap_props_rename (QsnapProps *props, const char *key, const char *new_key)
{
  Item *item;

  if (lookup (props, key) == NULL)
    return;

  item = take_place (props, key);
  g_free (item->key);
  item->key = g_strdup (new_key);
  item->implied = FALSE;
  g_clear_pointer (&item->raw, g_free);
  g_strfreev (item->path);
  item->path = props->is_json ? g_strsplit (new_key, ".", -1) : NULL;
}

void
qsnap_props_remove (QsnapProps *props, const char *key)
{
  for (guint i = props->items->len; i > 0; i--)
    if (is_or_below (qsnap_props_key (props, i - 1), key))
      {
        g_ptr_array_remove_index (props->items, i - 1);
        props->touched = TRUE;
      }
}

void
qsnap_props_remove_all (QsnapProps *props, const char *const *keys)
{
  for (guint i = 0; keys[i] != NULL; i++)
    qsnap_props_remove (props, keys[i]);
}

static gboolean
is_any_of (const char *name, const char *const *keys)
{
  for (guint i = 0; keys[i] != NULL; i++)
    if (is_or_below (name, keys[i]))
      return TRUE;

  return FALSE;
}

void
qsnap_props_keep (QsnapProps *props, const char *const *keys)
{
  for (guint i = props->items->len; i > 0; i--)
    if (!is_any_of (qsnap_props_key (props, i - 1), keys))
      {
        g_ptr_array_remove_index (props->items, i - 1);
        props->touched = TRUE;
      }
}
