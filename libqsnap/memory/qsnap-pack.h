/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

#include "memory/qsnap-buffer.h"

G_BEGIN_DECLS

/* Pages in compressed form: zstd frames (RFC 8878) of a few pages each, one behind the other in the
 * order in which they were written. A page is found by its place: the offset of its frame in the
 * file, times QSNAP_PACK_PAGES, plus its number in the frame. */

/* A page that is asked for costs as much as a frame; a shorter one compresses worse. */
#define QSNAP_PACK_PAGES 16u

/* Whether this build has the library for it; QSNAP_ERROR_UNSUPPORTED if not. */
gboolean qsnap_pack_is_supported (GError **error);

typedef struct _QsnapPacker QsnapPacker;

/* NULL where it is not supported. */
QsnapPacker *qsnap_packer_new (GError **error);
void qsnap_packer_free (QsnapPacker *packer);

/* What a frame takes at most. */
gsize qsnap_pack_bound (void);
/* Makes a frame at @out, which has room for qsnap_pack_bound() bytes, of at most QSNAP_PACK_PAGES
 * pages; answers its length. */
gsize qsnap_packer_pack (QsnapPacker *packer, const guint8 *pages, guint n_pages, guint8 *out);

typedef struct _QsnapUnpacker QsnapUnpacker;

QsnapUnpacker *qsnap_unpacker_new (GError **error);
void qsnap_unpacker_free (QsnapUnpacker *unpacker);

/* Copies the page at @place of a file with @length bytes to @page. The frame that was read last is
 * kept, as the next page may be in it. QSNAP_ERROR_CORRUPT if there is no such page. */
gboolean qsnap_unpacker_read (QsnapUnpacker *unpacker,
                              int fd,
                              guint64 length,
                              const char *name,
                              guint64 place,
                              guint8 *page,
                              GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapPacker, qsnap_packer_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapUnpacker, qsnap_unpacker_free)

G_END_DECLS
