/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The options of a snapshot, from the command line. */

#include "qsnap-tool.h"

#include <string.h>

/* --- enumerations -------------------------------------------------------------------------- */

gboolean
find_nick (GType type, const char *nick, int *value)
{
  g_autoptr (GTypeClass) klass = g_type_class_ref (type);
  const GEnumValue *found = g_enum_get_value_by_nick ((GEnumClass *)klass, nick);

  if (found != NULL)
    *value = found->value;

  return found != NULL;
}

static char *
list_nicks (GEnumClass *klass)
{
  GString *list = g_string_new (NULL);

  for (guint i = 0; i < klass->n_values; i++)
    g_string_append_printf (list, "%s%s", i > 0 ? ", " : "", klass->values[i].value_nick);

  return g_string_free (list, FALSE);
}

/* FALSE, with the error, for an unknown @nick; NULL is the default. */
static gboolean
parse_enum (const char *option, const char *nick, GType type, int *value, GError **error)
{
  g_autoptr (GTypeClass) klass = g_type_class_ref (type);
  g_autofree char *list = NULL;

  if (nick == NULL || find_nick (type, nick, value))
    return TRUE;

  list = list_nicks ((GEnumClass *)klass);
  g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: \"%s\" is none of %s", option,
               nick, list);

  return FALSE;
}

/* --- disks --------------------------------------------------------------------------------- */

static gboolean
set_target (QsnapDiskOptions *disk, const char *text, GError **error)
{
  g_autoptr (JsonNode) target = json_from_string (text, error);

  if (target == NULL)
    {
      g_prefix_error (error, "--disk: target: ");
      return FALSE;
    }
  qsnap_disk_options_set_target (disk, target);

  return TRUE;
}

static gboolean
set_property (QsnapDiskOptions *disk, const char *property, GError **error)
{
  int sync = QSNAP_COPY_SYNC_FULL;

  if (g_str_has_prefix (property, "file="))
    {
      g_autoptr (GFile) file = g_file_new_for_commandline_arg (property + strlen ("file="));

      qsnap_disk_options_set_file (disk, file);
      return TRUE;
    }
  if (g_str_has_prefix (property, "target="))
    return set_target (disk, property + strlen ("target="), error);
  if (g_str_equal (property, "reuse"))
    {
      qsnap_disk_options_set_reuse (disk, TRUE);
      return TRUE;
    }
  if (g_str_has_prefix (property, "sync="))
    {
      if (!parse_enum ("--disk: sync", property + strlen ("sync="), QSNAP_TYPE_COPY_SYNC, &sync,
                       error))
        return FALSE;
      qsnap_disk_options_set_sync (disk, (QsnapCopySync)sync);
      return TRUE;
    }

  g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
               "--disk: \"%s\" is none of file=FILE, reuse, sync=full|top, target=JSON", property);

  return FALSE;
}

/* A file may have a colon in its name, and a target has. */
static const char *
end_of_property (const char *begin)
{
  static const char *const next[] = { ":reuse", ":sync=", ":target=", ":file=" };
  const char *end = begin + strlen (begin);

  if (g_str_has_prefix (begin, "target="))
    return end;

  for (guint i = 0; i < G_N_ELEMENTS (next); i++)
    {
      const char *found = strstr (begin, next[i]);

      if (found != NULL && found < end)
        end = found;
    }

  return end;
}

/* DISK=MODE[:PROPERTY]…; a target is JSON, and the last. The name of a disk may be a path with an
 * equals sign in it, a mode has none. */
