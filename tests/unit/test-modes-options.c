/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options that contradict each other, or name what is not there: refused with the reason, before
 * anything of QEMU is changed. */

#include "modes-case.h"

#include <errno.h>
#include <string.h>

#define TARGET "{\"driver\":\"null-co\"}"

/* What is not said is as by default. */
typedef struct
{
  QsnapSnapshotMode mode, fallback;
  QsnapLeave leave;
  QsnapCompression compression;
  const char *quiesce;
  guint max_pause_ms, max_stall_ms, max_chain_length;
  QsnapDiskMode disk_mode;

  /* Of virtio0. */
  QsnapDiskMode one_mode;
  const char *file, *target;
  gboolean reuse;
  QsnapCopySync sync;

  const char *reason;
} Row;

static const Row rows[] = {
  { .quiesce = "/nowhere", .reason = "quiesce is for mode disks-only" },
  { .quiesce = "/nowhere",
    .mode = QSNAP_SNAPSHOT_MODE_DISKS_ONLY,
    .leave = QSNAP_LEAVE_PAUSED,
    .reason = "quiesce and leave" },
  { .quiesce = "/nowhere",
    .mode = QSNAP_SNAPSHOT_MODE_DISKS_ONLY,
    .leave = QSNAP_LEAVE_QUIT,
    .reason = "quiesce and leave" },
  { .mode = QSNAP_SNAPSHOT_MODE_LIVE,
    .fallback = QSNAP_SNAPSHOT_MODE_STOPPED,
    .reason = "fallback is for mode instant" },
  { .max_pause_ms = 1000,
    .mode = QSNAP_SNAPSHOT_MODE_STOPPED,
    .reason = "max-pause-ms and mode stopped" },
  { .max_pause_ms = 1000,
    .fallback = QSNAP_SNAPSHOT_MODE_STOPPED,
    .reason = "max-pause-ms and mode stopped" },
  { .max_pause_ms = 1000, .leave = QSNAP_LEAVE_PAUSED, .reason = "max-pause-ms and leave" },
  { .max_pause_ms = 1000, .leave = QSNAP_LEAVE_QUIT, .reason = "max-pause-ms and leave" },
  { .max_chain_length = 3, .leave = QSNAP_LEAVE_QUIT, .reason = "max-chain-length and leave quit" },
  { .max_stall_ms = 1000,
    .mode = QSNAP_SNAPSHOT_MODE_DISKS_ONLY,
    .reason = "max-stall-ms and mode disks-only" },
  { .compression = QSNAP_COMPRESSION_ZSTD,
    .mode = QSNAP_SNAPSHOT_MODE_DISKS_ONLY,
    .reason = "compression and mode disks-only" },
  { .mode = QSNAP_SNAPSHOT_MODE_LIVE,
    .disk_mode = QSNAP_DISK_MODE_COPY,
    .reason = "mode live and disk mode copy" },
  { .mode = QSNAP_SNAPSHOT_MODE_LIVE,
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "mode live and disk mode copy" },
  { .fallback = QSNAP_SNAPSHOT_MODE_LIVE,
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "mode live and disk mode copy" },

  { .file = "file:///nowhere/x",
    .one_mode = QSNAP_DISK_MODE_CLONE,
    .reason = "file is for disk mode overlay or copy" },
  { .file = "file:///nowhere/x",
    .one_mode = QSNAP_DISK_MODE_AUTO,
    .reason = "file is for disk mode overlay or copy" },
  { .file = "sftp://nowhere/x",
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "file has to be a local file" },
  { .file = "file:///nowhere/%ff",
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "file has to be a local file" },
  { .reuse = TRUE, .reason = "reuse is for disk mode overlay" },
  { .reuse = TRUE,
    .file = "file:///nowhere/x",
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "reuse is for disk mode overlay" },
  { .target = TARGET,
    .one_mode = QSNAP_DISK_MODE_INTERNAL,
    .reason = "target is for disk mode overlay or copy" },
  { .target = TARGET, .file = "file:///nowhere/x", .reason = "file and target" },
  { .target = "{\"filename\":\"/x\"}",
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "target has to be an object" },
  { .target = "{\"driver\":\"null-co\",\"node-name\":\"x\"}",
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "target has to be an object" },
  { .target = "[]", .one_mode = QSNAP_DISK_MODE_COPY, .reason = "target has to be an object" },
  { .sync = QSNAP_COPY_SYNC_TOP, .reason = "sync top is for disk mode copy" },
  { .sync = QSNAP_COPY_SYNC_TOP,
    .target = TARGET,
    .one_mode = QSNAP_DISK_MODE_COPY,
    .reason = "sync top and target" },
};

