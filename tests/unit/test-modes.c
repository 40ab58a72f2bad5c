/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every memory mode with every disk mode: what QEMU is told and when, what is in the manifest, and
 * what is left of it. */

#include "modes-case.h"

#include <errno.h>
#include <string.h>

#include "agent-peer.h"

static const struct
{
  QsnapDiskMode mode;
  const char *nick;
  /* In the transaction; NULL: none is sent. */
  const char *action;
  const char *news;
} disk_modes[] = {
  { QSNAP_DISK_MODE_OVERLAY, "overlay", "blockdev-snapshot", " point memory" },
  { QSNAP_DISK_MODE_CLONE, "clone", NULL, " point memory" },
  { QSNAP_DISK_MODE_COPY, "copy", "blockdev-backup", " point disks memory" },
  { QSNAP_DISK_MODE_INTERNAL, "internal", "blockdev-snapshot-internal-sync", " point memory" },
  { QSNAP_DISK_MODE_EXCLUDE, "exclude", NULL, " point memory" },
};

/* "T" is where the transaction comes, on 7.2 and on 10.0. */
typedef struct
{
  QsnapSnapshotMode mode;
  const char *nick;
  const char *commands[2];
} Memory;

static const Memory running[] = {
  { QSNAP_SNAPSHOT_MODE_INSTANT, "instant", { "migrate stop T", "stop T migrate cont" } },
  { QSNAP_SNAPSHOT_MODE_LIVE,
    "live",
    { "migrate T migrate-continue cont", "migrate T migrate-continue cont" } },
  { QSNAP_SNAPSHOT_MODE_STOPPED, "stopped", { "stop T migrate cont", "stop T migrate cont" } },
  { QSNAP_SNAPSHOT_MODE_DISKS_ONLY, "disks-only", { "stop T cont", "stop T cont" } },
};

/* After a plain migration the only way to "paused" leads through "running". */
static const Memory left_paused[] = {
  { QSNAP_SNAPSHOT_MODE_INSTANT, "instant", { "stop T migrate cont stop", "stop T migrate" } },
  { QSNAP_SNAPSHOT_MODE_LIVE,
    "live",
    { "migrate T migrate-continue cont stop", "migrate T migrate-continue cont stop" } },
  { QSNAP_SNAPSHOT_MODE_STOPPED,
    "stopped",
    { "stop T migrate cont stop", "stop T migrate cont stop" } },
  { QSNAP_SNAPSHOT_MODE_DISKS_ONLY, "disks-only", { "stop T", "stop T" } },
};

static const Memory paused[] = {
  { QSNAP_SNAPSHOT_MODE_INSTANT, "instant", { "T migrate cont stop", "T migrate" } },
  { QSNAP_SNAPSHOT_MODE_LIVE, "live", { "T migrate cont stop", "T migrate cont stop" } },
  { QSNAP_SNAPSHOT_MODE_STOPPED, "stopped", { "T migrate cont stop", "T migrate cont stop" } },
  { QSNAP_SNAPSHOT_MODE_DISKS_ONLY, "disks-only", { "T", "T" } },
};

/* --- what is expected ---------------------------------------------------------------------- */

static char *
expected_commands (const Memory *memory, MockStyle style, const char *action, const char *more)
{
  g_auto (GStrv) words = g_strsplit (memory->commands[style == MOCK_STYLE_10], " ", -1);
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; words[i] != NULL; i++)
    {
      if (!g_str_equal (words[i], "T"))
        g_string_append_printf (text, "%s%s", text->len > 0 ? " " : "", words[i]);
      else if (action != NULL)
        g_string_append_printf (text, "%stransaction(%s)", text->len > 0 ? " " : "", action);
    }
  g_string_append (text, more);
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static void
assert_commands (Fixture *fixture, const char *expected)
{
  g_autofree char *commands = modes_dup_commands (fixture);

  g_assert_cmpstr (commands, ==, expected);
}

static void
assert_member (QsnapSnapshot *snapshot, const char *path, const char *expected)
{
  g_autofree char *found = modes_dup_member (snapshot, path);

  if (g_strcmp0 (found, expected) != 0)
    g_error ("%s is %s, not %s", path, found, expected);
}

