/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "helper/qsnap-helper.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper/qsnap-helper-reports.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

/* A process that does not even start in this time is stopped by something else. */
#define START_TIMEOUT (10 * G_USEC_PER_SEC)

/* The thread has others to listen to. */
#define MAX_AT_ONCE 32

/* Reference counted, as its function may free it while its source is dispatched. */
struct _QsnapHelper
{
  GSubprocess *process;
  GPid pid;
  int fd;
  char *what;
  GSource *source;
  QsnapHelperFunc func; /* NULL: nothing is wanted any more */
  gpointer user_data;
};

static void
clear_helper (gpointer data)
{
  QsnapHelper *helper = data;

  /* GSubprocess keeps itself alive until the child has been reaped. */
  g_clear_object (&helper->process);
  g_free (helper->what);
  if (helper->fd >= 0)
    close (helper->fd);
}

static void
release_helper (gpointer helper)
{
  g_atomic_rc_box_release_full (helper, clear_helper);
}

GPid
qsnap_helper_get_pid (QsnapHelper *helper)
{
  return helper->pid;
}

/* --- reports ------------------------------------------------------------------------------- */

int
qsnap_helper_find_kind (JsonObject *report, const char *const *names)
{
  const char *kind = qsnap_json_get_string (report, "report");

  for (int i = 0; names[i] != NULL; i++)
    if (g_strcmp0 (kind, names[i]) == 0)
      return i;

  return -1;
}

GError *
qsnap_helper_new_death (QsnapHelper *helper)
{
  return g_error_new (QSNAP_ERROR, QSNAP_ERROR_FAILED, "%s (%d) ended before its time",
                      helper->what, (int)helper->pid);
}

GError *
qsnap_helper_parse_error (JsonObject *report)
{
  const char *domain = qsnap_json_get_string (report, "domain");
  const char *message = qsnap_json_get_string (report, "message");
  gint64 code = qsnap_json_get_int (report, "code", QSNAP_ERROR_FAILED);

  if (message == NULL)
    message = "it failed and does not say why";
  if (g_strcmp0 (domain, g_quark_to_string (G_IO_ERROR)) == 0)
    return g_error_new_literal (G_IO_ERROR, (int)code, message);
  if (g_strcmp0 (domain, g_quark_to_string (QSNAP_ERROR)) == 0)
    return g_error_new_literal (QSNAP_ERROR, (int)code, message);

  return g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_FAILED, message);
}

static gssize
receive (QsnapHelper *helper, char *text)
{
  gssize n;

  do
    n = recv (helper->fd, text, QSNAP_HELPER_MAX_PACKET, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);

  return n;
}

/* Answers whether there may be more. What is no JSON object is nothing that was said. */
static gboolean
deliver (QsnapHelper *helper, const char *text, gssize n)
{
  g_autoptr (JsonNode) node = n > 0 ? qsnap_json_parse_object (text, (gsize)n, NULL) : NULL;

  if (n > 0 && node == NULL)
    return TRUE;

  return helper->func (qsnap_json_object (node), helper->user_data) && n > 0;
}

static gboolean
on_readable (gint fd, GIOCondition condition, gpointer user_data)
{
  QsnapHelper *helper = user_data;
  char text[QSNAP_HELPER_MAX_PACKET];
  gboolean go_on = TRUE;

  g_atomic_rc_box_acquire (helper);
  for (guint i = 0; helper->func != NULL && go_on && i < MAX_AT_ONCE; i++)
    {
      gssize n = receive (helper, text);

      if (n < 0 && errno == EAGAIN)
        break;
      go_on = deliver (helper, text, n);
    }
  go_on = go_on && helper->func != NULL;
  release_helper (helper);

  return go_on ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

void
qsnap_helper_attach (QsnapHelper *helper,
                     GMainContext *context,
                     QsnapHelperFunc func,
                     gpointer user_data)
{
  helper->func = func;
  helper->user_data = user_data;
  helper->source = g_unix_fd_source_new (helper->fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
  g_source_set_static_name (helper->source, "qsnap-helper");
  g_source_set_callback (helper->source, G_SOURCE_FUNC (on_readable),
                         g_atomic_rc_box_acquire (helper), release_helper);
  g_source_attach (helper->source, context);
}

/* --- starting ------------------------------------------------------------------------------ */

/* Answers whether the wait is over; then @error says how. */
static gboolean
receive_ready (QsnapHelper *helper, GError **error)
{
  char text[QSNAP_HELPER_MAX_PACKET];
  gssize n = receive (helper, text);
  g_autoptr (JsonNode) node = n > 0 ? qsnap_json_parse_object (text, (gsize)n, NULL) : NULL;
  const char *kind = qsnap_json_get_string (qsnap_json_object (node), "report");

  if (n < 0 && errno == EAGAIN)
    return FALSE;
  if (n <= 0)
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "%s did not start", helper->what);
  else if (g_strcmp0 (kind, "failed") == 0)
    g_propagate_error (error, qsnap_helper_parse_error (qsnap_json_object (node)));
  else if (g_strcmp0 (kind, "ready") == 0)
    g_debug ("%s (%d) is in its sandbox: %s", helper->what, (int)helper->pid,
             qsnap_json_get_string (qsnap_json_object (node), "sandbox"));

  return n <= 0 || g_strcmp0 (kind, "failed") == 0 || g_strcmp0 (kind, "ready") == 0;
}

gboolean
qsnap_helper_wait_until_ready (QsnapHelper *helper, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + START_TIMEOUT;
  g_autoptr (GError) failure = NULL;

  while (!receive_ready (helper, &failure))
    {
      struct pollfd fds = { .fd = helper->fd, .events = POLLIN };
      gint64 left = deadline - g_get_monotonic_time ();

      if (left <= 0)
        {
          g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "%s does not answer",
                       helper->what);
          return FALSE;
        }
      /* Rounded up, not to spin in the last millisecond. Errors show in the next recv(). */
      (void)!poll (&fds, 1, (int)(left / 1000 + 1));
    }
  if (failure == NULL)
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

static GStrv
make_command (const char *variable, const char *program, const char *const *arguments)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_autofree char *installed = g_build_filename (QSNAP_LIBEXECDIR, program, NULL);
  g_autofree char *control = g_strdup_printf ("--control-fd=%d", QSNAP_HELPER_CONTROL_FD);
  const char *chosen = secure_getenv (variable);

  g_strv_builder_add (builder, chosen != NULL && *chosen != '\0' ? chosen : installed);
  g_strv_builder_add (builder, control);
  g_strv_builder_addv (builder, (const char **)arguments);

  return g_strv_builder_end (builder);
}

