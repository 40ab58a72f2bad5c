/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qsnap-mock-qemu: the mock as a program of its own, called with QEMU's command line. It knows what
 * a revert needs: -chardev for its monitor, -machine, -m, -object memory-backend-*, -drive,
 * -incoming defer, -S; without -incoming the guest runs at once. What it was given and what
 * happened to it is in its report. */

#include "mock-qemu.h"
#include "qsnap-mock-graph.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Seconds; longer than any test. */
#define PATIENCE 1800

/* As a monitor prints them. */
#define RAM_BLOCKS                                                                                 \
  "              Block Name    PSize              Offset               Used              "         \
  "Total\r\n"                                                                                      \
  "                  pc.ram    4 KiB  0x0000000000000000 0x0000000001800000 "                      \
  "0x0000000001800000\r\n"                                                                         \
  "                 pc.bios    4 KiB  0x0000000001800000 0x0000000000040000 "                      \
  "0x0000000000040000\r\n"                                                                         \
  "    /rom@etc/acpi/tables    4 KiB  0x0000000001840000 0x0000000000020000 "                      \
  "0x0000000000020000\r\n"

typedef struct
{
  MockQemu *mock;
  Memory *memory;
  GMainLoop *loop;
  int exit_code;
} Program;

/* --- command line --- */

/* The value of the first -@name. */
static const char *
find_option (char **argv, const char *name)
{
  for (guint i = 1; argv[i] != NULL; i++)
    {
      if (argv[i][0] == '-' && g_str_equal (argv[i] + 1, name))
        return argv[i + 1] != NULL ? argv[i + 1] : "";
    }
  return NULL;
}

static char *
dup_machine (char **argv)
{
  const char *text = find_option (argv, "machine");

  if (text == NULL)
    text = find_option (argv, "M");
  return text != NULL ? option_dup_first (text, "type") : g_strdup ("pc");
}

/* Of the first socket that is a server, whose id begins so. */
static char *
dup_socket_path (char **argv, const char *prefix)
{
  for (guint i = 1; argv[i] != NULL && argv[i + 1] != NULL; i++)
    {
      const char *value = argv[i + 1];
      g_autofree char *id = NULL, *server = NULL;

      if (!g_str_equal (argv[i], "-chardev") || !g_str_has_prefix (value, "socket,"))
        continue;
      id = option_dup (value, "id");
      server = option_dup (value, "server");
      if (g_strcmp0 (server, "on") == 0 && g_str_has_prefix (id, prefix))
        return option_dup (value, "path");
    }
  return NULL;
}

static gboolean
check_machine (MockStyle style, const char *machine)
{
  static const char *const known[] = { "none", "q35", "pc-q35-7.2", NULL };

  if (g_strv_contains (known, machine) ||
      (style == MOCK_STYLE_10 && g_str_equal (machine, "pc-q35-10.0")))
    return TRUE;
  complain ("unsupported machine type: \"%s\"", machine);
  return FALSE;
}

/* --- what it is given --- */

static char *
read_link (const char *link)
{
  char *target = g_file_read_link (link, NULL);

  return target != NULL ? target : g_strdup ("?");
}

static void
report_descriptors (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fd", 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *link = g_build_filename ("/proc/self/fd", name, NULL);
      g_autofree char *target = read_link (link);

      /* The folder that is being read. */
      if (!g_str_has_prefix (target, "/proc/"))
        report ("fd", "%s %s", name, target);
    }
}

