/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-drive.h"
#include "qsnap-undo.h"
#include "qsnap-watch.h"

G_BEGIN_DECLS

/* What a capture does with one disk. Each disk mode has a file of its own; here is what they have
 * in common, and which of them is meant. */

typedef struct
{
  QsnapDrive *drive;
  QsnapQmp *qmp;
  QsnapWatch *watch;
  /* The descriptor of the guest's image, while it is cloned. */
  int source_fd;
  int clone_fd;
  /* Called before a guest that writes too fast is stopped for the last pass of a merge. */
  void (*about_to_stop) (gpointer data);
  /* Called with drive->merged when base and overlay are the same, and nothing is written until this
   * returns; and again, should it not have come to that. */
  void (*note_merged) (QsnapDrive *drive, gpointer data);
  gpointer data;
} QsnapDiskTask;

QsnapDiskTask *qsnap_disk_task_new (QsnapDrive *drive, QsnapQmp *qmp, QsnapWatch *watch);
void qsnap_disk_task_free (QsnapDiskTask *task);

/* Chooses names. @overlay_directory may be NULL: beside the image; @directory is the snapshot's,
 * @id the capture's. */
void qsnap_disk_task_plan (QsnapDiskTask *task,
                           const char *overlay_directory,
                           const char *directory,
                           const char *id,
                           guint index);

/* While the guest runs. Pushes the undo of each of its steps; @task has to outlive @undo. */
gboolean qsnap_disk_task_prepare (QsnapDiskTask *task, QsnapUndo *undo, GError **error);

/* Adds to the transaction's actions, and pushes their undo. */
void qsnap_disk_task_add_actions (QsnapDiskTask *task, JsonArray *actions, QsnapUndo *undo);

/* After the transaction, while the guest stands still. */
gboolean qsnap_disk_task_pause (QsnapDiskTask *task, GError **error);

/* For a task that a dead client prepared: the undo of all that qsnap_disk_task_prepare() does, and
 * of the transaction, whichever were done. */
void qsnap_disk_task_push_prepared (QsnapDiskTask *task, QsnapUndo *undo);
void qsnap_disk_task_push_actions (QsnapDiskTask *task, QsnapUndo *undo);

G_END_DECLS
