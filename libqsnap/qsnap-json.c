/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-json.h"

#include <math.h>
#include <string.h>

#include "qsnap/qsnap-error.h"

static void
add_member (JsonObject *object, const char *name, char kind, va_list *values)
{
  const char *string;
  JsonNode *node;
  JsonObject *child;
  JsonArray *array;

  switch (kind)
    {
    case 's':
      string = va_arg (*values, const char *);
      if (string != NULL)
        json_object_set_string_member (object, name, string);
      break;
    case 'i':
      json_object_set_int_member (object, name, va_arg (*values, gint64));
      break;
    case 'b':
      json_object_set_boolean_member (object, name, va_arg (*values, gboolean));
      break;
    case 'n':
      node = va_arg (*values, JsonNode *);
      if (node != NULL)
        json_object_set_member (object, name, node);
      break;
    case 'o':
      child = va_arg (*values, JsonObject *);
      if (child != NULL)
        json_object_set_object_member (object, name, child);
      break;
    case 'a':
      array = va_arg (*values, JsonArray *);
      if (array != NULL)
        json_object_set_array_member (object, name, array);
      break;
    case '0':
      json_object_set_null_member (object, name);
      break;
    default:
      g_assert_not_reached ();
    }
}

static JsonObject *
object_from_values (const char *first_name, va_list *values)
{
  JsonObject *object = json_object_new ();

  for (const char *name = first_name; name != NULL; name = va_arg (*values, const char *))
    {
      char kind = (char)va_arg (*values, int);

      add_member (object, name, kind, values);
    }

  return object;
}

JsonObject *
qsnap_json_object_new (const char *first_name, ...)
{
  va_list values;
  JsonObject *object;

  va_start (values, first_name);
  object = object_from_values (first_name, &values);
  va_end (values);

  return object;
}

JsonNode *
qsnap_json_node_from_object (JsonObject *object)
{
  JsonNode *node = json_node_new (JSON_NODE_OBJECT);

  json_node_take_object (node, object);

  return node;
}

JsonNode *
qsnap_json_node_new (const char *first_name, ...)
{
  va_list values;
  JsonObject *object;

  va_start (values, first_name);
  object = object_from_values (first_name, &values);
  va_end (values);

  return qsnap_json_node_from_object (object);
}