/* Which members a disk of the mode has, and which it has not. */
static void
assert_manifest (Fixture *fixture, QsnapSnapshot *snapshot, QsnapDiskMode mode, const char *nick)
{
  g_autofree char *image = fixture_path (fixture, "a.qcow2");
  g_autofree char *overlay = modes_dup_member (snapshot, "disks.0.overlay.file");
  g_autofree char *internal = modes_dup_member (snapshot, "disks.0.base.snapshot");
  g_autofree char *source = modes_dup_member (snapshot, "disks.0.source.file");
  gboolean in_new = mode == QSNAP_DISK_MODE_CLONE || mode == QSNAP_DISK_MODE_COPY;

  assert_member (snapshot, "disks.0.device", "virtio0");
  assert_member (snapshot, "disks.0.node", "disk0");
  assert_member (snapshot, "disks.0.mode", nick);
  assert_member (snapshot, "disks.0.size", "1048576");
  assert_member (snapshot, "disks.0.base.file", in_new ? "disks/disk0.qcow2" : image);
  assert_member (snapshot, "disks.0.base.format", "qcow2");
  g_assert_cmpstr (source, ==, in_new ? image : NULL);
  g_assert_true ((overlay != NULL) == (mode == QSNAP_DISK_MODE_OVERLAY));
  g_assert_true ((internal != NULL) == (mode == QSNAP_DISK_MODE_INTERNAL));
}

/* Only overlays and snapshots inside an image change the guest's graph. */
static void
assert_graph (Fixture *fixture, QsnapDiskMode mode, const char *before)
{
  g_autofree char *after = mock_dup_graph (fixture->mock);

  if (mode == QSNAP_DISK_MODE_OVERLAY)
    g_assert_nonnull (strstr (after, "virtio0=qsnap-"));
  else if (mode == QSNAP_DISK_MODE_INTERNAL)
    g_assert_nonnull (strstr (after, "a.qcow2)@qsnap-"));
  else
    g_assert_cmpstr (after, ==, before);
}

static void
assert_settings (Fixture *fixture, const char *before, const char *state)
{
  g_autofree char *after = fixture_describe_settings (fixture);
  g_autofree char *start = g_strdup_printf ("state %s;", state);

  g_assert_true (g_str_has_prefix (after, start));
  g_assert_cmpstr (strchr (after, ';'), ==, strchr (before, ';'));
  g_assert_cmpuint (mock_get_n_fds_stray (fixture->mock), ==, 0);
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

/* --- all with all -------------------------------------------------------------------------- */

static void
try_modes (MockStyle style, const Memory *memory, const char *state, guint disk)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *settings = NULL, *graph = NULL, *expected = NULL;
  g_autoptr (GError) error = NULL;

  g_test_message ("%s guest, %s, %s", state, memory->nick, disk_modes[disk].nick);
  modes_set_up (&fixture, style, 1);
  mock_set_run_state (fixture.mock, state);
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  graph = mock_dup_graph (fixture.mock);
  options = modes_options (&fixture, memory->mode, disk_modes[disk].mode);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  g_assert_false (mock_is_torn (fixture.mock));
  expected = expected_commands (memory, style, disk_modes[disk].action, "");
  assert_commands (&fixture, expected);
  g_assert_cmpstr (fixture.news->str, ==, disk_modes[disk].news);
  assert_member (snapshot, "mode", memory->nick);
  assert_manifest (&fixture, snapshot, disk_modes[disk].mode, disk_modes[disk].nick);
  assert_graph (&fixture, disk_modes[disk].mode, graph);
  fixture_assert_graph_whole (&fixture);
  assert_settings (&fixture, settings, state);
  g_assert_cmpuint (modes_n_clones, ==, disk_modes[disk].mode == QSNAP_DISK_MODE_CLONE ? 2 : 0);
  assert_verifies (snapshot);
  fixture_clear (&fixture);
}

