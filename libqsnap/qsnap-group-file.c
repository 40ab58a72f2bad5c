/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-file.h"

#include <string.h>

#include "memory/qsnap-checksum.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap/qsnap-error.h"

#define FORMAT "qsnap-group"
#define SCHEMA 1
#define CHECKSUM "checksum"
#define MAX_SIZE (1024 * 1024)

JsonObject *
qsnap_group_file_new (const char *name, const char *const *guests)
{
  JsonArray *array = json_array_new ();

  for (; *guests != NULL; guests++)
    json_array_add_object_element (
        array, qsnap_json_object_new (QSNAP_GROUP_GUEST_NAME, 's', *guests, NULL));

  return qsnap_json_object_new (QSNAP_GROUP_NAME, 's', name, QSNAP_GROUP_GUESTS, 'a', array, NULL);
}

/* --- guests -------------------------------------------------------------------------------- */

guint
qsnap_group_file_n_guests (JsonObject *group)
{
  JsonArray *guests = qsnap_json_get_array (group, QSNAP_GROUP_GUESTS);

  return guests != NULL ? json_array_get_length (guests) : 0;
}

JsonObject *
qsnap_group_file_guest (JsonObject *group, guint index)
{
  return qsnap_json_array_object (qsnap_json_get_array (group, QSNAP_GROUP_GUESTS), index);
}

const char *
qsnap_group_file_guest_name (JsonObject *group, guint index)
{
  return qsnap_json_get_string (qsnap_group_file_guest (group, index), QSNAP_GROUP_GUEST_NAME);
}

gboolean
qsnap_group_file_is_proven (JsonObject *group)
{
  if (qsnap_json_get_string (group, QSNAP_GROUP_TIME) == NULL)
    return FALSE;

  for (guint i = 0; i < qsnap_group_file_n_guests (group); i++)
    if (qsnap_json_get_string (qsnap_group_file_guest (group, i), QSNAP_GROUP_GUEST_ID) == NULL)
      return FALSE;

  return TRUE;
}

/* --- writing ------------------------------------------------------------------------------- */

/* Of all members but itself, whatever white space is between them. */
static char *
checksum_of (JsonObject *group)
{
  g_autoptr (JsonObject) copy = qsnap_json_copy_object (group);
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *text = NULL;

  json_object_remove_member (copy, CHECKSUM);
  node = qsnap_json_node_from_object (g_steal_pointer (&copy));
  text = qsnap_json_to_text (node, FALSE);

  return qsnap_digest_of (text, strlen (text));
}

gboolean
qsnap_group_file_write (int dir_fd, const char *file_name, JsonObject *group, GError **error)
{
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *checksum = NULL;
  g_autofree char *text = NULL;

  json_object_set_string_member (group, "format", FORMAT);
  json_object_set_int_member (group, "schema", SCHEMA);
  checksum = checksum_of (group);
  json_object_set_string_member (group, CHECKSUM, checksum);
  node = qsnap_json_node_from_object (json_object_ref (group));
  text = qsnap_json_to_text (node, TRUE);

  return qsnap_io_replace (dir_fd, file_name, text, strlen (text), error);
}

/* --- reading ------------------------------------------------------------------------------- */

static gboolean
corrupt (GError **error, const char *file_name, const char *why)
{
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "%s: %s", file_name, why);

  return FALSE;
}

static gboolean
guests_are_good (JsonObject *group)
{
  guint n = qsnap_group_file_n_guests (group);
  g_autoptr (GHashTable) names = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < n; i++)
    {
      const char *name = qsnap_group_file_guest_name (group, i);

      if (qsnap_name_problem (name) != NULL || !g_hash_table_add (names, (gpointer)name))
        return FALSE;
    }

  return n > 0;
}

static gboolean
times_are_good (JsonObject *group)
{
  const char *text = qsnap_json_get_string (group, QSNAP_GROUP_TIME);
  g_autoptr (GDateTime) time = text != NULL ? g_date_time_new_from_iso8601 (text, NULL) : NULL;

  return time != NULL && qsnap_json_get_int (group, QSNAP_GROUP_SKEW, -1) >= 0 &&
         qsnap_json_get_int (group, QSNAP_GROUP_OVERLAP, -2) >= -1;
}

static gboolean
check (JsonObject *group, const char *file_name, GError **error)
{
  const char *recorded = qsnap_json_get_string (group, CHECKSUM);
  const char *name = qsnap_json_get_string (group, QSNAP_GROUP_NAME);
  gint64 schema = qsnap_json_get_int (group, "schema", 0);
  g_autofree char *computed = NULL;

  if (g_strcmp0 (qsnap_json_get_string (group, "format"), FORMAT) != 0)
    return corrupt (error, file_name, "it does not describe a group");
  /* Said before the checksum is looked at, which a newer schema may have elsewhere. */
  if (schema > SCHEMA)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "%s: it has schema %" G_GINT64_FORMAT
                   ", this version of libqsnap reads up to %d",
                   file_name, schema, SCHEMA);
      return FALSE;
    }

  computed = checksum_of (group);
  if (schema < 1 || g_strcmp0 (recorded, computed) != 0)
    return corrupt (error, file_name, "its checksum is wrong");
  if (qsnap_name_problem (name) != NULL)
    return corrupt (error, file_name, "name is missing or wrong");
  if (!guests_are_good (group))
    return corrupt (error, file_name, "its guests are missing or wrong");

  if (!qsnap_group_file_is_proven (group) && g_str_equal (file_name, QSNAP_GROUP_FILE))
    return corrupt (error, file_name, "its times or its snapshots are missing");

  return !qsnap_group_file_is_proven (group) || times_are_good (group) ||
         corrupt (error, file_name, "its times are wrong");
}

JsonObject *
qsnap_group_file_read (int dir_fd, const char *file_name, GError **error)
{
  gsize length;
  g_autofree char *text = qsnap_io_read_whole (dir_fd, file_name, MAX_SIZE, &length, error);
  g_autoptr (GError) failure = NULL;
  g_autoptr (JsonNode) node = NULL;

  if (text == NULL)
    return NULL;

  node = qsnap_json_parse_object (text, length, &failure);
  if (node == NULL)
    {
      corrupt (error, file_name, failure->message);
      return NULL;
    }

  return check (json_node_get_object (node), file_name, error) ? json_node_dup_object (node) : NULL;
}
