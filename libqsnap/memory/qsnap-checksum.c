/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-checksum.h"

#include <string.h>
#include <xxhash.h>

struct _QsnapDigest
{
  XXH3_state_t *state;
};

gboolean
qsnap_page_is_zero (const guint8 *page)
{
  guint64 first;

  memcpy (&first, page, sizeof first);
  /* If the first eight bytes are zero and each byte equals the one eight before, all are. */
  return first == 0 && memcmp (page, page + sizeof first, QSNAP_PAGE_SIZE - sizeof first) == 0;
}

guint64
qsnap_page_checksum (const guint8 *page)
{
  guint64 hash;

  if (qsnap_page_is_zero (page))
    return 0;
  hash = XXH3_64bits (page, QSNAP_PAGE_SIZE);
  return hash != 0 ? hash : 1;
}

QsnapDigest *
qsnap_digest_new (void)
{
  QsnapDigest *digest = g_new0 (QsnapDigest, 1);

  /* The state wants an alignment of 64, which GLib's allocator does not give. */
  digest->state = XXH3_createState ();
  if (digest->state == NULL)
    g_error ("out of memory");
  XXH3_128bits_reset (digest->state);
  return digest;
}

void
qsnap_digest_update (QsnapDigest *digest, const void *data, gsize len)
{
  XXH3_128bits_update (digest->state, data, len);
}

char *
qsnap_digest_get_string (QsnapDigest *digest)
{
  XXH128_hash_t hash = XXH3_128bits_digest (digest->state);

  return g_strdup_printf ("%016" G_GINT64_MODIFIER "x%016" G_GINT64_MODIFIER "x",
                          (guint64)hash.high64, (guint64)hash.low64);
}

void
qsnap_digest_free (QsnapDigest *digest)
{
  XXH3_freeState (digest->state);
  g_free (digest);
}

char *
qsnap_digest_of (const void *data, gsize len)
{
  g_autoptr (QsnapDigest) digest = qsnap_digest_new ();

  qsnap_digest_update (digest, data, len);
  return qsnap_digest_get_string (digest);
}
