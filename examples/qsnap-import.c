/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: import, of a snapshot that was moved. */

#include "qsnap-tool.h"

/* Of the manifest: @member is an object with a file. */
static const char *
file_in (JsonObject *object, const char *member)
{
  JsonNode *node = json_object_get_member (object, member);
  JsonObject *image =
      node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;

  return image != NULL ? json_object_get_string_member_with_default (image, "file", NULL) : NULL;
}

static JsonObject *
describe_disk (QsnapSnapshot *snapshot, QsnapDisk *disk, JsonObject *manifest_disk)
{
  g_autoptr (GError) problem = NULL;
  JsonObject *description = json_object_new ();
  const char *device = qsnap_disk_get_device (disk);
  const char *file = qsnap_disk_get_base (disk);
  const char *below = file_in (json_object_get_object_member (manifest_disk, "base"), "backing");
  g_autoptr (GEnumClass) modes = g_type_class_ref (QSNAP_TYPE_DISK_MODE);

  /* The image of one that was left out is none of the snapshot's, but has to be there. */
  if (file == NULL)
    file = file_in (manifest_disk, "base");
  (void)qsnap_snapshot_check_disk (snapshot, qsnap_disk_get_node (disk), NULL, &problem);

  json_object_set_string_member (description, "device", device);
  json_object_set_string_member (description, "mode",
                                 g_enum_get_value (modes, qsnap_disk_get_mode (disk))->value_nick);
  if (file != NULL)
    json_object_set_string_member (description, "file", file);
  if (below != NULL)
    json_object_set_string_member (description, "backing", below);
  json_object_set_boolean_member (description, "good", problem == NULL);
  if (problem != NULL)
    json_object_set_string_member (description, "problem", problem->message);

  return description;
}

static JsonArray *
describe_disks (QsnapSnapshot *snapshot)
{
  g_autoptr (JsonNode) manifest = qsnap_snapshot_dup_manifest (snapshot);
  JsonArray *of_manifest = json_object_get_array_member (json_node_get_object (manifest), "disks");
  GListModel *disks = qsnap_snapshot_get_disks (snapshot);
  JsonArray *descriptions = json_array_new ();

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDisk) disk = g_list_model_get_item (disks, i);
      JsonObject *manifest_disk = json_array_get_object_element (of_manifest, i);

      json_array_add_object_element (descriptions, describe_disk (snapshot, disk, manifest_disk));
    }

  return descriptions;
}

static gboolean
are_all_good (JsonArray *disks)
{
  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (!json_object_get_boolean_member (json_array_get_object_element (disks, i), "good"))
      return FALSE;

  return TRUE;
}

static void
print_disk (JsonObject *disk)
{
  const char *file = json_object_get_string_member_with_default (disk, "file", NULL);
  const char *below = json_object_get_string_member_with_default (disk, "backing", NULL);

  g_print ("disk %s: %s: %s\n", json_object_get_string_member (disk, "device"),
           file != NULL ? file : "in no local file",
           json_object_get_string_member_with_default (
               disk, "problem", file != NULL ? "there, and as it was" : "not looked at"));
  if (below != NULL)
    g_print ("  it stands on %s\n", below);
}

static void
print_disks_json (QsnapSnapshot *snapshot, JsonArray *disks, gboolean good)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "directory",
                                 g_file_peek_path (qsnap_snapshot_get_directory (snapshot)));
  json_object_set_boolean_member (object, "good", good);
  json_object_set_array_member (object, "disks", json_array_ref (disks));
  json_node_take_object (node, object);
  print_json (node);
}

static int
print_images (Options *options, QsnapSnapshot *snapshot)
{
  g_autoptr (JsonArray) disks = describe_disks (snapshot);
  gboolean good = are_all_good (disks);

  if (options->json)
    print_disks_json (snapshot, disks, good);
  else if (!options->quiet)
    for (guint i = 0; i < json_array_get_length (disks); i++)
      print_disk (json_array_get_object_element (disks, i));

  return good ? EXIT_OK : EXIT_FAILED;
}

int
run_import (Options *options, char **arguments)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  if (is_group (arguments[0]))
    return usage ("the folder of each guest of a group is imported by itself; this is a group: ",
                  arguments[0]);

  snapshot = load_snapshot (arguments[0], &error);
  if (snapshot == NULL ||
      (arguments[1] != NULL &&
       !qsnap_snapshot_relocate_disks (snapshot, (const char *const *)arguments + 1, NULL, &error)))
    return fail (error);

  return print_images (options, snapshot);
}
