/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include <string.h>
#include <sys/stat.h>

#include "qsnap-dependents.h"
#include "qsnap/qsnap-error.h"

/* --- which disk of the snapshot an image is ------------------------------------------------ */

typedef gboolean (*SameFunc) (const char *one, const char *other);

static gboolean
same_name (const char *one, const char *other)
{
  g_autofree char *canonical = g_canonicalize_filename (other, "/");

  return g_str_equal (one, canonical);
}

/* Two names of one device are two inodes. */
static gboolean
same_file (const char *one, const char *other)
{
  struct stat a;
  struct stat b;

  if (stat (one, &a) != 0 || stat (other, &b) != 0)
    return FALSE;
  if (S_ISBLK (a.st_mode) && S_ISBLK (b.st_mode))
    return a.st_rdev == b.st_rdev;

  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* How far down the chain of @disk the image is; G_MAXUINT: it is not there. */
static guint
depth_in (const QsnapRevertDisk *disk, const char *image, SameFunc same)
{
  guint depth = 0;

  for (; disk->files[depth] != NULL; depth++)
    if (same (image, disk->files[depth]))
      return depth;
  for (guint i = 0; disk->merged != NULL && disk->merged[i] != NULL; i++)
    if (same (image, disk->merged[i]))
      return depth;

  return G_MAXUINT;
}

/* Two disks may stand on one template, so the disk whose chain has the image higher up is meant.
 * @n_found is how many that are. */
static guint
find_disk (QsnapDiskSearch *search, const char *image, SameFunc same, guint *n_found)
{
  guint found = 0;
  guint best = G_MAXUINT;

  *n_found = 0;
  for (guint i = 0; i < search->n_disks; i++)
    {
      guint depth = depth_in (&search->disks[i], image, same);

      if (depth < best)
        {
          found = i;
          best = depth;
          *n_found = 1;
        }
      else if (depth == best && depth != G_MAXUINT)
        (*n_found)++;
    }

  return found;
}

/* A drive of -blockdev has no name of its own. */
static char *
label_of (const QsnapRevertDisk *disk)
{
  gboolean has_label = disk->label != NULL && *disk->label != '\0';

  return has_label ? g_strconcat ("the disk ", disk->label, NULL) : g_strdup ("a disk");
}

const char *
qsnap_disk_search_take (QsnapDiskSearch *search,
                        const QsnapOption *option,
                        const char *image,
                        GError **error)
{
  g_autofree char *path = qsnap_adapt_resolve (search->context, image);
  g_autofree char *label = NULL;
  guint n_found;
  guint disk;

  if (search->temporary)
    qsnap_option_refuse (option, error, "-snapshot makes this drive's image a temporary one");
  else if (path == NULL)
    qsnap_option_refuse (option, error,
                         "the image %s is relative, and the working directory is not known", image);
  if (search->temporary || path == NULL)
    return NULL;

  disk = find_disk (search, path, same_name, &n_found);
  if (n_found == 0)
    disk = find_disk (search, path, same_file, &n_found);
  label = n_found == 1 ? label_of (&search->disks[disk]) : NULL;

  if (n_found == 0)
    qsnap_option_refuse (option, error,
                         "the image %s belongs to no disk of the snapshot (one that the guest "
                         "only reads has to be read-only on the command line)",
                         path);
  else if (n_found > 1)
    qsnap_option_refuse (option, error, "the image %s belongs to %u disks of the snapshot", path,
                         n_found);
  else if (search->found[disk])
    qsnap_option_refuse (option, error, "%s is already on another drive", label);
  else
    {
      search->found[disk] = TRUE;
      return search->disks[disk].overlay;
    }

  return NULL;
}

gboolean
qsnap_disk_check_headers (const QsnapDiskSearch *search,
                          const QsnapOption *option,
                          const char *overlay,
                          GError **error)
{
  const QsnapRevertDisk *disk = search->disks;

  while (disk->overlay != overlay)
    disk++;

  for (guint i = 0; disk->files[i] != NULL; i++)
    if (!qsnap_image_stands_on (disk->files[i], disk->files[i + 1]))
      return qsnap_option_refuse (option, error,
                                  "the header of the image %s does not name what the guest had it "
                                  "stand on (%s)",
                                  disk->files[i],
                                  disk->files[i + 1] != NULL ? disk->files[i + 1] : "nothing");

  return TRUE;
}

/* --- what a node of another format may keep ------------------------------------------------ */

/* As a protocol, or as a layer over nothing but a local file. */
static const char *const formats[] = { "raw",  "qcow2", "qcow", "qed",       "vdi",  "vhdx",
                                       "vmdk", "vpc",   "dmg",  "parallels", "luks", NULL };

static const char *const encryption[] = { "encrypt", "encryption", "key-secret", NULL };

/* What tunes qcow2 alone … */
static const char *const of_qcow2[] = {
  "lazy-refcounts",      "pass-discard-request", "pass-discard-snapshot",
  "pass-discard-other",  "discard-no-unref",     "overlap-check",
  "cache-size",          "l2-cache-size",        "l2-cache-entry-size",
  "refcount-cache-size", "cache-clean-interval", NULL
};

/* … and others. */
static const char *const of_others[] = { "force-size-calc", "force_size_calc", "prealloc-mode",
                                         "prealloc-size", NULL };

gboolean
qsnap_disk_driver_is_file (const char *driver)
{
  return g_str_equal (driver, "file") || g_str_equal (driver, "host_device");
}

/* The overlay's header names what is below it. */
static gboolean
remove_backing (const QsnapOption *option, QsnapProps *props, GError **error)
{
  const char *backing = qsnap_props_get (props, "backing");

  if (backing != NULL && *backing != '\0')
    return qsnap_option_refuse (option, error, "the backing node %s cannot be kept", backing);

  qsnap_props_remove (props, "backing");

  return TRUE;
}

gboolean
qsnap_disk_check_image (const QsnapOption *option,
                        QsnapProps *props,
                        const char *format_key,
                        GError **error)
{
  const char *format = qsnap_props_get (props, format_key);
  const char *encrypted = qsnap_props_find (props, encryption);

  if (format != NULL && !g_strv_contains (formats, format))
    return qsnap_option_refuse (option, error, "%s is no image format that an overlay stands on",
                                format);
  if (encrypted != NULL)
    return qsnap_option_refuse (option, error, "the disk is encrypted (%s)", encrypted);
  if (qsnap_props_has (props, "offset") || qsnap_props_has (props, "size"))
    return qsnap_option_refuse (option, error, "the disk is a part of its image (offset, size)");
  if (qsnap_props_has (props, "data-file"))
    return qsnap_option_refuse (option, error, "the image has an external data file");
  for (guint i = 0; i < qsnap_props_length (props); i++)
    if (g_str_has_prefix (qsnap_props_key (props, i), "backing."))
      return qsnap_option_refuse (option, error, "a backing file of its own cannot be kept");

  return TRUE;
}

gboolean
qsnap_disk_make_qcow2 (const QsnapOption *option,
                       QsnapProps *props,
                       const char *format_key,
                       GError **error)
{
  const char *format = qsnap_props_get (props, format_key);

  if (!qsnap_disk_check_image (option, props, format_key, error) ||
      !remove_backing (option, props, error))
    return FALSE;

  if (format != NULL && !g_str_equal (format, "qcow2"))
    qsnap_props_remove_all (props, of_qcow2);
  qsnap_props_remove_all (props, of_others);
  qsnap_props_set (props, format_key, "qcow2");

  return TRUE;
}

/* --- -drive -------------------------------------------------------------------------------- */

/* "nbd:…" and "json:…" are no files; a file with a colon is given as "./a:b". */
static gboolean
has_protocol (const char *image)
{
  return image[strcspn (image, ":/")] == ':';
}

/* The path in a file name as -drive and -hda take it, or NULL. */
static const char *
path_of (const QsnapOption *option, const char *name, GError **error)
{
  if (g_str_has_prefix (name, "file:"))
    name += strlen ("file:");
  else if (has_protocol (name))
    {
      qsnap_option_refuse (option, error, "the image is not named by its path");
      return NULL;
    }

  if (g_str_has_prefix (name, "/dev/fdset/"))
    {
      qsnap_option_refuse (option, error, "the image is a descriptor that QEMU was given");
      return NULL;
    }

  return name;
}

static gboolean
is_read_only (QsnapProps *props)
{
  return qsnap_props_get_bool (props, "readonly", FALSE) ||
         qsnap_props_get_bool (props, "read-only", FALSE) ||
         g_strcmp0 (qsnap_props_get (props, "media"), "cdrom") == 0;
}

/* The key that has the image, or NULL for a drive without one. FALSE: it is in another form. */
static gboolean
find_image_key (const QsnapOption *option, QsnapProps *props, const char **key, GError **error)
{
  const char *driver = qsnap_props_get (props, "file.driver");

  *key = NULL;
  if (driver != NULL && !qsnap_disk_driver_is_file (driver))
    return qsnap_option_refuse (option, error, "the image is not a local file (%s)", driver);

  if (qsnap_props_get (props, "file") != NULL)
    *key = "file";
  else if (qsnap_props_get (props, "file.filename") != NULL)
    *key = "file.filename";
  else if (qsnap_props_has (props, "file") || qsnap_props_has (props, "filename") ||
           qsnap_props_has (props, "driver"))
    return qsnap_option_refuse (option, error, "the image is in none of the known forms");

  return TRUE;
}

static gboolean
adapt_drive (QsnapOption *option, QsnapDiskSearch *search, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, NULL, error);
  const char *key;
  const char *path;
  const char *overlay;

  if (props == NULL)
    return FALSE;
  if (is_read_only (props))
    return TRUE;
  if (!find_image_key (option, props, &key, error))
    return FALSE;
  if (key == NULL || *qsnap_props_get (props, key) == '\0')
    return TRUE;
  if (qsnap_props_get_bool (props, "snapshot", FALSE))
    return qsnap_option_refuse (option, error, "the drive's image is a temporary one (snapshot)");

  path = g_str_equal (key, "file") ? path_of (option, qsnap_props_get (props, key), error)
                                   : qsnap_props_get (props, key);
  if (path == NULL)
    return FALSE;
  overlay = qsnap_disk_search_take (search, option, path, error);
  if (overlay == NULL)
    return FALSE;

  qsnap_props_set (props, key, overlay);
  if (qsnap_props_has (props, "file.driver"))
    qsnap_props_set (props, "file.driver", "file");
  if (!qsnap_disk_make_qcow2 (option, props,
                              qsnap_props_has (props, "driver") ? "driver" : "format", error))
    return FALSE;
  qsnap_option_store (option, props);

  return TRUE;
}

