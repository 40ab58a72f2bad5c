/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots of one folder: what came from what, names, what is said of them. */

#include "fixture.h"

#include <glib/gstdio.h>
#include <string.h>

static void
set_up (Fixture *fixture, gconstpointer style, guint n_drives)
{
  fixture_set_up (fixture, GPOINTER_TO_INT (style), n_drives);
  fixture_open (fixture);
}

static QsnapSnapshot *
load (Fixture *fixture, const char *name)
{
  g_autoptr (GFile) directory = fixture_file (fixture, name);
  g_autoptr (GError) error = NULL;
  QsnapSnapshot *snapshot = qsnap_snapshot_load (directory, NULL, &error);

  g_assert_no_error (error);
  return snapshot;
}

/* --- parents ------------------------------------------------------------------------------- */

static void
assert_parent (QsnapSnapshot *snapshot, QsnapSnapshot *parent)
{
  g_autofree char *parent_id = qsnap_snapshot_dup_parent_id (snapshot);
  g_autofree char *parent_name = qsnap_snapshot_dup_parent_name (snapshot);
  g_autofree char *id = parent != NULL ? qsnap_snapshot_dup_id (parent) : NULL;

  g_assert_cmpstr (parent_id, ==, id);
  g_assert_cmpstr (parent_name, ==, parent != NULL ? qsnap_snapshot_get_name (parent) : NULL);
}

static void
test_chain (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) first = NULL, second = NULL, third = NULL, loaded = NULL;

  set_up (&fixture, style, 2);
  first = fixture_capture_well (&fixture, "z-first");
  second = fixture_capture_well (&fixture, "m-second");
  third = fixture_capture_well (&fixture, "a-third");
  assert_parent (first, NULL);
  assert_parent (second, first);
  loaded = load (&fixture, "a-third");
  assert_parent (loaded, second);
  fixture_clear (&fixture);
}

/* The guest stays on its image, so the latest counts, whatever order the folder has. */
static void
test_copies (gconstpointer style)
{
  static const char *const names[] = { "b", "a", "c", "0" };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) before = NULL;

  set_up (&fixture, style, 1);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (QsnapSnapshotOptions) options = fixture_options (&fixture, names[i]);
      g_autoptr (QsnapSnapshot) snapshot = NULL;
      g_autoptr (GError) error = NULL;

      qsnap_snapshot_options_set_disk_mode (options, QSNAP_DISK_MODE_COPY);
      snapshot = qsnap_session_instant_snapshot (fixture.session, options, NULL, &error);
      g_assert_no_error (error);
      assert_parent (snapshot, before);
      g_set_object (&before, snapshot);
    }
  fixture_clear (&fixture);
}

/* --- names --------------------------------------------------------------------------------- */

static void
assert_name_refused (Fixture *fixture, const char *name, GQuark domain, int code, const char *word)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, "another");
  g_autofree char *before = fixture_describe (fixture);
  g_autofree char *after = NULL;
  g_autoptr (GError) error = NULL;

  qsnap_snapshot_options_set_name (options, name);
  g_assert_null (qsnap_session_instant_snapshot (fixture->session, options, NULL, &error));
  g_assert_error (error, domain, code);
  if (strstr (error->message, word) == NULL)
    g_error ("no \"%s\" in: %s", word, error->message);
  after = fixture_describe (fixture);
  g_assert_cmpstr (before, ==, after);
}

static void
test_names (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *manifest = NULL, *deleted = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  options = fixture_options (&fixture, "monday");
  qsnap_snapshot_options_set_name (options, "before the upgrade");
  snapshot = qsnap_session_instant_snapshot (fixture.session, options, NULL, &error);
  g_assert_no_error (error);
  assert_name_refused (&fixture, "before the upgrade", QSNAP_ERROR, QSNAP_ERROR_EXISTS, "monday");
  assert_name_refused (&fixture, "a/b", G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "slash");
  assert_name_refused (&fixture, "", G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "empty");

  /* Half deleted, it still has its name. */
  manifest = fixture_path (&fixture, "monday/snapshot.json");
  deleted = fixture_path (&fixture, "monday/deleted.json");
  g_assert_cmpint (g_rename (manifest, deleted), ==, 0);
  assert_name_refused (&fixture, "before the upgrade", QSNAP_ERROR, QSNAP_ERROR_EXISTS, "monday");
  fixture_clear (&fixture);
}

/* --- what is said -------------------------------------------------------------------------- */

