/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "memory/qsnap-image.h"
#include "memory/qsnap-io.h"
#include "qsnap-capture-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"
#include "qsnap-qemu-img.h"
#include "qsnap-snapshot-private.h"

/* Sealing: what the saver left is made a snapshot. */

/* --- UEFI variables ------------------------------------------------------------------------ */

/* An image that is not raw is read by the tool that knows its format. */
static char *
convert (
    QsnapDrive *drive, const char *file, const char *format, const char *target, GError **error)
{
  g_autofree char *snapshot = g_strconcat ("snapshot.name=", drive->internal_name, NULL);
  const char *command[] = { "qemu-img", "convert", "-U",   "-f", format, "-O",
                            "raw",      file,      target, NULL, NULL,   NULL };

  if (drive->mode == QSNAP_DISK_MODE_INTERNAL)
    {
      command[9] = "-l";
      command[10] = snapshot;
    }

  return qsnap_qemu_img_output (command, NULL, error);
}

static int
open_converted (
    QsnapCapture *capture, QsnapDrive *drive, const char *file, const char *format, GError **error)
{
  const char *name = "nvram.tmp";
  g_autofree char *target = g_build_filename (capture->path, name, NULL);
  g_autofree char *output = NULL;
  int fd;

  /* Left by a client that died. */
  (void)unlinkat (capture->dir_fd, name, 0);
  /* The tool writes to a file that is there, which nobody else can read: what is read is what was
   * made here, whatever has the name by then. */
  fd = qsnap_io_create (capture->dir_fd, name, error);
  if (fd < 0)
    return -1;
  output = convert (drive, file, format, target, error);
  (void)unlinkat (capture->dir_fd, name, 0);
  if (output == NULL)
    close (fd);

  return output != NULL ? fd : -1;
}

