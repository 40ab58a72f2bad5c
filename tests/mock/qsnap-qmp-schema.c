/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "qsnap-qmp-schema.h"

#include <string.h>

struct _MockSchema
{
  JsonNode *root;
  /* Name to JsonObject; the objects belong to root. */
  GHashTable *entries;
};

G_DEFINE_QUARK (mock - schema - error - quark, mock_schema_error)

static gboolean check_type (
    MockSchema *schema, const char *type, JsonNode *value, const char *where, GError **error);

static gboolean G_GNUC_PRINTF (2, 3) invalid (GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, MOCK_SCHEMA_ERROR, MOCK_SCHEMA_ERROR_INVALID, text);
  return FALSE;
}

static char *
join (const char *where, const char *name)
{
  return *where != '\0' ? g_strconcat (where, ".", name, NULL) : g_strdup (name);
}

static JsonObject *
lookup (MockSchema *schema, const char *name, const char *meta_type)
{
  JsonObject *entry = g_hash_table_lookup (schema->entries, name);

  if (entry == NULL ||
      (meta_type != NULL &&
       !g_str_equal (json_object_get_string_member (entry, "meta-type"), meta_type)))
    return NULL;
  return entry;
}

/* The JSON type of a value in the words of the schema's built-in types. */
static const char *
json_type_of (JsonNode *value)
{
  if (JSON_NODE_HOLDS_OBJECT (value))
    return "object";
  if (JSON_NODE_HOLDS_ARRAY (value))
    return "array";
  if (JSON_NODE_HOLDS_NULL (value))
    return "null";
  switch (json_node_get_value_type (value))
    {
    case G_TYPE_STRING:
      return "string";
    case G_TYPE_BOOLEAN:
      return "boolean";
    case G_TYPE_INT64:
      return "int";
    default:
      return "number";
    }
}

static gboolean
json_type_fits (const char *wanted, const char *actual)
{
  return g_str_equal (wanted, "value") || g_str_equal (wanted, actual) ||
         (g_str_equal (wanted, "number") && g_str_equal (actual, "int"));
}

static gboolean
check_builtin (JsonObject *entry, JsonNode *value, const char *where, GError **error)
{
  const char *wanted = json_object_get_string_member (entry, "json-type");
  const char *actual = json_type_of (value);

  if (!json_type_fits (wanted, actual))
    return invalid (error, "Invalid parameter type for '%s', expected: %s, got %s", where, wanted,
                    actual);
  return TRUE;
}

static gboolean
enum_has (JsonObject *entry, const char *text)
{
  JsonArray *values = json_object_get_array_member (entry, "values");

  for (guint i = 0; i < json_array_get_length (values); i++)
    {
      if (g_str_equal (json_array_get_string_element (values, i), text))
        return TRUE;
    }
  return FALSE;
}

static gboolean
check_enum (JsonObject *entry, JsonNode *value, const char *where, GError **error)
{
  if (!g_str_equal (json_type_of (value), "string"))
    return invalid (error, "Invalid parameter type for '%s', expected: string", where);
  if (!enum_has (entry, json_node_get_string (value)))
    return invalid (error, "Parameter '%s' does not accept value '%s'", where,
                    json_node_get_string (value));
  return TRUE;
}

static gboolean
check_array (
    MockSchema *schema, JsonObject *entry, JsonNode *value, const char *where, GError **error)
{
  const char *element_type = json_object_get_string_member (entry, "element-type");
  JsonArray *array;

  if (!JSON_NODE_HOLDS_ARRAY (value))
    return invalid (error, "Invalid parameter type for '%s', expected: array", where);
  array = json_node_get_array (value);
  for (guint i = 0; i < json_array_get_length (array); i++)
    {
      g_autofree char *place = g_strdup_printf ("%s[%u]", where, i);

      if (!check_type (schema, element_type, json_array_get_element (array, i), place, error))
        return FALSE;
    }
  return TRUE;
}

/* Whether the JSON type of @value alone speaks for this branch of an alternate, as QEMU decides it.
 */
