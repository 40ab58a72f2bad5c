/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-drive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qsnap-json.h"

/* --- what QEMU calls a file ---------------------------------------------------------------- */

/* What was given to add-fd as "opaque" is the path, if it was given by us or by someone with the
 * same habit. */
static char *
path_of_fdset (QsnapQmp *qmp, gint64 id)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_try (qmp, "query-fdsets", NULL);
  JsonArray *sets = qsnap_json_array (reply);

  for (guint i = 0; sets != NULL && i < json_array_get_length (sets); i++)
    {
      JsonObject *set = qsnap_json_array_object (sets, i);
      JsonArray *fds = qsnap_json_get_array (set, "fds");

      if (qsnap_json_get_int (set, "fdset-id", -1) != id)
        continue;

      for (guint j = 0; fds != NULL && j < json_array_get_length (fds); j++)
        {
          const char *opaque = qsnap_json_get_string (qsnap_json_array_object (fds, j), "opaque");

          if (opaque != NULL && g_path_is_absolute (opaque))
            return g_strdup (opaque);
        }
    }

  return NULL;
}

/* json:{"driver": "qcow2", "file": {"driver": "file", "filename": "…"}, …} → the innermost file's
 * name. */
static char *
filename_in_json (const char *text)
{
  g_autoptr (JsonNode) node = qsnap_json_parse_object (text, strlen (text), NULL);
  JsonObject *object = qsnap_json_object (node);

  while (qsnap_json_get_object (object, "file") != NULL)
    object = qsnap_json_get_object (object, "file");

  return g_strdup (qsnap_json_get_string (object, "filename"));
}

/* Without detours. What ".." means after a link only the file system knows. */
static char *
plain_path (const char *path, const char *directory)
{
  g_autofree char *joined =
      g_path_is_absolute (path) ? g_strdup (path) : g_build_filename (directory, path, NULL);
  char *real = strstr (joined, "/..") != NULL ? realpath (joined, NULL) : NULL;
  char *plain = g_canonicalize_filename (real != NULL ? real : joined, NULL);

  free (real);

  return plain;
}

char *
qsnap_drive_resolve_file (QsnapQmp *qmp, QsnapProcess *process, const char *filename)
{
  if (g_str_has_prefix (filename, "json:"))
    {
      g_autofree char *inner = filename_in_json (filename + strlen ("json:"));

      return inner != NULL && !g_str_has_prefix (inner, "json:")
                 ? qsnap_drive_resolve_file (qmp, process, inner)
                 : NULL;
    }

  if (g_str_has_prefix (filename, "/dev/fdset/"))
    return path_of_fdset (qmp, g_ascii_strtoll (filename + strlen ("/dev/fdset/"), NULL, 10));

  if (g_path_is_absolute (filename))
    return plain_path (filename, NULL);

  /* "nbd://host/export" is no relative path; a file with a colon is given as "./a:b". */
  if (process->directory == NULL || (strchr (filename, ':') != NULL && *filename != '.'))
    return NULL;

  return plain_path (filename, process->directory);
}

/* --- drives -------------------------------------------------------------------------------- */

void
qsnap_drive_free (QsnapDrive *drive)
{
  g_free (drive->device);
  g_free (drive->qdev);
  g_free (drive->node);
  g_free (drive->driver);
  g_free (drive->filename);
  g_free (drive->file);
  g_strfreev (drive->chain);
  g_clear_pointer (&drive->merged_files, json_array_unref);
  g_free (drive->detect_zeroes);
  g_free (drive->nvram_block);
  g_free (drive->backing_format);
  g_clear_pointer (&drive->bitmaps, json_array_unref);
  g_clear_object (&drive->options);
  g_free (drive->internal_name);
  g_free (drive->new_file);
  g_free (drive->new_node);
  g_free (drive->new_file_node);
  g_free (drive);
}

const char *
qsnap_drive_label (const QsnapDrive *drive)
{
  if (drive->device != NULL && *drive->device != '\0')
    return drive->device;

  return drive->qdev != NULL ? drive->qdev : drive->node;
}

const char *
qsnap_drive_format (const QsnapDrive *drive)
{
  if (g_str_equal (drive->driver, "file") || g_str_equal (drive->driver, "host_device"))
    return "raw";

  return drive->driver;
}

static void
resolve_chain (QsnapDrive *drive, QsnapQmp *qmp, QsnapProcess *process, JsonObject *image)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  JsonObject *backing = qsnap_json_get_object (image, "backing-image");
  gboolean is_first = TRUE;

  for (; backing != NULL; backing = qsnap_json_get_object (backing, "backing-image"))
    {
      const char *filename = qsnap_json_get_string (backing, "filename");
      g_autofree char *file =
          filename != NULL ? qsnap_drive_resolve_file (qmp, process, filename) : NULL;

      if (file != NULL && g_utf8_validate (file, -1, NULL))
        {
          g_strv_builder_add (builder, file);
          if (is_first)
            drive->backing_format = g_strdup (qsnap_json_get_string (backing, "format"));
        }
      is_first = FALSE;
    }

  drive->chain = g_strv_builder_end (builder);
}

