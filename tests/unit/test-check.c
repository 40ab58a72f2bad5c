/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every reason against a capture is found before anything is changed, and said. */

#include "fixture.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* --- helpers ------------------------------------------------------------------------------- */

/* The check has to say @pattern, and a capture has to fail with @code, the reason, and no trace. */
static void
assert_reason (
    Fixture *fixture, QsnapSnapshotOptions *options, GQuark domain, int code, const char *pattern)
{
  g_autofree char *before = fixture_describe (fixture);
  g_autofree char *after = NULL, *all = NULL;
  g_auto (GStrv) problems = NULL;
  g_autoptr (QsnapReport) report = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  report = qsnap_session_check (fixture->session, options, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (qsnap_report_get_ok (report));
  problems = qsnap_report_get_problems (report);
  all = g_strjoinv ("; ", problems);
  g_test_message ("%s", all);
  if (strstr (all, pattern) == NULL)
    g_error ("\"%s\" is not in: %s", pattern, all);

  snapshot = qsnap_session_instant_snapshot (fixture->session, options, NULL, &error);
  g_assert_null (snapshot);
  if (!g_error_matches (error, domain, code))
    g_error ("another code than %s %d: %s", g_quark_to_string (domain), code, error->message);
  g_assert_nonnull (strstr (error->message, pattern));
  g_assert_cmpstr (fixture->news->str, ==, "");
  after = fixture_describe (fixture);
  g_assert_cmpstr (after, ==, before);
}

typedef void (*SetUp) (Fixture *fixture);

typedef struct
{
  const char *name;
  SetUp set_up;
  QsnapError code;
  const char *pattern;
} Reason;

static void
try_reason (MockStyle style, const Reason *reason)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;

  g_test_message ("--- %s", reason->name);
  fixture_set_up (&fixture, style, 1);
  reason->set_up (&fixture);
  fixture_open (&fixture);
  options = fixture_options (&fixture, "snapshot");
  assert_reason (&fixture, options, QSNAP_ERROR, reason->code, reason->pattern);
  fixture_clear (&fixture);
}

/* --- a guest that can be captured ---------------------------------------------------------- */

static void
test_good (gconstpointer style)
{
  for (guint with = 0; with < 2; with++)
    {
      Fixture fixture;
      g_autoptr (QsnapReport) report = NULL;
      g_autoptr (QsnapSnapshotOptions) options = NULL;
      g_autofree char *before = NULL, *after = NULL;
      g_auto (GStrv) warnings = NULL;
      g_autoptr (GError) error = NULL;

      fixture_set_up (&fixture, GPOINTER_TO_INT (style), 2);
      fixture_open (&fixture);
      options = fixture_options (&fixture, "snapshot");
      before = fixture_describe (&fixture);
      report = qsnap_session_check (fixture.session, with ? options : NULL, NULL, &error);
      g_assert_no_error (error);
      g_assert_true (qsnap_report_get_ok (report));
      warnings = qsnap_report_get_warnings (report);
      g_assert_cmpuint (g_strv_length (warnings), ==, 0);
      after = fixture_describe (&fixture);
      g_assert_cmpstr (after, ==, before);
      g_assert_cmpuint (mock_count_command (fixture.mock, "stop"), ==, 0);
      fixture_assert_no_complaints (&fixture);
      fixture_clear (&fixture);
    }
}

static void
on_report (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (GError) error = NULL;

  *(QsnapReport **)user_data = qsnap_session_check_finish (QSNAP_SESSION (source), result, &error);
  g_assert_no_error (error);
}

static void
test_async (void)
{
  Fixture fixture;
  g_autoptr (QsnapReport) report = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  qsnap_session_check_async (fixture.session, NULL, NULL, on_report, &report);
  while (report == NULL)
    g_main_context_iteration (NULL, TRUE);
  g_assert_true (qsnap_report_get_ok (report));
  fixture_clear (&fixture);
}

/* --- run states ---------------------------------------------------------------------------- */

