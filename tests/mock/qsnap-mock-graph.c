/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: drives and block nodes, and what changes them. */

#include "qsnap-mock-graph.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static void
node_free (gpointer data)
{
  MockNode *node = data;

  mock_clear_fd (&node->fd);
  g_free (node->name);
  g_free (node->driver);
  g_free (node->filename);
  g_free (node->file);
  g_free (node->backing);
  g_free (node->job);
  g_ptr_array_unref (node->snapshots);
  json_array_unref (node->bitmaps);
  g_free (node);
}

static void
drive_free (gpointer data)
{
  MockDrive *drive = data;

  g_free (drive->device);
  g_free (drive->qdev);
  g_free (drive->root);
  g_free (drive);
}

MockGraph *
mock_graph_new (void)
{
  MockGraph *graph = g_new0 (MockGraph, 1);

  graph->drives = g_ptr_array_new_with_free_func (drive_free);
  return graph;
}

void
mock_graph_free (MockGraph *graph)
{
  g_list_free_full (graph->nodes, node_free);
  g_ptr_array_unref (graph->drives);
  g_free (graph);
}

MockNode *
mock_graph_find (MockQemu *mock, const char *name)
{
  for (GList *l = mock->graph->nodes; l != NULL; l = l->next)
    {
      MockNode *node = l->data;

      if (g_strcmp0 (node->name, name) == 0)
        return node;
    }
  return NULL;
}

/* A device's name or a node's, as QMP's "device" arguments take both. */
MockNode *
mock_graph_find_root (MockQemu *mock, const char *device_or_node)
{
  for (guint i = 0; i < mock->graph->drives->len; i++)
    {
      MockDrive *drive = g_ptr_array_index (mock->graph->drives, i);

      if (*drive->device != '\0' && g_str_equal (drive->device, device_or_node))
        return mock_graph_find (mock, drive->root);
    }
  return mock_graph_find (mock, device_or_node);
}

gboolean
mock_graph_is_drive_root (MockQemu *mock, const char *name)
{
  for (guint i = 0; i < mock->graph->drives->len; i++)
    {
      MockDrive *drive = g_ptr_array_index (mock->graph->drives, i);

      if (g_strcmp0 (drive->root, name) == 0)
        return TRUE;
    }
  return FALSE;
}

gboolean
mock_graph_find_overlay (MockQemu *mock, const char *base, MockNode **overlay)
{
  for (GList *l = mock->graph->nodes; l != NULL; l = l->next)
    {
      MockNode *node = l->data;

      if (g_strcmp0 (node->backing, base) == 0)
        {
          *overlay = node;
          return TRUE;
        }
    }
  return FALSE;
}

gboolean
mock_graph_is_active (MockQemu *mock, GError **error)
{
  if (!g_str_equal (mock_run_state (mock), "postmigrate"))
    return TRUE;
  mock_fail (error, "Block node is inactive");
  return FALSE;
}

gboolean
mock_graph_is_child (MockQemu *mock, const char *name)
{
  for (GList *l = mock->graph->nodes; l != NULL; l = l->next)
    {
      MockNode *node = l->data;

      if (g_strcmp0 (node->file, name) == 0 || g_strcmp0 (node->backing, name) == 0)
        return TRUE;
    }
  return FALSE;
}

/* All parents of @from, except the node @except, get @to as their child instead. */
void
mock_graph_replace (MockQemu *mock, const char *from, const char *to, const char *except)
{
  g_autofree char *old = g_strdup (from);

  for (guint i = 0; i < mock->graph->drives->len; i++)
    {
      MockDrive *drive = g_ptr_array_index (mock->graph->drives, i);

      if (g_strcmp0 (drive->root, old) == 0)
        {
          g_free (drive->root);
          drive->root = g_strdup (to);
        }
    }
  for (GList *l = mock->graph->nodes; l != NULL; l = l->next)
    {
      MockNode *node = l->data;

      if (g_strcmp0 (node->backing, old) == 0 && g_strcmp0 (node->name, except) != 0)
        {
          g_free (node->backing);
          node->backing = g_strdup (to);
        }
    }
}

