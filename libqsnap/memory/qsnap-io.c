/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-io.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "qsnap/qsnap-error.h"

gboolean
qsnap_io_fail (GError **error, int saved_errno, const char *format, ...)
{
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, G_IO_ERROR, g_io_error_from_errno (saved_errno), "%s: %s", what,
               g_strerror (saved_errno));
  return FALSE;
}

/* Whoever owns the snapshot may own what is in it; nobody else. */
static gboolean
check_owner (int dir_fd, const struct stat *info, const char *name, GError **error)
{
  struct stat dir_info;

  if (fstat (dir_fd, &dir_info) != 0)
    return qsnap_io_fail (error, errno, "Could not examine the folder of “%s”", name);
  if (info->st_uid == geteuid () || info->st_uid == dir_info.st_uid)
    return TRUE;
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "“%s” of the snapshot belongs to user %u, who does not own the snapshot", name,
               (guint)info->st_uid);
  return FALSE;
}

static gboolean
check_dir (int dir_fd, int fd, const char *name, GError **error)
{
  struct stat info;

  if (fstat (fd, &info) != 0)
    return qsnap_io_fail (error, errno, "Could not examine “%s” of the snapshot", name);
  if (!check_owner (dir_fd, &info, name, error))
    return FALSE;
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) == 0)
    return TRUE;
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "others than its owner may write to the folder “%s” of the snapshot (mode %04o)",
               name, info.st_mode & 07777);
  return FALSE;
}

int
qsnap_io_open_dir (int dir_fd, const char *name, GError **error)
{
  int fd = openat (dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

  if (fd < 0)
    {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                     "“%s” of the snapshot is missing, or is not a folder", name);
      else
        qsnap_io_fail (error, errno, "Could not open the folder “%s” of the snapshot", name);
      return -1;
    }
  if (!check_dir (dir_fd, fd, name, error))
    {
      close (fd);
      return -1;
    }
  return fd;
}

gboolean
qsnap_io_check_top (int fd, const char *path, GError **error)
{
  struct stat info;

  if (fstat (fd, &info) != 0)
    return qsnap_io_fail (error, errno, "cannot examine %s", path);
  if (info.st_uid != geteuid () && info.st_uid != 0 && geteuid () != 0)
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                   "%s belongs to user %u: only its owner and root may use it", path,
                   (guint)info.st_uid);
      return FALSE;
    }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) == 0)
    return TRUE;
  g_set_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
               "others than its owner may write to %s (mode %04o), and may have replaced what is "
               "in it: chmod go-w it if you trust them",
               path, info.st_mode & 07777);
  return FALSE;
}

int
qsnap_io_make_dir (int dir_fd, const char *name, GError **error)
{
  if (mkdirat (dir_fd, name, 0700) != 0 && errno != EEXIST)
    {
      qsnap_io_fail (error, errno, "Could not make the folder “%s” of the snapshot", name);
      return -1;
    }
  return qsnap_io_open_dir (dir_fd, name, error);
}

int
qsnap_io_create (int dir_fd, const char *name, GError **error)
{
  int fd =
      openat (dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);

  if (fd < 0)
    qsnap_io_fail (error, errno, "Could not create “%s” in the snapshot", name);
  return fd;
}

int
qsnap_io_create_nameless (const char *path, GError **error)
{
  g_autofree char *parent = g_path_get_dirname (path);
  int fd = open (path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0 && errno == ENOENT)
    fd = open (parent, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0)
    qsnap_io_fail (error, errno, "cannot make a file in %s", path);
  return fd;
}

static gboolean
check_file (int dir_fd, int fd, const char *name, struct stat *info, GError **error)
{
  if (fstat (fd, info) != 0)
    return qsnap_io_fail (error, errno, "Could not examine “%s” of the snapshot", name);
  if (S_ISREG (info->st_mode))
    return check_owner (dir_fd, info, name, error);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "“%s” of the snapshot is not a regular file", name);
  return FALSE;
}

