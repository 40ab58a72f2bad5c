/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-guest.h"

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

G_END_DECLS
