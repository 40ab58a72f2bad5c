/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qsnap-page-server: the source of a postcopy migration out of a snapshot. It is a process of its
 * own since the guest runs on while its memory is brought in, whatever becomes of the application.
 * Started by the library only. */

#include "config.h"

#include <glib.h>

#include "helper/qsnap-helper-main.h"
#include "pages/qsnap-page-server-loop.h"

static gboolean
parse_options (int *argc, char ***argv, QsnapPageServerOptions *options)
{
  const GOptionEntry entries[] = {
    { "control-fd", 0, 0, G_OPTION_ARG_INT, &options->control_fd, "The library's socket", "FD" },
    { "socket-fd", 0, 0, G_OPTION_ARG_INT, &options->socket_fd, "The migration's socket", "FD" },
    { "dir-fd", 0, 0, G_OPTION_ARG_INT, &options->dir_fd, "The snapshot's folder", "FD" },
    { "revert-fd", 0, 0, G_OPTION_ARG_INT, &options->revert_fd, "The revert's folder", "FD" },
    { "rescue-fd", 0, 0, G_OPTION_ARG_INT, &options->rescue_fd, "Another way to QEMU", "FD" },
    { "recover", 0, 0, G_OPTION_ARG_NONE, &options->recover, "The guest runs already", NULL },
    { NULL }
  };

  return qsnap_helper_parse_options (argc, argv, "- give a guest its memory", entries) &&
         qsnap_helper_is_open ("control-fd", options->control_fd) &&
         qsnap_helper_is_open ("socket-fd", options->socket_fd) &&
         qsnap_helper_is_open ("dir-fd", options->dir_fd) &&
         qsnap_helper_is_open ("revert-fd", options->revert_fd) &&
         qsnap_helper_is_open ("rescue-fd", options->rescue_fd);
}

int
main (int argc, char **argv)
{
  QsnapPageServerOptions options = { -1, -1, -1, -1, -1, FALSE };

  qsnap_helper_leave_session ();
  if (!parse_options (&argc, &argv, &options))
    return 2;

  return qsnap_helper_isolate () ? qsnap_page_server_run (&options) : 1;
}
