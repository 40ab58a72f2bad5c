/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: several guests at one instant, and what is done with their snapshots. */

#include "qsnap-tool.h"

#include <string.h>

/* What is under way, one of these at a time. */
typedef struct
{
  Options *options;
  GMainLoop *loop;
  GCancellable *cancellable;
  QsnapGroup *guests;
  QsnapGroupSnapshot *snapshot;
  GListModel *sessions;
  gboolean done;
  GError *error;
} Work;

/* docs/file-format.md; the second while it is being taken, or where that was interrupted. */
gboolean
is_group (const char *directory)
{
  g_autofree char *file = g_build_filename (directory, "group.json", NULL);
  g_autofree char *journal = g_build_filename (directory, "group-journal.json", NULL);

  return g_file_test (file, G_FILE_TEST_EXISTS) || g_file_test (journal, G_FILE_TEST_EXISTS);
}

static void
work_init (Work *work, Options *options)
{
  memset (work, 0, sizeof *work);
  work->options = options;
  work->loop = g_main_loop_new (NULL, FALSE);
  work->cancellable = g_cancellable_new ();
}

/* Answers the exit status, which is @status if there was no error. */
static int
work_end (Work *work, int status)
{
  if (work->error != NULL)
    status = fail (work->error);
  g_main_loop_unref (work->loop);
  g_object_unref (work->cancellable);
  g_clear_object (&work->guests);
  g_clear_object (&work->snapshot);
  g_clear_object (&work->sessions);
  g_clear_error (&work->error);

  return status;
}

static gboolean
load (Work *work, const char *directory)
{
  g_autoptr (GFile) file = g_file_new_for_commandline_arg (directory);

  work->snapshot = qsnap_group_snapshot_load (file, NULL, &work->error);

  return work->snapshot != NULL;
}

/* --- output -------------------------------------------------------------------------------- */

static JsonNode *
group_to_json (QsnapGroupSnapshot *group)
{
  GListModel *snapshots = qsnap_group_snapshot_get_snapshots (group);
  g_auto (GStrv) names = qsnap_group_snapshot_dup_names (group);
  g_autoptr (GDateTime) time = qsnap_group_snapshot_dup_time (group);
  g_autofree char *text = g_date_time_format_iso8601 (time);
  JsonNode *node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object = json_object_new ();
  JsonObject *guests = json_object_new ();

  for (guint i = 0; names[i] != NULL; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (snapshots, i);

      json_object_set_member (guests, names[i], snapshot_to_json (snapshot));
    }
  json_object_set_string_member (object, "name", qsnap_group_snapshot_get_name (group));
  json_object_set_string_member (object, "directory",
                                 g_file_peek_path (qsnap_group_snapshot_get_directory (group)));
  json_object_set_string_member (object, "time", text);
  json_object_set_int_member (object, "skew-us", qsnap_group_snapshot_get_skew_us (group));
  json_object_set_int_member (object, "overlap-us", qsnap_group_snapshot_get_overlap_us (group));
  json_object_set_object_member (object, "guests", guests);
  json_node_take_object (node, object);

  return node;
}

static int
print_group_json (QsnapGroupSnapshot *group)
{
  g_autoptr (JsonNode) node = group_to_json (group);

  return print_json (node);
}

static char *
instant_text (QsnapGroupSnapshot *group)
{
  g_autoptr (GDateTime) time = qsnap_group_snapshot_dup_time (group);
  g_autoptr (GDateTime) local = g_date_time_to_local (time);
  g_autofree char *moment = g_date_time_format (local, "%F %T.%f %Z");
  gint64 overlap_us = qsnap_group_snapshot_get_overlap_us (group);
  double skew_ms = (double)qsnap_group_snapshot_get_skew_us (group) / 1e3;

  if (overlap_us < 0)
    return g_strdup_printf ("%s, all stopped within %.1f ms", moment, skew_ms);

  return g_strdup_printf ("%s, all stopped within %.1f ms, and still together for %.1f ms", moment,
                          skew_ms, (double)overlap_us / 1e3);
}

static int
print_group (Work *work)
{
  QsnapGroupSnapshot *group = work->snapshot;
  g_auto (GStrv) names = qsnap_group_snapshot_dup_names (group);
  g_autofree char *instant = NULL;

  if (work->options->json)
    return print_group_json (group);
  if (work->options->quiet)
    return EXIT_OK;

  instant = instant_text (group);
  g_print ("group %s in %s\n", qsnap_group_snapshot_get_name (group),
           g_file_peek_path (qsnap_group_snapshot_get_directory (group)));
  g_print ("point in time %s\n", instant);
  for (guint i = 0; names[i] != NULL; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot =
          g_list_model_get_item (qsnap_group_snapshot_get_snapshots (group), i);

      g_print ("\nguest %s: ", names[i]);
      print_summary (snapshot);
    }

  return EXIT_OK;
}

