/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-internal.h"
#include "qsnap-delete-private.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-qemu-img.h"

/* Snapshots inside images. One that is not there any more is as good as deleted. */

static gboolean
delete_offline (const char *file, const char *name, GError **error)
{
  if (qsnap_image_is_locked (file))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
                   "%s is open in a QEMU whose drive is not on it, or whose monitor is not given",
                   file);
      return FALSE;
    }

  return qsnap_qemu_img_delete_snapshot (file, name, error);
}

static gboolean
delete_one (QsnapDelete *deletion, GPtrArray *drives, JsonObject *disk, GError **error)
{
  JsonObject *base = qsnap_json_get_object (disk, "base");
  const char *file = qsnap_json_get_string (base, "file");
  const char *name = qsnap_json_get_string (base, "snapshot");
  QsnapDrive *drive = drives != NULL ? qsnap_delete_find_drive (drives, file) : NULL;
  QsnapDiskTask task = { .drive = drive };

  if (drive == NULL)
    return delete_offline (file, name, error);

  drive->internal_name = g_strdup (name);
  task.qmp = &deletion->guest->qmp;

  return qsnap_internal_delete (&task, error);
}

gboolean
qsnap_delete_internal (QsnapDelete *deletion, GError **error)
{
  QsnapGuest *guest = deletion->guest;
  g_autoptr (GPtrArray) drives = NULL;

  if (deletion->internal->len > 0 && guest != NULL)
    {
      drives = qsnap_drives_query (&guest->qmp, guest->process, NULL, error);
      if (drives == NULL)
        return FALSE;
    }

  for (guint i = 0; i < deletion->internal->len; i++)
    if (!delete_one (deletion, drives, deletion->internal->pdata[i], error))
      return FALSE;

  return TRUE;
}
