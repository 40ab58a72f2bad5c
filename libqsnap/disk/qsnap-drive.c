/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-drive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qsnap-json.h"

/* Formats whose image can be the backing file of a qcow2 overlay. A node of another driver is a
 * filter (throttle, copy-on-read, …), whose effect an overlay above it would lose, or a protocol
 * without a local file. */
static const char *const backing_drivers[] = { "raw",  "qcow2",       "qcow",      "qed",  "vdi",
                                               "vhdx", "vmdk",        "vpc",       "luks", "dmg",
                                               "file", "host_device", "parallels", NULL };

/* --- files --------------------------------------------------------------------------------- */

gboolean
qsnap_file_identity_read (QsnapFileIdentity *identity, const char *path, GError **error)
{
  struct stat found;

  if (stat (path, &found) != 0)
    {
      int code = errno;

      g_set_error (error, G_IO_ERROR, (int)g_io_error_from_errno (code), "%s: %s", path,
                   g_strerror (code));
      return FALSE;
    }

  identity->is_block_device = S_ISBLK (found.st_mode);
  identity->device = identity->is_block_device ? found.st_rdev : found.st_dev;
  identity->inode = identity->is_block_device ? 0 : found.st_ino;
  identity->size = (guint64)found.st_size;
  identity->mtime =
      (gint64)found.st_mtim.tv_sec * G_GINT64_CONSTANT (1000000000) + found.st_mtim.tv_nsec;

  return TRUE;
}

JsonObject *
qsnap_file_identity_to_json (const QsnapFileIdentity *identity)
{
  if (identity->is_block_device)
    return qsnap_json_object_new ("block-device", 'b', TRUE, "device", 'i',
                                  (gint64)identity->device, NULL);

  return qsnap_json_object_new ("device", 'i', (gint64)identity->device, "inode", 'i',
                                (gint64)identity->inode, "size", 'i', (gint64)identity->size,
                                "mtime-ns", 'i', identity->mtime, NULL);
}

void
qsnap_file_identity_from_json (QsnapFileIdentity *identity, JsonObject *object)
{
  identity->is_block_device = qsnap_json_get_bool (object, "block-device", FALSE);
  identity->device = (guint64)qsnap_json_get_int (object, "device", 0);
  identity->inode = (guint64)qsnap_json_get_int (object, "inode", 0);
  identity->size = (guint64)qsnap_json_get_int (object, "size", 0);
  identity->mtime = qsnap_json_get_int (object, "mtime-ns", 0);
}

/* The first thing that tells the file apart from the recorded one, or NULL. The device number of a
 * file system may change with a reboot, so it is only compared for block devices. */
static const char *
difference (JsonObject *recorded, const QsnapFileIdentity *now)
{
  if (qsnap_json_get_bool (recorded, "block-device", FALSE) != now->is_block_device)
    return "it is of another type";

  if (now->is_block_device)
    return qsnap_json_get_int (recorded, "device", -1) != (gint64)now->device
               ? "it is another device"
               : NULL;

  if (qsnap_json_get_int (recorded, "inode", -1) != (gint64)now->inode)
    return "it is another file";
  if (qsnap_json_get_int (recorded, "size", -1) != (gint64)now->size)
    return "its size changed";
  if (qsnap_json_get_int (recorded, "mtime-ns", -1) != now->mtime)
    return "it was written";

  return NULL;
}

gboolean
qsnap_file_identity_check (JsonObject *recorded, const char *path, GError **error)
{
  QsnapFileIdentity now;
  const char *what;

  if (!qsnap_file_identity_read (&now, path, error))
    {
      g_prefix_error_literal (error, "a base image of the snapshot is missing: ");
      return FALSE;
    }

  what = difference (recorded, &now);
  if (what != NULL)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                   "the base image %s changed since the snapshot was taken: %s", path, what);
      return FALSE;
    }

  return TRUE;
}

/* --- what QEMU calls a file ---------------------------------------------------------------- */

/* What was given to add-fd as "opaque" is the path, if it was given by us or by someone with the
 * same habit. */
static char *
path_of_fdset (QsnapQmp *qmp, gint64 id)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_try (qmp, "query-fdsets", NULL);
  JsonArray *sets = qsnap_json_array (reply);

  for (guint i = 0; sets != NULL && i < json_array_get_length (sets); i++)
    {
      JsonObject *set = qsnap_json_array_object (sets, i);
      JsonArray *fds = qsnap_json_get_array (set, "fds");

      if (qsnap_json_get_int (set, "fdset-id", -1) != id)
        continue;

      for (guint j = 0; fds != NULL && j < json_array_get_length (fds); j++)
        {
          const char *opaque = qsnap_json_get_string (qsnap_json_array_object (fds, j), "opaque");

          if (opaque != NULL && g_path_is_absolute (opaque))
            return g_strdup (opaque);
        }
    }

  return NULL;
}

