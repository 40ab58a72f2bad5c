/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-disk-check.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/qsnap-clone.h"
#include "disk/qsnap-overlay.h"
#include "qsnap-json.h"
#include "qsnap-qemu-img.h"

/* Formats whose image can be the backing file of a qcow2 overlay. A node of another driver is a
 * filter (throttle, copy-on-read, …), whose effect an overlay above it would lose, or a protocol
 * without a local file. */
static const char *const backing_drivers[] = { "raw",  "qcow2",       "qcow",      "qed",  "vdi",
                                               "vhdx", "vmdk",        "vpc",       "luks", "dmg",
                                               "file", "host_device", "parallels", NULL };

/* Of which all is in one file. */
static const char *const clone_drivers[] = { "raw", "qcow2", "file", NULL };

typedef struct
{
  QsnapProcess *process;
  QsnapReport *report;
  /* Of the snapshot. */
  const char *directory;
} Check;

/* --- an image ------------------------------------------------------------------------------ */

static gboolean
check_file (Check *check, QsnapDrive *drive)
{
  const char *label = qsnap_drive_label (drive);
  struct stat found;

  if (drive->file == NULL)
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "drive %s (%s) is not in a local file that can be named", label,
                              drive->filename != NULL ? drive->filename : "no file name");
  else if (!g_utf8_validate (drive->file, -1, NULL))
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "the path of drive %s is not UTF-8, as QMP is", label);
  else if (stat (drive->file, &found) != 0)
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "the image %s of drive %s cannot be looked at: %s (a drive started "
                              "with -snapshot has a temporary image and cannot be captured)",
                              drive->file, label, g_strerror (errno));
  else if (!S_ISREG (found.st_mode) && !S_ISBLK (found.st_mode))
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "the image %s of drive %s is neither a file nor a block device",
                              drive->file, label);
  else if (S_ISREG (found.st_mode) &&
           qsnap_process_has_open (check->process, &found) == QSNAP_OPEN_NO)
    qsnap_report_add_problem (check->report, QSNAP_ERROR_BLOCKED,
                              "%s is not the file that QEMU has open for drive %s: it was "
                              "replaced, or QEMU sees other folders than this process does",
                              drive->file, label);
  else
    return TRUE;

  return FALSE;
}

static void
check_size (Check *check, QsnapDrive *drive)
{
  if (drive->size < 0)
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "QEMU does not tell the size of drive %s", qsnap_drive_label (drive));
}

/* --- modes --------------------------------------------------------------------------------- */

static void
check_overlay (Check *check, QsnapDrive *drive)
{
  g_autoptr (GError) unfit = NULL;

  if (!g_strv_contains (backing_drivers, drive->driver))
    {
      qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                                "drive %s has driver %s, which an overlay cannot stand on",
                                qsnap_drive_label (drive), drive->driver);
      return;
    }

  check_size (check, drive);
  if (check_file (check, drive) && drive->options != NULL &&
      qsnap_disk_options_get_reuse (drive->options) && !qsnap_overlay_check_reuse (drive, &unfit))
    qsnap_report_take_problem (check->report, g_steal_pointer (&unfit));
}

static gboolean
can_clone (Check *check, QsnapDrive *drive, GError **error)
{
  if (drive->file == NULL || !g_strv_contains (clone_drivers, drive->driver))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "drive %s has driver %s: only raw and qcow2 images in a file are cloned",
                   qsnap_drive_label (drive), drive->driver);
      return FALSE;
    }
  if (drive->has_data_file)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "drive %s has a data file beside its image, and only one file is cloned",
                   qsnap_drive_label (drive));
      return FALSE;
    }

  return check->directory == NULL || qsnap_clone_try (drive, check->directory, error);
}

static void
check_clone (Check *check, QsnapDrive *drive)
{
  GError *refusal = NULL;

  check_size (check, drive);
  if (check_file (check, drive) && !can_clone (check, drive, &refusal))
    qsnap_report_take_problem (check->report, refusal);
}

/* Of a drive without a local file a revert cannot tell which option of QEMU's command line it is.
 */
static void
check_copy (Check *check, QsnapDrive *drive)
{
  check_size (check, drive);
  if (drive->file == NULL && (drive->chain == NULL || *drive->chain == NULL))
    qsnap_report_add_warning (check->report,
                              "drive %s is in no local file: a revert cannot tell which option of "
                              "QEMU it is, and the copy is for other uses",
                              qsnap_drive_label (drive));
}

static void
check_internal (Check *check, QsnapDrive *drive)
{
  if (!g_str_equal (drive->driver, "qcow2"))
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "drive %s has driver %s: only a qcow2 image has internal snapshots",
                              qsnap_drive_label (drive), drive->driver);
  else if (check_file (check, drive))
    check_size (check, drive);
}

/* Its content at the point in time is read after the pause, from the image that has it. */
static void
check_nvram (Check *check, QsnapDrive *drive)
{
  if (drive->nvram_block == NULL || drive->file == NULL || drive->mode == QSNAP_DISK_MODE_EXCLUDE)
    return;

  if (access (drive->file, R_OK) != 0)
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "the UEFI variables in %s cannot be read: %s", drive->file,
                              g_strerror (errno));

  if (!qsnap_qemu_img_is_there (NULL) &&
      (!g_str_equal (qsnap_drive_format (drive), "raw") || drive->mode == QSNAP_DISK_MODE_COPY))
    qsnap_report_add_problem (check->report, QSNAP_ERROR_UNSUPPORTED,
                              "the UEFI variables in %s have format %s: the program qemu-img is "
                              "needed to read them",
                              drive->file, qsnap_drive_format (drive));
}