static gboolean
is_refused (const Memory *memory, QsnapDiskMode mode)
{
  return (memory->mode == QSNAP_SNAPSHOT_MODE_LIVE && mode == QSNAP_DISK_MODE_COPY) ||
         (memory->mode == QSNAP_SNAPSHOT_MODE_DISKS_ONLY && mode == QSNAP_DISK_MODE_EXCLUDE);
}

static void
test_running (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (running); i++)
    for (guint j = 0; j < G_N_ELEMENTS (disk_modes); j++)
      if (!is_refused (&running[i], disk_modes[j].mode))
        try_modes (GPOINTER_TO_INT (style), &running[i], "running", j);
}

static void
test_paused (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (paused); i++)
    try_modes (GPOINTER_TO_INT (style), &paused[i], "paused", i % 2 == 0 ? 2 : 3);
}

/* --- what becomes of the guest ------------------------------------------------------------- */

static gboolean
has_exited (MockQemu *mock, G_GNUC_UNUSED gpointer user_data)
{
  return mock_has_exited (mock);
}

static void
try_leave (MockStyle style, const Memory *memory, QsnapLeave leave)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *settings = NULL, *expected = NULL;
  gboolean quits = leave == QSNAP_LEAVE_QUIT;
  g_autoptr (GError) error = NULL;

  g_test_message ("%s, leave %s", memory->nick, quits ? "quit" : "paused");
  modes_set_up (&fixture, style, 1);
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  options = modes_options (&fixture, memory->mode, QSNAP_DISK_MODE_INTERNAL);
  qsnap_snapshot_options_set_leave (options, leave);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  expected =
      expected_commands (memory, style, "blockdev-snapshot-internal-sync", quits ? " quit" : "");
  assert_commands (&fixture, expected);
  g_assert_true (g_str_has_prefix (fixture.news->str, " point memory"));
  g_assert_cmpint (mock_wait (fixture.mock, has_exited, NULL, quits ? WAIT : 0), ==, quits);
  if (!quits)
    assert_settings (&fixture, settings, "paused");
  g_assert_false (mock_is_hung (fixture.mock));
  g_assert_false (mock_is_torn (fixture.mock));
  fixture_clear (&fixture);
}

static void
test_leave (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (left_paused); i++)
    {
      try_leave (GPOINTER_TO_INT (style), &left_paused[i], QSNAP_LEAVE_PAUSED);
      try_leave (GPOINTER_TO_INT (style), &left_paused[i], QSNAP_LEAVE_QUIT);
    }
}

/* --- fallback ------------------------------------------------------------------------------ */

static void
try_fallback (MockStyle style, const Memory *memory)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *warnings = NULL, *text = NULL, *expected = NULL, *settings = NULL;
  gboolean refused = memory->mode == QSNAP_SNAPSHOT_MODE_INSTANT;
  g_autoptr (GError) error = NULL;

  g_test_message ("fallback %s", memory->nick);
  modes_set_up (&fixture, style, 1);
  mock_refuse_capability (fixture.mock, "background-snapshot");
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_INSTANT, QSNAP_DISK_MODE_INTERNAL);
  qsnap_snapshot_options_set_fallback (options, memory->mode);
  snapshot = modes_capture (&fixture, options, &error);
  if (refused)
    {
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
      assert_commands (&fixture, "");
    }
  else
    {
      g_assert_no_error (error);
      expected = expected_commands (memory, style, "blockdev-snapshot-internal-sync", "");
      assert_commands (&fixture, expected);
      assert_member (snapshot, "mode", memory->nick);
      warnings = modes_dup_member (snapshot, "warnings");
      text = g_strdup_printf ("the mode is %s: ", memory->nick);
      g_assert_nonnull (strstr (warnings, text));
      g_assert_nonnull (strstr (warnings, "does not support background-snapshot"));
    }
  assert_settings (&fixture, settings, "running");
  fixture_clear (&fixture);
}

static void
test_fallback (gconstpointer style)
{
  for (guint i = 0; i < G_N_ELEMENTS (running); i++)
    try_fallback (GPOINTER_TO_INT (style), &running[i]);
}

/* --- a guest that writes faster than its memory is saved ----------------------------------- */

