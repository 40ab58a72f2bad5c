/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of reverts: several at once, their sessions, threads, the end. */

#include "mock-process.h"

#include <signal.h>
#include <string.h>

#define ANONYMOUS "memory-backend-ram"

static QsnapSnapshot *
set_up (Fixture *fixture, gconstpointer style, guint n_drives)
{
  process_set_up (fixture, GPOINTER_TO_INT (style), n_drives);
  fixture_open (fixture);
  return fixture_capture_well (fixture, "snapshot");
}

/* --- several ------------------------------------------------------------------------------- */

#define N_CLONES 4

static void
test_clones (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 1);
  g_autoptr (QsnapRestoreOptions) options =
      process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  ProcessResult results[N_CLONES];
  char *drives[N_CLONES];
  g_autoptr (GArray) pids = NULL;

  for (guint i = 0; i < N_CLONES; i++)
    process_start_restore (snapshot, options, NULL, &results[i]);
  for (guint i = 0; i < N_CLONES; i++)
    {
      process_wait_result (&results[i]);
      g_assert_no_error (results[i].error);
      g_assert_true (results[i].thread == g_thread_self ());
      drives[i] =
          process_join_report (&fixture, qsnap_session_get_pid (results[i].session), "drive");
      for (guint j = 0; j < i; j++)
        g_assert_cmpstr (drives[i], !=, drives[j]);
    }
  pids = process_list_pids (&fixture, "guest");
  g_assert_cmpuint (pids->len, ==, N_CLONES);
  for (guint i = 0; i < N_CLONES; i++)
    {
      process_quit (&fixture, results[i].session);
      g_free (drives[i]);
    }
  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, NULL));
  process_clear (&fixture);
}

/* A revert is captured, and has a revert itself: by then its command line is known. */
static void
test_revert_of_revert (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 2), second = NULL;
  g_autoptr (QsnapRestoreOptions) options =
      process_options (&fixture, QSNAP_RESTORE_METHOD_LOAD, ANONYMOUS, 2);
  g_autoptr (QsnapSnapshotOptions) capture = fixture_options (&fixture, "second");
  QsnapSession *first = process_restore_well (&fixture, snapshot, options), *other;
  g_autofree char *state = NULL, *chardevs = NULL;
  g_autoptr (GError) error = NULL;

  second = qsnap_session_instant_snapshot (first, capture, NULL, &error);
  g_assert_no_error (error);
  other = process_restore_well (&fixture, second, NULL);
  state = process_dup_state (other);
  g_assert_cmpstr (state, ==, "running");
  /* The first one's monitor is not in it. */
  chardevs = process_join_report (&fixture, qsnap_session_get_pid (other), "argv");
  g_assert_null (strstr (chardevs, qsnap_session_get_address (first)));
  process_quit (&fixture, first);
  process_quit (&fixture, other);
  process_clear (&fixture);
}

/* --- the session --------------------------------------------------------------------------- */

