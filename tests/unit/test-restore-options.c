/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be chosen of a revert, what is refused before anything is started, and the command line
 * that is only shown. */

#include "mock-process.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANONYMOUS "memory-backend-ram"

typedef struct
{
  Fixture fixture;
  QsnapSnapshot *snapshot;
  QsnapRestoreOptions *options;
  char *before;
} Setting;

static void
set_up (Setting *setting, gconstpointer style)
{
  process_set_up (&setting->fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&setting->fixture);
  setting->snapshot = fixture_capture_well (&setting->fixture, "snapshot");
  setting->options = process_options (&setting->fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  setting->before = process_describe (&setting->fixture);
}

static void
clear (Setting *setting)
{
  g_clear_object (&setting->snapshot);
  g_clear_object (&setting->options);
  g_clear_pointer (&setting->before, g_free);
  process_clear (&setting->fixture);
}

/* Refused with @text in the message, and nothing is left; no guest was started. */
static void
assert_refused (Setting *setting, GQuark domain, int code, const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSession) session G_GNUC_UNUSED =
      qsnap_snapshot_restore (setting->snapshot, setting->options, NULL, &error);
  g_autofree char *after = process_describe (&setting->fixture);
  g_autoptr (GArray) pids = process_list_pids (&setting->fixture, "guest");

  g_test_message ("%s", error != NULL ? error->message : "success");
  g_assert_error (error, domain, code);
  g_assert_nonnull (strstr (error->message, "snapshot"));
  if (strstr (error->message, text) == NULL)
    g_error ("\"%s\" is not in: %s", text, error->message);
  g_assert_cmpstr (after, ==, setting->before);
  g_assert_cmpuint (pids->len, ==, 0);
  process_assert_all_gone (&setting->fixture);
}

static void
spoil (const char *path, gsize offset)
{
  int fd = open (path, O_RDWR | O_CLOEXEC);
  guint8 byte;

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (pread (fd, &byte, 1, (off_t)offset), ==, 1);
  byte ^= 1;
  g_assert_cmpint (pwrite (fd, &byte, 1, (off_t)offset), ==, 1);
  close (fd);
}

/* --- a damaged snapshot -------------------------------------------------------------------- */

/* In the second page of RAM, which is not zeros. */
static void
test_verify (gconstpointer style)
{
  Setting setting;
  g_autofree char *ram = NULL, *words = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&setting, style);
  ram = fixture_path (&setting.fixture, "snapshot/ram/pc.ram");
  spoil (ram, MOCK_PAGE_SIZE + 100);
  qsnap_restore_options_set_verify (setting.options, TRUE);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "pc.ram");

  /* Who loads reads all, and finds it as well. */
  qsnap_restore_options_set_verify (setting.options, FALSE);
  qsnap_restore_options_set_method (setting.options, QSNAP_RESTORE_METHOD_LOAD);
  g_assert_null (qsnap_snapshot_restore (setting.snapshot, setting.options, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "pc.ram"));
  process_assert_all_gone (&setting.fixture);
  words = process_describe (&setting.fixture);
  g_assert_cmpstr (words, ==, setting.before);

  /* What is whole again is verified, and comes back. */
  spoil (ram, MOCK_PAGE_SIZE + 100);
  qsnap_restore_options_set_verify (setting.options, TRUE);
  process_quit (&setting.fixture,
                process_restore_well (&setting.fixture, setting.snapshot, setting.options));
  clear (&setting);
}

static void
test_short_memory (gconstpointer style)
{
  Setting setting;
  g_autofree char *ram = NULL;

  set_up (&setting, style);
  ram = fixture_path (&setting.fixture, "snapshot/ram/pc.ram");
  g_assert_cmpint (truncate (ram, PROCESS_RAM_SIZE - MOCK_PAGE_SIZE), ==, 0);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "pc.ram");
  clear (&setting);
}

static void
test_changed_base (gconstpointer style)
{
  Setting setting;
  g_autofree char *base = NULL, *moved = NULL;

  set_up (&setting, style);
  base = fixture_path (&setting.fixture, "a.raw");
  moved = fixture_path (&setting.fixture, "b.raw");
  spoil (base, 0);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, base);
  g_assert_cmpint (g_rename (base, moved), ==, 0);
  g_free (setting.before);
  setting.before = process_describe (&setting.fixture);
  assert_refused (&setting, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, base);
  clear (&setting);
}

/* The migration is held until the handler has been called. */
typedef struct
{
  MockQemu *mock;
  gboolean seen;
} Early;

