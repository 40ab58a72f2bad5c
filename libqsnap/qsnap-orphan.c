/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "memory/qsnap-image.h"
#include "qsnap-dependents.h"
#include "qsnap-journal.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"
#include "qsnap-siblings.h"
#include "qsnap/qsnap.h"

/**
 * SECTION:qsnap-orphan
 * @title: QsnapOrphan
 * @short_description: A file that no snapshot needs, as far as that can be known
 *
 * A #QsnapOrphan is a file or directory that qsnap_orphan_list() has found, with the reason why
 * nothing seems to need it. Nothing is ever removed: what a guest that does not run is started
 * from, only its owner knows.
 *
 * Any thread may call its methods.
 */

/**
 * QsnapOrphan:
 *
 * A file that no snapshot needs, as far as that can be known.
 *
 * Since: 1.0
 */
struct _QsnapOrphan
{
  GObject parent_instance;

  GFile *file;
  char *reason;
  gboolean certain;
};

G_DEFINE_FINAL_TYPE (QsnapOrphan, qsnap_orphan, G_TYPE_OBJECT)

static void
qsnap_orphan_finalize (GObject *object)
{
  QsnapOrphan *self = QSNAP_ORPHAN (object);

  g_object_unref (self->file);
  g_free (self->reason);

  G_OBJECT_CLASS (qsnap_orphan_parent_class)->finalize (object);
}

static void
qsnap_orphan_class_init (QsnapOrphanClass *klass)
{
  G_OBJECT_CLASS (klass)->finalize = qsnap_orphan_finalize;
}

static void
qsnap_orphan_init (QsnapOrphan *self)
{
}

/**
 * qsnap_orphan_get_file:
 * @self: an orphan
 *
 * Which file or directory it is.
 *
 * Returns: (transfer none): its place
 *
 * Since: 1.0
 */
GFile *
qsnap_orphan_get_file (QsnapOrphan *self)
{
  g_return_val_if_fail (QSNAP_IS_ORPHAN (self), NULL);

  return self->file;
}

/**
 * qsnap_orphan_get_reason:
 * @self: an orphan
 *
 * Why nothing seems to need it, and what may need it after all, for people.
 *
 * Returns: a sentence
 *
 * Since: 1.0
 */
const char *
qsnap_orphan_get_reason (QsnapOrphan *self)
{
  g_return_val_if_fail (QSNAP_IS_ORPHAN (self), NULL);

  return self->reason;
}

/**
 * qsnap_orphan_get_certain:
 * @self: an orphan
 *
 * Whether it can be of no use to anybody: it is in a directory of libqsnap's own, and nothing can
 * be made of it.
 *
 * Returns: %FALSE where its owner has to know
 *
 * Since: 1.0
 */
gboolean
qsnap_orphan_get_certain (QsnapOrphan *self)
{
  g_return_val_if_fail (QSNAP_IS_ORPHAN (self), FALSE);

  return self->certain;
}

/* --- searching ----------------------------------------------------------------------------- */

typedef struct
{
  GListStore *found;
  /* Paths that are named somewhere; folders with images. */
  GHashTable *named;
  GHashTable *folders;
} Search;

static void G_GNUC_PRINTF (4, 5)
    add (Search *search, const char *path, gboolean certain, const char *format, ...)
{
  g_autoptr (QsnapOrphan) orphan = g_object_new (QSNAP_TYPE_ORPHAN, NULL);
  va_list values;

  va_start (values, format);
  orphan->file = g_file_new_for_path (path);
  orphan->reason = g_strdup_vprintf (format, values);
  orphan->certain = certain;
  va_end (values);
  g_list_store_append (search->found, orphan);
}

static void
note_name (Search *search, const char *path)
{
  if (path == NULL || !g_path_is_absolute (path))
    return;

  g_hash_table_add (search->named, g_strdup (path));
  g_hash_table_add (search->folders, g_path_get_dirname (path));
}

