/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "saver/qsnap-saver-client.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"
#include "saver/qsnap-saver-reports.h"

/* A process that does not even start in this time is stopped by something else. */
#define START_TIMEOUT (10 * G_USEC_PER_SEC)

/* What the child calls them. */
enum
{
  CHILD_CONTROL_FD = 3,
  CHILD_STREAM_FD,
  CHILD_DIR_FD
};

/* Reference counted, as @func may free the saver while its source is dispatched. */
struct _QsnapSaver
{
  GSubprocess *process;
  GPid pid;
  int fd;
  GSource *source;
  QsnapSaverFunc func; /* NULL once freed */
  gpointer user_data;
  gboolean over; /* SAVED, DRAINED or DIED has been reported */
  QsnapSaverReport report;
};

static void
clear_saver (gpointer data)
{
  QsnapSaver *saver = data;

  /* GSubprocess keeps itself alive until the child has been reaped. */
  g_clear_object (&saver->process);
  if (saver->fd >= 0)
    close (saver->fd);
}

static void
release_saver (gpointer saver)
{
  g_atomic_rc_box_release_full (saver, clear_saver);
}

static GError *
parse_error (JsonObject *object)
{
  const char *domain = qsnap_json_get_string (object, "domain");
  const char *message = qsnap_json_get_string (object, "message");
  gint64 code = qsnap_json_get_int (object, "code", QSNAP_ERROR_FAILED);

  if (message == NULL)
    message = "The saver failed";
  if (g_strcmp0 (domain, g_quark_to_string (G_IO_ERROR)) == 0)
    return g_error_new_literal (G_IO_ERROR, (int)code, message);
  if (g_strcmp0 (domain, g_quark_to_string (QSNAP_ERROR)) == 0)
    return g_error_new_literal (QSNAP_ERROR, (int)code, message);
  return g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_FAILED, message);
}

static gboolean
find_kind (const char *name, QsnapSaverKind *kind)
{
  static const char *const names[] = { "ready", "first-page", "progress",
                                       "saved", "failed",     "drained" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (g_strcmp0 (name, names[i]) == 0)
      {
        *kind = (QsnapSaverKind)i;
        return TRUE;
      }
  return FALSE;
}

/* Fills in the report; the error is the caller's. Answers FALSE for what is no report. */
static gboolean
parse_report (QsnapSaver *saver, const char *text, gsize len, GError **failure)
{
  g_autoptr (JsonNode) node = qsnap_json_parse_object (text, len, NULL);
  JsonObject *object = qsnap_json_object (node);
  QsnapSaverReport *report = &saver->report;

  if (object == NULL || !find_kind (qsnap_json_get_string (object, "report"), &report->kind))
    return FALSE;
  report->time = g_get_monotonic_time ();
  if (report->kind == QSNAP_SAVER_PROGRESS)
    {
      report->bytes_done = (guint64)qsnap_json_get_int (object, "bytes-done", 0);
      report->bytes_total = (guint64)qsnap_json_get_int (object, "bytes-total", 0);
      report->bytes_written = (guint64)qsnap_json_get_int (object, "bytes-written", 0);
    }
  if (report->kind == QSNAP_SAVER_FAILED)
    *failure = parse_error (object);
  return TRUE;
}

static void
deliver (QsnapSaver *saver, const GError *error)
{
  QsnapSaverReport report = saver->report;

  report.error = error;
  if (report.kind == QSNAP_SAVER_SAVED || report.kind == QSNAP_SAVER_DRAINED ||
      report.kind == QSNAP_SAVER_DIED)
    saver->over = TRUE;
  if (saver->func != NULL)
    saver->func (&report, saver->user_data);
}

static void
deliver_death (QsnapSaver *saver)
{
  g_autoptr (GError) error = g_error_new (
      QSNAP_ERROR, QSNAP_ERROR_FAILED,
      "The process that saves the guest's memory (%d) ended before its time", (int)saver->pid);

  saver->report.kind = QSNAP_SAVER_DIED;
  saver->report.time = g_get_monotonic_time ();
  deliver (saver, error);
}

static gssize
receive (QsnapSaver *saver, char *text)
{
  gssize n;

  do
    n = recv (saver->fd, text, QSNAP_SAVER_MAX_PACKET, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return n;
}

static gboolean
on_readable (gint fd, GIOCondition condition, gpointer user_data)
{
  QsnapSaver *saver = user_data;
  char text[QSNAP_SAVER_MAX_PACKET];
  gboolean go_on = TRUE;

  g_atomic_rc_box_acquire (saver);
  while (saver->func != NULL && !saver->over)
    {
      g_autoptr (GError) failure = NULL;
      gssize n = receive (saver, text);

      if (n < 0 && errno == EAGAIN)
        break;
      if (n <= 0)
        deliver_death (saver);
      else if (parse_report (saver, text, (gsize)n, &failure))
        deliver (saver, failure);
    }
  go_on = saver->func != NULL && !saver->over;
  release_saver (saver);
  return go_on ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* Answers whether the wait is over; then @error says how. */
static gboolean
receive_ready (QsnapSaver *saver, GError **error)
{
  g_autoptr (GError) failure = NULL;
  char text[QSNAP_SAVER_MAX_PACKET];
  gssize n = receive (saver, text);

  if (n < 0 && errno == EAGAIN)
    return FALSE;
  if (n <= 0)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_FAILED,
                           "The process that saves the guest's memory did not start");
      return TRUE;
    }
  if (!parse_report (saver, text, (gsize)n, &failure))
    return FALSE;
  if (failure != NULL)
    g_propagate_error (error, g_steal_pointer (&failure));
  return saver->report.kind == QSNAP_SAVER_READY || saver->report.kind == QSNAP_SAVER_FAILED;
}

static gboolean
wait_until_ready (QsnapSaver *saver, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + START_TIMEOUT;
  g_autoptr (GError) local_error = NULL;

  while (!receive_ready (saver, &local_error))
    {
      struct pollfd fds = { .fd = saver->fd, .events = POLLIN };
      gint64 left = deadline - g_get_monotonic_time ();

      if (left <= 0)
        {
          g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                               "The process that saves the guest's memory does not answer");
          return FALSE;
        }
      /* Rounded up, not to spin in the last millisecond. Errors show in the next recv(). */
      (void)!poll (&fds, 1, (int)(left / 1000 + 1));
    }
  if (local_error == NULL)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&local_error));
  return FALSE;
}