static void
on_point (G_GNUC_UNUSED QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  Early *early = user_data;
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_snapshot_restore (snapshot, NULL, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  early->seen = TRUE;
  mock_release_point (early->mock);
}

/* While its memory is being saved, and when it is deleted. */
static void
test_not_there (gconstpointer style)
{
  Setting setting;
  Early early = { NULL, FALSE };
  g_autofree char *folder = NULL, *gone = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&setting, style);
  early.mock = setting.fixture.mock;
  mock_hold_point (early.mock, MOCK_POINT_HALF);
  g_signal_connect (setting.fixture.session, "point-in-time-reached", G_CALLBACK (on_point),
                    &early);
  g_object_unref (fixture_capture_well (&setting.fixture, "other"));
  g_assert_true (early.seen);
  folder = fixture_path (&setting.fixture, "snapshot");
  gone = fixture_path (&setting.fixture, "gone");
  g_assert_cmpint (g_rename (folder, gone), ==, 0);
  g_assert_null (qsnap_snapshot_restore (setting.snapshot, setting.options, NULL, &error));
  g_test_message ("%s", error->message);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  clear (&setting);
}

static void
test_no_qemu_img (gconstpointer style)
{
  Setting setting;
  g_autofree char *path = g_strdup (g_getenv ("PATH"));

  set_up (&setting, style);
  g_setenv ("PATH", "/nonexistent", TRUE);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "qemu-img");
  g_setenv ("PATH", path, TRUE);
  clear (&setting);
}

/* --- the directory ------------------------------------------------------------------------- */

static void
choose_directory (Setting *setting, const char *name)
{
  g_autoptr (GFile) directory = fixture_file (&setting->fixture, name);

  qsnap_restore_options_set_directory (setting->options, directory);
}

static void
make_folder (Setting *setting, const char *name)
{
  g_autofree char *path = fixture_path (&setting->fixture, name);

  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
  g_free (setting->before);
  setting->before = process_describe (&setting->fixture);
}

static void
test_directory (gconstpointer style)
{
  static const char *const names[] = { "new", "empty", "with,comma", "with space – ü" };
  Setting setting;

  set_up (&setting, style);
  make_folder (&setting, "empty");
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      QsnapSession *session;
      g_autoptr (GFile) directory = fixture_file (&setting.fixture, names[i]);
      g_autofree char *state = NULL;

      choose_directory (&setting, names[i]);
      session = process_restore_well (&setting.fixture, setting.snapshot, setting.options);
      g_assert_true (g_file_equal (qsnap_session_get_restore_directory (session), directory));
      state = process_dup_state (session);
      g_assert_cmpstr (state, ==, "running");
      process_quit (&setting.fixture, session);
    }
  clear (&setting);
}

static void
test_bad_directory (gconstpointer style)
{
  Setting setting;
  g_autofree char *name = NULL;
  g_autoptr (GFile) remote = g_file_new_for_uri ("http://example.com/revert");

  set_up (&setting, style);
  choose_directory (&setting, "snapshot");
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_EXISTS, "not empty");
  choose_directory (&setting, "missing/revert");
  assert_refused (&setting, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "missing/revert");
  choose_directory (&setting, "a.raw");
  assert_refused (&setting, G_IO_ERROR, G_IO_ERROR_NOT_DIRECTORY, "a.raw");
  name = g_strnfill (100, 'x');
  choose_directory (&setting, name);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "too long");
  qsnap_restore_options_set_directory (setting.options, remote);
  g_assert_null (qsnap_snapshot_restore (setting.snapshot, setting.options, NULL, NULL));
  clear (&setting);
}

/* One that was there stays, and is empty again. */
static void
test_directory_after_failure (gconstpointer style)
{
  Setting setting;
  g_autofree char *after = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&setting, style);
  make_folder (&setting, "empty");
  choose_directory (&setting, "empty");
  process_set_fault ("error:cont");
  g_assert_null (qsnap_snapshot_restore (setting.snapshot, setting.options, NULL, &error));
  g_assert_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC);
  after = process_describe (&setting.fixture);
  g_assert_cmpstr (after, ==, setting.before);
  clear (&setting);
}

/* --- program and command line -------------------------------------------------------------- */

