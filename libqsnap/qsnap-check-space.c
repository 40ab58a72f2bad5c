/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-about.h"
#include "qsnap-check.h"
#include "qsnap-manifest.h"
#include "qsnap-siblings.h"

/* The directories that a capture writes to, and the room in them. */

static void
check_existing (const char *path, QsnapReport *report)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  g_autofree char *manifest = g_build_filename (path, QSNAP_MANIFEST_FILE, NULL);
  g_autofree char *journal = g_build_filename (path, "journal.json", NULL);
  struct stat found;

  if (g_file_test (path, G_FILE_TEST_IS_SYMLINK))
    qsnap_report_add_problem (report, QSNAP_ERROR_EXISTS, "%s is a symbolic link", path);
  else if (dir == NULL)
    {
      g_autoptr (GError) error = NULL;

      qsnap_io_fail (&error, errno, "the directory %s cannot be opened", path);
      qsnap_report_take_problem (report, g_steal_pointer (&error));
    }
  else if (g_file_test (manifest, G_FILE_TEST_EXISTS))
    qsnap_report_add_problem (report, QSNAP_ERROR_EXISTS, "there is a snapshot in %s already",
                              path);
  else if (g_file_test (journal, G_FILE_TEST_EXISTS))
    qsnap_report_add_problem (
        report, QSNAP_ERROR_EXISTS,
        "a capture into %s was interrupted, or is under way: it has a journal", path);
  else if (g_dir_read_name (dir) != NULL)
    qsnap_report_add_problem (report, QSNAP_ERROR_EXISTS, "the directory %s is not empty", path);
  else if (stat (path, &found) == 0 && found.st_uid != geteuid ())
    qsnap_report_add_problem (report, QSNAP_ERROR_EXISTS, "the directory %s is another user's",
                              path);
}

static void
check_writable (const char *path, const char *what, QsnapReport *report)
{
  g_autoptr (GError) error = NULL;

  if (access (path, W_OK | X_OK) == 0)
    return;

  qsnap_io_fail (&error, errno, "%s cannot be written in %s", what, path);
  qsnap_report_take_problem (report, g_steal_pointer (&error));
}

static gboolean
has_place_of_its_own (QsnapDrive *drive)
{
  return drive->options != NULL && (qsnap_disk_options_get_file (drive->options) != NULL ||
                                    qsnap_disk_options_get_target (drive->options) != NULL);
}

/* A copy has what the image has; an overlay grows as the guest writes. */
static gint64
room_for_disk (QsnapDrive *drive)
{
  struct stat found;

  switch (drive->mode)
    {
    case QSNAP_DISK_MODE_COPY:
      if (has_place_of_its_own (drive))
        return 0;
      return drive->file != NULL && stat (drive->file, &found) == 0 && S_ISREG (found.st_mode)
                 ? (gint64)found.st_blocks * 512
                 : drive->size;
    case QSNAP_DISK_MODE_EXCLUDE:
      return 0;
    case QSNAP_DISK_MODE_OVERLAY:
    case QSNAP_DISK_MODE_CLONE:
    case QSNAP_DISK_MODE_INTERNAL:
    case QSNAP_DISK_MODE_AUTO:
    default:
      return drive->size / 10;
    }
}

/* RAM that is in use has to be written; RAM that is not yet may come in use while it is saved. */
static void
check_space (QsnapGuest *guest, const char *path, QsnapReport *report)
{
  gboolean has_memory = guest->mode != QSNAP_SNAPSHOT_MODE_DISKS_ONLY;
  gint64 resident = has_memory ? qsnap_process_resident_bytes (guest->process) : 0;
  gint64 wanted = has_memory ? guest->ram_size : 0;
  gint64 copies = 0;
  g_autofree char *needed = NULL;
  g_autofree char *free_text = NULL;
  struct statvfs fs;
  gint64 free_bytes;

  if (statvfs (path, &fs) != 0)
    return;

  free_bytes = (gint64)fs.f_bavail * (gint64)fs.f_frsize;
  for (guint i = 0; i < guest->drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (guest->drives, i);
      gint64 room = room_for_disk (drive);

      wanted += room;
      copies += drive->mode == QSNAP_DISK_MODE_COPY ? room : 0;
    }
  if (guest->ram_size > 0)
    resident = MIN (resident, guest->ram_size);

  free_text = g_format_size_full ((guint64)free_bytes, G_FORMAT_SIZE_IEC_UNITS);
  if (resident + copies > free_bytes)
    {
      needed = g_format_size_full ((guint64)(resident + copies), G_FORMAT_SIZE_IEC_UNITS);
      qsnap_report_take_problem (
          report, g_error_new (G_IO_ERROR, G_IO_ERROR_NO_SPACE,
                               copies > 0 ? "%s has %s free, but the guest's RAM in "
                                            "use and the copies of its disks are %s"
                                          : "%s has %s free, but the guest uses %s of "
                                            "RAM",
                               path, free_text, needed));
    }
  else if (wanted > free_bytes)
    {
      needed = g_format_size_full ((guint64)wanted, G_FORMAT_SIZE_IEC_UNITS);
      qsnap_report_add_warning (
          report,
          "%s has %s free, less than all of the guest's RAM and what its disks "
          "may need (%s)",
          path, free_text, needed);
    }
}