static QsnapDrive *
drive_from_json (JsonObject *entry, JsonObject *inserted)
{
  JsonObject *cache = qsnap_json_get_object (inserted, "cache");
  JsonObject *image = qsnap_json_get_object (inserted, "image");
  JsonObject *specific =
      qsnap_json_get_object (qsnap_json_get_object (image, "format-specific"), "data");
  JsonArray *bitmaps = qsnap_json_get_array (inserted, "dirty-bitmaps");
  QsnapDrive *drive = g_new0 (QsnapDrive, 1);

  drive->device = g_strdup (qsnap_json_get_string (entry, "device"));
  drive->qdev = g_strdup (qsnap_json_get_string (entry, "qdev"));
  drive->node = g_strdup (qsnap_json_get_string (inserted, "node-name"));
  drive->driver = g_strdup (qsnap_json_get_string (inserted, "drv"));
  drive->detect_zeroes = g_strdup (qsnap_json_get_string (inserted, "detect_zeroes"));
  drive->size = qsnap_json_get_int (image, "virtual-size", -1);
  drive->direct = qsnap_json_get_bool (cache, "direct", FALSE);
  drive->no_flush = qsnap_json_get_bool (cache, "no-flush", FALSE);
  drive->filename = g_strdup (qsnap_json_get_string (image, "filename"));
  drive->bitmaps = bitmaps != NULL ? json_array_ref (bitmaps) : NULL;
  drive->has_data_file = qsnap_json_get_string (specific, "data-file") != NULL;
  drive->new_fdset = -1;

  return drive;
}

/* pflash keeps its content in RAM as well; QEMU writes that RAM over the image after a load. */
static gboolean
get_qom_string (QsnapQmp *qmp, const char *path, const char *property, char **value, GError **error)
{
  g_autoptr (JsonNode) reply = NULL;

  if (!qsnap_qmp_ask (qmp, "qom-get",
                      qsnap_json_node_new ("path", 's', path, "property", 's', property, NULL),
                      &reply, error))
    return FALSE;

  if (reply != NULL && json_node_get_value_type (reply) == G_TYPE_STRING)
    *value = json_node_dup_string (reply);

  return TRUE;
}

static gboolean
find_nvram_block (QsnapQmp *qmp, QsnapDrive *drive, GError **error)
{
  g_autofree char *type = NULL;

  if (drive->qdev == NULL || !g_str_has_prefix (drive->qdev, "/machine/"))
    return TRUE;

  if (!get_qom_string (qmp, drive->qdev, "type", &type, error))
    return FALSE;
  if (type == NULL || !g_str_has_prefix (type, "cfi.pflash"))
    return TRUE;

  return get_qom_string (qmp, drive->qdev, "name", &drive->nvram_block, error);
}

static QsnapDrive *
read_drive (QsnapQmp *qmp, QsnapProcess *process, JsonObject *entry, GError **error)
{
  JsonObject *inserted = qsnap_json_get_object (entry, "inserted");
  QsnapDrive *drive = drive_from_json (entry, inserted);

  if (drive->node == NULL || drive->driver == NULL)
    g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                         "query-block: a drive has no node-name or driver");
  else if (find_nvram_block (qmp, drive, error))
    {
      if (drive->filename != NULL)
        drive->file = qsnap_drive_resolve_file (qmp, process, drive->filename);
      resolve_chain (drive, qmp, process, qsnap_json_get_object (inserted, "image"));
      return drive;
    }

  qsnap_drive_free (drive);

  return NULL;
}

static void
set_string (JsonObject *object, const char *name, const char *value)
{
  if (value != NULL)
    json_object_set_string_member (object, name, value);
}

/* A revert gives the guest the same medium again. */
static JsonObject *
describe_read_only (QsnapQmp *qmp, QsnapProcess *process, JsonObject *entry)
{
  JsonObject *inserted = qsnap_json_get_object (entry, "inserted");
  JsonObject *image = qsnap_json_get_object (inserted, "image");
  const char *filename = qsnap_json_get_string (image, "filename");
  g_autofree char *file =
      filename != NULL ? qsnap_drive_resolve_file (qmp, process, filename) : NULL;
  gboolean has_name = file != NULL && g_utf8_validate (file, -1, NULL);
  QsnapFileIdentity identity;
  JsonObject *object = has_name && qsnap_file_identity_read (&identity, file, NULL)
                           ? qsnap_file_identity_to_json (&identity)
                           : json_object_new ();

  set_string (object, "drive", qsnap_json_get_string (entry, "device"));
  set_string (object, "qdev", qsnap_json_get_string (entry, "qdev"));
  set_string (object, "file", has_name ? file : NULL);

  return object;
}

GPtrArray *
qsnap_drives_query (QsnapQmp *qmp, QsnapProcess *process, JsonArray **read_only, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (qmp, "query-block", NULL, error);
  g_autoptr (GPtrArray) drives = g_ptr_array_new_with_free_func ((GDestroyNotify)qsnap_drive_free);
  g_autoptr (JsonArray) others = json_array_new ();
  JsonArray *list = qsnap_json_array (reply);

  if (reply == NULL)
    return NULL;

  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    {
      JsonObject *entry = qsnap_json_array_object (list, i);
      JsonObject *inserted = qsnap_json_get_object (entry, "inserted");
      QsnapDrive *drive;

      if (inserted == NULL)
        continue;
      if (qsnap_json_get_bool (inserted, "ro", FALSE))
        {
          if (read_only != NULL)
            json_array_add_object_element (others, describe_read_only (qmp, process, entry));
          continue;
        }

      drive = read_drive (qmp, process, entry, error);
      if (drive == NULL)
        return NULL;
      g_ptr_array_add (drives, drive);
    }

  if (read_only != NULL)
    *read_only = g_steal_pointer (&others);

  return g_steal_pointer (&drives);
}