static void
test_run_states (gconstpointer style)
{
  static const char *const states[] = { "debug",          "inmigrate",   "internal-error",
                                        "io-error",       "postmigrate", "prelaunch",
                                        "finish-migrate", "restore-vm",  "save-vm",
                                        "shutdown",       "suspended",   "watchdog",
                                        "guest-panicked", "colo" };

  for (guint i = 0; i < G_N_ELEMENTS (states); i++)
    {
      Fixture fixture;
      g_autofree char *quoted = g_strdup_printf ("\"%s\"", states[i]);
      g_autoptr (QsnapSnapshotOptions) options = NULL;

      fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
      mock_set_run_state (fixture.mock, states[i]);
      fixture_open (&fixture);
      options = fixture_options (&fixture, "snapshot");
      assert_reason (&fixture, options, QSNAP_ERROR, QSNAP_ERROR_BLOCKED, quoted);
      fixture_clear (&fixture);
    }
}

/* --- what QEMU is doing, and can do -------------------------------------------------------- */

static void
set_up_migration (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-migrate", "{\"status\": \"active\"}");
}

static void
set_up_postcopy (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-migrate", "{\"status\": \"postcopy-paused\"}");
}

static void
set_up_blocker (Fixture *fixture)
{
  mock_add_migration_blocker (fixture->mock, "The vmware_vga device is not migratable");
}

static void
set_up_job (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-jobs",
                  "[{\"id\": \"mirror0\", \"type\": \"mirror\", \"status\": \"running\", "
                  "\"current-progress\": 0, \"total-progress\": 1}]");
}

static void
set_up_no_capability (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-migrate-capabilities",
                  "[{\"capability\": \"events\", \"state\": false}]");
}

static void
set_up_no_permission (Fixture *fixture)
{
  mock_fail_command (fixture->mock, "migrate-set-capabilities", 1, "GenericError",
                     "Background-snapshot is not supported by host kernel");
  mock_fail_command (fixture->mock, "migrate-set-capabilities", 3, "GenericError",
                     "Background-snapshot is not supported by host kernel");
}

static void
set_up_memory_file (Fixture *fixture)
{
  mock_fail_command (fixture->mock, "migrate-set-capabilities", 1, "GenericError",
                     "Background-snapshot is not compatible with guest memory configuration");
  mock_fail_command (fixture->mock, "migrate-set-capabilities", 3, "GenericError",
                     "Background-snapshot is not compatible with guest memory configuration");
}

static void
set_up_old (Fixture *fixture)
{
  mock_set_version (fixture->mock, 5, 2, 0, "old");
}

/* --- writers that QEMU does not see -------------------------------------------------------- */

static void
set_up_vhost_user (Fixture *fixture)
{
  mock_qom_add (fixture->mock, "/machine/peripheral/fs0", "vhost-user-fs-pci");
}

static void
set_up_anonymous_vhost_user (Fixture *fixture)
{
  mock_qom_add (fixture->mock, "/machine/peripheral-anon/device[7]", "vhost-user-blk-pci");
}

static void
set_up_ivshmem (Fixture *fixture)
{
  mock_qom_add (fixture->mock, "/machine/peripheral/shmem0", "ivshmem-plain");
}

static void
set_up_vfio (Fixture *fixture)
{
  mock_qom_add (fixture->mock, "/machine/peripheral/host0", "vfio-pci");
}

static void
set_up_vhost_user_object (Fixture *fixture)
{
  mock_qom_add (fixture->mock, "/objects/gpu", "vhost-user-backend");
}

static void
set_up_network (Fixture *fixture)
{
  mock_set_hmp (fixture->mock, "info network",
                "net0: index=0,type=nic,model=virtio-net-pci\r\n"
                " \\ n0: index=0,type=vhost-user,vhost-user to chr0\r\n");
}

static void
set_up_vdpa_network (Fixture *fixture)
{
  mock_set_hmp (fixture->mock, "info network", " \\ n0: index=0,type=vhost-vdpa,fd=7\r\n");
}

#define EXPORTS                                                                                    \
  "[{\"id\": \"nbd0\", \"type\": \"nbd\", \"node-name\": \"#block002\", \"shutting-down\": "       \
  "false}]"

/* Whether it is writable is in the graph; where that is not to be had, it may be. */
static void
set_up_export (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-block-exports", EXPORTS);
  mock_set_reply (fixture->mock, "x-debug-query-block-graph",
                  "{\"nodes\": [{\"id\": 1, \"type\": \"block-driver\", \"name\": \"#block002\"}, "
                  "{\"id\": 2, \"type\": \"block-backend\", \"name\": \"\"}], "
                  "\"edges\": [{\"parent\": 2, \"child\": 1, \"name\": \"root\", "
                  "\"perm\": [\"consistent-read\", \"write\"], \"shared-perm\": []}]}");
}

