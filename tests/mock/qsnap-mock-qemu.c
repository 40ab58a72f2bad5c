/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock's life: thread, calls into it, complaints. */

#include "qsnap-mock-private.h"

#include <glib/gstdio.h>
#include <string.h>

G_DEFINE_QUARK (mock - error - quark, mock_error)

typedef struct
{
  MockQemu *mock;
  MockCall func;
  gpointer data;
  GDestroyNotify destroy;
  /* Only for those that somebody waits for. */
  GMutex mutex;
  GCond cond;
  gboolean done;
} Call;

JsonNode *
mock_json (const char *json)
{
  g_autoptr (GError) error = NULL;
  JsonNode *node = json_from_string (json, &error);

  if (node == NULL)
    g_error ("mock: bad JSON in the test: %s: %s", error != NULL ? error->message : "empty", json);
  return node;
}

JsonNode *
mock_empty (void)
{
  JsonNode *node = json_node_new (JSON_NODE_OBJECT);

  json_node_take_object (node, json_object_new ());
  return node;
}

const char *
mock_arg_string (JsonObject *arguments, const char *name)
{
  return json_object_get_string_member_with_default (arguments, name, NULL);
}

gint64
mock_arg_int (JsonObject *arguments, const char *name, gint64 fallback)
{
  return json_object_get_int_member_with_default (arguments, name, fallback);
}

gboolean
mock_arg_bool (JsonObject *arguments, const char *name, gboolean fallback)
{
  return json_object_get_boolean_member_with_default (arguments, name, fallback);
}

JsonNode *
mock_fail (GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, MOCK_ERROR, MOCK_ERROR_GENERIC, text);
  return NULL;
}

gboolean
mock_is_stopping (MockQemu *mock)
{
  return g_atomic_int_get (&mock->stopping) != 0;
}

static gboolean
run_waited_call (gpointer user_data)
{
  Call *call = user_data;

  call->func (call->mock, call->data);
  g_mutex_lock (&call->mutex);
  call->done = TRUE;
  g_cond_signal (&call->cond);
  g_mutex_unlock (&call->mutex);
  return G_SOURCE_REMOVE;
}

void
mock_call (MockQemu *mock, MockCall func, gpointer data)
{
  Call call = { .mock = mock, .func = func, .data = data };
  g_autoptr (GSource) source = NULL;

  if (mock->thread == NULL || mock->thread == g_thread_self ())
    {
      func (mock, data);
      return;
    }
  g_mutex_init (&call.mutex);
  g_cond_init (&call.cond);
  source = g_idle_source_new ();
  g_source_set_priority (source, G_PRIORITY_HIGH);
  g_source_set_callback (source, run_waited_call, &call, NULL);
  g_source_attach (source, mock->context);
  g_mutex_lock (&call.mutex);
  while (!call.done)
    g_cond_wait (&call.cond, &call.mutex);
  g_mutex_unlock (&call.mutex);
  g_mutex_clear (&call.mutex);
  g_cond_clear (&call.cond);
}

static gboolean
run_later_call (gpointer user_data)
{
  Call *call = user_data;

  call->func (call->mock, call->data);
  return G_SOURCE_REMOVE;
}

static void
later_call_free (gpointer user_data)
{
  Call *call = user_data;

  if (call->destroy != NULL)
    call->destroy (call->data);
  g_free (call);
}

void
mock_later (
    MockQemu *mock, guint milliseconds, MockCall func, gpointer data, GDestroyNotify destroy)
{
  g_autoptr (GSource) source = g_timeout_source_new (milliseconds);
  Call *call = g_new0 (Call, 1);

  call->mock = mock;
  call->func = func;
  call->data = data;
  call->destroy = destroy;
  g_source_set_callback (source, run_later_call, call, later_call_free);
  g_source_attach (source, mock->context);
}

void
mock_complain (MockQemu *mock, const char *format, ...)
{
  char *text;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  if (!mock->lenient)
    {
      g_test_message ("mock QEMU: %s", text);
      g_test_fail ();
    }
  g_ptr_array_add (mock->complaints, text);
}

