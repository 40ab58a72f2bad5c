/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <glib-object.h>

G_BEGIN_DECLS

/**
 * QsnapPhase:
 * @QSNAP_PHASE_IDLE: no operation is under way
 * @QSNAP_PHASE_CHECKING: finding out whether the guest can be captured; nothing is changed
 * @QSNAP_PHASE_PREPARING: files, overlays and the saver are made while the guest runs
 * @QSNAP_PHASE_PAUSING: the guest is stopped, its disks are snapshot, its memory is protected
 * @QSNAP_PHASE_SAVING: the point in time has passed, the guest runs, memory is being saved
 * @QSNAP_PHASE_MERGING: a snapshot is being deleted: what the guest wrote since is brought into the
 *   images that it had
 * @QSNAP_PHASE_FETCHING: a guest that was brought back on demand runs, and does not have all of its
 *   memory yet
 * @QSNAP_PHASE_SETTLING: what was changed in QEMU is put back, what is not needed is removed
 * @QSNAP_PHASE_SEALING: everything is brought to stable storage; then, where it is wanted, the guest
 *   gets its huge pages back, and pages are shared with the snapshot before
 * @QSNAP_PHASE_ROLLING_BACK: the operation failed or was cancelled and is being undone
 *
 * Where an operation of a #QsnapSession is. Within one operation the phase only ever grows; it goes
 * back to %QSNAP_PHASE_IDLE when the operation ends.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_PHASE_IDLE,
  QSNAP_PHASE_CHECKING,
  QSNAP_PHASE_PREPARING,
  QSNAP_PHASE_PAUSING,
  QSNAP_PHASE_SAVING,
  QSNAP_PHASE_MERGING,
  QSNAP_PHASE_FETCHING,
  QSNAP_PHASE_SETTLING,
  QSNAP_PHASE_SEALING,
  QSNAP_PHASE_ROLLING_BACK
} QsnapPhase;

/**
 * QsnapRestoreMethod:
 * @QSNAP_RESTORE_METHOD_AUTO: map where the guest's memory configuration allows, else on demand
 *   where QEMU may use userfaultfd, else load
 * @QSNAP_RESTORE_METHOD_MAP: the guest's RAM is a private mapping of the snapshot's memory image;
 *   the guest runs at once, whatever its RAM, and reads its pages as it touches them
 * @QSNAP_RESTORE_METHOD_LOAD: all RAM is read before the guest runs; the guest does not depend on the
 *   snapshot's memory image afterwards
 * @QSNAP_RESTORE_METHOD_ON_DEMAND: the guest runs at once and is given each page when it asks for it,
 *   and all others meanwhile; when it has all (#QsnapSession::settled) it does not depend on the
 *   snapshot's memory image any more
 *
 * How a guest gets its memory back.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_RESTORE_METHOD_AUTO,
  QSNAP_RESTORE_METHOD_MAP,
  QSNAP_RESTORE_METHOD_LOAD,
  QSNAP_RESTORE_METHOD_ON_DEMAND
} QsnapRestoreMethod;

/**
 * QsnapSnapshotMode:
 * @QSNAP_SNAPSHOT_MODE_INSTANT: the guest stands still for milliseconds, at the moment of the call;
 *   its memory is saved while it runs again
 * @QSNAP_SNAPSHOT_MODE_LIVE: the memory is saved while the guest runs, and what it writes meanwhile
 *   is saved again; the point in time comes at the end. Works with memory that cannot be protected
 *   against writes
 * @QSNAP_SNAPSHOT_MODE_STOPPED: the guest stands still until all of its memory is saved
 * @QSNAP_SNAPSHOT_MODE_DISKS_ONLY: no memory: a guest that is brought back boots from its disks
 *
 * How a guest's memory gets into a snapshot.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_SNAPSHOT_MODE_INSTANT,
  QSNAP_SNAPSHOT_MODE_LIVE,
  QSNAP_SNAPSHOT_MODE_STOPPED,
  QSNAP_SNAPSHOT_MODE_DISKS_ONLY
} QsnapSnapshotMode;

/**
 * QsnapDiskMode:
 * @QSNAP_DISK_MODE_OVERLAY: the image becomes the snapshot's, and the guest goes on in a new one on
 *   top of it
 * @QSNAP_DISK_MODE_CLONE: the snapshot gets an image that shares its data with the guest's, where
 *   the file system can do that (XFS, btrfs); the guest's own image stays the one that it has
 * @QSNAP_DISK_MODE_COPY: the snapshot gets a copy, made while the guest runs; the guest's own image
 *   stays the one that it has
 * @QSNAP_DISK_MODE_INTERNAL: the snapshot is inside the guest's image, which has to be qcow2
 * @QSNAP_DISK_MODE_EXCLUDE: the snapshot does not have this disk
 * @QSNAP_DISK_MODE_AUTO: %QSNAP_DISK_MODE_CLONE where that works for every disk, else
 *   %QSNAP_DISK_MODE_OVERLAY
 *
 * How a disk gets into a snapshot.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_DISK_MODE_OVERLAY,
  QSNAP_DISK_MODE_CLONE,
  QSNAP_DISK_MODE_COPY,
  QSNAP_DISK_MODE_INTERNAL,
  QSNAP_DISK_MODE_EXCLUDE,
  QSNAP_DISK_MODE_AUTO
} QsnapDiskMode;

/**
 * QsnapCopySync:
 * @QSNAP_COPY_SYNC_FULL: all of the disk: the copy stands alone
 * @QSNAP_COPY_SYNC_TOP: what is in the guest's image itself: the copy stands on the image that the
 *   guest's stands on
 *
 * How much %QSNAP_DISK_MODE_COPY copies.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_COPY_SYNC_FULL,
  QSNAP_COPY_SYNC_TOP
} QsnapCopySync;

/**
 * QsnapLeave:
 * @QSNAP_LEAVE_RUNNING: the guest goes on; one that was paused stays so
 * @QSNAP_LEAVE_PAUSED: the guest stays where it was at the point in time, paused
 * @QSNAP_LEAVE_QUIT: QEMU is ended, once the snapshot is sealed
 *
 * What becomes of the guest after its snapshot.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_LEAVE_RUNNING,
  QSNAP_LEAVE_PAUSED,
  QSNAP_LEAVE_QUIT
} QsnapLeave;

/**
 * QsnapCompression:
 * @QSNAP_COMPRESSION_NONE: none: each page is at its place in a file as long as the RAM
 * @QSNAP_COMPRESSION_ZSTD: zstd, a few pages at a time
 *
 * How the guest's memory is kept.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_COMPRESSION_NONE,
  QSNAP_COMPRESSION_ZSTD
} QsnapCompression;

/**
 * QsnapPeriod:
 * @QSNAP_PERIOD_LAST: the last snapshots, whenever they were taken
 * @QSNAP_PERIOD_HOURLY: the latest snapshot of each hour
 * @QSNAP_PERIOD_DAILY: the latest snapshot of each day
 * @QSNAP_PERIOD_WEEKLY: the latest snapshot of each week, from Monday on
 * @QSNAP_PERIOD_MONTHLY: the latest snapshot of each month
 * @QSNAP_PERIOD_YEARLY: the latest snapshot of each year
 *
 * Which snapshots a rule of a #QsnapRetention keeps.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_PERIOD_LAST,
  QSNAP_PERIOD_HOURLY,
  QSNAP_PERIOD_DAILY,
  QSNAP_PERIOD_WEEKLY,
  QSNAP_PERIOD_MONTHLY,
  QSNAP_PERIOD_YEARLY
} QsnapPeriod;

G_END_DECLS
