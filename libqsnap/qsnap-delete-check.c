/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <string.h>
#include <sys/stat.h>

#include "qsnap-delete-private.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"

/* Every reason against a deletion, looked for before anything is changed. */

typedef struct
{
  QsnapDelete *deletion;
  GPtrArray *reasons;
  gboolean busy;
} Check;

static void G_GNUC_PRINTF (2, 3) object (Check *check, const char *format, ...)
{
  va_list values;

  va_start (values, format);
  g_ptr_array_add (check->reasons, g_strdup_vprintf (format, values));
  va_end (values);
}

static void G_GNUC_PRINTF (2, 3) object_busy (Check *check, const char *format, ...)
{
  va_list values;

  va_start (values, format);
  g_ptr_array_add (check->reasons, g_strdup_vprintf (format, values));
  va_end (values);
  check->busy = TRUE;
}

/* An overlay that is not there has nothing to merge, unless the guest still writes to it. */
gboolean
qsnap_delete_needs_merge (const QsnapDeleteDisk *disk)
{
  if (disk->overlay_node != NULL)
    return TRUE;

  return disk->has_overlay && disk->state != QSNAP_DELETE_MERGED;
}

static gboolean
any_needs_merge (QsnapDelete *deletion)
{
  for (guint i = 0; i < deletion->disks->len; i++)
    if (qsnap_delete_needs_merge (deletion->disks->pdata[i]))
      return TRUE;

  return FALSE;
}

/* --- the guest of the session -------------------------------------------------------------- */

static gboolean
check_migration (Check *check, GError **error)
{
  static const char *const at_rest[] = { "none", "completed", "failed", "cancelled", NULL };
  g_autoptr (JsonNode) reply =
      qsnap_qmp_run (&check->deletion->guest->qmp, "query-migrate", NULL, error);
  const char *status = qsnap_json_get_string (qsnap_json_object (reply), "status");

  if (reply == NULL)
    return FALSE;
  if (status != NULL && !g_strv_contains (at_rest, status))
    object_busy (check, "a capture or a migration is under way (status %s)", status);

  return TRUE;
}

static gboolean
check_jobs (Check *check, GError **error)
{
  g_autoptr (JsonNode) reply =
      qsnap_qmp_run (&check->deletion->guest->qmp, "query-jobs", NULL, error);
  JsonArray *jobs = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  for (guint i = 0; jobs != NULL && i < json_array_get_length (jobs); i++)
    {
      JsonObject *job = qsnap_json_array_object (jobs, i);
      const char *id = qsnap_json_get_string (job, "id");
      const char *status = qsnap_json_get_string (job, "status");

      /* One of a deletion that died is taken up. */
      if (id != NULL && !g_str_has_prefix (id, "qsnap-delete-") &&
          g_strcmp0 (status, "concluded") != 0)
        object_busy (check, "block job %s (%s, %s) is under way", id,
                     qsnap_json_get_string (job, "type"), status);
    }

  return TRUE;
}

/* The node of the base's format; below it is one of its file, which has the same name. */
static char *
choose_node (GPtrArray *names, GPtrArray *drivers, const char *format)
{
  const char *chosen = names->len == 1 ? names->pdata[0] : NULL;

  for (guint i = 0; names->len > 1 && i < names->len; i++)
    if (strcmp (drivers->pdata[i], format) == 0)
      {
        if (chosen != NULL)
          return NULL;
        chosen = names->pdata[i];
      }

  return g_strdup (chosen);
}