static void
test_program (gconstpointer style)
{
  Setting setting;
  g_autofree char *link = NULL, *other = NULL, *program = NULL;
  QsnapSession *session;

  set_up (&setting, style);
  link = fixture_path (&setting.fixture, "my-qemu");
  other = fixture_path (&setting.fixture, "something");
  g_assert_cmpint (symlink (g_getenv ("QSNAP_MOCK_QEMU"), link), ==, 0);
  g_assert_cmpint (symlink (g_getenv ("QSNAP_MOCK_QEMU"), other), ==, 0);
  g_free (setting.before);
  setting.before = process_describe (&setting.fixture);

  qsnap_restore_options_set_program (setting.options, "/nowhere/qemu-system-x86_64");
  assert_refused (&setting, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "/nowhere/qemu-system-x86_64");
  qsnap_restore_options_set_program (setting.options, "a.raw-is-no-qemu-in-the-path");
  assert_refused (&setting, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "is-no-qemu");

  qsnap_restore_options_set_program (setting.options, link);
  session = process_restore_well (&setting.fixture, setting.snapshot, setting.options);
  program = process_join_report (&setting.fixture, qsnap_session_get_pid (session), "argv");
  g_assert_true (g_str_has_prefix (program, link));
  process_quit (&setting.fixture, session);
  clear (&setting);
}

/* Another version of QEMU than the captured one: it may not have the machine type, and if it has,
 * that is said. */
static void
test_other_version (gconstpointer style)
{
  gboolean is_old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  Setting setting;

  set_up (&setting, style);
  g_setenv ("QSNAP_MOCK_VERSION", is_old ? "10.0" : "7.2", TRUE);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                  is_old ? "machine type pc-q35-7.2" : "machine type pc-q35-10.0");
  clear (&setting);
}

static void
give_command (Setting *setting, const char *const *command)
{
  qsnap_restore_options_set_command (setting->options, command);
}

/* The guest that was captured here is this test, whose command line is none of a QEMU's. */
static void
test_bad_command (gconstpointer style)
{
  static const char *const shell[] = { "/bin/sh", "-c", "true", NULL };
  Setting setting;
  g_autofree char *drive = NULL;
  const char *without_drive[] = { g_getenv ("QSNAP_MOCK_QEMU"), "-machine", "q35", NULL };
  const char *other_drive[] = { g_getenv ("QSNAP_MOCK_QEMU"), "-drive", NULL, NULL };

  set_up (&setting, style);
  give_command (&setting, shell);
  assert_refused (&setting, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "is no QEMU");
  give_command (&setting, NULL);
  assert_refused (&setting, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "test-restore-options");
  give_command (&setting, without_drive);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "virtio0");
  drive =
      g_strdup_printf ("file=%s/other.raw,format=raw", mock_get_directory (setting.fixture.mock));
  other_drive[2] = drive;
  give_command (&setting, other_drive);
  assert_refused (&setting, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED, "other.raw");
  clear (&setting);
}

/* --- the command line that is shown -------------------------------------------------------- */

static void
test_build_command (gconstpointer style)
{
  static const QsnapRestoreMethod methods[] = { QSNAP_RESTORE_METHOD_LOAD,
                                                QSNAP_RESTORE_METHOD_MAP };
  Setting setting;

  set_up (&setting, style);
  for (guint i = 0; i < G_N_ELEMENTS (methods); i++)
    {
      g_autofree char *name = g_strdup_printf ("revert%u", i);
      g_autofree char *after = NULL, *shown = NULL, *given = NULL;
      g_auto (GStrv) command = NULL, argv = NULL;
      g_autoptr (GArray) pids = NULL;
      QsnapSession *session;
      g_autoptr (GError) error = NULL;

      g_free (setting.before);
      setting.before = process_describe (&setting.fixture);
      choose_directory (&setting, name);
      qsnap_restore_options_set_method (setting.options, methods[i]);
      command = qsnap_snapshot_build_command (setting.snapshot, setting.options, &error);
      g_assert_no_error (error);
      after = process_describe (&setting.fixture);
      g_assert_cmpstr (after, ==, setting.before);
      pids = process_list_pids (&setting.fixture, "guest");
      g_assert_cmpuint (pids->len, ==, i);

      session = process_restore_well (&setting.fixture, setting.snapshot, setting.options);
      argv = process_dup_report (&setting.fixture, qsnap_session_get_pid (session), "argv");
      shown = g_strjoinv ("\n", command);
      given = g_strjoinv ("\n", argv);
      g_assert_cmpstr (shown, ==, given);
      process_quit (&setting.fixture, session);
    }
  clear (&setting);
}

static void
test_build_bad_command (gconstpointer style)
{
  Setting setting;
  g_autofree char *ram = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&setting, style);
  g_assert_null (qsnap_snapshot_build_command (setting.snapshot, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);
  ram = fixture_path (&setting.fixture, "snapshot/ram/pc.ram");
  g_assert_cmpint (g_unlink (ram), ==, 0);
  g_assert_null (qsnap_snapshot_build_command (setting.snapshot, setting.options, &error));
  g_test_message ("%s", error->message);
  clear (&setting);
}

