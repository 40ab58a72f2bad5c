/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: what QEMU tells about its block graph, and the tests' own view of it. */

#include "qsnap-mock-graph.h"

#include <string.h>
#include <sys/stat.h>

static gint64
allocated_size (MockQemu *mock, MockNode *node)
{
  MockNode *file = node->file != NULL ? mock_graph_find (mock, node->file) : node;
  struct stat buf;

  if (file == NULL || fstat (file->fd, &buf) != 0)
    return 0;
  return buf.st_blocks * (gint64)512;
}

static JsonNode *
specific_info (MockQemu *mock, MockNode *node)
{
  if (g_str_equal (node->driver, "qcow2"))
    return mock_json (
        "{\"type\": \"qcow2\", \"data\": {\"compat\": \"1.1\", \"compression-type\": \"zlib\", "
        "\"lazy-refcounts\": false, \"refcount-bits\": 16, \"corrupt\": false, "
        "\"extended-l2\": false}}");
  if (g_str_equal (node->driver, "file") && mock->style == MOCK_STYLE_10)
    return mock_json ("{\"type\": \"file\", \"data\": {}}");
  return NULL;
}

static void
add_header_info (MockQemu *mock, MockNode *node, JsonObject *image)
{
  MockNode *file = mock_graph_find (mock, node->file);
  MockQcow2 header;

  json_object_set_int_member (image, "cluster-size", 65536);
  if (file == NULL || !mock_qcow2_read (file, &header) || *header.backing == '\0')
    return;
  json_object_set_string_member (image, "backing-filename", header.backing);
  json_object_set_string_member (image, "full-backing-filename", header.backing);
  if (*header.format != '\0')
    json_object_set_string_member (image, "backing-filename-format", header.format);
}

JsonObject *
mock_snapshot_info (const char *name)
{
  JsonNode *node = mock_json ("{\"vm-clock-nsec\": 0, \"date-sec\": 1700000000, \"date-nsec\": 0, "
                              "\"vm-clock-sec\": 1, \"id\": \"1\", \"vm-state-size\": 0}");
  JsonObject *info = json_node_dup_object (node);

  json_node_unref (node);
  json_object_set_string_member (info, "name", name);
  return info;
}

static void
add_snapshots (MockNode *node, JsonObject *image)
{
  JsonArray *list;

  if (node->snapshots->len == 0)
    return;
  list = json_array_new ();
  for (guint i = 0; i < node->snapshots->len; i++)
    json_array_add_object_element (list,
                                   mock_snapshot_info (g_ptr_array_index (node->snapshots, i)));
  json_object_set_array_member (image, "snapshots", list);
}

static JsonObject *
image_info (MockQemu *mock, MockNode *node, gboolean deep)
{
  JsonObject *image = json_object_new ();
  JsonNode *specific = specific_info (mock, node);

  json_object_set_int_member (image, "virtual-size", node->size);
  json_object_set_string_member (image, "filename", node->filename);
  json_object_set_string_member (image, "format", node->driver);
  json_object_set_int_member (image, "actual-size", allocated_size (mock, node));
  json_object_set_boolean_member (image, "dirty-flag", FALSE);
  if (specific != NULL)
    json_object_set_member (image, "format-specific", specific);
  if (g_str_equal (node->driver, "qcow2"))
    add_header_info (mock, node, image);
  add_snapshots (node, image);
  if (deep && node->backing != NULL)
    json_object_set_object_member (image, "backing-image",
                                   image_info (mock, mock_graph_find (mock, node->backing), TRUE));
  return image;
}

static int
backing_depth (MockQemu *mock, MockNode *node)
{
  int depth = 0;

  for (; node->backing != NULL; node = mock_graph_find (mock, node->backing))
    depth++;
  return depth;
}

static JsonObject *
node_info (MockQemu *mock, MockNode *node, gboolean deep, gboolean writeback)
{
  static const char *const zeros[] = { "iops",   "iops_rd", "iops_wr",        "bps",
                                       "bps_rd", "bps_wr",  "write_threshold" };
  JsonObject *info = json_object_new ();
  JsonNode *cache = mock_json ("{\"no-flush\": false, \"direct\": false}");
  MockNode *backing = mock_graph_find (mock, node->backing);

  for (guint i = 0; i < G_N_ELEMENTS (zeros); i++)
    json_object_set_int_member (info, zeros[i], 0);
  json_object_set_string_member (info, "detect_zeroes", "off");
  if (mock->style == MOCK_STYLE_10)
    json_object_set_boolean_member (info, "active", TRUE);
  json_object_set_object_member (info, "image", image_info (mock, node, deep));
  json_object_set_boolean_member (info, "ro", node->read_only);
  json_object_set_string_member (info, "node-name", node->name);
  json_object_set_int_member (info, "backing_file_depth", deep ? backing_depth (mock, node) : 0);
  json_object_set_string_member (info, "drv", node->driver);
  json_object_set_boolean_member (info, "encrypted", FALSE);
  json_object_set_boolean_member (json_node_get_object (cache), "writeback", writeback);
  json_object_set_member (info, "cache", cache);
  json_object_set_string_member (info, "file", node->filename);
  if (backing != NULL)
    json_object_set_string_member (info, "backing_file", backing->filename);
  if (json_array_get_length (node->bitmaps) > 0)
    json_object_set_array_member (info, "dirty-bitmaps", json_array_ref (node->bitmaps));
  return info;
}

