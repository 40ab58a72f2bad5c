/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* qsnap-saver: receives the migration stream of a capture and writes the memory image. It is a
 * process of its own since it must outlive the application: on old QEMUs a stream that nobody reads
 * hangs the guest. Started by the library only. */

#include "config.h"

#include <glib.h>

#include "helper/qsnap-helper-main.h"
#include "saver/qsnap-saver-loop.h"

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
    { "pack", 0, 0, G_OPTION_ARG_NONE, &options->pack, "Compress what is in files", NULL },
    { NULL }
  };

  if (!qsnap_helper_parse_options (argc, argv, "- save a migration stream", entries))
    return FALSE;
  if (skip < 0)
    {
      g_printerr ("qsnap-saver: --skip is negative\n");
      return FALSE;
    }
  options->skip = (guint64)skip;
  return qsnap_helper_is_open ("stream-fd", options->stream_fd) &&
         qsnap_helper_is_open ("dir-fd", options->dir_fd) &&
         qsnap_helper_is_open ("control-fd", options->control_fd);
}

int
main (int argc, char **argv)
{
  QsnapSaverOptions options = { -1, -1, -1, 0, NULL, FALSE };
  int status = 2;

  qsnap_helper_leave_session ();
  if (parse_options (&argc, &argv, &options))
    status = qsnap_helper_isolate () ? qsnap_saver_run (&options) : 1;
  g_strfreev (options.raw_blocks);
  return status;
}
