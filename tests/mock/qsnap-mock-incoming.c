/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: a QEMU that was started with `-S -incoming defer` and waits for a stream. */

#include "qsnap-mock-migration.h"

#include <string.h>

struct _MockIncoming
{
  /* NULL: was not started for that. */
  MockLoadFunc func;
  gpointer user_data;
  GThread *thread;
  gboolean started, active, cont, ran;
  char *error;
};

typedef struct
{
  MockQemu *mock;
  int fd;
} Load;

MockIncoming *
mock_incoming_new (void)
{
  return g_new0 (MockIncoming, 1);
}

void
mock_incoming_join (MockIncoming *incoming)
{
  g_clear_pointer (&incoming->thread, g_thread_join);
}

void
mock_incoming_free (MockIncoming *incoming)
{
  g_free (incoming->error);
  g_free (incoming);
}

gboolean
mock_incoming_is_active (MockQemu *mock)
{
  return mock->incoming->active;
}

gboolean
mock_incoming_takes_cont (MockQemu *mock)
{
  if (!g_str_equal (mock_get_state (mock), "inmigrate"))
    return FALSE;
  mock->incoming->cont = TRUE;
  return TRUE;
}

/* All of it comes before the event: whoever sees that finds the guest as it will be. */
static void
enter_loaded_state (MockQemu *mock)
{
  mock_enter_state (mock, mock->incoming->cont ? "running" : "paused");
  if (mock->incoming->cont)
    mock_event (mock, "RESUME", NULL);
}

static void
end_load (MockQemu *mock, gpointer data)
{
  MockIncoming *incoming = mock->incoming;

  incoming->active = FALSE;
  incoming->error = data;
  if (incoming->error != NULL)
    {
      mock_migration_set_status (mock->migration, "failed");
      mock_exit (mock);
      return;
    }
  if (!incoming->ran)
    enter_loaded_state (mock);
  mock_migration_set_status (mock->migration, "completed");
}

/* --- postcopy: the guest runs before all has been read --- */

static void
set_status (MockQemu *mock, gpointer data)
{
  mock_migration_set_status (mock->migration, data);
}

void
mock_incoming_set_status (MockQemu *mock, const char *status)
{
  mock_call (mock, set_status, (gpointer)status);
}

static void
run (MockQemu *mock, gpointer data)
{
  MockIncoming *incoming = mock->incoming;

  incoming->ran = TRUE;
  incoming->cont = incoming->cont || !GPOINTER_TO_INT (data);
  enter_loaded_state (mock);
}

void
mock_incoming_run (MockQemu *mock, gboolean paused)
{
  mock_call (mock, run, GINT_TO_POINTER (paused));
}

gboolean
mock_incoming_has_run (MockQemu *mock)
{
  /* Only the thread that loads changes it. */
  return mock->incoming->ran;
}

static gpointer
load_main (gpointer data)
{
  Load *load = data;
  char *problem =
      load->mock->incoming->func (load->mock, load->fd, load->mock->incoming->user_data);

  mock_clear_fd (&load->fd);
  if (mock_is_stopping (load->mock))
    g_free (problem);
  else
    mock_call (load->mock, end_load, problem);
  g_free (load);
  return NULL;
}

static int
take_descriptor (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *uri = mock_arg_string (arguments, "uri");
  int fd = -1;

  if (uri == NULL || !g_str_has_prefix (uri, "fd:"))
    {
      mock_complain (mock, "the mock is migrated to from fd: only, not from %s", uri);
      mock_fail (error, "The mock is migrated to from fd: only");
      return -1;
    }
  fd = mock_fds_take_named (mock, uri + strlen ("fd:"));
  if (fd < 0)
    mock_fail (error, "File descriptor named '%s' has not been found", uri + strlen ("fd:"));
  return fd;
}

static JsonNode *
migrate_incoming (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockIncoming *incoming = mock->incoming;
  Load *load;
  int fd;

  if (incoming->func == NULL)
    return mock_fail (error, "'-incoming' was not specified on the command line");
  if (incoming->started)
    return mock_fail (error, "The incoming migration has already been started");
  fd = take_descriptor (mock, arguments, error);
  if (fd < 0)
    return NULL;
  incoming->started = incoming->active = TRUE;
  mock_migration_set_status (mock->migration, "setup");
  mock_migration_set_status (mock->migration, "active");
  load = g_new0 (Load, 1);
  load->mock = mock;
  load->fd = fd;
  incoming->thread = g_thread_new ("mock-incoming", load_main, load);
  return mock_empty ();
}

const MockCommand mock_incoming_commands[] = {
  { "migrate-incoming", migrate_incoming },
  { NULL, NULL },
};

void
mock_set_incoming (MockQemu *mock, MockLoadFunc func, gpointer user_data)
{
  mock->incoming->func = func;
  mock->incoming->user_data = user_data;
  mock_enter_state (mock, "inmigrate");
}

static void
get_error (MockQemu *mock, gpointer data)
{
  *(char **)data = g_strdup (mock->incoming->error);
}

char *
mock_dup_incoming_error (MockQemu *mock)
{
  char *error = NULL;

  mock_call (mock, get_error, &error);
  return error;
}
