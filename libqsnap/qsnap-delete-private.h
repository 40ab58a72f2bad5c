/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-delete.h"
#include "qsnap-guest.h"
#include "qsnap-watch.h"

G_BEGIN_DECLS

/* What was done for a disk so far; in the journal. */
typedef enum
{
  QSNAP_DELETE_WAITING,
  /* The base may be written: it is the snapshot's disk no more. The overlay has all. */
  QSNAP_DELETE_MERGING,
  /* The base has all; the overlay may be older. */
  QSNAP_DELETE_MERGED
} QsnapDeleteState;

typedef struct
{
  /* The manifest's. */
  const char *label;
  const char *base;
  const char *base_format;
  const char *overlay;
  JsonObject *identity;

  QsnapDeleteState state;
  gboolean has_overlay;
  /* What the overlay takes in the file system, for the progress. */
  guint64 size;
  /* The guest of the session writes to the overlay: names of nodes. */
  char *overlay_node;
  char *base_node;
  /* It writes to this one, which stands on the overlay: a later snapshot was taken. */
  char *top_node;
} QsnapDeleteDisk;

typedef struct
{
  QsnapSnapshot *snapshot;
  /* With the guest; NULL: no QEMU has its disks open. */
  QsnapSession *session;
  /* Whose phases and progress these are; NULL without a session, and inside another operation. */
  QsnapOperation *operation;
  GCancellable *cancellable;

  char *path;
  int dir_fd;
  JsonObject *manifest;
  /* snapshot.json has its other name. */
  gboolean marked;
  /* The guest is stopped by us, for the last pass of a merge. */
  gboolean stopped;
  /* QsnapDeleteDisk: of those that have an overlay */
  GPtrArray *disks;
  /* What goes with the snapshot: clones and copies (paths); the manifest's disks that have a
   * snapshot inside their image (JsonObject, the manifest's). */
  GPtrArray *images;
  GPtrArray *internal;

  /* Descriptors of the directories of the snapshots that will stand on a base, locked. */
  GHashTable *heirs;

  /* Of the session; NULL without one. */
  QsnapGuest *guest;
  QsnapWatch *watch;

  /* Of the disk that is being merged. */
  QsnapDeleteDisk *current;
  guint64 bytes_before;
  guint64 bytes_after;
} QsnapDelete;

gboolean qsnap_delete_needs_merge (const QsnapDeleteDisk *disk);

/* Everything that is against it is one error. Finds the nodes, too. */
gboolean qsnap_delete_check (QsnapDelete *deletion, GError **error);

/* What stands on an overlay that is merged: can the snapshot in @folder stand on the base instead?
 * Is a QsnapDependentFunc; @data is the deletion. Keeps it locked. */
gboolean
qsnap_delete_can_follow (const char *folder, JsonObject *manifest, JsonObject *disk, gpointer data);
/* The base has all that the overlay has: who stands on the overlay now stands on the base. */
gboolean qsnap_delete_relink (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error);
/* Whose guest came from this one came from this one's parent now. */
void qsnap_delete_pass_on (QsnapDelete *deletion);

/* deleting.json. Where there is none, nothing was done. */
gboolean qsnap_delete_read_journal (QsnapDelete *deletion, GError **error);
gboolean qsnap_delete_write_journal (QsnapDelete *deletion, GError **error);

/* From here on the snapshot is none. */
gboolean qsnap_delete_mark (QsnapDelete *deletion, GError **error);
/* Takes that back if nothing of it was changed. */
void qsnap_delete_unmark (QsnapDelete *deletion);
/* What is left of the directory, the mark last. */
gboolean qsnap_delete_remove_files (QsnapDelete *deletion, GError **error);

/* The one whose image is @file, or NULL. */
QsnapDrive *qsnap_delete_find_drive (GPtrArray *drives, const char *file);

/* Snapshots inside images: by the guest's QEMU, or where no QEMU has the image open. */
gboolean qsnap_delete_internal (QsnapDelete *deletion, GError **error);

/* The guest writes to the base, or will, and the overlay is gone. */
gboolean qsnap_delete_merge (QsnapDelete *deletion, QsnapDeleteDisk *disk, GError **error);
/* The guest goes on, if we have stopped it. */
gboolean qsnap_delete_resume (QsnapDelete *deletion, GError **error);

G_END_DECLS