/* --- the groups of a folder ---------------------------------------------------------------- */

static gint
compare_times (gconstpointer a, gconstpointer b)
{
  g_autoptr (GDateTime) time_a = qsnap_group_snapshot_dup_time (*(QsnapGroupSnapshot *const *)a);
  g_autoptr (GDateTime) time_b = qsnap_group_snapshot_dup_time (*(QsnapGroupSnapshot *const *)b);

  return g_date_time_compare (time_a, time_b);
}

/* The oldest first; what is damaged is left out, as among snapshots. */
static GPtrArray *
load_groups (GFile *parent)
{
  GPtrArray *groups = g_ptr_array_new_with_free_func (g_object_unref);
  g_autoptr (GDir) folder = g_dir_open (g_file_peek_path (parent), 0, NULL);
  const char *name;

  while (folder != NULL && (name = g_dir_read_name (folder)) != NULL)
    {
      g_autoptr (GFile) child = g_file_get_child (parent, name);
      QsnapGroupSnapshot *group = NULL;

      if (is_group (g_file_peek_path (child)))
        group = qsnap_group_snapshot_load (child, NULL, NULL);
      if (group != NULL)
        g_ptr_array_add (groups, group);
    }
  g_ptr_array_sort (groups, compare_times);

  return groups;
}

void
add_groups_to_json (GFile *parent, JsonArray *array)
{
  g_autoptr (GPtrArray) groups = load_groups (parent);

  for (guint i = 0; i < groups->len; i++)
    json_array_add_element (array, group_to_json (groups->pdata[i]));
}

void
print_groups (GFile *parent)
{
  g_autoptr (GPtrArray) groups = load_groups (parent);

  for (guint i = 0; i < groups->len; i++)
    {
      QsnapGroupSnapshot *group = groups->pdata[i];
      g_autoptr (GDateTime) time = qsnap_group_snapshot_dup_time (group);
      g_autoptr (GDateTime) local = g_date_time_to_local (time);
      g_autofree char *moment = g_date_time_format (local, "%F %T");
      g_auto (GStrv) names = qsnap_group_snapshot_dup_names (group);
      g_autofree char *guests = g_strjoinv (", ", names);
      g_autofree char *directory =
          g_file_get_basename (qsnap_group_snapshot_get_directory (group));

      g_print ("%s  group %s  (%s)  %s\n", moment, qsnap_group_snapshot_get_name (group), directory,
               guests);
    }
}

/* --- guests -------------------------------------------------------------------------------- */

/* NAME=ADDRESS. In an address = comes only behind a slash or a colon. */
static char *
split_name (const char **address)
{
  gsize length = strcspn (*address, "=/:");
  char *name;

  if ((*address)[length] != '=')
    return NULL;

  name = g_strndup (*address, length);
  *address += length + 1;

  return name;
}

/* The one that QEMU was given, or its place. */
static char *
ask_name (QsnapSession *session, guint place)
{
  g_autoptr (JsonNode) reply =
      qsnap_session_execute (session, "query-name", NULL, NULL, NULL, NULL);
  JsonObject *object =
      reply != NULL && JSON_NODE_HOLDS_OBJECT (reply) ? json_node_get_object (reply) : NULL;
  const char *name =
      object != NULL ? json_object_get_string_member_with_default (object, "name", NULL) : NULL;

  return name != NULL ? g_strdup (name) : g_strdup_printf ("guest-%u", place);
}

static gboolean
add_guests (Work *work, char **addresses, guint n)
{
  work->guests = qsnap_group_new ();
  for (guint i = 0; i < n; i++)
    {
      const char *address = addresses[i];
      g_autofree char *given = split_name (&address);
      g_autoptr (QsnapSession) session = new_session (work->options, address);
      g_autofree char *name = NULL;

      if (!qsnap_session_open (session, NULL, &work->error))
        return FALSE;
      name = given != NULL ? g_strdup (given) : ask_name (session, i + 1);
      if (!qsnap_group_add_session (work->guests, session, name, NULL, &work->error))
        {
          g_prefix_error_literal (&work->error, "give it another name, NAME=ADDRESS: ");
          return FALSE;
        }
    }

  return TRUE;
}

/* --- snapshot ------------------------------------------------------------------------------ */

static void
on_point_in_time (QsnapGroup *group, QsnapGroupSnapshot *snapshot, Work *work)
{
  g_autofree char *instant = instant_text (snapshot);

  if (!work->options->quiet)
    g_printerr ("point in time reached: %s\n", instant);
}

