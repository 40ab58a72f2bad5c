/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: a small QOM tree. */

#include "qsnap-mock-private.h"

typedef struct
{
  const char *path, *property, *type, *json;
} QomCall;

static void
set_property (
    MockQemu *mock, const char *path, const char *property, const char *type, JsonNode *value)
{
  JsonObject *object = g_hash_table_lookup (mock_misc_get_qom (mock), path);
  JsonObject *entry = json_object_new ();

  if (object == NULL)
    g_error ("mock: there is no QOM object %s", path);
  json_object_set_string_member (entry, "type", type);
  json_object_set_member (entry, "value", value);
  json_object_set_object_member (object, property, entry);
}

static void
set_string (
    MockQemu *mock, const char *path, const char *property, const char *type, const char *value)
{
  JsonNode *node = json_node_new (JSON_NODE_VALUE);

  json_node_set_string (node, value);
  set_property (mock, path, property, type, node);
}

static void
add_object (MockQemu *mock, const char *path, const char *type)
{
  g_autofree char *parent = g_path_get_dirname (path);
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *child_type = g_strdup_printf ("child<%s>", type);

  g_hash_table_insert (mock_misc_get_qom (mock), g_strdup (path), json_object_new ());
  set_string (mock, path, "type", "string", type);
  if (!g_str_equal (path, "/"))
    set_string (mock, parent, name, child_type, path);
}

void
mock_qom_init (MockQemu *mock)
{
  add_object (mock, "/", "container");
  add_object (mock, "/objects", "container");
  add_object (mock, "/objects/pc.ram", "memory-backend-ram");
  add_object (mock, "/chardevs", "container");
  add_object (mock, "/chardevs/compat_monitor0", "chardev-socket");
  add_object (mock, "/machine",
              mock->style == MOCK_STYLE_7_2 ? "pc-q35-7.2-machine" : "pc-q35-10.0-machine");
  add_object (mock, "/machine/peripheral", "container");
  add_object (mock, "/machine/peripheral/disk0", "virtio-blk-pci");
  add_object (mock, "/machine/peripheral/disk0/virtio-backend", "virtio-blk-device");
  add_object (mock, "/machine/peripheral-anon", "container");
  add_object (mock, "/machine/unattached", "container");
  add_object (mock, "/machine/unattached/device[0]", "qemu64-x86_64-cpu");
  set_string (mock, "/machine", "memory-backend", "link<memory-backend>", "/objects/pc.ram");
  set_property (mock, "/objects/pc.ram", "share", "bool", mock_json ("false"));
  set_property (mock, "/objects/pc.ram", "size", "int", mock_json ("25165824"));
}

static JsonObject *
find_object (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *path = mock_arg_string (arguments, "path");
  JsonObject *object = g_hash_table_lookup (mock_misc_get_qom (mock), path);

  if (object == NULL)
    g_set_error (error, MOCK_ERROR, MOCK_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", path);
  return object;
}

static JsonNode *
qom_list (MockQemu *mock, JsonObject *arguments, GError **error)
{
  JsonObject *object = find_object (mock, arguments, error);
  g_autoptr (GList) names = NULL;
  JsonNode *result;

  if (object == NULL)
    return NULL;
  result = mock_json ("[]");
  names = json_object_get_members (object);
  for (GList *l = names; l != NULL; l = l->next)
    {
      JsonObject *entry = json_object_new ();

      json_object_set_string_member (entry, "name", l->data);
      json_object_set_string_member (
          entry, "type", mock_arg_string (json_object_get_object_member (object, l->data), "type"));
      json_array_add_object_element (json_node_get_array (result), entry);
    }
  return result;
}

static JsonNode *
qom_get (MockQemu *mock, JsonObject *arguments, GError **error)
{
  JsonObject *object = find_object (mock, arguments, error);
  const char *property = mock_arg_string (arguments, "property");

  if (object == NULL)
    return NULL;
  if (!json_object_has_member (object, property))
    return mock_fail (
        error, "Property '%s.%s' not found",
        json_object_get_string_member (json_object_get_object_member (object, "type"), "value"),
        property);
  return json_node_copy (
      json_object_get_member (json_object_get_object_member (object, property), "value"));
}

const MockCommand mock_qom_commands[] = {
  { "qom-list", qom_list },
  { "qom-get", qom_get },
  { NULL, NULL },
};

static void
call_add (MockQemu *mock, gpointer data)
{
  QomCall *call = data;

  add_object (mock, call->path, call->type);
}

void
mock_qom_add (MockQemu *mock, const char *path, const char *type)
{
  QomCall call = { .path = path, .type = type };

  mock_call (mock, call_add, &call);
}

static void
call_set (MockQemu *mock, gpointer data)
{
  QomCall *call = data;

  set_property (mock, call->path, call->property, call->type, mock_json (call->json));
}

void
mock_qom_set (
    MockQemu *mock, const char *path, const char *property, const char *type, const char *json)
{
  QomCall call = { path, property, type, json };

  mock_call (mock, call_set, &call);
}
