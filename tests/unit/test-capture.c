/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Captures that go well: what is in the snapshot, what is left in QEMU, and the order of things. */

#include "fixture.h"

#include <glib/gstdio.h>
#include <string.h>

/* The overlays are in use, everything else is as it was. */
static void
assert_left_in_order (Fixture *fixture, const char *settings, guint n_drives)
{
  g_autofree char *after = fixture_describe_settings (fixture);

  g_assert_cmpstr (after, ==, settings);
  g_assert_cmpuint (mock_get_n_fdsets (fixture->mock), ==, n_drives);
  g_assert_cmpuint (mock_get_n_fds_stray (fixture->mock), ==, 0);
  g_assert_false (mock_is_torn (fixture->mock));
  fixture_assert_graph_whole (fixture);
  fixture_assert_phases (fixture);
  fixture_assert_no_complaints (fixture);
}

static void
assert_verifies (QsnapSnapshot *snapshot)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_assert_no_error (error);
}

/* --- guests -------------------------------------------------------------------------------- */

static void
try_guest (MockStyle style, guint n_drives, gboolean paused)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *settings = NULL;

  fixture_set_up (&fixture, style, n_drives);
  if (paused)
    mock_set_run_state (fixture.mock, "paused");
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  g_assert_cmpstr (fixture.news->str, ==, " point memory");
  g_assert_cmpuint (g_list_model_get_n_items (qsnap_snapshot_get_disks (snapshot)), ==, n_drives);
  g_assert_cmpuint (mock_count_command (fixture.mock, "transaction"), ==, n_drives > 0);
  assert_left_in_order (&fixture, settings, n_drives);
  assert_verifies (snapshot);
  fixture_clear (&fixture);
}

static void
test_guests (gconstpointer style)
{
  static const guint n_drives[] = { 0, 1, 3 };

  for (guint i = 0; i < G_N_ELEMENTS (n_drives); i++)
    for (guint paused = 0; paused < 2; paused++)
      try_guest (GPOINTER_TO_INT (style), n_drives[i], paused != 0);
}

/* --- drives -------------------------------------------------------------------------------- */

static void
add_drives (Fixture *fixture)
{
  g_autofree char *named = fixture_make_image (fixture, "named.raw", 65536);
  g_autofree char *anonymous = fixture_make_image (fixture, "anonymous.img", 131072);
  g_autofree char *cdrom = fixture_make_image (fixture, "cdrom.iso", 65536);

  mock_add_drive (fixture->mock, "drive0", "/machine/peripheral-anon/device[1]", NULL, "raw",
                  named);
  mock_add_drive (fixture->mock, "", "/machine/peripheral/disk0", "mynode", "raw", anonymous);
  mock_add_drive (fixture->mock, "cd", "/machine/unattached/device[9]", "cdnode", "raw", cdrom);
  mock_set_node_read_only (fixture->mock, "cdnode", TRUE);
  mock_add_empty_drive (fixture->mock, "floppy0", "/machine/unattached/device[10]");
}

static QsnapDisk *
find_disk (QsnapSnapshot *snapshot, const char *device)
{
  GListModel *disks = qsnap_snapshot_get_disks (snapshot);

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDisk) disk = g_list_model_get_item (disks, i);

      if (g_str_equal (qsnap_disk_get_device (disk), device))
        return g_steal_pointer (&disk);
    }
  g_error ("there is no disk %s", device);
}

/* However it was started; read-only and empty ones are left alone. */
static void
test_drives (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapDisk) named = NULL, anonymous = NULL;
  g_autofree char *image = NULL, *named_node = NULL, *node = NULL, *cd_node = NULL;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  add_drives (&fixture);
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  g_assert_cmpuint (g_list_model_get_n_items (qsnap_snapshot_get_disks (snapshot)), ==, 2);
  named = find_disk (snapshot, "drive0");
  anonymous = find_disk (snapshot, "/machine/peripheral/disk0");
  image = fixture_path (&fixture, "anonymous.img");
  g_assert_cmpstr (qsnap_disk_get_base (anonymous), ==, image);
  g_assert_cmpstr (qsnap_disk_get_node (anonymous), ==, "mynode");
  g_assert_cmpuint (qsnap_disk_get_size (anonymous), ==, 131072);
  named_node = mock_dup_drive_node (fixture.mock, "drive0");
  node = mock_dup_drive_node (fixture.mock, "/machine/peripheral/disk0");
  cd_node = mock_dup_drive_node (fixture.mock, "cd");
  g_assert_true (g_str_has_prefix (named_node, "qsnap-"));
  g_assert_true (g_str_has_prefix (node, "qsnap-"));
  g_assert_cmpstr (cd_node, ==, "cdnode");
  assert_verifies (snapshot);
  fixture_clear (&fixture);
}

