/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* --- the group ----------------------------------------------------------------------------- */

/* Runs @func in @context, in the order of the calls. */
void qsnap_group_post (GMainContext *context,
                       void (*func) (gpointer data),
                       gpointer data,
                       GDestroyNotify destroy);

/* In the thread that emits. */
void qsnap_group_emit_point_in_time (QsnapGroup *group, QsnapGroupSnapshot *snapshot);
void qsnap_group_emit_memory_complete (QsnapGroup *group, QsnapGroupSnapshot *snapshot);

/* --- its snapshot -------------------------------------------------------------------------- */

struct _QsnapGroupSnapshot
{
  GObject parent_instance;

  GFile *directory;
  char *name;
  /* QsnapSnapshot, and the names of their guests. */
  GListModel *snapshots;
  GStrv names;
  char *time;
  gint64 skew_us;
  gint64 overlap_us;
  /* Atomic. */
  gint sealed;
};

/* @snapshots: of the guests in @json, in their order; those that are deleted may be missing. */
QsnapGroupSnapshot *qsnap_group_snapshot_new (const char *path,
                                              JsonObject *json,
                                              GListModel *snapshots,
                                              gboolean sealed);
void qsnap_group_snapshot_set_sealed (QsnapGroupSnapshot *snapshot, gboolean sealed);
/* QSNAP_ERROR_BUSY for one that is still being saved, or that is being deleted. */
gboolean qsnap_group_snapshot_check_sealed (QsnapGroupSnapshot *snapshot, GError **error);

/* The snapshots of the guests in @json, in the folders below @path; NULL where one is missing that
 * should be there. */
GListModel *qsnap_group_snapshot_load_snapshots (const char *path,
                                                 JsonObject *json,
                                                 GCancellable *cancellable,
                                                 GError **error);

G_END_DECLS
