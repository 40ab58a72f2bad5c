/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: revert, clone and quit. */

#include "qsnap-tool.h"

#include <glib/gstdio.h>
#include <string.h>

/* Guests that are being brought back, all at once. */
typedef struct
{
  Options *options;
  GMainLoop *loop;
  GCancellable *cancellable;
  guint n_pending;
  /* In the order of their numbers; NULL where there is none. */
  GPtrArray *sessions;
  GError *error;
} Reverts;

typedef struct
{
  Reverts *reverts;
  guint number;
} Revert;

/* --- output -------------------------------------------------------------------------------- */

static const char *
method_name (QsnapRestoreMethod method)
{
  g_autoptr (GEnumClass) klass = g_type_class_ref (QSNAP_TYPE_RESTORE_METHOD);
  const GEnumValue *value = g_enum_get_value (klass, (int)method);

  return value != NULL ? value->value_nick : "unknown";
}

static JsonNode *
guest_to_json (QsnapSession *session)
{
  g_auto (GStrv) warnings = qsnap_session_dup_restore_warnings (session);
  JsonNode *node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "address", qsnap_session_get_address (session));
  json_object_set_int_member (object, "pid", qsnap_session_get_pid (session));
  json_object_set_string_member (object, "directory",
                                 g_file_peek_path (qsnap_session_get_restore_directory (session)));
  json_object_set_string_member (object, "method",
                                 method_name (qsnap_session_get_restore_method (session)));
  json_object_set_int_member (object, "start-us", qsnap_session_get_start_us (session));
  json_object_set_int_member (object, "load-us", qsnap_session_get_load_us (session));
  if (qsnap_session_get_settle_us (session) >= 0)
    {
      json_object_set_int_member (object, "settle-us", qsnap_session_get_settle_us (session));
      json_object_set_int_member (object, "page-requests",
                                  (gint64)qsnap_session_get_page_requests (session));
    }
  json_object_set_member (object, "warnings", strings_to_json (warnings));
  json_node_take_object (node, object);

  return node;
}

static void
print_guest (QsnapSession *session)
{
  g_auto (GStrv) warnings = qsnap_session_dup_restore_warnings (session);

  g_print ("guest %d, monitor %s\n", qsnap_session_get_pid (session),
           qsnap_session_get_address (session));
  g_print ("  brought back by %s: QEMU up after %.0f ms, the guest %.1f ms later\n",
           method_name (qsnap_session_get_restore_method (session)),
           (double)qsnap_session_get_start_us (session) / 1e3,
           (double)qsnap_session_get_load_us (session) / 1e3);
  if (qsnap_session_get_settle_us (session) >= 0)
    g_print ("  all of its memory after %.0f ms more, of which it waited for %" G_GUINT64_FORMAT
             " pages\n",
             (double)qsnap_session_get_settle_us (session) / 1e3,
             qsnap_session_get_page_requests (session));
  else if (qsnap_session_get_phase (session) == QSNAP_PHASE_FETCHING)
    g_print ("  its memory is being brought in; the snapshot is needed until then\n");
  g_print ("  what it writes is in %s\n",
           g_file_peek_path (qsnap_session_get_restore_directory (session)));
  print_strings (warnings, "  warning: ");
}

static int
print_guests_json (GPtrArray *sessions)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object = json_object_new ();
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < sessions->len; i++)
    json_array_add_element (array, guest_to_json (sessions->pdata[i]));
  json_object_set_array_member (object, "guests", array);
  json_node_take_object (node, object);

  return print_json (node);
}

int
print_guests (Options *options, GPtrArray *sessions)
{
  if (options->json)
    return print_guests_json (sessions);

  for (guint i = 0; i < sessions->len && !options->quiet; i++)
    print_guest (sessions->pdata[i]);

  return EXIT_OK;
}

/* --- bringing back ------------------------------------------------------------------------- */

/* @command: what came after the snapshot's directory. */
static QsnapRestoreOptions *
restore_options (Options *options, QsnapRestoreMethod method, char **command)
{
  QsnapRestoreOptions *result = qsnap_restore_options_new ();

  qsnap_restore_options_set_method (result, method);
  qsnap_restore_options_set_program (result, options->program);
  qsnap_restore_options_set_start_paused (result, options->paused);
  qsnap_restore_options_set_verify (result, options->verify);
  if (*command != NULL)
    qsnap_restore_options_set_command (result, (const char *const *)command);

  return result;
}

static void
on_done (GObject *source, GAsyncResult *result, gpointer data)
{
  g_autofree Revert *revert = data;
  Reverts *reverts = revert->reverts;
  g_autoptr (GError) error = NULL;
  QsnapSession *session = qsnap_snapshot_restore_finish (QSNAP_SNAPSHOT (source), result, &error);

  if (session != NULL)
    reverts->sessions->pdata[revert->number] = session;
  else
    {
      /* All or none: the first error ends the others. */
      if (reverts->error == NULL)
        reverts->error = g_steal_pointer (&error);
      g_cancellable_cancel (reverts->cancellable);
    }

  if (--reverts->n_pending == 0)
    g_main_loop_quit (reverts->loop);
}