static void
test_endless (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *warnings = NULL, *settings = NULL;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  mock_set_endless (fixture.mock, TRUE);
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_LIVE, QSNAP_DISK_MODE_OVERLAY);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  assert_commands (&fixture, "migrate stop transaction(blockdev-snapshot) migrate-continue cont");
  warnings = modes_dup_member (snapshot, "warnings");
  g_assert_nonnull (strstr (warnings, "it was stopped after"));
  assert_settings (&fixture, settings, "running");
  g_assert_false (mock_is_torn (fixture.mock));
  fixture_clear (&fixture);
}

/* --- copies of a guest that stands still --------------------------------------------------- */

static void
note_jobs (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer user_data)
{
  *(guint *)user_data += mock_get_n_jobs (mock);
}

/* QEMU does not end a migration while a job writes. */
static void
test_copies_first (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  guint n_jobs = 0;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  mock_set_job_delay (fixture.mock, 50);
  mock_on_command (fixture.mock, "migrate", note_jobs, &n_jobs);
  fixture_open (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_STOPPED, QSNAP_DISK_MODE_COPY);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (n_jobs, ==, 0);
  fixture_clear (&fixture);
}

/* --- file systems -------------------------------------------------------------------------- */

typedef struct
{
  AgentPeer peer;
  guint n_frozen;
} Quiesce;

static void
note_frozen (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer user_data)
{
  Quiesce *quiesce = user_data;

  quiesce->n_frozen += quiesce->peer.frozen ? 1 : 0;
}

/* Frozen from before the stop until after `cont`, when the guest can answer. */
static void
test_quiesce (gconstpointer style)
{
  static const char *const commands[] = { "stop", "transaction", "cont" };
  Fixture fixture;
  Quiesce quiesce = { 0 };
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *settings = NULL;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  agent_peer_start (&quiesce.peer, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    mock_on_command (fixture.mock, commands[i], note_frozen, &quiesce);
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_OVERLAY);
  qsnap_snapshot_options_set_quiesce (options, quiesce.peer.path);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  assert_commands (&fixture, "stop transaction(blockdev-snapshot) cont");
  g_assert_cmpuint (quiesce.n_frozen, ==, 3);
  assert_settings (&fixture, settings, "running");
  agent_peer_finish (&quiesce.peer, NULL, "*freeze*thaw*");
  fixture_clear (&fixture);
}

/* --- options of a disk --------------------------------------------------------------------- */

static QsnapDiskOptions *
add_disk (QsnapSnapshotOptions *options, const char *disk, QsnapDiskMode mode)
{
  g_autoptr (QsnapDiskOptions) one = qsnap_disk_options_new (disk, mode);

  qsnap_snapshot_options_add_disk (options, one);
  return one;
}

/* Each with a mode of its own, in one transaction. */
static void
test_mixed (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *file = NULL, *settings = NULL;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, GPOINTER_TO_INT (style), 6);
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_INSTANT, QSNAP_DISK_MODE_OVERLAY);
  file = fixture_path (&fixture, "d.qcow2");
  add_disk (options, "virtio1", QSNAP_DISK_MODE_CLONE);
  add_disk (options, "/machine/peripheral-anon/device[2]", QSNAP_DISK_MODE_COPY);
  add_disk (options, file, QSNAP_DISK_MODE_INTERNAL);
  add_disk (options, "disk4", QSNAP_DISK_MODE_EXCLUDE);
  add_disk (options, "virtio5", QSNAP_DISK_MODE_AUTO);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (mock_count_command (fixture.mock, "transaction"), ==, 1);
  assert_member (snapshot, "disks.0.mode", "overlay");
  assert_member (snapshot, "disks.1.mode", "clone");
  assert_member (snapshot, "disks.2.mode", "copy");
  assert_member (snapshot, "disks.3.mode", "internal");
  assert_member (snapshot, "disks.4.mode", "exclude");
  assert_member (snapshot, "disks.5.mode", "clone");
  g_assert_cmpstr (fixture.news->str, ==, " point disks memory");
  assert_settings (&fixture, settings, "running");
  assert_verifies (snapshot);
  fixture_clear (&fixture);
}

