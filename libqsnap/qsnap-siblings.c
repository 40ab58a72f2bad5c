/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-siblings.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "qsnap-dependents.h"
#include "qsnap-journal.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"

void
qsnap_sibling_read (QsnapSibling *sibling, const char *folder, int dir_fd)
{
  QsnapJournal journal = { 0 };

  memset (sibling, 0, sizeof *sibling);
  sibling->folder = folder;
  sibling->dir_fd = dir_fd;
  sibling->manifest = qsnap_manifest_read (dir_fd, NULL);
  if (sibling->manifest != NULL)
    return;

  sibling->manifest = qsnap_manifest_read_deleted (dir_fd, NULL);
  sibling->deleting = sibling->manifest != NULL;
  if (!sibling->deleting && qsnap_journal_read (&journal, dir_fd, NULL))
    sibling->journal = json_object_ref (journal.json);
  qsnap_journal_clear (&journal);
}

void
qsnap_sibling_clear (QsnapSibling *sibling)
{
  g_clear_pointer (&sibling->manifest, json_object_unref);
  g_clear_pointer (&sibling->journal, json_object_unref);
}

static gboolean
visit_open (const char *folder,
            int dir_fd,
            QsnapSiblingFunc func,
            gpointer data,
            gboolean *go_on,
            GError **error)
{
  g_autoptr (GError) failure = NULL;
  QsnapSibling sibling;

  qsnap_sibling_read (&sibling, folder, dir_fd);
  if (sibling.manifest != NULL || sibling.journal != NULL)
    *go_on = func (&sibling, data, &failure);
  qsnap_sibling_clear (&sibling);
  if (failure == NULL)
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

gboolean
qsnap_siblings_visit (const char *own,
                      QsnapSiblingFunc func,
                      gpointer data,
                      GCancellable *cancellable,
                      GError **error)
{
  g_autofree char *parent = g_path_get_dirname (own);
  g_autoptr (GDir) dir = g_dir_open (parent, 0, error);
  gboolean go_on = TRUE;
  const char *name;

  if (dir == NULL)
    return FALSE;

  while (go_on && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *folder = g_build_filename (parent, name, NULL);
      gboolean visited = TRUE;
      int dir_fd;

      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;
      dir_fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (dir_fd < 0)
        continue;
      if (!qsnap_is_same_file (folder, own))
        visited = visit_open (folder, dir_fd, func, data, &go_on, error);
      close (dir_fd);
      if (!visited)
        return FALSE;
    }

  return TRUE;
}

/* --- names --------------------------------------------------------------------------------- */

typedef struct
{
  const char *name;
  char *folder;
} NameSearch;

static gboolean
compare_name (const QsnapSibling *sibling, gpointer data, GError **error)
{
  NameSearch *search = data;
  JsonObject *object = sibling->manifest != NULL ? sibling->manifest : sibling->journal;

  if (g_strcmp0 (qsnap_json_get_string (object, "name"), search->name) == 0)
    search->folder = g_strdup (sibling->folder);

  return search->folder == NULL;
}

char *
qsnap_siblings_find_name (const char *own, const char *name, GError **error)
{
  NameSearch search = { name, NULL };

  (void)qsnap_siblings_visit (own, compare_name, &search, NULL, error);

  return search.folder;
}
