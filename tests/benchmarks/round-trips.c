/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the library itself costs, against mock QEMUs in a process of their own. Prints JSON.
 *
 *   round-trips calls N              commands and answers, one after the other
 *   round-trips events N             events, to a handler
 *   round-trips sessions N           memory of as many open sessions
 *   round-trips capture DISKS EVENTS MIB    a capture, with so many events while memory is saved
 */

#include <qsnap/qsnap.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qsnap-mock-qemu.h"

/* Seconds; SIGALRM says that something hangs. */
#define PATIENCE 240
/* Fewer than a session queues. */
#define EVENTS_AT_ONCE 1000
#define EVENT "BALLOON_CHANGE"
#define MEBI (1024 * 1024)

/* What the mocks are to be. */
typedef struct
{
  guint n_mocks;
  guint n_drives;
  guint n_events;         /* at the first page of a capture */
  guint n_events_on_call; /* at each query-name */
  guint ram_mib;
} Wanted;

/* The process that they are in. It ends when @control is closed. */
typedef struct
{
  pid_t pid;
  int control;
  FILE *answers;
} Server;

/* --- the mocks ----------------------------------------------------------------------------- */

static void
emit_events (MockQemu *mock, guint n_events)
{
  for (guint i = 0; i < n_events; i++)
    mock_emit_event (mock, EVENT, "{\"actual\": 1073741824}");
}

static void
on_call (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer user_data)
{
  emit_events (mock, GPOINTER_TO_UINT (user_data));
}

static void
on_first_page (MockQemu *mock, G_GNUC_UNUSED MockPoint point, gpointer user_data)
{
  emit_events (mock, GPOINTER_TO_UINT (user_data));
}

static void
add_drive (MockQemu *mock, guint number)
{
  g_autofree char *name = g_strdup_printf ("%u.raw", number);
  g_autofree char *device = g_strdup_printf ("virtio%u", number);
  g_autofree char *qdev = g_strdup_printf ("/machine/peripheral-anon/device[%u]", number);
  g_autofree char *path = g_build_filename (mock_get_directory (mock), name, NULL);
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  if (fd < 0 || ftruncate (fd, MEBI) != 0)
    g_error ("%s cannot be made", path);
  close (fd);
  mock_add_drive (mock, device, qdev, NULL, "raw", path);
}

static MockQemu *
make_mock (const Wanted *wanted)
{
  MockQemu *mock = mock_new (MOCK_STYLE_10, MOCK_TRANSPORT_UNIX);

  mock_set_ram_size (mock, (guint64)wanted->ram_mib * MEBI);
  for (guint i = 0; i < wanted->n_drives; i++)
    add_drive (mock, i);
  if (wanted->n_events > 0)
    mock_on_point (mock, MOCK_POINT_FIRST_PAGE, on_first_page, GUINT_TO_POINTER (wanted->n_events));
  if (wanted->n_events_on_call > 0)
    mock_on_command (mock, "query-name", on_call, GUINT_TO_POINTER (wanted->n_events_on_call));
  mock_start (mock);
  return mock;
}

static void
serve (const Wanted *wanted, int control, int answers)
{
  g_autofree MockQemu **mocks = g_new (MockQemu *, wanted->n_mocks);
  char nothing;

  for (guint i = 0; i < wanted->n_mocks; i++)
    {
      mocks[i] = make_mock (wanted);
      dprintf (answers, "%s\n%s\n", mock_get_address (mocks[i]), mock_get_directory (mocks[i]));
    }
  while (read (control, &nothing, 1) > 0)
    ;
  for (guint i = 0; i < wanted->n_mocks; i++)
    mock_free (mocks[i]);
}

/* Before there is any thread. */
static Server
server_start (const Wanted *wanted)
{
  int control[2], answers[2];
  Server server;

  if (pipe2 (control, O_CLOEXEC) != 0 || pipe2 (answers, O_CLOEXEC) != 0)
    g_error ("no pipes");
  server.pid = fork ();
  if (server.pid == 0)
    {
      alarm (PATIENCE);
      close (control[1]);
      serve (wanted, control[0], answers[1]);
      _exit (0);
    }
  close (control[0]);
  close (answers[1]);
  server.control = control[1];
  server.answers = fdopen (answers[0], "r");
  return server;
}

static char *
server_read (Server *server)
{
  char line[256] = "";

  if (fgets (line, sizeof line, server->answers) == NULL)
    g_error ("the mocks have ended");
  return g_strdup (g_strchomp (line));
}

static void
server_end (Server *server)
{
  fclose (server->answers);
  close (server->control);
  waitpid (server->pid, NULL, 0);
}

/* With the folder of its mock, if that is wanted. */
static QsnapSession *
server_open (Server *server, char **folder)
{
  g_autofree char *address = server_read (server);
  g_autofree char *directory = server_read (server);
  g_autoptr (QsnapSession) session = qsnap_session_new (address);
  g_autoptr (GError) error = NULL;

  if (!qsnap_session_open (session, NULL, &error))
    g_error ("%s", error->message);
  if (folder != NULL)
    *folder = g_steal_pointer (&directory);
  return g_steal_pointer (&session);
}

static void
call (QsnapSession *session, const char *command)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = qsnap_session_execute (session, command, NULL, NULL, NULL, &error);

  if (reply == NULL)
    g_error ("%s", error->message);
}

/* --- what is measured ---------------------------------------------------------------------- */

