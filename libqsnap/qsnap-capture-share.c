/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <sys/file.h>
#include <unistd.h>

#include "memory/qsnap-image-share.h"
#include "qsnap-capture-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-snapshot-private.h"

/* After the seal: the snapshot is safe and told of, and what the kernel is asked for here cannot
 * change a byte of it or of its parent. */

static QsnapImage *
new_image (int dir_fd, JsonObject *manifest, GError **error)
{
  JsonObject *memory = qsnap_json_get_object (manifest, "memory");

  if (memory != NULL)
    return qsnap_image_new (dir_fd, memory, error);

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "it is of the disks only");

  return NULL;
}

/* Somebody else may have put another one in its place since it was found. */
static gboolean
check_id (QsnapCapture *capture, JsonObject *manifest, GError **error)
{
  if (g_strcmp0 (qsnap_json_get_string (manifest, "id"),
                 qsnap_json_get_string (capture->parent, "id")) == 0)
    return TRUE;

  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "it is not there any more");

  return FALSE;
}

static QsnapImage *
open_parent (QsnapCapture *capture, int dir_fd, GError **error)
{
  g_autoptr (JsonObject) manifest = NULL;
  g_autoptr (QsnapImage) image = NULL;

  if (!qsnap_snapshot_lock_directory (dir_fd, FALSE, error))
    return NULL;

  manifest = qsnap_manifest_read (dir_fd, error);
  if (manifest == NULL || !check_id (capture, manifest, error))
    return NULL;

  image = new_image (dir_fd, manifest, error);
  if (image == NULL || !qsnap_image_is_packed (image))
    return g_steal_pointer (&image);

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "it is compressed");

  return NULL;
}

static gboolean
share (QsnapCapture *capture, int parent_fd, GError **error)
{
  g_autoptr (QsnapImage) parent = open_parent (capture, parent_fd, error);
  g_autoptr (JsonObject) manifest = qsnap_snapshot_copy_manifest (capture->snapshot);
  g_autoptr (QsnapImage) image =
      parent != NULL ? new_image (capture->dir_fd, manifest, error) : NULL;
  guint64 n_bytes = 0;
  gboolean done;

  if (image == NULL)
    return FALSE;

  done = qsnap_image_share (image, parent, capture->cancellable, &n_bytes, error);
  g_debug ("%" G_GUINT64_FORMAT " MiB are shared with the snapshot before", n_bytes >> 20);

  return done;
}

static int
open_parent_directory (QsnapCapture *capture, const char *name, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (capture->path);
  g_autoptr (GFile) directory = g_file_new_build_filename (folder, name, NULL);

  return qsnap_snapshot_open_directory (directory, error);
}

void
qsnap_capture_share_pages (QsnapCapture *capture)
{
  const char *name = qsnap_json_get_string (capture->parent, "directory");
  g_autoptr (GError) error = NULL;
  g_autofree char *warning = NULL;
  gboolean shared;
  int parent_fd;

  if (!capture->guest->shares_pages || name == NULL)
    return;

  /* Whoever brings the snapshot back need not wait. */
  (void)flock (capture->dir_fd, LOCK_SH | LOCK_NB);
  parent_fd = open_parent_directory (capture, name, &error);
  shared = parent_fd >= 0 && share (capture, parent_fd, &error);
  if (parent_fd >= 0)
    close (parent_fd);
  if (shared)
    return;

  warning = g_strdup_printf ("not all pages are shared with the snapshot before, %s: %s", name,
                             error->message);
  qsnap_snapshot_add_warning (capture->snapshot, warning);
}
