/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qsnap-saver: receives the migration stream of a capture and writes the memory image. It is a
 * process of its own since it must outlive the application: on old QEMUs a stream that nobody reads
 * hangs the guest. Started by the library only. */

#include "config.h"

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "saver/qsnap-saver-loop.h"

/* Nothing that is meant for the application, its terminal or its session ends this process. */
static void
leave_the_session (void)
{
  static const int ignored[] = { SIGPIPE, SIGINT, SIGHUP, SIGTERM, SIGQUIT, SIGXFSZ };

  for (gsize i = 0; i < G_N_ELEMENTS (ignored); i++)
    signal (ignored[i], SIG_IGN);
  setsid ();
}

/* The guest's memory passes through here: no core dump, no ptrace by the same user, no folder kept
 * busy, and nothing printed to where it does not belong. */
static gboolean
isolate (void)
{
  int null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);

  if (null_fd < 0)
    return FALSE;
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (dup2 (null_fd, fd) < 0)
      return FALSE;
  if (null_fd > STDERR_FILENO)
    close (null_fd);
  prctl (PR_SET_DUMPABLE, 0);
  umask (077);
  return chdir ("/") == 0;
}

static gboolean
is_open (const char *option, int fd)
{
  /* The first three become /dev/null. */
  if (fd > STDERR_FILENO && fcntl (fd, F_SETFD, FD_CLOEXEC) == 0)
    return TRUE;
  g_printerr ("qsnap-saver: --%s=%d is no open file descriptor\n", option, fd);
  return FALSE;
}

static gboolean
parse_options (int *argc, char ***argv, QsnapSaverOptions *options)
{
  gint64 skip = 0;
  const GOptionEntry entries[] = {
    { "stream-fd", 0, 0, G_OPTION_ARG_INT, &options->stream_fd, "The migration stream", "FD" },
    { "dir-fd", 0, 0, G_OPTION_ARG_INT, &options->dir_fd, "The snapshot's folder", "FD" },
    { "control-fd", 0, 0, G_OPTION_ARG_INT, &options->control_fd, "The library's socket", "FD" },
    { "skip", 0, 0, G_OPTION_ARG_INT64, &skip, "Bytes to drop before the stream", "BYTES" },
    { "raw-block", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->raw_blocks,
      "A RAM block that gets its own file", "NAME" },
    { NULL }
  };
  g_autoptr (GOptionContext) context = g_option_context_new ("- save a migration stream");
  g_autoptr (GError) error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, argc, argv, &error))
    {
      g_printerr ("qsnap-saver: %s\n", error->message);
      return FALSE;
    }
  if (*argc > 1 || skip < 0)
    {
      g_printerr ("qsnap-saver: it is started by libqsnap, and not by hand\n");
      return FALSE;
    }
  options->skip = (guint64)skip;
  return is_open ("stream-fd", options->stream_fd) && is_open ("dir-fd", options->dir_fd) &&
         is_open ("control-fd", options->control_fd);
}

int
main (int argc, char **argv)
{
  QsnapSaverOptions options = { -1, -1, -1, 0, NULL };
  int status = 2;

  leave_the_session ();
  if (parse_options (&argc, &argv, &options))
    status = isolate () ? qsnap_saver_run (&options) : 1;
  g_strfreev (options.raw_blocks);
  return status;
}