static void
add_commands (MockQemu *mock, const MockCommand *commands)
{
  for (; commands->name != NULL; commands++)
    g_hash_table_insert (mock->commands, (gpointer)commands->name, commands->handler);
}

static void
load_schema (MockQemu *mock)
{
  g_autoptr (GError) error = NULL;

  mock->schema = mock_schema_load (mock->style == MOCK_STYLE_7_2 ? "7.2" : "10.0", &error);
  if (mock->schema == NULL)
    g_error ("mock: %s", error->message);
}

static MockQemu *
new_without_directory (MockStyle style, MockTransport transport)
{
  MockQemu *mock = g_new0 (MockQemu, 1);

  mock->style = style;
  mock->transport = transport;
  mock->context = g_main_context_new ();
  mock->loop = g_main_loop_new (mock->context, FALSE);
  mock->script = g_async_queue_new_full ((GDestroyNotify)mock_step_free);
  mock->late = g_ptr_array_new_with_free_func (mock_late_free);
  mock->transcript = g_ptr_array_new_with_free_func ((GDestroyNotify)json_object_unref);
  mock->complaints = g_ptr_array_new_with_free_func (g_free);
  mock->commands = g_hash_table_new (g_str_hash, g_str_equal);
  add_commands (mock, mock_fds_commands);
  add_commands (mock, mock_graph_commands);
  add_commands (mock, mock_incoming_commands);
  add_commands (mock, mock_jobs_commands);
  add_commands (mock, mock_migration_commands);
  add_commands (mock, mock_misc_commands);
  add_commands (mock, mock_qom_commands);
  add_commands (mock, mock_transaction_commands);
  add_commands (mock, mock_types_commands);
  load_schema (mock);
  if (style == MOCK_STYLE_7_2)
    mock_set_version (mock, 7, 2, 22, "Debian 1:7.2+dfsg-7+deb12u18+b3");
  else
    mock_set_version (mock, 10, 0, 13, "Debian 1:10.0.13+ds-0+deb13u1");
  mock->link = mock_link_new (mock);
  mock->faults = mock_faults_new ();
  mock->fds = mock_fds_new ();
  mock->graph = mock_graph_new ();
  mock->jobs = mock_jobs_new ();
  mock->misc = mock_misc_new (mock);
  mock->migration = mock_migration_new (mock);
  mock->incoming = mock_incoming_new ();
  return mock;
}

MockQemu *
mock_new (MockStyle style, MockTransport transport)
{
  MockQemu *mock = new_without_directory (style, transport);
  g_autoptr (GError) error = NULL;

  mock->directory = g_dir_make_tmp ("qsnap-mock-XXXXXX", &error);
  g_assert_no_error (error);
  return mock;
}

MockQemu *
mock_new_at (MockStyle style, const char *socket_path)
{
  MockQemu *mock = new_without_directory (style, socket_path != NULL ? MOCK_TRANSPORT_UNIX
                                                                     : MOCK_TRANSPORT_SOCKETPAIR);

  mock->socket_path = g_strdup (socket_path);
  return mock;
}

static gpointer
thread_main (gpointer user_data)
{
  MockQemu *mock = user_data;

  g_main_context_push_thread_default (mock->context);
  g_main_loop_run (mock->loop);
  g_main_context_pop_thread_default (mock->context);
  return NULL;
}

static gboolean
announce_socketpair (gpointer user_data)
{
  mock_dispatch_connected (user_data);
  return G_SOURCE_REMOVE;
}

void
mock_start (MockQemu *mock)
{
  g_return_if_fail (mock->thread == NULL);

  mock_link_open (mock->link);
  if (mock->transport == MOCK_TRANSPORT_SOCKETPAIR)
    {
      g_autoptr (GSource) source = g_idle_source_new ();

      g_source_set_callback (source, announce_socketpair, mock, NULL);
      g_source_attach (source, mock->context);
    }
  mock->thread = g_thread_new ("mock-qemu", thread_main, mock);
}

