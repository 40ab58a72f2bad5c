/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-delete-private.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"
#include "qsnap-qemu-img.h"
#include "qsnap-siblings.h"
#include "qsnap-snapshot-private.h"

/* A snapshot that is not the newest: its overlay is the base of the next one. When the base has all
 * that is in the overlay, it holds the next one's disk as well: headers of images and manifests of
 * snapshots are made to say so, before the overlay is removed. All of it can be done again. */

/* --- chains -------------------------------------------------------------------------------- */

/* Where in the chain @file is; -1: it is not there. */
static int
find_in_chain (JsonObject *image, const char *file)
{
  JsonArray *chain = qsnap_json_get_array (image, "chain");

  for (guint i = 0; chain != NULL && i < json_array_get_length (chain); i++)
    {
      const char *name = qsnap_json_array_string (chain, i);

      if (name != NULL && qsnap_is_same_file (name, file))
        return (int)i;
    }

  return -1;
}

static gboolean
is_image (JsonObject *image, const char *file)
{
  const char *name = qsnap_json_get_string (image, "file");

  return name != NULL && qsnap_is_same_file (name, file);
}

/* How many images are above @file: 0 is itself; -1: it does not stand on it. */
static int
depth_of (JsonObject *image, const char *file)
{
  int at = find_in_chain (image, file);

  if (is_image (image, file))
    return 0;

  return at < 0 ? -1 : at + 1;
}

/* --- may they? ----------------------------------------------------------------------------- */

/* The header of @file names the overlay. Its own QEMU changes it, and no other one can. */
static gboolean
header_can_change (QsnapDelete *deletion, const char *file)
{
  struct stat found;

  return !qsnap_image_is_locked (file) ||
         (deletion->guest != NULL && stat (file, &found) == 0 &&
          qsnap_process_has_open (deletion->guest->process, &found) != QSNAP_OPEN_NO);
}

static gboolean
disk_can_follow (QsnapDelete *deletion, QsnapDeleteDisk *merged, JsonObject *disk)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  const char *overlay = qsnap_json_get_string (qsnap_json_get_object (disk, "overlay"), "file");
  QsnapDiskMode mode = qsnap_manifest_disk_mode (disk);
  int depth = depth_of (base, merged->overlay);

  /* It does not see what the guest wrote since. */
  if (depth < 0)
    return depth_of (base, merged->base) < 0;
  if (depth_of (base, merged->base) != depth + 1)
    return FALSE;

  switch (mode)
    {
    case QSNAP_DISK_MODE_OVERLAY:
      if (depth == 0)
        return qsnap_file_identity_check (base, merged->overlay, NULL) &&
               (overlay != NULL ? header_can_change (deletion, overlay)
                                : !json_object_has_member (disk, "overlay"));
      return depth > 1 ||
             (qsnap_file_identity_check (base, qsnap_json_get_string (base, "file"), NULL) &&
              header_can_change (deletion, qsnap_json_get_string (base, "file")));
    case QSNAP_DISK_MODE_CLONE:
      return depth > 0;
    case QSNAP_DISK_MODE_EXCLUDE:
      return TRUE;
    case QSNAP_DISK_MODE_INTERNAL:
      /* What is inside the overlay is not merged; and nobody's overlay says whose header it is. */
    case QSNAP_DISK_MODE_COPY:
      return depth > 1;
    case QSNAP_DISK_MODE_AUTO:
    default:
      return FALSE;
    }
}

static gboolean
lock_heir (QsnapDelete *deletion, const char *folder)
{
  int dir_fd;

  if (g_hash_table_contains (deletion->heirs, folder))
    return TRUE;

  dir_fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir_fd < 0)
    return FALSE;
  if (!qsnap_snapshot_lock_directory (dir_fd, TRUE, NULL))
    {
      close (dir_fd);
      return FALSE;
    }

  g_hash_table_insert (deletion->heirs, g_strdup (folder), GINT_TO_POINTER (dir_fd));

  return TRUE;
}

gboolean
qsnap_delete_can_follow (const char *folder, JsonObject *manifest, JsonObject *disk, gpointer data)
{
  QsnapDelete *deletion = data;

  for (guint i = 0; i < deletion->images->len; i++)
    if (depth_of (qsnap_json_get_object (disk, "base"), deletion->images->pdata[i]) >= 0)
      return FALSE;
  for (guint i = 0; i < deletion->internal->len; i++)
    {
      JsonObject *base = qsnap_json_get_object (deletion->internal->pdata[i], "base");

      if (depth_of (qsnap_json_get_object (disk, "base"), qsnap_json_get_string (base, "file")) >=
          0)
        return FALSE;
    }
  for (guint i = 0; i < deletion->disks->len; i++)
    {
      QsnapDeleteDisk *merged = deletion->disks->pdata[i];

      if (qsnap_delete_needs_merge (merged) && !disk_can_follow (deletion, merged, disk))
        return FALSE;
    }

  return lock_heir (deletion, folder);
}

/* --- headers ------------------------------------------------------------------------------- */

/* QEMU has done it for what its guest stands on. */
static gboolean
change_header (QsnapDeleteDisk *merged, const char *file, GError **error)
{
  if (file == NULL || !g_file_test (file, G_FILE_TEST_EXISTS) ||
      !qsnap_image_stands_on (file, merged->overlay) || qsnap_is_same_file (file, merged->base))
    return TRUE;

  return qsnap_qemu_img_rebase (file, merged->base, merged->base_format, error) &&
         qsnap_io_sync_path (file, 0, error);
}

