/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-guest.h"
#include "qsnap-pause-model.h"

G_BEGIN_DECLS

#define QSNAP_PROBE_FD_NAME "qsnap-probe"

/* Finds out whether @guest can be captured, fills it in, and puts every reason against it into
 * @report. FALSE only where QEMU does not answer. @options may be NULL. */
gboolean qsnap_check_guest (QsnapGuest *guest,
                            QsnapSnapshotOptions *options,
                            QsnapReport *report,
                            GCancellable *cancellable,
                            GError **error);

/* Whether the options fit together, before anybody is asked. */
gboolean qsnap_check_options (QsnapSnapshotOptions *options, QsnapReport *report);

/* The part that looks at directories and space; QEMU is not asked. */
void
qsnap_check_directories (QsnapGuest *guest, QsnapSnapshotOptions *options, QsnapReport *report);

/* After qsnap_check_guest(): how long the guest will be stopped, with what there is to warn of.
 * @pauses are those of the session's earlier captures in mode instant, microseconds, oldest first.
 */
void qsnap_check_pause (QsnapGuest *guest,
                        QsnapSnapshotOptions *options,
                        GArray *pauses,
                        QsnapReport *report);

/* @ram is of QsnapRamMapping. */
void qsnap_check_sum_up_ram (GArray *ram, QsnapPauseRam *sum);

G_END_DECLS
