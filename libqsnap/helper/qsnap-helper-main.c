/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "helper/qsnap-helper-main.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

void
qsnap_helper_leave_session (void)
{
  static const int ignored[] = { SIGPIPE, SIGINT, SIGHUP, SIGTERM, SIGQUIT, SIGXFSZ };

  for (gsize i = 0; i < G_N_ELEMENTS (ignored); i++)
    signal (ignored[i], SIG_IGN);
  setsid ();
}

gboolean
qsnap_helper_isolate (void)
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

gboolean
qsnap_helper_is_open (const char *option, int fd)
{
  /* The first three become /dev/null. */
  if (fd > STDERR_FILENO && fcntl (fd, F_SETFD, FD_CLOEXEC) == 0)
    return TRUE;
  g_printerr ("%s: --%s=%d is no open file descriptor\n", g_get_prgname (), option, fd);
  return FALSE;
}

gboolean
qsnap_helper_parse_options (int *argc,
                            char ***argv,
                            const char *summary,
                            const GOptionEntry *entries)
{
  g_autoptr (GOptionContext) context = g_option_context_new (summary);
  g_autoptr (GError) error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, argc, argv, &error))
    {
      g_printerr ("%s: %s\n", g_get_prgname (), error->message);
      return FALSE;
    }
  if (*argc == 1)
    return TRUE;
  g_printerr ("%s: it is started by libqsnap, and not by hand\n", g_get_prgname ());
  return FALSE;
}
