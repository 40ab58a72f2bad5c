/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

#define MAX_SIZE (16 * 1024 * 1024)

static JsonObject *
disk_to_json (QsnapDrive *drive)
{
  gboolean reuse = drive->options != NULL && qsnap_disk_options_get_reuse (drive->options);

  return qsnap_json_object_new (
      "mode", 's', qsnap_enum_nick (QSNAP_TYPE_DISK_MODE, drive->mode), "device", 's',
      drive->device, "qdev", 's', drive->qdev, "base-node", 's', drive->node, "base", 's',
      drive->file, "base-format", 's', qsnap_drive_format (drive), "nvram-block", 's',
      drive->nvram_block, "new-file", 's', drive->new_file, "new-format", 's', drive->new_format,
      "new-node", 's', drive->new_node, "new-file-node", 's', drive->new_file_node, "internal-name",
      's', drive->internal_name, "reused", 'b', reuse, NULL);
}

static JsonArray *
disks_to_json (GPtrArray *drives)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < drives->len; i++)
    json_array_add_object_element (array, disk_to_json (g_ptr_array_index (drives, i)));

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
                     gboolean directory_made,
                     const char *id,
                     const char *name,
                     const char *address,
                     const char *agent,
                     QsnapGuest *guest,
                     GError **error)
{
  journal->dir_fd = dir_fd;
  journal->json = qsnap_json_object_new (
      "format", 's', "qsnap-journal", "schema", 'i', (gint64)1, "step", 's', "preparing", "id", 's',
      id, "name", 's', name, "address", 's', address, "agent", 's', agent, "client-pid", 'i',
      (gint64)getpid (), "client-start", 'i', qsnap_process_start_time (getpid ()), "qemu-pid", 'i',
      (gint64)guest->process->pid, "qemu-start", 'i',
      qsnap_process_start_time (guest->process->pid), "qemu-version", 's', guest->version,
      "run-state", 's', guest->run_state, "mode", 's',
      qsnap_enum_nick (QSNAP_TYPE_SNAPSHOT_MODE, guest->mode), "leave", 's',
      qsnap_enum_nick (QSNAP_TYPE_LEAVE, guest->leave), "shutdown-action", 's',
      guest->shutdown_action, "ends-on-panic", 'b', guest->ends_on_panic, "capabilities", 'o',
      capabilities_to_json (guest), "disks", 'a', disks_to_json (guest->drives), "directory-made",
      'b', directory_made, NULL);

  return write_journal (journal, error);
}

void
qsnap_journal_note (QsnapJournal *journal, const char *name, JsonNode *value)
{
  json_object_set_member (journal->json, name, value);
}

void
qsnap_journal_flag (QsnapJournal *journal, const char *name)
{
  if (journal->json == NULL)
    return;

  json_object_set_boolean_member (journal->json, name, TRUE);
  (void)write_journal (journal, NULL);
}

void
qsnap_journal_note_merged (QsnapJournal *journal, QsnapDrive *drive)
{
  JsonArray *disks = qsnap_json_get_array (journal->json, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);

      if (g_strcmp0 (qsnap_json_get_string (disk, "new-node"), drive->new_node) == 0)
        json_object_set_boolean_member (disk, QSNAP_JOURNAL_MERGED, drive->merged);
    }

  (void)write_journal (journal, NULL);
}

void
qsnap_journal_let_go (QsnapJournal *journal)
{
  if (journal->json == NULL)
    return;

  json_object_set_int_member (journal->json, "client-start", 0);
  (void)write_journal (journal, NULL);
}

gboolean
qsnap_journal_step (QsnapJournal *journal, const char *step, GError **error)
{
  json_object_set_string_member (journal->json, "step", step);

  return write_journal (journal, error);
}

/* --- reading ------------------------------------------------------------------------------- */

static gboolean G_GNUC_PRINTF (2, 3) corrupt (GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list values;

  va_start (values, format);
  text = g_strdup_vprintf (format, values);
  va_end (values);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, QSNAP_JOURNAL_FILE ": %s", text);

  return FALSE;
}

static gboolean
check_strings (JsonObject *object, const char *const *names, GError **error)
{
  for (; *names != NULL; names++)
    if (qsnap_json_get_string (object, *names) == NULL)
      return corrupt (error, "%s is missing or wrong", *names);

  return TRUE;
}

gboolean
qsnap_journal_chose_name (const char *path, const char *id)
{
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *ending = g_strdup_printf (".qsnap-%s.qcow2", id);

  return g_str_has_suffix (name, ending) && strlen (name) > strlen (ending);
}

