/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture-private.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-siblings.h"

/* Which snapshot the guest came from, by the images that its disks are on. Only those in the same
 * folder are looked at. */

typedef struct
{
  GPtrArray *drives;
  GDateTime *time;
  JsonObject *parent;
} ParentSearch;

/* The image that a revert's own stands on. */
static gboolean
was_reverted (QsnapDrive *drive, JsonObject *disk, const char *folder)
{
  g_autofree char *base = qsnap_manifest_disk_base (disk, folder);

  return base != NULL && drive->chain != NULL && drive->chain[0] != NULL &&
         qsnap_manifest_disk_mode (disk) != QSNAP_DISK_MODE_EXCLUDE &&
         qsnap_is_same_file (base, drive->chain[0]);
}

/* What was merged away since its QEMU was started is still on the command line of that. */
static void
inherit_merged (QsnapDrive *drive, JsonObject *disk)
{
  JsonArray *merged = qsnap_json_get_array (qsnap_manifest_disk_source (disk), "merged");

  g_clear_pointer (&drive->merged_files, json_array_unref);
  if (merged != NULL)
    drive->merged_files = json_array_ref (merged);
}

static gboolean
is_parent (ParentSearch *search, const QsnapSibling *sibling)
{
  JsonArray *disks = qsnap_json_get_array (sibling->manifest, "disks");

  gboolean found = FALSE;

  for (guint i = 0; i < json_array_get_length (disks); i++)
    for (guint j = 0; j < search->drives->len; j++)
      {
        JsonObject *disk = qsnap_json_array_object (disks, i);
        QsnapDrive *drive = search->drives->pdata[j];
        const char *next = qsnap_manifest_disk_goes_on_in (disk);

        if (drive->file == NULL || ((next == NULL || !qsnap_is_same_file (next, drive->file)) &&
                                    !was_reverted (drive, disk, sibling->folder)))
          continue;
        found = TRUE;
        inherit_merged (drive, disk);
      }

  return found;
}

/* Of several the latest: with a clone or a copy, the guest stays on its image. */
static gboolean
look_at (const QsnapSibling *sibling, gpointer data, GError **error)
{
  ParentSearch *search = data;
  const char *text = qsnap_json_get_string (sibling->manifest, "time");
  const char *id = qsnap_json_get_string (sibling->manifest, "id");
  g_autoptr (GDateTime) time = NULL;
  g_autofree char *directory = NULL;

  if (sibling->manifest == NULL || sibling->deleting || id == NULL)
    return TRUE;

  time = g_date_time_new_from_iso8601 (text, NULL);
  if ((search->time != NULL && g_date_time_compare (time, search->time) < 0) ||
      !is_parent (search, sibling))
    return TRUE;

  g_clear_pointer (&search->time, g_date_time_unref);
  search->time = g_steal_pointer (&time);
  g_clear_pointer (&search->parent, json_object_unref);
  directory = g_path_get_basename (sibling->folder);
  search->parent = qsnap_json_object_new (
      "id", 's', id, "name", 's', qsnap_json_get_string (sibling->manifest, "name"), "directory",
      's', g_utf8_validate (directory, -1, NULL) ? directory : NULL, NULL);

  return TRUE;
}

void
qsnap_capture_find_parent (QsnapCapture *capture)
{
  ParentSearch search = { .drives = capture->guest->drives };

  /* A folder that cannot be read has none that matters. */
  (void)qsnap_siblings_visit (capture->path, look_at, &search, capture->cancellable, NULL);
  g_clear_pointer (&search.time, g_date_time_unref);
  capture->parent = search.parent;
}