/* What it finds out about the file is of the one that is open, whatever takes its name next. */
static int
open_file (int dir_fd, const char *name, struct stat *info, GError **error)
{
  /* O_NONBLOCK: somebody may have put a FIFO there, whose open would wait for a writer. */
  int fd = openat (dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

  if (fd < 0)
    {
      if (errno == ELOOP || errno == ENXIO)
        g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                     "“%s” of the snapshot is not a regular file", name);
      else
        qsnap_io_fail (error, errno, "Could not open “%s” of the snapshot", name);
      return -1;
    }
  if (!check_file (dir_fd, fd, name, info, error))
    {
      close (fd);
      return -1;
    }
  return fd;
}

int
qsnap_io_open (int dir_fd, const char *name, guint64 size, GError **error)
{
  g_autoptr (GError) failure = NULL;
  struct stat info;
  int fd = open_file (dir_fd, name, &info, &failure);

  if (fd >= 0 && (guint64)info.st_size == size)
    return fd;
  if (fd >= 0)
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                 "“%s” of the snapshot has %" G_GUINT64_FORMAT " bytes, %" G_GUINT64_FORMAT
                 " were saved",
                 name, (guint64)info.st_size, size);
  else if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "“%s” of the snapshot is missing", name);
  else
    g_propagate_error (error, g_steal_pointer (&failure));
  if (fd >= 0)
    close (fd);
  return -1;
}

gboolean
qsnap_io_pwrite (
    int fd, const void *data, gsize len, guint64 offset, const char *name, GError **error)
{
  const guint8 *bytes = data;

  while (len > 0)
    {
      gssize n = pwrite (fd, bytes, len, (off_t)offset);

      if (n < 0 && errno == EINTR)
        continue;
      /* Nothing written and no errno is not something a file does; do not loop on it. */
      if (n <= 0)
        return qsnap_io_fail (error, n < 0 ? errno : ENOSPC, "Could not write “%s”", name);
      bytes += n;
      offset += n;
      len -= n;
    }
  return TRUE;
}

gboolean
qsnap_io_pread (int fd, void *data, gsize len, guint64 offset, const char *name, GError **error)
{
  guint8 *bytes = data;

  while (len > 0)
    {
      gssize n = pread (fd, bytes, len, (off_t)offset);

      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return qsnap_io_fail (error, errno, "Could not read “%s”", name);
      if (n == 0)
        {
          g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "“%s” ends at %" G_GUINT64_FORMAT,
                       name, offset);
          return FALSE;
        }
      bytes += n;
      offset += n;
      len -= n;
    }
  return TRUE;
}

static char *
read_open (int fd, const struct stat *found, const char *name, gsize max_size, GError **error)
{
  g_autofree char *text = NULL;

  if (found->st_size <= 0 || (guint64)found->st_size > max_size)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "“%s” has %" G_GINT64_FORMAT " bytes",
                   name, (gint64)found->st_size);
      return NULL;
    }
  text = g_malloc0 ((gsize)found->st_size + 1);
  return qsnap_io_pread (fd, text, (gsize)found->st_size, 0, name, error) ? g_steal_pointer (&text)
                                                                          : NULL;
}

char *
qsnap_io_read_with_owner (
    int dir_fd, const char *name, gsize max_size, gsize *len, uid_t *owner, GError **error)
{
  struct stat found;
  int fd = open_file (dir_fd, name, &found, error);
  char *text;

  if (fd < 0)
    return NULL;
  text = read_open (fd, &found, name, max_size, error);
  close (fd);
  *len = (gsize)found.st_size;
  *owner = found.st_uid;
  return text;
}

char *
qsnap_io_read_whole (int dir_fd, const char *name, gsize max_size, gsize *len, GError **error)
{
  uid_t owner;

  return qsnap_io_read_with_owner (dir_fd, name, max_size, len, &owner, error);
}

gboolean
qsnap_io_dir_is_empty (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);

  return dir != NULL && g_dir_read_name (dir) == NULL;
}