static QsnapDiskOptions *
new_disk (const Row *row)
{
  QsnapDiskOptions *disk = qsnap_disk_options_new ("virtio0", row->one_mode);
  g_autoptr (GFile) file = row->file != NULL ? g_file_new_for_uri (row->file) : NULL;
  g_autoptr (JsonNode) target = row->target != NULL ? json_from_string (row->target, NULL) : NULL;

  qsnap_disk_options_set_file (disk, file);
  qsnap_disk_options_set_target (disk, target);
  qsnap_disk_options_set_reuse (disk, row->reuse);
  qsnap_disk_options_set_sync (disk, row->sync);
  return disk;
}

static QsnapSnapshotOptions *
new_options (Fixture *fixture, const Row *row)
{
  QsnapSnapshotOptions *options = modes_options (fixture, row->mode, row->disk_mode);
  g_autoptr (QsnapDiskOptions) disk = new_disk (row);

  qsnap_snapshot_options_set_fallback (options, row->fallback);
  qsnap_snapshot_options_set_leave (options, row->leave);
  qsnap_snapshot_options_set_compression (options, row->compression);
  qsnap_snapshot_options_set_quiesce (options, row->quiesce);
  qsnap_snapshot_options_set_max_pause_ms (options, row->max_pause_ms);
  qsnap_snapshot_options_set_max_stall_ms (options, row->max_stall_ms);
  qsnap_snapshot_options_set_max_chain_length (options, row->max_chain_length);
  qsnap_snapshot_options_add_disk (options, disk);
  return options;
}

/* --- each ---------------------------------------------------------------------------------- */

/* The check says it, and the capture; nothing else happens. */
static void
assert_refused (
    Fixture *fixture, QsnapSnapshotOptions *options, GQuark domain, int code, const char *reason)
{
  g_autofree char *before = fixture_describe (fixture);
  g_autofree char *after = NULL, *all = NULL, *commands = NULL;
  g_autoptr (QsnapReport) report = NULL;
  g_auto (GStrv) problems = NULL;
  g_autoptr (GError) error = NULL;

  report = qsnap_session_check (fixture->session, options, NULL, &error);
  g_assert_no_error (error);
  problems = qsnap_report_get_problems (report);
  all = g_strjoinv ("; ", problems);
  g_test_message ("%s", all);
  if (strstr (all, reason) == NULL)
    g_error ("\"%s\" is not in: %s", reason, all);
  g_assert_null (modes_capture (fixture, options, &error));
  if (!g_error_matches (error, domain, code))
    g_error ("another code than %s %d: %s", g_quark_to_string (domain), code, error->message);
  g_assert_nonnull (strstr (error->message, reason));
  g_assert_cmpstr (fixture->news->str, ==, "");
  after = fixture_describe (fixture);
  g_assert_cmpstr (after, ==, before);
  commands = modes_dup_commands (fixture);
  g_assert_cmpstr (commands, ==, "");
}

static void
test_contradictions (void)
{
  Fixture fixture;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  mock_clear_transcript (fixture.mock);
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autoptr (QsnapSnapshotOptions) options = new_options (&fixture, &rows[i]);
      g_auto (GStrv) lines = NULL;

      assert_refused (&fixture, options, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, rows[i].reason);
      lines = mock_dup_transcript (fixture.mock);
      g_assert_cmpuint (g_strv_length (lines), ==, 0);
    }
  fixture_clear (&fixture);
}

/* All of them at once are all told. */
static void
test_all_reasons (void)
{
  static const Row row = { .quiesce = "/nowhere",
                           .max_pause_ms = 1000,
                           .leave = QSNAP_LEAVE_PAUSED,
                           .file = "file:///nowhere/x",
                           .one_mode = QSNAP_DISK_MODE_CLONE };
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  options = new_options (&fixture, &row);
  assert_refused (&fixture, options, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                  "max-pause-ms and leave");
  assert_refused (&fixture, options, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                  "quiesce is for mode disks-only");
  assert_refused (&fixture, options, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                  "disk virtio0: file is for disk mode overlay or copy");
  fixture_clear (&fixture);
}

/* --- against the guest --------------------------------------------------------------------- */

