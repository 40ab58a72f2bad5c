/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "mock-process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define REPORT "report"

void
process_set_up (Fixture *fixture, MockStyle style, guint n_drives)
{
  g_autofree char *path = NULL;

  fixture_set_up (fixture, style, n_drives);
  mock_set_ram_size (fixture->mock, PROCESS_RAM_SIZE);
  path = fixture_path (fixture, REPORT);
  g_setenv ("QSNAP_MOCK_REPORT", path, TRUE);
  g_setenv ("QSNAP_MOCK_VERSION", style == MOCK_STYLE_10 ? "10.0" : "7.2", TRUE);
  process_set_fault (NULL);
}

void
process_set_fault (const char *fault)
{
  if (fault != NULL)
    g_setenv ("QSNAP_MOCK_FAULT", fault, TRUE);
  else
    g_unsetenv ("QSNAP_MOCK_FAULT");
}

/* A test that has failed must not leave its guests behind. */
void
process_clear (Fixture *fixture)
{
  g_autoptr (GArray) pids = process_list_pids (fixture, "guest");

  for (guint i = 0; i < pids->len; i++)
    {
      int pid = g_array_index (pids, int, i);
      g_autofree char *link = g_strdup_printf ("/proc/%d/exe", pid);
      g_autofree char *program = g_file_read_link (link, NULL);

      if (g_strcmp0 (program, g_getenv ("QSNAP_MOCK_QEMU")) == 0)
        kill (pid, SIGKILL);
    }
  process_set_fault (NULL);
  fixture_clear (fixture);
}

void
process_add (GStrvBuilder *builder, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_strv_builder_add (builder, text);
}

GStrv
process_dup_command (Fixture *fixture, const char *memory, guint n_drives)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  g_strv_builder_add_many (builder, g_getenv ("QSNAP_MOCK_QEMU"), "-name", "mock-guest", "-machine",
                           "q35,accel=tcg,memory-backend=pc.ram", "-m", "24M", "-object", NULL);
  process_add (builder, "%s,id=pc.ram,size=%d", memory, PROCESS_RAM_SIZE);
  for (guint i = 0; i < n_drives; i++)
    {
      g_autofree char *name = g_strdup_printf ("%c.raw", 'a' + (int)i);
      g_autofree char *path = fixture_path (fixture, name);

      g_strv_builder_add (builder, "-drive");
      process_add (builder, "file=%s,format=raw,if=none,id=virtio%u", path, i);
      g_strv_builder_add (builder, "-device");
      process_add (builder, "virtio-blk-pci,drive=virtio%u", i);
    }
  g_strv_builder_add_many (builder, "-display", "none", NULL);
  return g_strv_builder_end (builder);
}

/* --- reverts ------------------------------------------------------------------------------- */

QsnapRestoreOptions *
process_options (Fixture *fixture, QsnapRestoreMethod method, const char *memory, guint n_drives)
{
  g_auto (GStrv) command = process_dup_command (fixture, memory, n_drives);
  QsnapRestoreOptions *options = qsnap_restore_options_new ();

  qsnap_restore_options_set_method (options, method);
  qsnap_restore_options_set_command (options, (const char *const *)command);
  return options;
}

char *
process_dup_state (QsnapSession *session)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply =
      qsnap_session_execute (session, "query-status", NULL, NULL, NULL, &error);

  g_assert_no_error (error);
  return g_strdup (json_object_get_string_member (json_node_get_object (reply), "status"));
}

/* All of the guest's memory is what the captured one had, and the program complains about nothing.
 */
static void
check_guest (Fixture *fixture, QsnapSession *session)
{
  int pid = qsnap_session_get_pid (session);
  g_auto (GStrv) blocks = process_dup_report (fixture, pid, "block");
  g_autofree char *stream = process_join_report (fixture, pid, "stream");
  g_autofree char *start = process_join_report (fixture, pid, "start");

  g_assert_true (qsnap_session_get_is_open (session));
  g_assert_cmpstr (start, ==, "guest");
  g_assert_cmpstr (stream, ==, "complete");
  g_assert_cmpuint (g_strv_length (blocks), ==, 3);
  for (guint i = 0; blocks[i] != NULL; i++)
    {
      g_test_message ("%s", blocks[i]);
      g_assert_true (g_str_has_suffix (blocks[i], " 0 wrong"));
    }
}

QsnapSession *
process_restore_well (Fixture *fixture, QsnapSnapshot *snapshot, QsnapRestoreOptions *options)
{
  g_autoptr (GError) error = NULL;
  QsnapSession *session = qsnap_snapshot_restore (snapshot, options, NULL, &error);

  g_assert_no_error (error);
  qsnap_session_wait_settled (session, NULL, &error);
  g_assert_no_error (error);
  check_guest (fixture, session);
  return session;
}

