/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: transactions. Either all of their actions are carried out, or none. */

#include "qsnap-mock-graph.h"
#include "qsnap-mock-jobs.h"

/* How an action that was carried out is taken back, and what happens when all were. */
typedef struct
{
  void (*undo) (MockQemu *mock, gpointer data);
  void (*commit) (MockQemu *mock, gpointer data);
  gpointer data;
} Done;

typedef gboolean (*ActionFunc) (MockQemu *mock, JsonObject *data, Done *done, GError **error);

/* --- blockdev-snapshot --------------------------------------------------------------------- */

typedef struct
{
  MockNode *node, *overlay;
  gboolean was_read_only;
} Switched;

static gboolean
check_snapshot (
    MockQemu *mock, JsonObject *data, MockNode **node, MockNode **overlay, GError **error)
{
  MockNode *above;

  *node = mock_graph_resolve (mock, json_object_get_member (data, "node"), error);
  if (*node == NULL)
    return FALSE;
  *overlay = mock_graph_resolve (mock, json_object_get_member (data, "overlay"), error);
  if (*overlay == NULL)
    return FALSE;
  if (mock_graph_find_overlay (mock, (*node)->name, &above))
    mock_fail (error, "Node '%s' is busy: node is used as backing hd of '%s'", (*node)->name,
               above->name);
  else if (mock_graph_is_drive_root (mock, (*overlay)->name) ||
           mock_graph_is_child (mock, (*overlay)->name))
    mock_fail (error, "The overlay is already in use");
  else if ((*overlay)->backing != NULL)
    mock_fail (error, "The overlay already has a backing image");
  else if (!g_str_equal ((*overlay)->driver, "qcow2"))
    mock_fail (error, "The overlay does not support backing images");
  else
    return TRUE;
  return FALSE;
}

/* What is below goes read-only, down to the file. */
static void
set_chain_read_only (MockQemu *mock, MockNode *node, gboolean read_only)
{
  MockNode *file = mock_graph_find (mock, node->file);

  node->read_only = read_only;
  if (file != NULL)
    file->read_only = read_only;
}

static void
undo_snapshot (MockQemu *mock, gpointer data)
{
  Switched *switched = data;

  g_clear_pointer (&switched->overlay->backing, g_free);
  mock_graph_replace (mock, switched->overlay->name, switched->node->name, NULL);
  set_chain_read_only (mock, switched->node, switched->was_read_only);
}

static gboolean
run_snapshot (MockQemu *mock, JsonObject *data, Done *done, GError **error)
{
  Switched *switched = g_new0 (Switched, 1);

  done->data = switched;
  if (!check_snapshot (mock, data, &switched->node, &switched->overlay, error))
    return FALSE;
  switched->was_read_only = switched->node->read_only;
  mock_graph_replace (mock, switched->node->name, switched->overlay->name, switched->overlay->name);
  switched->overlay->backing = g_strdup (switched->node->name);
  set_chain_read_only (mock, switched->node, TRUE);
  done->undo = undo_snapshot;
  return TRUE;
}

/* --- snapshots inside an image ------------------------------------------------------------- */

static gboolean
find_internal (MockNode *node, const char *name, guint *index)
{
  return g_ptr_array_find_with_equal_func (node->snapshots, name, g_str_equal, index);
}

static MockNode *
find_image (MockQemu *mock, JsonObject *data, GError **error)
{
  const char *device = mock_arg_string (data, "device");
  MockNode *node = mock_graph_find_root (mock, device);

  if (node == NULL)
    g_set_error (error, MOCK_ERROR, MOCK_ERROR_GENERIC,
                 "Cannot find device='%s' nor node-name='%s'", device, device);
  else if (!mock_graph_is_drive_root (mock, node->name))
    mock_fail (error, "Need a root block node");
  else
    return node;
  return NULL;
}

