/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "memory/qsnap-image.h"
#include "memory/qsnap-io.h"
#include "qsnap-capture-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-snapshot-private.h"

/* Sealing: what the saver left is made a snapshot. */

/* --- UEFI variables ------------------------------------------------------------------------ */

/* An image that is not raw is read by the tool that knows its format. */
static int
open_converted (QsnapCapture *capture, QsnapDrive *drive, GError **error)
{
  const char *name = "nvram.tmp";
  g_autofree char *target = g_build_filename (capture->path, name, NULL);
  g_autoptr (GSubprocess) process = NULL;
  g_autofree char *complaint = NULL;
  int fd;

  process = g_subprocess_new (G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_PIPE,
                              error, "qemu-img", "convert", "-U", "-f", qsnap_drive_format (drive),
                              "-O", "raw", drive->file, target, NULL);
  if (process == NULL ||
      !g_subprocess_communicate_utf8 (process, NULL, NULL, NULL, &complaint, error))
    return -1;

  if (!g_subprocess_get_successful (process))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "qemu-img cannot read %s: %s",
                   drive->file, g_strstrip (complaint));
      return -1;
    }

  fd = openat (capture->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    qsnap_io_fail (error, errno, "%s", target);
  (void)unlinkat (capture->dir_fd, name, 0);

  return fd;
}

static int
open_nvram (QsnapCapture *capture, QsnapDrive *drive, GError **error)
{
  int fd;

  if (!g_str_equal (qsnap_drive_format (drive), "raw"))
    return open_converted (capture, drive, error);

  fd = open (drive->file, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    qsnap_io_fail (error, errno, "%s", drive->file);

  return fd;
}

/* QEMU does not protect the RAM of pflash, so a variable that was written while memory was saved
 * may be in the image; the drive's base has them as they were at the point in time. */
static gboolean
take_nvram_of_base (QsnapCapture *capture, JsonObject *memory, QsnapDrive *drive, GError **error)
{
  int fd = open_nvram (capture, drive, error);
  gboolean taken;

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
sync_disk (QsnapDrive *drive, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (drive->overlay_file);
  g_autoptr (JsonObject) noted = qsnap_file_identity_to_json (&drive->base);

  return qsnap_io_sync_path (drive->file, 0, error) &&
         qsnap_io_sync_path (drive->overlay_file, 0, error) &&
         qsnap_io_sync_path (folder, O_DIRECTORY, error) &&
         qsnap_file_identity_check (noted, drive->file, error);
}

gboolean
qsnap_capture_note_bases (QsnapCapture *capture, GError **error)
{
  for (guint i = 0; i < capture->guest->drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (capture->guest->drives, i);

      if (!qsnap_file_identity_read (&drive->base, drive->file, error))
        return FALSE;
    }

  return TRUE;
}

/* --- the manifest -------------------------------------------------------------------------- */

/* JSON is UTF-8; a command line is bytes. */
static JsonArray *
strings_to_json (const char *const *strings)
{
  JsonArray *array = json_array_new ();

  for (; strings != NULL && *strings != NULL; strings++)
    {
      g_autofree char *valid = g_utf8_make_valid (*strings, -1);

      json_array_add_string_element (array, valid);
    }

  return array;
}

static JsonObject *
disk_to_json (QsnapDrive *drive)
{
  JsonObject *base = qsnap_file_identity_to_json (&drive->base);
  JsonObject *overlay = qsnap_json_object_new ("file", 's', drive->overlay_file, "format", 's',
                                               "qcow2", "node", 's', drive->overlay_node, NULL);

  json_object_set_string_member (base, "file", drive->file);
  json_object_set_string_member (base, "format", qsnap_drive_format (drive));
  if (drive->chain != NULL && *drive->chain != NULL)
    json_object_set_array_member (base, "chain",
                                  strings_to_json ((const char *const *)drive->chain));

  return qsnap_json_object_new ("device", 's', qsnap_drive_label (drive), "qdev", 's', drive->qdev,
                                "node", 's', drive->node, "size", 'i', drive->size, "nvram-block",
                                's', drive->nvram_block, "base", 'o', base, "overlay", 'o', overlay,
                                NULL);
}

static JsonArray *
disks_to_json (GPtrArray *drives)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < drives->len; i++)
    json_array_add_object_element (array, disk_to_json (g_ptr_array_index (drives, i)));

  return array;
}

/* So that a revert by the same program need not ask it what it can do. */
static JsonObject *
program_to_json (QsnapProcess *process)
{
  QsnapFileIdentity identity;

  if (process->program == NULL || !g_utf8_validate (process->program, -1, NULL) ||
      !qsnap_file_identity_read (&identity, process->program, NULL))
    return NULL;

  return qsnap_file_identity_to_json (&identity);
}

static JsonObject *
qemu_to_json (QsnapGuest *guest)
{
  QsnapProcess *process = guest->process;
  JsonArray *command_line = NULL;
  g_autofree char *directory =
      process->directory != NULL ? g_utf8_make_valid (process->directory, -1) : NULL;
  g_autofree char *module_dir =
      process->module_dir != NULL ? g_utf8_make_valid (process->module_dir, -1) : NULL;

  if (process->command_line != NULL)
    command_line = strings_to_json ((const char *const *)process->command_line);

  return qsnap_json_object_new ("version", 's', guest->version, "machine", 's', guest->machine,
                                "command-line", 'a', command_line, "directory", 's', directory,
                                "program", 'o', program_to_json (process), "module-directory", 's',
                                module_dir, NULL);
}