static gboolean
branch_fits (MockSchema *schema, const char *type, JsonNode *value)
{
  JsonObject *entry = lookup (schema, type, NULL);
  const char *meta_type = json_object_get_string_member (entry, "meta-type");
  const char *actual = json_type_of (value);

  if (g_str_equal (meta_type, "builtin"))
    return json_type_fits (json_object_get_string_member (entry, "json-type"), actual);
  if (g_str_equal (meta_type, "enum"))
    return g_str_equal (actual, "string") && enum_has (entry, json_node_get_string (value));
  return g_str_equal (meta_type, actual);
}

static gboolean
check_alternate (
    MockSchema *schema, JsonObject *entry, JsonNode *value, const char *where, GError **error)
{
  JsonArray *members = json_object_get_array_member (entry, "members");

  for (guint i = 0; i < json_array_get_length (members); i++)
    {
      const char *type =
          json_object_get_string_member (json_array_get_object_element (members, i), "type");

      if (branch_fits (schema, type, value))
        return check_type (schema, type, value, where, error);
    }
  return invalid (error, "Invalid parameter type for '%s', got %s", where, json_type_of (value));
}

/* Checks the members that @entry names itself and notes them in @known. */
static gboolean
check_members (MockSchema *schema,
               JsonObject *entry,
               JsonObject *value,
               const char *where,
               GHashTable *known,
               GError **error)
{
  JsonArray *members = json_object_get_array_member (entry, "members");

  for (guint i = 0; i < json_array_get_length (members); i++)
    {
      JsonObject *member = json_array_get_object_element (members, i);
      const char *name = json_object_get_string_member (member, "name");
      JsonNode *node = json_object_get_member (value, name);
      g_autofree char *place = join (where, name);

      g_hash_table_add (known, (gpointer)name);
      if (node != NULL)
        {
          if (!check_type (schema, json_object_get_string_member (member, "type"), node, place,
                           error))
            return FALSE;
        }
      /* "default" marks the optional ones; it is there even where its value is null. */
      else if (!json_object_has_member (member, "default"))
        return invalid (error, "Parameter '%s' is missing", place);
    }
  return TRUE;
}

static JsonObject *
find_variant (MockSchema *schema, JsonObject *entry, const char *tag)
{
  JsonArray *variants = json_object_get_array_member (entry, "variants");

  for (guint i = 0; i < json_array_get_length (variants); i++)
    {
      JsonObject *variant = json_array_get_object_element (variants, i);

      if (g_str_equal (json_object_get_string_member (variant, "case"), tag))
        return lookup (schema, json_object_get_string_member (variant, "type"), "object");
    }
  return NULL;
}

/* A branch may be a flat union itself: each turn of the loop goes one union deeper. */
static gboolean
check_object (
    MockSchema *schema, JsonObject *entry, JsonNode *node, const char *where, GError **error)
{
  g_autoptr (GHashTable) known = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GList) names = NULL;
  JsonObject *value;

  if (!JSON_NODE_HOLDS_OBJECT (node))
    return invalid (error, "Invalid parameter type for '%s', expected: object", where);
  value = json_node_get_object (node);
  while (entry != NULL)
    {
      const char *tag = json_object_get_string_member_with_default (entry, "tag", NULL);

      if (!check_members (schema, entry, value, where, known, error))
        return FALSE;
      /* An optional tag that is absent means its default, which the schema does not tell: the
       * common members only. */
      if (tag == NULL || !json_object_has_member (value, tag))
        break;
      entry = find_variant (schema, entry, json_object_get_string_member (value, tag));
    }
  names = json_object_get_members (value);
  for (GList *l = names; l != NULL; l = l->next)
    {
      if (!g_hash_table_contains (known, l->data))
        {
          g_autofree char *place = join (where, l->data);

          return invalid (error, "Parameter '%s' is unexpected", place);
        }
    }
  return TRUE;
}