gboolean
qsnap_io_take_dir (int fd, const char *path, mode_t *mode, GError **error)
{
  g_autofree char *opened = g_strdup_printf ("/proc/self/fd/%d", fd);
  struct stat found;

  if (flock (fd, LOCK_EX | LOCK_NB) != 0 || !qsnap_io_dir_is_empty (opened))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_EXISTS,
                   "the directory %s is not empty, or another capture writes into it already",
                   path);
      return FALSE;
    }

  if (fstat (fd, &found) != 0)
    return qsnap_io_fail (error, errno, "cannot examine %s", path);
  /* Its owner could put other files in the place of what is written. */
  if (found.st_uid != geteuid ())
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                   "the directory %s belongs to user %u: choose another", path,
                   (guint)found.st_uid);
      return FALSE;
    }
  if (fchmod (fd, 0700) != 0)
    return qsnap_io_fail (error, errno, "cannot set the mode of %s", path);

  *mode = found.st_mode & 07777;

  return TRUE;
}

gboolean
qsnap_io_fsync (int fd, const char *name, GError **error)
{
  int result;

  do
    result = fsync (fd);
  while (result != 0 && errno == EINTR);

  if (result != 0)
    return qsnap_io_fail (error, errno, "Could not bring “%s” to stable storage", name);
  return TRUE;
}

gboolean
qsnap_io_sync_path (const char *path, int flags, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | flags);
  gboolean synced;

  if (fd < 0 && errno == EACCES)
    return TRUE;
  if (fd < 0)
    return qsnap_io_fail (error, errno, "cannot open %s to sync it", path);

  synced = qsnap_io_fsync (fd, path, error);
  close (fd);
  return synced;
}

static gboolean
write_draft (
    int dir_fd, const char *name, const void *data, gsize len, gboolean synced, GError **error)
{
  int fd = qsnap_io_create (dir_fd, name, error);
  gboolean ok;

  if (fd < 0)
    return FALSE;
  ok = qsnap_io_pwrite (fd, data, len, 0, name, error) &&
       (!synced || qsnap_io_fsync (fd, name, error));
  /* Some file systems report a full disk or a lost server only here. */
  if (close (fd) != 0 && ok && errno != EINTR)
    ok = qsnap_io_fail (error, errno, "Could not close “%s”", name);
  return ok;
}

static char *
draft_of (const char *name)
{
  return g_strdup_printf (".%s.new", name);
}

void
qsnap_io_forget_draft (int dir_fd, const char *name)
{
  g_autofree char *draft = draft_of (name);

  (void)unlinkat (dir_fd, draft, 0);
}

static gboolean
replace (int dir_fd, const char *name, const void *data, gsize len, gboolean synced, GError **error)
{
  g_autofree char *temporary = draft_of (name);

  /* Left by a writer that died; nobody else writes here. */
  if (unlinkat (dir_fd, temporary, 0) != 0 && errno != ENOENT)
    return qsnap_io_fail (error, errno, "Could not remove “%s”", temporary);
  if (!write_draft (dir_fd, temporary, data, len, synced, error))
    {
      unlinkat (dir_fd, temporary, 0);
      return FALSE;
    }
  if (renameat (dir_fd, temporary, dir_fd, name) != 0)
    {
      qsnap_io_fail (error, errno, "Could not rename “%s”", name);
      unlinkat (dir_fd, temporary, 0);
      return FALSE;
    }
  return !synced || qsnap_io_fsync (dir_fd, "the snapshot's folder", error);
}

gboolean
qsnap_io_replace (int dir_fd, const char *name, const void *data, gsize len, GError **error)
{
  return replace (dir_fd, name, data, len, TRUE, error);
}

gboolean
qsnap_io_replace_unsynced (
    int dir_fd, const char *name, const void *data, gsize len, GError **error)
{
  return replace (dir_fd, name, data, len, FALSE, error);
}
