/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guests whose disks are of every kind, and what a capture in one mode or another did to them. */

#pragma once

#include "fixture.h"

G_BEGIN_DECLS

/* Of the file that is asked to be cloned: how often it was, and with what the file system answers;
 * 0: as one that can. All of this program's FICLONE come here. */
extern guint modes_n_clones;
extern int modes_clone_error;
/* From this one on, counted from 1, with that error; 0: all. */
extern guint modes_clone_error_from;

/* A mock with images a.qcow2, b.qcow2, … as drives virtio0, virtio1, …, whose nodes are disk0,
 * disk1, …; not started. */
void modes_set_up (Fixture *fixture, MockStyle style, guint n_drives);

QsnapSnapshotOptions *
modes_options (Fixture *fixture, QsnapSnapshotMode mode, QsnapDiskMode disk_mode);
QsnapSnapshot *modes_capture (Fixture *fixture, QsnapSnapshotOptions *options, GError **error);

/* The commands that change something, without their arguments: "stop transaction migrate cont"; a
 * transaction with its actions: "transaction(blockdev-backup blockdev-snapshot)". */
char *modes_dup_commands (Fixture *fixture);

/* Memory's part of a member of the manifest, "disks.0.base.file"; NULL: there is none. */
char *modes_dup_member (QsnapSnapshot *snapshot, const char *path);

G_END_DECLS
