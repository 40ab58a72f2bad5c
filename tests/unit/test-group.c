/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several guests at one instant, that go well: what is on disk, and the order of things. */

#include "group-case.h"

#include <glib/gstdio.h>
#include <string.h>

#include "qsnap-group-file.h"

/* --- what there is ------------------------------------------------------------------------- */

static void
assert_whole (GroupCase *group, QsnapGroupSnapshot *snapshot)
{
  GListModel *snapshots = qsnap_group_snapshot_get_snapshots (snapshot);
  g_autofree char *path = group_case_path (group);
  g_autofree char *journal = g_build_filename (path, QSNAP_GROUP_JOURNAL, NULL);
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_group_snapshot_get_sealed (snapshot));
  g_assert_cmpuint (g_list_model_get_n_items (snapshots), ==, group->n);
  g_assert_true (qsnap_group_snapshot_verify (snapshot, NULL, &error));
  g_assert_no_error (error);
  g_assert_false (g_file_test (journal, G_FILE_TEST_EXISTS));
  for (guint i = 0; i < group->n; i++)
    {
      g_assert_false (mock_is_torn (group->guests[i].mock));
      fixture_assert_graph_whole (&group->guests[i]);
      fixture_assert_phases (&group->guests[i]);
      fixture_assert_no_complaints (&group->guests[i]);
    }
}

static void
assert_loads (GroupCase *group, QsnapGroupSnapshot *snapshot)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapGroupSnapshot) loaded =
      qsnap_group_snapshot_load (qsnap_group_snapshot_get_directory (snapshot), NULL, &error);
  g_auto (GStrv) names = NULL;
  g_auto (GStrv) names_before = qsnap_group_snapshot_dup_names (snapshot);
  g_autoptr (GDateTime) time = NULL;
  g_autoptr (GDateTime) time_before = qsnap_group_snapshot_dup_time (snapshot);

  g_assert_no_error (error);
  names = qsnap_group_snapshot_dup_names (loaded);
  time = qsnap_group_snapshot_dup_time (loaded);
  g_assert_true (g_strv_equal ((const char *const *)names, (const char *const *)names_before));
  g_assert_true (g_date_time_equal (time, time_before));
  g_assert_cmpint (qsnap_group_snapshot_get_skew_us (loaded), ==,
                   qsnap_group_snapshot_get_skew_us (snapshot));
  g_assert_cmpint (qsnap_group_snapshot_get_overlap_us (loaded), ==,
                   qsnap_group_snapshot_get_overlap_us (snapshot));
  assert_whole (group, loaded);
}

/* --- guests -------------------------------------------------------------------------------- */

static void
try_guests (MockStyle style, guint n)
{
  GroupCase group;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;

  group_case_set_up (&group, style, n);
  group_case_open (&group);
  snapshot = group_case_capture_well (&group);
  assert_whole (&group, snapshot);
  assert_loads (&group, snapshot);
  g_assert_cmpint (qsnap_group_snapshot_get_overlap_us (snapshot), >, 0);
  for (guint i = 0; i < n; i++)
    g_assert_cmpstr (group.guests[i].news->str, ==, " point memory");
  group_case_clear (&group);
}

static void
test_guests (void)
{
  for (guint n = 1; n <= MAX_GUESTS; n++)
    try_guests (MIXED, n);
  try_guests (MOCK_STYLE_7_2, 2);
  try_guests (MOCK_STYLE_10, 2);
}

/* The group tells what all sessions have told, and memory is not complete before that. */
static void
test_order (void)
{
  GroupCase group;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;

  group_case_set_up (&group, MIXED, 3);
  group_case_open (&group);
  snapshot = group_case_capture_well (&group);
  g_assert_cmpstr (group.news->str, ==, " p p p point m m m memory");
  group_case_clear (&group);
}

typedef struct
{
  gboolean done;
  QsnapGroupSnapshot *snapshot;
  GError *error;
  const char *news;
} Result;