/* Into one folder, images of one name. */
static void
test_overlay_directory (void)
{
  static const char *const folders[] = { "one", "two", "overlays" };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (GFile) overlays = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  for (guint i = 0; i < G_N_ELEMENTS (folders); i++)
    {
      g_autofree char *folder = fixture_path (&fixture, folders[i]);
      g_autofree char *name = g_strconcat (folders[i], "/disk.raw", NULL);
      g_autofree char *image = NULL;

      g_assert_cmpint (g_mkdir (folder, 0700), ==, 0);
      if (i == 2)
        break;
      image = fixture_make_image (&fixture, name, 65536);
      mock_add_drive (fixture.mock, folders[i], folders[i], NULL, "raw", image);
    }
  fixture_open (&fixture);
  options = fixture_options (&fixture, "snapshot");
  overlays = fixture_file (&fixture, "overlays");
  qsnap_snapshot_options_set_overlay_directory (options, overlays);
  qsnap_snapshot_options_set_name (options, "a name – ü");
  snapshot = qsnap_session_instant_snapshot (fixture.session, options, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (qsnap_snapshot_get_name (snapshot), ==, "a name – ü");
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (QsnapDisk) disk = find_disk (snapshot, folders[i]);

      g_assert_nonnull (strstr (qsnap_disk_get_overlay (disk), "/overlays/disk"));
    }
  assert_verifies (snapshot);
  fixture_clear (&fixture);
}

/* --- one after the other ------------------------------------------------------------------- */

/* Each by a new client: the base is the overlay of the one before, which QEMU knows only as a
 * descriptor. */
static void
test_chain (gconstpointer style)
{
  static const char *const names[] = { "first", "second", "third" };
  Fixture fixture;
  g_autoptr (GPtrArray) snapshots = g_ptr_array_new_with_free_func (g_object_unref);
  g_autofree char *base = NULL;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  base = fixture_path (&fixture, "a.raw");
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      QsnapSnapshot *snapshot;
      g_autoptr (QsnapDisk) disk = NULL;
      g_autoptr (GError) error = NULL;

      qsnap_session_close (fixture.session);
      qsnap_session_open (fixture.session, NULL, &error);
      g_assert_no_error (error);
      snapshot = fixture_capture_well (&fixture, names[i]);
      g_ptr_array_add (snapshots, snapshot);
      disk = find_disk (snapshot, "virtio0");
      g_assert_cmpstr (qsnap_disk_get_base (disk), ==, base);
      g_assert_cmpstr (qsnap_disk_get_format (disk), ==, i == 0 ? "raw" : "qcow2");
      g_free (base);
      base = g_strdup (qsnap_disk_get_overlay (disk));
      g_assert_true (g_file_test (base, G_FILE_TEST_IS_REGULAR));
    }
  for (guint i = 0; i < snapshots->len; i++)
    assert_verifies (g_ptr_array_index (snapshots, i));
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

/* --- settings ------------------------------------------------------------------------------ */

/* What excludes a background snapshot is switched off and on again, what is needed was on. */
static void
test_capabilities (gconstpointer style)
{
  static const char *const on[] = { "xbzrle", "auto-converge", "events", "release-ram" };

  for (guint paused = 0; paused < 2; paused++)
    {
      Fixture fixture;
      g_autoptr (QsnapSnapshot) snapshot = NULL;
      g_autofree char *settings = NULL;

      fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
      mock_set_run_state (fixture.mock, paused ? "paused" : "running");
      for (guint i = 0; i < G_N_ELEMENTS (on); i++)
        mock_set_capability (fixture.mock, on[i], TRUE);
      fixture_open (&fixture);
      settings = fixture_describe_settings (&fixture);
      g_assert_nonnull (strstr (settings, "xbzrle"));
      snapshot = fixture_capture_well (&fixture, "snapshot");
      assert_left_in_order (&fixture, settings, 1);
      fixture_clear (&fixture);
    }
}

