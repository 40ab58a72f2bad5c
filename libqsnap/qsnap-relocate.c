/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-relocate.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-backing-chain.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"
#include "qsnap-qemu-img.h"
#include "qsnap-snapshot-private.h"

/* A snapshot names images outside its directory by their paths. Where they were moved it is told
 * where they are. That they have the content that they had is the caller's word: there is no
 * checksum of it. So what can be known is looked at, and then the manifest is written as a whole.
 */

typedef struct
{
  char *drive;
  char *file;
  /* Of the new manifest. */
  JsonObject *disk;
} Move;

typedef struct
{
  const char *path;
  int dir_fd;
  JsonObject *manifest;
  /* Move */
  GPtrArray *moves;
  GCancellable *cancellable;
} Relocation;

static void
move_free (gpointer data)
{
  Move *move = data;

  g_free (move->drive);
  g_free (move->file);
  g_free (move);
}

static const char *
label_of (JsonObject *disk)
{
  return qsnap_json_get_string (disk, "device");
}

static JsonObject *
base_of (JsonObject *disk)
{
  return qsnap_json_get_object (disk, "base");
}

static const char *
file_of (JsonObject *image)
{
  return qsnap_json_get_string (image, "file");
}

/* --- what is asked for --------------------------------------------------------------------- */

static Move *
parse_word (const char *word, GError **error)
{
  const char *sign = strchr (word, '=');
  Move *move;

  if (sign == NULL || sign == word || sign[1] == '\0' || !g_utf8_validate (word, -1, NULL))
    {
      g_autofree char *shown = g_utf8_make_valid (word, -1);

      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "\"%s\" is not DRIVE=FILE, in UTF-8", shown);
      return NULL;
    }

  move = g_new0 (Move, 1);
  move->drive = g_strndup (word, (gsize)(sign - word));
  move->file = g_canonicalize_filename (sign + 1, NULL);

  return move;
}

static gboolean
find_disk (Relocation *relocation, Move *move, GError **error)
{
  JsonArray *disks = qsnap_json_get_array (relocation->manifest, "disks");

  move->disk = qsnap_manifest_disk_find (disks, move->drive, error);
  for (guint i = 0; move->disk != NULL && i < relocation->moves->len; i++)
    {
      const Move *other = relocation->moves->pdata[i];

      if (other->disk != move->disk)
        continue;
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "the disk %s is named twice: as \"%s\", and as \"%s\"", label_of (move->disk),
                   other->drive, move->drive);
      return FALSE;
    }

  return move->disk != NULL;
}

static gboolean
parse (Relocation *relocation, const char *const *images, GError **error)
{
  for (guint i = 0; images != NULL && images[i] != NULL; i++)
    {
      Move *move = parse_word (images[i], error);
      gboolean found = move != NULL && find_disk (relocation, move, error);

      if (found)
        g_ptr_array_add (relocation->moves, move);
      else if (move != NULL)
        move_free (move);
      if (!found)
        return FALSE;
    }

  if (relocation->moves->len > 0)
    return TRUE;

  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                       "no image is named: give DRIVE=FILE");

  return FALSE;
}

/* --- the manifest -------------------------------------------------------------------------- */

/* What is written has to belong to who owns the directory: nobody else could read it. */
static gboolean
check_owner (Relocation *relocation, GError **error)
{
  struct stat found;

  if (fstat (relocation->dir_fd, &found) != 0)
    return qsnap_io_fail (error, errno, "cannot look at the snapshot's directory");
  if (found.st_uid == geteuid ())
    return TRUE;

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
               "the snapshot belongs to user %u: only that user can say where its images are "
               "(chown -R its directory first)",
               (guint)found.st_uid);

  return FALSE;
}

/* Under the lock: it may have been deleted since it was loaded. */
static gboolean
read_manifest (Relocation *relocation, GError **error)
{
  g_autoptr (JsonObject) read = NULL;

  if (!check_owner (relocation, error) ||
      !qsnap_snapshot_lock_directory (relocation->dir_fd, TRUE, error))
    return FALSE;

  read = qsnap_manifest_read (relocation->dir_fd, error);
  /* What is parsed cannot be changed. */
  if (read != NULL)
    relocation->manifest = qsnap_json_copy_object (read);

  return read != NULL;
}

/* --- one image ----------------------------------------------------------------------------- */

static gboolean
check_size (const Move *move, JsonObject *info, GError **error)
{
  gint64 size = qsnap_json_get_int (info, "virtual-size", -1);
  gint64 expected = qsnap_json_get_int (move->disk, "size", 0);

  if (size == expected)
    return TRUE;

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
               "%s is no image of the disk %s: it has %" G_GINT64_FORMAT
               " bytes for a guest, the disk had %" G_GINT64_FORMAT,
               move->file, label_of (move->disk), size, expected);

  return FALSE;
}

/* A guest goes on in what was left out, and in an image with snapshots inside. */
static gboolean
check_not_written (const Move *move, GError **error)
{
  QsnapDiskMode mode = qsnap_manifest_disk_mode (move->disk);

  if (mode == QSNAP_DISK_MODE_INTERNAL || mode == QSNAP_DISK_MODE_EXCLUDE ||
      !qsnap_image_is_written (move->file))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
               "%s is open in a QEMU, which may write to it: end that first", move->file);

  return FALSE;
}

