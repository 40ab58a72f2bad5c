/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct
{
  int control_fd;
  /* Connected to the QEMU that gets the pages. */
  int socket_fd;
  /* The snapshot. */
  int dir_fd;
  /* The revert, whose record is removed at the end. */
  int revert_fd;
  /* The connection that is only needed if this process dies. */
  int rescue_fd;
  /* The guest runs, and has lost an earlier connection. */
  gboolean recover;
} QsnapPageServerOptions;

/* Answers the exit status: 0 if the guest has all of its memory. */
int qsnap_page_server_run (const QsnapPageServerOptions *options);

G_END_DECLS