static void
set_up_export_without_graph (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-block-exports", EXPORTS);
  mock_remove_command (fixture->mock, "x-debug-query-block-graph");
}

static void
set_up_read_only_export (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-block-exports", EXPORTS);
  mock_set_reply (fixture->mock, "x-debug-query-block-graph",
                  "{\"nodes\": [{\"id\": 1, \"type\": \"block-driver\", \"name\": \"#block002\"}, "
                  "{\"id\": 2, \"type\": \"block-backend\", \"name\": \"\"}, "
                  "{\"id\": 3, \"type\": \"block-backend\", \"name\": \"virtio0\"}], "
                  "\"edges\": [{\"parent\": 2, \"child\": 1, \"name\": \"root\", "
                  "\"perm\": [\"consistent-read\"], \"shared-perm\": []}, "
                  "{\"parent\": 3, \"child\": 1, \"name\": \"root\", "
                  "\"perm\": [\"consistent-read\", \"write\"], \"shared-perm\": []}]}");
}

/* --- disks --------------------------------------------------------------------------------- */

#define NODE(name, driver)                                                                         \
  "[{\"iops_rd\": 0, \"detect_zeroes\": \"off\", \"image\": {\"virtual-size\": 1, \"filename\": "  \
  "\"x\", \"format\": \"" driver "\"}, \"iops_wr\": 0, \"ro\": false, \"node-name\": \"" name      \
  "\", \"backing_file_depth\": 0, \"drv\": \"" driver "\", \"iops\": 0, \"bps_wr\": 0, "           \
  "\"write_threshold\": 0, \"encrypted\": false, \"bps\": 0, \"bps_rd\": 0, \"cache\": "           \
  "{\"no-flush\": false, \"direct\": false, \"writeback\": true}, \"file\": \"x\", "               \
  "\"active\": true}]"

static void
set_up_vvfat (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-named-block-nodes", NODE ("fat", "vvfat"));
}

static void
set_up_nvme (Fixture *fixture)
{
  mock_set_reply (fixture->mock, "query-named-block-nodes", NODE ("host-nvme", "nvme"));
}

static void
set_up_libvirt (Fixture *fixture)
{
  g_autofree char *image = fixture_make_image (fixture, "managed.raw", 65536);

  mock_add_drive (fixture->mock, "", "/machine/peripheral/disk0", "libvirt-1-format", "raw", image);
}

static void
set_up_replaced_image (Fixture *fixture)
{
  g_autofree char *image = fixture_path (fixture, "a.raw");

  g_assert_cmpint (g_unlink (image), ==, 0);
  g_free (fixture_make_image (fixture, "a.raw", 1024 * 1024));
}

static void
set_up_deleted_image (Fixture *fixture)
{
  g_autofree char *image = fixture_path (fixture, "a.raw");

  g_assert_cmpint (g_unlink (image), ==, 0);
}