static gboolean
add_disk (QsnapSnapshotOptions *options, const char *text, GError **error)
{
  const char *colon = NULL;
  const char *equals = NULL;
  g_autofree char *name = NULL;
  g_autofree char *nick = NULL;
  g_autoptr (QsnapDiskOptions) disk = NULL;
  int mode = QSNAP_DISK_MODE_OVERLAY;

  for (const char *at = strchr (text, '='); at != NULL && colon == NULL; at = strchr (at + 1, '='))
    {
      gsize length = strspn (at + 1, "abcdefghijklmnopqrstuvwxyz");

      if (length > 0 && (at[1 + length] == '\0' || at[1 + length] == ':'))
        {
          equals = at;
          colon = at + 1 + length;
        }
    }
  if (equals == NULL)
    {
      g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                   "--disk: \"%s\" is not DISK=MODE[:PROPERTY]…", text);
      return FALSE;
    }

  name = g_strndup (text, (gsize)(equals - text));
  nick = g_strndup (equals + 1, (gsize)(colon - equals - 1));
  if (!parse_enum ("--disk", nick, QSNAP_TYPE_DISK_MODE, &mode, error))
    return FALSE;

  disk = qsnap_disk_options_new (name, (QsnapDiskMode)mode);
  while (*colon == ':')
    {
      const char *begin = colon + 1;
      g_autofree char *property = NULL;

      colon = end_of_property (begin);
      property = g_strndup (begin, (gsize)(colon - begin));
      if (!set_property (disk, property, error))
        return FALSE;
    }
  qsnap_snapshot_options_add_disk (options, disk);

  return TRUE;
}

/* --- all ----------------------------------------------------------------------------------- */

static gboolean
set_modes (QsnapSnapshotOptions *result, Options *options, GError **error)
{
  int mode = QSNAP_SNAPSHOT_MODE_INSTANT;
  int fallback = QSNAP_SNAPSHOT_MODE_INSTANT;
  int disk_mode = QSNAP_DISK_MODE_OVERLAY;
  int leave = QSNAP_LEAVE_RUNNING;
  int compression = QSNAP_COMPRESSION_NONE;

  if (!parse_enum ("--mode", options->mode, QSNAP_TYPE_SNAPSHOT_MODE, &mode, error) ||
      !parse_enum ("--fallback", options->fallback, QSNAP_TYPE_SNAPSHOT_MODE, &fallback, error) ||
      !parse_enum ("--disk-mode", options->disk_mode, QSNAP_TYPE_DISK_MODE, &disk_mode, error) ||
      !parse_enum ("--leave", options->leave, QSNAP_TYPE_LEAVE, &leave, error) ||
      !parse_enum ("--compression", options->compression, QSNAP_TYPE_COMPRESSION, &compression,
                   error))
    return FALSE;

  qsnap_snapshot_options_set_mode (result, (QsnapSnapshotMode)mode);
  qsnap_snapshot_options_set_fallback (result, (QsnapSnapshotMode)fallback);
  qsnap_snapshot_options_set_disk_mode (result, (QsnapDiskMode)disk_mode);
  qsnap_snapshot_options_set_leave (result, (QsnapLeave)leave);
  qsnap_snapshot_options_set_compression (result, (QsnapCompression)compression);
  qsnap_snapshot_options_set_quiesce (result, options->quiesce);

  for (guint i = 0; options->disks != NULL && options->disks[i] != NULL; i++)
    if (!add_disk (result, options->disks[i], error))
      return FALSE;

  return TRUE;
}

QsnapSnapshotOptions *
snapshot_options (Options *options, const char *directory, GError **error)
{
  g_autoptr (GFile) file = directory != NULL ? g_file_new_for_commandline_arg (directory) : NULL;
  g_autoptr (QsnapSnapshotOptions) result = qsnap_snapshot_options_new (file);

  qsnap_snapshot_options_set_name (result, options->name);
  qsnap_snapshot_options_set_description (result, options->description);
  if (options->metadata != NULL)
    {
      g_autoptr (GVariant) metadata = metadata_from_words (NULL, options->metadata, error);

      if (metadata == NULL)
        return NULL;
      qsnap_snapshot_options_set_metadata (result, metadata);
    }
  qsnap_snapshot_options_set_allow_managed (result, options->allow_managed);
  qsnap_snapshot_options_set_max_pause_ms (result, (guint)MAX (options->max_pause_ms, 0));
  qsnap_snapshot_options_set_max_stall_ms (result, (guint)MAX (options->max_stall_ms, 0));
  qsnap_snapshot_options_set_huge_pages (result, options->huge_pages);
  qsnap_snapshot_options_set_max_chain_length (result, (guint)MAX (options->max_chain_length, 0));
  qsnap_snapshot_options_set_share_pages (result, options->share_pages);
  if (options->overlay_directory != NULL)
    {
      g_autoptr (GFile) overlays = g_file_new_for_commandline_arg (options->overlay_directory);

      qsnap_snapshot_options_set_overlay_directory (result, overlays);
    }

  return set_modes (result, options, error) ? g_steal_pointer (&result) : NULL;
}
