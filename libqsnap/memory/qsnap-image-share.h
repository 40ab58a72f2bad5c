/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "memory/qsnap-image.h"

G_BEGIN_DECLS

/* What two images have at the same place is kept once, where the file system can do that: it is
 * told where (FIDEDUPERANGE), compares the bytes by itself, and neither file is another one for who
 * reads it. */

/* Whether it can be done for a snapshot in @directory, which need not be there yet, by doing it to
 * two files that have no name. */
gboolean qsnap_share_try (const char *directory, GError **error);

/* Of the checksums of @n pages of two images: the next run, from page *@begin on, that is the same
 * in both and has no page of zeros. It begins and ends at a multiple of @unit pages, and has at
 * least @least. Its length, and where it begins; 0: there is none. */
gsize qsnap_share_find_run (
    const guint64 *ours, const guint64 *theirs, gsize n, gsize unit, gsize least, gsize *begin);

/* Raw blocks that both have; others are left as they are. @n_bytes is how much is shared now, in
 * any case. FALSE, with the error, if it was not carried through: QSNAP_ERROR_CORRUPT where pages
 * with one checksum were not the same. */
gboolean qsnap_image_share (QsnapImage *image,
                            QsnapImage *parent,
                            GCancellable *cancellable,
                            guint64 *n_bytes,
                            GError **error);

G_END_DECLS