JsonObject *
qsnap_json_object (JsonNode *node)
{
  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

JsonArray *
qsnap_json_array (JsonNode *node)
{
  return node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

static JsonNode *
member_of_type (JsonObject *object, const char *name, GType type)
{
  JsonNode *node = object != NULL ? json_object_get_member (object, name) : NULL;

  if (node == NULL || !JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != type)
    return NULL;

  return node;
}

const char *
qsnap_json_get_string (JsonObject *object, const char *name)
{
  JsonNode *node = member_of_type (object, name, G_TYPE_STRING);

  return node != NULL ? json_node_get_string (node) : NULL;
}

gint64
qsnap_json_get_int (JsonObject *object, const char *name, gint64 otherwise)
{
  JsonNode *node = member_of_type (object, name, G_TYPE_INT64);

  return node != NULL ? json_node_get_int (node) : otherwise;
}

gboolean
qsnap_json_get_bool (JsonObject *object, const char *name, gboolean otherwise)
{
  JsonNode *node = member_of_type (object, name, G_TYPE_BOOLEAN);

  return node != NULL ? json_node_get_boolean (node) : otherwise;
}

JsonObject *
qsnap_json_get_object (JsonObject *object, const char *name)
{
  return object != NULL ? qsnap_json_object (json_object_get_member (object, name)) : NULL;
}

JsonArray *
qsnap_json_get_array (JsonObject *object, const char *name)
{
  return object != NULL ? qsnap_json_array (json_object_get_member (object, name)) : NULL;
}

char *
qsnap_time_to_text (gint64 time)
{
  g_autoptr (GDateTime) seconds = g_date_time_new_from_unix_utc (time / G_USEC_PER_SEC);
  g_autoptr (GDateTime) exact = g_date_time_add (seconds, time % G_USEC_PER_SEC);

  return g_date_time_format_iso8601 (exact);
}

const char *
qsnap_enum_nick (GType type, gint value)
{
  g_autoptr (GTypeClass) klass = g_type_class_ref (type);
  const GEnumValue *found = g_enum_get_value ((GEnumClass *)klass, value);

  return found != NULL ? found->value_nick : NULL;
}

gint
qsnap_json_get_enum (JsonObject *object, const char *name, GType type, gint otherwise)
{
  g_autoptr (GTypeClass) klass = g_type_class_ref (type);
  const char *nick = qsnap_json_get_string (object, name);
  const GEnumValue *found =
      nick != NULL ? g_enum_get_value_by_nick ((GEnumClass *)klass, nick) : NULL;

  return found != NULL ? found->value : otherwise;
}

JsonObject *
qsnap_json_array_object (JsonArray *array, guint index)
{
  return qsnap_json_object (json_array_get_element (array, index));
}

/* json-glib's own takes what is no value for one. */
const char *
qsnap_json_array_string (JsonArray *array, guint index)
{
  JsonNode *node = json_array_get_element (array, index);

  return JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
}

/* All that JSON has outside of strings: punctuation, numbers, true, false and null. */
static gboolean
is_outside_strings (char c)
{
  return c != '\0' && strchr ("{}[]:,\" \t\r\n-+.0123456789eEtrufalsn", c) != NULL;
}

#define NOT_ONE_DOCUMENT "not one JSON document"
#define TOO_DEEP "JSON nested deeper than " G_STRINGIFY (QSNAP_JSON_MAX_DEPTH) " levels"
#define TOO_MANY "JSON of more than " G_STRINGIFY (QSNAP_JSON_MAX_VALUES) " values"

static gboolean
refuse (GError **error, const char *what)
{
  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, what);

  return FALSE;
}

/* Of a container's values the first stands behind its bracket, all others behind a comma. */
static gboolean
begins_value (char c)
{
  return c == '{' || c == '[' || c == ',';
}

/* The parser recurses once a level, so the depth is bounded before it sees the text. It also takes
 * '…' for a string, passes over comments, in which a quotation mark would be no string's, and goes
 * on behind the first document: none of it is JSON, and no QEMU sends it. Inside a string a bracket
 * counts for nothing. */
static gboolean
check_document (const char *text, gsize length, GError **error)
{
  guint depth = 0;
  guint values = 0;
  gboolean in_string = FALSE;
  gboolean ended = FALSE;

  for (gsize i = 0; i < length; i++)
    {
      char c = text[i];

      if (ended && !g_ascii_isspace (c))
        return refuse (error, NOT_ONE_DOCUMENT);
      if (depth == 0 && !ended && c != '{' && !g_ascii_isspace (c))
        return refuse (error, NOT_ONE_DOCUMENT);
      if (in_string && c == '\\')
        i++;
      else if (c == '"')
        in_string = !in_string;
      else if (in_string)
        continue;
      else if (!is_outside_strings (c))
        return refuse (error, NOT_ONE_DOCUMENT);
      else if (c == '{' || c == '[')
        {
          if (++depth > QSNAP_JSON_MAX_DEPTH)
            return refuse (error, TOO_DEEP);
        }
      else if ((c == '}' || c == ']') && depth > 0)
        ended = --depth == 0;

      if (!in_string && begins_value (c) && ++values > QSNAP_JSON_MAX_VALUES)
        return refuse (error, TOO_MANY);
    }

  return TRUE;
}

/* A number that is too large becomes infinite, which is none in JSON: what has it could not be
 * written again. */
static gboolean
is_finite (JsonNode *node)
{
  JsonObject *object = qsnap_json_object (node);
  JsonArray *array = qsnap_json_array (node);
  g_autoptr (GList) inner = NULL;

  if (object != NULL)
    inner = json_object_get_values (object);
  else if (array != NULL)
    inner = json_array_get_elements (array);
  else
    return !JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_DOUBLE ||
           isfinite (json_node_get_double (node));

  for (GList *l = inner; l != NULL; l = l->next)
    if (!is_finite (l->data))
      return FALSE;

  return TRUE;
}

JsonNode *
qsnap_json_parse_object (const char *text, gsize length, GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new_immutable ();
  g_autoptr (GError) parse_error = NULL;
  JsonNode *root;

  if (!check_document (text, length, error))
    return NULL;

  if (!json_parser_load_from_data (parser, text, (gssize)length, &parse_error))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, "not JSON: %s", parse_error->message);
      return NULL;
    }

  root = json_parser_get_root (parser);
  if (root == NULL || !JSON_NODE_HOLDS_OBJECT (root))
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, "not a JSON object");
      return NULL;
    }

  if (!is_finite (root))
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL, "a number is too large");
      return NULL;
    }

  return json_node_ref (root);
}