static void
on_restored (GObject *source, GAsyncResult *async, gpointer user_data)
{
  ProcessResult *result = user_data;

  result->session = qsnap_snapshot_restore_finish (QSNAP_SNAPSHOT (source), async, &result->error);
  result->thread = g_thread_self ();
  result->done = TRUE;
}

void
process_start_restore (QsnapSnapshot *snapshot,
                       QsnapRestoreOptions *options,
                       GCancellable *cancellable,
                       ProcessResult *result)
{
  memset (result, 0, sizeof *result);
  qsnap_snapshot_restore_async (snapshot, options, cancellable, on_restored, result);
}

void
process_wait_result (ProcessResult *result)
{
  while (!result->done)
    g_main_context_iteration (g_main_context_get_thread_default (), TRUE);
}

void
process_quit (Fixture *fixture, QsnapSession *session)
{
  int pid = qsnap_session_get_pid (session);
  g_autofree char *complaints = NULL, *end = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_session_quit (session, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (process_is_gone (pid));
  complaints = process_join_report (fixture, pid, "complaint");
  g_assert_cmpstr (complaints, ==, "");
  end = process_join_report (fixture, pid, "end");
  g_assert_cmpstr (end, ==, "0");
  g_object_unref (session);
}

char *
process_describe (Fixture *fixture)
{
  g_autofree char *files = fixture_list_files (fixture);
  g_auto (GStrv) names = g_strsplit (files, " ", -1);
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; names[i] != NULL; i++)
    {
      if (!g_str_has_suffix (names[i], REPORT))
        g_string_append_printf (text, "%s ", names[i]);
    }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

void
process_assert_all_gone (Fixture *fixture)
{
  static const char *const kinds[] = { "guest", "probe" };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_autoptr (GArray) pids = process_list_pids (fixture, kinds[i]);

      for (guint j = 0; j < pids->len; j++)
        {
          if (!process_is_gone (g_array_index (pids, int, j)))
            g_error ("the %s %d is still there", kinds[i], g_array_index (pids, int, j));
        }
    }
}

/* --- the report ---------------------------------------------------------------------------- */

GStrv
process_dup_report (Fixture *fixture, int pid, const char *key)
{
  g_autofree char *path = fixture_path (fixture, REPORT);
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  g_autoptr (GStrvBuilder) found = g_strv_builder_new ();

  if (!g_file_get_contents (path, &text, NULL, NULL))
    text = g_strdup ("");
  lines = g_strsplit (text, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++)
    {
      g_auto (GStrv) words = g_strsplit (lines[i], " ", 3);

      if (g_strv_length (words) == 3 && g_str_equal (words[1], key) &&
          (pid == 0 || atoi (words[0]) == pid))
        {
          g_autofree char *value = g_strcompress (words[2]);

          g_strv_builder_add (found, value);
        }
    }
  return g_strv_builder_end (found);
}

char *
process_join_report (Fixture *fixture, int pid, const char *key)
{
  g_auto (GStrv) values = process_dup_report (fixture, pid, key);

  return g_strjoinv ("; ", values);
}

GArray *
process_list_pids (Fixture *fixture, const char *kind)
{
  g_autofree char *path = fixture_path (fixture, REPORT);
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  GArray *pids = g_array_new (FALSE, FALSE, sizeof (int));

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return pids;
  lines = g_strsplit (text, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++)
    {
      g_autofree char *end = g_strconcat (" start ", kind, NULL);
      int pid = atoi (lines[i]);

      if (g_str_has_suffix (lines[i], end))
        g_array_append_val (pids, pid);
    }
  return pids;
}

void
process_wait_report (Fixture *fixture, const char *kind, const char *key, const char *text)
{
  gint64 patience = g_get_monotonic_time () + WAIT * (gint64)1000;

  for (;;)
    {
      g_autoptr (GArray) pids = process_list_pids (fixture, kind);
      int pid = pids->len > 0 ? g_array_index (pids, int, pids->len - 1) : -1;
      g_autofree char *values = process_join_report (fixture, pid, key);

      if (strstr (values, text) != NULL)
        return;
      if (g_get_monotonic_time () > patience)
        g_error ("\"%s %s\" is not reported, but: %s", key, text, values);
      g_main_context_iteration (NULL, FALSE);
      g_usleep (1000);
    }
}

gboolean
process_is_gone (int pid)
{
  gint64 patience = g_get_monotonic_time () + 5 * G_USEC_PER_SEC;

  while (kill (pid, 0) == 0 && g_get_monotonic_time () < patience)
    {
      g_main_context_iteration (NULL, FALSE);
      g_usleep (1000);
    }
  return kill (pid, 0) != 0 && errno == ESRCH;
}
