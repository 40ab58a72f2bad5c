/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-drive.h"
#include "qsnap-undo.h"
#include "qsnap-watch.h"

G_BEGIN_DECLS

/* Disk mode "overlay": the image becomes the read-only base, the guest goes on in a new qcow2. The
 * overlay is made and attached to QEMU while the guest runs, so that one transaction is all that is
 * left for the pause. */

typedef struct
{
  QsnapDrive *drive;
  QsnapQmp *qmp;
  QsnapWatch *watch;
  /* Called before a guest that writes too fast is stopped for the last pass of a merge. */
  void (*about_to_stop) (gpointer data);
  /* Called with drive->merged when base and overlay are the same, and nothing is written until this
   * returns; and again, should it not have come to that. */
  void (*note_merged) (QsnapDrive *drive, gpointer data);
  gpointer data;
} QsnapOverlay;

/* Chooses names: a file beside the image, or in @directory unless NULL; @id is the capture's. */
void qsnap_overlay_plan (QsnapDrive *drive, const char *directory, const char *id, guint index);

/* Pushes the undo of each of its steps; @overlay has to outlive @undo. */
gboolean qsnap_overlay_prepare (QsnapOverlay *overlay, QsnapUndo *undo, GError **error);

/* For an overlay that a dead client prepared: the undo of all steps, whichever were taken. */
void qsnap_overlay_push_undo (QsnapOverlay *overlay, QsnapUndo *undo);

/* The element of the transaction that puts the overlay above its base. */
JsonObject *qsnap_overlay_action (QsnapOverlay *overlay);

/* An undo function (data: QsnapOverlay): if the guest writes into the overlay, merges it back into
 * its base with the guest running, so that the drive is on its base again. */
gboolean qsnap_overlay_merge_back (gpointer overlay, GError **error);

G_END_DECLS
