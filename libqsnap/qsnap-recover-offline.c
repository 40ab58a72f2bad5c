/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/qsnap-new-image.h"
#include "disk/qsnap-overlay.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-qemu-img.h"
#include "qsnap-recover-private.h"

/* Nobody has the images open: qemu-img merges, and its locks keep it from an image that somebody
 * does have open after all. What it must not do is to merge an overlay into a base that has been
 * used without it since, or to remove one that another image stands on. */

/* --- may it be merged ---------------------------------------------------------------------- */

static gboolean G_GNUC_PRINTF (3, 4)
    refuse (GError **error, QsnapError code, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list values;

  va_start (values, format);
  text = g_strdup_vprintf (format, values);
  va_end (values);
  g_set_error_literal (error, QSNAP_ERROR, (int)code, text);

  return FALSE;
}

/* Of another user's journal only files of that user are touched. */
static gboolean
check_owner (QsnapCapture *capture, QsnapDrive *drive, const struct stat *found, GError **error)
{
  struct stat base;

  if (!S_ISREG (found->st_mode))
    return refuse (error, QSNAP_ERROR_CORRUPT, "%s is not a regular file", drive->new_file);
  if (capture->journal.owner == geteuid ())
    return TRUE;
  if (stat (drive->file, &base) == 0 && base.st_uid == capture->journal.owner &&
      found->st_uid == capture->journal.owner)
    return TRUE;

  return refuse (error, QSNAP_ERROR_CORRUPT, "%s or %s is not of the user whose journal this is",
                 drive->new_file, drive->file);
}

/* It must be what was planned: a qcow2 image over that base. */
static gboolean
check_overlay (QsnapDrive *drive, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qemu_img_info (drive->new_file, "qcow2", NULL, error);
  JsonObject *info = qsnap_json_object (reply);

  if (reply == NULL)
    return FALSE;
  if (qsnap_overlay_stands_on_base (drive, info) &&
      g_strcmp0 (qsnap_json_get_string (info, "backing-filename-format"), drive->driver) == 0)
    return TRUE;

  return refuse (error, QSNAP_ERROR_CORRUPT, "%s does not stand on %s", drive->new_file,
                 drive->file);
}

static gboolean
is_later (const struct timespec *a, const struct timespec *b)
{
  return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* A guest that was started from the base since, as if there were no overlay, must not get a mixture
 * of both. What the base was is known from the saving on; before, it was not written after the
 * overlay. A merge that was begun has changed it itself. */
static gboolean
check_base (QsnapCapture *capture, QsnapDrive *drive, const struct stat *overlay, GError **error)
{
  g_autoptr (JsonObject) noted = qsnap_file_identity_to_json (&drive->base);
  g_autoptr (GError) failure = NULL;
  struct stat base;

  if (qsnap_json_get_bool (capture->journal.json, QSNAP_JOURNAL_UNDOING, FALSE))
    return TRUE;
  if (capture->recovered != NULL)
    {
      if (qsnap_file_identity_check (noted, drive->file, &failure))
        return TRUE;
    }
  else if (stat (drive->file, &base) != 0)
    return qsnap_io_fail (error, errno, "%s", drive->file);
  else if (!S_ISREG (base.st_mode) || !is_later (&base.st_mtim, &overlay->st_mtim))
    return TRUE;

  return refuse (error, QSNAP_ERROR_BLOCKED,
                 "%s has been changed since, by somebody who did not know of the overlay; it is "
                 "for you to say which of both is right, and to remove the other",
                 drive->file);
}

/* Somebody took another snapshot before this one was recovered. */
static gboolean
check_nothing_on_it (QsnapDrive *drive, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (drive->new_file);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, error);
  const char *name;

  if (dir == NULL)
    return FALSE;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      g_autoptr (JsonNode) reply = NULL;

      if (strstr (name, ".qsnap-") == NULL || g_str_equal (path, drive->new_file))
        continue;

      reply = qsnap_qemu_img_info (path, "qcow2", NULL, NULL);
      if (g_strcmp0 (qsnap_json_get_string (qsnap_json_object (reply), "full-backing-filename"),
                     drive->new_file) == 0)
        return refuse (error, QSNAP_ERROR_BLOCKED, "%s stands on it", path);
    }

  return TRUE;
}

/* --- merging ------------------------------------------------------------------------------- */

static gboolean
commit (QsnapCapture *capture, QsnapDrive *drive, const struct stat *found, GError **error)
{
  const char *const command[] = { "qemu-img", "commit",        "-q", "-d", "-f",
                                  "qcow2",    drive->new_file, NULL };

  if (!check_base (capture, drive, found, error))
    return FALSE;

  qsnap_journal_flag (&capture->journal, QSNAP_JOURNAL_UNDOING);

  return qsnap_qemu_img_run (command, NULL, NULL, error);
}

/* One that was not formatted yet was never the guest's; one that was merged with the guest running
 * is old. */
static gboolean
merge (QsnapCapture *capture, QsnapDrive *drive, const struct stat *found, GError **error)
{
  gboolean holds;

  if (found->st_size == 0 || drive->merged)
    return TRUE;

  return check_overlay (drive, error) && check_nothing_on_it (drive, error) &&
         qsnap_qemu_img_holds_something (drive->new_file, &holds, error) &&
         (!holds || commit (capture, drive, found, error));
}

static gboolean
merge_and_remove (QsnapCapture *capture, QsnapDrive *drive, GError **error)
{
  struct stat found;

  if (drive->new_file == NULL)
    return refuse (error, QSNAP_ERROR_UNSUPPORTED,
                   "drive %s was on an overlay that is in no local file, which only its QEMU could "
                   "merge into %s",
                   qsnap_drive_label (drive), drive->file);

  if (lstat (drive->new_file, &found) != 0)
    return errno == ENOENT || qsnap_io_fail (error, errno, "%s", drive->new_file);

  if (!check_owner (capture, drive, &found, error) || !merge (capture, drive, &found, error))
    {
      g_prefix_error (error, "drive %s was on %s, which could not be merged into %s: ",
                      qsnap_drive_label (drive), drive->new_file, drive->file);
      return FALSE;
    }

  return qsnap_new_image_remove_file (drive, error);
}

static gboolean
undo_disk (QsnapCapture *capture, QsnapDrive *drive, GError **error)
{
  switch (drive->mode)
    {
    case QSNAP_DISK_MODE_OVERLAY:
      return merge_and_remove (capture, drive, error);
    case QSNAP_DISK_MODE_COPY:
      return qsnap_new_image_remove_file (drive, error);
    case QSNAP_DISK_MODE_INTERNAL:
      return qsnap_qemu_img_delete_snapshot (drive->file, drive->internal_name, error);
    case QSNAP_DISK_MODE_CLONE:
    case QSNAP_DISK_MODE_EXCLUDE:
    case QSNAP_DISK_MODE_AUTO:
    default:
      return TRUE;
    }
}

gboolean
qsnap_recover_undo_offline (QsnapCapture *capture, GError **error)
{
  for (guint i = 0; i < capture->guest->drives->len; i++)
    if (!undo_disk (capture, g_ptr_array_index (capture->guest->drives, i), error))
      return FALSE;

  return qsnap_capture_remove_directory (capture, error);
}