static int
open_nvram (QsnapCapture *capture, QsnapDrive *drive, GError **error)
{
  const char *file = qsnap_disk_mode_has_own_image (drive->mode) ? drive->new_file : drive->file;
  const char *format =
      qsnap_disk_mode_has_own_image (drive->mode) ? drive->new_format : qsnap_drive_format (drive);
  int fd;

  if (!g_str_equal (format, "raw"))
    return open_converted (capture, drive, file, format, error);

  fd = open (file, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    qsnap_io_fail (error, errno, "%s", file);

  return fd;
}

/* QEMU does not protect the RAM of pflash, so a variable that was written while memory was saved
 * may be in the image; the drive's base has them as they were at the point in time. Those of a
 * drive that the snapshot does not have, or that went to a target of the caller's, are as QEMU sent
 * them. */
static gboolean
take_nvram_of_base (QsnapCapture *capture, JsonObject *memory, QsnapDrive *drive, GError **error)
{
  gboolean taken;
  int fd;

  if (drive->mode == QSNAP_DISK_MODE_EXCLUDE ||
      (qsnap_disk_mode_has_own_image (drive->mode) && drive->new_file == NULL))
    return TRUE;

  fd = open_nvram (capture, drive, error);

  if (fd < 0)
    return FALSE;

  taken = qsnap_image_replace_block (capture->dir_fd, memory, drive->nvram_block, fd,
                                     (guint64)drive->size, error);
  close (fd);

  return taken;
}

/* --- stable storage ------------------------------------------------------------------------ */

/* The base has to hold what the guest had written, and the overlay has to exist after a power cut:
 * without it the guest does not start. */
static gboolean
sync_overlay (QsnapDrive *drive, GError **error)
{
  g_autoptr (JsonObject) noted = qsnap_file_identity_to_json (&drive->base);
  g_autofree char *folder = NULL;

  if (!qsnap_io_sync_path (drive->file, 0, error) ||
      !qsnap_file_identity_check (noted, drive->file, error))
    return FALSE;
  if (drive->new_file == NULL)
    return TRUE;

  folder = g_path_get_dirname (drive->new_file);

  return qsnap_io_sync_path (drive->new_file, 0, error) &&
         qsnap_io_sync_path (folder, O_DIRECTORY, error);
}

static gboolean
sync_new_file (QsnapDrive *drive, GError **error)
{
  g_autofree char *folder = NULL;

  if (drive->new_file == NULL)
    return TRUE;

  folder = g_path_get_dirname (drive->new_file);

  return qsnap_io_sync_path (drive->new_file, 0, error) &&
         qsnap_io_sync_path (folder, O_DIRECTORY, error) &&
         qsnap_file_identity_read (&drive->base, drive->new_file, error);
}

static gboolean
sync_disk (QsnapDrive *drive, GError **error)
{
  switch (drive->mode)
    {
    case QSNAP_DISK_MODE_OVERLAY:
      return sync_overlay (drive, error);
    case QSNAP_DISK_MODE_CLONE:
    case QSNAP_DISK_MODE_COPY:
      return sync_new_file (drive, error);
    case QSNAP_DISK_MODE_INTERNAL:
      return qsnap_io_sync_path (drive->file, 0, error);
    case QSNAP_DISK_MODE_EXCLUDE:
    case QSNAP_DISK_MODE_AUTO:
    default:
      return TRUE;
    }
}

gboolean
qsnap_capture_note_bases (QsnapCapture *capture, GError **error)
{
  for (guint i = 0; i < capture->guest->drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (capture->guest->drives, i);

      if (drive->mode == QSNAP_DISK_MODE_OVERLAY &&
          !qsnap_file_identity_read (&drive->base, drive->file, error))
        return FALSE;
    }

  return TRUE;
}

/* --- all of it ----------------------------------------------------------------------------- */

static gboolean
write_snapshot (QsnapCapture *capture, JsonObject *memory, GError **error)
{
  g_autoptr (JsonObject) manifest = NULL;
  g_autofree char *parent = g_path_get_dirname (capture->path);

  capture->saved = g_get_monotonic_time ();
  manifest = qsnap_capture_describe (capture, memory);

  /* The directory's own entry first: the manifest must not be durable in a folder that is not. */
  if (!qsnap_capture_check_directory (capture, error) ||
      !qsnap_io_sync_path (parent, O_DIRECTORY, error) ||
      !qsnap_manifest_write (capture->dir_fd, manifest, error))
    return FALSE;

  qsnap_snapshot_seal (capture->snapshot, g_steal_pointer (&manifest));

  return TRUE;
}

/* The last proof: only a migration of the other kind has an end of RAM in its stream, or has none.
 */
static gboolean
check_kind (QsnapCapture *capture, JsonObject *memory, GError **error)
{
  const char *expected =
      qsnap_capture_is_background (capture) ? "background-snapshot" : "migration";
  const char *kind = qsnap_json_get_string (memory, "stream");

  if (g_strcmp0 (kind, expected) == 0)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
               "QEMU sent a %s where a %s was asked for: somebody else changed its migration "
               "capabilities; the snapshot was thrown away",
               kind != NULL ? kind : "stream of an unknown kind", expected);

  return FALSE;
}

gboolean
qsnap_capture_seal (QsnapCapture *capture, GError **error)
{
  GPtrArray *drives = capture->guest->drives;
  g_autoptr (JsonObject) memory = NULL;

  if (qsnap_capture_has_memory (capture))
    {
      memory = qsnap_image_load_json (capture->dir_fd, error);
      if (memory == NULL || !check_kind (capture, memory, error))
        return FALSE;
    }
  if (!qsnap_capture_check_directory (capture, error) ||
      !qsnap_journal_step (&capture->journal, "sealing", error))
    return FALSE;

  for (guint i = 0; i < drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (drives, i);

      if ((drive->nvram_block != NULL && memory != NULL &&
           !take_nvram_of_base (capture, memory, drive, error)) ||
          !sync_disk (drive, error))
        return FALSE;
    }

  if (!qsnap_capture_go_on (capture, error) || !write_snapshot (capture, memory, error))
    return FALSE;

  /* The snapshot exists. What is left over of its making harms nobody. */
  (void)unlinkat (capture->dir_fd, QSNAP_IMAGE_JSON, 0);

  return TRUE;
}