static GVariant *
some_metadata (void)
{
  return g_variant_new_parsed ("{'origin': <'nightly'>, 'build': <uint64 18446744073709551615>, "
                               "'tags': <['a', 'ü \"quoted\"']>, 'when': <@mx nothing>}");
}

static void
assert_about (QsnapSnapshot *snapshot, const char *description, GVariant *metadata)
{
  g_autofree char *found = qsnap_snapshot_dup_description (snapshot);
  g_autoptr (GVariant) data = qsnap_snapshot_dup_metadata (snapshot);

  g_assert_cmpstr (found, ==, description);
  g_assert_true (data == metadata ||
                 (data != NULL && metadata != NULL && g_variant_equal (data, metadata)));
}

static void
test_about (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL, loaded = NULL, changed = NULL, bare = NULL;
  g_autoptr (GVariant) metadata = g_variant_ref_sink (some_metadata ());
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  options = fixture_options (&fixture, "snapshot");
  qsnap_snapshot_options_set_description (options, "two\nlines");
  qsnap_snapshot_options_set_metadata (options, metadata);
  snapshot = qsnap_session_instant_snapshot (fixture.session, options, NULL, &error);
  g_assert_no_error (error);
  assert_about (snapshot, "two\nlines", metadata);
  loaded = load (&fixture, "snapshot");
  assert_about (loaded, "two\nlines", metadata);

  qsnap_snapshot_annotate (loaded, "another", NULL, NULL, &error);
  g_assert_no_error (error);
  assert_about (loaded, "another", NULL);
  changed = load (&fixture, "snapshot");
  assert_about (changed, "another", NULL);
  g_assert_true (qsnap_snapshot_verify (changed, NULL, &error));
  g_assert_no_error (error);

  qsnap_snapshot_annotate (loaded, NULL, NULL, NULL, &error);
  g_assert_no_error (error);
  bare = load (&fixture, "snapshot");
  assert_about (bare, NULL, NULL);
  qsnap_session_delete_snapshot (fixture.session, bare, NULL, &error);
  g_assert_no_error (error);
  fixture_clear (&fixture);
}

