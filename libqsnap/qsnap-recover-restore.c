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

static void
restore_drive (QsnapCapture *capture, JsonObject *object, guint index)
{
  QsnapDrive *drive = g_new0 (QsnapDrive, 1);
  JsonObject *disk = disk_of_snapshot (capture, index);

  drive->device = g_strdup (qsnap_json_get_string (object, "device"));
  drive->qdev = g_strdup (qsnap_json_get_string (object, "qdev"));
  drive->node = g_strdup (qsnap_json_get_string (object, "base-node"));
  drive->file = g_strdup (qsnap_json_get_string (object, "base"));
  drive->driver = g_strdup (qsnap_json_get_string (object, "base-format"));
  drive->nvram_block = g_strdup (qsnap_json_get_string (object, "nvram-block"));
  drive->overlay_file = g_strdup (qsnap_json_get_string (object, "overlay"));
  drive->overlay_node = g_strdup (qsnap_json_get_string (object, "overlay-node"));
  drive->overlay_file_node = g_strdup (qsnap_json_get_string (object, "overlay-file-node"));
  drive->overlay_fdset = -1;
  drive->merged = qsnap_json_get_bool (object, QSNAP_JOURNAL_MERGED, FALSE);
  drive->size = qsnap_json_get_int (disk, "size", 0);
  qsnap_file_identity_from_json (&drive->base, qsnap_json_get_object (disk, "base"));
  g_ptr_array_add (capture->guest->drives, drive);
}

static void
restore_overlays (QsnapCapture *capture)
{
  JsonArray *overlays = qsnap_json_get_array (capture->journal.json, "overlays");

  for (guint i = 0; i < json_array_get_length (overlays); i++)
    {
      restore_drive (capture, qsnap_json_array_object (overlays, i), i);
      qsnap_capture_add_overlay (capture, g_ptr_array_index (capture->guest->drives, i));
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
  guest->shutdown_action = g_str_equal (action, "pause") ? "pause" : "poweroff";
  guest->ends_on_panic = qsnap_json_get_bool (journal, "ends-on-panic", TRUE);
  restore_capabilities (guest, qsnap_json_get_object (journal, "capabilities"));
  restore_overlays (capture);

  capture->plain = qsnap_guest_needs_plain_migration (guest);
  capture->max_bandwidth = qsnap_json_get_int (journal, "max-bandwidth", -1);
}