/* The guest belongs to nobody: it goes on without the session. */
static void
test_dropped_session (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 1);
  g_autoptr (QsnapRestoreOptions) options =
      process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  QsnapSession *session = process_restore_well (&fixture, snapshot, options);
  g_autofree char *address = g_strdup (qsnap_session_get_address (session));
  int pid = qsnap_session_get_pid (session);
  g_autofree char *state = NULL;
  g_autoptr (GError) error = NULL;
  GWeakRef weak;

  g_weak_ref_init (&weak, session);
  g_object_unref (session);
  fixture_wait_gone (&weak);
  g_usleep (50000);
  g_assert_cmpint (kill (pid, 0), ==, 0);
  session = qsnap_session_new (address);
  g_assert_true (qsnap_session_open (session, NULL, &error));
  g_assert_no_error (error);
  state = process_dup_state (session);
  g_assert_cmpstr (state, ==, "running");
  g_assert_true (qsnap_session_quit (session, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (process_is_gone (pid));
  g_object_unref (session);
  process_clear (&fixture);
}

/* One that was not made by a revert has none of its properties. */
static void
test_plain_session (gconstpointer style)
{
  Fixture fixture;
  g_auto (GStrv) warnings = NULL;
  g_autoptr (GError) error = NULL;

  process_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  fixture_open (&fixture);
  g_assert_cmpint (qsnap_session_get_pid (fixture.session), ==, 0);
  g_assert_null (qsnap_session_get_restore_directory (fixture.session));
  warnings = qsnap_session_dup_restore_warnings (fixture.session);
  g_assert_true (warnings == NULL || warnings[0] == NULL);
  g_assert_true (qsnap_session_quit (fixture.session, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (mock_has_exited (fixture.mock));
  g_clear_error (&error);
  g_assert_false (qsnap_session_quit (fixture.session, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED);
  process_clear (&fixture);
}

/* --- asynchronously ------------------------------------------------------------------------ */

typedef struct
{
  QsnapSnapshot *snapshot;
  QsnapRestoreOptions *options;
  ProcessResult result;
} ThreadData;

static gpointer
restore_in_thread (gpointer user_data)
{
  ThreadData *data = user_data;
  g_autoptr (GMainContext) context = g_main_context_new ();

  g_main_context_push_thread_default (context);
  process_start_restore (data->snapshot, data->options, NULL, &data->result);
  process_wait_result (&data->result);
  g_main_context_pop_thread_default (context);
  return g_thread_self ();
}

/* The callback comes where it was asked for; the main context is not needed. */
static void
test_thread (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 1);
  g_autoptr (QsnapRestoreOptions) options =
      process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  ThreadData data = { snapshot, options, { 0 } };
  GThread *thread = g_thread_new ("restore", restore_in_thread, &data);
  gpointer self = g_thread_join (thread);

  g_assert_no_error (data.result.error);
  g_assert_true (data.result.thread == self);
  process_quit (&fixture, data.result.session);
  process_clear (&fixture);
}

static void
on_event (G_GNUC_UNUSED QsnapSession *session,
          const char *name,
          G_GNUC_UNUSED JsonNode *data,
          G_GNUC_UNUSED gint64 time,
          gpointer user_data)
{
  g_string_append_printf (user_data, " %s in %s", name,
                          g_main_context_is_owner (NULL) ? "main" : "another");
}

static void
on_closed (G_GNUC_UNUSED QsnapSession *session,
           G_GNUC_UNUSED const GError *error,
           gpointer user_data)
{
  g_string_append (user_data, " closed");
}

static void
on_quit (GObject *source, GAsyncResult *async, gpointer user_data)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_session_quit_finish (QSNAP_SESSION (source), async, &error));
  g_assert_no_error (error);
  *(gboolean *)user_data = TRUE;
}

static void
test_async_quit (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = set_up (&fixture, style, 1);
  g_autoptr (QsnapRestoreOptions) options =
      process_options (&fixture, QSNAP_RESTORE_METHOD_AUTO, ANONYMOUS, 1);
  ProcessResult result;
  g_autoptr (GString) news = g_string_new (NULL);
  gboolean quit = FALSE;
  int pid;

  process_start_restore (snapshot, options, NULL, &result);
  g_assert_false (result.done);
  process_wait_result (&result);
  g_assert_no_error (result.error);
  pid = qsnap_session_get_pid (result.session);
  g_signal_connect (result.session, "event::SHUTDOWN", G_CALLBACK (on_event), news);
  g_signal_connect (result.session, "closed", G_CALLBACK (on_closed), news);
  qsnap_session_quit_async (result.session, NULL, on_quit, &quit);
  while (!quit || strstr (news->str, "closed") == NULL)
    g_main_context_iteration (NULL, TRUE);
  g_assert_cmpstr (news->str, ==, " SHUTDOWN in main closed");
  g_assert_true (process_is_gone (pid));
  g_object_unref (result.session);
  process_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!fixture_has_qemu_img ())
    return 0;
  fixture_add ("/restore-session/clones", test_clones);
  fixture_add ("/restore-session/revert-of-revert", test_revert_of_revert);
  fixture_add ("/restore-session/dropped", test_dropped_session);
  fixture_add ("/restore-session/plain", test_plain_session);
  fixture_add ("/restore-session/thread", test_thread);
  fixture_add ("/restore-session/async-quit", test_async_quit);
  return g_test_run ();
}
