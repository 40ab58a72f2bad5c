/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-manifest-disk.h"

#include <string.h>
#include <sys/stat.h>

#include "qsnap-json.h"
#include "qsnap-manifest.h"

/* --- reading ------------------------------------------------------------------------------- */

gboolean
qsnap_disk_mode_has_own_image (QsnapDiskMode mode)
{
  return mode == QSNAP_DISK_MODE_CLONE || mode == QSNAP_DISK_MODE_COPY;
}

/* The first manifests had no other mode. */
QsnapDiskMode
qsnap_manifest_disk_mode (JsonObject *disk)
{
  return (QsnapDiskMode)qsnap_json_get_enum (disk, "mode", QSNAP_TYPE_DISK_MODE,
                                             QSNAP_DISK_MODE_OVERLAY);
}

char *
qsnap_manifest_disk_base (JsonObject *disk, const char *directory)
{
  const char *file = qsnap_json_get_string (qsnap_json_get_object (disk, "base"), "file");

  return file != NULL ? g_canonicalize_filename (file, directory) : NULL;
}

JsonObject *
qsnap_manifest_disk_source (JsonObject *disk)
{
  JsonObject *source = qsnap_json_get_object (disk, "source");

  return source != NULL ? source : qsnap_json_get_object (disk, "base");
}

const char *
qsnap_manifest_disk_goes_on_in (JsonObject *disk)
{
  JsonObject *overlay = qsnap_json_get_object (disk, "overlay");

  if (overlay == NULL && qsnap_manifest_disk_mode (disk) != QSNAP_DISK_MODE_OVERLAY)
    overlay = qsnap_manifest_disk_source (disk);

  return qsnap_json_get_string (overlay, "file");
}

static gboolean
has_name (JsonObject *disk, const char *name)
{
  return g_strcmp0 (qsnap_json_get_string (disk, "device"), name) == 0 ||
         g_strcmp0 (qsnap_json_get_string (disk, "qdev"), name) == 0 ||
         g_strcmp0 (qsnap_json_get_string (disk, "node"), name) == 0;
}

JsonObject *
qsnap_manifest_disk_find (JsonArray *disks, const char *drive, GError **error)
{
  JsonObject *found = NULL;

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);

      if (!has_name (disk, drive))
        continue;
      if (found != NULL)
        {
          g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                       "more than one disk of the snapshot is named \"%s\"", drive);
          return NULL;
        }
      found = disk;
    }

  if (found == NULL)
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "the snapshot has no disk \"%s\"", drive);

  return found;
}

/* A snapshot that was moved has other files of the same content. */
static gboolean
check_moved (JsonObject *base, const char *file, GError **error)
{
  QsnapFileIdentity now;

  if (!qsnap_file_identity_read (&now, file, error))
    {
      g_prefix_error_literal (error, "an image of the snapshot is missing: ");
      return FALSE;
    }
  if (qsnap_json_get_int (base, "inode", -1) == (gint64)now.inode)
    return qsnap_file_identity_check (base, file, error);
  if (!now.is_block_device && qsnap_json_get_int (base, "size", -1) == (gint64)now.size)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "the image %s of the snapshot changed since it was taken: its size is another",
               file);

  return FALSE;
}

gboolean
qsnap_manifest_disk_check_base (JsonObject *disk, const char *directory, GError **error)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  g_autofree char *file = qsnap_manifest_disk_base (disk, directory);
  struct stat found;

  switch (qsnap_manifest_disk_mode (disk))
    {
    case QSNAP_DISK_MODE_CLONE:
    case QSNAP_DISK_MODE_COPY:
      return file == NULL || check_moved (base, file, error);
    case QSNAP_DISK_MODE_INTERNAL:
    case QSNAP_DISK_MODE_EXCLUDE:
      /* The guest goes on in it. */
      if (file == NULL || stat (file, &found) == 0)
        return TRUE;
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                   "the image %s, which the guest had, is missing", file);
      return FALSE;
    case QSNAP_DISK_MODE_OVERLAY:
    case QSNAP_DISK_MODE_AUTO:
    default:
      return qsnap_file_identity_check (base, file, error);
    }
}

void
qsnap_manifest_disk_identify (JsonObject *disk, const QsnapFileIdentity *identity)
{
  static const char *const old[] = { "device", "inode", "size", "mtime-ns", "block-device" };
  JsonObject *base = qsnap_json_get_object (disk, "base");
  g_autoptr (JsonObject) members = qsnap_file_identity_to_json (identity);
  g_autoptr (GList) names = json_object_get_members (members);

  for (guint i = 0; i < G_N_ELEMENTS (old); i++)
    json_object_remove_member (base, old[i]);
  for (GList *l = names; l != NULL; l = l->next)
    json_object_set_member (base, l->data, json_object_dup_member (members, l->data));
}

gboolean
qsnap_manifest_disk_identify_file (JsonObject *disk, const char *file, GError **error)
{
  QsnapFileIdentity identity;

  if (!qsnap_file_identity_read (&identity, file, error))
    return FALSE;

  qsnap_manifest_disk_identify (disk, &identity);

  return TRUE;
}

