/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include "memory/qsnap-io.h"
#include "qsnap-qemu-img.h"
#include "qsnap-recover-private.h"

/* Nobody has the images open: qemu-img merges, and its locks keep it from an image that somebody
 * does have open after all. */

/* One that was not formatted yet, or is not there, was never the guest's. */
static gboolean
merge_offline (QsnapDrive *drive, GError **error)
{
  struct stat found;

  if (stat (drive->overlay_file, &found) != 0)
    return errno == ENOENT || qsnap_io_fail (error, errno, "%s", drive->overlay_file);
  if (found.st_size > 0 && !qsnap_qemu_img_commit (drive->overlay_file, drive->file, NULL, error))
    {
      g_prefix_error (error, "drive %s was on %s, which could not be merged into %s: ",
                      qsnap_drive_label (drive), drive->overlay_file, drive->file);
      return FALSE;
    }

  return g_unlink (drive->overlay_file) == 0 || errno == ENOENT ||
         qsnap_io_fail (error, errno, "cannot remove %s", drive->overlay_file);
}

gboolean
qsnap_recover_undo_offline (QsnapCapture *capture, GError **error)
{
  for (guint i = 0; i < capture->guest->drives->len; i++)
    if (!merge_offline (g_ptr_array_index (capture->guest->drives, i), error))
      return FALSE;

  return qsnap_capture_remove_directory (capture, error);
}