/* json:{"driver": "qcow2", "file": {"driver": "file", "filename": "…"}, …} → the innermost file's
 * name. */
static char *
filename_in_json (const char *text)
{
  g_autoptr (JsonNode) node = qsnap_json_parse_object (text, strlen (text), NULL);
  JsonObject *object = qsnap_json_object (node);

  while (qsnap_json_get_object (object, "file") != NULL)
    object = qsnap_json_get_object (object, "file");

  return g_strdup (qsnap_json_get_string (object, "filename"));
}

/* Without detours. What ".." means after a link only the file system knows. */
static char *
plain_path (const char *path, const char *directory)
{
  g_autofree char *joined =
      g_path_is_absolute (path) ? g_strdup (path) : g_build_filename (directory, path, NULL);
  char *real = strstr (joined, "/..") != NULL ? realpath (joined, NULL) : NULL;
  char *plain = g_canonicalize_filename (real != NULL ? real : joined, NULL);

  free (real);

  return plain;
}

char *
qsnap_drive_resolve_file (QsnapQmp *qmp, QsnapProcess *process, const char *filename)
{
  if (g_str_has_prefix (filename, "json:"))
    {
      g_autofree char *inner = filename_in_json (filename + strlen ("json:"));

      return inner != NULL && !g_str_has_prefix (inner, "json:")
                 ? qsnap_drive_resolve_file (qmp, process, inner)
                 : NULL;
    }

  if (g_str_has_prefix (filename, "/dev/fdset/"))
    return path_of_fdset (qmp, g_ascii_strtoll (filename + strlen ("/dev/fdset/"), NULL, 10));

  if (g_path_is_absolute (filename))
    return plain_path (filename, NULL);

  /* "nbd://host/export" is no relative path; a file with a colon is given as "./a:b". */
  if (process->directory == NULL || (strchr (filename, ':') != NULL && *filename != '.'))
    return NULL;

  return plain_path (filename, process->directory);
}

/* --- drives -------------------------------------------------------------------------------- */

void
qsnap_drive_free (QsnapDrive *drive)
{
  g_free (drive->device);
  g_free (drive->qdev);
  g_free (drive->node);
  g_free (drive->driver);
  g_free (drive->file);
  g_strfreev (drive->chain);
  g_free (drive->detect_zeroes);
  g_free (drive->nvram_block);
  g_free (drive->overlay_file);
  g_free (drive->overlay_node);
  g_free (drive->overlay_file_node);
  g_free (drive);
}

const char *
qsnap_drive_label (const QsnapDrive *drive)
{
  if (drive->device != NULL && *drive->device != '\0')
    return drive->device;

  return drive->qdev != NULL ? drive->qdev : drive->node;
}

const char *
qsnap_drive_format (const QsnapDrive *drive)
{
  if (g_str_equal (drive->driver, "file") || g_str_equal (drive->driver, "host_device"))
    return "raw";

  return drive->driver;
}

static GStrv
resolve_chain (QsnapQmp *qmp, QsnapProcess *process, JsonObject *image)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  for (image = qsnap_json_get_object (image, "backing-image"); image != NULL;
       image = qsnap_json_get_object (image, "backing-image"))
    {
      const char *filename = qsnap_json_get_string (image, "filename");
      g_autofree char *file =
          filename != NULL ? qsnap_drive_resolve_file (qmp, process, filename) : NULL;

      if (file != NULL && g_utf8_validate (file, -1, NULL))
        g_strv_builder_add (builder, file);
    }

  return g_strv_builder_end (builder);
}

static QsnapDrive *
drive_from_json (JsonObject *entry, JsonObject *inserted)
{
  JsonObject *cache = qsnap_json_get_object (inserted, "cache");
  JsonObject *image = qsnap_json_get_object (inserted, "image");
  QsnapDrive *drive = g_new0 (QsnapDrive, 1);

  drive->device = g_strdup (qsnap_json_get_string (entry, "device"));
  drive->qdev = g_strdup (qsnap_json_get_string (entry, "qdev"));
  drive->node = g_strdup (qsnap_json_get_string (inserted, "node-name"));
  drive->driver = g_strdup (qsnap_json_get_string (inserted, "drv"));
  drive->detect_zeroes = g_strdup (qsnap_json_get_string (inserted, "detect_zeroes"));
  drive->size = qsnap_json_get_int (image, "virtual-size", -1);
  drive->direct = qsnap_json_get_bool (cache, "direct", FALSE);
  drive->no_flush = qsnap_json_get_bool (cache, "no-flush", FALSE);
  drive->overlay_fdset = -1;

  return drive;
}

