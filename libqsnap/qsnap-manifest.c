/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "memory/qsnap-checksum.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap/qsnap-error.h"

#define FORMAT "qsnap-snapshot"
/* A guest has some dozens of RAM blocks and disks; the command line is the largest part. */
#define MAX_SIZE (16 * 1024 * 1024)
/* The checksum is over the text with zeros in its own place. */
#define NO_CHECKSUM "00000000000000000000000000000000"
#define CHECKSUM_LENGTH (sizeof NO_CHECKSUM - 1)
#define CHECKSUM_MEMBER "\"checksum\" : \""

G_STATIC_ASSERT (CHECKSUM_LENGTH == QSNAP_DIGEST_LENGTH);

gboolean
qsnap_manifest_corrupt (GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list values;

  va_start (values, format);
  text = g_strdup_vprintf (format, values);
  va_end (values);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, QSNAP_MANIFEST_FILE ": %s", text);

  return FALSE;
}

const char *
qsnap_name_problem (const char *name)
{
  gsize length = strlen (name);

  if (length == 0)
    return "it is empty";
  if (length > QSNAP_MAX_NAME)
    return "it has more than 255 bytes";
  if (!g_utf8_validate (name, (gssize)length, NULL))
    return "it is not UTF-8";
  if (strcmp (name, ".") == 0 || strcmp (name, "..") == 0)
    return "it is the name of a directory that is always there";

  for (const char *p = name; *p != '\0'; p = g_utf8_next_char (p))
    {
      if (*p == '/')
        return "it has a slash in it";
      if (g_unichar_iscntrl (g_utf8_get_char (p)))
        return "it has a control character in it";
    }

  return NULL;
}

/* --- checksum ------------------------------------------------------------------------------ */

/* Where the digits are: the member comes last, so the last occurrence is it, whatever is written in
 * the strings before. */
static char *
find_checksum (char *text, gsize length)
{
  char *member = g_strrstr_len (text, (gssize)length, CHECKSUM_MEMBER);
  char *digits = member != NULL ? member + strlen (CHECKSUM_MEMBER) : NULL;

  if (digits == NULL || (gsize)(text + length - digits) < CHECKSUM_LENGTH)
    return NULL;

  return digits;
}

static gboolean
check_checksum (const char *text, gsize length, GError **error)
{
  g_autofree char *copy = g_strndup (text, length);
  char *digits = strlen (copy) == length ? find_checksum (copy, length) : NULL;
  g_autofree char *recorded = NULL;
  g_autofree char *computed = NULL;

  if (digits == NULL)
    return qsnap_manifest_corrupt (error, "it has no checksum");

  recorded = g_strndup (digits, CHECKSUM_LENGTH);
  memset (digits, '0', CHECKSUM_LENGTH);
  computed = qsnap_digest_of (copy, length);

  return g_str_equal (recorded, computed) ||
         qsnap_manifest_corrupt (error, "its checksum is wrong");
}

gboolean
qsnap_manifest_write (int dir_fd, JsonObject *manifest, GError **error)
{
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *text = NULL;
  g_autofree char *computed = NULL;
  char *digits;
  gsize length;

  json_object_set_string_member (manifest, "format", FORMAT);
  json_object_set_int_member (manifest, "schema", QSNAP_MANIFEST_SCHEMA);
  json_object_remove_member (manifest, "checksum");
  json_object_set_string_member (manifest, "checksum", NO_CHECKSUM);

  node = qsnap_json_node_from_object (json_object_ref (manifest));
  text = qsnap_json_to_text (node, TRUE);
  length = strlen (text);
  digits = find_checksum (text, length);
  g_assert (digits != NULL);
  computed = qsnap_digest_of (text, length);
  memcpy (digits, computed, CHECKSUM_LENGTH);
  json_object_set_string_member (manifest, "checksum", computed);

  return qsnap_io_replace (dir_fd, QSNAP_MANIFEST_FILE, text, length, error);
}

/* --- validation ---------------------------------------------------------------------------- */

gboolean
qsnap_manifest_check_members (JsonObject *object,
                              const char *where,
                              const QsnapManifestMember *members,
                              GError **error)
{
  for (; members->name != NULL; members++)
    {
      gboolean good = FALSE;

      switch (members->kind)
        {
        case 's':
          good = qsnap_json_get_string (object, members->name) != NULL;
          break;
        case 'i':
          good = qsnap_json_get_int (object, members->name, -1) >= 0;
          break;
        case 'o':
          good = qsnap_json_get_object (object, members->name) != NULL;
          break;
        case 'a':
          good = qsnap_json_get_array (object, members->name) != NULL;
          break;
        default:
          g_assert_not_reached ();
        }
      if (!good)
        return qsnap_manifest_corrupt (error, "%s%s is missing or wrong", where, members->name);
    }

  return TRUE;
}

