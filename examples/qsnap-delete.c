/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: delete. */

#include "qsnap-tool.h"

typedef struct
{
  Options *options;
  GMainLoop *loop;
  GCancellable *cancellable;
  /* NULL: the guest does not run. */
  QsnapSession *session;
  QsnapSnapshot *snapshot;
  gboolean deleted;
  GError *error;
  gulong progress;
} Deletion;

/* --- output -------------------------------------------------------------------------------- */

static int
print_deleted_json (QsnapSnapshot *snapshot, GPtrArray *merged)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object = json_object_new ();
  JsonArray *disks = json_array_new ();

  for (guint i = 0; i < merged->len; i++)
    {
      QsnapDisk *disk = merged->pdata[i];
      JsonObject *entry = json_object_new ();

      json_object_set_string_member (entry, "device", qsnap_disk_get_device (disk));
      json_object_set_string_member (entry, "file", qsnap_disk_get_base (disk));
      json_array_add_object_element (disks, entry);
    }
  json_object_set_boolean_member (object, "deleted", TRUE);
  json_object_set_string_member (object, "directory",
                                 g_file_peek_path (qsnap_snapshot_get_directory (snapshot)));
  json_object_set_array_member (object, "disks", disks);
  json_node_take_object (node, object);

  return print_json (node);
}

/* Whether a later one was taken, which stands on what is left. */
static gboolean
has_child (QsnapSnapshot *snapshot)
{
  g_autoptr (GFile) folder = g_file_get_parent (qsnap_snapshot_get_directory (snapshot));
  g_autofree char *id = qsnap_snapshot_dup_id (snapshot);
  g_autoptr (GListModel) list = folder != NULL ? qsnap_snapshot_list (folder, NULL, NULL) : NULL;

  for (guint i = 0; list != NULL && i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapSnapshot) other = g_list_model_get_item (list, i);
      g_autofree char *parent = qsnap_snapshot_dup_parent_id (other);

      if (parent != NULL && g_strcmp0 (parent, id) == 0)
        return TRUE;
    }

  return FALSE;
}

static int
print_deleted (QsnapSnapshot *snapshot, GPtrArray *merged, gboolean had_child)
{
  g_print ("snapshot %s is deleted\n", qsnap_snapshot_get_name (snapshot));
  for (guint i = 0; i < merged->len; i++)
    {
      QsnapDisk *disk = merged->pdata[i];

      g_print (had_child ? "disk %s: what was written until the next snapshot is in %s\n"
                         : "disk %s: the guest's disk is %s again\n",
               qsnap_disk_get_device (disk), qsnap_disk_get_base (disk));
    }

  return EXIT_OK;
}

static void
on_progress (QsnapSession *session, GParamSpec *pspec, Deletion *deletion)
{
  show_bar (deletion->options, "merging", qsnap_session_get_bytes_done (session),
            qsnap_session_get_bytes_total (session));
}

/* --- deleting ------------------------------------------------------------------------------ */

static void
on_done (GObject *source, GAsyncResult *result, gpointer data)
{
  Deletion *deletion = data;

  if (deletion->session != NULL)
    deletion->deleted =
        qsnap_session_delete_snapshot_finish (deletion->session, result, &deletion->error);
  else
    deletion->deleted = qsnap_snapshot_delete_finish (deletion->snapshot, result, &deletion->error);
  if (deletion->progress != 0)
    g_signal_handler_disconnect (deletion->session, deletion->progress);
  clear_bar ();
  g_main_loop_quit (deletion->loop);
}

static void
start (Deletion *deletion)
{
  if (deletion->session == NULL)
    {
      qsnap_snapshot_delete_async (deletion->snapshot, deletion->cancellable, on_done, deletion);
      return;
    }

  deletion->progress = g_signal_connect (deletion->session, "notify::bytes-done",
                                         G_CALLBACK (on_progress), deletion);
  qsnap_session_delete_snapshot_async (deletion->session, deletion->snapshot, deletion->cancellable,
                                       on_done, deletion);
}

/* QsnapDisk: those whose overlay is there, to be merged. */
static GPtrArray *
find_merged (QsnapSnapshot *snapshot)
{
  GPtrArray *merged = g_ptr_array_new_with_free_func (g_object_unref);
  GListModel *disks = qsnap_snapshot_get_disks (snapshot);

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDisk) disk = g_list_model_get_item (disks, i);

      if (qsnap_disk_get_overlay (disk) != NULL &&
          g_file_test (qsnap_disk_get_overlay (disk), G_FILE_TEST_EXISTS))
        g_ptr_array_add (merged, g_steal_pointer (&disk));
    }

  return merged;
}

static void
run (Deletion *deletion)
{
  start (deletion);
  run_loop (deletion->loop, deletion->cancellable);
}

gboolean
delete_snapshot (Options *options,
                 QsnapSession *session,
                 QsnapSnapshot *snapshot,
                 GCancellable *cancellable,
                 GError **error)
{
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  Deletion deletion = { options, loop, cancellable, session, snapshot, FALSE, NULL };

  run (&deletion);
  if (deletion.error != NULL)
    g_propagate_error (error, deletion.error);

  return deletion.deleted;
}

static int
delete_one (Options *options, char **arguments)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = load_snapshot (arguments[0], &error);
  g_autoptr (QsnapSession) session = arguments[1] != NULL ? qsnap_session_new (arguments[1]) : NULL;
  g_autoptr (GPtrArray) merged = NULL;
  gboolean had_child;

  if (snapshot == NULL || (session != NULL && !qsnap_session_open (session, NULL, &error)))
    return fail (error);

  merged = find_merged (snapshot);
  had_child = has_child (snapshot);
  if (!delete_snapshot (options, session, snapshot, cancellable, &error))
    return fail (error);
  if (options->json)
    return print_deleted_json (snapshot, merged);

  return options->quiet ? EXIT_OK : print_deleted (snapshot, merged, had_child);
}

int
run_delete (Options *options, char **arguments)
{
  if (is_group (arguments[0]))
    return run_group_delete (options, arguments[0], arguments + 1);
  if (g_strv_length (arguments) > 2)
    return usage ("one snapshot is of one guest; this is no group: ", arguments[0]);

  return delete_one (options, arguments);
}