/* --- what stands for a -drive -------------------------------------------------------------- */

static const struct
{
  /* NULL: no option at all. */
  const char *name;
  const char *drive;
} short_forms[] = {
  { NULL, "index=0,media=disk" },  { "hda", "index=0,media=disk" }, { "hdb", "index=1,media=disk" },
  { "hdc", "index=2,media=disk" }, { "hdd", "index=3,media=disk" }, { "fda", "if=floppy,index=0" },
  { "fdb", "if=floppy,index=1" },  { "pflash", "if=pflash" },       { "sd", "if=sd" },
  { "mtdblock", "if=mtd" },
};

static const char *
find_short_form (const QsnapOption *option)
{
  for (guint i = 0; i < G_N_ELEMENTS (short_forms); i++)
    if (g_strcmp0 (option->name, short_forms[i].name) == 0)
      return short_forms[i].drive;

  return NULL;
}

/* A comma is a comma here. */
static gboolean
adapt_short_form (QsnapOption *option, const char *drive, QsnapDiskSearch *search, GError **error)
{
  const char *path = path_of (option, option->value, error);
  const char *overlay = path != NULL ? qsnap_disk_search_take (search, option, path, error) : NULL;
  g_autoptr (QsnapProps) props = NULL;
  g_autofree char *value = NULL;

  if (overlay == NULL)
    return FALSE;

  props = qsnap_props_parse (drive, NULL, NULL);
  qsnap_props_set (props, "file", overlay);
  qsnap_props_set (props, "format", "qcow2");
  value = qsnap_props_to_text (props);
  qsnap_option_set (option, "drive", value);

  return TRUE;
}