static void
remove_tree (const char *path)
{
  if (g_file_test (path, G_FILE_TEST_IS_DIR) && !g_file_test (path, G_FILE_TEST_IS_SYMLINK))
    {
      g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
      const char *name;

      while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
        {
          g_autofree char *child = g_build_filename (path, name, NULL);

          remove_tree (child);
        }
    }
  g_remove (path);
}

/* From inside: a quit that comes before the thread has entered its loop would be forgotten. */
static void
quit_loop (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  g_main_loop_quit (mock->loop);
}

void
mock_free (MockQemu *mock)
{
  g_atomic_int_set (&mock->stopping, 1);
  /* The migration's thread calls into the mock's, so it has to go first. */
  mock_migration_free (mock->migration);
  mock_incoming_join (mock->incoming);
  if (mock->thread != NULL)
    {
      mock_later (mock, 0, quit_loop, NULL, NULL);
      g_thread_join (mock->thread);
      mock->thread = NULL;
    }
  mock_link_free (mock->link);
  g_main_loop_unref (mock->loop);
  g_main_context_unref (mock->context);
  mock_jobs_free (mock->jobs);
  mock_graph_free (mock->graph);
  mock_fds_free (mock->fds);
  mock_incoming_free (mock->incoming);
  mock_misc_free (mock->misc);
  mock_faults_free (mock->faults);
  mock_schema_free (mock->schema);
  g_hash_table_unref (mock->commands);
  g_ptr_array_unref (mock->transcript);
  g_ptr_array_unref (mock->complaints);
  g_async_queue_unref (mock->script);
  g_ptr_array_unref (mock->late);
  if (mock->directory != NULL)
    remove_tree (mock->directory);
  g_free (mock->directory);
  g_free (mock->socket_path);
  g_free (mock->greeting);
  g_free (mock->package);
  g_free (mock);
}

const char *
mock_get_address (MockQemu *mock)
{
  return mock_link_get_address (mock->link);
}

const char *
mock_get_socket_path (MockQemu *mock)
{
  return mock_link_get_path (mock->link);
}

const char *
mock_get_directory (MockQemu *mock)
{
  return mock->directory;
}

int
mock_steal_client_fd (MockQemu *mock)
{
  return mock_link_steal_client_fd (mock->link);
}

void
mock_set_version (MockQemu *mock, int major, int minor, int micro, const char *package)
{
  mock->version[0] = major;
  mock->version[1] = minor;
  mock->version[2] = micro;
  g_free (mock->package);
  mock->package = g_strdup (package);
}

void
mock_set_greeting (MockQemu *mock, const char *raw)
{
  g_free (mock->greeting);
  mock->greeting = g_strdup (raw);
  mock->no_greeting = raw == NULL;
}

static void
set_lenient (MockQemu *mock, gpointer data)
{
  mock->lenient = GPOINTER_TO_INT (data);
}

void
mock_set_lenient (MockQemu *mock, gboolean lenient)
{
  mock_call (mock, set_lenient, GINT_TO_POINTER (lenient));
}

static void
dup_complaints (MockQemu *mock, gpointer data)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  for (guint i = 0; i < mock->complaints->len; i++)
    g_strv_builder_add (builder, g_ptr_array_index (mock->complaints, i));
  *(GStrv *)data = g_strv_builder_end (builder);
}

GStrv
mock_dup_complaints (MockQemu *mock)
{
  GStrv complaints = NULL;

  mock_call (mock, dup_complaints, &complaints);
  return complaints;
}

typedef struct
{
  MockPredicate predicate;
  gpointer user_data;
  gboolean holds;
} WaitData;

static void
evaluate (MockQemu *mock, gpointer data)
{
  WaitData *wait = data;

  wait->holds = wait->predicate (mock, wait->user_data);
}

gboolean
mock_wait (MockQemu *mock, MockPredicate predicate, gpointer user_data, guint milliseconds)
{
  WaitData wait = { predicate, user_data, FALSE };
  gint64 deadline = g_get_monotonic_time () + milliseconds * (gint64)1000;

  for (;;)
    {
      mock_call (mock, evaluate, &wait);
      if (wait.holds || g_get_monotonic_time () > deadline)
        return wait.holds;
      g_usleep (1000);
    }
}