/* Nothing that is said can spoil a snapshot. */
static void
test_damaged_about (gconstpointer style)
{
  static const char *const texts[] = {
    "",
    "[",
    "{}",
    "{\"format\": \"qsnap-about\", \"schema\": 2, \"description\": \"x\"}",
    "{\"format\": \"qsnap-about\", \"schema\": 1, \"description\": \"x\", \"metadata\": \"{'a'\"}",
    "{\"format\": \"qsnap-about\", \"schema\": 1, \"metadata\": \"[1, 2]\"}"
  };
  Fixture fixture;
  g_autofree char *path = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *huge = g_strnfill (64 * 1024 + 1, 'x');
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  g_object_unref (fixture_capture_well (&fixture, "snapshot"));
  path = fixture_path (&fixture, "snapshot/about.json");
  for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
    {
      g_autoptr (QsnapSnapshot) loaded = NULL;

      g_assert_true (g_file_set_contents (path, texts[i], -1, NULL));
      loaded = load (&fixture, "snapshot");
      assert_about (loaded, NULL, NULL);
    }

  snapshot = load (&fixture, "snapshot");
  g_assert_false (qsnap_snapshot_annotate (snapshot, huge, NULL, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (
      qsnap_snapshot_annotate (snapshot, "x", g_variant_new_string ("y"), NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);
  g_assert_true (qsnap_snapshot_annotate (snapshot, "good", NULL, NULL, &error));
  g_assert_no_error (error);
  fixture_clear (&fixture);
}

static void
on_annotated (GObject *source, GAsyncResult *async, gpointer user_data)
{
  FixtureResult *result = user_data;

  result->done = TRUE;
  qsnap_snapshot_annotate_finish (QSNAP_SNAPSHOT (source), async, &result->error);
}

static void
test_async (gconstpointer style)
{
  Fixture fixture;
  FixtureResult result = { 0 };
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GVariant) metadata = g_variant_ref_sink (some_metadata ());

  set_up (&fixture, style, 0);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  qsnap_snapshot_annotate_async (snapshot, "later", some_metadata (), NULL, on_annotated, &result);
  fixture_wait_result (&result);
  g_assert_no_error (result.error);
  assert_about (snapshot, "later", metadata);
  fixture_clear (&fixture);
}

/* --- orphans ------------------------------------------------------------------------------- */

static void
make_folder (Fixture *fixture, const char *name)
{
  g_autofree char *path = fixture_path (fixture, name);

  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
}

static void
make_qcow2 (Fixture *fixture, const char *name, const char *backing)
{
  g_autofree char *path = fixture_path (fixture, name);

  mock_make_qcow2 (path, 1024 * 1024, backing, backing != NULL ? "raw" : NULL);
}

/* "NAME no use; NAME not sure" */
static void
assert_orphans (Fixture *fixture, const char *expected)
{
  g_autoptr (GFile) parent = fixture_file (fixture, ".");
  g_autoptr (GError) error = NULL;
  g_autoptr (GListModel) list = qsnap_orphan_list (parent, NULL, &error);
  g_autoptr (GString) found = g_string_new (NULL);

  g_assert_no_error (error);
  for (guint i = 0; i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapOrphan) orphan = g_list_model_get_item (list, i);
      g_autofree char *name = g_file_get_relative_path (parent, qsnap_orphan_get_file (orphan));

      g_assert_cmpstr (qsnap_orphan_get_reason (orphan), !=, "");
      g_string_append_printf (found, "%s%s %s", i > 0 ? "; " : "", name,
                              qsnap_orphan_get_certain (orphan) ? "no use" : "not sure");
    }
  g_assert_cmpstr (found->str, ==, expected);
}

static void
test_orphans (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) copied = NULL;
  g_autofree char *manifest = NULL, *deleted = NULL, *stray = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 2);
  g_object_unref (fixture_capture_well (&fixture, "first"));
  g_object_unref (fixture_capture_well (&fixture, "second"));
  options = fixture_options (&fixture, "third");
  qsnap_snapshot_options_set_disk_mode (options, QSNAP_DISK_MODE_COPY);
  copied = qsnap_session_instant_snapshot (fixture.session, options, NULL, &error);
  g_assert_no_error (error);
  assert_orphans (&fixture, "");

  make_qcow2 (&fixture, "a.qsnap-01234567.qcow2", "a.raw");
  make_qcow2 (&fixture, "b.qsnap-01234567.qcow2", "b.raw");
  make_qcow2 (&fixture, "somebodys.qcow2", "b.qsnap-01234567.qcow2");
  make_qcow2 (&fixture, "no.qsnap-overlay.qcow2", "b.raw");
  assert_orphans (&fixture, "a.qsnap-01234567.qcow2 not sure");

  make_folder (&fixture, "lost");
  make_folder (&fixture, "lost/ram");
  stray = fixture_path (&fixture, "lost/state");
  g_assert_true (g_file_set_contents (stray, "", 0, NULL));
  make_qcow2 (&fixture, "third/disks/disk7.qcow2", NULL);
  make_folder (&fixture, "returned");
  make_qcow2 (&fixture, "returned/disk0.qcow2", "a.raw");
  g_free (stray);
  stray = fixture_path (&fixture, "returned/qemu.log");
  g_assert_true (g_file_set_contents (stray, "", 0, NULL));
  manifest = fixture_path (&fixture, "second/snapshot.json");
  deleted = fixture_path (&fixture, "second/deleted.json");
  g_assert_cmpint (g_rename (manifest, deleted), ==, 0);
  assert_orphans (&fixture, "a.qsnap-01234567.qcow2 not sure; lost no use; returned not sure; "
                            "second not sure; third/disks/disk7.qcow2 no use");
  fixture_clear (&fixture);
}

/* --- the chain's length -------------------------------------------------------------------- */

static QsnapSnapshot *
capture_with_limit (Fixture *fixture, const char *name, guint limit)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, name);
  QsnapSnapshot *snapshot;
  g_autoptr (GError) error = NULL;

  g_array_set_size (fixture->phases, 0);
  qsnap_snapshot_options_set_max_chain_length (options, limit);
  snapshot = qsnap_session_instant_snapshot (fixture->session, options, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  fixture_assert_phases (fixture);

  return snapshot;
}

static guint
n_warnings (QsnapSnapshot *snapshot, const char *word)
{
  g_auto (GStrv) warnings = qsnap_snapshot_dup_warnings (snapshot);

  for (guint i = 0; warnings[i] != NULL; i++)
    if (strstr (warnings[i], word) == NULL)
      g_error ("no \"%s\" in: %s", word, warnings[i]);

  return g_strv_length (warnings);
}