/* With nothing to resolve in it. */
static gboolean
is_plain (const char *path)
{
  g_autofree char *canonical = g_canonicalize_filename (path, "/");

  return g_str_equal (path, canonical);
}

/* Overlays are merged and removed by these names. Of what another user began only those are
 * believed that the library chooses itself. Clones and copies go with the snapshot's directory. */
static gboolean
check_new_file (QsnapJournal *journal, JsonObject *disk, const char *id, GError **error)
{
  const char *file = qsnap_json_get_string (disk, "new-file");

  if (file == NULL)
    return TRUE;
  if (!is_plain (file) || g_strcmp0 (qsnap_json_get_string (disk, "base"), file) == 0)
    return corrupt (error, "disks: %s is no name of a new image", file);
  if (journal->owner == geteuid () || qsnap_journal_chose_name (file, id) ||
      qsnap_json_get_enum (disk, "mode", QSNAP_TYPE_DISK_MODE, 0) != QSNAP_DISK_MODE_OVERLAY)
    return TRUE;

  return corrupt (error, "disks: %s is no name of an overlay of this capture", file);
}

static gboolean
check_disk (QsnapJournal *journal, JsonObject *disk, const char *id, GError **error)
{
  static const char *const strings[] = { "mode",     "base-node",     "base-format",
                                         "new-node", "new-file-node", NULL };
  const char *base = qsnap_json_get_string (disk, "base");
  g_autofree char *nodes = g_strdup_printf ("qsnap-%s-", id);

  if (!check_strings (disk, strings, error))
    return FALSE;
  if (qsnap_json_get_enum (disk, "mode", QSNAP_TYPE_DISK_MODE, -1) == -1)
    return corrupt (error, "disks: a mode is not known");
  if (base != NULL && !g_path_is_absolute (base))
    return corrupt (error, "disks: a path is not absolute");
  if (!g_str_has_prefix (qsnap_json_get_string (disk, "new-node"), nodes) ||
      !g_str_has_prefix (qsnap_json_get_string (disk, "new-file-node"), nodes))
    return corrupt (error, "disks: a node is not of this capture");

  return check_new_file (journal, disk, id, error);
}

static gboolean
check_disks (QsnapJournal *journal, JsonArray *disks, const char *id, GError **error)
{
  if (disks == NULL)
    return corrupt (error, "disks is missing or wrong");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);

      if (disk == NULL)
        return corrupt (error, "disks has an element that is no object");
      if (!check_disk (journal, disk, id, error))
        return FALSE;
    }

  return TRUE;
}

static gboolean
is_id (const char *id)
{
  return strlen (id) == 8 && strspn (id, "0123456789abcdef") == 8;
}

static gboolean
check_journal (QsnapJournal *read, JsonObject *journal, GError **error)
{
  static const char *const strings[] = {
    "step", "id", "name", "qemu-version", "run-state", "shutdown-action", NULL
  };

  if (g_strcmp0 (qsnap_json_get_string (journal, "format"), "qsnap-journal") != 0)
    return corrupt (error, "it is not the journal of a capture");
  if (qsnap_json_get_int (journal, "schema", 0) != 1)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                           QSNAP_JOURNAL_FILE ": another version of libqsnap wrote it");
      return FALSE;
    }
  if (qsnap_json_get_object (journal, "capabilities") == NULL)
    return corrupt (error, "capabilities is missing or wrong");

  if (!check_strings (journal, strings, error))
    return FALSE;
  if (!is_id (qsnap_json_get_string (journal, "id")))
    return corrupt (error, "id is wrong");

  return check_disks (read, qsnap_json_get_array (journal, "disks"),
                      qsnap_json_get_string (journal, "id"), error);
}

gboolean
qsnap_journal_read (QsnapJournal *journal, int dir_fd, GError **error)
{
  gsize length;
  g_autofree char *text = qsnap_io_read_with_owner (dir_fd, QSNAP_JOURNAL_FILE, MAX_SIZE, &length,
                                                    &journal->owner, error);
  g_autoptr (JsonNode) node = NULL;
  g_autoptr (JsonNode) copy = NULL;
  g_autoptr (GError) failure = NULL;

  if (text == NULL)
    return FALSE;

  node = qsnap_json_parse_object (text, length, &failure);
  if (node == NULL)
    return corrupt (error, "%s", failure->message);

  journal->dir_fd = dir_fd;
  if (!check_journal (journal, json_node_get_object (node), error))
    return FALSE;
  /* A copy: the parser's own cannot be changed. */
  copy = json_from_string (text, NULL);
  journal->json = json_node_dup_object (copy);

  return TRUE;
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
