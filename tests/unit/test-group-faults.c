/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One of several guests fails, at every step, or the caller does: all or none. */

#include "group-case.h"

#include <glib/gstdio.h>
#include <string.h>

#include "qsnap-group-file.h"

#define INJECTED "injected by the test"

/* --- one guest fails ----------------------------------------------------------------------- */

/* A step of each part of a capture, in order. */
static const char *const steps[] = { "query-status",
                                     "query-block",
                                     "blockdev-create",
                                     "getfd",
                                     "set-action",
                                     "migrate-set-capabilities",
                                     "stop",
                                     "transaction",
                                     "migrate",
                                     NULL };

static void
fails (GroupCase *group, guint who, const char *what)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapGroupSnapshot) snapshot = group_case_capture (group, NULL, &error);
  g_autofree char *guest = g_strdup_printf ("guest %c: ", 'a' + who);

  g_assert_null (snapshot);
  g_assert_nonnull (error);
  if (!g_str_has_prefix (error->message, guest) || strstr (error->message, what) == NULL)
    g_error ("“%s” does not say which guest, or not “%s”", error->message, what);
  g_test_message ("%s", error->message);
  g_assert_null (strstr (group->news->str, "memory"));
  for (guint i = 0; i < group->n; i++)
    g_assert_null (strstr (group->guests[i].news->str, "memory"));
}

static void
test_command_fails (gconstpointer data)
{
  guint who = GPOINTER_TO_UINT (data);

  for (guint i = 0; steps[i] != NULL; i++)
    {
      GroupCase group;

      g_test_message ("%s", steps[i]);
      group_case_set_up (&group, MIXED, 3);
      group_case_open (&group);
      mock_fail_command (group.guests[who].mock, steps[i],
                         mock_count_command (group.guests[who].mock, steps[i]) + 1, "GenericError",
                         INJECTED);
      fails (&group, who, INJECTED);
      group_case_assert_undone (&group);
      group_case_clear (&group);
    }
}

/* The connection is lost; the others are as they were. */
static void
test_one_is_gone (gconstpointer data)
{
  guint who = GPOINTER_TO_UINT (data);

  for (guint i = 0; steps[i] != NULL; i++)
    {
      GroupCase group;

      g_test_message ("%s", steps[i]);
      group_case_set_up (&group, MIXED, 3);
      group_case_open (&group);
      mock_disconnect_at (group.guests[who].mock, steps[i],
                          mock_count_command (group.guests[who].mock, steps[i]) + 1,
                          MOCK_DISCONNECT_AFTER);
      fails (&group, who, "");
      for (guint other = 0; other < group.n; other++)
        if (other != who)
          {
            g_autofree char *now = fixture_describe (&group.guests[other]);
            g_autofree char *state = mock_dup_run_state (group.guests[other].mock);

            /* The folder of the group is in the first one's. */
            if (other != 0)
              g_assert_cmpstr (now, ==, group.described[other]);
            g_assert_cmpstr (state, ==, "running");
          }
      group_case_clear (&group);
    }
}

/* After its point in time, while the others save, or have saved. A 7.2 hangs then. */
static void
test_save_fails (void)
{
  static const MockPoint points[] = { MOCK_POINT_FIRST_PAGE, MOCK_POINT_HALF,
                                      MOCK_POINT_STREAM_DONE };

  for (guint i = 0; i < G_N_ELEMENTS (points); i++)
    for (guint who = 0; who < 2; who++)
      {
        GroupCase group;

        g_test_message ("point %u, guest %u", points[i], who);
        group_case_set_up (&group, MOCK_STYLE_10, 2);
        group_case_open (&group);
        mock_fail_migration_at (group.guests[who].mock, points[i]);
        fails (&group, who, "");
        group_case_assert_undone (&group);
        group_case_clear (&group);
      }
}

/* --- the pause ----------------------------------------------------------------------------- */

static char *
run_state (GroupCase *group, guint who)
{
  return mock_dup_run_state (group->guests[who].mock);
}

/* A guest that does not stop does not keep the others stopped for longer than is allowed. */
static void
test_one_hangs (void)
{
  GroupCase group;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *first = NULL, *second = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  options = group_case_options (&group);
  qsnap_snapshot_options_set_max_pause_ms (options, 1000);
  qsnap_session_set_timeout (group.guests[1].session, 5000);
  mock_drop_reply (group.guests[1].mock, "stop", 1);
  snapshot = qsnap_group_instant_snapshot (group.group, options, NULL, &error);
  g_assert_null (snapshot);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
  if (strstr (error->message, "waited for") == NULL || strstr (error->message, "guest b") == NULL)
    g_error ("“%s” does not say who was waited for", error->message);
  first = run_state (&group, 0);
  second = run_state (&group, 1);
  g_assert_cmpstr (first, ==, "running");
  g_assert_cmpstr (second, ==, "running");
  group_case_assert_undone (&group);
  group_case_clear (&group);
}

/* Somebody else resumes one before all have stopped. */
static gboolean
has_stopped (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  g_autofree char *state = mock_dup_run_state (mock);

  return mock_count_command (mock, "transaction") > 0 && g_str_equal (state, "paused");
}

static void
resume_the_other (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer other)
{
  g_assert_true (mock_wait (other, has_stopped, NULL, WAIT));
  mock_cont_guest (other);
}

static void
test_one_is_resumed (void)
{
  GroupCase group;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  group_case_set_up (&group, MOCK_STYLE_10, 2);
  group_case_open (&group);
  mock_on_command (group.guests[1].mock, "transaction", resume_the_other, group.guests[0].mock);
  snapshot = group_case_capture (&group, NULL, &error);
  g_assert_null (snapshot);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED);
  group_case_assert_undone (&group);
  group_case_clear (&group);
}

