/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reverts that go well: what QEMU is given, what is in the guest's memory, what the session says.
 */

#include "mock-process.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANONYMOUS "memory-backend-ram"

static const char loaded_blocks[] = "pc.ram anonymous: 6144 of 6144 pages sent, 0 wrong; "
                                    "pc.bios anonymous: 64 of 64 pages sent, 0 wrong; "
                                    "/rom@etc/acpi/tables anonymous: 32 of 32 pages sent, 0 wrong";
static const char mapped_blocks[] = "pc.ram mapped: 0 of 6144 pages sent, 0 wrong; "
                                    "pc.bios anonymous: 64 of 64 pages sent, 0 wrong; "
                                    "/rom@etc/acpi/tables anonymous: 32 of 32 pages sent, 0 wrong";

static QsnapSnapshot *
set_up (Fixture *fixture, gconstpointer style, guint n_drives)
{
  process_set_up (fixture, GPOINTER_TO_INT (style), n_drives);
  fixture_open (fixture);
  return fixture_capture_well (fixture, "snapshot");
}

static void
assert_report (Fixture *fixture, QsnapSession *session, const char *key, const char *expected)
{
  g_autofree char *values = process_join_report (fixture, qsnap_session_get_pid (session), key);

  g_assert_cmpstr (values, ==, expected);
}

static gboolean
has_argument (Fixture *fixture, QsnapSession *session, const char *argument)
{
  g_auto (GStrv) argv = process_dup_report (fixture, qsnap_session_get_pid (session), "argv");

  return g_strv_contains ((const char *const *)argv, argument);
}

/* The first argument that contains @part. */
static char *
dup_argument (Fixture *fixture, QsnapSession *session, const char *part)
{
  g_auto (GStrv) argv = process_dup_report (fixture, qsnap_session_get_pid (session), "argv");

  for (guint i = 0; argv[i] != NULL; i++)
    {
      if (strstr (argv[i], part) != NULL)
        return g_strdup (argv[i]);
    }
  g_error ("no argument has \"%s\"", part);
}

static void
assert_verifies (QsnapSnapshot *snapshot)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_assert_no_error (error);
}

static void
assert_mode (const char *folder, const char *name, int mode)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  struct stat found;

  g_assert_cmpint (stat (path, &found), ==, 0);
  g_assert_cmphex (found.st_mode & 0777, ==, mode);
}

/* --- the directory ------------------------------------------------------------------------- */

static void
check_directory (Fixture *fixture, QsnapSession *session, guint n_drives)
{
  GFile *file = qsnap_session_get_restore_directory (session);
  const char *folder = g_file_peek_path (file);
  g_autofree char *start = fixture_path (fixture, "snapshot.revert-");

  g_assert_true (g_str_has_prefix (folder, start));
  g_assert_cmpuint (strlen (folder), ==, strlen (start) + 8);
  assert_mode (folder, "", 0700);
  assert_mode (folder, "qemu.log", 0600);
  for (guint i = 0; i < n_drives; i++)
    {
      g_autofree char *name = g_strdup_printf ("disk%u.qcow2", i);

      assert_mode (folder, name, 0600);
    }
}

/* Each drive is an overlay on its image. */
static void
check_drives (Fixture *fixture, QsnapSession *session, guint n_drives)
{
  const char *folder = g_file_peek_path (qsnap_session_get_restore_directory (session));
  g_autoptr (GString) expected = g_string_new (NULL);

  for (guint i = 0; i < n_drives; i++)
    {
      g_autofree char *name = g_strdup_printf ("%c.raw", 'a' + (int)i);
      g_autofree char *base = fixture_path (fixture, name);

      g_string_append_printf (expected, "%svirtio%u %s/disk%u.qcow2 on raw %s", i > 0 ? "; " : "",
                              i, folder, i, base);
    }
  assert_report (fixture, session, "drive", expected->str);
}

/* --- how it is started --------------------------------------------------------------------- */

static void
check_start (Fixture *fixture, QsnapSession *session)
{
  g_autofree char *log = NULL, *expected = NULL, *machine = NULL;
  const char *folder = g_file_peek_path (qsnap_session_get_restore_directory (session));

  g_assert_true (has_argument (fixture, session, "-S"));
  g_assert_true (has_argument (fixture, session, "defer"));
  machine = dup_argument (fixture, session, "accel=tcg");
  g_assert_nonnull (
      strstr (machine, fixture->style == MOCK_STYLE_10 ? "pc-q35-10.0" : "pc-q35-7.2"));
  assert_report (fixture, session, "session", "own");
  /* No descriptor of ours, no signal that is blocked or ignored. */
  log = g_build_filename (folder, "qemu.log", NULL);
  expected = g_strdup_printf ("0 /dev/null; 1 %s; 2 %s", log, log);
  assert_report (fixture, session, "fd", expected);
  assert_report (fixture, session, "blocked", "");
  assert_report (fixture, session, "ignored", "");
}