static GPtrArray *
make_arguments (const char *const *raw_blocks, gsize skip)
{
  GPtrArray *arguments = g_ptr_array_new_with_free_func (g_free);
  const char *program = secure_getenv ("QSNAP_SAVER");

  if (program == NULL || *program == '\0')
    program = QSNAP_LIBEXECDIR "/qsnap-saver";
  g_ptr_array_add (arguments, g_strdup (program));
  g_ptr_array_add (arguments, g_strdup_printf ("--control-fd=%d", CHILD_CONTROL_FD));
  g_ptr_array_add (arguments, g_strdup_printf ("--stream-fd=%d", CHILD_STREAM_FD));
  g_ptr_array_add (arguments, g_strdup_printf ("--dir-fd=%d", CHILD_DIR_FD));
  g_ptr_array_add (arguments, g_strdup_printf ("--skip=%" G_GSIZE_FORMAT, skip));
  for (gsize i = 0; raw_blocks != NULL && raw_blocks[i] != NULL; i++)
    g_ptr_array_add (arguments, g_strdup_printf ("--raw-block=%s", raw_blocks[i]));
  g_ptr_array_add (arguments, NULL);
  return arguments;
}

static gboolean
give_copy (GSubprocessLauncher *launcher, int fd, int child_fd, GError **error)
{
  int copy = fcntl (fd, F_DUPFD_CLOEXEC, 3);

  if (copy < 0)
    return qsnap_io_fail (error, errno, "Could not pass a descriptor to the saver");
  g_subprocess_launcher_take_fd (launcher, copy, child_fd);
  return TRUE;
}

static gboolean
spawn (QsnapSaver *saver,
       int stream_fd,
       int dir_fd,
       const char *const *raw_blocks,
       gsize skip,
       GError **error)
{
  g_autoptr (GSubprocessLauncher) launcher =
      g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
  g_autoptr (GPtrArray) arguments = make_arguments (raw_blocks, skip);
  int sockets[2];

  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    return qsnap_io_fail (error, errno, "Could not make the saver's control socket");
  saver->fd = sockets[0];
  g_subprocess_launcher_take_fd (launcher, sockets[1], CHILD_CONTROL_FD);
  if (!give_copy (launcher, stream_fd, CHILD_STREAM_FD, error) ||
      !give_copy (launcher, dir_fd, CHILD_DIR_FD, error))
    return FALSE;
  saver->process =
      g_subprocess_launcher_spawnv (launcher, (const char *const *)arguments->pdata, error);
  if (saver->process == NULL)
    return FALSE;
  /* NULL if it has ended already, which is about to be seen. */
  if (g_subprocess_get_identifier (saver->process) != NULL)
    saver->pid = atoi (g_subprocess_get_identifier (saver->process));
  return TRUE;
}

static void
attach (QsnapSaver *saver, GMainContext *context)
{
  saver->source = g_unix_fd_source_new (saver->fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
  g_source_set_static_name (saver->source, "qsnap-saver");
  g_source_set_callback (saver->source, G_SOURCE_FUNC (on_readable),
                         g_atomic_rc_box_acquire (saver), release_saver);
  g_source_attach (saver->source, context);
}

QsnapSaver *
qsnap_saver_start (GMainContext *context,
                   int stream_fd,
                   int dir_fd,
                   const char *const *raw_blocks,
                   gsize skip,
                   QsnapSaverFunc func,
                   gpointer user_data,
                   GError **error)
{
  QsnapSaver *saver = g_atomic_rc_box_new0 (QsnapSaver);

  saver->fd = -1;
  saver->func = func;
  saver->user_data = user_data;
  if (spawn (saver, stream_fd, dir_fd, raw_blocks, skip, error) && wait_until_ready (saver, error))
    {
      attach (saver, context);
      return saver;
    }
  /* It has not read anything yet. Left alone, it would take the closed socket for a "go". */
  if (saver->process != NULL)
    g_subprocess_force_exit (saver->process);
  release_saver (saver);
  return NULL;
}

static gboolean
send_command (QsnapSaver *saver, const char *text, GError **error)
{
  gssize n;

  do
    n = send (saver->fd, text, strlen (text), MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n >= 0 ||
         qsnap_io_fail (error, errno, "Could not reach the process that saves the memory");
}

gboolean
qsnap_saver_go (QsnapSaver *saver, GError **error)
{
  return send_command (saver, "{\"command\":\"go\"}", error);
}

void
qsnap_saver_discard (QsnapSaver *saver)
{
  /* If it is dead, DIED says so. */
  send_command (saver, "{\"command\":\"discard\"}", NULL);
}

GPid
qsnap_saver_get_pid (QsnapSaver *saver)
{
  return saver->pid;
}

void
qsnap_saver_free (QsnapSaver *saver)
{
  saver->func = NULL;
  if (saver->source != NULL)
    {
      g_source_destroy (saver->source);
      g_clear_pointer (&saver->source, g_source_unref);
    }
  /* Now, and not when the last reference goes: the saver is to know that nobody listens. */
  shutdown (saver->fd, SHUT_RDWR);
  release_saver (saver);
}