static void
test_reasons (gconstpointer style)
{
  static const Reason reasons[] = {
    { "migration", set_up_migration, QSNAP_ERROR_BUSY, "active" },
    { "postcopy", set_up_postcopy, QSNAP_ERROR_BUSY, "postcopy-paused" },
    { "blocker", set_up_blocker, QSNAP_ERROR_BLOCKED, "vmware_vga" },
    { "job", set_up_job, QSNAP_ERROR_BUSY, "mirror0" },
    { "no capability", set_up_no_capability, QSNAP_ERROR_UNSUPPORTED, "background-snapshot" },
    { "no permission", set_up_no_permission, QSNAP_ERROR_UNSUPPORTED, "CAP_SYS_PTRACE" },
    { "memory file", set_up_memory_file, QSNAP_ERROR_UNSUPPORTED, "hugetlbfs" },
    { "5.2", set_up_old, QSNAP_ERROR_UNSUPPORTED, "5.2.0" },
    { "vhost-user", set_up_vhost_user, QSNAP_ERROR_UNSUPPORTED, "fs0 (vhost-user-fs-pci)" },
    { "anonymous vhost-user", set_up_anonymous_vhost_user, QSNAP_ERROR_UNSUPPORTED, "device[7]" },
    { "ivshmem", set_up_ivshmem, QSNAP_ERROR_UNSUPPORTED, "shmem0 (ivshmem-plain)" },
    { "vfio", set_up_vfio, QSNAP_ERROR_UNSUPPORTED, "vfio-pci" },
    { "vhost-user object", set_up_vhost_user_object, QSNAP_ERROR_UNSUPPORTED, "/objects/gpu" },
    { "vhost-user network", set_up_network, QSNAP_ERROR_UNSUPPORTED, "vhost-user" },
    { "vdpa network", set_up_vdpa_network, QSNAP_ERROR_UNSUPPORTED, "vhost-vdpa" },
    { "export", set_up_export, QSNAP_ERROR_BLOCKED, "nbd0" },
    { "export, no graph", set_up_export_without_graph, QSNAP_ERROR_BLOCKED, "nbd0" },
    { "vvfat", set_up_vvfat, QSNAP_ERROR_UNSUPPORTED, "vvfat" },
    { "nvme", set_up_nvme, QSNAP_ERROR_UNSUPPORTED, "nvme" },
    { "libvirt", set_up_libvirt, QSNAP_ERROR_BLOCKED, "libvirt" },
    { "replaced image", set_up_replaced_image, QSNAP_ERROR_BLOCKED, "a.raw" },
    { "deleted image", set_up_deleted_image, QSNAP_ERROR_UNSUPPORTED, "-snapshot" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (reasons); i++)
    try_reason (GPOINTER_TO_INT (style), &reasons[i]);
}

/* All of them at once are all said, and the first one's code is the error's. */
static void
test_several_reasons (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  set_up_job (&fixture);
  set_up_ivshmem (&fixture);
  set_up_libvirt (&fixture);
  fixture_open (&fixture);
  options = fixture_options (&fixture, "snapshot");
  assert_reason (&fixture, options, QSNAP_ERROR, QSNAP_ERROR_BUSY, "mirror0");
  assert_reason (&fixture, options, QSNAP_ERROR, QSNAP_ERROR_BUSY, "ivshmem");
  assert_reason (&fixture, options, QSNAP_ERROR, QSNAP_ERROR_BUSY, "libvirt");
  fixture_clear (&fixture);
}

/* --- what is no reason --------------------------------------------------------------------- */

static void
test_no_reasons (gconstpointer style)
{
  static const SetUp set_ups[] = { set_up_read_only_export };

  for (guint i = 0; i < G_N_ELEMENTS (set_ups); i++)
    {
      Fixture fixture;
      g_autoptr (QsnapSnapshot) snapshot = NULL;

      fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
      set_ups[i](&fixture);
      fixture_open (&fixture);
      snapshot = fixture_capture_well (&fixture, "snapshot");
      fixture_clear (&fixture);
    }
}

static void
test_allow_managed (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_auto (GStrv) warnings = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  set_up_libvirt (&fixture);
  fixture_open (&fixture);
  options = fixture_options (&fixture, "snapshot");
  qsnap_snapshot_options_set_allow_managed (options, TRUE);
  snapshot = qsnap_session_instant_snapshot (fixture.session, options, NULL, &error);
  g_assert_no_error (error);
  warnings = qsnap_snapshot_dup_warnings (snapshot);
  g_assert_cmpuint (g_strv_length (warnings), ==, 1);
  g_assert_nonnull (strstr (warnings[0], "libvirt"));
  fixture_clear (&fixture);
}

static void
test_tcp (void)
{
  MockQemu *mock = mock_new (MOCK_STYLE_10, MOCK_TRANSPORT_TCP);
  g_autofree char *path = g_build_filename (mock_get_directory (mock), "snapshot", NULL);
  g_autoptr (GFile) directory = g_file_new_for_path (path);
  g_autoptr (QsnapSnapshotOptions) options = qsnap_snapshot_options_new (directory);
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (GError) error = NULL;

  mock_start (mock);
  session = qsnap_session_new (mock_get_address (mock));
  qsnap_session_open (session, NULL, &error);
  g_assert_no_error (error);
  g_assert_null (qsnap_session_instant_snapshot (session, options, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "unix socket"));
  g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
  g_clear_object (&session);
  fixture_drain_context ();
  mock_free (mock);
}

/* --- directories --------------------------------------------------------------------------- */

static void
make_file (Fixture *fixture, const char *folder, const char *name)
{
  g_autofree char *path = fixture_path (fixture, folder);
  g_autofree char *file = g_build_filename (path, name, NULL);

  g_assert_cmpint (g_mkdir_with_parents (path, 0700), ==, 0);
  g_assert_true (g_file_set_contents (file, "x", -1, NULL));
}

static void
assert_directory (Fixture *fixture, const char *name, GQuark domain, int code, const char *pattern)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, name);

  assert_reason (fixture, options, domain, code, pattern);
}

