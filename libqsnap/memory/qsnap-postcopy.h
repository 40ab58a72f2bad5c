/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

#include "memory/qsnap-image.h"
#include "memory/qsnap-stream-parser.h"

G_BEGIN_DECLS

/* What the source of a postcopy migration sends, out of a snapshot. QEMU's docs/devel/migration
 * describes the states of the destination, migration/savevm.c has the numbers.
 *
 * The pages themselves are sent as sections of ram, see QsnapRamEncoder. */

/* A host page of the guest's memory is brought in as a whole; larger ones than these are not. */
#define QSNAP_POSTCOPY_MAX_HOST_PAGE (2u << 20)

/* All up to the moment at which the guest runs: the configuration, the RAM blocks, and the devices'
 * state in one package. @host_pages has the size of each block's host pages at the destination.
 * Answers ram's section id too. QSNAP_ERROR_UNSUPPORTED if the snapshot has device state that comes
 * before its RAM. */
gboolean qsnap_postcopy_put_head (QsnapImage *image,
                                  const guint64 *host_pages,
                                  GByteArray *out,
                                  guint32 *section_id,
                                  GError **error);

/* Whether it could be put, before there is a destination. */
gboolean qsnap_postcopy_is_possible (QsnapImage *image, GError **error);

/* The section id alone, for a destination that has had the head. */
gboolean qsnap_postcopy_find_section (QsnapImage *image, guint32 *section_id, GError **error);

/* On a new connection after one was lost: asks which pages are there, and tells the destination to
 * ask again for what it needs. It answers in that order, and gets no page before. */
void qsnap_postcopy_put_recovery (QsnapImage *image, GByteArray *out);

/* Every page has been sent. */
void qsnap_postcopy_put_end (GByteArray *out, guint32 section_id);

G_END_DECLS