static void
on_captured (GObject *source, GAsyncResult *result, gpointer data)
{
  Result *outcome = data;

  outcome->snapshot =
      qsnap_group_instant_snapshot_finish (QSNAP_GROUP (source), result, &outcome->error);
  outcome->done = TRUE;
}

static void
test_asynchronous (void)
{
  GroupCase group;
  Result result = { FALSE, NULL, NULL, NULL };
  g_autoptr (QsnapSnapshotOptions) options = NULL;

  group_case_set_up (&group, MIXED, 3);
  group_case_open (&group);
  options = group_case_options (&group);
  qsnap_group_instant_snapshot_async (group.group, options, NULL, on_captured, &result);
  while (!result.done)
    g_main_context_iteration (NULL, TRUE);
  g_assert_no_error (result.error);
  g_assert_cmpstr (group.news->str, ==, " p p p point m m m memory");
  assert_whole (&group, result.snapshot);
  g_object_unref (result.snapshot);
  group_case_clear (&group);
}

/* The memory of none begins to be saved before the last one's disks are snapshotted. */
typedef struct
{
  GMutex lock;
  guint n_transactions;
  guint n_early;
} Watched;

static void
on_transaction (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer data)
{
  Watched *watched = data;

  g_mutex_lock (&watched->lock);
  watched->n_transactions++;
  g_mutex_unlock (&watched->lock);
}

static void
on_point_in_time (MockQemu *mock, G_GNUC_UNUSED MockPoint point, gpointer data)
{
  Watched *watched = data;

  g_mutex_lock (&watched->lock);
  if (watched->n_transactions < 3)
    watched->n_early++;
  g_mutex_unlock (&watched->lock);
  (void)mock;
}

static void
test_all_stand_still (void)
{
  GroupCase group;
  Watched watched = { .n_transactions = 0 };
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;

  g_mutex_init (&watched.lock);
  group_case_set_up (&group, MIXED, 3);
  for (guint i = 0; i < 3; i++)
    {
      mock_on_command (group.guests[i].mock, "transaction", on_transaction, &watched);
      mock_on_point (group.guests[i].mock, MOCK_POINT_POINT_IN_TIME, on_point_in_time, &watched);
    }
  group_case_open (&group);
  /* The others have to wait for it. */
  mock_delay_reply (group.guests[1].mock, "stop", 0, 200);
  snapshot = group_case_capture_well (&group);
  g_assert_cmpuint (watched.n_transactions, ==, 3);
  g_assert_cmpuint (watched.n_early, ==, 0);
  group_case_clear (&group);
  g_mutex_clear (&watched.lock);
}

/* --- modes --------------------------------------------------------------------------------- */

static void
test_paused_guest (void)
{
  GroupCase group;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;

  for (guint paused = 0; paused < 2; paused++)
    {
      g_autofree char *state = NULL;

      group_case_set_up (&group, MIXED, 2);
      mock_set_run_state (group.guests[paused].mock, "paused");
      group_case_open (&group);
      g_clear_object (&snapshot);
      snapshot = group_case_capture_well (&group);
      assert_whole (&group, snapshot);
      state = mock_dup_run_state (group.guests[paused].mock);
      g_assert_cmpstr (state, ==, "paused");
      g_assert_cmpstr (group.guests[paused].news->str, ==, " point memory");
      g_assert_true (g_str_has_suffix (group.news->str, " memory"));
      group_case_clear (&group);
    }
}

static void
test_modes (void)
{
  static const QsnapSnapshotMode modes[] = { QSNAP_SNAPSHOT_MODE_DISKS_ONLY,
                                             QSNAP_SNAPSHOT_MODE_STOPPED };

  for (guint i = 0; i < G_N_ELEMENTS (modes); i++)
    {
      GroupCase group;
      g_autoptr (QsnapSnapshotOptions) options = NULL;
      g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
      g_autoptr (GError) error = NULL;

      group_case_set_up (&group, MIXED, 2);
      group_case_open (&group);
      options = group_case_options (&group);
      qsnap_snapshot_options_set_mode (options, modes[i]);
      snapshot = qsnap_group_instant_snapshot (group.group, options, NULL, &error);
      g_assert_no_error (error);
      assert_whole (&group, snapshot);
      assert_loads (&group, snapshot);
      group_case_clear (&group);
    }
}

