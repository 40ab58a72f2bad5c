/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <sys/stat.h>

G_BEGIN_DECLS

/* Files of a snapshot, always relative to a directory that is already open. */

/* Sets a G_IO_ERROR from @saved_errno, "WHAT: strerror", and answers FALSE. */
gboolean qsnap_io_fail (GError **error, int saved_errno, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* The folder of a whole snapshot or revert, which is open and may come from anywhere: it must be
 * ours or root's, or we are root, and nobody but its owner may write to it. Else
 * G_IO_ERROR_PERMISSION_DENIED. */
gboolean qsnap_io_check_top (int fd, const char *path, GError **error);

/* An empty directory, open, becomes that of one writer: it is locked, so that of two that have found
 * it empty one gets QSNAP_ERROR_EXISTS, and nobody else may look into it. @mode is what it had. */
gboolean qsnap_io_take_dir (int fd, const char *path, mode_t *mode, GError **error);

/* The directory @name, made with mode 0700 if it is not there. One that does not belong to us or to
 * the owner of @dir_fd, or that others may write to, is QSNAP_ERROR_CORRUPT. */
int qsnap_io_make_dir (int dir_fd, const char *name, GError **error);
int qsnap_io_open_dir (int dir_fd, const char *name, GError **error);

/* A new file with mode 0600, open for reading and writing; an existing one is an error. */
int qsnap_io_create (int dir_fd, const char *name, GError **error);

/* A new file that has no name, in the folder @path, or, if that is not there yet, in the one in
 * which it will be made: to find out what its file system can do. */
int qsnap_io_create_nameless (const char *path, GError **error);

/* An existing regular file of exactly @size bytes, that belongs to us or to the directory's owner:
 * all else is QSNAP_ERROR_CORRUPT. */
int qsnap_io_open (int dir_fd, const char *name, guint64 size, GError **error);

gboolean qsnap_io_pwrite (
    int fd, const void *data, gsize len, guint64 offset, const char *name, GError **error);

/* A file that ends before @len bytes is QSNAP_ERROR_CORRUPT. */
gboolean
qsnap_io_pread (int fd, void *data, gsize len, guint64 offset, const char *name, GError **error);

/* All of an existing regular file that belongs to us or to the directory's owner, of at most
 * @max_size bytes, followed by a NUL; an empty one is QSNAP_ERROR_CORRUPT too. */
char *
qsnap_io_read_whole (int dir_fd, const char *name, gsize max_size, gsize *len, GError **error);

/* The same, and whose it is. */
char *qsnap_io_read_with_owner (
    int dir_fd, const char *name, gsize max_size, gsize *len, uid_t *owner, GError **error);

/* FALSE also for what cannot be looked at. */
gboolean qsnap_io_dir_is_empty (const char *path);

gboolean qsnap_io_fsync (int fd, const char *name, GError **error);
/* The same for a path, which @flags may say is a directory. An image that only QEMU may read is
 * left to QEMU, which flushes it when it stops the guest or lets go of the image. */
gboolean qsnap_io_sync_path (const char *path, int flags, GError **error);

/* Writes @name anew and renames it into place: afterwards there is the old content or the new one,
 * never a part. The directory is synced too. */
gboolean
qsnap_io_replace (int dir_fd, const char *name, const void *data, gsize len, GError **error);

/* The same for what is of no use after the host has lost power: nothing is synced. */
gboolean qsnap_io_replace_unsynced (
    int dir_fd, const char *name, const void *data, gsize len, GError **error);

/* Removes what a writer that died left of its new @name. */
void qsnap_io_forget_draft (int dir_fd, const char *name);

G_END_DECLS
