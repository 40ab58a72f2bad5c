/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <glib-object.h>

#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_REPORT (qsnap_report_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapReport, qsnap_report, QSNAP, REPORT, GObject)

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_report_get_ok (QsnapReport *self);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_report_get_problems (QsnapReport *self);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_report_get_warnings (QsnapReport *self);
QSNAP_AVAILABLE_IN_1_0
gint64 qsnap_report_get_predicted_pause_us (QsnapReport *self);

G_END_DECLS