static void
forget_internal (MockNode *node, const char *name)
{
  guint index;

  if (find_internal (node, name, &index))
    g_ptr_array_remove_index (node->snapshots, index);
}

typedef struct
{
  MockNode *node;
  char name[128];
} Internal;

static void
undo_internal (G_GNUC_UNUSED MockQemu *mock, gpointer data)
{
  Internal *internal = data;

  forget_internal (internal->node, internal->name);
}

static gboolean
run_internal (MockQemu *mock, JsonObject *data, Done *done, GError **error)
{
  const char *name = mock_arg_string (data, "name");
  MockNode *node = find_image (mock, data, error);
  Internal *internal;

  if (node == NULL)
    return FALSE;
  if (!g_str_equal (node->driver, "qcow2"))
    {
      mock_fail (error, "Block format '%s' used by device '%s' does not support internal snapshots",
                 node->driver, node->name);
      return FALSE;
    }
  if (find_internal (node, name, NULL))
    {
      mock_fail (error, "Snapshot with name '%s' already exists on device '%s'", name, node->name);
      return FALSE;
    }
  g_ptr_array_add (node->snapshots, g_strdup (name));
  internal = g_new0 (Internal, 1);
  internal->node = node;
  g_strlcpy (internal->name, name, sizeof internal->name);
  done->data = internal;
  done->undo = undo_internal;
  return TRUE;
}

static JsonNode *
delete_internal (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *name = mock_arg_string (arguments, "name");
  MockNode *node = find_image (mock, arguments, error);
  JsonObject *info;
  JsonNode *result;

  if (node == NULL || !mock_graph_is_active (mock, error))
    return NULL;
  if (!find_internal (node, name, NULL))
    return mock_fail (error, "Snapshot with id 'null' and name '%s' does not exist on device '%s'",
                      name, node->name);
  info = mock_snapshot_info (name);
  forget_internal (node, name);
  result = json_node_new (JSON_NODE_OBJECT);
  json_node_take_object (result, info);
  return result;
}

/* --- bitmaps ------------------------------------------------------------------------------- */

static void
undo_bitmap (G_GNUC_UNUSED MockQemu *mock, gpointer data)
{
  MockNode **node = data;

  json_array_remove_element ((*node)->bitmaps, json_array_get_length ((*node)->bitmaps) - 1);
}

static gboolean
has_bitmap (MockNode *node, const char *name)
{
  for (guint i = 0; i < json_array_get_length (node->bitmaps); i++)
    if (g_str_equal (mock_arg_string (json_array_get_object_element (node->bitmaps, i), "name"),
                     name))
      return TRUE;
  return FALSE;
}

static gboolean
run_bitmap (MockQemu *mock, JsonObject *data, Done *done, GError **error)
{
  const char *name = mock_arg_string (data, "name");
  MockNode *node = mock_graph_resolve (mock, json_object_get_member (data, "node"), error);
  JsonObject *bitmap;

  if (node == NULL)
    return FALSE;
  if (has_bitmap (node, name))
    {
      mock_fail (error, "Bitmap already exists: %s", name);
      return FALSE;
    }
  bitmap = json_object_new ();
  json_object_set_string_member (bitmap, "name", name);
  json_object_set_boolean_member (bitmap, "recording", !mock_arg_bool (data, "disabled", FALSE));
  json_object_set_boolean_member (bitmap, "persistent", mock_arg_bool (data, "persistent", FALSE));
  json_object_set_boolean_member (bitmap, "busy", FALSE);
  json_object_set_int_member (bitmap, "granularity", mock_arg_int (data, "granularity", 65536));
  json_object_set_int_member (bitmap, "count", 0);
  json_array_add_object_element (node->bitmaps, bitmap);
  done->data = g_memdup2 (&node, sizeof node);
  done->undo = undo_bitmap;
  return TRUE;
}

/* --- backup -------------------------------------------------------------------------------- */

