/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "qsnap-about.h"
#include "qsnap/qsnap.h"

G_BEGIN_DECLS

struct _QsnapSnapshot
{
  GObject parent_instance;

  GFile *directory;
  GListModel *disks;
  char *name;

  GMutex lock;
  /* Guarded by lock: replaced when the snapshot is sealed. */
  JsonObject *manifest;
  gboolean sealed;
  /* It was sealed once; its deletion has begun, or has ended. */
  gboolean deleting;
  /* Guarded by lock, too. */
  QsnapAbout about;
};

/* A copy. */
JsonObject *qsnap_snapshot_copy_manifest (QsnapSnapshot *snapshot);
/* QSNAP_ERROR_BUSY for one that is still being saved, or that is being deleted. */
gboolean qsnap_snapshot_check_sealed (QsnapSnapshot *snapshot, GError **error);
/* Opens the snapshot's directory. */
int qsnap_snapshot_open_directory (GFile *directory, GError **error);
/* A capture, its saver and a deletion hold the directory for themselves, a revert shares it until
 * its QEMU has the images open and their locks are seen. QSNAP_ERROR_BUSY. */
gboolean qsnap_snapshot_lock_directory (int dir_fd, gboolean exclusive, GError **error);
/* That every base is the file that it was. */
gboolean qsnap_snapshot_check_bases (QsnapSnapshot *snapshot, JsonObject *manifest, GError **error);

/* A snapshot that is still being saved; the manifest (taken) may lack what is not known yet. */
QsnapSnapshot *qsnap_snapshot_new_unsealed (GFile *directory, JsonObject *manifest);

/* More is known of it. */
void qsnap_snapshot_describe (QsnapSnapshot *snapshot, JsonObject *manifest);

/* The snapshot is on stable storage as @manifest (taken) says. */
void qsnap_snapshot_seal (QsnapSnapshot *snapshot, JsonObject *manifest);

/* What its list of disks says is what the manifest says now, in the thread that has the list. */
void qsnap_snapshot_list_disks_anew (QsnapSnapshot *snapshot);

/* Something came up after the seal: only this object has it. */
void qsnap_snapshot_add_warning (QsnapSnapshot *snapshot, const char *warning);

/* It is not a snapshot any more (or is one again). */
void qsnap_snapshot_set_deleting (QsnapSnapshot *snapshot, gboolean deleting);

/* What is said of it, from its directory; what cannot be read is nothing. */
void qsnap_snapshot_read_about (QsnapSnapshot *snapshot, int dir_fd);

G_END_DECLS
