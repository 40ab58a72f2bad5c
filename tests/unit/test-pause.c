/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long a pause is to be expected: the sums, the history, and what the check says of it. */

#include <string.h>
#include <sys/mman.h>

#include "fixture.h"
#include "qsnap-check.h"
#include "qsnap-pause-model.h"
#include "qsnap-ram.h"

#define GIB (G_GUINT64_CONSTANT (1) << 30)
#define MIB (G_GUINT64_CONSTANT (1) << 20)

/* --- the model ----------------------------------------------------------------------------- */

static gint64
predict (QsnapPauseRam ram, gboolean gated, const gint64 *history)
{
  g_autoptr (GArray) pauses = g_array_new (FALSE, FALSE, sizeof (gint64));
  QsnapPauseFacts facts = { .has_memory = TRUE, .gated = gated, .ram = ram, .history = pauses };

  for (; history != NULL && *history != 0; history++)
    g_array_append_val (pauses, *history);

  return qsnap_pause_predict (&facts);
}

typedef struct
{
  const char *name;
  QsnapPauseRam ram;
  gint64 gated_us;
  gint64 ungated_us;
} Row;

static const Row rows[] = {
  { "nothing", { 0 }, 2800, 5500 },
  { "huge", { .huge = GIB }, 2860, 15560 },
  { "small", { .small = GIB }, 10800, 43500 },
  { "untouched", { .untouched = GIB }, 2860, 8160 },
  { "split", { .untouched_split = GIB }, 10800, 19500 },
  { "no huge pages", { .untouched_small = GIB }, 10800, 186500 },
  { "shared", { .shared = GIB }, 19800, 52500 },
  { "shared, untouched", { .shared_untouched = GIB }, 19800, 982500 },
  { "hugetlb", { .hugetlb = GIB }, 2860, 5660 },
  { "all", { GIB, GIB, GIB, GIB, GIB, GIB, GIB, GIB }, 60980, 1275380 },
};

static void
test_model (void)
{
  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_test_message ("%s", rows[i].name);
      g_assert_cmpint (predict (rows[i].ram, TRUE, NULL), ==, rows[i].gated_us);
      g_assert_cmpint (predict (rows[i].ram, FALSE, NULL), ==, rows[i].ungated_us);
    }
}

static void
test_history (void)
{
  static const QsnapPauseRam split = { .small = GIB, .huge = GIB / 2 };
  static const QsnapPauseRam huge = { .small = GIB / 2, .huge = GIB };
  const gint64 model = predict (split, FALSE, NULL);

  /* The first says only that the next is no shorter. */
  g_assert_cmpint (predict (split, FALSE, (gint64[]){ 1000, 0 }), ==, model);
  g_assert_cmpint (predict (split, FALSE, (gint64[]){ model + 1, 0 }), ==, model + 1);
  /* Of the others the latest, and not the one that was unlike them. */
  g_assert_cmpint (predict (split, FALSE, (gint64[]){ 1000, 7000, 0 }), ==, 7000);
  g_assert_cmpint (predict (split, FALSE, (gint64[]){ 1, 1, 1, 1, 7000, 99000, 8000, 0 }), ==,
                   8000);
  /* A guest that has its huge pages is as new. */
  g_assert_cmpint (predict (huge, FALSE, (gint64[]){ 1000, 900000, 0 }), ==,
                   predict (huge, FALSE, NULL));
}

static void
test_disks_only (void)
{
  g_autoptr (GArray) pauses = g_array_new (FALSE, FALSE, sizeof (gint64));
  QsnapPauseFacts facts = { .ram = { .small = GIB }, .history = pauses };
  gint64 pause = 4321;

  g_assert_cmpint (qsnap_pause_predict (&facts), ==, 2000);
  g_array_append_val (pauses, pause);
  g_assert_cmpint (qsnap_pause_predict (&facts), ==, pause);
}

/* --- RAM ----------------------------------------------------------------------------------- */

