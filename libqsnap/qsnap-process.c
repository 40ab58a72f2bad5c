/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-process.h"

#include <fcntl.h>
#include <gio/gunixcredentialsmessage.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

static char *
proc_path (QsnapProcess *process, const char *name)
{
  return g_strdup_printf ("/proc/%d/%s", (int)process->pid, name);
}

static GPid
peer_of_stream (GIOStream *stream)
{
  g_autoptr (GCredentials) credentials = NULL;
  GSocket *socket;

  if (!G_IS_SOCKET_CONNECTION (stream))
    return 0;

  socket = g_socket_connection_get_socket (G_SOCKET_CONNECTION (stream));
  if (g_socket_get_family (socket) != G_SOCKET_FAMILY_UNIX)
    return 0;

  credentials = g_socket_get_credentials (socket, NULL);
  if (credentials == NULL)
    return 0;

  return MAX (g_credentials_get_unix_pid (credentials, NULL), 0);
}

static void
forget (QsnapProcess *process)
{
  process->pid = 0;
  if (process->pidfd >= 0)
    close (process->pidfd);
  process->pidfd = -1;
  g_clear_pointer (&process->directory, g_free);
  g_clear_pointer (&process->command_line, g_strfreev);
  g_clear_pointer (&process->program, g_free);
  g_clear_pointer (&process->module_dir, g_free);
}

/* The strings of a file of /proc that ends each with a NUL. */
static GStrv
read_strings (QsnapProcess *process, const char *name)
{
  g_autofree char *path = proc_path (process, name);
  g_autofree char *text = NULL;
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  gsize length;

  if (!g_file_get_contents (path, &text, &length, NULL))
    return NULL;

  for (gsize start = 0; start < length; start += strlen (text + start) + 1)
    g_strv_builder_add (builder, text + start);

  return g_strv_builder_end (builder);
}

static char *
read_module_dir (QsnapProcess *process)
{
  g_auto (GStrv) environment = read_strings (process, "environ");

  return environment != NULL ? g_strdup (g_environ_getenv (environment, QSNAP_PROCESS_MODULE_DIR))
                             : NULL;
}

QsnapProcess *
qsnap_process_new_unknown (void)
{
  QsnapProcess *process = g_new0 (QsnapProcess, 1);

  process->pidfd = -1;

  return process;
}

QsnapProcess *
qsnap_process_new_for_stream (GIOStream *stream)
{
  QsnapProcess *process = qsnap_process_new_unknown ();
  g_autofree char *directory_link = NULL;

  process->pid = peer_of_stream (stream);
  if (process->pid == 0)
    return process;

  process->pidfd = (int)syscall (SYS_pidfd_open, process->pid, 0);

  directory_link = proc_path (process, "cwd");
  process->directory = g_file_read_link (directory_link, NULL);
  process->command_line = read_strings (process, "cmdline");
  process->module_dir = read_module_dir (process);
  process->program = proc_path (process, "exe");

  return process;
}

void
qsnap_process_free (QsnapProcess *process)
{
  forget (process);
  g_free (process);
}

QsnapOpenState
qsnap_process_has_open (QsnapProcess *process, const struct stat *file)
{
  g_autofree char *folder = proc_path (process, "fd");
  g_autoptr (GDir) dir = process->pid != 0 ? g_dir_open (folder, 0, NULL) : NULL;
  const char *name;

  if (dir == NULL)
    return QSNAP_OPEN_UNKNOWN;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      struct stat found;

      if (stat (path, &found) == 0 && found.st_dev == file->st_dev && found.st_ino == file->st_ino)
        return QSNAP_OPEN_YES;
    }

  return QSNAP_OPEN_NO;
}

void
qsnap_process_prove (QsnapProcess *process, int fd)
{
  struct stat sent;

  if (fstat (fd, &sent) != 0 || qsnap_process_has_open (process, &sent) != QSNAP_OPEN_YES)
    forget (process);
}

gboolean
qsnap_process_check_known (QsnapProcess *process, GError **error)
{
  if (process->pid != 0)
    return TRUE;

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                       "QEMU's process cannot be looked at in /proc: it is at the other end of a "
                       "TCP connection, in another container, or another user's");

  return FALSE;
}

/* The 22nd field, counted from the one after the name, which may hold any character. */
#define STAT_FIELDS_FROM_STATE_TO_START 19

gint64
qsnap_process_start_time (GPid pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/stat", (int)pid);
  g_autofree char *text = NULL;
  g_auto (GStrv) fields = NULL;
  char *state;

  if (pid <= 0 || !g_file_get_contents (path, &text, NULL, NULL))
    return 0;

  state = strrchr (text, ')');
  if (state == NULL)
    return 0;

  fields = g_strsplit (g_strchug (state + 1), " ", STAT_FIELDS_FROM_STATE_TO_START + 2);
  if (g_strv_length (fields) <= STAT_FIELDS_FROM_STATE_TO_START || *fields[0] == 'Z')
    return 0;

  return g_ascii_strtoll (fields[STAT_FIELDS_FROM_STATE_TO_START], NULL, 10);
}