/* One that cannot be cloned: none is. */
static void
test_auto (void)
{
  static const guint errors_from[] = { 0, 1, 2 };

  for (guint i = 0; i < G_N_ELEMENTS (errors_from); i++)
    {
      Fixture fixture;
      g_autoptr (QsnapSnapshotOptions) options = NULL;
      g_autoptr (QsnapSnapshot) snapshot = NULL;
      const char *mode = errors_from[i] == 0 ? "clone" : "overlay";
      g_autoptr (GError) error = NULL;

      modes_set_up (&fixture, MOCK_STYLE_10, 2);
      modes_clone_error = errors_from[i] == 0 ? 0 : EOPNOTSUPP;
      modes_clone_error_from = errors_from[i];
      fixture_open (&fixture);
      options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_AUTO);
      snapshot = modes_capture (&fixture, options, &error);
      g_assert_no_error (error);
      assert_member (snapshot, "disks.0.mode", mode);
      assert_member (snapshot, "disks.1.mode", mode);
      fixture_clear (&fixture);
    }
}

static void
test_bitmaps (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *graph = NULL;
  g_autoptr (GError) error = NULL;
  char *overlay, *base;

  modes_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  mock_add_bitmap (fixture.mock, "disk0",
                   "{\"name\": \"kept\", \"recording\": true, \"persistent\": true, \"busy\": "
                   "false, \"granularity\": 32768, \"count\": 0}");
  mock_add_bitmap (fixture.mock, "disk0",
                   "{\"name\": \"volatile\", \"recording\": true, \"persistent\": false, \"busy\": "
                   "false, \"granularity\": 65536, \"count\": 0}");
  mock_add_bitmap (fixture.mock, "disk0",
                   "{\"name\": \"broken\", \"recording\": false, \"persistent\": true, \"busy\": "
                   "false, \"granularity\": 65536, \"count\": 0, \"inconsistent\": true}");
  fixture_open (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_OVERLAY);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  assert_commands (&fixture, "stop transaction(blockdev-snapshot block-dirty-bitmap-add) cont");
  graph = mock_dup_graph (fixture.mock);
  base = strstr (graph, "<-disk0");
  g_assert_nonnull (base);
  g_assert_nonnull (strstr (base, "+kept+volatile+broken"));
  *base = '\0';
  overlay = strchr (graph, '+');
  g_assert_cmpstr (overlay, ==, "+kept");
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

static void
try_top (QsnapCopySync sync)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (JsonObject) create = NULL, transaction = NULL;
  g_autofree char *below = NULL, *quoted = NULL;
  JsonObject *made, *data;
  gboolean top = sync == QSNAP_COPY_SYNC_TOP;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  below = fixture_path (&fixture, "below.qcow2");
  mock_make_qcow2 (below, 1024 * 1024, NULL, NULL);
  mock_add_backing (fixture.mock, "disk0", "qcow2", below);
  fixture_open (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_OVERLAY);
  qsnap_disk_options_set_sync (add_disk (options, "disk0", QSNAP_DISK_MODE_COPY), sync);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  create = mock_dup_arguments (fixture.mock, "blockdev-create", 1);
  made = json_object_get_object_member (create, "options");
  transaction = mock_dup_arguments (fixture.mock, "transaction", 1);
  data = json_object_get_object_member (
      json_array_get_object_element (json_object_get_array_member (transaction, "actions"), 0),
      "data");
  g_assert_cmpstr (json_object_get_string_member (data, "sync"), ==, top ? "top" : "full");
  g_assert_cmpstr (json_object_get_string_member_with_default (made, "backing-file", NULL), ==,
                   top ? below : NULL);
  quoted = g_strdup_printf ("[\"%s\"]", below);
  assert_member (snapshot, "disks.0.source.chain", quoted);
  assert_member (snapshot, "disks.0.base.chain", top ? quoted : NULL);
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

static void
test_sync (void)
{
  try_top (QSNAP_COPY_SYNC_FULL);
  try_top (QSNAP_COPY_SYNC_TOP);
}

/* A clone stands on what the guest's image stands on, which its header does not say right. */
static void
test_clone_with_backing (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autofree char *below = NULL;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  below = fixture_make_image (&fixture, "below.raw", 1024 * 1024);
  mock_add_backing (fixture.mock, "disk0", "raw", below);
  fixture_open (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_CLONE);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  assert_member (snapshot, "disks.0.base.backing.file", below);
  assert_member (snapshot, "disks.0.base.backing.format", "raw");
  assert_verifies (snapshot);
  fixture_clear (&fixture);
}

/* Where the caller says, as QEMU is told it. */
static void
try_target (QsnapDiskMode mode)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (JsonNode) target = NULL;
  g_autofree char *path = NULL, *text = NULL, *settings = NULL, *graph = NULL;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  path = fixture_make_image (&fixture, "target", 1024 * 1024);
  text = g_strdup_printf ("{\"driver\":\"file\",\"filename\":\"%s\"}", path);
  target = json_from_string (text, NULL);
  fixture_open (&fixture);
  settings = fixture_describe_settings (&fixture);
  graph = mock_dup_graph (fixture.mock);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_EXCLUDE);
  qsnap_disk_options_set_target (add_disk (options, "disk0", mode), target);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  if (mode == QSNAP_DISK_MODE_COPY)
    {
      assert_member (snapshot, "disks.0.base.options", text);
      assert_member (snapshot, "disks.0.base.file", NULL);
      assert_member (snapshot, "disks.0.base.format", "raw");
    }
  else
    {
      assert_member (snapshot, "disks.0.overlay.options", text);
      assert_member (snapshot, "disks.0.overlay.file", NULL);
    }
  assert_graph (&fixture, mode, graph);
  assert_settings (&fixture, settings, "running");
  fixture_clear (&fixture);
}