/* "a b c": those that are there, the oldest first. */
static void
assert_set (Fixture *fixture, const char *expected)
{
  g_autoptr (GFile) parent = fixture_file (fixture, ".");
  g_autoptr (GListModel) list = qsnap_snapshot_list (parent, NULL, NULL);
  g_autoptr (GString) names = g_string_new (NULL);

  for (guint i = 0; i < g_list_model_get_n_items (list); i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (list, i);

      g_string_append_printf (names, "%s%s", i > 0 ? " " : "", qsnap_snapshot_get_name (snapshot));
      g_assert_true (qsnap_snapshot_verify (snapshot, NULL, NULL));
    }
  g_assert_cmpstr (names->str, ==, expected);
}

/* What the call returns has what the manifest has. */
static void
assert_as_loaded (Fixture *fixture, QsnapSnapshot *snapshot)
{
  g_autoptr (QsnapSnapshot) loaded = load (fixture, qsnap_snapshot_get_name (snapshot));
  g_autofree char *parent = qsnap_snapshot_dup_parent_id (snapshot);
  g_autofree char *loaded_parent = qsnap_snapshot_dup_parent_id (loaded);
  g_autoptr (GError) error = NULL;

  g_assert_cmpstr (parent, ==, loaded_parent);
  /* Its images, too. */
  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_assert_no_error (error);
}

static void
test_chain_limit (gconstpointer style)
{
  static const struct
  {
    guint limit;
    const char *left;
  } rows[] = { { 0, "0" }, { 2, "0 1" }, { 2, "1 2" }, { 0, "1 2 3" }, { 2, "3 4" }, { 1, "5" } };
  Fixture fixture;

  set_up (&fixture, style, 2);
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autofree char *name = g_strdup_printf ("%u", i);
      g_autoptr (QsnapSnapshot) snapshot = NULL;

      g_string_truncate (fixture.news, 0);
      snapshot = capture_with_limit (&fixture, name, rows[i].limit);
      g_assert_cmpstr (fixture.news->str, ==, " point memory");
      g_assert_cmpuint (n_warnings (snapshot, "no warning is expected"), ==, 0);
      assert_set (&fixture, rows[i].left);
      assert_as_loaded (&fixture, snapshot);
    }
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

/* Those in between make no chain, and stay. */
static void
test_chain_limit_counts_overlays (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) copied = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  g_object_unref (fixture_capture_well (&fixture, "a"));
  options = fixture_options (&fixture, "copy");
  qsnap_snapshot_options_set_disk_mode (options, QSNAP_DISK_MODE_COPY);
  copied = qsnap_session_instant_snapshot (fixture.session, options, NULL, &error);
  g_assert_no_error (error);
  g_object_unref (capture_with_limit (&fixture, "b", 2));
  assert_set (&fixture, "a copy b");
  g_object_unref (capture_with_limit (&fixture, "c", 2));
  assert_set (&fixture, "copy b c");
  fixture_clear (&fixture);
}

/* The snapshot is there; the next one does what was left. */
static void
test_chain_limit_fails (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  set_up (&fixture, style, 1);
  g_object_unref (fixture_capture_well (&fixture, "a"));
  g_object_unref (fixture_capture_well (&fixture, "b"));
  mock_fail_job (fixture.mock, "commit", "No space left on device");
  snapshot = capture_with_limit (&fixture, "c", 2);
  g_assert_cmpuint (n_warnings (snapshot, "No space left on device"), ==, 1);
  g_object_unref (capture_with_limit (&fixture, "d", 2));
  assert_set (&fixture, "c d");
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

static void
cancel_at (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
}

static void
test_chain_limit_cancelled (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, style, 1);
  g_object_unref (fixture_capture_well (&fixture, "a"));
  options = fixture_options (&fixture, "b");
  qsnap_snapshot_options_set_max_chain_length (options, 1);
  mock_on_command (fixture.mock, "block-commit", cancel_at, cancellable);
  snapshot = qsnap_session_instant_snapshot (fixture.session, options, cancellable, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (n_warnings (snapshot, "chain"), ==, 1);
  assert_set (&fixture, "a b");
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);

  fixture_add ("/sets/chain", test_chain);
  fixture_add ("/sets/copies", test_copies);
  fixture_add ("/sets/names", test_names);
  fixture_add ("/sets/about", test_about);
  fixture_add ("/sets/damaged-about", test_damaged_about);
  fixture_add ("/sets/async", test_async);
  fixture_add ("/sets/orphans", test_orphans);
  fixture_add ("/sets/chain-limit", test_chain_limit);
  fixture_add ("/sets/chain-limit/counts-overlays", test_chain_limit_counts_overlays);
  fixture_add ("/sets/chain-limit/fails", test_chain_limit_fails);
  fixture_add ("/sets/chain-limit/cancelled", test_chain_limit_cancelled);

  return g_test_run ();
}
