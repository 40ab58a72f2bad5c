/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <fcntl.h>
#include <unistd.h>

#include "qsnap-json.h"
#include "qsnap-recover-private.h"

/* QEMU was given a copy of the stream's read end, so that its writes wait, and do not fail, when
 * every reader is gone. Through /proc the pipe can be opened again. */

static gboolean
is_read_end (GPid pid, const char *fd)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/fdinfo/%s", (int)pid, fd);
  g_autofree char *text = NULL;
  const char *flags;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return FALSE;

  flags = strstr (text, "flags:");

  return flags != NULL &&
         (g_ascii_strtoull (flags + strlen ("flags:"), NULL, 8) & O_ACCMODE) == O_RDONLY;
}

static int
open_stream (GPid pid, gint64 inode)
{
  g_autofree char *folder = g_strdup_printf ("/proc/%d/fd", (int)pid);
  g_autofree char *wanted = g_strdup_printf ("pipe:[%" G_GINT64_FORMAT "]", inode);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      g_autofree char *target = g_file_read_link (path, NULL);

      if (g_strcmp0 (target, wanted) == 0 && is_read_end (pid, name))
        return open (path, O_RDONLY | O_CLOEXEC);
    }

  return -1;
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
