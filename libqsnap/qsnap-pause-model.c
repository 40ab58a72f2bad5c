/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-pause-model.h"

#include <stdlib.h>

/* Microseconds, a GiB. Measured on QEMU 7.2 and 10.0 (docs/how-it-works.md); machines differ by a
 * factor of two or three, so this says what order of time to expect, and history says more. */

typedef struct
{
  gint64 read;
  gint64 protect;
} Cost;

static const Cost cost_huge = { 10000, 60 };
/* 16 to 110 for reading, 4 to 16 for protecting. */
static const Cost cost_small = { 30000, 8000 };
static const Cost cost_untouched = { 2600, 60 };
static const Cost cost_untouched_split = { 6000, 8000 };
static const Cost cost_untouched_small = { 173000, 8000 };
static const Cost cost_shared = { 30000, 17000 };
static const Cost cost_shared_untouched = { 960000, 17000 };
static const Cost cost_hugetlb = { 100, 60 };

/* Stop, transaction, devices' state and resume: with the gate, without it, and without memory. */
#define BASE_GATED_US 2800
#define BASE_US 5500
#define BASE_DISKS_US 2000

#define LATEST 3

static gint64
scale (guint64 bytes, gint64 us_per_gib)
{
  return (gint64)((double)bytes / (1 << 30) * (double)us_per_gib);
}

gint64
qsnap_pause_of_allocation (guint64 bytes)
{
  return scale (bytes, cost_shared_untouched.read);
}

static gint64
cost_of (const QsnapPauseFacts *facts, guint64 bytes, const Cost *cost)
{
  return scale (bytes, cost->protect) + (facts->gated ? 0 : scale (bytes, cost->read));
}

/* Of what the guest uses of it, for the greater part. */
static gboolean
is_in_huge_pages (const QsnapPauseRam *ram)
{
  return ram->huge > ram->small + ram->shared;
}

static gint64
by_model (const QsnapPauseFacts *facts)
{
  const QsnapPauseRam *ram = &facts->ram;

  return (facts->gated ? BASE_GATED_US : BASE_US) + cost_of (facts, ram->huge, &cost_huge) +
         cost_of (facts, ram->small, &cost_small) +
         cost_of (facts, ram->untouched, &cost_untouched) +
         cost_of (facts, ram->untouched_split, &cost_untouched_split) +
         cost_of (facts, ram->untouched_small, &cost_untouched_small) +
         cost_of (facts, ram->shared, &cost_shared) +
         cost_of (facts, ram->shared_untouched, &cost_shared_untouched) +
         cost_of (facts, ram->hugetlb, &cost_hugetlb);
}

static gint
compare (gconstpointer a, gconstpointer b)
{
  const gint64 first = *(const gint64 *)a;
  const gint64 second = *(const gint64 *)b;

  return (first > second) - (first < second);
}

/* Without those before @first. */
static gint64
median_of_latest (GArray *history, guint first)
{
  gint64 latest[LATEST];
  guint n = MIN (history->len - first, LATEST);

  for (guint i = 0; i < n; i++)
    latest[i] = g_array_index (history, gint64, history->len - n + i);
  qsort (latest, n, sizeof *latest, compare);

  return latest[n / 2];
}

/* A guest's first capture is unlike the others: it finds huge pages, and leaves small ones. So a
 * later one says what the next will be, unless the guest has got them back; of the first alone it
 * is known that the next one is no shorter. */
gint64
qsnap_pause_predict (const QsnapPauseFacts *facts)
{
  GArray *history = facts->history;

  if (!facts->has_memory)
    return history->len > 0 ? median_of_latest (history, 0) : BASE_DISKS_US;
  if (history->len == 0 || is_in_huge_pages (&facts->ram))
    return by_model (facts);
  if (history->len == 1)
    return MAX (g_array_index (history, gint64, 0), by_model (facts));

  return median_of_latest (history, 1);
}
