/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-undo.h"

#include "qsnap/qsnap-error.h"

typedef struct
{
  const char *step;
  gconstpointer group;
  QsnapUndoFunc func;
  gpointer data;
} UndoEntry;

struct _QsnapUndo
{
  GArray *entries;
};

QsnapUndo *
qsnap_undo_new (void)
{
  QsnapUndo *undo = g_new0 (QsnapUndo, 1);

  undo->entries = g_array_new (FALSE, FALSE, sizeof (UndoEntry));

  return undo;
}

void
qsnap_undo_free (QsnapUndo *undo)
{
  g_array_unref (undo->entries);
  g_free (undo);
}

void
qsnap_undo_push (
    QsnapUndo *undo, const char *step, gconstpointer group, QsnapUndoFunc func, gpointer data)
{
  UndoEntry entry = { step, group, func, data };

  g_array_append_val (undo->entries, entry);
}

void
qsnap_undo_drop (QsnapUndo *undo, QsnapUndoFunc func, gpointer data)
{
  for (guint i = undo->entries->len; i > 0; i--)
    {
      UndoEntry *entry = &g_array_index (undo->entries, UndoEntry, i - 1);

      if (entry->func == func && entry->data == data)
        {
          g_array_remove_index (undo->entries, i - 1);
          return;
        }
    }
}

gboolean
qsnap_undo_run (QsnapUndo *undo, GError **error)
{
  g_autoptr (GString) failures = g_string_new (NULL);
  g_autoptr (GHashTable) failed_groups = g_hash_table_new (NULL, NULL);

  for (guint i = undo->entries->len; i > 0; i--)
    {
      UndoEntry entry = g_array_index (undo->entries, UndoEntry, i - 1);
      g_autoptr (GError) failure = NULL;

      if (entry.group != NULL && g_hash_table_contains (failed_groups, entry.group))
        continue;

      g_debug ("undo: %s", entry.step);
      if (entry.func (entry.data, &failure))
        {
          g_array_remove_index (undo->entries, i - 1);
          continue;
        }

      if (entry.group != NULL)
        g_hash_table_add (failed_groups, (gpointer)entry.group);
      g_string_append_printf (failures, "%s%s: %s", failures->len > 0 ? "; " : "", entry.step,
                              failure->message);
    }

  if (failures->len == 0)
    return TRUE;

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED, failures->str);

  return FALSE;
}