char *
qsnap_json_to_text (JsonNode *node, gboolean pretty)
{
  g_autoptr (JsonGenerator) generator = json_generator_new ();

  json_generator_set_root (generator, node);
  json_generator_set_pretty (generator, pretty);

  return json_generator_to_data (generator, NULL);
}

/* --- copies for other threads -------------------------------------------------------------- */

static void
copy_member (JsonObject *object, const char *name, JsonNode *member, gpointer copy)
{
  json_object_set_member (copy, name, qsnap_json_copy (member));
}

static void
copy_element (JsonArray *array, guint index, JsonNode *element, gpointer copy)
{
  json_array_add_element (copy, qsnap_json_copy (element));
}

JsonObject *
qsnap_json_copy_object (JsonObject *object)
{
  JsonObject *copy = json_object_new ();

  json_object_foreach_member (object, copy_member, copy);

  return copy;
}

static JsonArray *
copy_array (JsonArray *array)
{
  JsonArray *copy = json_array_sized_new (json_array_get_length (array));

  json_array_foreach_element (array, copy_element, copy);

  return copy;
}

JsonNode *
qsnap_json_copy (JsonNode *node)
{
  JsonNode *copy = json_node_new (json_node_get_node_type (node));
  GValue value = G_VALUE_INIT;

  switch (json_node_get_node_type (node))
    {
    case JSON_NODE_OBJECT:
      json_node_take_object (copy, qsnap_json_copy_object (json_node_get_object (node)));
      break;
    case JSON_NODE_ARRAY:
      json_node_take_array (copy, copy_array (json_node_get_array (node)));
      break;
    case JSON_NODE_VALUE:
      json_node_get_value (node, &value);
      json_node_set_value (copy, &value);
      g_value_unset (&value);
      break;
    case JSON_NODE_NULL:
    default:
      break;
    }

  return copy;
}

/* --- weighing ------------------------------------------------------------------------------ */

/* What an empty object or array, and a number, take in json-glib. */
#define CONTAINER_BYTES 330
#define VALUE_BYTES 100

static void
weigh_member (JsonObject *object, const char *name, JsonNode *member, gpointer weight)
{
  *(gsize *)weight += strlen (name) + qsnap_json_weigh (member);
}

static void
weigh_element (JsonArray *array, guint index, JsonNode *element, gpointer weight)
{
  *(gsize *)weight += qsnap_json_weigh (element);
}

gsize
qsnap_json_weigh (JsonNode *node)
{
  gsize weight =
      JSON_NODE_HOLDS_OBJECT (node) || JSON_NODE_HOLDS_ARRAY (node) ? CONTAINER_BYTES : VALUE_BYTES;

  if (JSON_NODE_HOLDS_OBJECT (node))
    json_object_foreach_member (json_node_get_object (node), weigh_member, &weight);
  else if (JSON_NODE_HOLDS_ARRAY (node))
    json_array_foreach_element (json_node_get_array (node), weigh_element, &weight);
  else if (JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING)
    weight += strlen (json_node_get_string (node));

  return weight;
}