/* --- manifests ----------------------------------------------------------------------------- */

static void
remove_from_chain (JsonObject *image, guint at)
{
  JsonArray *chain = qsnap_json_get_array (image, "chain");

  json_array_remove_element (chain, at);
  if (json_array_get_length (chain) == 0)
    json_object_remove_member (image, "chain");
}

/* FALSE: @image has nothing to do with it. */
static gboolean
take_out (JsonObject *image, JsonArray *command_line, const QsnapDeleteDisk *merged)
{
  int depth = image != NULL ? depth_of (image, merged->overlay) : -1;

  if (depth < 0)
    return FALSE;

  if (depth > 0)
    remove_from_chain (image, (guint)depth - 1);
  else
    {
      json_object_set_string_member (image, "file", merged->base);
      if (json_object_has_member (image, "format"))
        json_object_set_string_member (image, "format", merged->base_format);
      if (find_in_chain (image, merged->base) == 0)
        remove_from_chain (image, 0);
    }
  qsnap_manifest_disk_remember (image, command_line, merged->overlay);

  return TRUE;
}

static gboolean
relink_disk (JsonObject *disk,
             JsonArray *command_line,
             QsnapDeleteDisk *merged,
             gboolean *changed,
             GError **error)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  JsonObject *backing = qsnap_json_get_object (base, "backing");
  const char *overlay = qsnap_json_get_string (qsnap_json_get_object (disk, "overlay"), "file");
  QsnapDiskMode mode = qsnap_manifest_disk_mode (disk);
  int depth = depth_of (base, merged->overlay);

  *changed |= take_out (qsnap_json_get_object (disk, "source"), command_line, merged);
  if (depth < 0)
    return TRUE;

  *changed = TRUE;
  if (mode == QSNAP_DISK_MODE_OVERLAY && depth < 2 &&
      !change_header (merged, depth == 0 ? overlay : qsnap_json_get_string (base, "file"), error))
    return FALSE;
  if (backing != NULL && is_image (backing, merged->overlay))
    {
      json_object_set_string_member (backing, "file", merged->base);
      json_object_set_string_member (backing, "format", merged->base_format);
    }
  (void)take_out (base, command_line, merged);

  /* Its file is another now, or has another header. */
  return mode != QSNAP_DISK_MODE_OVERLAY || depth > 1 ||
         qsnap_manifest_disk_identify_file (disk, qsnap_json_get_string (base, "file"), error);
}

typedef struct
{
  QsnapDelete *deletion;
  QsnapDeleteDisk *merged;
} Relinking;

/* What a deletion that died has locked is locked now. */
static gboolean
write_manifest (QsnapDelete *deletion,
                const QsnapSibling *sibling,
                JsonObject *manifest,
                GError **error)
{
  if (!lock_heir (deletion, sibling->folder))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
                   "the snapshot in %s is being brought back or deleted by somebody else",
                   sibling->folder);
      return FALSE;
    }

  return qsnap_manifest_write (sibling->dir_fd, manifest, error);
}

static gboolean
relink_sibling (const QsnapSibling *sibling, gpointer data, GError **error)
{
  Relinking *relinking = data;
  g_autoptr (JsonObject) manifest = NULL;
  JsonArray *disks, *command_line;
  gboolean changed = FALSE;

  if (sibling->manifest == NULL || sibling->deleting)
    return TRUE;

  /* What is parsed cannot be changed. */
  manifest = qsnap_json_copy_object (sibling->manifest);
  disks = qsnap_json_get_array (manifest, "disks");
  command_line = qsnap_json_get_array (qsnap_json_get_object (manifest, "qemu"), "command-line");
  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (!relink_disk (qsnap_json_array_object (disks, i), command_line, relinking->merged, &changed,
                      error))
      return FALSE;

  return !changed || write_manifest (relinking->deletion, sibling, manifest, error);
}

gboolean
qsnap_delete_relink (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error)
{
  Relinking relinking = { deletion, disk };

  if (disk->state != QSNAP_DELETE_MERGED)
    return TRUE;

  /* The base's time of change must not change any more once it is written down. */
  return qsnap_io_sync_path (disk->base, 0, error) &&
         qsnap_siblings_visit (deletion->path, relink_sibling, &relinking, NULL, error);
}

/* --- parents ------------------------------------------------------------------------------- */

/* Of no use but for people: nothing fails for it. */
static gboolean
pass_on (const QsnapSibling *sibling, gpointer data, GError **error)
{
  QsnapDelete *deletion = data;
  JsonObject *parent = qsnap_json_get_object (sibling->manifest, "parent");
  JsonObject *own = qsnap_json_get_object (deletion->manifest, "parent");
  const char *id = qsnap_json_get_string (deletion->manifest, "id");
  g_autoptr (JsonObject) manifest = NULL;

  if (sibling->manifest == NULL || sibling->deleting || id == NULL ||
      g_strcmp0 (qsnap_json_get_string (parent, "id"), id) != 0)
    return TRUE;

  manifest = qsnap_json_copy_object (sibling->manifest);
  if (own != NULL)
    json_object_set_object_member (manifest, "parent", qsnap_json_copy_object (own));
  else
    json_object_remove_member (manifest, "parent");
  (void)write_manifest (deletion, sibling, manifest, NULL);

  return TRUE;
}

void
qsnap_delete_pass_on (QsnapDelete *deletion)
{
  (void)qsnap_siblings_visit (deletion->path, pass_on, deletion, NULL, NULL);
}
