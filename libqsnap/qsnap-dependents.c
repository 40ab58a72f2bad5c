/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-dependents.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-journal.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"
#include "qsnap-siblings.h"

/* Where QEMU keeps its locks in an image: a byte for each thing that a user does, from 100, and for
 * each that it forbids others, from 200. */
#define FIRST_LOCK 100
#define N_LOCKS 200
#define WRITE_LOCK 101

#define QCOW2_MAGIC 0x514649fb
#define MAX_BACKING_NAME 1023

typedef struct
{
  GPtrArray *images;
  GPtrArray *reasons;
  /* Overlays of snapshots that are reasons already. */
  GHashTable *explained;
  QsnapDependentFunc can_follow;
  gpointer data;
  GCancellable *cancellable;
} Search;

/* --- images -------------------------------------------------------------------------------- */

gboolean
qsnap_is_same_file (const char *a, const char *b)
{
  struct stat found_a, found_b;

  if (strcmp (a, b) == 0)
    return TRUE;

  return stat (a, &found_a) == 0 && stat (b, &found_b) == 0 && found_a.st_dev == found_b.st_dev &&
         found_a.st_ino == found_b.st_ino;
}

/* The image of ours that @path is, or NULL. */
static const char *
image_of (Search *search, const char *path)
{
  for (guint i = 0; path != NULL && i < search->images->len; i++)
    if (qsnap_is_same_file (search->images->pdata[i], path))
      return search->images->pdata[i];

  return NULL;
}

/* A name that is no path may still hold one: json:{…}. */
static const char *
image_in_text (Search *search, const char *text)
{
  for (guint i = 0; i < search->images->len; i++)
    if (strstr (text, search->images->pdata[i]) != NULL)
      return search->images->pdata[i];

  return NULL;
}

static guint64
get_big_endian (const guint8 *bytes, gsize n)
{
  guint64 value = 0;

  for (gsize i = 0; i < n; i++)
    value = value << 8 | bytes[i];

  return value;
}

/* What a qcow2 image names as its backing file; NULL for one that has none. FALSE: it is no qcow2
 * image. */
static gboolean
read_backing_name (int fd, char **name)
{
  guint8 header[20];
  g_autofree char *read = NULL;
  guint64 offset, length;

  *name = NULL;
  if (pread (fd, header, sizeof header, 0) != (gssize)sizeof header ||
      get_big_endian (header, 4) != QCOW2_MAGIC)
    return FALSE;

  offset = get_big_endian (header + 8, 8);
  length = get_big_endian (header + 16, 4);
  if (offset == 0 || offset > G_MAXINT32 || length == 0 || length > MAX_BACKING_NAME)
    return TRUE;

  read = g_malloc0 (length + 1);
  if (pread (fd, read, length, (off_t)offset) == (gssize)length)
    *name = g_steal_pointer (&read);

  return TRUE;
}

/* "json:{…}" and "nbd://…" are no paths; a file with a colon is named "./a:b". */
char *
qsnap_image_resolve_backing (const char *name, const char *folder)
{
  const char *path = g_str_has_prefix (name, "file:") ? name + strlen ("file:") : name;

  return path == name && name[strcspn (name, ":/")] == ':' ? NULL
                                                           : g_canonicalize_filename (path, folder);
}

gboolean
qsnap_image_stands_on (const char *image, const char *below)
{
  int fd = open (image, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  g_autofree char *name = NULL;
  g_autofree char *folder = g_path_get_dirname (image);
  g_autofree char *path = NULL;
  gboolean is_qcow2;

  if (fd < 0)
    return TRUE;

  is_qcow2 = read_backing_name (fd, &name);
  close (fd);
  if (!is_qcow2 || name == NULL)
    return !is_qcow2 || below == NULL;

  path = qsnap_image_resolve_backing (name, folder);

  return path == NULL || (below != NULL && qsnap_is_same_file (path, below));
}

char *
qsnap_image_dup_backing (const char *image)
{
  int fd = open (image, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  g_autofree char *name = NULL;
  g_autofree char *folder = g_path_get_dirname (image);
  gboolean is_qcow2 = fd >= 0 && read_backing_name (fd, &name);

  if (fd >= 0)
    close (fd);

  return is_qcow2 && name != NULL ? qsnap_image_resolve_backing (name, folder) : NULL;
}

static const char *
image_below (Search *search, const char *folder, int fd)
{
  g_autofree char *name = NULL;
  g_autofree char *path = NULL;

  if (!read_backing_name (fd, &name) || name == NULL)
    return NULL;
  if (g_str_has_prefix (name, "json:"))
    return image_in_text (search, name);

  path = g_canonicalize_filename (g_str_has_prefix (name, "file:") ? name + 5 : name, folder);

  return image_of (search, path);
}

static void
look_at_image (Search *search, const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  int fd = open (path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat found;
  const char *image = NULL;

  if (fd < 0)
    return;

  if (fstat (fd, &found) == 0 && S_ISREG (found.st_mode))
    image = image_below (search, folder, fd);
  close (fd);

  if (image != NULL && image_of (search, path) == NULL &&
      !g_hash_table_contains (search->explained, path))
    g_ptr_array_add (search->reasons, g_strdup_printf ("the image %s stands on %s", path, image));
}

static gboolean
look_at_images (Search *search, const char *folder, GError **error)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      if (g_cancellable_set_error_if_cancelled (search->cancellable, error))
        return FALSE;
      look_at_image (search, folder, name);
    }

  return TRUE;
}

/* --- snapshots ----------------------------------------------------------------------------- */

static const char *
image_below_disk (Search *search, const char *folder, JsonObject *disk)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  JsonArray *chain = qsnap_json_get_array (base, "chain");
  g_autofree char *file = qsnap_manifest_disk_base (disk, folder);
  const char *image = image_of (search, file);

  for (guint i = 0; image == NULL && chain != NULL && i < json_array_get_length (chain); i++)
    image = image_of (search, qsnap_json_array_string (chain, i));

  return image;
}

