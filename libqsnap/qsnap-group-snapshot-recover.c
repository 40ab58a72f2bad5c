/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-private.h"

#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-group-file.h"
#include "qsnap-journal.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-parallel.h"
#include "qsnap-snapshot-private.h"

/* What a client left that died while it took the snapshot of a group: each guest's capture is
 * finished or undone as if it was alone. Where all of them could be finished, and the common
 * instant had been proven, they are a group. */

typedef struct
{
  char *path;
  int dir_fd;
  /* What group.json says, or the journal. */
  JsonObject *json;
  gboolean sealed;
  GCancellable *cancellable;
  /* By guest: NULL where it was recovered, or there was nothing to. */
  GError **errors;
} Recovery;

static void
recovery_clear (Recovery *recovery)
{
  guint n = recovery->json != NULL ? qsnap_group_file_n_guests (recovery->json) : 0;

  for (guint i = 0; recovery->errors != NULL && i < n; i++)
    g_clear_error (&recovery->errors[i]);
  g_free (recovery->errors);
  g_clear_pointer (&recovery->json, json_object_unref);
  g_free (recovery->path);
  if (recovery->dir_fd >= 0)
    close (recovery->dir_fd);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Recovery, recovery_clear)

/* --- guests -------------------------------------------------------------------------------- */

static char *
path_of_guest (Recovery *recovery, guint index)
{
  return g_build_filename (recovery->path, qsnap_group_file_guest_name (recovery->json, index),
                           NULL);
}