gboolean
qsnap_manifest_check_strings (JsonObject *object, const char *name, GError **error)
{
  JsonArray *array = qsnap_json_get_array (object, name);

  for (guint i = 0; array != NULL && i < json_array_get_length (array); i++)
    {
      JsonNode *element = json_array_get_element (array, i);

      if (!JSON_NODE_HOLDS_VALUE (element) || json_node_get_value_type (element) != G_TYPE_STRING)
        return qsnap_manifest_corrupt (error, "%s has an element that is no string", name);
    }

  return TRUE;
}

static gboolean
check_time (const char *text, GError **error)
{
  g_autoptr (GDateTime) time = g_date_time_new_from_iso8601 (text, NULL);

  return time != NULL || qsnap_manifest_corrupt (error, "\"%s\" is no time", text);
}

static gboolean
check_manifest (JsonObject *manifest, GError **error)
{
  static const QsnapManifestMember members[] = { { "name", 's' },  { "time", 's' },
                                                 { "qemu", 'o' },  { "guest", 'o' },
                                                 { "disks", 'a' }, { "timing", 'o' },
                                                 { NULL, 0 } };
  static const QsnapManifestMember qemu_members[] = { { "version", 's' },
                                                      { "machine", 's' },
                                                      { NULL, 0 } };
  static const QsnapManifestMember guest_members[] = { { "run-state", 's' }, { NULL, 0 } };
  JsonObject *qemu = qsnap_json_get_object (manifest, "qemu");
  const char *problem;

  if (!qsnap_manifest_check_members (manifest, "", members, error) ||
      !qsnap_manifest_check_members (qemu, "qemu: ", qemu_members, error) ||
      !qsnap_manifest_check_members (qsnap_json_get_object (manifest, "guest"),
                                     "guest: ", guest_members, error))
    return FALSE;

  if (qsnap_json_get_enum (manifest, "mode", QSNAP_TYPE_SNAPSHOT_MODE, 0) !=
          QSNAP_SNAPSHOT_MODE_DISKS_ONLY &&
      qsnap_json_get_object (manifest, "memory") == NULL)
    return qsnap_manifest_corrupt (error, "memory is missing or wrong");

  problem = qsnap_name_problem (qsnap_json_get_string (manifest, "name"));
  if (problem != NULL)
    return qsnap_manifest_corrupt (error, "name is not a valid name: %s", problem);

  return check_time (qsnap_json_get_string (manifest, "time"), error) &&
         qsnap_manifest_check_strings (qemu, "command-line", error) &&
         qsnap_manifest_check_strings (manifest, "warnings", error) &&
         qsnap_manifest_check_disks (qsnap_json_get_array (manifest, "disks"), error);
}

/* --- reading ------------------------------------------------------------------------------- */

JsonObject *
qsnap_manifest_parse (const char *text, gsize length, GError **error)
{
  g_autoptr (GError) parse_error = NULL;
  g_autoptr (JsonNode) node = qsnap_json_parse_object (text, length, &parse_error);
  JsonObject *manifest;
  gint64 schema;

  if (node == NULL)
    {
      qsnap_manifest_corrupt (error, "%s", parse_error->message);
      return NULL;
    }

  manifest = json_node_get_object (node);
  if (g_strcmp0 (qsnap_json_get_string (manifest, "format"), FORMAT) != 0)
    {
      qsnap_manifest_corrupt (error, "it is not the manifest of a snapshot");
      return NULL;
    }

  /* Said before the checksum is looked at, which a newer schema may have elsewhere. */
  schema = qsnap_json_get_int (manifest, "schema", 0);
  if (schema > QSNAP_MANIFEST_SCHEMA)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   QSNAP_MANIFEST_FILE ": it has schema %" G_GINT64_FORMAT
                                       ", this version of libqsnap reads up to %d",
                   schema, QSNAP_MANIFEST_SCHEMA);
      return NULL;
    }
  if (schema < 1)
    {
      qsnap_manifest_corrupt (error, "schema is missing or wrong");
      return NULL;
    }

  if (!check_checksum (text, length, error) || !check_manifest (manifest, error))
    return NULL;

  return json_object_ref (manifest);
}

static char *
read_text (int dir_fd, const char *name, gsize *length, GError **error)
{
  g_autoptr (GError) failure = NULL;
  char *text = qsnap_io_read_whole (dir_fd, name, MAX_SIZE, length, &failure);

  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                         "there is no snapshot: no " QSNAP_MANIFEST_FILE);
  else if (failure != NULL)
    g_propagate_error (error, g_steal_pointer (&failure));

  return text;
}

static JsonObject *
read_manifest (int dir_fd, const char *name, GError **error)
{
  gsize length;
  g_autofree char *text = read_text (dir_fd, name, &length, error);

  return text != NULL ? qsnap_manifest_parse (text, length, error) : NULL;
}

JsonObject *
qsnap_manifest_read (int dir_fd, GError **error)
{
  return read_manifest (dir_fd, QSNAP_MANIFEST_FILE, error);
}

JsonObject *
qsnap_manifest_read_deleted (int dir_fd, GError **error)
{
  return read_manifest (dir_fd, QSNAP_MANIFEST_DELETED, error);
}
