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
  /* QsnapDisk: those whose overlay is there, to be merged. */
  GPtrArray *merged;
  gboolean deleted;
  GError *error;
} Deletion;

/* --- output -------------------------------------------------------------------------------- */

static int
print_deleted_json (Deletion *deletion)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object = json_object_new ();
  JsonArray *disks = json_array_new ();

  for (guint i = 0; i < deletion->merged->len; i++)
    {
      QsnapDisk *disk = deletion->merged->pdata[i];
      JsonObject *entry = json_object_new ();

      json_object_set_string_member (entry, "device", qsnap_disk_get_device (disk));
      json_object_set_string_member (entry, "file", qsnap_disk_get_base (disk));
      json_array_add_object_element (disks, entry);
    }
  json_object_set_boolean_member (object, "deleted", TRUE);
  json_object_set_string_member (
      object, "directory", g_file_peek_path (qsnap_snapshot_get_directory (deletion->snapshot)));
  json_object_set_array_member (object, "disks", disks);
  json_node_take_object (node, object);

  return print_json (node);
}

static int
print_deleted (Deletion *deletion)
{
  g_print ("snapshot %s is deleted\n", qsnap_snapshot_get_name (deletion->snapshot));
  for (guint i = 0; i < deletion->merged->len; i++)
    {
      QsnapDisk *disk = deletion->merged->pdata[i];

      g_print ("disk %s: the guest's disk is %s again\n", qsnap_disk_get_device (disk),
               qsnap_disk_get_base (disk));
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

  g_signal_connect (deletion->session, "notify::bytes-done", G_CALLBACK (on_progress), deletion);
  qsnap_session_delete_snapshot_async (deletion->session, deletion->snapshot, deletion->cancellable,
                                       on_done, deletion);
}

static void
note_disks (Deletion *deletion)
{
  GListModel *disks = qsnap_snapshot_get_disks (deletion->snapshot);

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDisk) disk = g_list_model_get_item (disks, i);

      if (qsnap_disk_get_overlay (disk) != NULL &&
          g_file_test (qsnap_disk_get_overlay (disk), G_FILE_TEST_EXISTS))
        g_ptr_array_add (deletion->merged, g_steal_pointer (&disk));
    }
}

static void
run (Deletion *deletion)
{
  note_disks (deletion);
  start (deletion);
  run_loop (deletion->loop, deletion->cancellable);
}

static int
delete_snapshot (Options *options, char **arguments)
{
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GPtrArray) merged = g_ptr_array_new_with_free_func (g_object_unref);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = load_snapshot (arguments[0], &error);
  g_autoptr (QsnapSession) session = arguments[1] != NULL ? qsnap_session_new (arguments[1]) : NULL;
  Deletion deletion = { options, loop, cancellable, session, snapshot, merged, FALSE, NULL };

  if (snapshot == NULL || (session != NULL && !qsnap_session_open (session, NULL, &error)))
    return fail (error);

  run (&deletion);
  error = deletion.error;
  if (!deletion.deleted)
    return fail (error);
  if (options->json)
    return print_deleted_json (&deletion);

  return options->quiet ? EXIT_OK : print_deleted (&deletion);
}

int
run_delete (Options *options, char **arguments)
{
  if (is_group (arguments[0]))
    return run_group_delete (options, arguments[0], arguments + 1);
  if (g_strv_length (arguments) > 2)
    return usage ("one snapshot is of one guest; this is no group: ", arguments[0]);

  return delete_snapshot (options, arguments);
}
