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
 * @QSNAP_PHASE_SEALING: everything is brought to stable storage
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

G_END_DECLS