/* A client that died over its first journal left an empty directory. */
static void
recover_guest (guint index, gpointer data)
{
  Recovery *recovery = data;
  g_autofree char *path = path_of_guest (recovery, index);
  g_autofree char *journal = g_build_filename (path, QSNAP_JOURNAL_FILE, NULL);
  g_autofree char *manifest = g_build_filename (path, QSNAP_MANIFEST_FILE, NULL);
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (GFile) directory = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  if (!g_file_test (path, G_FILE_TEST_IS_DIR) ||
      (g_file_test (manifest, G_FILE_TEST_EXISTS) && !g_file_test (journal, G_FILE_TEST_EXISTS)))
    return;

  session = qsnap_session_new (NULL);
  directory = g_file_new_for_path (path);
  snapshot =
      qsnap_session_recover (session, directory, recovery->cancellable, &recovery->errors[index]);
  if (g_error_matches (recovery->errors[index], G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    {
      g_clear_error (&recovery->errors[index]);
      (void)rmdir (path);
    }
}

static gboolean
recover_guests (Recovery *recovery, GError **error)
{
  guint n = qsnap_group_file_n_guests (recovery->json);
  g_autoptr (GString) failures = g_string_new (NULL);
  const GError *first = NULL;

  recovery->errors = g_new0 (GError *, n);
  qsnap_parallel_run (n, recover_guest, recovery);
  for (guint i = 0; i < n; i++)
    if (recovery->errors[i] != NULL)
      {
        first = first != NULL ? first : recovery->errors[i];
        g_string_append_printf (failures, "%sguest %s: %s", failures->len > 0 ? "; " : "",
                                qsnap_group_file_guest_name (recovery->json, i),
                                recovery->errors[i]->message);
      }
  if (first == NULL)
    return TRUE;

  g_set_error_literal (error, first->domain, first->code, failures->str);

  return FALSE;
}

/* --- the group ----------------------------------------------------------------------------- */

/* The names of those that have a snapshot, or that have none. */
static char *
list_guests (Recovery *recovery, gboolean with_snapshot)
{
  g_autoptr (GString) names = g_string_new (NULL);

  for (guint i = 0; i < qsnap_group_file_n_guests (recovery->json); i++)
    {
      g_autofree char *path = path_of_guest (recovery, i);

      if (g_file_test (path, G_FILE_TEST_IS_DIR) == with_snapshot)
        g_string_append_printf (names, "%s%s", names->len > 0 ? ", " : "",
                                qsnap_group_file_guest_name (recovery->json, i));
    }

  return g_string_free (g_steal_pointer (&names), FALSE);
}

static QsnapGroupSnapshot *
finish (Recovery *recovery, GError **error)
{
  g_autoptr (GListModel) snapshots = qsnap_group_snapshot_load_snapshots (
      recovery->path, recovery->json, recovery->cancellable, error);

  if (snapshots == NULL ||
      (!recovery->sealed &&
       !qsnap_group_file_write (recovery->dir_fd, QSNAP_GROUP_FILE, recovery->json, error)))
    return NULL;

  (void)unlinkat (recovery->dir_fd, QSNAP_GROUP_JOURNAL, 0);

  return qsnap_group_snapshot_new (
      recovery->path, recovery->json, snapshots,
      !qsnap_json_get_bool (recovery->json, QSNAP_GROUP_DELETING, FALSE));
}

static void
forget (Recovery *recovery)
{
  (void)unlinkat (recovery->dir_fd, QSNAP_GROUP_JOURNAL, 0);
  qsnap_io_forget_draft (recovery->dir_fd, QSNAP_GROUP_FILE);
  qsnap_io_forget_draft (recovery->dir_fd, QSNAP_GROUP_JOURNAL);
  /* Only where it is empty. */
  (void)rmdir (recovery->path);
}

static QsnapGroupSnapshot *
finish_or_forget (Recovery *recovery, GError **error)
{
  g_autofree char *complete = list_guests (recovery, TRUE);
  g_autofree char *undone = list_guests (recovery, FALSE);

  if (recovery->sealed || (*undone == '\0' && qsnap_group_file_is_proven (recovery->json)))
    return finish (recovery, error);

  forget (recovery);
  if (*complete != '\0')
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED,
                 "there is no snapshot of the group in %s any more: that of guest %s was undone; "
                 "that of guest %s is complete, and stays as a snapshot of its own",
                 recovery->path, undone, complete);

  return NULL;
}

/* --- all of it ----------------------------------------------------------------------------- */

static gboolean
read_group (Recovery *recovery, GError **error)
{
  g_autoptr (GError) failure = NULL;

  recovery->json = qsnap_group_file_read (recovery->dir_fd, QSNAP_GROUP_FILE, &failure);
  recovery->sealed = recovery->json != NULL;
  if (recovery->json == NULL && g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    {
      g_clear_error (&failure);
      recovery->json = qsnap_group_file_read (recovery->dir_fd, QSNAP_GROUP_JOURNAL, &failure);
    }
  if (recovery->json != NULL)
    return TRUE;

  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                 "there is no group to recover in %s: neither " QSNAP_GROUP_FILE
                 " nor " QSNAP_GROUP_JOURNAL,
                 recovery->path);
  else
    g_propagate_prefixed_error (error, g_steal_pointer (&failure), "%s: ", recovery->path);

  return FALSE;
}

/**
 * qsnap_group_snapshot_recover:
 * @directory: the group's folder
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Finishes or undoes what was left behind by a client that died while it took the snapshot of a
 * group. Each guest's capture is recovered as qsnap_session_recover() does it, by the address that
 * the dead client had, all at once. If all of them are complete then, and it had been proven that
 * all guests stood still at one instant, the group's snapshot is sealed. If none is, all was
 * undone, and the folder is removed.
 *
 * It may be that some are complete and others are not, as their savers died too. Those are left as
 * snapshots of their own, and %QSNAP_ERROR_FAILED says so: they are no group. With the snapshot of
 * a group that is sealed, only what is left to do in QEMU is done.
 *
 * Errors: %G_IO_ERROR_NOT_FOUND if there is no group to recover; %QSNAP_ERROR_BUSY if the client is
 * alive; those of qsnap_session_recover(), with the guests' names before the messages: it can be
 * called again.
 *
 * Returns: (transfer full) (nullable): the group's snapshot, sealed; %NULL without an error if it
 *   was undone
 *
 * Since: 1.0
 */
QsnapGroupSnapshot *
qsnap_group_snapshot_recover (GFile *directory, GCancellable *cancellable, GError **error)
{
  g_auto (Recovery) recovery = { .cancellable = cancellable, .dir_fd = -1 };

  g_return_val_if_fail (G_IS_FILE (directory), NULL);

  recovery.dir_fd = qsnap_snapshot_open_directory (directory, error);
  if (recovery.dir_fd < 0)
    return NULL;

  recovery.path = g_file_get_path (directory);
  if (!qsnap_snapshot_lock_directory (recovery.dir_fd, TRUE, error) ||
      !read_group (&recovery, error) || !recover_guests (&recovery, error))
    return NULL;

  return finish_or_forget (&recovery, error);
}
