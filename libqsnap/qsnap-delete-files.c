/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-image.h"
#include "memory/qsnap-io.h"
#include "qsnap-about.h"
#include "qsnap-delete-private.h"
#include "qsnap-journal.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-snapshot-private.h"

/* The snapshot's directory while it is deleted: deleted.json is the manifest under another name, so
 * that one rename is the moment from which there is no snapshot; deleting.json says what was done.
 */

#define JOURNAL "deleting.json"
#define MAX_JOURNAL (16 * 1024 * 1024)

static const char *const state_names[] = { "waiting", "merging", "merged" };

/* --- the journal --------------------------------------------------------------------------- */

gboolean
qsnap_delete_write_journal (QsnapDelete *deletion, GError **error)
{
  JsonArray *disks = json_array_new ();
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *text = NULL;

  for (guint i = 0; i < deletion->disks->len; i++)
    {
      QsnapDeleteDisk *disk = deletion->disks->pdata[i];

      json_array_add_object_element (
          disks,
          qsnap_json_object_new ("device", 's', disk->label, "base", 's', disk->base, "overlay",
                                 's', disk->overlay, "state", 's', state_names[disk->state], NULL));
    }
  node = qsnap_json_node_new ("format", 's', "qsnap-deletion", "schema", 'i', (gint64)1, "stopped",
                              'b', deletion->stopped, "disks", 'a', disks, NULL);
  text = qsnap_json_to_text (node, TRUE);

  return qsnap_io_replace (deletion->dir_fd, JOURNAL, text, strlen (text), error);
}

static gboolean
corrupt (GError **error)
{
  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                       JOURNAL ": it does not belong to this snapshot");

  return FALSE;
}

static gboolean
take_state (QsnapDeleteDisk *disk, JsonObject *noted)
{
  const char *state = qsnap_json_get_string (noted, "state");

  if (g_strcmp0 (qsnap_json_get_string (noted, "overlay"), disk->overlay) != 0)
    return FALSE;

  for (guint i = 0; i < G_N_ELEMENTS (state_names); i++)
    if (g_strcmp0 (state, state_names[i]) == 0)
      {
        disk->state = (QsnapDeleteState)i;
        return TRUE;
      }

  return FALSE;
}

static gboolean
take_journal (QsnapDelete *deletion, JsonObject *journal, GError **error)
{
  JsonArray *disks = qsnap_json_get_array (journal, "disks");

  if (g_strcmp0 (qsnap_json_get_string (journal, "format"), "qsnap-deletion") != 0 ||
      qsnap_json_get_int (journal, "schema", 0) != 1 || disks == NULL ||
      json_array_get_length (disks) != deletion->disks->len)
    return corrupt (error);

  deletion->stopped = qsnap_json_get_bool (journal, "stopped", FALSE);
  for (guint i = 0; i < deletion->disks->len; i++)
    if (!take_state (deletion->disks->pdata[i], qsnap_json_array_object (disks, i)))
      return corrupt (error);

  return TRUE;
}

