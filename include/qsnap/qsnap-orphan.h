/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>

#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_ORPHAN (qsnap_orphan_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapOrphan, qsnap_orphan, QSNAP, ORPHAN, GObject)

QSNAP_AVAILABLE_IN_1_0
GListModel *qsnap_orphan_list (GFile *parent, GCancellable *cancellable, GError **error);
QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_orphan_get_file (QsnapOrphan *self);
QSNAP_AVAILABLE_IN_1_0
const char *qsnap_orphan_get_reason (QsnapOrphan *self);
QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_orphan_get_certain (QsnapOrphan *self);

G_END_DECLS
