/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <string.h>

#include "qsnap-json.h"
#include "qsnap-recover-private.h"

/* Out of the journal, the capture as the client that died had it. */

static JsonObject *
disk_of_snapshot (QsnapCapture *capture, guint index)
{
  JsonArray *disks = qsnap_json_get_array (capture->recovered, "disks");

  return disks != NULL && index < json_array_get_length (disks)
             ? qsnap_json_array_object (disks, index)
             : NULL;
}

/* Whether a prepared overlay was used is all that is left of what the caller said of a disk. */
static QsnapDiskOptions *
restore_options (QsnapDrive *drive, JsonObject *object)
{
  QsnapDiskOptions *options;

  if (!qsnap_json_get_bool (object, "reused", FALSE))
    return NULL;

  options = qsnap_disk_options_new (drive->node, drive->mode);
  qsnap_disk_options_set_reuse (options, TRUE);

  return options;
}

static QsnapDrive *
restore_drive (QsnapCapture *capture, JsonObject *object, guint index)
{
  QsnapDrive *drive = g_new0 (QsnapDrive, 1);
  JsonObject *disk = disk_of_snapshot (capture, index);

  drive->mode = qsnap_json_get_enum (object, "mode", QSNAP_TYPE_DISK_MODE, 0);
  drive->device = g_strdup (qsnap_json_get_string (object, "device"));
  drive->qdev = g_strdup (qsnap_json_get_string (object, "qdev"));
  drive->node = g_strdup (qsnap_json_get_string (object, "base-node"));
  drive->file = g_strdup (qsnap_json_get_string (object, "base"));
  drive->driver = g_strdup (qsnap_json_get_string (object, "base-format"));
  drive->nvram_block = g_strdup (qsnap_json_get_string (object, "nvram-block"));
  drive->new_file = g_strdup (qsnap_json_get_string (object, "new-file"));
  drive->new_file_is_doubtful =
      drive->new_file != NULL &&
      !qsnap_journal_chose_name (drive->new_file,
                                 qsnap_json_get_string (capture->journal.json, "id"));
  drive->new_format =
      g_strcmp0 (qsnap_json_get_string (object, "new-format"), "raw") == 0 ? "raw" : "qcow2";
  drive->new_node = g_strdup (qsnap_json_get_string (object, "new-node"));
  drive->new_file_node = g_strdup (qsnap_json_get_string (object, "new-file-node"));
  drive->new_fdset = -1;
  drive->internal_name = g_strdup (qsnap_json_get_string (object, "internal-name"));
  drive->merged = qsnap_json_get_bool (object, QSNAP_JOURNAL_MERGED, FALSE);
  drive->copied = qsnap_json_get_bool (capture->journal.json, QSNAP_JOURNAL_JOBS_ENDED, FALSE);
  drive->size = qsnap_json_get_int (disk, "size", 0);
  drive->options = restore_options (drive, object);
  qsnap_file_identity_from_json (&drive->base, qsnap_json_get_object (disk, "base"));

  return drive;
}

static void
restore_disks (QsnapCapture *capture)
{
  JsonArray *disks = qsnap_json_get_array (capture->journal.json, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      QsnapDrive *drive = restore_drive (capture, qsnap_json_array_object (disks, i), i);

      g_ptr_array_add (capture->guest->drives, drive);
      qsnap_capture_add_task (capture, drive);
    }
}

static void
restore_capabilities (QsnapGuest *guest, JsonObject *found)
{
  g_autoptr (GList) names = json_object_get_members (found);

  guest->capabilities = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (GList *l = names; l != NULL; l = l->next)
    {
      char *name = g_strdup (l->data);
      gboolean state = qsnap_json_get_bool (found, name, FALSE);

      g_hash_table_insert (guest->capabilities, name, GINT_TO_POINTER (state));
      g_hash_table_insert (guest->wanted_capabilities, name, GINT_TO_POINTER (!state));
    }
}

void
qsnap_recover_restore (QsnapCapture *capture)
{
  JsonObject *journal = capture->journal.json;
  QsnapGuest *guest = capture->guest;
  const char *action = qsnap_json_get_string (journal, "shutdown-action");

  guest->version = g_strdup (qsnap_json_get_string (journal, "qemu-version"));
  guest->major = g_ascii_strtoll (guest->version, NULL, 10);
  guest->run_state = g_strdup (qsnap_json_get_string (journal, "run-state"));
  guest->was_running = g_str_equal (guest->run_state, "running");
  guest->mode = qsnap_json_get_enum (journal, "mode", QSNAP_TYPE_SNAPSHOT_MODE, 0);
  guest->leave = qsnap_json_get_enum (journal, "leave", QSNAP_TYPE_LEAVE, 0);
  guest->shutdown_action = g_str_equal (action, "pause") ? "pause" : "poweroff";
  guest->ends_on_panic = qsnap_json_get_bool (journal, "ends-on-panic", TRUE);
  restore_capabilities (guest, qsnap_json_get_object (journal, "capabilities"));
  restore_disks (capture);

  capture->plain = qsnap_guest_needs_plain_migration (guest);
  capture->live = qsnap_guest_is_saved_live (guest);
  capture->max_bandwidth = qsnap_json_get_int (journal, "max-bandwidth", -1);
}
