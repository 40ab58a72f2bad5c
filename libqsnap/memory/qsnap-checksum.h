/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The page of the migration stream and of the image, on every target that is supported. It is not
 * the host's page size. */
#define QSNAP_PAGE_SIZE 4096u

/* Both are against accidents, not against somebody who means it: XXH3 is no cryptographic hash. */

gboolean qsnap_page_is_zero (const guint8 *page);

/* XXH3-64 of a page; 0 says that the page is all zero, and only then: a page of another content
 * whose hash happens to be 0 gets 1. */
guint64 qsnap_page_checksum (const guint8 *page);

/* XXH3-128 of a whole file, in hexadecimal. */
typedef struct _QsnapDigest QsnapDigest;

#define QSNAP_DIGEST_LENGTH 32

QsnapDigest *qsnap_digest_new (void);
void qsnap_digest_update (QsnapDigest *digest, const void *data, gsize len);
char *qsnap_digest_get_string (QsnapDigest *digest);
void qsnap_digest_free (QsnapDigest *digest);
/* Of bytes that are all there. */
char *qsnap_digest_of (const void *data, gsize len);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapDigest, qsnap_digest_free)

G_END_DECLS
