/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much this process has: to see that a peer cannot make it more. */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define KIB ((gsize)1024)
#define MIB (1024 * KIB)

typedef struct
{
  gsize resident;
  guint n_fds;
} Footprint;

/* From here on the peak counts. */
void footprint_begin (Footprint *footprint);
/* How many bytes the process had more at its peak; no more than @limit. A checker has its own. */
gsize footprint_assert_peak (const Footprint *footprint, gsize limit);
/* Not one more. What another thread is about to close may take a moment. */
void footprint_assert_fds (const Footprint *footprint);

G_END_DECLS