static void
check_drive (Check *check, QsnapDrive *drive)
{
  if (g_str_has_prefix (drive->node, "libvirt-"))
    qsnap_report_add_warning (check->report, "drive %s is managed by libvirt",
                              qsnap_drive_label (drive));

  switch (drive->mode)
    {
    case QSNAP_DISK_MODE_CLONE:
      check_clone (check, drive);
      break;
    case QSNAP_DISK_MODE_COPY:
      check_copy (check, drive);
      break;
    case QSNAP_DISK_MODE_INTERNAL:
      check_internal (check, drive);
      break;
    case QSNAP_DISK_MODE_EXCLUDE:
      break;
    case QSNAP_DISK_MODE_OVERLAY:
    case QSNAP_DISK_MODE_AUTO:
    default:
      check_overlay (check, drive);
    }
  check_nvram (check, drive);
}

/* --- choosing ------------------------------------------------------------------------------ */

static gboolean
is_meant (QsnapDrive *drive, const char *name)
{
  g_autofree char *path = g_canonicalize_filename (name, NULL);

  return g_strcmp0 (drive->device, name) == 0 || g_strcmp0 (drive->qdev, name) == 0 ||
         g_strcmp0 (drive->node, name) == 0 || g_strcmp0 (drive->file, path) == 0;
}

static void
take_options (Check *check, GPtrArray *drives, QsnapDiskOptions *options)
{
  const char *name = qsnap_disk_options_get_disk (options);
  QsnapDrive *meant = NULL;

  for (guint i = 0; i < drives->len && meant == NULL; i++)
    if (is_meant (drives->pdata[i], name))
      meant = drives->pdata[i];

  if (meant == NULL)
    qsnap_report_take_problem (check->report,
                               g_error_new (G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                                            "the guest has no writable disk \"%s\"", name));
  else if (meant->options != NULL)
    qsnap_report_take_problem (check->report,
                               g_error_new (G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                                            "the disk %s is named twice: as \"%s\", and as \"%s\"",
                                            qsnap_drive_label (meant),
                                            qsnap_disk_options_get_disk (meant->options), name));
  else
    meant->options = g_object_ref (options);
}

static void
take_all_options (Check *check, GPtrArray *drives, QsnapSnapshotOptions *options)
{
  GListModel *list = qsnap_snapshot_options_get_disks (options);

  for (guint i = 0; i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapDiskOptions) one = g_list_model_get_item (list, i);

      take_options (check, drives, one);
    }
}

static QsnapDiskMode
better_of_two (Check *check, QsnapDrive *drive)
{
  return can_clone (check, drive, NULL) ? QSNAP_DISK_MODE_CLONE : QSNAP_DISK_MODE_OVERLAY;
}

/* For all that have no mode of their own the same: a guest is not half on overlays. */
static QsnapDiskMode
better_for_all (Check *check, GPtrArray *drives)
{
  QsnapDiskMode mode = QSNAP_DISK_MODE_CLONE;

  for (guint i = 0; i < drives->len && mode == QSNAP_DISK_MODE_CLONE; i++)
    {
      QsnapDrive *drive = drives->pdata[i];

      if (drive->options == NULL)
        mode = better_of_two (check, drive);
    }

  return mode;
}

static void
choose (Check *check, GPtrArray *drives, QsnapDiskMode of_all)
{
  if (of_all == QSNAP_DISK_MODE_AUTO)
    of_all = better_for_all (check, drives);

  for (guint i = 0; i < drives->len; i++)
    {
      QsnapDrive *drive = drives->pdata[i];

      drive->mode = drive->options != NULL ? qsnap_disk_options_get_mode (drive->options) : of_all;
      if (drive->mode == QSNAP_DISK_MODE_AUTO)
        drive->mode = better_of_two (check, drive);
    }
}

void
qsnap_disks_choose_modes (GPtrArray *drives,
                          QsnapSnapshotOptions *options,
                          QsnapProcess *process,
                          QsnapReport *report)
{
  GFile *directory = options != NULL ? qsnap_snapshot_options_get_directory (options) : NULL;
  g_autofree char *path = directory != NULL ? g_file_get_path (directory) : NULL;
  Check check = { process, report, path };

  if (options != NULL)
    take_all_options (&check, drives, options);
  choose (&check, drives,
          options != NULL ? qsnap_snapshot_options_get_disk_mode (options)
                          : QSNAP_DISK_MODE_OVERLAY);
  for (guint i = 0; i < drives->len; i++)
    check_drive (&check, drives->pdata[i]);
}

gboolean
qsnap_disks_have_mode (GPtrArray *drives, QsnapDiskMode mode)
{
  for (guint i = 0; i < drives->len; i++)
    if (((QsnapDrive *)drives->pdata[i])->mode == mode)
      return TRUE;

  return FALSE;
}
