/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <fcntl.h>
#include <unistd.h>

#include "qsnap-json.h"
#include "qsnap-recover-private.h"

/* QEMU was given a copy of the stream's read end, so that its writes wait, and do not fail, when
 * every reader is gone. Through /proc the pipe can be opened again. */

static int
open_stream (GPid pid, gint64 inode)
{
  int number = qsnap_process_find_descriptor (pid, "pipe", (guint64)inode, O_RDONLY);
  g_autofree char *path = g_strdup_printf ("/proc/%d/fd/%d", (int)pid, number);

  return number >= 0 ? open (path, O_RDONLY | O_CLOEXEC) : -1;
}

void
qsnap_recover_drain (QsnapCapture *capture)
{
  gint64 pid = qsnap_json_get_int (capture->journal.json, "qemu-pid", 0);
  gint64 inode = qsnap_json_get_int (capture->journal.json, "stream-pipe", 0);

  if (pid <= 0 || inode <= 0 || capture->stream_read >= 0)
    return;

  capture->stream_read = open_stream ((GPid)pid, inode);
  if (capture->stream_read >= 0)
    qsnap_capture_drain (capture);
}