/* --- all ----------------------------------------------------------------------------------- */

static gboolean
adapt_option (QsnapOption *option, QsnapDiskSearch *search, GError **error)
{
  const char *drive = find_short_form (option);

  if (drive != NULL)
    return adapt_short_form (option, drive, search, error);
  if (qsnap_option_is (option, "drive"))
    return adapt_drive (option, search, error);

  return TRUE;
}

/* A disk that is not on the command line came to the guest later. */
static gboolean
check_all_found (QsnapDiskSearch *search, GError **error)
{
  for (guint i = 0; i < search->n_disks; i++)
    {
      const char *file = search->disks[i].files[0];
      g_autofree char *label = label_of (&search->disks[i]);

      if (search->found[i])
        continue;

      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "%s, with image %s, is not on the command line (hot-plugged?); give another "
                   "command line for the revert",
                   label, file != NULL ? file : "without a name");
      return FALSE;
    }

  return TRUE;
}

static gboolean
has_option (QsnapCommand *command, const char *name)
{
  for (guint i = 0; i < command->options->len; i++)
    if (qsnap_option_is (g_ptr_array_index (command->options, i), name))
      return TRUE;

  return FALSE;
}

gboolean
qsnap_command_adapt_disks (QsnapCommand *command,
                           const QsnapAdaptContext *context,
                           const QsnapRevertDisk *disks,
                           guint n_disks,
                           GError **error)
{
  g_autofree gboolean *found = g_new0 (gboolean, n_disks + 1);
  QsnapDiskSearch search = {
    .context = context,
    .disks = disks,
    .n_disks = n_disks,
    .found = found,
    .temporary = has_option (command, "snapshot"),
  };

  for (guint i = 0; i < command->options->len; i++)
    if (!adapt_option (g_ptr_array_index (command->options, i), &search, error))
      return FALSE;

  return qsnap_command_adapt_blockdevs (command, &search, error) &&
         check_all_found (&search, error);
}
