/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct
{
  int stream_fd;
  int dir_fd;
  int control_fd;
  guint64 skip; /* bytes of filler before the stream */
  char **raw_blocks;
  gboolean pack; /* all other blocks that get a file */
} QsnapSaverOptions;

/* Answers the exit status: 0 if the stream was saved, or discarded as told; else 1. */
int qsnap_saver_run (const QsnapSaverOptions *options);

G_END_DECLS