static void
explain (Search *search, const char *overlay, char *reason)
{
  if (overlay != NULL)
    g_hash_table_add (search->explained, g_strdup (overlay));
  if (reason != NULL &&
      !g_ptr_array_find_with_equal_func (search->reasons, reason, g_str_equal, NULL))
    g_ptr_array_add (search->reasons, g_strdup (reason));
  g_free (reason);
}

/* A snapshot that is half deleted follows nobody. */
static void
look_at_manifest (Search *search, const char *folder, JsonObject *manifest, gboolean deleting)
{
  JsonArray *disks = qsnap_json_get_array (manifest, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);
      const char *image = image_below_disk (search, folder, disk);
      const char *overlay = qsnap_json_get_string (qsnap_json_get_object (disk, "overlay"), "file");

      if (image == NULL)
        continue;
      if (!deleting && search->can_follow (folder, manifest, disk, search->data))
        explain (search, overlay, NULL);
      else
        explain (search, overlay,
                 g_strdup_printf ("snapshot %s (%s) stands on %s",
                                  qsnap_json_get_string (manifest, "name"), folder, image));
    }
}

static void
look_at_journal (Search *search, const char *folder, JsonObject *journal)
{
  JsonArray *disks = qsnap_json_get_array (journal, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);
      const char *image = image_of (search, qsnap_json_get_string (disk, "base"));

      if (image != NULL)
        explain (search, qsnap_json_get_string (disk, "new-file"),
                 g_strdup_printf ("a capture into %s, which has not ended or has to be recovered, "
                                  "stands on %s",
                                  folder, image));
    }
}

/* One that cannot be read is taken for one that stands on what is named in it. */
static void
look_at_damaged (Search *search, const char *folder, int dir_fd, const char *name)
{
  int fd = openat (dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  g_autofree char *opened = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_autofree char *text = NULL;
  struct stat found;
  const char *image = NULL;

  if (fd < 0)
    return;

  if (fstat (fd, &found) == 0 && S_ISREG (found.st_mode) &&
      g_file_get_contents (opened, &text, NULL, NULL))
    image = image_in_text (search, text);
  close (fd);

  if (image != NULL)
    g_ptr_array_add (search->reasons,
                     g_strdup_printf ("%s/%s is damaged, and names %s", folder, name, image));
}

static void
look_at_directory (Search *search, const char *folder, int dir_fd)
{
  QsnapSibling sibling;

  qsnap_sibling_read (&sibling, folder, dir_fd);
  if (sibling.manifest != NULL)
    look_at_manifest (search, folder, sibling.manifest, sibling.deleting);
  else if (sibling.journal != NULL)
    look_at_journal (search, folder, sibling.journal);
  else
    {
      look_at_damaged (search, folder, dir_fd, QSNAP_MANIFEST_FILE);
      look_at_damaged (search, folder, dir_fd, QSNAP_MANIFEST_DELETED);
      look_at_damaged (search, folder, dir_fd, QSNAP_JOURNAL_FILE);
    }
  qsnap_sibling_clear (&sibling);
}

/* A snapshot, a capture or a revert. */
static gboolean
look_beside (Search *search, const char *own, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (own);
  g_autoptr (GPtrArray) folders = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GDir) dir = g_dir_open (parent, 0, error);
  const char *name;

  if (dir == NULL)
    return FALSE;

  while ((name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *folder = g_build_filename (parent, name, NULL);
      int dir_fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

      if (dir_fd < 0)
        continue;
      if (!qsnap_is_same_file (folder, own))
        {
          look_at_directory (search, folder, dir_fd);
          g_ptr_array_add (folders, g_steal_pointer (&folder));
        }
      close (dir_fd);
    }

  /* Which overlays have been explained is known only now. */
  for (guint i = 0; i < folders->len; i++)
    if (!look_at_images (search, folders->pdata[i], error))
      return FALSE;

  return TRUE;
}

/* --- all of it ----------------------------------------------------------------------------- */

gboolean
qsnap_dependents_find (const char *own,
                       GPtrArray *images,
                       QsnapDependentFunc can_follow,
                       gpointer data,
                       GPtrArray *reasons,
                       GCancellable *cancellable,
                       GError **error)
{
  g_autoptr (GHashTable) explained = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autofree char *parent = g_path_get_dirname (own);
  Search search = { images, reasons, explained, can_follow, data, cancellable };

  if (!look_beside (&search, own, error))
    return FALSE;

  for (guint i = 0; i < images->len; i++)
    {
      char *folder = g_path_get_dirname (images->pdata[i]);

      if (g_hash_table_add (seen, folder) && !look_at_images (&search, folder, error))
        return FALSE;
    }

  return g_hash_table_contains (seen, parent) || look_at_images (&search, parent, error);
}

static gboolean
has_lock (const char *path, off_t first, off_t n)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = n };
  int fd = open (path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  gboolean locked;

  if (fd < 0)
    return FALSE;

  locked = fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close (fd);

  return locked;
}

gboolean
qsnap_image_is_locked (const char *path)
{
  return has_lock (path, FIRST_LOCK, N_LOCKS);
}

gboolean
qsnap_image_is_written (const char *path)
{
  return has_lock (path, WRITE_LOCK, 1);
}