static void
remove_node (MockQemu *mock, MockNode *node)
{
  gint64 fdset = node->fdset;

  mock->graph->nodes = g_list_remove (mock->graph->nodes, node);
  node_free (node);
  if (fdset >= 0)
    mock_fds_user_gone (mock, fdset);
}

/* Frees the nodes that nobody holds any more. */
void
mock_graph_collect (MockQemu *mock)
{
  GList *l = mock->graph->nodes;

  while (l != NULL)
    {
      MockNode *node = l->data;

      l = l->next;
      if (node->owned_by_monitor || node->job != NULL ||
          mock_graph_is_drive_root (mock, node->name) || mock_graph_is_child (mock, node->name))
        continue;
      remove_node (mock, node);
      /* Its children may be free now. */
      l = mock->graph->nodes;
    }
}

static char *
auto_name (MockQemu *mock)
{
  return g_strdup_printf ("#block%03u", ++mock->graph->n_auto_names);
}

static MockNode *
add_node (MockQemu *mock, const char *name, const char *driver)
{
  MockNode *node = g_new0 (MockNode, 1);

  node->name = name != NULL ? g_strdup (name) : auto_name (mock);
  node->driver = g_strdup (driver);
  node->fdset = -1;
  node->fd = -1;
  node->snapshots = g_ptr_array_new_with_free_func (g_free);
  node->bitmaps = json_array_new ();
  mock->graph->nodes = g_list_prepend (mock->graph->nodes, node);
  return node;
}

static gint64
file_size (int fd)
{
  struct stat buf;

  return fstat (fd, &buf) == 0 ? buf.st_size : 0;
}

/* --- opening --- */