static void
add_disk (QsnapSnapshotOptions *options, const char *name, QsnapDiskMode mode)
{
  g_autoptr (QsnapDiskOptions) disk = qsnap_disk_options_new (name, mode);

  qsnap_snapshot_options_add_disk (options, disk);
}

/* Each by all of its names, however often. */
static void
test_names (void)
{
  static const char *const others[] = { "/machine/peripheral-anon/device[0]", "disk0", NULL };

  for (guint i = 0; i < G_N_ELEMENTS (others); i++)
    {
      Fixture fixture;
      g_autoptr (QsnapSnapshotOptions) options = NULL;
      g_autofree char *file = NULL;

      modes_set_up (&fixture, MOCK_STYLE_10, 2);
      fixture_open (&fixture);
      file = fixture_path (&fixture, "a.qcow2");
      options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_OVERLAY);
      add_disk (options, "virtio0", QSNAP_DISK_MODE_CLONE);
      add_disk (options, others[i] != NULL ? others[i] : file, QSNAP_DISK_MODE_COPY);
      assert_refused (&fixture, options, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                      "the disk virtio0 is named twice: as \"virtio0\", and as ");
      fixture_clear (&fixture);
    }
}

static void
try_unknown (const char *name)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autofree char *cd = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  cd = fixture_make_image (&fixture, "cd.iso", 65536);
  mock_add_drive (fixture.mock, "cd0", "/machine/unattached/device[9]", "cdnode", "raw", cd);
  mock_set_node_read_only (fixture.mock, "cdnode", TRUE);
  mock_add_empty_drive (fixture.mock, "floppy0", NULL);
  fixture_open (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_INSTANT, QSNAP_DISK_MODE_OVERLAY);
  add_disk (options, name, QSNAP_DISK_MODE_EXCLUDE);
  assert_refused (&fixture, options, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                  "the guest has no writable disk");
  fixture_clear (&fixture);
}

static void
test_unknown (void)
{
  static const char *const names[] = { "virtio1", "cd0", "cdnode", "floppy0", "", "/nowhere" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    try_unknown (names[i]);
}

/* Without memory and without a disk there is nothing, whoever chose it. */
static void
test_nothing_left (void)
{
  for (guint by_fallback = 0; by_fallback < 2; by_fallback++)
    {
      Fixture fixture;
      g_autoptr (QsnapSnapshotOptions) options = NULL;

      modes_set_up (&fixture, MOCK_STYLE_10, 1);
      if (by_fallback)
        mock_refuse_capability (fixture.mock, "background-snapshot");
      fixture_open (&fixture);
      options = modes_options (
          &fixture, by_fallback ? QSNAP_SNAPSHOT_MODE_INSTANT : QSNAP_SNAPSHOT_MODE_DISKS_ONLY,
          QSNAP_DISK_MODE_EXCLUDE);
      if (by_fallback)
        qsnap_snapshot_options_set_fallback (options, QSNAP_SNAPSHOT_MODE_DISKS_ONLY);
      assert_refused (&fixture, options, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                      "there is nothing to capture");
      fixture_clear (&fixture);
    }
}

/* --- what an image cannot do --------------------------------------------------------------- */

static void
try_image (const char *driver, QsnapDiskMode mode, int clone_error, const char *reason)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autofree char *image = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 0);
  image = fixture_make_image (&fixture, "x.img", 1024 * 1024);
  mock_add_drive (fixture.mock, "x", NULL, "xnode", driver, image);
  modes_clone_error = clone_error;
  fixture_open (&fixture);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, mode);
  assert_refused (&fixture, options, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, reason);
  fixture_clear (&fixture);
}

static void
test_images (void)
{
  try_image ("raw", QSNAP_DISK_MODE_INTERNAL, 0, "only a qcow2 image has internal snapshots");
  try_image ("vmdk", QSNAP_DISK_MODE_INTERNAL, 0, "only a qcow2 image has internal snapshots");
  try_image ("vmdk", QSNAP_DISK_MODE_CLONE, 0, "only raw and qcow2 images in a file are cloned");
  try_image ("raw", QSNAP_DISK_MODE_CLONE, EOPNOTSUPP, "both have to be on one XFS");
  try_image ("raw", QSNAP_DISK_MODE_CLONE, EXDEV, "both have to be on one XFS");
  try_image ("raw", QSNAP_DISK_MODE_CLONE, EINVAL, "must not be NOCOW");
  try_image ("throttle", QSNAP_DISK_MODE_OVERLAY, 0, "which an overlay cannot stand on");
}

