/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-recover-private.h"

/* Nobody has the images open: qemu-img merges, and its locks keep it from an image that somebody
 * does have open after all. */

/* @command is NULL-terminated. What the tool prints is an object in JSON if @reply is not NULL. */
static gboolean
run_tool (const char *const *command, JsonNode **reply, GError **error)
{
  g_autoptr (GSubprocess) process = g_subprocess_newv (
      command, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, error);
  g_autofree char *output = NULL;
  g_autofree char *complaint = NULL;

  if (process == NULL ||
      !g_subprocess_communicate_utf8 (process, NULL, NULL, &output, &complaint, error))
    return FALSE;

  if (!g_subprocess_get_successful (process))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "%s %s: %s", command[0], command[1],
                   g_strstrip (complaint));
      return FALSE;
    }
  if (reply == NULL)
    return TRUE;

  *reply = qsnap_json_parse_object (output, strlen (output), error);

  return *reply != NULL;
}

/* It must be what was planned: a qcow2 image over that base. */
static gboolean
check_overlay (QsnapDrive *drive, GError **error)
{
  const char *const info[] = { "qemu-img",          "info", "--output=json", "-f", "qcow2",
                               drive->overlay_file, NULL };
  g_autoptr (JsonNode) reply = NULL;
  const char *backing;

  if (!run_tool (info, &reply, error))
    return FALSE;

  backing = qsnap_json_get_string (qsnap_json_object (reply), "backing-filename");
  if (g_strcmp0 (backing, drive->file) == 0)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "%s does not stand on %s",
               drive->overlay_file, drive->file);

  return FALSE;
}

/* One that was not formatted yet, or is not there, was never the guest's. */
static gboolean
merge_offline (QsnapDrive *drive, GError **error)
{
  const char *const commit[] = { "qemu-img",          "commit", "-q", "-d", "-f", "qcow2",
                                 drive->overlay_file, NULL };
  struct stat found;

  if (stat (drive->overlay_file, &found) != 0)
    return errno == ENOENT || qsnap_io_fail (error, errno, "%s", drive->overlay_file);
  if (found.st_size > 0 && (!check_overlay (drive, error) || !run_tool (commit, NULL, error)))
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
