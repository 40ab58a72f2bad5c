/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-clone.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-manifest.h"

static int
open_source (QsnapDrive *drive, GError **error)
{
  int fd = open (drive->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);

  if (fd < 0)
    qsnap_io_fail (error, errno, "cannot open %s", drive->file);

  return fd;
}

static gboolean
clone_file (int source, int target, QsnapDrive *drive, const char *directory, GError **error)
{
  int code;

  if (ioctl (target, FICLONE, source) == 0)
    return TRUE;

  code = errno;
  if (code != EOPNOTSUPP && code != EXDEV && code != EINVAL && code != ENOTTY)
    return qsnap_io_fail (error, code, "cannot clone %s", drive->file);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "%s cannot be cloned into %s (%s): both have to be on one XFS (with reflink) or "
               "btrfs, and a file on btrfs must not be NOCOW",
               drive->file, directory, g_strerror (code));

  return FALSE;
}

gboolean
qsnap_clone_try (QsnapDrive *drive, const char *directory, GError **error)
{
  int source = open_source (drive, error);
  int target = source >= 0 ? qsnap_io_create_nameless (directory, error) : -1;
  gboolean cloned = target >= 0 && clone_file (source, target, drive, directory, error);

  if (source >= 0)
    close (source);
  if (target >= 0)
    close (target);

  return cloned;
}

void
qsnap_clone_plan (QsnapDrive *drive, const char *directory, guint index)
{
  drive->new_format = qsnap_drive_format (drive);
  drive->new_file =
      g_strdup_printf ("%s/" QSNAP_DISKS_DIR "/disk%u.%s", directory, index, drive->new_format);
}

/* The file goes with the snapshot's directory. */
gboolean
qsnap_clone_prepare (QsnapDiskTask *task, QsnapUndo *undo, GError **error)
{
  QsnapDrive *drive = task->drive;

  task->source_fd = open_source (drive, error);
  if (task->source_fd < 0)
    return FALSE;

  task->clone_fd = open (drive->new_file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (task->clone_fd < 0)
    return qsnap_io_fail (error, errno, "cannot create the clone %s", drive->new_file);

  return TRUE;
}

gboolean
qsnap_clone_take (QsnapDiskTask *task, GError **error)
{
  if (clone_file (task->source_fd, task->clone_fd, task->drive, task->drive->new_file, error))
    return TRUE;

  g_prefix_error (error, "snapshotting drive %s: ", qsnap_drive_label (task->drive));

  return FALSE;
}