static gboolean
check_inside (const Move *move, JsonObject *info, GError **error)
{
  const char *name = qsnap_json_get_string (base_of (move->disk), "snapshot");

  if (qsnap_manifest_disk_mode (move->disk) != QSNAP_DISK_MODE_INTERNAL ||
      qsnap_qemu_img_has_snapshot (info, name))
    return TRUE;

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
               "%s is no image of the disk %s: there is no snapshot %s inside", move->file,
               label_of (move->disk), name);

  return FALSE;
}

static gboolean
has_name (GPtrArray *chain, const char *file, const char *name)
{
  return strcmp (file, name) == 0 ||
         g_ptr_array_find_with_equal_func (chain, name, g_str_equal, NULL);
}

/* The names that are not right any more: QEMU was started on one of them. */
static void
remember_names (Relocation *relocation, const Move *move, GPtrArray *chain)
{
  JsonObject *qemu = qsnap_json_get_object (relocation->manifest, "qemu");
  JsonArray *command_line = qsnap_json_get_array (qemu, "command-line");
  JsonObject *base = base_of (move->disk);
  JsonArray *old = qsnap_json_get_array (base, "chain");

  /* Where there is a source, that tells what QEMU was started on. */
  if (qsnap_manifest_disk_source (move->disk) != base)
    return;

  if (!has_name (chain, move->file, file_of (base)))
    qsnap_manifest_disk_remember (base, command_line, file_of (base));
  for (guint i = 0; old != NULL && i < json_array_get_length (old); i++)
    if (!has_name (chain, move->file, qsnap_json_array_string (old, i)))
      qsnap_manifest_disk_remember (base, command_line, qsnap_json_array_string (old, i));
}

static void
set_chain (JsonObject *base, const char *first, GPtrArray *others)
{
  JsonArray *chain = json_array_new ();

  if (first != NULL)
    json_array_add_string_element (chain, first);
  for (guint i = 0; i < others->len; i++)
    json_array_add_string_element (chain, others->pdata[i]);

  if (json_array_get_length (chain) > 0)
    json_object_set_array_member (base, "chain", chain);
  else
    {
      json_object_remove_member (base, "chain");
      json_array_unref (chain);
    }
}

/* The guest that goes on in an overlay somewhere else is none of this snapshot's any more. */
static void
drop_overlay (const Move *move)
{
  const char *overlay = file_of (qsnap_json_get_object (move->disk, "overlay"));

  if (overlay == NULL || !g_file_test (overlay, G_FILE_TEST_EXISTS) ||
      !qsnap_image_stands_on (overlay, move->file))
    json_object_remove_member (move->disk, "overlay");
}

/* On stable storage first: its time of change must not change any more once it is written down. */
static gboolean
identify (JsonObject *disk, const char *file, GError **error)
{
  QsnapDiskMode mode = qsnap_manifest_disk_mode (disk);

  return mode == QSNAP_DISK_MODE_INTERNAL || mode == QSNAP_DISK_MODE_EXCLUDE ||
         (qsnap_io_sync_path (file, 0, error) &&
          qsnap_manifest_disk_identify_file (disk, file, error));
}

static gboolean
move_image (Relocation *relocation, const Move *move, GError **error)
{
  JsonObject *base = base_of (move->disk);
  const char *format = qsnap_json_get_string (base, "format");
  g_autoptr (JsonNode) info = NULL;
  g_autoptr (GPtrArray) chain = NULL;

  if (!check_not_written (move, error))
    return FALSE;
  info = qsnap_backing_chain_look (move->file, format, relocation->cancellable, error);
  if (info == NULL || !check_size (move, qsnap_json_object (info), error) ||
      !check_inside (move, qsnap_json_object (info), error))
    return FALSE;
  chain = qsnap_backing_chain_read (move->file, qsnap_json_object (info), relocation->cancellable,
                                    error);
  if (chain == NULL)
    return FALSE;

  remember_names (relocation, move, chain);
  json_object_set_string_member (base, "file", move->file);
  set_chain (base, NULL, chain);
  drop_overlay (move);

  return identify (move->disk, move->file, error);
}

/* --- what is below the snapshot's own ------------------------------------------------------ */

/* The header of a copy counts, of a clone the manifest. */
static gboolean
find_format_below (
    Relocation *relocation, const Move *move, const char *own, char **format, GError **error)
{
  JsonObject *base = base_of (move->disk);
  JsonObject *backing = qsnap_json_get_object (base, "backing");
  g_autoptr (JsonNode) info = NULL;

  *format = g_strdup (qsnap_json_get_string (backing, "format"));
  if (backing != NULL)
    return TRUE;

  info = qsnap_backing_chain_look (own, qsnap_json_get_string (base, "format"),
                                   relocation->cancellable, error);
  if (info == NULL)
    return FALSE;
  *format = g_strdup (qsnap_json_get_string (qsnap_json_object (info), "backing-filename-format"));
  if (*format != NULL && qsnap_image_stands_on (own, move->file))
    return TRUE;

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
               "the header of %s does not name %s and its format: `qemu-img rebase -u -b FILE -F "
               "FORMAT` writes that, and does not change what the snapshot holds",
               own, move->file);

  return FALSE;
}