static double
cpu_ms (int who)
{
  struct rusage usage;

  getrusage (who, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static void
print_rate (guint n, gint64 start)
{
  double seconds = (double)(g_get_monotonic_time () - start) / G_USEC_PER_SEC;

  g_print ("{\"per-second\": %.0f}\n", n / seconds);
}

static void
measure_calls (guint n_calls)
{
  const Wanted wanted = { .n_mocks = 1, .ram_mib = 4 };
  Server server = server_start (&wanted);
  QsnapSession *session = server_open (&server, NULL);
  gint64 start;

  call (session, "query-status");
  start = g_get_monotonic_time ();
  for (guint i = 0; i < n_calls; i++)
    call (session, "query-status");
  print_rate (n_calls, start);
  g_object_unref (session);
  server_end (&server);
}

static void
on_event (G_GNUC_UNUSED QsnapSession *session,
          G_GNUC_UNUSED const char *name,
          G_GNUC_UNUSED JsonNode *data,
          G_GNUC_UNUSED gint64 time,
          guint *n_events)
{
  *n_events += 1;
}

static void
measure_events (guint n_events)
{
  const Wanted wanted = { .n_mocks = 1, .ram_mib = 4, .n_events_on_call = EVENTS_AT_ONCE };
  Server server = server_start (&wanted);
  QsnapSession *session = server_open (&server, NULL);
  gint64 start = g_get_monotonic_time ();
  guint n_seen = 0;

  g_signal_connect (session, "event::" EVENT, G_CALLBACK (on_event), &n_seen);
  for (guint n_sent = EVENTS_AT_ONCE; n_sent <= n_events; n_sent += EVENTS_AT_ONCE)
    {
      call (session, "query-name");
      while (n_seen < n_sent)
        g_main_context_iteration (NULL, TRUE);
    }
  print_rate (n_seen, start);
  g_object_unref (session);
  server_end (&server);
}

static glong
resident_kib (void)
{
  g_autofree char *text = NULL;
  const char *resident;

  /* The size of all comes first. */
  if (!g_file_get_contents ("/proc/self/statm", &text, NULL, NULL) ||
      (resident = strchr (text, ' ')) == NULL)
    g_error ("no /proc/self/statm");
  return strtol (resident, NULL, 10) * (sysconf (_SC_PAGESIZE) / 1024);
}

/* Besides the first, which starts the thread of all. */
static void
measure_sessions (guint n_sessions)
{
  const Wanted wanted = { .n_mocks = n_sessions + 1, .ram_mib = 4 };
  Server server = server_start (&wanted);
  g_autofree QsnapSession **sessions = g_new (QsnapSession *, n_sessions + 1);
  glong before;

  sessions[0] = server_open (&server, NULL);
  call (sessions[0], "query-status");
  before = resident_kib ();
  for (guint i = 1; i <= n_sessions; i++)
    {
      sessions[i] = server_open (&server, NULL);
      call (sessions[i], "query-status");
    }
  g_print ("{\"kib-each\": %.1f}\n", (double)(resident_kib () - before) / n_sessions);
  for (guint i = 0; i <= n_sessions; i++)
    g_object_unref (sessions[i]);
  server_end (&server);
}

/* The saver's; its end is noticed in the background. */
static double
cpu_ms_of_saver (double before)
{
  double cpu = cpu_ms (RUSAGE_CHILDREN);

  for (guint patience = 0; cpu == before && patience < 500; patience++)
    {
      g_usleep (10000);
      cpu = cpu_ms (RUSAGE_CHILDREN);
    }
  return cpu - before;
}

static void
measure_capture (guint n_drives, guint n_events, guint ram_mib)
{
  const Wanted wanted = {
    .n_mocks = 1, .n_drives = n_drives, .n_events = n_events, .ram_mib = ram_mib
  };
  Server server = server_start (&wanted);
  g_autofree char *folder = NULL;
  QsnapSession *session = server_open (&server, &folder);
  g_autoptr (GFile) directory = g_file_new_build_filename (folder, "snapshot", NULL);
  g_autoptr (QsnapSnapshotOptions) options = qsnap_snapshot_options_new (directory);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  gint64 start = g_get_monotonic_time ();
  double cpu = cpu_ms (RUSAGE_SELF), saver = cpu_ms (RUSAGE_CHILDREN), elapsed;

  snapshot = qsnap_session_instant_snapshot (session, options, NULL, &error);
  if (snapshot == NULL)
    g_error ("%s", error->message);
  elapsed = (double)(g_get_monotonic_time () - start) / 1e3;
  cpu = cpu_ms (RUSAGE_SELF) - cpu;
  g_print ("{\"cpu-ms\": %.3f, \"saver-ms\": %.3f, \"elapsed-ms\": %.3f}\n", cpu,
           cpu_ms_of_saver (saver), elapsed);
  g_clear_object (&snapshot);
  g_object_unref (session);
  server_end (&server);
}

int
main (int argc, char **argv)
{
  guint numbers[3] = { 0 };

  for (int i = 2; i < argc && i < 5; i++)
    numbers[i - 2] = (guint)strtoul (argv[i], NULL, 10);

  alarm (PATIENCE);
  if (argc == 3 && g_str_equal (argv[1], "calls"))
    measure_calls (numbers[0]);
  else if (argc == 3 && g_str_equal (argv[1], "events"))
    measure_events (numbers[0]);
  else if (argc == 3 && g_str_equal (argv[1], "sessions"))
    measure_sessions (numbers[0]);
  else if (argc == 5 && g_str_equal (argv[1], "capture"))
    measure_capture (numbers[0], numbers[1], numbers[2]);
  else
    {
      g_printerr ("round-trips calls N | events N | sessions N | capture DISKS EVENTS MIB\n");
      return 2;
    }

  return 0;
}