static void
test_target (void)
{
  try_target (QSNAP_DISK_MODE_COPY);
  try_target (QSNAP_DISK_MODE_OVERLAY);
}

/* Named by the caller; it has to be absent, or to be what it should be. */
static void
try_file (QsnapDiskMode mode)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GFile) file = NULL;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  file = fixture_file (&fixture, "mine.img");
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_EXCLUDE);
  qsnap_disk_options_set_file (add_disk (options, "disk0", mode), file);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  assert_member (snapshot,
                 mode == QSNAP_DISK_MODE_COPY ? "disks.0.base.file" : "disks.0.overlay.file",
                 g_file_peek_path (file));
  g_assert_true (g_file_query_exists (file, NULL));
  assert_verifies (snapshot);
  fixture_clear (&fixture);
}

static void
test_file (void)
{
  try_file (QSNAP_DISK_MODE_COPY);
  try_file (QSNAP_DISK_MODE_OVERLAY);
}

/* --- progress ------------------------------------------------------------------------------ */

static void
on_progress (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer user_data)
{
  guint64 done = qsnap_session_get_disk_bytes_done (session);
  guint64 *last = user_data;

  g_assert_cmpuint (done, >=, *last);
  g_assert_cmpuint (done, <=, qsnap_session_get_disk_bytes_total (session));
  *last = done;
}

static void
test_progress (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  guint64 last = 0;
  g_autoptr (GError) error = NULL;

  modes_set_up (&fixture, GPOINTER_TO_INT (style), 2);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "notify::disk-bytes-done", G_CALLBACK (on_progress), &last);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_COPY);
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (last, ==, 2 * 1024 * 1024);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;
  fixture_add ("/modes/running", test_running);
  fixture_add ("/modes/paused", test_paused);
  fixture_add ("/modes/leave", test_leave);
  fixture_add ("/modes/fallback", test_fallback);
  fixture_add ("/modes/endless", test_endless);
  fixture_add ("/modes/copies-first", test_copies_first);
  fixture_add ("/modes/quiesce", test_quiesce);
  fixture_add ("/modes/mixed", test_mixed);
  g_test_add_func ("/modes/auto", test_auto);
  fixture_add ("/modes/bitmaps", test_bitmaps);
  g_test_add_func ("/modes/sync", test_sync);
  g_test_add_func ("/modes/clone-with-backing", test_clone_with_backing);
  g_test_add_func ("/modes/target", test_target);
  g_test_add_func ("/modes/file", test_file);
  fixture_add ("/modes/progress", test_progress);
  return g_test_run ();
}