static void
test_sum_up (void)
{
  static const QsnapRamMapping mappings[] = {
    /* Three quarters of what is used are split, so three quarters of the rest are. */
    { 0, 100 * MIB, 20 * MIB, 5 * MIB, .anonymous = TRUE, .eligible = TRUE },
    { 0, 10 * MIB, 0, 0, .anonymous = TRUE, .eligible = TRUE },
    { 0, 10 * MIB, 4 * MIB, 0, .anonymous = TRUE },
    { 0, 10 * MIB, 3 * MIB, 0, .shared = TRUE },
    { 0, 10 * MIB, 1 * MIB, 0 },
    { 0, 8 * MIB, 0, 0, .hugetlb = TRUE, .shared = TRUE },
    /* More than there is: it has changed while it was counted. */
    { 0, 1 * MIB, 2 * MIB, 3 * MIB, .anonymous = TRUE, .eligible = TRUE },
  };
  g_autoptr (GArray) ram = g_array_new (FALSE, FALSE, sizeof (QsnapRamMapping));
  QsnapPauseRam sum;

  g_array_append_vals (ram, mappings, G_N_ELEMENTS (mappings));
  qsnap_check_sum_up_ram (ram, &sum);
  g_assert_cmpuint (sum.huge, ==, (5 + 2) * MIB);
  g_assert_cmpuint (sum.small, ==, (15 + 4 + 1) * MIB);
  g_assert_cmpuint (sum.untouched, ==, (20 + 10) * MIB);
  g_assert_cmpuint (sum.untouched_split, ==, 60 * MIB);
  g_assert_cmpuint (sum.untouched_small, ==, (6 + 9) * MIB);
  g_assert_cmpuint (sum.shared, ==, 3 * MIB);
  g_assert_cmpuint (sum.shared_untouched, ==, 7 * MIB);
  g_assert_cmpuint (sum.hugetlb, ==, 8 * MIB);
}

/* --- what the check says ------------------------------------------------------------------- */

/* The mock is in this process: what looks like RAM of QEMU in it is the guest's. */
typedef struct
{
  void *map;
  gsize size;
} Memory;

