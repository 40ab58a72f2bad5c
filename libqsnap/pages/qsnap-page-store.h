/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "memory/qsnap-image.h"

G_BEGIN_DECLS

/* The pages that a guest has not got yet, and the bytes that give them to it. A page is taken out
 * once, in whole host pages, and only if its checksums are right. */
typedef struct _QsnapPageStore QsnapPageStore;

/* @host_pages has the size of each block's host pages; it is copied. @image is kept. */
QsnapPageStore *qsnap_page_store_new (QsnapImage *image, const guint64 *host_pages);
void qsnap_page_store_free (QsnapPageStore *store);

/* What the destination has already; pages of 4096 bytes, a bit a page. */
gboolean qsnap_page_store_mark (
    QsnapPageStore *store, guint block, const guint8 *bits, gsize len, GError **error);

/* Before the first page. */
void qsnap_page_store_begin (QsnapPageStore *store, guint32 section_id);

/* Whether @len bytes at @start of the block can be asked for. */
gboolean qsnap_page_store_can_have (QsnapPageStore *store, guint block, guint64 start, guint32 len);

/* Whether the host page at @start is not there yet. */
gboolean qsnap_page_store_is_left (QsnapPageStore *store, guint block, guint64 start);

/* Appends the host page at @start to @out, unless the guest has it. */
gboolean qsnap_page_store_put_requested (
    QsnapPageStore *store, guint block, guint64 start, GByteArray *out, GError **error);

/* Appends some of what is left, a piece that delays a request only for a moment. */
gboolean qsnap_page_store_put_more (QsnapPageStore *store, GByteArray *out, GError **error);

guint64 qsnap_page_store_get_bytes_left (QsnapPageStore *store);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapPageStore, qsnap_page_store_free)

G_END_DECLS