static void
check_capability (QsnapSession *session)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply =
      qsnap_session_execute (session, "query-migrate-capabilities", NULL, NULL, NULL, &error);
  JsonArray *array;

  g_assert_no_error (error);
  array = json_node_get_array (reply);
  for (guint i = 0; i < json_array_get_length (array); i++)
    g_assert_false (
        json_object_get_boolean_member (json_array_get_object_element (array, i), "state"));
}

static void
check_properties (Fixture *fixture, QsnapSession *session, QsnapRestoreMethod method)
{
  g_autofree char *address = NULL, *version = NULL;
  g_autoptr (GFile) directory = NULL;
  QsnapRestoreMethod found;
  int pid;

  g_object_get (session, "pid", &pid, "restore-method", &found, "restore-directory", &directory,
                "address", &address, NULL);
  g_assert_cmpint (pid, ==, qsnap_session_get_pid (session));
  g_assert_cmpint (kill (pid, 0), ==, 0);
  g_assert_cmpint (found, ==, method);
  g_assert_cmpint (qsnap_session_get_restore_method (session), ==, method);
  g_assert_nonnull (strstr (address, "/qsnap.sock"));
  g_assert_cmpint (qsnap_session_get_start_us (session), >, 0);
  g_assert_cmpint (qsnap_session_get_load_us (session), >, 0);
  version = qsnap_session_dup_qemu_version (session);
  g_assert_cmpstr (version, ==, fixture->style == MOCK_STYLE_10 ? "10.0.13" : "7.2.22");
  g_assert_cmpint (qsnap_session_get_phase (session), ==, QSNAP_PHASE_IDLE);
}

/* --- load and map -------------------------------------------------------------------------- */

static void
try_method (gconstpointer style, QsnapRestoreMethod method, guint n_drives)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, n_drives);
  g_autoptr (QsnapRestoreOptions) options = process_options (&fixture, method, ANONYMOUS, n_drives);
  QsnapSession *session = process_restore_well (&fixture, snapshot, options);
  g_autofree char *state = process_dup_state (session);
  gboolean map = method == QSNAP_RESTORE_METHOD_MAP;

  g_assert_cmpstr (state, ==, "running");
  check_properties (&fixture, session, method);
  check_directory (&fixture, session, n_drives);
  check_drives (&fixture, session, n_drives);
  check_start (&fixture, session);
  check_capability (session);
  /* All blocks have to be there, but only what is not mapped is sent. */
  assert_report (&fixture, session, "announced", "pc.ram; pc.bios; /rom@etc/acpi/tables");
  assert_report (&fixture, session, "block", map ? mapped_blocks : loaded_blocks);
  assert_report (&fixture, session, "machine",
                 fixture.style == MOCK_STYLE_10 ? "pc-q35-10.0" : "pc-q35-7.2");
  process_quit (&fixture, session);
  process_assert_all_gone (&fixture);
  /* The guest has written to its memory. */
  assert_verifies (snapshot);
  process_clear (&fixture);
}

static void
test_load (gconstpointer style)
{
  try_method (style, QSNAP_RESTORE_METHOD_LOAD, 1);
}

static void
test_map (gconstpointer style)
{
  try_method (style, QSNAP_RESTORE_METHOD_MAP, 1);
}

static void
test_drives (gconstpointer style)
{
  try_method (style, QSNAP_RESTORE_METHOD_LOAD, 0);
  try_method (style, QSNAP_RESTORE_METHOD_MAP, 3);
}

/* Private, and read-only where that is possible. */
static void
test_mapping (gconstpointer style)
{
  static const char *const memories[] = { ANONYMOUS, "memory-backend-memfd,share=on,prealloc=on",
                                          "memory-backend-file,mem-path=/dev/shm/x,share=on" };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 1);
  g_autofree char *file = fixture_path (&fixture, "snapshot/ram/pc.ram");
  g_autofree char *path = g_strconcat ("mem-path=", file, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (memories); i++)
    {
      g_autoptr (QsnapRestoreOptions) options =
          process_options (&fixture, QSNAP_RESTORE_METHOD_MAP, memories[i], 1);
      QsnapSession *session = process_restore_well (&fixture, snapshot, options);
      g_autofree char *object = dup_argument (&fixture, session, "memory-backend-file");

      g_test_message ("%s", object);
      g_assert_nonnull (strstr (object, path));
      g_assert_nonnull (strstr (object, "share=off"));
      g_assert_null (strstr (object, "share=on"));
      g_assert_cmpint (strstr (object, "readonly=on") != NULL, ==, fixture.style == MOCK_STYLE_10);
      g_assert_cmpint (strstr (object, "rom=off") != NULL, ==, fixture.style == MOCK_STYLE_10);
      process_quit (&fixture, session);
    }
  assert_verifies (snapshot);
  process_clear (&fixture);
}