/* QEMU's node of @file, or NULL. */
static gboolean
find_node (Check *check, const char *path, const char *format, char **found, GError **error)
{
  QsnapGuest *guest = check->deletion->guest;
  g_autoptr (JsonNode) reply = qsnap_qmp_run (&guest->qmp, "query-named-block-nodes",
                                              qsnap_json_node_new ("flat", 'b', TRUE, NULL), error);
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  g_autoptr (GPtrArray) drivers = g_ptr_array_new ();
  JsonArray *nodes = qsnap_json_array (reply);

  if (reply == NULL)
    return FALSE;

  for (guint i = 0; nodes != NULL && i < json_array_get_length (nodes); i++)
    {
      JsonObject *node = qsnap_json_array_object (nodes, i);
      const char *name = qsnap_json_get_string (node, "node-name");
      const char *driver = qsnap_json_get_string (node, "drv");
      const char *filename = qsnap_json_get_string (node, "file");
      g_autofree char *file = filename != NULL
                                  ? qsnap_drive_resolve_file (&guest->qmp, guest->process, filename)
                                  : NULL;

      if (file == NULL || name == NULL || driver == NULL || !qsnap_is_same_file (file, path))
        continue;
      g_ptr_array_add (names, (gpointer)name);
      g_ptr_array_add (drivers, (gpointer)driver);
    }

  *found = choose_node (names, drivers, format);
  if (*found == NULL)
    object (check, "QEMU has %s open %u times, or not at all: which node is meant?", path,
            names->len);

  return TRUE;
}

static gboolean
chain_has (QsnapDrive *drive, const char *file)
{
  for (guint i = 0; drive->chain != NULL && drive->chain[i] != NULL; i++)
    if (qsnap_is_same_file (drive->chain[i], file))
      return TRUE;

  return FALSE;
}

/* The guest goes on in a later snapshot's overlay: the base has to be right below ours. */
static gboolean
take_middle (Check *check, QsnapDeleteDisk *disk, QsnapDrive *drive, GError **error)
{
  guint at = 0;

  while (!qsnap_is_same_file (drive->chain[at], disk->overlay))
    at++;
  /* The filter of a job that a dead client left has its file's name. */
  while (drive->chain[at + 1] != NULL && qsnap_is_same_file (drive->chain[at + 1], disk->overlay))
    at++;
  if (drive->chain[at + 1] == NULL || !qsnap_is_same_file (drive->chain[at + 1], disk->base))
    {
      object (check, "drive %s of the guest has %s, which does not stand on %s there",
              qsnap_drive_label (drive), disk->overlay, disk->base);
      return TRUE;
    }

  disk->top_node = g_strdup (drive->node);

  return find_node (check, disk->overlay, "qcow2", &disk->overlay_node, error) &&
         find_node (check, disk->base, disk->base_format, &disk->base_node, error);
}

static gboolean
check_drive (Check *check, QsnapDeleteDisk *disk, QsnapDrive *drive, GError **error)
{
  gboolean has_base;

  if (drive->file == NULL || disk->overlay_node != NULL)
    return TRUE;

  if (qsnap_is_same_file (drive->file, disk->overlay))
    {
      disk->overlay_node = g_strdup (drive->node);
      return find_node (check, disk->base, disk->base_format, &disk->base_node, error);
    }
  if (chain_has (drive, disk->overlay))
    return take_middle (check, disk, drive, error);

  has_base = qsnap_is_same_file (drive->file, disk->base) || chain_has (drive, disk->base);
  if (has_base && qsnap_delete_needs_merge (disk))
    object (check,
            "drive %s of the guest is on %s, which stands on %s or is it: this is not the "
            "guest that goes on in %s",
            qsnap_drive_label (drive), drive->file, disk->base, disk->overlay);

  return TRUE;
}

static gboolean
check_drives (Check *check, GError **error)
{
  QsnapDelete *deletion = check->deletion;
  QsnapGuest *guest = deletion->guest;
  g_autoptr (GPtrArray) drives = qsnap_drives_query (&guest->qmp, guest->process, NULL, error);
  gboolean found = FALSE;

  if (drives == NULL)
    return FALSE;

  for (guint i = 0; i < deletion->disks->len; i++)
    {
      QsnapDeleteDisk *disk = deletion->disks->pdata[i];

      for (guint j = 0; j < drives->len; j++)
        if (!check_drive (check, disk, drives->pdata[j], error))
          return FALSE;
      found |= disk->overlay_node != NULL;
    }

  if (!found && any_needs_merge (deletion) && check->reasons->len == 0)
    object (check,
            "the guest of this session is on none of its overlays: where no guest is, delete "
            "it without a session");

  return TRUE;
}

static gboolean
check_guest (Check *check, GError **error)
{
  return check_migration (check, error) && check_jobs (check, error) && check_drives (check, error);
}

