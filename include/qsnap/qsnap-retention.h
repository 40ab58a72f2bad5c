/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>

#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_RETENTION (qsnap_retention_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapRetention, qsnap_retention, QSNAP, RETENTION, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapRetention *qsnap_retention_new (void);
QSNAP_AVAILABLE_IN_1_0
guint qsnap_retention_get_keep (QsnapRetention *self, QsnapPeriod period);
QSNAP_AVAILABLE_IN_1_0
void qsnap_retention_set_keep (QsnapRetention *self, QsnapPeriod period, guint n);
QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_retention_explain (QsnapRetention *self, GListModel *snapshots);

G_END_DECLS