gboolean
qsnap_delete_read_journal (QsnapDelete *deletion, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (JsonNode) node = NULL;
  gsize length;
  g_autofree char *text =
      qsnap_io_read_whole (deletion->dir_fd, JOURNAL, MAX_JOURNAL, &length, &failure);

  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    return TRUE;

  if (text != NULL)
    node = qsnap_json_parse_object (text, length, &failure);
  if (node != NULL)
    return take_journal (deletion, json_node_get_object (node), error);

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

/* --- the mark ------------------------------------------------------------------------------ */

static gboolean
rename_manifest (QsnapDelete *deletion, const char *from, const char *to, GError **error)
{
  if (renameat (deletion->dir_fd, from, deletion->dir_fd, to) != 0)
    return qsnap_io_fail (error, errno, "cannot rename %s/%s", deletion->path, from);

  deletion->marked = !deletion->marked;
  qsnap_snapshot_set_deleting (deletion->snapshot, deletion->marked);

  return qsnap_io_fsync (deletion->dir_fd, deletion->path, error);
}

gboolean
qsnap_delete_mark (QsnapDelete *deletion, GError **error)
{
  return deletion->marked ||
         (qsnap_delete_write_journal (deletion, error) &&
          rename_manifest (deletion, QSNAP_MANIFEST_FILE, QSNAP_MANIFEST_DELETED, error));
}

/* A block device does not tell whether it was written. */
static gboolean
is_untouched (const QsnapDeleteDisk *disk)
{
  if (disk->state == QSNAP_DELETE_WAITING)
    return TRUE;

  return disk->state == QSNAP_DELETE_MERGING &&
         !qsnap_json_get_bool (disk->identity, "block-device", FALSE) &&
         qsnap_file_identity_check (disk->identity, disk->base, NULL);
}

void
qsnap_delete_unmark (QsnapDelete *deletion)
{
  if (!deletion->marked || deletion->stopped)
    return;

  for (guint i = 0; i < deletion->disks->len; i++)
    if (!is_untouched (deletion->disks->pdata[i]))
      return;

  if (rename_manifest (deletion, QSNAP_MANIFEST_DELETED, QSNAP_MANIFEST_FILE, NULL))
    (void)unlinkat (deletion->dir_fd, JOURNAL, 0);
}

/* --- the rest ------------------------------------------------------------------------------ */

static gboolean
remove_name (int dir_fd, const char *name, int flags, GError **error)
{
  return unlinkat (dir_fd, name, flags) == 0 || errno == ENOENT ||
         qsnap_io_fail (error, errno, "cannot remove %s", name);
}

static gboolean
remove_files_in (int folder_fd, GError **error)
{
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", folder_fd);
  g_autoptr (GDir) dir = g_dir_open (path, 0, error);
  const char *name;

  if (dir == NULL)
    return FALSE;

  while ((name = g_dir_read_name (dir)) != NULL)
    if (!remove_name (folder_fd, name, 0, error))
      return FALSE;

  return TRUE;
}

static gboolean
remove_folder (int dir_fd, const char *name, GError **error)
{
  int folder_fd = openat (dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  gboolean removed;

  if (folder_fd < 0)
    return errno == ENOENT || qsnap_io_fail (error, errno, "%s", name);

  removed = remove_files_in (folder_fd, error);
  close (folder_fd);

  return removed && remove_name (dir_fd, name, AT_REMOVEDIR, error);
}

/* A manifest may name any file: what is removed belongs to the one who has the snapshot. */
static gboolean
remove_image (QsnapDelete *deletion, const char *path, GError **error)
{
  struct stat directory, image;

  if (lstat (path, &image) != 0)
    return errno == ENOENT || qsnap_io_fail (error, errno, "%s", path);
  if (fstat (deletion->dir_fd, &directory) != 0)
    return qsnap_io_fail (error, errno, "%s", deletion->path);
  if (S_ISREG (image.st_mode) && image.st_uid == directory.st_uid)
    return remove_name (AT_FDCWD, path, 0, error);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "%s is no file of the user whose snapshot this is: it is left alone", path);

  return FALSE;
}

/* Copies that the caller wanted somewhere else. */
static gboolean
remove_images (QsnapDelete *deletion, GError **error)
{
  for (guint i = 0; i < deletion->images->len; i++)
    if (!remove_image (deletion, deletion->images->pdata[i], error))
      return FALSE;

  return TRUE;
}

/* What is not a snapshot's is not ours to remove: the directory stays for it. */
gboolean
qsnap_delete_remove_files (QsnapDelete *deletion, GError **error)
{
  static const char *const names[] = { "state",
                                       QSNAP_ABOUT_FILE,
                                       "." QSNAP_ABOUT_FILE ".new",
                                       QSNAP_IMAGE_JSON,
                                       "nvram.tmp",
                                       QSNAP_JOURNAL_FILE,
                                       "." QSNAP_MANIFEST_FILE ".new",
                                       "." QSNAP_JOURNAL_FILE ".new",
                                       "." JOURNAL ".new",
                                       JOURNAL,
                                       NULL };

  if (!remove_folder (deletion->dir_fd, QSNAP_IMAGE_RAM_DIR, error) ||
      !remove_images (deletion, error) || !remove_folder (deletion->dir_fd, QSNAP_DISKS_DIR, error))
    return FALSE;

  for (guint i = 0; names[i] != NULL; i++)
    if (!remove_name (deletion->dir_fd, names[i], 0, error))
      return FALSE;

  if (!remove_name (deletion->dir_fd, QSNAP_MANIFEST_DELETED, 0, error))
    return FALSE;
  if (rmdir (deletion->path) != 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
    return qsnap_io_fail (error, errno, "cannot remove %s", deletion->path);

  return TRUE;
}