/* --- images -------------------------------------------------------------------------------- */

/* A guest that was moved to the base already may still have nodes of the overlay. */
static gboolean
is_open_elsewhere (QsnapDelete *deletion, QsnapDeleteDisk *disk)
{
  struct stat found;

  if (disk->overlay_node != NULL || !disk->has_overlay || !qsnap_image_is_locked (disk->overlay))
    return FALSE;

  return deletion->guest == NULL || disk->state != QSNAP_DELETE_MERGED ||
         stat (disk->overlay, &found) != 0 ||
         qsnap_process_has_open (deletion->guest->process, &found) == QSNAP_OPEN_NO;
}

/* A revert reads what is removed. */
static void
check_own_images (Check *check)
{
  for (guint i = 0; i < check->deletion->images->len; i++)
    if (qsnap_image_is_locked (check->deletion->images->pdata[i]))
      object_busy (check, "%s is open in a QEMU, or another program",
                   (const char *)check->deletion->images->pdata[i]);
}

static void
check_image (Check *check, QsnapDeleteDisk *disk)
{
  g_autoptr (GError) changed = NULL;

  if (is_open_elsewhere (check->deletion, disk))
    object_busy (check, "%s is open in a QEMU: give the address of its monitor", disk->overlay);
  if (!qsnap_delete_needs_merge (disk))
    return;

  if (disk->overlay_node == NULL && qsnap_image_is_locked (disk->base))
    object_busy (check, "%s is open in a QEMU, or another program", disk->base);
  if (disk->state == QSNAP_DELETE_WAITING &&
      !qsnap_file_identity_check (disk->identity, disk->base, &changed))
    object (check, "%s: what %s holds does not fit to it any more", changed->message,
            disk->overlay);
}

static const char *
file_of_internal (JsonObject *disk)
{
  return qsnap_json_get_string (qsnap_json_get_object (disk, "base"), "file");
}

static gboolean
check_dependents (Check *check, GError **error)
{
  QsnapDelete *deletion = check->deletion;
  g_autoptr (GPtrArray) images = g_ptr_array_new ();

  for (guint i = 0; i < deletion->disks->len; i++)
    {
      QsnapDeleteDisk *disk = deletion->disks->pdata[i];

      if (!qsnap_delete_needs_merge (disk))
        continue;
      g_ptr_array_add (images, (gpointer)disk->overlay);
      g_ptr_array_add (images, (gpointer)disk->base);
    }

  for (guint i = 0; i < deletion->images->len; i++)
    g_ptr_array_add (images, deletion->images->pdata[i]);
  /* An image from which a snapshot is deleted is written. */
  for (guint i = 0; i < deletion->internal->len; i++)
    g_ptr_array_add (images, (gpointer)file_of_internal (deletion->internal->pdata[i]));

  return images->len == 0 ||
         qsnap_dependents_find (deletion->path, images, qsnap_delete_can_follow, deletion,
                                check->reasons, deletion->cancellable, error);
}

/* --- all of it ----------------------------------------------------------------------------- */

gboolean
qsnap_delete_check (QsnapDelete *deletion, GError **error)
{
  g_autoptr (GPtrArray) reasons = g_ptr_array_new_with_free_func (g_free);
  Check check = { deletion, reasons, FALSE };
  g_autofree char *all = NULL;

  if (deletion->guest != NULL && !check_guest (&check, error))
    return FALSE;
  for (guint i = 0; i < deletion->disks->len; i++)
    check_image (&check, deletion->disks->pdata[i]);
  check_own_images (&check);
  if (!check_dependents (&check, error))
    return FALSE;
  if (reasons->len == 0)
    return TRUE;

  g_ptr_array_add (reasons, NULL);
  all = g_strjoinv ("; ", (char **)reasons->pdata);
  g_set_error (error, QSNAP_ERROR, check.busy ? QSNAP_ERROR_BUSY : QSNAP_ERROR_BLOCKED,
               "snapshot %s cannot be deleted: %s",
               qsnap_json_get_string (deletion->manifest, "name"), all);

  return FALSE;
}