/* --- cancelling ---------------------------------------------------------------------------- */

static void
cancel_on_command (G_GNUC_UNUSED MockQemu *mock,
                   G_GNUC_UNUSED JsonObject *arguments,
                   gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
}

static void
cancel_on_point (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED MockPoint point, gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
}

static void
is_cancelled (GroupCase *group, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapGroupSnapshot) snapshot = group_case_capture (group, cancellable, &error);

  g_assert_null (snapshot);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  group_case_assert_undone (group);
}

static void
test_cancel (void)
{
  GroupCase group;
  g_autoptr (GCancellable) before = g_cancellable_new ();

  g_cancellable_cancel (before);
  for (guint i = 0; steps[i] != NULL; i++)
    {
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();

      g_test_message ("%s", steps[i]);
      group_case_set_up (&group, MIXED, 2);
      mock_on_command (group.guests[i % 2].mock, steps[i], cancel_on_command, cancellable);
      group_case_open (&group);
      /* What opening needs has cancelled it already. */
      is_cancelled (&group, cancellable);
      is_cancelled (&group, before);
      group_case_clear (&group);
    }
}

/* While one saves and the other has saved all. */
static void
test_cancel_while_saving (void)
{
  GroupCase group;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();

  group_case_set_up (&group, MIXED, 2);
  mock_on_point (group.guests[0].mock, MOCK_POINT_HALF, cancel_on_point, cancellable);
  group_case_open (&group);
  is_cancelled (&group, cancellable);
  group_case_clear (&group);
}

/* --- the seal ------------------------------------------------------------------------------ */

/* Where one cannot be sealed the others are none, too, though they were sealed already. */
static void
block_manifest (G_GNUC_UNUSED QsnapSession *session, QsnapSnapshot *snapshot, gpointer mock)
{
  g_autofree char *path = g_build_filename (
      g_file_peek_path (qsnap_snapshot_get_directory (snapshot)), "snapshot.json", NULL);

  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
  mock_release_point (mock);
}

static void
test_seal_fails (void)
{
  for (guint who = 0; who < 2; who++)
    {
      GroupCase group;

      group_case_set_up (&group, MIXED, 2);
      group_case_open (&group);
      g_signal_connect (group.guests[who].session, "point-in-time-reached",
                        G_CALLBACK (block_manifest), group.guests[who].mock);
      mock_hold_point (group.guests[who].mock, MOCK_POINT_HALF);
      fails (&group, who, "sealing the snapshot");
      group_case_assert_undone (&group);
      group_case_clear (&group);
    }
}

static void
block_group (G_GNUC_UNUSED QsnapGroup *self, QsnapGroupSnapshot *snapshot, gpointer data)
{
  GroupCase *group = data;
  g_autofree char *path = g_build_filename (
      g_file_peek_path (qsnap_group_snapshot_get_directory (snapshot)), QSNAP_GROUP_FILE, NULL);

  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
  mock_release_point (group->guests[0].mock);
}

/* All snapshots are sealed, and what would make them a group cannot be written. */
static void
test_group_file_fails (void)
{
  GroupCase group;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *path = NULL, *file = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  path = group_case_path (&group);
  file = g_build_filename (path, QSNAP_GROUP_FILE, NULL);
  g_signal_connect (group.group, "point-in-time-reached", G_CALLBACK (block_group), &group);
  mock_hold_point (group.guests[0].mock, MOCK_POINT_HALF);
  snapshot = group_case_capture (&group, NULL, &error);
  g_assert_null (snapshot);
  g_assert_nonnull (error);
  g_assert_nonnull (strstr (error->message, "sealing the group"));
  g_assert_cmpint (g_rmdir (file), ==, 0);
  g_assert_cmpint (g_rmdir (path), ==, 0);
  group_case_assert_undone (&group);
  group_case_clear (&group);
}

/* --- begin --------------------------------------------------------------------------------- */

static void
test_busy (void)
{
  GroupCase group;
  FixtureResult result;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  memset (&result, 0, sizeof result);
  mock_hold_point (group.guests[1].mock, MOCK_POINT_HALF);
  fixture_start_capture (&group.guests[1], "alone", NULL, &result);
  snapshot = group_case_capture (&group, NULL, &error);
  g_assert_null (snapshot);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_assert_true (g_str_has_prefix (error->message, "guest b: "));
  g_assert_null (qsnap_session_dup_operation (group.guests[0].session));
  mock_release_point (group.guests[1].mock);
  fixture_wait_result (&result);
  g_assert_no_error (result.error);
  fixture_result_clear (&result);
  group_case_clear (&group);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint who = 0; who < 2; who++)
    {
      g_autofree char *fails_path = g_strdup_printf ("/group-faults/command-fails/%u", who);
      g_autofree char *gone_path = g_strdup_printf ("/group-faults/one-is-gone/%u", who);

      g_test_add_data_func (fails_path, GUINT_TO_POINTER (who), test_command_fails);
      g_test_add_data_func (gone_path, GUINT_TO_POINTER (who), test_one_is_gone);
    }
  g_test_add_func ("/group-faults/save-fails", test_save_fails);
  g_test_add_func ("/group-faults/one-hangs", test_one_hangs);
  g_test_add_func ("/group-faults/one-is-resumed", test_one_is_resumed);
  g_test_add_func ("/group-faults/cancel", test_cancel);
  g_test_add_func ("/group-faults/cancel-while-saving", test_cancel_while_saving);
  g_test_add_func ("/group-faults/seal-fails", test_seal_fails);
  g_test_add_func ("/group-faults/group-file-fails", test_group_file_fails);
  g_test_add_func ("/group-faults/busy", test_busy);

  return g_test_run ();
}