static void
start (Reverts *reverts, QsnapSnapshot *snapshot, QsnapRestoreOptions *options, gboolean many)
{
  guint n = reverts->sessions->len;

  for (guint i = 0; i < n; i++)
    {
      Revert *revert;

      if (reverts->options->directory != NULL)
        {
          g_autofree char *number = g_strdup_printf ("%u", i);
          g_autofree char *path =
              g_build_filename (reverts->options->directory, many ? number : NULL, NULL);
          g_autoptr (GFile) directory = g_file_new_for_commandline_arg (path);

          qsnap_restore_options_set_directory (options, directory);
        }
      revert = g_new0 (Revert, 1);
      revert->reverts = reverts;
      revert->number = i;
      reverts->n_pending++;
      qsnap_snapshot_restore_async (snapshot, options, reverts->cancellable, on_done, revert);
    }
}

static void
bring_back (Reverts *reverts, QsnapSnapshot *snapshot, QsnapRestoreOptions *options, gboolean many)
{
  start (reverts, snapshot, options, many);
  run_loop (reverts->loop, reverts->cancellable);
}

/* A guest that will not get all of its memory stays, for who wants to look at it. */
gboolean
wait_until_settled (GPtrArray *sessions, GError **error)
{
  for (guint i = 0; i < sessions->len; i++)
    if (!qsnap_session_wait_settled (sessions->pdata[i], NULL, error))
      return FALSE;

  return TRUE;
}

/* --- all or none --------------------------------------------------------------------------- */

static void
remove_directory (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *file = g_build_filename (path, name, NULL);

      (void)g_unlink (file);
    }
  (void)g_rmdir (path);
}

static void
end_all (GPtrArray *sessions)
{
  for (guint i = 0; i < sessions->len; i++)
    {
      QsnapSession *session = sessions->pdata[i];
      g_autoptr (GError) error = NULL;

      if (session == NULL)
        continue;
      if (qsnap_session_quit (session, NULL, &error))
        remove_directory (g_file_peek_path (qsnap_session_get_restore_directory (session)));
      else
        g_printerr ("qsnap: guest %d goes on: %s\n", qsnap_session_get_pid (session),
                    error->message);
    }
}

static int
report (Reverts *reverts, gboolean many)
{
  if (reverts->error != NULL)
    {
      end_all (reverts->sessions);
      return fail (reverts->error);
    }

  if (reverts->options->json && !many)
    {
      g_autoptr (JsonNode) node = guest_to_json (reverts->sessions->pdata[0]);

      return print_json (node);
    }

  return print_guests (reverts->options, reverts->sessions);
}

/* --- commands ------------------------------------------------------------------------------ */

static void
clear_session (gpointer session)
{
  if (session != NULL)
    g_object_unref (session);
}

/* The folder of the clones' directories. FALSE if it cannot be made. */
static gboolean
make_folder (const char *path, gboolean *made)
{
  *made = g_mkdir (path, 0700) == 0;

  return *made || g_file_test (path, G_FILE_TEST_IS_DIR) || g_mkdir_with_parents (path, 0700) == 0;
}

static gboolean
choose_method (Options *options, int *method)
{
  *method = QSNAP_RESTORE_METHOD_AUTO;

  return options->method == NULL || find_nick (QSNAP_TYPE_RESTORE_METHOD, options->method, method);
}

static int
run (Options *options, char **arguments, guint n, gboolean many)
{
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GPtrArray) sessions = g_ptr_array_new_with_free_func (clear_session);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapRestoreOptions) wanted = NULL;
  Reverts reverts = { options, loop, cancellable, 0, sessions, NULL };
  int method;
  gboolean made = FALSE;
  int status;

  if (!choose_method (options, &method))
    return usage ("there is no method ", options->method);

  snapshot = load_snapshot (arguments[0], &error);
  if (snapshot == NULL)
    return fail (error);

  if (many && options->directory != NULL && !make_folder (options->directory, &made))
    return usage ("cannot make ", options->directory);

  g_ptr_array_set_size (sessions, (int)n);
  wanted = restore_options (options, (QsnapRestoreMethod)method, arguments + 1);
  bring_back (&reverts, snapshot, wanted, many);
  if (options->wait && reverts.error == NULL && !wait_until_settled (sessions, &error))
    status = fail (error);
  else
    status = report (&reverts, many);
  if (status != EXIT_OK && made)
    (void)g_rmdir (options->directory);
  g_clear_error (&reverts.error);

  return status;
}

static int
revert_group (Options *options, char **arguments)
{
  g_autoptr (QsnapRestoreOptions) wanted = NULL;
  int method;

  if (!choose_method (options, &method))
    return usage ("there is no method ", options->method);

  wanted = restore_options (options, (QsnapRestoreMethod)method, arguments + 1);

  return run_group_revert (options, arguments[0], wanted);
}

int
run_revert (Options *options, char **arguments)
{
  if (is_group (arguments[0]))
    return revert_group (options, arguments);

  return run (options, arguments, 1, FALSE);
}

int
run_clone (Options *options, char **arguments)
{
  if (options->number < 1)
    return usage ("how many? -n takes a number from 1", "");

  return run (options, arguments, (guint)options->number, TRUE);
}

int
run_quit (Options *options, char **arguments)
{
  g_autoptr (QsnapSession) session = qsnap_session_new (arguments[0]);
  g_autoptr (GError) error = NULL;

  if (!qsnap_session_open (session, NULL, &error) || !qsnap_session_quit (session, NULL, &error))
    return fail (error);

  if (options->json)
    g_print ("{\"ended\": true}\n");

  return EXIT_OK;
}