/* --- order --------------------------------------------------------------------------------- */

/* The commands of the pause, without their arguments: those that change something, and the question
 * for the run state that follows the transaction. */
static char *
pause_commands (Fixture *fixture)
{
  static const char *const changes[] = { "stop", "cont", "migrate", "transaction", NULL };
  g_auto (GStrv) lines = mock_dup_transcript (fixture->mock);
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; lines[i] != NULL; i++)
    {
      g_autofree char *command = g_strndup (lines[i], strcspn (lines[i], " "));

      if (g_strv_contains (changes, command) ||
          (g_str_equal (command, "query-status") && g_str_has_suffix (text->str, "transaction")))
        g_string_append_printf (text, "%s%s", text->len > 0 ? " " : "", command);
    }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

typedef struct
{
  const char *name;
  MockStyle style;
  int major, minor; /* what it says of itself; 0: the style's */
  gboolean paused;
  const char *commands;
} Order;

static void
try_order (const Order *order)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *settings = NULL, *commands = NULL;

  fixture_set_up (&fixture, order->style, 1);
  if (order->major != 0)
    mock_set_version (fixture.mock, order->major, order->minor, 0, "");
  mock_set_run_state (fixture.mock, order->paused ? "paused" : "running");
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  commands = pause_commands (&fixture);
  g_test_message ("%s: %s", order->name, commands);
  g_assert_cmpstr (commands, ==, order->commands);
  assert_left_in_order (&fixture, settings, 1);
  fixture_clear (&fixture);
}

/* The peer is this very process, so /proc can be read and the gate is used: `migrate` comes before
 * `stop` there, and nowhere else. */
static void
test_order (void)
{
  static const Order orders[] = {
    { "7.2, gate", MOCK_STYLE_7_2, 0, 0, FALSE, "migrate stop transaction query-status" },
    { "7.2, paused", MOCK_STYLE_7_2, 0, 0, TRUE, "transaction query-status migrate cont stop" },
    { "10.0", MOCK_STYLE_10, 0, 0, FALSE, "stop transaction query-status migrate cont" },
    { "10.0, paused", MOCK_STYLE_10, 0, 0, TRUE, "transaction query-status migrate" },
    { "8.1, as 7.2 but without the gate", MOCK_STYLE_7_2, 8, 1, FALSE,
      "stop transaction query-status migrate" },
    { "9.2, which does not resume after all", MOCK_STYLE_10, 9, 2, FALSE,
      "stop transaction query-status migrate cont" },
    { "9.2, paused", MOCK_STYLE_10, 9, 2, TRUE, "transaction query-status migrate cont stop" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (orders); i++)
    try_order (&orders[i]);
}

/* A QEMU that says 7.2, but freezes while the gate is shut: `stop` gets no answer, the run is
 * undone. */
static void
test_gate_that_freezes (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  mock_set_version (fixture.mock, 7, 2, 0, "");
  fixture_open (&fixture);
  before = fixture_describe (&fixture);
  qsnap_session_set_timeout (fixture.session, 3000);
  snapshot = fixture_capture (&fixture, "snapshot", NULL, &error);
  g_assert_null (snapshot);
  g_test_message ("%s", error->message);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  g_assert_cmpstr (fixture.news->str, ==, "");
  fixture_clear (&fixture);
}

/* One that says 10, but starts a paused guest. */
static void
test_wrongly_resumed (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_7_2, 1);
  mock_set_version (fixture.mock, 10, 0, 0, "");
  mock_set_run_state (fixture.mock, "paused");
  fixture_open (&fixture);
  before = fixture_describe (&fixture);
  snapshot = fixture_capture (&fixture, "snapshot", NULL, &error);
  g_assert_null (snapshot);
  g_test_message ("%s", error->message);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED);
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/capture/guests", test_guests);
  fixture_add ("/capture/drives", test_drives);
  g_test_add_func ("/capture/overlay-directory", test_overlay_directory);
  fixture_add ("/capture/chain", test_chain);
  fixture_add ("/capture/capabilities", test_capabilities);
  g_test_add_func ("/capture/order", test_order);
  g_test_add_func ("/capture/gate-that-freezes", test_gate_that_freezes);
  g_test_add_func ("/capture/wrongly-resumed", test_wrongly_resumed);
  return g_test_run ();
}