static gboolean
move_below (Relocation *relocation, const Move *move, GError **error)
{
  JsonObject *base = base_of (move->disk);
  JsonObject *backing = qsnap_json_get_object (base, "backing");
  g_autofree char *own = qsnap_manifest_disk_base (move->disk, relocation->path);
  g_autofree char *format = NULL;
  g_autoptr (JsonNode) info = NULL;
  g_autoptr (GPtrArray) chain = NULL;

  if (!check_not_written (move, error) ||
      !find_format_below (relocation, move, own, &format, error))
    return FALSE;
  info = qsnap_backing_chain_look (move->file, format, relocation->cancellable, error);
  if (info == NULL)
    return FALSE;
  chain = qsnap_backing_chain_read (move->file, qsnap_json_object (info), relocation->cancellable,
                                    error);
  if (chain == NULL)
    return FALSE;

  if (backing != NULL)
    json_object_set_string_member (backing, "file", move->file);
  set_chain (base, move->file, chain);

  return identify (move->disk, own, error);
}

/* --- all of it ----------------------------------------------------------------------------- */

static gboolean
move_one (Relocation *relocation, const Move *move, GError **error)
{
  JsonObject *base = base_of (move->disk);
  const char *file = file_of (base);

  if (file == NULL)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "the disk %s was in no local file: there is nothing to say of it",
                   label_of (move->disk));
      return FALSE;
    }
  if (g_path_is_absolute (file))
    return move_image (relocation, move, error);
  if (qsnap_json_get_array (base, "chain") != NULL)
    return move_below (relocation, move, error);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "the image of the disk %s is %s in the snapshot's directory, and goes where that "
               "goes: leave it out",
               label_of (move->disk), file);

  return FALSE;
}

/* No two disks are in one image. */
static gboolean
check_distinct (Relocation *relocation, const Move *move, GError **error)
{
  JsonArray *disks = qsnap_json_get_array (relocation->manifest, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *other = qsnap_json_array_object (disks, i);
      g_autofree char *image = qsnap_manifest_disk_base (other, relocation->path);

      if (other == move->disk || image == NULL || !qsnap_is_same_file (image, move->file))
        continue;
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "%s is given for the disk %s, and is the image of the disk %s", move->file,
                   label_of (move->disk), label_of (other));
      return FALSE;
    }

  return TRUE;
}

static gboolean
relocate (Relocation *relocation, const char *const *images, GError **error)
{
  if (!read_manifest (relocation, error) || !parse (relocation, images, error))
    return FALSE;

  for (guint i = 0; i < relocation->moves->len; i++)
    if (!move_one (relocation, relocation->moves->pdata[i], error))
      return FALSE;
  for (guint i = 0; i < relocation->moves->len; i++)
    if (!check_distinct (relocation, relocation->moves->pdata[i], error))
      return FALSE;

  return !g_cancellable_set_error_if_cancelled (relocation->cancellable, error) &&
         qsnap_manifest_write (relocation->dir_fd, relocation->manifest, error);
}

gboolean
qsnap_relocate (QsnapSnapshot *snapshot,
                const char *const *images,
                GCancellable *cancellable,
                GError **error)
{
  GFile *directory = qsnap_snapshot_get_directory (snapshot);
  g_autofree char *path = g_file_get_path (directory);
  g_autoptr (GPtrArray) moves = g_ptr_array_new_with_free_func (move_free);
  Relocation relocation = { path, -1, NULL, moves, cancellable };
  gboolean done;

  if (!qsnap_snapshot_check_sealed (snapshot, error))
    return FALSE;
  relocation.dir_fd = qsnap_snapshot_open_directory (directory, error);
  if (relocation.dir_fd < 0)
    return FALSE;

  done = relocate (&relocation, images, error);
  if (done)
    qsnap_snapshot_seal (snapshot, json_object_ref (relocation.manifest));
  g_clear_pointer (&relocation.manifest, json_object_unref);
  close (relocation.dir_fd);

  return done;
}

/* --- looking ------------------------------------------------------------------------------- */

gboolean
qsnap_relocate_check_disk (JsonObject *disk, const char *directory, GError **error)
{
  JsonObject *base = base_of (disk);
  JsonArray *chain = qsnap_json_get_array (base, "chain");

  /* In a target, or, left out, in no local file. */
  if (file_of (base) == NULL)
    return TRUE;
  if (!qsnap_manifest_disk_check_base (disk, directory, error))
    return FALSE;

  for (guint i = 0; chain != NULL && i < json_array_get_length (chain); i++)
    {
      const char *below = qsnap_json_array_string (chain, i);

      if (access (below, R_OK) != 0)
        return qsnap_io_fail (error, errno,
                              "an image that the snapshot stands on cannot be read: %s", below);
    }

  return TRUE;
}
