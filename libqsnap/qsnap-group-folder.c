/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-group-file.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

struct _QsnapGroupFolder
{
  char *path;
  JsonObject *json;
  int fd;
  gboolean made;
  mode_t mode;
  /* Locked by us, and empty then. */
  gboolean is_ours;
  gboolean sealed;
};

QsnapGroupFolder *
qsnap_group_folder_new (const char *path, const char *name, const char *const *guests)
{
  QsnapGroupFolder *self = g_new0 (QsnapGroupFolder, 1);

  self->path = g_strdup (path);
  self->json = qsnap_group_file_new (name, guests);
  self->fd = -1;

  return self;
}

void
qsnap_group_folder_free (QsnapGroupFolder *self)
{
  if (self->fd >= 0)
    close (self->fd);
  json_object_unref (self->json);
  g_free (self->path);
  g_free (self);
}

const char *
qsnap_group_folder_get_path (QsnapGroupFolder *self)
{
  return self->path;
}

JsonObject *
qsnap_group_folder_get_json (QsnapGroupFolder *self)
{
  return self->json;
}

/* --- making it ----------------------------------------------------------------------------- */

gboolean
qsnap_group_folder_make (QsnapGroupFolder *self, GError **error)
{
  self->made = mkdir (self->path, 0700) == 0;
  if (!self->made && errno != EEXIST)
    return qsnap_io_fail (error, errno, "cannot make the directory %s", self->path);

  self->fd = open (self->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (self->fd < 0)
    return qsnap_io_fail (error, errno, "cannot open the directory %s", self->path);

  self->is_ours = qsnap_io_take_dir (self->fd, self->path, &self->mode, error);

  return self->is_ours &&
         qsnap_group_file_write (self->fd, QSNAP_GROUP_JOURNAL, self->json, error);
}

/* --- what becomes known -------------------------------------------------------------------- */

void
qsnap_group_folder_note_snapshot (QsnapGroupFolder *self, guint guest, const char *id)
{
  json_object_set_string_member (qsnap_group_file_guest (self->json, guest), QSNAP_GROUP_GUEST_ID,
                                 id);
}

gboolean
qsnap_group_folder_note_times (QsnapGroupFolder *self,
                               gint64 first_stop,
                               gint64 last_stop,
                               gint64 first_resume,
                               GError **error)
{
  gboolean stopped = first_stop != G_MAXINT64;
  g_autofree char *time = qsnap_time_to_text (stopped ? last_stop : g_get_real_time ());

  json_object_set_string_member (self->json, QSNAP_GROUP_TIME, time);
  json_object_set_int_member (self->json, QSNAP_GROUP_SKEW, stopped ? last_stop - first_stop : 0);
  json_object_set_int_member (self->json, QSNAP_GROUP_OVERLAP,
                              first_resume != G_MAXINT64 ? first_resume - last_stop : -1);

  return qsnap_group_file_write (self->fd, QSNAP_GROUP_JOURNAL, self->json, error);
}

/* --- its end ------------------------------------------------------------------------------- */

static gboolean
sync_parent (QsnapGroupFolder *self, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (self->path);

  return qsnap_io_sync_path (parent, O_DIRECTORY, error);
}

/* The folder's own entry first: group.json must not be durable in a folder that is not. */
gboolean
qsnap_group_folder_seal (QsnapGroupFolder *self, GError **error)
{
  self->sealed = sync_parent (self, error) &&
                 qsnap_group_file_write (self->fd, QSNAP_GROUP_FILE, self->json, error);
  if (!self->sealed)
    g_prefix_error (error, "sealing the group in %s: ", self->path);

  return self->sealed;
}

static gboolean
has_guests (QsnapGroupFolder *self)
{
  for (guint i = 0; i < qsnap_group_file_n_guests (self->json); i++)
    if (faccessat (self->fd, qsnap_group_file_guest_name (self->json, i), F_OK,
                   AT_SYMLINK_NOFOLLOW) == 0)
      return TRUE;

  return FALSE;
}

static void
give_back (QsnapGroupFolder *self)
{
  if (self->made)
    (void)rmdir (self->path);
  else if (self->is_ours)
    (void)fchmod (self->fd, self->mode);
}

/* What could not be undone keeps the journal: there is something to recover. */
void
qsnap_group_folder_leave (QsnapGroupFolder *self)
{
  gboolean undone = !self->sealed && (!self->is_ours || !has_guests (self));

  if (self->is_ours && (self->sealed || undone))
    (void)unlinkat (self->fd, QSNAP_GROUP_JOURNAL, 0);
  if (undone)
    give_back (self);
  if (self->is_ours)
    (void)flock (self->fd, LOCK_UN);
}