gboolean
qsnap_process_is_alive (JsonObject *record, const char *pid_name, const char *start_name)
{
  GPid pid = (GPid)qsnap_json_get_int (record, pid_name, 0);
  gint64 start = qsnap_json_get_int (record, start_name, 0);

  return start != 0 && qsnap_process_start_time (pid) == start;
}

static gboolean
has_access (GPid pid, const char *fd, int access)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/fdinfo/%s", (int)pid, fd);
  g_autofree char *text = NULL;
  const char *flags;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return FALSE;

  flags = strstr (text, "flags:");

  return flags != NULL &&
         (g_ascii_strtoull (flags + strlen ("flags:"), NULL, 8) & O_ACCMODE) == (guint64)access;
}

int
qsnap_process_find_descriptor (GPid pid, const char *kind, guint64 inode, int access)
{
  g_autofree char *folder = g_strdup_printf ("/proc/%d/fd", (int)pid);
  g_autofree char *wanted = g_strdup_printf ("%s:[%" G_GUINT64_FORMAT "]", kind, inode);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      g_autofree char *target = g_file_read_link (path, NULL);

      if (g_strcmp0 (target, wanted) == 0 && has_access (pid, name, access))
        return (int)g_ascii_strtoll (name, NULL, 10);
    }

  return -1;
}

gboolean
qsnap_process_has_ended (QsnapProcess *process)
{
  struct pollfd ended = { .fd = process->pidfd, .events = POLLIN };

  return process->pidfd >= 0 && poll (&ended, 1, 0) == 1;
}

static gint64
status_field_kib (const char *status, const char *field)
{
  const char *line = strstr (status, field);

  return line != NULL ? g_ascii_strtoll (line + strlen (field), NULL, 10) : 0;
}

gint64
qsnap_process_resident_bytes (QsnapProcess *process)
{
  g_autofree char *path = proc_path (process, "status");
  g_autofree char *status = NULL;

  if (process->pid == 0 || !g_file_get_contents (path, &status, NULL, NULL))
    return -1;

  return (status_field_kib (status, "\nRssAnon:") + status_field_kib (status, "\nRssShmem:")) *
         1024;
}

/* QEMU takes -option and --option alike. */
static gboolean
is_option (const char *argument, const char *option)
{
  if (*argument != '-')
    return FALSE;

  argument++;
  if (*argument == '-')
    argument++;

  return strcmp (argument, option) == 0;
}

gboolean
qsnap_process_has_option (QsnapProcess *process, const char *option, const char *value)
{
  for (GStrv argument = process->command_line; argument != NULL && *argument != NULL; argument++)
    {
      if (!is_option (*argument, option))
        continue;
      if (value == NULL || (argument[1] != NULL && strstr (argument[1], value) != NULL))
        return TRUE;
    }

  return FALSE;
}

GHashTable *
qsnap_process_threads (QsnapProcess *process)
{
  g_autofree char *folder = proc_path (process, "task");
  g_autoptr (GDir) dir = process->pid != 0 ? g_dir_open (folder, 0, NULL) : NULL;
  GHashTable *threads;
  const char *name;

  if (dir == NULL)
    return NULL;

  threads = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  while ((name = g_dir_read_name (dir)) != NULL)
    g_hash_table_add (threads, g_strdup (name));

  return threads;
}

/* The state is the field after the thread's name, which stands in parentheses and may hold any
 * character. */
static gboolean
thread_sleeps (QsnapProcess *process, const char *thread)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/task/%s/stat", (int)process->pid, thread);
  g_autofree char *text = NULL;
  const char *state;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return FALSE;

  state = strrchr (text, ')');

  return state != NULL && g_str_has_prefix (state, ") S");
}

/* "0": of a thread that runs, or where the kernel does not tell. */
static gboolean
may_wait_for_pipe (QsnapProcess *process, const char *thread)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/task/%s/wchan", (int)process->pid, thread);
  g_autofree char *text = NULL;

  return !g_file_get_contents (path, &text, NULL, NULL) || g_str_equal (text, "0") ||
         strstr (text, "pipe") != NULL;
}

/* Twice: it may have woken in between, and wait in nothing. */
static gboolean
thread_sleeps_in_pipe (QsnapProcess *process, const char *thread)
{
  for (guint i = 0; i < 2; i++)
    if (!thread_sleeps (process, thread) || !may_wait_for_pipe (process, thread))
      return FALSE;

  return thread_sleeps (process, thread);
}

gboolean
qsnap_process_new_thread_sleeps (QsnapProcess *process, GHashTable *known)
{
  g_autoptr (GHashTable) threads = qsnap_process_threads (process);
  GHashTableIter iter;
  gpointer thread;

  if (threads == NULL)
    return FALSE;

  g_hash_table_iter_init (&iter, threads);
  while (g_hash_table_iter_next (&iter, &thread, NULL))
    if (!g_hash_table_contains (known, thread) && thread_sleeps_in_pipe (process, thread))
      return TRUE;

  return FALSE;
}
