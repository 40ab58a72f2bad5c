/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: what a QEMU program can do at all, which one without a guest is asked for. */

#include "qsnap-mock-private.h"

typedef struct
{
  const char *name, *parent;
} TypeInfo;

static const TypeInfo types[] = {
  { "object", NULL },
  { "memory-backend", "object" },
  { "memory-backend-file", "memory-backend" },
  { "memory-backend-memfd", "memory-backend" },
  { "memory-backend-ram", "memory-backend" },
  { "device", "object" },
  { "virtio-blk-pci", "device" },
  { "virtio-balloon-pci", "device" },
  { "virtio-mem-pci", "device" },
};

typedef struct
{
  const char *type, *name, *value_type;
  /* Not in 7.2. */
  gboolean is_new;
} PropertyInfo;

static const PropertyInfo properties[] = {
  { "object", "type", "string", FALSE },
  { "memory-backend", "size", "int", FALSE },
  { "memory-backend", "share", "bool", FALSE },
  { "memory-backend", "prealloc", "bool", FALSE },
  { "memory-backend", "x-use-canonical-path-for-ramblock-id", "bool", FALSE },
  { "memory-backend-file", "mem-path", "string", FALSE },
  { "memory-backend-file", "readonly", "bool", FALSE },
  { "memory-backend-file", "rom", "OnOffAuto", TRUE },
  { "memory-backend-memfd", "hugetlb", "bool", FALSE },
};

static const TypeInfo *
find_type (const char *name)
{
  for (guint i = 0; name != NULL && i < G_N_ELEMENTS (types); i++)
    {
      if (g_str_equal (types[i].name, name))
        return &types[i];
    }
  return NULL;
}

static gboolean
is_a (const TypeInfo *type, const char *ancestor)
{
  for (; type != NULL; type = find_type (type->parent))
    {
      if (g_str_equal (type->name, ancestor))
        return TRUE;
    }
  return FALSE;
}

static JsonNode *
list_properties (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *name = mock_arg_string (arguments, "typename");
  const TypeInfo *type = find_type (name);
  JsonNode *result;

  if (type == NULL)
    {
      g_set_error (error, MOCK_ERROR, MOCK_ERROR_DEVICE_NOT_FOUND, "Class '%s' not found", name);
      return NULL;
    }
  result = mock_json ("[]");
  for (guint i = 0; i < G_N_ELEMENTS (properties); i++)
    {
      JsonObject *entry;

      if (!is_a (type, properties[i].type) ||
          (properties[i].is_new && mock->style == MOCK_STYLE_7_2))
        continue;
      entry = json_object_new ();
      json_object_set_string_member (entry, "name", properties[i].name);
      json_object_set_string_member (entry, "type", properties[i].value_type);
      json_array_add_object_element (json_node_get_array (result), entry);
    }
  return result;
}

static JsonNode *
list_cpus (G_GNUC_UNUSED MockQemu *mock,
           G_GNUC_UNUSED JsonObject *arguments,
           G_GNUC_UNUSED GError **error)
{
  return mock_json (
      "[{\"name\": \"qemu64\", \"typename\": \"qemu64-x86_64-cpu\", \"static\": false, "
      "\"migration-safe\": true, \"unavailable-features\": [], \"deprecated\": false}, "
      "{\"name\": \"host\", \"typename\": \"host-x86_64-cpu\", \"static\": false, "
      "\"migration-safe\": false, \"deprecated\": false}]");
}

const MockCommand mock_types_commands[] = {
  { "qom-list-properties", list_properties },
  { "query-cpu-definitions", list_cpus },
  { NULL, NULL },
};