/* All that a qcow2 image is is not in its file. */
static void
test_data_file (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autofree char *image = NULL, *reply = NULL;

  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  image = fixture_path (&fixture, "a.qcow2");
  reply = g_strdup_printf (
      "[{\"device\": \"virtio0\", \"locked\": false, \"removable\": false, \"type\": \"unknown\", "
      "\"inserted\": {\"node-name\": \"disk0\", \"drv\": \"qcow2\", \"ro\": false, \"file\": "
      "\"%s\", \"image\": {\"virtual-size\": 1048576, \"filename\": \"%s\", \"format\": \"qcow2\", "
      "\"format-specific\": {\"type\": \"qcow2\", \"data\": {\"compat\": \"1.1\", \"data-file\": "
      "\"/elsewhere\"}}}}}]",
      image, image);
  mock_set_reply (fixture.mock, "query-block", reply);
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_CLONE);
  assert_refused (&fixture, options, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "data file");
  fixture_clear (&fixture);
}

/* --- an overlay that is there already ------------------------------------------------------ */

static gboolean
make_image (Fixture *fixture, const char *words)
{
  g_autofree char *command = g_strdup_printf ("qemu-img create -q %s", words);
  const char *const argv[] = { "sh", "-c", command, NULL };
  int status;

  return g_spawn_sync (mock_get_directory (fixture->mock), (char **)argv, NULL,
                       G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
                           G_SPAWN_STDERR_TO_DEV_NULL,
                       NULL, NULL, NULL, NULL, &status, NULL) &&
         g_spawn_check_wait_status (status, NULL);
}

/* @words for qemu-img; @reason is NULL where it can be used. */
static void
try_reuse (const char *words, const char *reason)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapDiskOptions) disk = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GFile) file = NULL;
  g_autofree char *node = NULL;
  g_autoptr (GError) error = NULL;

  g_test_message ("--- %s", words);
  modes_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  if (!make_image (&fixture, words))
    {
      g_test_skip ("no qemu-img");
      fixture_clear (&fixture);
      return;
    }
  options = modes_options (&fixture, QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_OVERLAY);
  disk = qsnap_disk_options_new ("disk0", QSNAP_DISK_MODE_OVERLAY);
  file = fixture_file (&fixture, "mine");
  qsnap_disk_options_set_file (disk, file);
  qsnap_disk_options_set_reuse (disk, TRUE);
  qsnap_snapshot_options_add_disk (options, disk);
  if (reason != NULL)
    {
      assert_refused (&fixture, options, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, reason);
      fixture_clear (&fixture);
      return;
    }

  /* First it fails, and is there all the same. */
  mock_fail_command (fixture.mock, "transaction", 1, "GenericError", "injected");
  g_assert_null (modes_capture (&fixture, options, &error));
  g_assert_nonnull (strstr (error->message, "injected"));
  g_clear_error (&error);
  g_assert_true (g_file_query_exists (file, NULL));
  snapshot = modes_capture (&fixture, options, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (mock_count_command (fixture.mock, "blockdev-create"), ==, 0);
  node = mock_dup_drive_node (fixture.mock, "virtio0");
  g_assert_true (g_str_has_prefix (node, "qsnap-"));
  fixture_clear (&fixture);
}

static void
test_reuse (void)
{
  try_reuse ("-f qcow2 -F qcow2 -b $PWD/a.qcow2 mine", NULL);
  try_reuse ("-f raw mine 1M", "it is not qcow2");
  try_reuse ("-f qcow2 -F qcow2 -b $PWD/a.qcow2 mine 2M", "it has another size than the disk");
  try_reuse ("-f qcow2 mine 1M", "its backing file is not the guest's image");
  try_reuse ("-f qcow2 -u -F qcow2 -b /etc/passwd mine 1M",
             "its backing file is not the guest's image");
  try_reuse ("-f qcow2 -u -F raw -b $PWD/a.qcow2 mine 1M", "the right format of its backing file");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/options/contradictions", test_contradictions);
  g_test_add_func ("/options/all-reasons", test_all_reasons);
  g_test_add_func ("/options/names", test_names);
  g_test_add_func ("/options/unknown", test_unknown);
  g_test_add_func ("/options/nothing-left", test_nothing_left);
  g_test_add_func ("/options/images", test_images);
  g_test_add_func ("/options/data-file", test_data_file);
  g_test_add_func ("/options/reuse", test_reuse);
  return g_test_run ();
}