static void
on_captured (GObject *source, GAsyncResult *result, gpointer data)
{
  Work *work = data;

  work->snapshot = qsnap_group_instant_snapshot_finish (QSNAP_GROUP (source), result, &work->error);
  g_main_loop_quit (work->loop);
}

int
run_group_snapshot (Options *options, char **addresses, guint n, const char *directory)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshotOptions) wanted = snapshot_options (options, directory, &error);
  Work work;

  if (wanted == NULL)
    return usage ("", error->message);

  work_init (&work, options);
  if (add_guests (&work, addresses, n))
    {
      g_signal_connect (work.guests, "point-in-time-reached", G_CALLBACK (on_point_in_time), &work);
      qsnap_group_instant_snapshot_async (work.guests, wanted, work.cancellable, on_captured,
                                          &work);
      run_loop (work.loop, work.cancellable);
    }

  return work_end (&work, work.snapshot != NULL ? print_group (&work) : EXIT_FAILED);
}

/* --- what is there ------------------------------------------------------------------------- */

int
run_group_show (Options *options, const char *directory)
{
  Work work;

  work_init (&work, options);

  return work_end (&work, load (&work, directory) ? print_group (&work) : EXIT_FAILED);
}

gboolean
verify_group (const char *directory, GError **error)
{
  g_autoptr (GFile) file = g_file_new_for_commandline_arg (directory);
  g_autoptr (QsnapGroupSnapshot) group = qsnap_group_snapshot_load (file, NULL, error);

  return group != NULL && qsnap_group_snapshot_verify (group, NULL, error);
}

int
run_group_recover (Options *options, const char *directory)
{
  g_autoptr (GFile) file = g_file_new_for_commandline_arg (directory);
  Work work;
  int status = EXIT_OK;

  work_init (&work, options);
  work.snapshot = qsnap_group_snapshot_recover (file, NULL, &work.error);
  if (work.snapshot != NULL)
    status = print_group (&work);
  else if (work.error == NULL)
    status = print_undone (options, directory);

  return work_end (&work, status);
}

/* --- revert -------------------------------------------------------------------------------- */

static void
on_restored (GObject *source, GAsyncResult *result, gpointer data)
{
  Work *work = data;

  work->sessions =
      qsnap_group_snapshot_restore_finish (QSNAP_GROUP_SNAPSHOT (source), result, &work->error);
  g_main_loop_quit (work->loop);
}

static GPtrArray *
sessions_of (GListModel *model)
{
  GPtrArray *sessions = g_ptr_array_new_with_free_func (g_object_unref);

  for (guint i = 0; i < g_list_model_get_n_items (model); i++)
    g_ptr_array_add (sessions, g_list_model_get_item (model, i));

  return sessions;
}

static int
report_reverts (Work *work)
{
  g_autoptr (GPtrArray) sessions = sessions_of (work->sessions);

  if (work->options->wait && !wait_until_settled (sessions, &work->error))
    return EXIT_FAILED;

  return print_guests (work->options, sessions);
}

int
run_group_revert (Options *options, const char *directory, QsnapRestoreOptions *wanted)
{
  Work work;

  if (options->directory != NULL)
    {
      g_autoptr (GFile) file = g_file_new_for_commandline_arg (options->directory);

      qsnap_restore_options_set_directory (wanted, file);
    }
  work_init (&work, options);
  if (load (&work, directory))
    {
      qsnap_group_snapshot_restore_async (work.snapshot, wanted, work.cancellable, on_restored,
                                          &work);
      run_loop (work.loop, work.cancellable);
    }

  return work_end (&work, work.sessions != NULL ? report_reverts (&work) : EXIT_FAILED);
}

/* --- delete -------------------------------------------------------------------------------- */

static void
on_deleted (GObject *source, GAsyncResult *result, gpointer data)
{
  Work *work = data;

  work->done =
      qsnap_group_snapshot_delete_finish (QSNAP_GROUP_SNAPSHOT (source), result, &work->error);
  g_main_loop_quit (work->loop);
}

static void
print_deleted (Work *work)
{
  if (work->options->json)
    g_print ("{\"deleted\": true}\n");
  else if (!work->options->quiet)
    g_print ("group %s is deleted\n", qsnap_group_snapshot_get_name (work->snapshot));
}

/* The guests have the names that they had when it was taken. */
int
run_group_delete (Options *options, const char *directory, char **addresses)
{
  guint n = g_strv_length (addresses);
  Work work;

  work_init (&work, options);
  if (load (&work, directory) && (n == 0 || add_guests (&work, addresses, n)))
    {
      qsnap_group_snapshot_delete_async (work.snapshot, work.guests, work.cancellable, on_deleted,
                                         &work);
      run_loop (work.loop, work.cancellable);
    }
  if (work.done)
    print_deleted (&work);

  return work_end (&work, work.done ? EXIT_OK : EXIT_FAILED);
}