/* --- properties and mistakes --------------------------------------------------------------- */

static void
test_properties (void)
{
  static const char *const command[] = { "qemu", "-S", NULL };
  g_autoptr (GFile) directory = g_file_new_for_path ("/somewhere"), found = NULL;
  g_autoptr (QsnapRestoreOptions) options = NULL;
  g_auto (GStrv) copy = NULL;
  g_autofree char *program = NULL;
  QsnapRestoreMethod method;
  gboolean paused, verify;

  options = g_object_new (QSNAP_TYPE_RESTORE_OPTIONS, "method", QSNAP_RESTORE_METHOD_MAP,
                          "directory", directory, "command", command, "program", "my-qemu",
                          "start-paused", TRUE, "verify", TRUE, NULL);
  g_object_get (options, "method", &method, "directory", &found, "command", &copy, "program",
                &program, "start-paused", &paused, "verify", &verify, NULL);
  g_assert_cmpint (method, ==, QSNAP_RESTORE_METHOD_MAP);
  g_assert_true (g_file_equal (found, directory));
  g_assert_true (g_strv_equal ((const char *const *)copy, command));
  g_assert_cmpstr (program, ==, "my-qemu");
  g_assert_true (paused);
  g_assert_true (verify);
  qsnap_restore_options_set_command (options, NULL);
  qsnap_restore_options_set_program (options, NULL);
  qsnap_restore_options_set_directory (options, NULL);
  g_assert_null (qsnap_restore_options_dup_command (options));
  g_assert_null (qsnap_restore_options_get_program (options));
  g_assert_null (qsnap_restore_options_get_directory (options));
}

#define ASSERT_CRITICAL(expression)                                                                \
  g_test_expect_message ("qsnap", G_LOG_LEVEL_CRITICAL, "*assertion*failed*");                     \
  expression;                                                                                      \
  g_test_assert_expected_messages ()

static void
on_other_result (G_GNUC_UNUSED GObject *source, GAsyncResult *result, gpointer user_data)
{
  *(GAsyncResult **)user_data = g_object_ref (result);
}

static void
test_mistakes (gconstpointer style)
{
  Setting setting;
  g_autoptr (GAsyncResult) result = NULL;

  set_up (&setting, style);
  ASSERT_CRITICAL (qsnap_snapshot_restore (NULL, setting.options, NULL, NULL));
  ASSERT_CRITICAL (
      qsnap_snapshot_restore (setting.snapshot, (gpointer)setting.snapshot, NULL, NULL));
  ASSERT_CRITICAL (qsnap_snapshot_restore_async (NULL, NULL, NULL, NULL, NULL));
  ASSERT_CRITICAL (qsnap_snapshot_build_command (NULL, NULL, NULL));
  ASSERT_CRITICAL (qsnap_session_quit (NULL, NULL, NULL));
  ASSERT_CRITICAL (qsnap_session_get_pid (NULL));
  ASSERT_CRITICAL (qsnap_restore_options_set_method (NULL, QSNAP_RESTORE_METHOD_MAP));

  /* Another function's result. */
  qsnap_snapshot_verify_async (setting.snapshot, NULL, on_other_result, &result);
  while (result == NULL)
    g_main_context_iteration (NULL, TRUE);
  ASSERT_CRITICAL (qsnap_snapshot_restore_finish (setting.snapshot, result, NULL));
  ASSERT_CRITICAL (qsnap_session_quit_finish (setting.fixture.session, result, NULL));
  clear (&setting);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;
  fixture_add ("/restore-options/verify", test_verify);
  fixture_add ("/restore-options/short-memory", test_short_memory);
  fixture_add ("/restore-options/changed-base", test_changed_base);
  fixture_add ("/restore-options/not-there", test_not_there);
  fixture_add ("/restore-options/no-qemu-img", test_no_qemu_img);
  fixture_add ("/restore-options/directory", test_directory);
  fixture_add ("/restore-options/bad-directory", test_bad_directory);
  fixture_add ("/restore-options/directory-after-failure", test_directory_after_failure);
  fixture_add ("/restore-options/program", test_program);
  fixture_add ("/restore-options/other-version", test_other_version);
  fixture_add ("/restore-options/bad-command", test_bad_command);
  fixture_add ("/restore-options/build-command", test_build_command);
  fixture_add ("/restore-options/build-bad-command", test_build_bad_command);
  g_test_add_func ("/restore-options/properties", test_properties);
  fixture_add ("/restore-options/mistakes", test_mistakes);
  return g_test_run ();
}
