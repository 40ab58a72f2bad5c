/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <string.h>

#include "disk/qsnap-copy.h"
#include "disk/qsnap-new-image.h"
#include "qsnap-capture-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"

/* A disk, for the manifest. */

static JsonArray *
chain_to_json (QsnapDrive *drive)
{
  JsonArray *chain;

  if (drive->chain == NULL || *drive->chain == NULL)
    return NULL;

  chain = json_array_new ();
  for (guint i = 0; drive->chain[i] != NULL; i++)
    json_array_add_string_element (chain, drive->chain[i]);

  return chain;
}

/* A snapshot that is moved takes along what is in its directory. */
static char *
name_of_file (const char *file, const char *directory)
{
  g_autofree char *folder = g_build_filename (directory, QSNAP_DISKS_DIR "/", NULL);

  return g_str_has_prefix (file, folder)
             ? g_strconcat (QSNAP_DISKS_DIR "/", file + strlen (folder), NULL)
             : g_strdup (file);
}

/* The header of a clone names its backing file as that of the guest's image does, which may be
 * relative to where that is. */
static JsonObject *
backing_to_json (QsnapDrive *drive)
{
  return qsnap_json_object_new ("file", 's', drive->chain[0], "format", 's', drive->backing_format,
                                NULL);
}

static JsonObject *
new_base (QsnapDrive *drive, const char *directory)
{
  JsonNode *target = qsnap_new_image_target (drive);
  JsonObject *base = qsnap_file_identity_to_json (&drive->base);
  g_autofree char *name =
      drive->new_file != NULL ? name_of_file (drive->new_file, directory) : NULL;

  if (name != NULL)
    json_object_set_string_member (base, "file", name);
  else
    json_object_set_member (base, "options", qsnap_json_copy (target));

  json_object_set_string_member (base, "format", drive->new_format);
  if (drive->mode == QSNAP_DISK_MODE_CLONE && drive->backing_format != NULL)
    json_object_set_object_member (base, "backing", backing_to_json (drive));
  if ((drive->mode == QSNAP_DISK_MODE_CLONE && drive->backing_format != NULL) ||
      qsnap_copy_stands_on_backing (drive))
    json_object_set_array_member (base, "chain", chain_to_json (drive));

  return base;
}

static JsonObject *
own_base (QsnapDrive *drive)
{
  JsonObject *base = drive->mode == QSNAP_DISK_MODE_OVERLAY
                         ? qsnap_file_identity_to_json (&drive->base)
                         : json_object_new ();

  if (drive->file != NULL)
    json_object_set_string_member (base, "file", drive->file);
  json_object_set_string_member (base, "format", qsnap_drive_format (drive));
  if (drive->internal_name != NULL)
    json_object_set_string_member (base, "snapshot", drive->internal_name);
  if (drive->chain != NULL && *drive->chain != NULL)
    json_object_set_array_member (base, "chain", chain_to_json (drive));
  if (drive->merged_files != NULL)
    json_object_set_array_member (base, "merged", json_array_ref (drive->merged_files));

  return base;
}

static JsonObject *
source_to_json (QsnapDrive *drive)
{
  return qsnap_json_object_new (
      "file", 's', drive->file, "chain", 'a', chain_to_json (drive), "merged", 'a',
      drive->merged_files != NULL ? json_array_ref (drive->merged_files) : NULL, NULL);
}

static JsonObject *
overlay_to_json (QsnapDrive *drive)
{
  JsonNode *target = qsnap_new_image_target (drive);

  return qsnap_json_object_new ("file", 's', drive->new_file, "options", 'n',
                                target != NULL ? qsnap_json_copy (target) : NULL, "format", 's',
                                drive->new_format, "node", 's', drive->new_node, NULL);
}

JsonObject *
qsnap_capture_describe_disk (QsnapDrive *drive, const char *directory)
{
  gboolean in_new = qsnap_disk_mode_has_own_image (drive->mode);

  return qsnap_json_object_new (
      "device", 's', qsnap_drive_label (drive), "qdev", 's', drive->qdev, "node", 's', drive->node,
      "size", 'i', MAX (drive->size, 0), "nvram-block", 's', drive->nvram_block, "mode", 's',
      qsnap_enum_nick (QSNAP_TYPE_DISK_MODE, drive->mode), "base", 'o',
      in_new ? new_base (drive, directory) : own_base (drive), "source", 'o',
      in_new ? source_to_json (drive) : NULL, "overlay", 'o',
      drive->mode == QSNAP_DISK_MODE_OVERLAY ? overlay_to_json (drive) : NULL, NULL);
}
