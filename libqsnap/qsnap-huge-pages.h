/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-process.h"

G_BEGIN_DECLS

/* A background snapshot protects RAM page by page, which splits its huge pages. The kernel does not
 * put them together again by itself, or not soon; it can be told to. */

/* Whether it can be told so; FALSE, with the reason. Nothing is changed. */
gboolean qsnap_huge_pages_check (QsnapProcess *process, GError **error);

/* Whether a good part of @ram (QsnapRamMapping) may have them; FALSE, with the reason. */
gboolean qsnap_huge_pages_fit (GArray *ram, GError **error);

/* Gives them back: each piece of RAM of which (nearly) all is in use becomes a huge page. The guest
 * runs on meanwhile, and waits for a piece that it touches in that moment. FALSE, with the error,
 * where a good part did not become one, or @patience_us had passed. */
gboolean qsnap_huge_pages_give_back (QsnapProcess *process,
                                     gint64 patience_us,
                                     GCancellable *cancellable,
                                     GError **error);

G_END_DECLS