static void
count_memory (JsonObject *memory, gint64 *size, gint64 *data)
{
  JsonArray *blocks = qsnap_json_get_array (memory, "blocks");

  *size = 0;
  for (guint i = 0; blocks != NULL && i < json_array_get_length (blocks); i++)
    *size += qsnap_json_get_int (qsnap_json_array_object (blocks, i), "length", 0);
  *data = qsnap_json_get_int (memory, "pages", 0) * qsnap_json_get_int (memory, "page-size", 0);
}

static void
note_memory (JsonObject *guest, JsonObject *memory)
{
  gint64 size, data;

  count_memory (memory, &size, &data);
  json_object_set_int_member (guest, "memory-size", size);
  json_object_set_int_member (guest, "data-size", data);
}

static JsonObject *
guest_to_json (QsnapGuest *guest, JsonObject *memory)
{
  JsonObject *object =
      qsnap_json_object_new ("name", 's', guest->name, "uuid", 's', guest->uuid, "run-state", 's',
                             guest->run_state, "vcpus", 'i', guest->n_vcpus, NULL);

  if (memory != NULL)
    note_memory (object, memory);

  return object;
}

/* The pause is from QEMU's STOP to its RESUME, by QEMU's own stamps. We are on the same host, so
 * what we saw in between can be laid beside them; what the messages took on their way is not
 * counted. */
static JsonObject *
timing_to_json (QsnapCapture *capture)
{
  gint64 to_monotonic = g_get_monotonic_time () - g_get_real_time ();
  gint64 resumed =
      qsnap_watch_time_of (capture->watch, QSNAP_RUN_RESUME, capture->first_event_after_disks);
  gint64 begin = capture->guest->was_running ? capture->moment + to_monotonic : capture->stopped;
  gint64 end = resumed > 0 ? resumed + to_monotonic : capture->resumed;
  gint64 point = MIN (capture->point_in_time, end);
  JsonObject *object = qsnap_json_object_new (
      "pause-us", 'i', capture->guest->was_running ? MAX (end - begin, 0) : 0, "stop-us", 'i',
      MAX (capture->stopped - begin, 0), "disks-us", 'i', capture->disks_done - capture->stopped,
      "memory-us", 'i', MAX (point - capture->disks_done, 0), "resume-us", 'i',
      MAX (end - point, 0), NULL);

  if (capture->saved > 0)
    json_object_set_int_member (object, "save-us", capture->saved - capture->point_in_time);

  return object;
}

static char *
moment_to_text (gint64 moment)
{
  g_autoptr (GDateTime) seconds = g_date_time_new_from_unix_utc (moment / G_USEC_PER_SEC);
  g_autoptr (GDateTime) time = g_date_time_add (seconds, moment % G_USEC_PER_SEC);

  return g_date_time_format_iso8601 (time);
}

static JsonObject *
describe (QsnapCapture *capture, JsonObject *memory)
{
  g_auto (GStrv) warnings = qsnap_report_get_warnings (capture->report);
  g_autofree char *time = moment_to_text (capture->moment);

  return qsnap_json_object_new (
      "name", 's', capture->name, "id", 's', capture->id, "time", 's', time, "qemu", 'o',
      qemu_to_json (capture->guest), "guest", 'o', guest_to_json (capture->guest, memory), "disks",
      'a', disks_to_json (capture->guest->drives), "timing", 'o', timing_to_json (capture),
      "warnings", 'a', strings_to_json ((const char *const *)warnings), "memory", 'o',
      memory != NULL ? json_object_ref (memory) : NULL, NULL);
}

/* How long saving took is known by the client that died. */
static JsonObject *
describe_recovered (QsnapCapture *capture, JsonObject *memory)
{
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (json_object_ref (capture->recovered));
  g_autoptr (JsonNode) copy = json_node_copy (node);
  JsonObject *description = json_node_dup_object (copy);

  if (memory != NULL)
    {
      note_memory (qsnap_json_get_object (description, "guest"), memory);
      json_object_set_object_member (description, "memory", json_object_ref (memory));
    }

  return description;
}

JsonObject *
qsnap_capture_describe (QsnapCapture *capture, JsonObject *memory)
{
  if (capture->recovered != NULL)
    return describe_recovered (capture, memory);

  return describe (capture, memory);
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
  if (!qsnap_io_sync_path (parent, O_DIRECTORY, error) ||
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
  const char *expected = capture->plain ? "migration" : "background-snapshot";
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
  g_autoptr (JsonObject) memory = qsnap_image_load_json (capture->dir_fd, error);

  if (memory == NULL || !check_kind (capture, memory, error) ||
      !qsnap_journal_step (&capture->journal, "sealing", error))
    return FALSE;

  for (guint i = 0; i < drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (drives, i);

      if ((drive->nvram_block != NULL && !take_nvram_of_base (capture, memory, drive, error)) ||
          !sync_disk (drive, error))
        return FALSE;
    }

  if (!qsnap_capture_go_on (capture, error) || !write_snapshot (capture, memory, error))
    return FALSE;

  /* The snapshot exists. What is left over of its making harms nobody. */
  (void)unlinkat (capture->dir_fd, QSNAP_IMAGE_JSON, 0);

  return TRUE;
}