static int
open_file (MockQemu *mock, const char *filename, gboolean read_only, gint64 *fdset, GError **error)
{
  int fd;

  *fdset = -1;
  if (g_str_has_prefix (filename, "/dev/fdset/"))
    {
      *fdset = g_ascii_strtoll (filename + strlen ("/dev/fdset/"), NULL, 10);
      fd = mock_fds_dup_from_set (mock, *fdset, error);
      return fd;
    }
  fd = open (filename, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (fd < 0)
    mock_fail (error, "Could not open '%s': %s", filename, g_strerror (errno));
  return fd;
}

static MockNode *
open_protocol (MockQemu *mock, JsonObject *options, GError **error)
{
  const char *filename = mock_arg_string (options, "filename");
  gboolean read_only = mock_arg_bool (options, "read-only", FALSE);
  gint64 fdset;
  MockNode *node;
  int fd;

  if (filename == NULL)
    {
      mock_fail (error, "The mock opens only nodes with a filename");
      return NULL;
    }
  fd = open_file (mock, filename, read_only, &fdset, error);
  if (fd < 0)
    return NULL;
  node =
      add_node (mock, mock_arg_string (options, "node-name"), mock_arg_string (options, "driver"));
  node->filename = g_strdup (filename);
  node->fd = fd;
  node->fdset = fdset;
  node->read_only = read_only;
  node->size = file_size (fd);
  return node;
}

/* A reference by name, or options to open a node of its own with. */
MockNode *
mock_graph_resolve (MockQemu *mock, JsonNode *reference, GError **error)
{
  MockNode *node;

  if (JSON_NODE_HOLDS_OBJECT (reference))
    return mock_graph_open (mock, json_node_get_object (reference), error);
  node = mock_graph_find_root (mock, json_node_get_string (reference));
  if (node == NULL)
    mock_fail (error, "Cannot find device='%s' nor node-name='%s'",
               json_node_get_string (reference), json_node_get_string (reference));
  return node;
}

static gboolean
set_backing (MockQemu *mock, MockNode *node, JsonObject *options, GError **error)
{
  JsonNode *reference = json_object_get_member (options, "backing");
  MockNode *backing;
  MockQcow2 header;

  if (reference == NULL)
    {
      mock_qcow2_read (mock_graph_find (mock, node->file), &header);
      if (*header.backing != '\0')
        mock_complain (mock,
                       "the mock does not open a backing file by itself: name it, or say null");
      return TRUE;
    }
  if (JSON_NODE_HOLDS_NULL (reference))
    return TRUE;
  backing = mock_graph_resolve (mock, reference, error);
  if (backing == NULL)
    return FALSE;
  node->backing = g_strdup (backing->name);
  return TRUE;
}

static MockNode *
open_format (MockQemu *mock, JsonObject *options, GError **error)
{
  const char *driver = mock_arg_string (options, "driver");
  MockNode *file = mock_graph_resolve (mock, json_object_get_member (options, "file"), error);
  MockQcow2 header = { 0 };
  MockNode *node;

  if (file == NULL)
    return NULL;
  if (g_str_equal (driver, "qcow2") && !mock_qcow2_read (file, &header))
    {
      mock_fail (error, "Image is not in qcow2 format");
      return NULL;
    }
  node = add_node (mock, mock_arg_string (options, "node-name"), driver);
  node->file = g_strdup (file->name);
  node->filename = g_strdup (file->filename);
  node->read_only = mock_arg_bool (options, "read-only", file->read_only);
  node->size = g_str_equal (driver, "qcow2") ? header.size : file->size;
  return set_backing (mock, node, options, error) ? node : NULL;
}

MockNode *
mock_graph_open (MockQemu *mock, JsonObject *options, GError **error)
{
  const char *name = mock_arg_string (options, "node-name");

  if (name != NULL && mock_graph_find (mock, name) != NULL)
    {
      mock_fail (error, "Duplicate nodes with node-name='%s'", name);
      return NULL;
    }
  if (json_object_has_member (options, "file"))
    return open_format (mock, options, error);
  return open_protocol (mock, options, error);
}

/* --- commands --- */

static JsonNode *
blockdev_add (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockNode *node;

  if (mock_arg_string (arguments, "node-name") == NULL)
    return mock_fail (error, "'node-name' must be specified for the root node");
  node = mock_graph_open (mock, arguments, error);
  if (node == NULL)
    {
      mock_graph_collect (mock);
      return NULL;
    }
  node->owned_by_monitor = TRUE;
  return mock_empty ();
}

static JsonNode *
blockdev_del (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *name = mock_arg_string (arguments, "node-name");
  MockNode *node = mock_graph_find (mock, name);
  MockNode *overlay;
  const char *job_type;

  if (node == NULL)
    return mock_fail (error, "Failed to find node with node-name='%s'", name);
  if (mock_jobs_uses (mock, name, &job_type))
    return mock_fail (error, "Node '%s' is busy: block device is in use by block job: %s", name,
                      job_type);
  if (mock_graph_is_drive_root (mock, name))
    return mock_fail (error, "Node %s is in use", name);
  if (mock_graph_find_overlay (mock, name, &overlay))
    return mock_fail (error, "Node '%s' is busy: node is used as backing hd of '%s'", name,
                      overlay->name);
  if (!node->owned_by_monitor)
    return mock_fail (error, "Node %s is not owned by the monitor", name);
  if (mock_graph_is_child (mock, name))
    return mock_fail (error, "Block device %s is in use", name);
  node->owned_by_monitor = FALSE;
  mock_graph_collect (mock);
  return mock_empty ();
}

const MockCommand mock_graph_commands[] = {
  { "blockdev-add", blockdev_add },
  { "blockdev-del", blockdev_del },
  { "query-block", mock_query_block },
  { "query-named-block-nodes", mock_query_named_block_nodes },
  { NULL, NULL },
};