JsonNode *
mock_query_named_block_nodes (MockQemu *mock, JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  gboolean deep = !mock_arg_bool (arguments, "flat", FALSE);
  JsonNode *result = mock_json ("[]");

  for (GList *l = mock->graph->nodes; l != NULL; l = l->next)
    json_array_add_object_element (json_node_get_array (result),
                                   node_info (mock, l->data, deep, TRUE));
  return result;
}

/* While a drive is backed up, the job's filter is what it stands on. */
static JsonObject *
root_info (MockQemu *mock, MockDrive *drive)
{
  JsonObject *info = node_info (mock, mock_graph_find (mock, drive->root), TRUE, FALSE);
  g_autofree char *filter = g_strdup_printf ("%s-filter", drive->root);

  if (mock_jobs_filters (mock, drive->root))
    {
      json_object_set_string_member (info, "node-name", filter);
      json_object_set_string_member (info, "drv", "copy-before-write");
    }
  return info;
}

JsonNode *
mock_query_block (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_json ("[]");

  for (guint i = 0; i < mock->graph->drives->len; i++)
    {
      MockDrive *drive = g_ptr_array_index (mock->graph->drives, i);
      JsonObject *info = json_object_new ();

      json_object_set_string_member (info, "device", drive->device);
      json_object_set_boolean_member (info, "locked", FALSE);
      json_object_set_boolean_member (info, "removable", drive->root == NULL);
      json_object_set_string_member (info, "type", "unknown");
      if (drive->qdev != NULL)
        json_object_set_string_member (info, "qdev", drive->qdev);
      if (drive->root != NULL)
        {
          json_object_set_string_member (info, "io-status", "ok");
          json_object_set_object_member (info, "inserted", root_info (mock, drive));
        }
      else
        json_object_set_boolean_member (info, "tray_open", FALSE);
      json_array_add_object_element (json_node_get_array (result), info);
    }
  return result;
}

/* --- what tests see and set --- */

typedef struct
{
  const char *device, *qdev, *node, *driver, *filename;
  gboolean read_only;
  char *text;
  guint n;
} GraphCall;

static JsonObject *
drive_options (const GraphCall *call)
{
  JsonObject *options = json_object_new ();
  JsonObject *file = json_object_new ();

  json_object_set_string_member (file, "driver", "file");
  json_object_set_string_member (file, "filename", call->filename);
  json_object_set_boolean_member (file, "read-only", call->read_only);
  json_object_set_string_member (options, "driver", call->driver);
  json_object_set_object_member (options, "file", file);
  json_object_set_null_member (options, "backing");
  if (call->node != NULL)
    json_object_set_string_member (options, "node-name", call->node);
  return options;
}

/* A pseudo file name says all that there is to say. */
static JsonObject *
image_options (const GraphCall *call)
{
  JsonObject *options;
  JsonNode *node;

  if (!g_str_has_prefix (call->filename, "json:"))
    return drive_options (call);
  node = mock_json (call->filename + strlen ("json:"));
  options = json_node_dup_object (node);
  json_node_unref (node);
  return options;
}

static MockNode *
open_for_test (MockQemu *mock, const GraphCall *call)
{
  g_autoptr (JsonObject) options = image_options (call);
  g_autoptr (GError) error = NULL;
  MockNode *node = mock_graph_open (mock, options, &error);

  g_assert_no_error (error);
  return node;
}

static void
add_drive (MockQemu *mock, gpointer data)
{
  GraphCall *call = data;
  MockDrive *drive = g_new0 (MockDrive, 1);

  drive->device = g_strdup (call->device);
  drive->qdev = g_strdup (call->qdev);
  if (call->filename != NULL)
    {
      MockNode *node = open_for_test (mock, call);

      drive->root = g_strdup (node->name);
      /* What -blockdev made belongs to the monitor. */
      node->owned_by_monitor = call->node != NULL;
    }
  g_ptr_array_add (mock->graph->drives, drive);
}

void
mock_add_drive (MockQemu *mock,
                const char *device,
                const char *qdev,
                const char *node,
                const char *driver,
                const char *filename)
{
  GraphCall call = {
    .device = device, .qdev = qdev, .node = node, .driver = driver, .filename = filename
  };

  mock_call (mock, add_drive, &call);
}