static void
note_image (Search *search, JsonObject *image)
{
  JsonArray *chain = qsnap_json_get_array (image, "chain");

  note_name (search, qsnap_json_get_string (image, "file"));
  for (guint i = 0; chain != NULL && i < json_array_get_length (chain); i++)
    note_name (search, qsnap_json_array_string (chain, i));
}

static void
note_disks (Search *search, JsonObject *object)
{
  JsonArray *disks = qsnap_json_get_array (object, "disks");

  for (guint i = 0; disks != NULL && i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);

      note_image (search, qsnap_json_get_object (disk, "base"));
      note_image (search, qsnap_json_get_object (disk, "source"));
      note_image (search, qsnap_json_get_object (disk, "overlay"));
      /* A journal's. */
      note_name (search, qsnap_json_get_string (disk, "base"));
      note_name (search, qsnap_json_get_string (disk, "new-file"));
    }
}

/* --- directories of libqsnap --------------------------------------------------------------- */

/* Clones and copies that the manifest does not know. */
static void
look_at_own_images (Search *search, const QsnapSibling *sibling)
{
  g_autofree char *folder = g_build_filename (sibling->folder, QSNAP_DISKS_DIR, NULL);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  JsonArray *disks = qsnap_json_get_array (sibling->manifest, "disks");
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      gboolean known = FALSE;

      for (guint i = 0; i < json_array_get_length (disks); i++)
        {
          g_autofree char *base =
              qsnap_manifest_disk_base (qsnap_json_array_object (disks, i), sibling->folder);

          known |= base != NULL && qsnap_is_same_file (base, path);
        }
      if (!known)
        add (search, path, TRUE, "it is in the directory of snapshot %s, which does not name it",
             qsnap_json_get_string (sibling->manifest, "name"));
    }
}

static gboolean
is_locked (int dir_fd)
{
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", dir_fd);
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  gboolean locked;

  if (fd < 0)
    return TRUE;

  locked = flock (fd, LOCK_SH | LOCK_NB) != 0;
  close (fd);

  return locked;
}

static gboolean
look_at_sibling (const QsnapSibling *sibling, gpointer data, GError **error)
{
  Search *search = data;

  note_disks (search, sibling->manifest != NULL ? sibling->manifest : sibling->journal);
  if (is_locked (sibling->dir_fd))
    return TRUE;

  if (sibling->journal != NULL)
    add (search, sibling->folder, FALSE,
         "a capture into it did not end: `qsnap recover` finishes or undoes it");
  else if (sibling->deleting)
    add (search, sibling->folder, FALSE,
         "its deletion was not finished: deleting it again does the rest");
  else
    look_at_own_images (search, sibling);

  return TRUE;
}

static gboolean
has (int dir_fd, const char *name)
{
  return faccessat (dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static gboolean
any_image_is_locked (const char *folder)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);

      if (g_str_has_suffix (name, ".qcow2") && qsnap_image_is_locked (path))
        return TRUE;
    }

  return FALSE;
}

/* Of a snapshot that is none, or of a guest that was brought back. One with a manifest or a journal
 * that cannot be read is left alone. */
static void
look_at_directory (Search *search, const char *folder, int dir_fd)
{
  if (has (dir_fd, QSNAP_MANIFEST_FILE) || has (dir_fd, QSNAP_MANIFEST_DELETED) ||
      has (dir_fd, QSNAP_JOURNAL_FILE) || is_locked (dir_fd))
    return;

  if (has (dir_fd, "qemu.log") && has (dir_fd, "disk0.qcow2") && !any_image_is_locked (folder))
    {
      g_hash_table_add (search->folders, g_strdup (folder));
      add (search, folder, FALSE,
           "a guest was brought back here and has ended; its disks are here, if they are wanted");
    }
  else if (has (dir_fd, "state") && has (dir_fd, QSNAP_IMAGE_RAM_DIR))
    add (search, folder, TRUE,
         "it has the memory of a guest, but neither manifest nor journal: nothing can be made of "
         "it");
}

