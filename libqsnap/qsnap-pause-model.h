/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* How long a guest will be stopped, from what was measured of others, and of itself. */

/* Bytes of RAM, apart by what they cost in a pause. */
typedef struct
{
  /* In huge pages; in pages of their own size. */
  guint64 huge;
  guint64 small;
  /* Nobody has touched it yet: it is read in huge pages; an earlier capture has read it, and split
   * it; there are no huge pages for it. */
  guint64 untouched;
  guint64 untouched_split;
  guint64 untouched_small;
  /* Memory that is shared. What is not touched yet is allocated when it is read. */
  guint64 shared;
  guint64 shared_untouched;
  /* Of hugetlbfs. */
  guint64 hugetlb;
} QsnapPauseRam;

typedef struct
{
  gboolean has_memory;
  /* QEMU reads all RAM before the pause. */
  gboolean gated;
  QsnapPauseRam ram;
  /* The pauses of this guest's earlier captures in the same way: gint64, microseconds, oldest
   * first. */
  GArray *history;
} QsnapPauseFacts;

/* Microseconds that QEMU takes to allocate shared memory. */
gint64 qsnap_pause_of_allocation (guint64 bytes);

/* Microseconds. */
gint64 qsnap_pause_predict (const QsnapPauseFacts *facts);

G_END_DECLS