static void
check_snapshot_directory (QsnapGuest *guest, GFile *directory, QsnapReport *report)
{
  g_autofree char *path = directory != NULL ? g_file_get_path (directory) : NULL;
  g_autofree char *parent = NULL;
  struct stat found;

  /* Who only asks may not know yet; a capture has looked for one. */
  if (path == NULL)
    return;

  parent = g_path_get_dirname (path);
  if (lstat (path, &found) == 0)
    {
      check_existing (path, report);
      check_writable (path, "the snapshot", report);
    }
  else
    check_writable (parent, "the snapshot's directory", report);

  check_space (guest, parent, report);
}

static void
check_file_of_disk (QsnapDrive *drive, QsnapReport *report)
{
  GFile *file = drive->options != NULL ? qsnap_disk_options_get_file (drive->options) : NULL;
  g_autofree char *path = file != NULL ? g_file_get_path (file) : NULL;
  g_autofree char *folder = path != NULL ? g_path_get_dirname (path) : NULL;

  if (path == NULL || qsnap_disk_options_get_reuse (drive->options))
    return;

  if (g_file_test (path, G_FILE_TEST_EXISTS) || g_file_test (path, G_FILE_TEST_IS_SYMLINK))
    qsnap_report_add_problem (report, QSNAP_ERROR_EXISTS, "%s is there already", path);
  else
    check_writable (folder, "an image", report);
}

static void
check_overlay_directories (QsnapGuest *guest, GFile *directory, QsnapReport *report)
{
  g_autofree char *path = directory != NULL ? g_file_get_path (directory) : NULL;

  if (path != NULL)
    {
      if (!g_utf8_validate (path, -1, NULL))
        qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                                  "the path of the overlay directory is not UTF-8, as QMP is");
      check_writable (path, "overlays", report);
      return;
    }

  for (guint i = 0; i < guest->drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (guest->drives, i);
      g_autofree char *beside = drive->file != NULL ? g_path_get_dirname (drive->file) : NULL;
      struct stat found;

      if (drive->mode != QSNAP_DISK_MODE_OVERLAY || has_place_of_its_own (drive) ||
          beside == NULL || stat (drive->file, &found) != 0)
        continue;
      if (S_ISBLK (found.st_mode))
        qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                                  "drive %s is the block device %s: set overlay-directory to say "
                                  "where its overlay goes",
                                  qsnap_drive_label (drive), drive->file);
      else
        check_writable (beside, "an overlay", report);
    }
}

/* What people call it has to be one snapshot of its folder. */
static void
check_unique (GFile *directory, const char *name, QsnapReport *report)
{
  g_autofree char *path = g_file_get_path (directory);
  g_autofree char *absolute = path != NULL ? g_canonicalize_filename (path, NULL) : NULL;
  g_autofree char *folder =
      absolute != NULL ? qsnap_siblings_find_name (absolute, name, NULL) : NULL;

  if (folder != NULL)
    qsnap_report_add_problem (report, QSNAP_ERROR_EXISTS,
                              "the snapshot in %s has the name \"%s\" already: give this one "
                              "another (in one folder each has its own)",
                              folder, name);
}

/* The default is the directory's own name, which may be any bytes. */
static void
check_name (QsnapSnapshotOptions *options, QsnapReport *report)
{
  GFile *directory = qsnap_snapshot_options_get_directory (options);
  g_autofree char *name = g_strdup (qsnap_snapshot_options_get_name (options));
  g_autofree char *shown = NULL;
  const char *problem;

  if (name == NULL && directory != NULL)
    name = g_file_get_basename (directory);
  if (name == NULL)
    return;

  problem = qsnap_name_problem (name);
  if (problem == NULL)
    {
      if (directory != NULL)
        check_unique (directory, name, report);
      return;
    }

  shown = g_utf8_make_valid (name, -1);
  qsnap_report_take_problem (report, g_error_new (G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                                                  "\"%s\" is no valid name for a snapshot, as %s: "
                                                  "give it another one",
                                                  shown, problem));
}

static void
check_about (QsnapSnapshotOptions *options, QsnapReport *report)
{
  const char *problem = qsnap_about_problem (qsnap_snapshot_options_get_description (options),
                                             qsnap_snapshot_options_get_metadata (options));

  if (problem != NULL)
    qsnap_report_take_problem (
        report, g_error_new_literal (G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, problem));
}

void
qsnap_check_directories (QsnapGuest *guest, QsnapSnapshotOptions *options, QsnapReport *report)
{
  check_name (options, report);
  check_about (options, report);
  check_snapshot_directory (guest, qsnap_snapshot_options_get_directory (options), report);
  for (guint i = 0; i < guest->drives->len; i++)
    check_file_of_disk (g_ptr_array_index (guest->drives, i), report);
  check_overlay_directories (guest, qsnap_snapshot_options_get_overlay_directory (options), report);
}