static gboolean
look_at_directories (Search *search, const char *parent, GCancellable *cancellable, GError **error)
{
  g_autoptr (GDir) dir = g_dir_open (parent, 0, error);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *folder = g_build_filename (parent, name, NULL);
      int dir_fd = open (folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        {
          if (dir_fd >= 0)
            close (dir_fd);
          return FALSE;
        }
      if (dir_fd < 0)
        continue;
      look_at_directory (search, folder, dir_fd);
      close (dir_fd);
    }

  return dir != NULL;
}

/* --- overlays ------------------------------------------------------------------------------ */

/* STEM.qsnap-ID.qcow2 */
static gboolean
is_name_of_overlay (const char *name)
{
  const char *mark = g_strrstr (name, ".qsnap-");
  const char *id = mark != NULL ? mark + strlen (".qsnap-") : NULL;

  return id != NULL && strspn (id, "0123456789abcdef") == 8 && g_str_equal (id + 8, ".qcow2");
}

static void
note_headers (Search *search, const char *folder, GPtrArray *overlays)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      g_autofree char *backing =
          g_file_test (path, G_FILE_TEST_IS_REGULAR) ? qsnap_image_dup_backing (path) : NULL;

      if (backing != NULL)
        g_hash_table_add (search->named, g_steal_pointer (&backing));
      if (is_name_of_overlay (name))
        g_ptr_array_add (overlays, g_steal_pointer (&path));
    }
}

static gboolean
is_named (Search *search, const char *path)
{
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, search->named);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    if (qsnap_is_same_file (name, path))
      return TRUE;

  return FALSE;
}

static void
look_at_overlays (Search *search)
{
  g_autoptr (GPtrArray) overlays = g_ptr_array_new_with_free_func (g_free);
  GHashTableIter iter;
  gpointer folder;

  g_hash_table_iter_init (&iter, search->folders);
  while (g_hash_table_iter_next (&iter, &folder, NULL))
    note_headers (search, folder, overlays);

  for (guint i = 0; i < overlays->len; i++)
    {
      const char *path = overlays->pdata[i];

      if (!is_named (search, path) && !qsnap_image_is_locked (path))
        add (search, path, FALSE,
             "an overlay that no snapshot in the folder names, no image beside it stands on, and "
             "no QEMU has open; a guest that does not run may be on it");
    }
}

/* --- all of it ----------------------------------------------------------------------------- */

static gint
compare_files (gconstpointer a, gconstpointer b, gpointer user_data)
{
  return strcmp (g_file_peek_path (((const QsnapOrphan *)a)->file),
                 g_file_peek_path (((const QsnapOrphan *)b)->file));
}

/**
 * qsnap_orphan_list:
 * @parent: a directory with snapshots in it
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Finds what nothing seems to need: in the directories below @parent, and overlays of libqsnap
 * beside the images that its snapshots name. Nothing is changed or removed. What a QEMU has open,
 * and what a snapshot, a journal or the header of an image names, is not listed.
 *
 * Errors: those of #GIOErrorEnum.
 *
 * Returns: (transfer full): a list of #QsnapOrphan, sorted by their paths
 *
 * Since: 1.0
 */
GListModel *
qsnap_orphan_list (GFile *parent, GCancellable *cancellable, GError **error)
{
  g_autoptr (GListStore) store = g_list_store_new (QSNAP_TYPE_ORPHAN);
  g_autoptr (GHashTable) named = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) folders = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  Search search = { store, named, folders };
  g_autofree char *path = NULL;
  g_autofree char *none = NULL;

  g_return_val_if_fail (G_IS_FILE (parent), NULL);

  path = g_file_get_path (parent);
  if (path == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                           "the snapshots' folder has to be on a local file system");
      return NULL;
    }

  /* All of its children are meant: one that is not there is none of them. */
  none = g_build_filename (path, ".", NULL);
  g_hash_table_add (folders, g_strdup (path));
  if (!qsnap_siblings_visit (none, look_at_sibling, &search, cancellable, error) ||
      !look_at_directories (&search, path, cancellable, error))
    return NULL;

  look_at_overlays (&search);
  g_list_store_sort (store, compare_files, NULL);

  return G_LIST_MODEL (g_steal_pointer (&store));
}