/* All are left as they are wanted; then nobody has gone on. */
static void
test_left_paused (void)
{
  GroupCase group;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  options = group_case_options (&group);
  qsnap_snapshot_options_set_leave (options, QSNAP_LEAVE_PAUSED);
  snapshot = qsnap_group_instant_snapshot (group.group, options, NULL, &error);
  g_assert_no_error (error);
  assert_loads (&group, snapshot);
  g_assert_cmpint (qsnap_group_snapshot_get_overlap_us (snapshot), ==, -1);
  for (guint i = 0; i < group.n; i++)
    {
      g_autofree char *state = mock_dup_run_state (group.guests[i].mock);

      g_assert_cmpstr (state, ==, "paused");
    }
  group_case_clear (&group);
}

/* One guest's own. */
static void
test_options_of_guest (void)
{
  GroupCase group;
  g_autoptr (QsnapGroup) with_options = qsnap_group_new ();
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshotOptions) own = qsnap_snapshot_options_new (NULL);
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (QsnapSnapshot) a = NULL, b = NULL, c = NULL;
  g_autoptr (GError) error = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  options = group_case_options (&group);
  qsnap_snapshot_options_set_name (options, "both");
  qsnap_snapshot_options_set_mode (own, QSNAP_SNAPSHOT_MODE_DISKS_ONLY);
  qsnap_group_add_session (with_options, group.guests[0].session, "a", NULL, NULL);
  qsnap_group_add_session (with_options, group.guests[1].session, "b", own, NULL);
  snapshot = qsnap_group_instant_snapshot (with_options, options, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (qsnap_group_snapshot_get_name (snapshot), ==, "both");
  a = qsnap_group_snapshot_find_snapshot (snapshot, "a");
  b = qsnap_group_snapshot_find_snapshot (snapshot, "b");
  c = qsnap_group_snapshot_find_snapshot (snapshot, "c");
  g_assert_null (c);
  g_assert_cmpint (qsnap_snapshot_get_mode (a), ==, QSNAP_SNAPSHOT_MODE_INSTANT);
  g_assert_cmpstr (qsnap_snapshot_get_name (a), ==, "both");
  g_assert_cmpint (qsnap_snapshot_get_mode (b), ==, QSNAP_SNAPSHOT_MODE_DISKS_ONLY);
  group_case_clear (&group);
}

/* --- the group itself ---------------------------------------------------------------------- */

static void
test_names (void)
{
  static const char *const bad[] = { "", ".", "..", "a/b", "group.json", "a\nb" };
  g_autoptr (QsnapGroup) group = qsnap_group_new ();
  g_autoptr (QsnapSession) one = qsnap_session_new ("/nowhere");
  g_autoptr (QsnapSession) two = qsnap_session_new ("/nowhere");
  g_autoptr (QsnapSession) found = NULL;
  g_auto (GStrv) names = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_false (qsnap_group_add_session (group, one, bad[i], NULL, &error));
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
    }
  g_assert_true (qsnap_group_add_session (group, one, "one", NULL, NULL));
  g_assert_false (qsnap_group_add_session (group, one, "another", NULL, NULL));
  g_assert_false (qsnap_group_add_session (group, two, "one", NULL, NULL));
  g_assert_true (qsnap_group_add_session (group, two, "two", NULL, NULL));
  names = qsnap_group_dup_names (group);
  g_assert_cmpstr (names[0], ==, "one");
  g_assert_cmpstr (names[1], ==, "two");
  found = qsnap_group_find_session (group, "two");
  g_assert_true (found == two);
  g_assert_null (qsnap_group_find_session (group, "three"));
}