static void
report_signals (void)
{
  sigset_t blocked;
  struct sigaction action;

  pthread_sigmask (SIG_SETMASK, NULL, &blocked);
  for (int i = 1; i < SIGRTMIN; i++)
    {
      if (sigismember (&blocked, i) == 1)
        report ("blocked", "%d", i);
      if (sigaction (i, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
        report ("ignored", "%d", i);
    }
}

static void
report_start (char **argv, gboolean is_probe)
{
  g_autofree char *folder = g_get_current_dir ();

  report ("start", "%s", is_probe ? "probe" : "guest");
  for (guint i = 0; argv[i] != NULL; i++)
    report ("argv", "%s", argv[i]);
  report ("folder", "%s", folder);
  report ("session", "%s", getsid (0) == getpid () ? "own" : "another's");
  report_descriptors ();
  report_signals ();
}

/* --- -qmp stdio --- */

typedef struct
{
  int from, to;
} Pump;

static gpointer
pump_main (gpointer data)
{
  g_autofree Pump *pump = data;
  guint8 buffer[4096];
  gssize n;

  while ((n = read (pump->from, buffer, sizeof buffer)) > 0)
    {
      if (write (pump->to, buffer, (gsize)n) != n)
        break;
    }
  close (pump->to);
  return NULL;
}

/* The threads end with the process. */
static void
start_pump (int from, int to)
{
  Pump *pump = g_new (Pump, 1);

  *pump = (Pump){ from, to };
  g_thread_unref (g_thread_new ("pump", pump_main, pump));
}

static void
connect_stdio (MockQemu *mock)
{
  int fd = mock_steal_client_fd (mock);

  start_pump (STDIN_FILENO, fd);
  start_pump (fd, STDOUT_FILENO);
}

/* --- faults --- */

static void
report_command (G_GNUC_UNUSED MockQemu *mock, JsonObject *arguments, gpointer user_data)
{
  g_autofree char *text = mock_object_to_string (arguments);

  report ("command", "%s %s", (const char *)user_data, text);
}

static void
exit_at_command (G_GNUC_UNUSED MockQemu *mock,
                 G_GNUC_UNUSED JsonObject *arguments,
                 gpointer user_data)
{
  complain ("simulated crash at %s", (const char *)user_data);
  _exit (1);
}

static void
die_at_command (G_GNUC_UNUSED MockQemu *mock,
                G_GNUC_UNUSED JsonObject *arguments,
                G_GNUC_UNUSED gpointer user_data)
{
  raise (SIGKILL);
}

typedef void (*SetFault) (MockQemu *mock, const char *command);

static void
set_error (MockQemu *mock, const char *command)
{
  g_autofree char *text = g_strdup_printf ("simulated error of %s", command);

  mock_fail_command (mock, command, 0, "GenericError", text);
}

static void
set_no_reply (MockQemu *mock, const char *command)
{
  mock_drop_reply (mock, command, 0);
}

static void
set_freeze (MockQemu *mock, const char *command)
{
  mock_freeze_at (mock, command, 0);
}

/* Says yes and does nothing. */
static void
set_ignored (MockQemu *mock, const char *command)
{
  mock_set_reply (mock, command, "{}");
}

static void
set_hangup (MockQemu *mock, const char *command)
{
  mock_disconnect_at (mock, command, 0, MOCK_DISCONNECT_BEFORE);
}

static void
set_exit (MockQemu *mock, const char *command)
{
  mock_on_command (mock, command, exit_at_command, (gpointer)g_intern_string (command));
}

static void
set_kill (MockQemu *mock, const char *command)
{
  mock_on_command (mock, command, die_at_command, NULL);
}

static void
set_command_faults (MockQemu *mock)
{
  static const struct
  {
    const char *word;
    SetFault set;
  } kinds[] = { { "error", set_error },   { "no-reply", set_no_reply }, { "freeze", set_freeze },
                { "hangup", set_hangup }, { "ignore", set_ignored },    { "exit", set_exit },
                { "kill", set_kill } };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_auto (GStrv) commands = fault_dup_all (kinds[i].word);

      for (guint j = 0; commands[j] != NULL; j++)
        kinds[i].set (mock, commands[j]);
    }
}

/* "page-delay:MICROSECONDS" makes a save last. */
static void
set_page_delay (MockQemu *mock)
{
  g_auto (GStrv) delays = fault_dup_all ("page-delay");

  if (delays[0] != NULL)
    mock_set_page_delay (mock, (guint)atoi (delays[0]));
}

/* --- set up --- */

static void
report_commands (MockQemu *mock)
{
  g_auto (GStrv) names = mock_schema_dup_commands (mock->schema);

  for (guint i = 0; names[i] != NULL; i++)
    mock_on_command (mock, names[i], report_command, (gpointer)g_intern_string (names[i]));
}

/* A qcow2 image stands on its backing image. */
static gboolean
add_drive (MockQemu *mock, const char *drive, guint n)
{
  g_autofree char *path = option_dup (drive, "file");
  g_autofree char *format = option_dup (drive, "format");
  g_autofree char *id = option_dup (drive, "id");
  g_autofree char *device = id != NULL ? g_strdup (id) : g_strdup_printf ("drive%u", n);
  g_autofree char *qdev = g_strdup_printf ("/machine/peripheral-anon/device[%u]", n);
  g_autofree char *node = g_strdup_printf ("node%u", n);
  MockNode image = { .fd = path != NULL ? open (path, O_RDWR | O_CLOEXEC) : -1 };
  MockQcow2 header = { 0 };
  gboolean is_qcow2 = g_strcmp0 (format, "qcow2") == 0;

  if (image.fd < 0)
    complain ("-drive %s: Could not open '%s': %s", drive, path, g_strerror (errno));
  else if (is_qcow2 && !mock_qcow2_read (&image, &header))
    complain ("-drive %s: Image is not in qcow2 format", drive);
  else
    {
      report ("drive", "%s %s on %s %s", device, path, header.format, header.backing);
      mock_add_drive (mock, device, qdev, node, is_qcow2 ? "qcow2" : "raw", path);
      if (*header.backing != '\0')
        mock_add_backing (mock, node, header.format, header.backing);
      close (image.fd);
      return TRUE;
    }
  mock_clear_fd (&image.fd);
  return FALSE;
}

static gboolean
set_up_guest (Program *program, char **argv)
{
  const char *size = find_option (argv, "m");
  const char *incoming = find_option (argv, "incoming");
  g_autofree char *rescue = dup_socket_path (argv, "qsnap-rescue");
  guint n_drives = 0;

  if (size != NULL)
    {
      g_autofree char *ram = option_dup_first (size, "size");

      mock_set_ram_size (program->mock, option_size (ram, 1 << 20));
    }
  program->memory = memory_new (program->mock, argv);
  if (program->memory == NULL)
    return FALSE;
  for (guint i = 1; argv[i] != NULL && argv[i + 1] != NULL; i++)
    {
      if (g_str_equal (argv[i], "-drive") && !add_drive (program->mock, argv[i + 1], n_drives++))
        return FALSE;
    }
  if (incoming == NULL)
    return TRUE;
  if ((rescue == NULL && find_option (argv, "S") == NULL) || !g_str_equal (incoming, "defer"))
    {
      complain ("the mock program knows -S -incoming defer only");
      return FALSE;
    }
  if (rescue != NULL)
    {
      mock_set_hmp (program->mock, "info ramblock", RAM_BLOCKS);
      memory_set_rescue (program->memory, rescue_new (rescue), find_option (argv, "S") != NULL);
    }
  mock_set_incoming (program->mock, memory_load, program->memory);
  return TRUE;
}

static void
on_cont (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer user_data)
{
  Program *program = user_data;

  if (!g_str_equal (mock_get_state (mock), "inmigrate"))
    memory_touch (program->memory);
}

static gboolean
set_up (Program *program, MockStyle style, char **argv, gboolean is_probe)
{
  g_autofree char *path = dup_socket_path (argv, "qsnap");
  gboolean is_stdio = g_strcmp0 (find_option (argv, "qmp"), "stdio") == 0;

  if (!is_stdio && (path == NULL || strlen (path) > 107))
    {
      complain ("UNIX socket path '%s' is too long, or there is none", path);
      return FALSE;
    }
  if (fault_is_set ("no-socket"))
    return TRUE;
  program->mock = mock_new_at (style, path);
  /* Complaints go into the report, not to a test of this process. */
  mock_set_lenient (program->mock, TRUE);
  report_commands (program->mock);
  set_command_faults (program->mock);
  set_page_delay (program->mock);
  if (fault_is_set ("no-greeting"))
    mock_set_greeting (program->mock, NULL);
  if (fault_is_set ("bad-greeting"))
    mock_set_greeting (program->mock, "Welcome to something else\r\n");
  if (is_probe)
    return TRUE;
  mock_on_command (program->mock, "cont", on_cont, program);
  if (fault_is_set ("refuse:postcopy-ram"))
    mock_refuse_capability (program->mock, "postcopy-ram");
  return set_up_guest (program, argv);
}

/* --- life --- */

static gboolean
on_term (gpointer user_data)
{
  Program *program = user_data;

  report ("signal", "TERM");
  if (!fault_is_set ("ignore-term"))
    g_main_loop_quit (program->loop);
  return G_SOURCE_CONTINUE;
}

static gboolean
on_tick (gpointer user_data)
{
  Program *program = user_data;
  g_autofree char *problem = NULL;

  if (program->mock == NULL || !mock_has_exited (program->mock))
    return G_SOURCE_CONTINUE;
  problem = mock_dup_incoming_error (program->mock);
  program->exit_code = problem != NULL;
  g_main_loop_quit (program->loop);
  return G_SOURCE_REMOVE;
}

static void
run (Program *program)
{
  program->loop = g_main_loop_new (NULL, FALSE);
  g_unix_signal_add (SIGTERM, on_term, program);
  g_timeout_add (2, on_tick, program);
  if (fault_is_set ("late-socket"))
    g_usleep (300 * 1000);
  if (program->mock != NULL)
    mock_start (program->mock);
  if (program->mock != NULL && mock_get_address (program->mock) == NULL)
    connect_stdio (program->mock);
  g_main_loop_run (program->loop);
  g_main_loop_unref (program->loop);
}

static void
report_end (Program *program)
{
  g_auto (GStrv) complaints = NULL;

  if (program->mock != NULL)
    complaints = mock_dup_complaints (program->mock);
  for (guint i = 0; complaints != NULL && complaints[i] != NULL; i++)
    report ("complaint", "%s", complaints[i]);
  report ("end", "%d", program->exit_code);
}

static void
clear (Program *program)
{
  g_clear_pointer (&program->mock, mock_free);
  g_clear_pointer (&program->memory, memory_free);
}

/* QEMU's own words before it has made anything. */
static void
act_out_start_faults (void)
{
  if (fault_is_set ("exit"))
    {
      complain ("simulated failure at the start");
      _exit (1);
    }
  if (fault_is_set ("silent-exit"))
    _exit (3);
  if (fault_is_set ("kill"))
    raise (SIGKILL);
}

int
main (G_GNUC_UNUSED int argc, char **argv)
{
  MockStyle style =
      g_strcmp0 (g_getenv ("QSNAP_MOCK_VERSION"), "10.0") == 0 ? MOCK_STYLE_10 : MOCK_STYLE_7_2;
  g_autofree char *machine = dup_machine (argv);
  gboolean is_probe = g_str_equal (machine, "none");
  Program program = { 0 };

  g_set_prgname ("qsnap-mock-qemu");
  /* A test that crashed leaves its guests behind. */
  alarm (PATIENCE);
  fault_set_probe (is_probe);
  report_start (argv, is_probe);
  act_out_start_faults ();
  if (check_machine (style, machine) && set_up (&program, style, argv, is_probe))
    {
      run (&program);
      report_end (&program);
    }
  else
    program.exit_code = 1;
  clear (&program);
  return program.exit_code;
}
