/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshots of a group on disk: what is loaded and what is refused, recovered, deleted. */

#include "group-case.h"

#include <glib/gstdio.h>
#include <string.h>

#include "qsnap-group-file.h"

typedef struct
{
  GroupCase group;
  QsnapGroupSnapshot *snapshot;
  GFile *directory;
  char *path;
} Case;

static void
set_up (Case *test)
{
  group_case_set_up (&test->group, MIXED, 2);
  group_case_open (&test->group);
  test->snapshot = group_case_capture_well (&test->group);
  for (guint i = 0; i < test->group.n; i++)
    fixture_forget_news (&test->group.guests[i]);
  test->path = group_case_path (&test->group);
  test->directory = g_file_new_for_path (test->path);
}

static void
clear (Case *test)
{
  g_object_unref (test->snapshot);
  g_object_unref (test->directory);
  g_free (test->path);
  group_case_clear (&test->group);
}

static char *
path_of (Case *test, const char *name)
{
  return g_build_filename (test->path, name, NULL);
}

static gboolean
has (Case *test, const char *name)
{
  g_autofree char *path = path_of (test, name);

  return g_file_test (path, G_FILE_TEST_EXISTS);
}

static void
move (Case *test, const char *from, const char *to)
{
  g_autofree char *old = path_of (test, from);
  g_autofree char *new = path_of (test, to);

  g_assert_cmpint (g_rename (old, new), ==, 0);
}

static void
remove_tree (Case *test, const char *name)
{
  g_autofree char *path = path_of (test, name);
  const char *const command[] = { "rm", "-rf", path, NULL };

  g_assert_true (g_spawn_sync (NULL, (char **)command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, NULL, NULL));
}

static void
assert_not_loaded (Case *test, GQuark domain, int code, const char *word)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapGroupSnapshot) loaded = qsnap_group_snapshot_load (test->directory, NULL, &error);

  g_assert_null (loaded);
  g_assert_error (error, domain, code);
  if (strstr (error->message, word) == NULL)
    g_error ("\"%s\" is not in: %s", word, error->message);
}

/* --- loading ------------------------------------------------------------------------------- */

