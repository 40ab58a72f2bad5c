/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

QsnapReport *qsnap_report_new (void);

/* @code is that of qsnap_report_to_error() if this is the first problem. */
void qsnap_report_add_problem (QsnapReport *report, QsnapError code, const char *format, ...)
    G_GNUC_PRINTF (3, 4);
/* For a problem that has an error of its own (no space, EXISTS, …), which is kept; takes @error. */
void qsnap_report_take_problem (QsnapReport *report, GError *error);
void qsnap_report_add_warning (QsnapReport *report, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* What @other has is moved. */
void qsnap_report_take_all (QsnapReport *report, QsnapReport *other);

void qsnap_report_set_predicted_pause_us (QsnapReport *report, gint64 microseconds);

/* NULL if there is no problem; else the first problem's domain and code, with every reason. */
GError *qsnap_report_to_error (QsnapReport *report);

G_END_DECLS
