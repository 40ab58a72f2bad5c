/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Which pages of a RAM block have been taken; a page that was sent twice would end the guest. */
typedef struct _QsnapPageMap QsnapPageMap;

QsnapPageMap *qsnap_page_map_new (guint64 n_pages);
void qsnap_page_map_free (QsnapPageMap *map);

guint64 qsnap_page_map_get_n_pages (QsnapPageMap *map);
guint64 qsnap_page_map_get_n_left (QsnapPageMap *map);
gboolean qsnap_page_map_is_taken (QsnapPageMap *map, guint64 page);
/* FALSE if it was taken already. */
gboolean qsnap_page_map_take (QsnapPageMap *map, guint64 page);
/* The first page at @page or behind it that is not taken; the number of pages if there is none. */
guint64 qsnap_page_map_find_left (QsnapPageMap *map, guint64 page);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapPageMap, qsnap_page_map_free)

G_END_DECLS
