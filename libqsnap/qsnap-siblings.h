/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* The snapshots that are kept in one folder, which is what makes a set of them. */

typedef struct
{
  const char *folder;
  int dir_fd;
  /* NULL: a capture into it has not ended, and this is its journal's. */
  JsonObject *manifest;
  JsonObject *journal;
  /* The manifest has its other name. */
  gboolean deleting;
} QsnapSibling;

/* What is in the directory, which stays the caller's: neither a manifest nor a journal if it is no
 * snapshot, or a damaged one. */
void qsnap_sibling_read (QsnapSibling *sibling, const char *folder, int dir_fd);
void qsnap_sibling_clear (QsnapSibling *sibling);

/* FALSE ends the search, with or without an error. */
typedef gboolean (*QsnapSiblingFunc) (const QsnapSibling *sibling, gpointer data, GError **error);

/* Calls @func for all that are beside the directory @own, which need not exist; what is no
 * snapshot, or a damaged one, is left out. FALSE only with an error. */
gboolean qsnap_siblings_visit (const char *own,
                               QsnapSiblingFunc func,
                               gpointer data,
                               GCancellable *cancellable,
                               GError **error);

/* The folder of the one that has this name (free with g_free()), or NULL. */
char *qsnap_siblings_find_name (const char *own, const char *name, GError **error);

G_END_DECLS
