/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is read from a peer or a manifest: parsing with limits, getters that trust nothing. */

#include "qmp-framing.h"

#include <string.h>

#include "qsnap-json.h"
#include "qsnap/qsnap.h"

static JsonNode *
parse (const char *text, GError **error)
{
  /* Exactly as many bytes as there are, for the checkers. */
  gsize length = strlen (text);
  g_autofree char *copy = g_memdup2 (text, length + (length == 0));

  return qsnap_json_parse_object (copy, length, error);
}

static void
assert_bad (const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = parse (text, &error);

  if (node != NULL)
    {
      g_test_message ("WRONG: taken for one object: %.80s", text);
      g_test_fail ();
      return;
    }
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
}

static void
assert_good (const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = parse (text, &error);

  g_assert_no_error (error);
  g_assert_true (JSON_NODE_HOLDS_OBJECT (node));
}

static char *
nest (guint depth, const char *inside)
{
  g_autofree char *open = g_strnfill (depth, '[');
  g_autofree char *close = g_strnfill (depth, ']');

  return g_strconcat ("{\"a\": ", open, inside, close, "}", NULL);
}

/* The object itself is one level. */
static void
test_depth (void)
{
  g_autofree char *deepest = nest (QSNAP_JSON_MAX_DEPTH - 1, "1");
  g_autofree char *too_deep = nest (QSNAP_JSON_MAX_DEPTH, "1");
  g_autofree char *far_too_deep = nest (200000, "1");
  g_autofree char *in_comment = g_strconcat ("{\"b\": 1 /*\"*/, ", far_too_deep + 1, NULL);
  g_autofree char *only_open = g_strnfill (100000, '{');

  assert_good (deepest);
  assert_bad (too_deep);
  assert_bad (far_too_deep);
  assert_bad (in_comment);
  assert_bad (only_open);
}

/* A value is counted once, in an object as in an array; what is in a string is none. */
static void
test_values (void)
{
  g_autoptr (GString) text = g_string_new ("{\"a\": [");
  g_autofree char *commas = g_strnfill (QSNAP_JSON_MAX_VALUES, ',');
  g_autofree char *string = g_strconcat ("{\"a\": \"", commas, "\"}", NULL);

  /* The object and the array are two. */
  for (guint i = 2; i < QSNAP_JSON_MAX_VALUES; i++)
    g_string_append (text, "1,");
  g_string_append (text, "1]}");
  assert_good (text->str);
  g_string_truncate (text, text->len - 2);
  g_string_append (text, ",1]}");
  assert_bad (text->str);
  assert_good (string);
}

/* Brackets in strings are no nesting, and an escaped quote ends no string. */
static void
test_strings (void)
{
  g_autofree char *brackets = g_strnfill (1000, '[');
  g_autofree char *text = g_strdup_printf ("{\"a\": \"%s\", \"b\\\"%s\": 1}", brackets, brackets);
  g_autofree char *hidden = nest (QSNAP_JSON_MAX_DEPTH, "\"\\\"]]]\"");
  g_autofree char *backslash = nest (QSNAP_JSON_MAX_DEPTH - 1, "\"\\\\\", \"{\"");
  g_autoptr (JsonNode) node = NULL;

  assert_good (text);
  assert_bad (hidden);
  assert_good (backslash);
  assert_good ("{\"it's\": \"isn't\"}");

  node = parse ("{\"a\": \"\\\"[{\\\\\"}", NULL);
  g_assert_cmpstr (qsnap_json_get_string (json_node_get_object (node), "a"), ==, "\"[{\\");
}

static void
test_no_json (void)
{
  static const char *const bad[] = {
    "",
    " ",
    "\"",
    "\"a",
    "\\",
    "{",
    "}",
    "]",
    "{]",
    "[}",
    "{}}",
    "{\"a\"}",
    "{\"a\":}",
    "{a: 1}",
    "{'a': 1}",
    "{\"a\": 'b'}",
    "{\"a\": \"b}",
    "{\"a\": \"\\\"}",
    "{\"a\": 1,}",
    "220 ESMTP",
    "\xff\xfe{}",
    "{\"a\": \"\xc3\"}",
    /* what json-glib takes besides */
    "{/* */\"a\": 1}",
    "{\"a\": 1 // \n}",
    "{\"a\": 0x12}",
    "{\"a\": $12}",
    "{\"a\": 1e999}",
    "{\"a\": [{\"b\": -1e999}]}",
    /* documents that are no object */
    "[]",
    "1",
    "\"a\"",
    "null",
    "true",
    "[{}]",
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autofree char *shown = g_strescape (bad[i], NULL);

      g_test_message ("%s", shown);
      assert_bad (bad[i]);
    }
}

/* One object, and nothing behind it: json-glib would take the last document, and leak the others.
 */