/* --- auto ---------------------------------------------------------------------------------- */

static void
try_auto (gconstpointer style, const char *const *more, QsnapRestoreMethod expected)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 1);
  g_autoptr (QsnapRestoreOptions) options =
      process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  g_auto (GStrv) command = qsnap_restore_options_dup_command (options);
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_auto (GStrv) longer = NULL;
  QsnapSession *session;
  g_autoptr (QsnapSession) none = NULL;
  g_autoptr (GError) error = NULL;

  g_strv_builder_addv (builder, (const char **)command);
  g_strv_builder_addv (builder, (const char **)more);
  longer = g_strv_builder_end (builder);
  qsnap_restore_options_set_command (options, (const char *const *)longer);
  session = process_restore_well (&fixture, snapshot, options);
  g_assert_cmpint (qsnap_session_get_restore_method (session), ==, expected);
  assert_report (&fixture, session, "block",
                 expected == QSNAP_RESTORE_METHOD_MAP ? mapped_blocks : loaded_blocks);
  process_quit (&fixture, session);

  if (expected != QSNAP_RESTORE_METHOD_MAP)
    {
      qsnap_restore_options_set_method (options, QSNAP_RESTORE_METHOD_MAP);
      none = qsnap_snapshot_restore (snapshot, options, NULL, &error);
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
      g_test_message ("%s", error->message);
    }
  process_clear (&fixture);
}

static void
test_auto (gconstpointer style)
{
  static const char *const balloon[] = { "-device", "virtio-balloon-pci", NULL };
  static const char *const pluggable[] = { "-device", "virtio-mem-pci,memdev=vmem0", NULL };
  gboolean is_new = GPOINTER_TO_INT (style) == MOCK_STYLE_10;

  try_auto (style, &balloon[2], QSNAP_RESTORE_METHOD_MAP);
  try_auto (style, pluggable, QSNAP_RESTORE_METHOD_LOAD);
  /* A file system that can clone files is not there everywhere. */
  if (is_new)
    try_auto (style, balloon, QSNAP_RESTORE_METHOD_MAP);
  else
    try_auto (style, balloon, QSNAP_RESTORE_METHOD_ON_DEMAND);
}

/* --- paused -------------------------------------------------------------------------------- */

static void
test_start_paused (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 1);
  g_autoptr (QsnapRestoreOptions) options =
      process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  QsnapSession *session;
  g_autofree char *paused = NULL, *running = NULL, *commands = NULL;
  g_autoptr (JsonNode) reply = NULL;

  qsnap_restore_options_set_start_paused (options, TRUE);
  /* It takes a moment to come up. */
  process_set_fault ("late-socket");
  session = process_restore_well (&fixture, snapshot, options);
  paused = process_dup_state (session);
  g_assert_cmpstr (paused, ==, "paused");
  commands = process_join_report (&fixture, qsnap_session_get_pid (session), "command");
  g_assert_null (strstr (commands, "cont {"));
  reply = qsnap_session_execute (session, "cont", NULL, NULL, NULL, NULL);
  g_assert_nonnull (reply);
  running = process_dup_state (session);
  g_assert_cmpstr (running, ==, "running");
  process_quit (&fixture, session);
  process_clear (&fixture);
}

/* Its owner had it paused, and finds it so. */
static void
test_was_paused (gconstpointer style)
{
  static const QsnapRestoreMethod methods[] = { QSNAP_RESTORE_METHOD_LOAD,
                                                QSNAP_RESTORE_METHOD_MAP };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  mock_set_run_state (fixture.mock, "paused");
  fixture_open (&fixture);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  for (guint i = 0; i < G_N_ELEMENTS (methods); i++)
    {
      g_autoptr (QsnapRestoreOptions) options =
          process_options (&fixture, methods[i], ANONYMOUS, 1);
      QsnapSession *session = process_restore_well (&fixture, snapshot, options);
      g_autofree char *state = process_dup_state (session);

      g_assert_cmpstr (state, ==, "paused");
      process_quit (&fixture, session);
    }
  process_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;
  fixture_add ("/restore/load", test_load);
  fixture_add ("/restore/map", test_map);
  fixture_add ("/restore/drives", test_drives);
  fixture_add ("/restore/mapping", test_mapping);
  fixture_add ("/restore/auto", test_auto);
  fixture_add ("/restore/start-paused", test_start_paused);
  fixture_add ("/restore/was-paused", test_was_paused);
  return g_test_run ();
}
