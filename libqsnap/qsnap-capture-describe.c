/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"

/* What a capture knows of its snapshot, for the manifest. */

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

static JsonArray *
disks_to_json (QsnapCapture *capture)
{
  GPtrArray *drives = capture->guest->drives;
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < drives->len; i++)
    json_array_add_object_element (
        array, qsnap_capture_describe_disk (g_ptr_array_index (drives, i), capture->path));

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

static JsonObject *
describe (QsnapCapture *capture, JsonObject *memory)
{
  g_auto (GStrv) warnings = qsnap_report_get_warnings (capture->report);
  g_autofree char *time = qsnap_time_to_text (capture->moment);

  return qsnap_json_object_new (
      "name", 's', capture->name, "id", 's', capture->id, "time", 's', time, "mode", 's',
      qsnap_enum_nick (QSNAP_TYPE_SNAPSHOT_MODE, capture->guest->mode), "parent", 'o',
      capture->parent != NULL ? json_object_ref (capture->parent) : NULL, "qemu", 'o',
      qemu_to_json (capture->guest), "guest", 'o', guest_to_json (capture->guest, memory), "disks",
      'a', disks_to_json (capture), "read-only-disks", 'a',
      capture->guest->read_only != NULL ? json_array_ref (capture->guest->read_only) : NULL,
      "timing", 'o', timing_to_json (capture), "warnings", 'a',
      strings_to_json ((const char *const *)warnings), "memory", 'o',
      memory != NULL ? json_object_ref (memory) : NULL, NULL);
}

/* What the clones and copies are is known only now. */
static void
note_new_images (QsnapCapture *capture, JsonObject *description)
{
  JsonArray *disks = qsnap_json_get_array (description, "disks");

  for (guint i = 0; i < capture->guest->drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (capture->guest->drives, i);
      JsonObject *disk = disks != NULL && i < json_array_get_length (disks)
                             ? qsnap_json_array_object (disks, i)
                             : NULL;

      if (drive->new_file != NULL && drive->mode != QSNAP_DISK_MODE_OVERLAY && disk != NULL)
        qsnap_manifest_disk_identify (disk, &drive->base);
    }
}

/* How long saving took is known by the client that died. */
static JsonObject *
describe_recovered (QsnapCapture *capture, JsonObject *memory)
{
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (json_object_ref (capture->recovered));
  g_autoptr (JsonNode) copy = json_node_copy (node);
  JsonObject *description = json_node_dup_object (copy);

  note_new_images (capture, description);
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
