/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-file-identity.h"

#include <errno.h>
#include <sys/stat.h>

#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

gboolean
qsnap_file_identity_read (QsnapFileIdentity *identity, const char *path, GError **error)
{
  struct stat found;

  if (stat (path, &found) != 0)
    {
      int code = errno;

      g_set_error (error, G_IO_ERROR, (int)g_io_error_from_errno (code), "%s: %s", path,
                   g_strerror (code));
      return FALSE;
    }

  identity->is_block_device = S_ISBLK (found.st_mode);
  identity->device = identity->is_block_device ? found.st_rdev : found.st_dev;
  identity->inode = identity->is_block_device ? 0 : found.st_ino;
  identity->size = (guint64)found.st_size;
  identity->mtime =
      (gint64)found.st_mtim.tv_sec * G_GINT64_CONSTANT (1000000000) + found.st_mtim.tv_nsec;

  return TRUE;
}

JsonObject *
qsnap_file_identity_to_json (const QsnapFileIdentity *identity)
{
  if (identity->is_block_device)
    return qsnap_json_object_new ("block-device", 'b', TRUE, "device", 'i',
                                  (gint64)identity->device, NULL);

  return qsnap_json_object_new ("device", 'i', (gint64)identity->device, "inode", 'i',
                                (gint64)identity->inode, "size", 'i', (gint64)identity->size,
                                "mtime-ns", 'i', identity->mtime, NULL);
}

void
qsnap_file_identity_from_json (QsnapFileIdentity *identity, JsonObject *object)
{
  identity->is_block_device = qsnap_json_get_bool (object, "block-device", FALSE);
  identity->device = (guint64)qsnap_json_get_int (object, "device", 0);
  identity->inode = (guint64)qsnap_json_get_int (object, "inode", 0);
  identity->size = (guint64)qsnap_json_get_int (object, "size", 0);
  identity->mtime = qsnap_json_get_int (object, "mtime-ns", 0);
}

/* The first thing that tells the file apart from the recorded one, or NULL. The device number of a
 * file system may change with a reboot, so it is only compared for block devices. */
static const char *
difference (JsonObject *recorded, const QsnapFileIdentity *now)
{
  if (qsnap_json_get_bool (recorded, "block-device", FALSE) != now->is_block_device)
    return "it is of another type";

  if (now->is_block_device)
    return qsnap_json_get_int (recorded, "device", -1) != (gint64)now->device
               ? "it is another device"
               : NULL;

  if (qsnap_json_get_int (recorded, "inode", -1) != (gint64)now->inode)
    return "it is another file";
  if (qsnap_json_get_int (recorded, "size", -1) != (gint64)now->size)
    return "its size changed";
  if (qsnap_json_get_int (recorded, "mtime-ns", -1) != now->mtime)
    return "it was written";

  return NULL;
}

gboolean
qsnap_file_identity_check (JsonObject *recorded, const char *path, GError **error)
{
  QsnapFileIdentity now;
  const char *what;

  if (!qsnap_file_identity_read (&now, path, error))
    {
      g_prefix_error_literal (error, "a base image of the snapshot is missing: ");
      return FALSE;
    }

  what = difference (recorded, &now);
  if (what != NULL)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                   "the base image %s changed since the snapshot was taken: %s", path, what);
      return FALSE;
    }

  return TRUE;
}
