/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-journal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"

static JsonArray *
overlays_to_json (GPtrArray *drives)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (drives, i);

      json_array_add_object_element (
          array, qsnap_json_object_new (
                     "device", 's', drive->device, "qdev", 's', drive->qdev, "base-node", 's',
                     drive->node, "base", 's', drive->file, "base-format", 's',
                     qsnap_drive_format (drive), "nvram-block", 's', drive->nvram_block, "overlay",
                     's', drive->overlay_file, "overlay-node", 's', drive->overlay_node,
                     "overlay-file-node", 's', drive->overlay_file_node, NULL));
    }

  return array;
}

/* The state of those that the capture changes, as they were found. */
static JsonObject *
capabilities_to_json (QsnapGuest *guest)
{
  JsonObject *object = json_object_new ();
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, guest->wanted_capabilities);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    json_object_set_boolean_member (
        object, name, GPOINTER_TO_INT (g_hash_table_lookup (guest->capabilities, name)));

  return object;
}

static gboolean
write_journal (QsnapJournal *journal, GError **error)
{
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (json_object_ref (journal->json));
  g_autofree char *text = qsnap_json_to_text (node, TRUE);

  return qsnap_io_replace (journal->dir_fd, QSNAP_JOURNAL_FILE, text, strlen (text), error);
}

gboolean
qsnap_journal_start (QsnapJournal *journal,
                     int dir_fd,
                     const char *id,
                     const char *name,
                     const char *address,
                     QsnapGuest *guest,
                     GError **error)
{
  journal->dir_fd = dir_fd;
  journal->json = qsnap_json_object_new (
      "format", 's', "qsnap-journal", "schema", 'i', (gint64)1, "step", 's', "preparing", "id", 's',
      id, "name", 's', name, "address", 's', address, "client-pid", 'i', (gint64)getpid (),
      "qemu-pid", 'i', (gint64)guest->process->pid, "qemu-version", 's', guest->version,
      "run-state", 's', guest->run_state, "shutdown-action", 's', guest->shutdown_action,
      "capabilities", 'o', capabilities_to_json (guest), "overlays", 'a',
      overlays_to_json (guest->drives), NULL);

  return write_journal (journal, error);
}

gboolean
qsnap_journal_step (QsnapJournal *journal, const char *step, GError **error)
{
  json_object_set_string_member (journal->json, "step", step);

  return write_journal (journal, error);
}

gboolean
qsnap_journal_remove (QsnapJournal *journal, GError **error)
{
  if (unlinkat (journal->dir_fd, QSNAP_JOURNAL_FILE, 0) == 0 || errno == ENOENT)
    return TRUE;

  return qsnap_io_fail (error, errno, "cannot remove " QSNAP_JOURNAL_FILE);
}

void
qsnap_journal_clear (QsnapJournal *journal)
{
  g_clear_pointer (&journal->json, json_object_unref);
}