/* QEMU was started on it, as far as its name tells; the list must not grow each time. */
void
qsnap_manifest_disk_remember (JsonObject *image, JsonArray *command_line, const char *file)
{
  JsonArray *merged = qsnap_json_get_array (image, "merged");
  g_autofree char *name = g_path_get_basename (file);
  gboolean named = FALSE;

  for (guint i = 0; command_line != NULL && i < json_array_get_length (command_line); i++)
    named |= strstr (qsnap_json_array_string (command_line, i), name) != NULL;
  for (guint i = 0; merged != NULL && i < json_array_get_length (merged); i++)
    named &= g_strcmp0 (qsnap_json_array_string (merged, i), file) != 0;
  if (!named)
    return;

  if (merged == NULL)
    {
      merged = json_array_new ();
      json_object_set_array_member (image, "merged", merged);
    }
  json_array_add_string_element (merged, file);
}

/* --- checking ------------------------------------------------------------------------------ */

/* QEMU opens what a manifest names, and people read it: no detours. */
static gboolean
check_path (const char *path, const char *where, GError **error)
{
  g_autofree char *canonical = NULL;

  if (!g_path_is_absolute (path))
    return qsnap_manifest_corrupt (error, "%sfile is not an absolute path", where);

  canonical = g_canonicalize_filename (path, NULL);

  return g_str_equal (path, canonical) ||
         qsnap_manifest_corrupt (error, "%sfile is not a plain path", where);
}

/* One name in the snapshot's own folder for disks. */
static gboolean
is_own_file (const char *path)
{
  const char *name =
      g_str_has_prefix (path, QSNAP_DISKS_DIR "/") ? path + strlen (QSNAP_DISKS_DIR "/") : NULL;

  return name != NULL && *name != '\0' && *name != '.' && strchr (name, '/') == NULL;
}

typedef enum
{
  /* In the snapshot's own folder. */
  MAY_BE_OWN = 1 << 0,
  /* No file: what QEMU is told of something else. */
  MAY_BE_OPTIONS = 1 << 1
} Places;

static gboolean
check_image (JsonObject *object, const char *where, Places places, GError **error)
{
  static const QsnapManifestMember members[] = { { "format", 's' }, { NULL, 0 } };
  const char *file = qsnap_json_get_string (object, "file");

  if (!qsnap_manifest_check_members (object, where, members, error))
    return FALSE;
  if (file == NULL)
    return ((places & MAY_BE_OPTIONS) && qsnap_json_get_object (object, "options") != NULL) ||
           qsnap_manifest_corrupt (error, "%sfile is missing or wrong", where);

  return ((places & MAY_BE_OWN) && is_own_file (file)) || check_path (file, where, error);
}

static Places
places_of_base (QsnapDiskMode mode)
{
  if (mode == QSNAP_DISK_MODE_COPY)
    return MAY_BE_OWN | MAY_BE_OPTIONS;

  return mode == QSNAP_DISK_MODE_CLONE ? MAY_BE_OWN : 0;
}

static gboolean
check_base (JsonObject *disk, GError **error)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  JsonObject *backing = qsnap_json_get_object (base, "backing");
  QsnapDiskMode mode = qsnap_manifest_disk_mode (disk);

  /* It may have been no local file, and is none of the snapshot's. */
  if (mode == QSNAP_DISK_MODE_EXCLUDE && qsnap_json_get_string (base, "file") == NULL)
    return TRUE;
  if (mode == QSNAP_DISK_MODE_INTERNAL && qsnap_json_get_string (base, "snapshot") == NULL)
    return qsnap_manifest_corrupt (error, "disks: base: snapshot is missing or wrong");

  return check_image (base, "disks: base: ", places_of_base (mode), error) &&
         qsnap_manifest_check_strings (base, "chain", error) &&
         qsnap_manifest_check_strings (base, "merged", error) &&
         (backing == NULL || check_image (backing, "disks: base: backing: ", 0, error));
}

/* A snapshot that was moved has none: its guest is not here. */
static gboolean
check_overlay (JsonObject *disk, GError **error)
{
  static const QsnapManifestMember members[] = { { "overlay", 'o' }, { NULL, 0 } };

  return !json_object_has_member (disk, "overlay") ||
         (qsnap_manifest_check_members (disk, "disks: ", members, error) &&
          check_image (qsnap_json_get_object (disk, "overlay"), "disks: overlay: ", MAY_BE_OPTIONS,
                       error));
}

static gboolean
check_disk (JsonObject *disk, GError **error)
{
  static const QsnapManifestMember members[] = {
    { "device", 's' }, { "node", 's' }, { "size", 'i' }, { "base", 'o' }, { NULL, 0 }
  };
  static const QsnapManifestMember source[] = { { "source", 'o' }, { NULL, 0 } };
  const char *mode = qsnap_json_get_string (disk, "mode");

  if (!qsnap_manifest_check_members (disk, "disks: ", members, error))
    return FALSE;
  if (json_object_has_member (disk, "mode") &&
      (qsnap_json_get_enum (disk, "mode", QSNAP_TYPE_DISK_MODE, -1) == -1 ||
       g_str_equal (mode, "auto")))
    return qsnap_manifest_corrupt (error, "disks: mode is wrong");
  if (!check_base (disk, error))
    return FALSE;

  if (qsnap_disk_mode_has_own_image (qsnap_manifest_disk_mode (disk)))
    return qsnap_manifest_check_members (disk, "disks: ", source, error) &&
           qsnap_manifest_check_strings (qsnap_json_get_object (disk, "source"), "chain", error);

  return qsnap_manifest_disk_mode (disk) != QSNAP_DISK_MODE_OVERLAY || check_overlay (disk, error);
}

gboolean
qsnap_manifest_check_disks (JsonArray *disks, GError **error)
{
  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);

      if (disk == NULL)
        return qsnap_manifest_corrupt (error, "disks has an element that is no object");
      if (!check_disk (disk, error))
        return FALSE;
    }

  return TRUE;
}