static gboolean
run_backup (MockQemu *mock, JsonObject *data, Done *done, GError **error)
{
  done->data = mock_backup_prepare (mock, data, error);
  done->undo = mock_backup_abort;
  done->commit = mock_backup_begin;
  return done->data != NULL;
}

/* --- all of it ----------------------------------------------------------------------------- */

static gboolean
run_abort (G_GNUC_UNUSED MockQemu *mock,
           G_GNUC_UNUSED JsonObject *data,
           G_GNUC_UNUSED Done *done,
           GError **error)
{
  mock_fail (error, "Transaction aborted using Abort action");
  return FALSE;
}

static const struct
{
  const char *type;
  ActionFunc run;
} actions_known[] = {
  { "abort", run_abort },
  { "blockdev-snapshot", run_snapshot },
  { "blockdev-snapshot-internal-sync", run_internal },
  { "block-dirty-bitmap-add", run_bitmap },
  { "blockdev-backup", run_backup },
};

static gboolean
run_action (MockQemu *mock, JsonObject *action, Done *done, GError **error)
{
  const char *type = mock_arg_string (action, "type");

  for (guint i = 0; i < G_N_ELEMENTS (actions_known); i++)
    if (g_str_equal (actions_known[i].type, type))
      return actions_known[i].run (mock, json_object_get_object_member (action, "data"), done,
                                   error);

  mock_complain (mock, "the mock has no model of transaction action %s", type);
  mock_fail (error, "The mock has no model of %s", type);
  return FALSE;
}

static void
note_snapshot (MockQemu *mock)
{
  mock->graph->snapshot_done = TRUE;
  mock->graph->snapshot_while_running = mock_is_running (mock);
  mock->graph->snapshot_epoch = mock_run_epoch (mock);
}

static void
end_actions (MockQemu *mock, GArray *all, gboolean succeeded)
{
  for (guint i = all->len; i-- > 0;)
    {
      Done *done = &g_array_index (all, Done, i);

      if (!succeeded)
        done->undo (mock, done->data);
      else if (done->commit != NULL)
        done->commit (mock, done->data);
      g_free (done->data);
    }
}

static JsonNode *
run_transaction (MockQemu *mock, JsonArray *actions, GError **error)
{
  g_autoptr (GArray) all = g_array_new (FALSE, FALSE, sizeof (Done));

  for (guint i = 0; i < json_array_get_length (actions); i++)
    {
      Done done = { 0 };

      if (!run_action (mock, json_array_get_object_element (actions, i), &done, error))
        {
          g_free (done.data);
          end_actions (mock, all, FALSE);
          return NULL;
        }
      g_array_append_val (all, done);
    }
  if (all->len > 0)
    note_snapshot (mock);
  end_actions (mock, all, TRUE);
  return mock_empty ();
}

static JsonNode *
transaction (MockQemu *mock, JsonObject *arguments, GError **error)
{
  return run_transaction (mock, json_object_get_array_member (arguments, "actions"), error);
}

static JsonNode *
blockdev_snapshot (MockQemu *mock, JsonObject *arguments, GError **error)
{
  g_autoptr (JsonArray) actions = json_array_new ();
  JsonObject *action = json_object_new ();

  json_object_set_string_member (action, "type", "blockdev-snapshot");
  json_object_set_object_member (action, "data", json_object_ref (arguments));
  json_array_add_object_element (actions, action);
  return run_transaction (mock, actions, error);
}

const MockCommand mock_transaction_commands[] = {
  { "transaction", transaction },
  { "blockdev-snapshot", blockdev_snapshot },
  { "blockdev-snapshot-delete-internal-sync", delete_internal },
  { NULL, NULL },
};

void
mock_graph_get_snapshot (MockQemu *mock, gboolean *done, gboolean *while_running, guint *epoch)
{
  *done = mock->graph->snapshot_done;
  *while_running = mock->graph->snapshot_while_running;
  *epoch = mock->graph->snapshot_epoch;
}
