/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* Every step that changes the guest or the disk pushes what takes it back. Failure, cancel and
 * timeout then have one way out: qsnap_undo_run(), newest first. */

typedef struct _QsnapUndo QsnapUndo;

typedef gboolean (*QsnapUndoFunc) (gpointer data, GError **error);

QsnapUndo *qsnap_undo_new (void);
/* Drops the entries: what they would undo stays. */
void qsnap_undo_free (QsnapUndo *undo);

/* @step is a static string for messages. Entries of one @group build on each other (a file, the
 * node on it): where one fails, the older ones of its group are left alone, so that nothing is
 * removed that is still in use. */
void qsnap_undo_push (
    QsnapUndo *undo, const char *step, gconstpointer group, QsnapUndoFunc func, gpointer data);

/* Forgets the newest entry with this @func and @data, which has been done otherwise. */
void qsnap_undo_drop (QsnapUndo *undo, QsnapUndoFunc func, gpointer data);

/* All of them, even where some fail. FALSE with the failures joined in @error; what failed, and
 * what was left alone for it, stays, and can be tried again. */
gboolean qsnap_undo_run (QsnapUndo *undo, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapUndo, qsnap_undo_free)

G_END_DECLS