static gboolean
check_type (
    MockSchema *schema, const char *type, JsonNode *value, const char *where, GError **error)
{
  JsonObject *entry = lookup (schema, type, NULL);
  const char *meta_type;

  g_return_val_if_fail (entry != NULL, FALSE);
  meta_type = json_object_get_string_member (entry, "meta-type");
  if (g_str_equal (meta_type, "builtin"))
    return check_builtin (entry, value, where, error);
  if (g_str_equal (meta_type, "enum"))
    return check_enum (entry, value, where, error);
  if (g_str_equal (meta_type, "array"))
    return check_array (schema, entry, value, where, error);
  if (g_str_equal (meta_type, "alternate"))
    return check_alternate (schema, entry, value, where, error);
  return check_object (schema, entry, value, where, error);
}

static gboolean
check_argument_object (MockSchema *schema, JsonObject *entry, JsonObject *arguments, GError **error)
{
  g_autoptr (JsonObject) empty = json_object_new ();
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);

  json_node_set_object (node, arguments != NULL ? arguments : empty);
  return check_type (schema, json_object_get_string_member (entry, "arg-type"), node, "", error);
}

gboolean
mock_schema_check_command (MockSchema *schema,
                           const char *command,
                           JsonObject *arguments,
                           GError **error)
{
  JsonObject *entry = lookup (schema, command, "command");

  if (entry == NULL)
    {
      g_set_error (error, MOCK_SCHEMA_ERROR, MOCK_SCHEMA_ERROR_UNKNOWN,
                   "The command %s has not been found", command);
      return FALSE;
    }
  return check_argument_object (schema, entry, arguments, error);
}

gboolean
mock_schema_check_return (MockSchema *schema, const char *command, JsonNode *value, GError **error)
{
  JsonObject *entry = lookup (schema, command, "command");

  g_return_val_if_fail (entry != NULL, FALSE);
  return check_type (schema, json_object_get_string_member (entry, "ret-type"), value, "return",
                     error);
}

gboolean
mock_schema_check_event (MockSchema *schema, const char *event, JsonObject *data, GError **error)
{
  JsonObject *entry = lookup (schema, event, "event");

  if (entry == NULL)
    {
      g_set_error (error, MOCK_SCHEMA_ERROR, MOCK_SCHEMA_ERROR_UNKNOWN, "There is no event %s",
                   event);
      return FALSE;
    }
  return check_argument_object (schema, entry, data, error);
}

JsonNode *
mock_schema_get_root (MockSchema *schema)
{
  return schema->root;
}

GStrv
mock_schema_dup_commands (MockSchema *schema)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  JsonArray *array = json_node_get_array (schema->root);

  for (guint i = 0; i < json_array_get_length (array); i++)
    {
      JsonObject *entry = json_array_get_object_element (array, i);

      if (g_str_equal (json_object_get_string_member (entry, "meta-type"), "command"))
        g_strv_builder_add (builder, json_object_get_string_member (entry, "name"));
    }
  return g_strv_builder_end (builder);
}

MockSchema *
mock_schema_new_from_data (const char *json, GError **error)
{
  g_autoptr (JsonNode) root = json_from_string (json, error);
  MockSchema *schema;
  JsonArray *array;

  if (root == NULL)
    return NULL;
  schema = g_new0 (MockSchema, 1);
  schema->root = g_steal_pointer (&root);
  schema->entries = g_hash_table_new (g_str_hash, g_str_equal);
  array = json_node_get_array (schema->root);
  for (guint i = 0; i < json_array_get_length (array); i++)
    {
      JsonObject *entry = json_array_get_object_element (array, i);

      g_hash_table_insert (schema->entries, (gpointer)json_object_get_string_member (entry, "name"),
                           entry);
    }
  return schema;
}

MockSchema *
mock_schema_load (const char *name, GError **error)
{
  g_autofree char *path = g_strdup_printf ("%s/qemu-%s.json", MOCK_SCHEMA_DIR, name);
  g_autofree char *data = NULL;

  if (!g_file_get_contents (path, &data, NULL, error))
    return NULL;
  return mock_schema_new_from_data (data, error);
}

void
mock_schema_free (MockSchema *schema)
{
  g_hash_table_unref (schema->entries);
  json_node_unref (schema->root);
  g_free (schema);
}