static void
test_one_document (void)
{
  static const char *const bad[] = { "{}{}", "{} {}", "{}\n{\"a\": 1}", "{},{}",   "{}1", "{}null",
                                     "1{}",  "[]{}",  "null{}",         "{}\"x\"", "{} x" };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    assert_bad (bad[i]);
  assert_good (" \t\r\n{} \t\r\n");
}

/* A NUL is a character like others, and in the end of none. */
static void
test_nul (void)
{
  static const char text[] = "{\"a\": \"b\0c\"}";
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = qsnap_json_parse_object (text, sizeof text - 1, &error);

  g_assert_null (node);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
}

static const char mixture[] = "{\"s\": \"text\", \"i\": 7, \"n\": -3, \"d\": 1.5, \"t\": true, "
                              "\"o\": {\"x\": 1}, \"a\": [{}, 1, null, \"x\"], \"z\": null}";

static void
test_getters (void)
{
  g_autoptr (JsonNode) node = parse (mixture, NULL);
  JsonObject *object = json_node_get_object (node);
  JsonArray *array = qsnap_json_get_array (object, "a");

  g_assert_cmpstr (qsnap_json_get_string (object, "s"), ==, "text");
  g_assert_cmpint (qsnap_json_get_int (object, "i", -1), ==, 7);
  g_assert_cmpint (qsnap_json_get_int (object, "n", 1), ==, -3);
  g_assert_true (qsnap_json_get_bool (object, "t", FALSE));
  g_assert_cmpint (qsnap_json_get_int (qsnap_json_get_object (object, "o"), "x", 0), ==, 1);
  g_assert_cmpuint (json_array_get_length (array), ==, 4);
  g_assert_nonnull (qsnap_json_array_object (array, 0));
  g_assert_null (qsnap_json_array_object (array, 1));
  g_assert_null (qsnap_json_array_object (array, 2));
  g_assert_cmpstr (qsnap_json_array_string (array, 3), ==, "x");
  for (guint i = 0; i < 3; i++)
    g_assert_null (qsnap_json_array_string (array, i));
}

/* Each getter on every member that is of another type, on none, and on no object. */
static void
test_wrong_types (void)
{
  static const char *const names[] = { "s", "i", "n", "d", "t", "o", "a", "z", "nothing" };
  g_autoptr (JsonNode) node = parse (mixture, NULL);

  for (guint n = 0; n < G_N_ELEMENTS (names); n++)
    for (guint with = 0; with < 2; with++)
      {
        JsonObject *object = with ? json_node_get_object (node) : NULL;
        const char *name = names[n];

        if (!with || *name != 's')
          g_assert_null (qsnap_json_get_string (object, name));
        if (!with || (*name != 'i' && strcmp (name, "n") != 0))
          g_assert_cmpint (qsnap_json_get_int (object, name, -77), ==, -77);
        if (!with || *name != 't')
          g_assert_cmpint (qsnap_json_get_bool (object, name, 5), ==, 5);
        if (!with || *name != 'o')
          g_assert_null (qsnap_json_get_object (object, name));
        if (!with || *name != 'a')
          g_assert_null (qsnap_json_get_array (object, name));
      }

  g_assert_null (qsnap_json_object (NULL));
  g_assert_null (qsnap_json_array (NULL));
  g_assert_null (qsnap_json_array (node));
}

static void
test_build (void)
{
  JsonArray *array = json_array_new ();
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *text = NULL;

  json_array_add_string_element (array, "x");
  node =
      qsnap_json_node_new ("s", 's', "a\"b", "none", 's', NULL, "i", 'i', G_MAXINT64, "b", 'b',
                           TRUE, "z", '0', "o", 'o', qsnap_json_object_new ("x", '0', NULL), "no",
                           'o', NULL, "a", 'a', array, "na", 'a', NULL, "nn", 'n', NULL, NULL);
  text = qsnap_json_to_text (node, FALSE);
  g_assert_cmpstr (
      text, ==,
      "{\"s\":\"a\\\"b\",\"i\":9223372036854775807,\"b\":true,\"z\":null,\"o\":{\"x\":null},"
      "\"a\":[\"x\"]}");
}

void
add_json_tests (void)
{
  g_test_add_func ("/json/depth", test_depth);
  g_test_add_func ("/json/values", test_values);
  g_test_add_func ("/json/strings", test_strings);
  g_test_add_func ("/json/no-json", test_no_json);
  g_test_add_func ("/json/one-document", test_one_document);
  g_test_add_func ("/json/nul", test_nul);
  g_test_add_func ("/json/getters", test_getters);
  g_test_add_func ("/json/wrong-types", test_wrong_types);
  g_test_add_func ("/json/build", test_build);
}