static void
refused (GroupCase *group, QsnapSnapshotOptions *options, GQuark domain, gint code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapGroupSnapshot) snapshot =
      qsnap_group_instant_snapshot (group->group, options, NULL, &error);

  g_assert_null (snapshot);
  g_assert_error (error, domain, code);
  group_case_assert_undone (group);
}

static void
test_refused (void)
{
  GroupCase group;
  g_autoptr (QsnapGroup) empty = qsnap_group_new ();
  g_autoptr (QsnapSnapshotOptions) live = NULL, fallback = NULL, quiesce = NULL, nowhere = NULL;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  live = group_case_options (&group);
  qsnap_snapshot_options_set_mode (live, QSNAP_SNAPSHOT_MODE_LIVE);
  refused (&group, live, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  fallback = group_case_options (&group);
  qsnap_snapshot_options_set_fallback (fallback, QSNAP_SNAPSHOT_MODE_LIVE);
  refused (&group, fallback, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  quiesce = group_case_options (&group);
  qsnap_snapshot_options_set_mode (quiesce, QSNAP_SNAPSHOT_MODE_DISKS_ONLY);
  qsnap_snapshot_options_set_quiesce (quiesce, "/nowhere");
  refused (&group, quiesce, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  nowhere = qsnap_snapshot_options_new (NULL);
  refused (&group, nowhere, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  qsnap_snapshot_options_set_quiesce (quiesce, NULL);
  qsnap_snapshot_options_set_name (quiesce, "a/b");
  refused (&group, quiesce, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  qsnap_snapshot_options_set_name (quiesce, NULL);
  qsnap_snapshot_options_set_max_chain_length (quiesce, 3);
  refused (&group, quiesce, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  qsnap_snapshot_options_set_max_chain_length (quiesce, 0);
  snapshot = qsnap_group_instant_snapshot (empty, quiesce, NULL, &error);
  g_assert_null (snapshot);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  group_case_clear (&group);
}

/* A folder that has something in it is left alone; an empty one gets its mode back. */
static void
test_folder (void)
{
  GroupCase group;
  g_autofree char *path = NULL, *file = NULL;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  path = group_case_path (&group);
  file = g_build_filename (path, "file", NULL);
  g_assert_cmpint (g_mkdir (path, 0755), ==, 0);
  g_assert_true (g_file_set_contents (file, "x", 1, NULL));
  snapshot = group_case_capture (&group, NULL, &error);
  g_assert_null (snapshot);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_EXISTS);
  g_assert_true (g_file_test (file, G_FILE_TEST_EXISTS));
  g_clear_error (&error);

  g_unlink (file);
  mock_fail_command (group.guests[1].mock, "transaction", 1, "GenericError", "injected");
  snapshot = group_case_capture (&group, NULL, &error);
  g_assert_null (snapshot);
  g_assert_cmpint (g_rmdir (path), ==, 0);
  group_case_assert_undone (&group);

  snapshot = group_case_capture_well (&group);
  assert_whole (&group, snapshot);
  g_clear_error (&error);
  g_assert_null (group_case_capture (&group, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_EXISTS);
  assert_whole (&group, snapshot);
  group_case_clear (&group);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/group/guests", test_guests);
  g_test_add_func ("/group/order", test_order);
  g_test_add_func ("/group/asynchronous", test_asynchronous);
  g_test_add_func ("/group/all-stand-still", test_all_stand_still);
  g_test_add_func ("/group/paused-guest", test_paused_guest);
  g_test_add_func ("/group/modes", test_modes);
  g_test_add_func ("/group/left-paused", test_left_paused);
  g_test_add_func ("/group/options-of-guest", test_options_of_guest);
  g_test_add_func ("/group/names", test_names);
  g_test_add_func ("/group/refused", test_refused);
  g_test_add_func ("/group/folder", test_folder);

  return g_test_run ();
}