static gboolean
give_copy (QsnapHelper *helper, GSubprocessLauncher *launcher, int fd, int child_fd, GError **error)
{
  int copy = fcntl (fd, F_DUPFD_CLOEXEC, 3);

  if (copy < 0)
    return qsnap_io_fail (error, errno, "%s could not be given a descriptor", helper->what);
  g_subprocess_launcher_take_fd (launcher, copy, child_fd);

  return TRUE;
}

static gboolean
spawn (QsnapHelper *helper, const char *const *command, const int *fds, guint n_fds, GError **error)
{
  g_autoptr (GSubprocessLauncher) launcher =
      g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
  const char *identifier;
  int sockets[2];

  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    return qsnap_io_fail (error, errno, "%s has no control socket", helper->what);
  helper->fd = sockets[0];
  g_subprocess_launcher_take_fd (launcher, sockets[1], QSNAP_HELPER_CONTROL_FD);
  for (guint i = 0; i < n_fds; i++)
    if (!give_copy (helper, launcher, fds[i], QSNAP_HELPER_CONTROL_FD + 1 + (int)i, error))
      return FALSE;

  helper->process = g_subprocess_launcher_spawnv (launcher, command, error);
  if (helper->process == NULL)
    return FALSE;
  /* NULL from the moment on when it has ended, which is about to be seen. */
  identifier = g_subprocess_get_identifier (helper->process);
  if (identifier != NULL)
    helper->pid = (GPid)g_ascii_strtoll (identifier, NULL, 10);

  return TRUE;
}

QsnapHelper *
qsnap_helper_start (const char *variable,
                    const char *program,
                    const char *const *arguments,
                    const int *fds,
                    guint n_fds,
                    const char *what,
                    GError **error)
{
  g_auto (GStrv) command = make_command (variable, program, arguments);
  QsnapHelper *helper = g_atomic_rc_box_new0 (QsnapHelper);

  helper->fd = -1;
  helper->what = g_strdup (what);
  if (spawn (helper, (const char *const *)command, fds, n_fds, error))
    return helper;
  release_helper (helper);

  return NULL;
}

gboolean
qsnap_helper_send (QsnapHelper *helper, JsonObject *command, GError **error)
{
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (command);
  g_autofree char *text = qsnap_json_to_text (node, FALSE);
  gssize n;

  do
    n = send (helper->fd, text, strlen (text), MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);

  return n >= 0 || qsnap_io_fail (error, errno, "%s cannot be reached", helper->what);
}

/* --- the end ------------------------------------------------------------------------------- */

void
qsnap_helper_free (QsnapHelper *helper)
{
  helper->func = NULL;
  if (helper->source != NULL)
    {
      g_source_destroy (helper->source);
      g_clear_pointer (&helper->source, g_source_unref);
    }
  /* Now, and not when the last reference goes: the process is to know that nobody listens. */
  shutdown (helper->fd, SHUT_RDWR);
  release_helper (helper);
}

void
qsnap_helper_kill (QsnapHelper *helper)
{
  g_subprocess_force_exit (helper->process);
  qsnap_helper_free (helper);
}