/* Every byte that means something. */
static void
test_damaged (void)
{
  Case test;
  g_autofree char *file = NULL, *text = NULL;
  gsize length;

  set_up (&test);
  file = path_of (&test, QSNAP_GROUP_FILE);
  g_assert_true (g_file_get_contents (file, &text, &length, NULL));
  for (gsize i = 0; i < length; i++)
    {
      g_autoptr (QsnapGroupSnapshot) loaded = NULL;
      g_autoptr (GError) error = NULL;
      char kept = text[i];

      if (g_ascii_isspace (kept))
        continue;
      text[i] = kept ^ 1;
      g_assert_true (g_file_set_contents_full (file, text, (gssize)length, G_FILE_SET_CONTENTS_NONE,
                                               0600, NULL));
      text[i] = kept;
      loaded = qsnap_group_snapshot_load (test.directory, NULL, &error);
      if (loaded != NULL)
        g_error ("loaded with another byte %" G_GSIZE_FORMAT ", “%c”", i, kept);
    }
  g_assert_true (g_file_set_contents_full (file, "{}", 2, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
  assert_not_loaded (&test, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "group.json");
  clear (&test);
}

static void
test_incomplete (void)
{
  Case test;

  set_up (&test);
  /* Another snapshot in the place of one. */
  move (&test, "a", "kept");
  move (&test, "b", "a");
  assert_not_loaded (&test, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "not the snapshot");
  move (&test, "a", "b");
  assert_not_loaded (&test, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "a");
  move (&test, "kept", "a");
  move (&test, QSNAP_GROUP_FILE, QSNAP_GROUP_JOURNAL);
  assert_not_loaded (&test, QSNAP_ERROR, QSNAP_ERROR_BUSY, "recovered");
  remove_tree (&test, QSNAP_GROUP_JOURNAL);
  assert_not_loaded (&test, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "no group.json");
  clear (&test);
}

static void
test_verify_finds_which (void)
{
  Case test;
  g_autofree char *state = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test);
  state = path_of (&test, "b/state");
  g_assert_true (g_file_set_contents_full (state, "x", 1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
  g_assert_false (qsnap_group_snapshot_verify (test.snapshot, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_true (g_str_has_prefix (error->message, "guest b: "));
  clear (&test);
}

static void
test_restore_is_refused (void)
{
  static const char *const command[] = { "qemu", NULL };
  Case test;
  g_autoptr (QsnapRestoreOptions) options = qsnap_restore_options_new ();
  g_autoptr (GListModel) sessions = NULL;
  g_autoptr (GFile) folder = NULL;
  g_autofree char *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test);
  before = fixture_list_files (&test.group.guests[0]);
  qsnap_restore_options_set_command (options, command);
  sessions = qsnap_group_snapshot_restore (test.snapshot, options, NULL, &error);
  g_assert_null (sessions);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);

  /* A program that is none. */
  qsnap_restore_options_set_command (options, NULL);
  qsnap_restore_options_set_program (options, "/nowhere/qemu");
  folder = fixture_file (&test.group.guests[0], "reverts");
  qsnap_restore_options_set_directory (options, folder);
  sessions = qsnap_group_snapshot_restore (test.snapshot, options, NULL, &error);
  g_assert_null (sessions);
  g_assert_nonnull (error);
  after = fixture_list_files (&test.group.guests[0]);
  g_assert_cmpstr (after, ==, before);
  clear (&test);
}

/* --- recovering ---------------------------------------------------------------------------- */

/* The client died between the last seal and group.json. */
static void
test_recover_finishes (void)
{
  Case test;
  g_autoptr (QsnapGroupSnapshot) recovered = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test);
  move (&test, QSNAP_GROUP_FILE, QSNAP_GROUP_JOURNAL);
  recovered = qsnap_group_snapshot_recover (test.directory, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (qsnap_group_snapshot_get_sealed (recovered));
  g_assert_true (qsnap_group_snapshot_verify (recovered, NULL, &error));
  g_assert_cmpint (qsnap_group_snapshot_get_overlap_us (recovered), ==,
                   qsnap_group_snapshot_get_overlap_us (test.snapshot));
  g_assert_true (has (&test, QSNAP_GROUP_FILE));
  g_assert_false (has (&test, QSNAP_GROUP_JOURNAL));

  /* There is nothing left to do, and that is no error. */
  g_clear_object (&recovered);
  recovered = qsnap_group_snapshot_recover (test.directory, NULL, &error);
  g_assert_no_error (error);
  g_assert_nonnull (recovered);
  clear (&test);
}

/* What is complete stays, and is no group. */
static void
test_recover_of_some (void)
{
  Case test;
  g_autoptr (QsnapGroupSnapshot) recovered = NULL;
  g_autoptr (QsnapSnapshot) left = NULL;
  g_autoptr (GFile) directory = NULL;
  g_autofree char *path = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test);
  move (&test, QSNAP_GROUP_FILE, QSNAP_GROUP_JOURNAL);
  remove_tree (&test, "a");
  recovered = qsnap_group_snapshot_recover (test.directory, NULL, &error);
  g_assert_null (recovered);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED);
  g_assert_nonnull (strstr (error->message, "guest a was undone"));
  g_assert_nonnull (strstr (error->message, "guest b is complete"));
  g_clear_error (&error);
  g_assert_false (has (&test, QSNAP_GROUP_FILE));
  path = path_of (&test, "b");
  directory = g_file_new_for_path (path);
  left = qsnap_snapshot_load (directory, NULL, &error);
  g_assert_no_error (error);
  assert_not_loaded (&test, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "no group.json");
  g_assert_null (qsnap_group_snapshot_recover (test.directory, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  clear (&test);
}

static void
test_recover_of_none (void)
{
  Case test;
  g_autofree char *path = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&test);
  move (&test, QSNAP_GROUP_FILE, QSNAP_GROUP_JOURNAL);
  remove_tree (&test, "a");
  remove_tree (&test, "b");
  /* Made, and nothing written into it yet. */
  path = path_of (&test, "b");
  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
  g_assert_null (qsnap_group_snapshot_recover (test.directory, NULL, &error));
  g_assert_no_error (error);
  g_assert_false (has (&test, ""));
  clear (&test);
}

static void
recover_while_it_is_taken (G_GNUC_UNUSED QsnapGroup *self,
                           QsnapGroupSnapshot *snapshot,
                           gpointer mock)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_group_snapshot_recover (qsnap_group_snapshot_get_directory (snapshot), NULL,
                                               &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  mock_release_point (mock);
}

static void
test_recover_while_it_is_taken (void)
{
  GroupCase group;
  g_autoptr (QsnapGroupSnapshot) snapshot = NULL;

  group_case_set_up (&group, MIXED, 2);
  group_case_open (&group);
  g_signal_connect (group.group, "point-in-time-reached", G_CALLBACK (recover_while_it_is_taken),
                    group.guests[0].mock);
  mock_hold_point (group.guests[0].mock, MOCK_POINT_HALF);
  snapshot = group_case_capture_well (&group);
  g_assert_true (qsnap_group_snapshot_get_sealed (snapshot));
  group_case_clear (&group);
}

/* --- deleting ------------------------------------------------------------------------------ */

static void
on_deleted (GObject *source, GAsyncResult *result, gpointer done)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (
      qsnap_group_snapshot_delete_finish (QSNAP_GROUP_SNAPSHOT (source), result, &error));
  g_assert_no_error (error);
  *(gboolean *)done = TRUE;
}

static void
assert_deleted (Case *test)
{
  g_assert_false (qsnap_group_snapshot_get_sealed (test->snapshot));
  g_assert_false (has (test, ""));
  group_case_assert_undone (&test->group);
}

static void
test_delete (void)
{
  Case test;
  g_autoptr (GError) error = NULL;
  gboolean done = FALSE;

  set_up (&test);
  g_assert_true (qsnap_group_snapshot_delete (test.snapshot, test.group.group, NULL, &error));
  g_assert_no_error (error);
  assert_deleted (&test);
  clear (&test);

  set_up (&test);
  qsnap_group_snapshot_delete_async (test.snapshot, test.group.group, NULL, on_deleted, &done);
  while (!done)
    g_main_context_iteration (NULL, TRUE);
  fixture_drain_context ();
  assert_deleted (&test);
  clear (&test);
}

/* The first, and nothing is changed; the second, and the group is one no more. */
static void
test_delete_fails (void)
{
  Case test;
  g_autoptr (QsnapGroupSnapshot) loaded = NULL;
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) names = NULL;

  set_up (&test);
  mock_fail_command (test.group.guests[0].mock, "query-status",
                     mock_count_command (test.group.guests[0].mock, "query-status") + 1,
                     "GenericError", "injected");
  mock_fail_command (test.group.guests[0].mock, "query-block",
                     mock_count_command (test.group.guests[0].mock, "query-block") + 1,
                     "GenericError", "injected");
  g_assert_false (qsnap_group_snapshot_delete (test.snapshot, test.group.group, NULL, &error));
  g_assert_true (g_str_has_prefix (error->message, "guest a: "));
  g_clear_error (&error);
  g_assert_true (qsnap_group_snapshot_get_sealed (test.snapshot));
  loaded = qsnap_group_snapshot_load (test.directory, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (qsnap_group_snapshot_get_sealed (loaded));
  g_clear_object (&loaded);

  mock_fail_command (test.group.guests[1].mock, "query-block",
                     mock_count_command (test.group.guests[1].mock, "query-block") + 1,
                     "GenericError", "injected");
  g_assert_false (qsnap_group_snapshot_delete (test.snapshot, test.group.group, NULL, &error));
  g_assert_true (g_str_has_prefix (error->message, "guest b: "));
  g_clear_error (&error);
  g_assert_false (has (&test, "a"));
  loaded = qsnap_group_snapshot_load (test.directory, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (qsnap_group_snapshot_get_sealed (loaded));
  names = qsnap_group_snapshot_dup_names (loaded);
  g_assert_cmpuint (g_strv_length (names), ==, 1);
  g_assert_cmpstr (names[0], ==, "b");
  g_assert_false (qsnap_group_snapshot_verify (loaded, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_true (qsnap_group_snapshot_delete (loaded, test.group.group, NULL, &error));
  g_assert_no_error (error);
  g_assert_false (has (&test, ""));
  clear (&test);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;

  g_test_add_func ("/group-files/damaged", test_damaged);
  g_test_add_func ("/group-files/incomplete", test_incomplete);
  g_test_add_func ("/group-files/verify-finds-which", test_verify_finds_which);
  g_test_add_func ("/group-files/restore-is-refused", test_restore_is_refused);
  g_test_add_func ("/group-files/recover-finishes", test_recover_finishes);
  g_test_add_func ("/group-files/recover-of-some", test_recover_of_some);
  g_test_add_func ("/group-files/recover-of-none", test_recover_of_none);
  g_test_add_func ("/group-files/recover-while-it-is-taken", test_recover_while_it_is_taken);
  g_test_add_func ("/group-files/delete", test_delete);
  g_test_add_func ("/group-files/delete-fails", test_delete_fails);

  return g_test_run ();
}