static void
memory_make (Memory *memory, gsize size, int sharing)
{
  memory->size = size;
  memory->map =
      mmap (NULL, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  g_assert_true (memory->map != MAP_FAILED);
  (void)madvise (memory->map, size, MADV_NOHUGEPAGE);
  g_assert_cmpint (madvise (memory->map, size, MADV_DONTFORK), ==, 0);
}

static void
memory_clear (Memory *memory)
{
  munmap (memory->map, memory->size);
}

static gint64
check (QsnapSession *session, QsnapSnapshotOptions *options, const char *warning)
{
  g_autoptr (QsnapReport) report = NULL;
  g_auto (GStrv) warnings = NULL;
  g_autofree char *all = NULL;
  g_autoptr (GError) error = NULL;
  gint64 pause;

  report = qsnap_session_check (session, options, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (qsnap_report_get_ok (report));
  warnings = qsnap_report_get_warnings (report);
  all = g_strjoinv ("; ", warnings);
  g_test_message ("%s", all);
  g_assert_cmpuint (g_strv_length (warnings), ==, warning != NULL);
  if (warning != NULL)
    g_assert_nonnull (strstr (all, warning));
  g_object_get (report, "predicted-pause-us", &pause, NULL);
  g_assert_cmpint (pause, ==, qsnap_report_get_predicted_pause_us (report));

  return pause;
}

/* More RAM, and RAM that is shared, is a longer pause; none at all is not known. */
static void
test_check (gconstpointer style)
{
  Fixture fixture;
  Memory small, large;
  gint64 of_small, of_both;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  g_assert_cmpint (check (fixture.session, NULL, NULL), ==, -1);
  memory_make (&small, 256 * MIB, MAP_PRIVATE);
  of_small = check (fixture.session, NULL, NULL);
  g_assert_cmpint (of_small, >, 0);
  memory_make (&large, 1024 * MIB, MAP_SHARED);
  of_both = check (fixture.session, NULL, "of the guest's shared memory were not touched");
  g_assert_cmpint (of_both, >, of_small);
  memory_clear (&large);
  memory_clear (&small);
  fixture_clear (&fixture);
}

static void
test_limit (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  Memory memory;

  memory_make (&memory, 64 * MIB, MAP_PRIVATE);
  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  options = fixture_options (&fixture, "snapshot");
  qsnap_snapshot_options_set_max_pause_ms (options, 1);
  check (fixture.session, options, "max-pause-ms allows 1 ms");
  qsnap_snapshot_options_set_max_pause_ms (options, 1000);
  check (fixture.session, options, NULL);
  fixture_clear (&fixture);
  memory_clear (&memory);
}

/* Those that do not stop the guest for a moment only, and a guest that stands still. */
static void
test_others (void)
{
  static const QsnapSnapshotMode modes[] = { QSNAP_SNAPSHOT_MODE_LIVE,
                                             QSNAP_SNAPSHOT_MODE_STOPPED };
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  Memory memory;

  memory_make (&memory, 64 * MIB, MAP_PRIVATE);
  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  options = fixture_options (&fixture, "snapshot");
  for (guint i = 0; i < G_N_ELEMENTS (modes); i++)
    {
      qsnap_snapshot_options_set_mode (options, modes[i]);
      g_assert_cmpint (check (fixture.session, options, NULL), ==, -1);
    }
  qsnap_snapshot_options_set_mode (options, QSNAP_SNAPSHOT_MODE_DISKS_ONLY);
  g_assert_cmpint (check (fixture.session, options, NULL), >, 0);
  qsnap_snapshot_options_set_mode (options, QSNAP_SNAPSHOT_MODE_INSTANT);
  qsnap_snapshot_options_set_leave (options, QSNAP_LEAVE_PAUSED);
  g_assert_cmpint (check (fixture.session, options, NULL), ==, -1);
  fixture_clear (&fixture);

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  mock_set_run_state (fixture.mock, "paused");
  fixture_open (&fixture);
  g_assert_cmpint (check (fixture.session, NULL, NULL), ==, 0);
  fixture_clear (&fixture);
  memory_clear (&memory);
}

static gint64
median (const gint64 *values)
{
  return MAX (MIN (values[0], values[1]), MIN (MAX (values[0], values[1]), values[2]));
}

/* By the session that took them; and by another one, from the snapshots beside. Those of another
 * guest do not count. */
static void
test_earlier_captures (gconstpointer style)
{
  static const char *const names[] = { "one", "two", "three", "four" };
  gint64 pauses[G_N_ELEMENTS (names)];
  Fixture fixture, other;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (GFile) elsewhere = NULL;
  Memory memory;

  memory_make (&memory, 64 * MIB, MAP_PRIVATE);
  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 2);
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = fixture_capture_well (&fixture, names[i]);

      pauses[i] = qsnap_snapshot_get_pause_us (snapshot);
    }
  g_assert_cmpint (check (fixture.session, NULL, NULL), ==, median (pauses + 1));

  g_clear_object (&fixture.session);
  fixture_drain_context ();
  fixture_connect (&fixture);
  options = fixture_options (&fixture, "next");
  g_assert_cmpint (check (fixture.session, options, NULL), ==, median (pauses + 1));

  fixture_set_up (&other, GPOINTER_TO_INT (style), 1);
  fixture_open (&other);
  elsewhere = fixture_file (&fixture, "of-another-guest");
  qsnap_snapshot_options_set_directory (options, elsewhere);
  g_assert_cmpint (check (other.session, options, NULL), ==, check (other.session, NULL, NULL));
  fixture_clear (&other);
  fixture_clear (&fixture);
  memory_clear (&memory);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/pause/model", test_model);
  g_test_add_func ("/pause/history", test_history);
  g_test_add_func ("/pause/disks-only", test_disks_only);
  g_test_add_func ("/pause/sum-up", test_sum_up);
  fixture_add ("/pause/check", test_check);
  fixture_add ("/pause/limit", test_limit);
  g_test_add_func ("/pause/others", test_others);
  fixture_add ("/pause/earlier-captures", test_earlier_captures);
  return g_test_run ();
}
