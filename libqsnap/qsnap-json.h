/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* Members as (name, kind, value) triples up to NULL; kind is one of
 *   's' const char *    'i' gint64    'b' gboolean    '0' null (no value)
 *   'n' JsonNode *, 'o' JsonObject *, 'a' JsonArray *: taken over
 * A NULL value of 's', 'n', 'o' and 'a' leaves the member out. */
JsonObject *qsnap_json_object_new (const char *first_name, ...) G_GNUC_NULL_TERMINATED;
JsonNode *qsnap_json_node_new (const char *first_name, ...) G_GNUC_NULL_TERMINATED;
JsonNode *qsnap_json_node_from_object (JsonObject *object);

/* json-glib's own getters criticise a missing member and convert types silently. Peers and
 * manifests are not trusted, so these answer the default for all that is not as it should be. */
JsonObject *qsnap_json_object (JsonNode *node);
JsonArray *qsnap_json_array (JsonNode *node);
const char *qsnap_json_get_string (JsonObject *object, const char *name);
gint64 qsnap_json_get_int (JsonObject *object, const char *name, gint64 otherwise);
gboolean qsnap_json_get_bool (JsonObject *object, const char *name, gboolean otherwise);
JsonObject *qsnap_json_get_object (JsonObject *object, const char *name);
JsonArray *qsnap_json_get_array (JsonObject *object, const char *name);

/* Values of an enumeration are written as their nicks. */
const char *qsnap_enum_nick (GType type, gint value);
gint qsnap_json_get_enum (JsonObject *object, const char *name, GType type, gint otherwise);

/* As times are written: ISO 8601, in UTC; @time is microseconds since the epoch. */
char *qsnap_time_to_text (gint64 time);

/* Element @index, if it is an object or a string, else NULL. */
JsonObject *qsnap_json_array_object (JsonArray *array, guint index);
const char *qsnap_json_array_string (JsonArray *array, guint index);

/* json-glib recurses without a limit and accepts more than JSON: nesting is checked first, and the
 * document must be one object. QEMU nests the images of a backing chain.
 *
 * A value of a few bytes takes up to 400 in memory, so they are counted, too. */
#define QSNAP_JSON_MAX_DEPTH 1024
#define QSNAP_JSON_MAX_VALUES 250000
JsonNode *qsnap_json_parse_object (const char *text, gsize length, GError **error);

/* Nothing in it is shared with @node: for another thread. json-glib counts the references to
 * objects, arrays and values without atomic operations, and json_node_copy() shares them. */
JsonNode *qsnap_json_copy (JsonNode *node);
JsonObject *qsnap_json_copy_object (JsonObject *object);

/* About how many bytes of memory it takes. */
gsize qsnap_json_weigh (JsonNode *node);

char *qsnap_json_to_text (JsonNode *node, gboolean pretty);

G_END_DECLS
