/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <unistd.h>

#include "qsnap-capture-private.h"
#include "qsnap-delete.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"
#include "qsnap-operation.h"
#include "qsnap-session-private.h"
#include "qsnap-siblings.h"
#include "qsnap-snapshot-private.h"

/* A guest whose snapshots are taken by a timer gets an image more with each, and slower with each
 * image. After the seal those before the latest ones are deleted, while the guest runs. Nothing
 * that happens in it can do harm to the new snapshot. */

/* --- which --------------------------------------------------------------------------------- */

typedef struct
{
  char *folder;
  char *parent;
  gboolean has_overlay;
} Link;

static void
link_free (gpointer data)
{
  Link *link = data;

  g_free (link->folder);
  g_free (link->parent);
  g_free (link);
}

static gboolean
has_overlay (JsonObject *manifest)
{
  JsonArray *disks = qsnap_json_get_array (manifest, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (qsnap_manifest_disk_mode (qsnap_json_array_object (disks, i)) == QSNAP_DISK_MODE_OVERLAY)
      return TRUE;

  return FALSE;
}

/* One that is half deleted is in the chain as well, and its deletion is repeated. */
static gboolean
note_link (const QsnapSibling *sibling, gpointer data, GError **error)
{
  GHashTable *links = data;
  JsonObject *parent = qsnap_json_get_object (sibling->manifest, "parent");
  const char *id = qsnap_json_get_string (sibling->manifest, "id");
  Link *link;

  if (sibling->manifest == NULL || id == NULL)
    return TRUE;

  link = g_new0 (Link, 1);
  link->folder = g_strdup (sibling->folder);
  link->parent = g_strdup (qsnap_json_get_string (parent, "id"));
  link->has_overlay = has_overlay (sibling->manifest);
  g_hash_table_replace (links, g_strdup (id), link);

  return TRUE;
}

/* Folders of the snapshots that the new one came from, the latest first; each only once, whatever
 * the manifests say. */
static GPtrArray *
find_line (QsnapCapture *capture, GError **error)
{
  g_autoptr (GHashTable) links = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, link_free);
  g_autoptr (GPtrArray) line = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *id = g_strdup (qsnap_json_get_string (capture->parent, "id"));

  if (!qsnap_siblings_visit (capture->path, note_link, links, capture->cancellable, error))
    return NULL;

  while (id != NULL && g_hash_table_contains (links, id))
    {
      Link *link = g_hash_table_lookup (links, id);
      char *next = g_strdup (link->parent);

      if (link->has_overlay)
        g_ptr_array_add (line, g_strdup (link->folder));
      g_hash_table_remove (links, id);
      g_free (id);
      id = next;
    }

  return g_steal_pointer (&line);
}

/* --- and away ------------------------------------------------------------------------------ */

static gboolean
delete_ancestor (QsnapCapture *capture, const char *folder, GError **error)
{
  QsnapSession *session = qsnap_operation_get_session (capture->operation);
  g_autoptr (GFile) directory = g_file_new_for_path (folder);
  g_autoptr (QsnapSnapshot) snapshot = qsnap_snapshot_load (directory, capture->cancellable, error);
  gboolean deleted =
      snapshot != NULL && qsnap_delete_run (snapshot, session, NULL, capture->cancellable, error);

  /* The deletion's own took its place. */
  qsnap_session_set_watch (session, capture->watch);

  return deleted;
}

/* Its chain is shorter, and its parent may be another: the caller gets what the disk has now. */
static void
read_again (QsnapCapture *capture)
{
  g_autoptr (JsonObject) old = qsnap_snapshot_copy_manifest (capture->snapshot);
  g_autoptr (JsonObject) manifest = NULL;
  JsonObject *copy;
  int dir_fd = qsnap_snapshot_open_directory (capture->directory, NULL);

  if (dir_fd < 0)
    return;

  manifest = qsnap_manifest_read (dir_fd, NULL);
  close (dir_fd);
  if (manifest == NULL)
    return;

  /* What is parsed cannot be changed. */
  copy = qsnap_json_copy_object (manifest);
  json_object_set_array_member (copy, "warnings",
                                json_array_ref (qsnap_json_get_array (old, "warnings")));
  qsnap_snapshot_seal (capture->snapshot, copy);
}

static void
warn (QsnapCapture *capture, const GError *failure)
{
  g_autofree char *warning = g_strdup_printf (
      "the chain of the guest's images was not made shorter: %s", failure->message);

  qsnap_snapshot_add_warning (capture->snapshot, warning);
}

void
qsnap_capture_limit_chain (QsnapCapture *capture)
{
  guint kept = qsnap_snapshot_options_get_max_chain_length (capture->options);
  g_autoptr (GPtrArray) line = NULL;
  g_autoptr (GError) unread = NULL;
  gboolean deleted = FALSE;

  if (kept == 0 || capture->parent == NULL || capture->qmp->gone)
    return;

  qsnap_capture_let_go_of_directory (capture);
  line = find_line (capture, &unread);
  if (line == NULL)
    {
      warn (capture, unread);
      return;
    }

  /* The new one is one of them. */
  for (guint i = line->len; i >= kept; i--)
    {
      const char *folder = line->pdata[i - 1];
      g_autoptr (GError) failure = NULL;

      if (delete_ancestor (capture, folder, &failure))
        deleted = TRUE;
      else
        {
          g_prefix_error (&failure, "%s cannot be deleted: ", folder);
          warn (capture, failure);
          if (g_cancellable_is_cancelled (capture->cancellable))
            break;
        }
    }
  if (deleted)
    read_again (capture);
}
