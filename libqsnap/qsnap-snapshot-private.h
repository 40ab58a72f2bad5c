/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

struct _QsnapSnapshot
{
  GObject parent_instance;

  GFile *directory;
  GListModel *disks;
  char *name;

  GMutex lock;
  /* Guarded by lock: replaced once, when the snapshot is sealed. */
  JsonObject *manifest;
  gboolean sealed;
};

JsonObject *qsnap_snapshot_ref_manifest (QsnapSnapshot *snapshot);
/* QSNAP_ERROR_BUSY for one that is still being saved. */
gboolean qsnap_snapshot_check_sealed (QsnapSnapshot *snapshot, GError **error);
/* Opens the snapshot's directory. */
int qsnap_snapshot_open_directory (GFile *directory, GError **error);
/* That every base is the file that it was. */
gboolean qsnap_snapshot_check_bases (JsonObject *manifest, GError **error);

/* A snapshot that is still being saved; the manifest (taken) may lack what is not known yet. */
QsnapSnapshot *qsnap_snapshot_new_unsealed (GFile *directory, JsonObject *manifest);

/* The snapshot is on stable storage as @manifest (taken) says. */
void qsnap_snapshot_seal (QsnapSnapshot *snapshot, JsonObject *manifest);

G_END_DECLS