void
mock_add_empty_drive (MockQemu *mock, const char *device, const char *qdev)
{
  GraphCall call = { .device = device, .qdev = qdev };

  mock_call (mock, add_drive, &call);
}

static void
add_backing (MockQemu *mock, gpointer data)
{
  GraphCall *call = data;
  MockNode *top = mock_graph_find (mock, call->node);
  MockNode *base;

  while (top->backing != NULL)
    top = mock_graph_find (mock, top->backing);
  call->node = NULL;
  call->read_only = TRUE;
  base = open_for_test (mock, call);
  top->backing = g_strdup (base->name);
}

void
mock_add_backing (MockQemu *mock, const char *node, const char *driver, const char *filename)
{
  GraphCall call = { .node = node, .driver = driver, .filename = filename };

  mock_call (mock, add_backing, &call);
}

static void
add_bitmap (MockQemu *mock, gpointer data)
{
  GraphCall *call = data;
  MockNode *node = mock_graph_find (mock, call->node);
  JsonNode *bitmap = mock_json (call->filename);

  json_array_add_object_element (node->bitmaps, json_node_dup_object (bitmap));
  json_node_unref (bitmap);
}

void
mock_add_bitmap (MockQemu *mock, const char *node, const char *json)
{
  GraphCall call = { .node = node, .filename = json };

  mock_call (mock, add_bitmap, &call);
}

static void
set_read_only (MockQemu *mock, gpointer data)
{
  GraphCall *call = data;
  MockNode *node = mock_graph_find (mock, call->node);

  g_return_if_fail (node != NULL);
  node->read_only = call->read_only;
}

void
mock_set_node_read_only (MockQemu *mock, const char *node, gboolean read_only)
{
  GraphCall call = { .node = node, .read_only = read_only };

  mock_call (mock, set_read_only, &call);
}

/* Of an image: snapshots inside it, and bitmaps. */
static void
append_contents (GString *text, MockNode *node)
{
  for (guint i = 0; i < node->snapshots->len; i++)
    g_string_append_printf (text, "@%s", (const char *)g_ptr_array_index (node->snapshots, i));
  for (guint i = 0; i < json_array_get_length (node->bitmaps); i++)
    {
      JsonObject *bitmap = json_array_get_object_element (node->bitmaps, i);

      g_string_append_printf (text, "+%s", mock_arg_string (bitmap, "name"));
    }
}

static void
append_chain (MockQemu *mock, GString *text, const char *name, GHashTable *seen)
{
  for (MockNode *node = mock_graph_find (mock, name); node != NULL;
       node = mock_graph_find (mock, node->backing))
    {
      g_string_append_printf (text, "%s(%s%s:%s)", node->name, node->driver,
                              node->read_only ? ",ro" : "", node->filename);
      append_contents (text, node);
      g_hash_table_add (seen, node->name);
      if (node->file != NULL)
        g_hash_table_add (seen, node->file);
      if (node->backing != NULL)
        g_string_append (text, "<-");
    }
}

static void
describe_graph (MockQemu *mock, gpointer data)
{
  GraphCall *call = data;
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < mock->graph->drives->len; i++)
    {
      MockDrive *drive = g_ptr_array_index (mock->graph->drives, i);

      g_string_append_printf (text, "%s=", *drive->device != '\0' ? drive->device : drive->qdev);
      append_chain (mock, text, drive->root, seen);
      g_string_append (text, " ");
    }
  g_string_append (text, "| free:");
  for (GList *l = mock->graph->nodes; l != NULL; l = l->next)
    {
      MockNode *node = l->data;

      if (!g_hash_table_contains (seen, node->name))
        g_string_append_printf (text, " %s", node->name);
    }
  call->text = g_string_free (text, FALSE);
}

char *
mock_dup_graph (MockQemu *mock)
{
  GraphCall call = { 0 };

  mock_call (mock, describe_graph, &call);
  return call.text;
}

static void
find_drive_node (MockQemu *mock, gpointer data)
{
  GraphCall *call = data;

  for (guint i = 0; i < mock->graph->drives->len; i++)
    {
      MockDrive *drive = g_ptr_array_index (mock->graph->drives, i);

      if (g_strcmp0 (drive->device, call->device) == 0 ||
          g_strcmp0 (drive->qdev, call->device) == 0)
        call->text = g_strdup (drive->root);
    }
}

char *
mock_dup_drive_node (MockQemu *mock, const char *device_or_qdev)
{
  GraphCall call = { .device = device_or_qdev };

  mock_call (mock, find_drive_node, &call);
  return call.text;
}

static void
count_nodes (MockQemu *mock, gpointer data)
{
  ((GraphCall *)data)->n = g_list_length (mock->graph->nodes);
}

guint
mock_get_n_nodes (MockQemu *mock)
{
  GraphCall call = { 0 };

  mock_call (mock, count_nodes, &call);
  return call.n;
}