static void
check_file (QsnapDrive *drive, QsnapProcess *process, QsnapReport *report)
{
  struct stat found;

  if (stat (drive->file, &found) != 0)
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "the image %s of drive %s cannot be looked at: %s (a drive started "
                              "with -snapshot has a temporary image and cannot be captured)",
                              drive->file, qsnap_drive_label (drive), g_strerror (errno));
  else if (!S_ISREG (found.st_mode) && !S_ISBLK (found.st_mode))
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "the image %s of drive %s is neither a file nor a block device",
                              drive->file, qsnap_drive_label (drive));
  else if (S_ISREG (found.st_mode) && qsnap_process_has_open (process, &found) == QSNAP_OPEN_NO)
    qsnap_report_add_problem (report, QSNAP_ERROR_BLOCKED,
                              "%s is not the file that QEMU has open for drive %s: it was "
                              "replaced, or QEMU sees other folders than this process does",
                              drive->file, qsnap_drive_label (drive));
}

static void
check_drive (QsnapDrive *drive, QsnapProcess *process, const char *filename, QsnapReport *report)
{
  const char *label = qsnap_drive_label (drive);

  if (g_str_has_prefix (drive->node, "libvirt-"))
    qsnap_report_add_warning (report, "drive %s is managed by libvirt", label);

  if (!g_strv_contains (backing_drivers, drive->driver))
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "drive %s has driver %s, which an overlay cannot stand on", label,
                              drive->driver);
  else if (drive->file == NULL)
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "drive %s (%s) is not in a local file that can be named", label,
                              filename != NULL ? filename : "no file name");
  else if (!g_utf8_validate (drive->file, -1, NULL))
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "the path of drive %s is not UTF-8, as QMP is", label);
  else if (drive->size < 0)
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "QEMU does not tell the size of drive %s", label);
  else
    check_file (drive, process, report);
}

/* Its content at the point in time is read from the base, after the pause. */
static void
check_nvram (QsnapDrive *drive, QsnapReport *report)
{
  g_autofree char *tool = NULL;

  if (drive->nvram_block == NULL || drive->file == NULL)
    return;

  if (access (drive->file, R_OK) != 0)
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "the UEFI variables in %s cannot be read: %s", drive->file,
                              g_strerror (errno));

  tool = g_find_program_in_path ("qemu-img");
  if (tool == NULL && !g_str_equal (qsnap_drive_format (drive), "raw"))
    qsnap_report_add_problem (report, QSNAP_ERROR_UNSUPPORTED,
                              "the UEFI variables in %s have format %s: the program qemu-img is "
                              "needed to read them",
                              drive->file, qsnap_drive_format (drive));
}

/* pflash keeps its content in RAM as well; QEMU writes that RAM over the image after a load. */
static gboolean
get_qom_string (QsnapQmp *qmp, const char *path, const char *property, char **value, GError **error)
{
  g_autoptr (JsonNode) reply = NULL;

  if (!qsnap_qmp_ask (qmp, "qom-get",
                      qsnap_json_node_new ("path", 's', path, "property", 's', property, NULL),
                      &reply, error))
    return FALSE;

  if (reply != NULL && json_node_get_value_type (reply) == G_TYPE_STRING)
    *value = json_node_dup_string (reply);

  return TRUE;
}

static gboolean
find_nvram_block (QsnapQmp *qmp, QsnapDrive *drive, GError **error)
{
  g_autofree char *type = NULL;

  if (drive->qdev == NULL || !g_str_has_prefix (drive->qdev, "/machine/"))
    return TRUE;

  if (!get_qom_string (qmp, drive->qdev, "type", &type, error))
    return FALSE;
  if (type == NULL || !g_str_has_prefix (type, "cfi.pflash"))
    return TRUE;

  return get_qom_string (qmp, drive->qdev, "name", &drive->nvram_block, error);
}

GPtrArray *
qsnap_drives_query (QsnapQmp *qmp, QsnapProcess *process, QsnapReport *report, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (qmp, "query-block", NULL, error);
  g_autoptr (GPtrArray) drives = g_ptr_array_new_with_free_func ((GDestroyNotify)qsnap_drive_free);
  JsonArray *list = qsnap_json_array (reply);

  if (reply == NULL)
    return NULL;

  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    {
      JsonObject *entry = qsnap_json_array_object (list, i);
      JsonObject *inserted = qsnap_json_get_object (entry, "inserted");
      JsonObject *image = qsnap_json_get_object (inserted, "image");
      const char *filename = qsnap_json_get_string (image, "filename");
      QsnapDrive *drive;

      if (inserted == NULL || qsnap_json_get_bool (inserted, "ro", FALSE))
        continue;

      drive = drive_from_json (entry, inserted);
      g_ptr_array_add (drives, drive);
      if (drive->node == NULL || drive->driver == NULL)
        {
          g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                               "query-block: a drive has no node-name or driver");
          return NULL;
        }

      drive->file = filename != NULL ? qsnap_drive_resolve_file (qmp, process, filename) : NULL;
      drive->chain = resolve_chain (qmp, process, image);
      check_drive (drive, process, filename, report);
      if (!find_nvram_block (qmp, drive, error))
        return NULL;
      check_nvram (drive, report);
    }

  return g_steal_pointer (&drives);
}