static void
test_directories (void)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) first = NULL, empty = NULL;
  g_autofree char *path = NULL, *link = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 0);
  fixture_open (&fixture);
  first = fixture_capture_well (&fixture, "first");
  fixture_forget_news (&fixture);
  make_file (&fixture, "full", "file");
  make_file (&fixture, "interrupted", "journal.json");
  make_file (&fixture, "hidden", ".file");
  assert_directory (&fixture, "first", QSNAP_ERROR, QSNAP_ERROR_EXISTS, "a snapshot in");
  assert_directory (&fixture, "full", QSNAP_ERROR, QSNAP_ERROR_EXISTS, "not empty");
  assert_directory (&fixture, "hidden", QSNAP_ERROR, QSNAP_ERROR_EXISTS, "not empty");
  assert_directory (&fixture, "interrupted", QSNAP_ERROR, QSNAP_ERROR_EXISTS, "journal");
  assert_directory (&fixture, "full/file", G_IO_ERROR, G_IO_ERROR_NOT_DIRECTORY, "full/file");
  assert_directory (&fixture, "missing/deep", G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "missing");
  link = fixture_path (&fixture, "dangling");
  g_assert_cmpint (symlink ("nowhere", link), ==, 0);
  assert_directory (&fixture, "dangling", QSNAP_ERROR, QSNAP_ERROR_EXISTS, "symbolic link");

  /* An empty directory is taken, and its mode made right. */
  path = fixture_path (&fixture, "empty");
  g_assert_cmpint (g_mkdir (path, 0755), ==, 0);
  empty = fixture_capture_well (&fixture, "empty");
  fixture_clear (&fixture);
}

static void
test_no_permission (void)
{
  Fixture fixture;
  g_autofree char *parent = NULL;

  if (geteuid () == 0)
    {
      g_test_skip ("root may write everywhere");
      return;
    }
  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  parent = fixture_path (&fixture, "locked");
  g_assert_cmpint (g_mkdir (parent, 0500), ==, 0);
  assert_directory (&fixture, "locked/snapshot", G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                    "locked");
  assert_directory (&fixture, "locked", G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED, "locked");
  fixture_clear (&fixture);
}

static void
test_options (void)
{
  static const char *const names[] = { "", "a/b", "..", "a\nb" };
  Fixture fixture;
  g_autoptr (GFile) remote = g_file_new_for_uri ("http://host/folder");
  g_autoptr (GFile) missing = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (QsnapSnapshotOptions) options = fixture_options (&fixture, "snapshot");

      qsnap_snapshot_options_set_name (options, names[i]);
      assert_reason (&fixture, options, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "valid name");
    }
  /* Who only asks may not know yet where it is to go; a capture has to. */
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (QsnapSnapshotOptions) options =
          i == 0 ? qsnap_snapshot_options_new (remote)
                 : g_object_new (QSNAP_TYPE_SNAPSHOT_OPTIONS, NULL);
      g_autoptr (GError) error = NULL;
      g_autoptr (QsnapReport) report = qsnap_session_check (fixture.session, options, NULL, &error);

      g_assert_no_error (error);
      g_assert_true (qsnap_report_get_ok (report));
      g_assert_null (qsnap_session_instant_snapshot (fixture.session, options, NULL, &error));
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
      g_assert_nonnull (strstr (error->message, "local directory"));
    }
  missing = fixture_file (&fixture, "missing");
  {
    g_autoptr (QsnapSnapshotOptions) options = fixture_options (&fixture, "snapshot");

    qsnap_snapshot_options_set_overlay_directory (options, missing);
    assert_reason (&fixture, options, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "overlays");
  }
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/check/good", test_good);
  g_test_add_func ("/check/async", test_async);
  fixture_add ("/check/run-states", test_run_states);
  fixture_add ("/check/reasons", test_reasons);
  g_test_add_func ("/check/several-reasons", test_several_reasons);
  fixture_add ("/check/no-reasons", test_no_reasons);
  fixture_add ("/check/allow-managed", test_allow_managed);
  g_test_add_func ("/check/tcp", test_tcp);
  g_test_add_func ("/check/directories", test_directories);
  g_test_add_func ("/check/no-permission", test_no_permission);
  g_test_add_func ("/check/options", test_options);
  return g_test_run ();
}
