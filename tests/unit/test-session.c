/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where and when the signals of a session come, and what else it promises of an operation. */

#include "fixture.h"

#include <string.h>

/* --- contexts and threads ------------------------------------------------------------------ */

typedef struct
{
  Fixture fixture;
  GMainContext *context;
  GMainLoop *loop;
  GMutex lock;
  GCond cond;
  gboolean ready;
  guint n_events;
} Owner;

static void
note_owner_event (G_GNUC_UNUSED QsnapSession *session,
                  G_GNUC_UNUSED const char *name,
                  G_GNUC_UNUSED JsonNode *data,
                  G_GNUC_UNUSED gint64 time,
                  gpointer user_data)
{
  Owner *owner = user_data;

  g_assert_true (g_main_context_is_owner (owner->context));
  owner->n_events++;
}

static void
quit_when_closed (G_GNUC_UNUSED QsnapSession *session,
                  G_GNUC_UNUSED const GError *error,
                  gpointer user_data)
{
  Owner *owner = user_data;

  g_assert_true (g_main_context_is_owner (owner->context));
  g_main_loop_quit (owner->loop);
}

/* A session made in a thread with a context of its own. */
static gpointer
owner_main (gpointer user_data)
{
  Owner *owner = user_data;

  g_main_context_push_thread_default (owner->context);
  fixture_open (&owner->fixture);
  g_signal_connect (owner->fixture.session, "event", G_CALLBACK (note_owner_event), owner);
  g_signal_connect (owner->fixture.session, "closed", G_CALLBACK (quit_when_closed), owner);
  g_mutex_lock (&owner->lock);
  owner->ready = TRUE;
  g_cond_signal (&owner->cond);
  g_mutex_unlock (&owner->lock);
  g_main_loop_run (owner->loop);
  g_main_context_pop_thread_default (owner->context);
  return NULL;
}

static void
owner_start (Owner *owner, GThread **thread)
{
  memset (owner, 0, sizeof *owner);
  fixture_set_up (&owner->fixture, MOCK_STYLE_10, 1);
  owner->context = g_main_context_new ();
  owner->loop = g_main_loop_new (owner->context, FALSE);
  g_mutex_init (&owner->lock);
  g_cond_init (&owner->cond);
  *thread = g_thread_new ("owner", owner_main, owner);
  g_mutex_lock (&owner->lock);
  while (!owner->ready)
    g_cond_wait (&owner->cond, &owner->lock);
  g_mutex_unlock (&owner->lock);
}

/* The owner's loop ends with `closed`, which comes after all other news. */
static void
owner_end (Owner *owner, GThread *thread)
{
  qsnap_session_close (owner->fixture.session);
  g_thread_join (thread);
}

static void
owner_clear (Owner *owner)
{
  fixture_clear (&owner->fixture);
  g_main_loop_unref (owner->loop);
  g_main_context_unref (owner->context);
  g_mutex_clear (&owner->lock);
  g_cond_clear (&owner->cond);
}

static void
test_context_of_construction (void)
{
  Owner owner;
  GThread *thread;
  FixtureResult result;

  owner_start (&owner, &thread);
  /* From here: the callback belongs to this thread, the signals to the owner's. */
  fixture_start_capture (&owner.fixture, "async", NULL, &result);
  fixture_wait_result (&result);
  g_assert_no_error (result.error);
  fixture_result_clear (&result);
  owner_end (&owner, thread);
  g_assert_true (owner.fixture.emitter == thread);
  g_assert_cmpstr (owner.fixture.news->str, ==, " point memory closed");
  g_assert_cmpuint (owner.n_events, >, 0);
  fixture_assert_phases (&owner.fixture);
  owner_clear (&owner);
}

/* In a synchronous call they come in the thread that called, QMP's events in the owner's. */
static void
test_sync_from_another_thread (void)
{
  Owner owner;
  GThread *thread;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  owner_start (&owner, &thread);
  snapshot = fixture_capture_well (&owner.fixture, "sync");
  g_assert_true (owner.fixture.emitter == g_thread_self ());
  g_assert_cmpstr (owner.fixture.news->str, ==, " point memory");
  fixture_assert_phases (&owner.fixture);
  owner_end (&owner, thread);
  g_assert_cmpstr (owner.fixture.news->str, ==, " point memory closed");
  g_assert_true (owner.fixture.emitter == g_thread_self ());
  owner_clear (&owner);
}

/* --- order --------------------------------------------------------------------------------- */

static void
check_unsealed (QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  Fixture *fixture = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (GFile) directory = fixture_file (fixture, "snapshot");
  g_autoptr (QsnapSnapshot) loaded = NULL;
  g_autofree char *operation = qsnap_session_dup_operation (session);

  g_assert_cmpstr (operation, ==, "instant-snapshot");
  g_assert_false (qsnap_snapshot_get_sealed (snapshot));
  g_assert_false (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_clear_error (&error);
  g_assert_false (qsnap_snapshot_export_stream (snapshot, 1, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_clear_error (&error);
  loaded = qsnap_snapshot_load (directory, NULL, &error);
  g_assert_null (loaded);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  mock_release_point (fixture->mock);
}

static void
check_sealed (QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  Fixture *fixture = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (GFile) directory = fixture_file (fixture, "snapshot");
  g_autoptr (QsnapSnapshot) loaded = qsnap_snapshot_load (directory, NULL, &error);

  g_assert_no_error (error);
  g_assert_true (qsnap_snapshot_verify (snapshot, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (qsnap_snapshot_verify (loaded, NULL, &error));
  g_assert_no_error (error);
}

/* The save waits until the handler of the point in time lets it go on: the signals come at their
 * time, inside the call, while no main context is iterated. */
static void
test_sync_order (gconstpointer style)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "point-in-time-reached", G_CALLBACK (check_unsealed),
                    &fixture);
  g_signal_connect (fixture.session, "memory-complete", G_CALLBACK (check_sealed), &fixture);
  mock_hold_point (fixture.mock, MOCK_POINT_HALF);
  snapshot = fixture_capture_well (&fixture, "snapshot");
  g_assert_cmpstr (fixture.news->str, ==, " point memory");
  g_assert_true (fixture.emitter == g_thread_self ());
  fixture_assert_phases (&fixture);
  fixture_forget_news (&fixture);
  fixture_drain_context ();
  g_assert_cmpstr (fixture.news->str, ==, "");
  fixture_clear (&fixture);
}

static void
note_operation (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer news)
{
  g_autofree char *operation = qsnap_session_dup_operation (session);

  g_string_append_printf (news, " %s", operation != NULL ? operation : "none");
}

static void
test_async_order (gconstpointer style)
{
  Fixture fixture;
  FixtureResult result;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "notify::operation", G_CALLBACK (note_operation),
                    fixture.news);
  g_signal_connect (fixture.session, "point-in-time-reached", G_CALLBACK (check_unsealed),
                    &fixture);
  mock_hold_point (fixture.mock, MOCK_POINT_HALF);
  fixture_start_capture (&fixture, "snapshot", NULL, &result);
  g_assert_cmpstr (fixture.news->str, ==, "");
  fixture_wait_result (&result);
  g_assert_no_error (result.error);
  g_assert_cmpstr (fixture.news->str, ==, " instant-snapshot point memory none");
  fixture_assert_phases (&fixture);
  fixture_result_clear (&result);
  fixture_clear (&fixture);
}

/* --- one at a time ------------------------------------------------------------------------- */

static void
assert_busy (QsnapSession *session, G_GNUC_UNUSED QsnapSnapshot *snapshot, gpointer user_data)
{
  Fixture *fixture = user_data;
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, "second");
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_session_instant_snapshot (session, options, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  mock_release_point (fixture->mock);
}

static void
test_busy (void)
{
  Fixture fixture;
  FixtureResult first, second;
  g_autoptr (QsnapSnapshot) third = NULL;

  fixture_set_up (&fixture, MOCK_STYLE_10, 1);
  fixture_open (&fixture);
  g_signal_connect (fixture.session, "point-in-time-reached", G_CALLBACK (assert_busy), &fixture);
  mock_hold_point (fixture.mock, MOCK_POINT_HALF);
  fixture_start_capture (&fixture, "first", NULL, &first);
  fixture_start_capture (&fixture, "second", NULL, &second);
  fixture_wait_result (&second);
  g_assert_error (second.error, QSNAP_ERROR, QSNAP_ERROR_BUSY);
  g_assert_nonnull (strstr (second.error->message, "instant-snapshot"));
  fixture_wait_result (&first);
  g_assert_no_error (first.error);

  /* Free again: in the callback already, so certainly here. */
  third = fixture_capture_well (&fixture, "third");
  fixture_result_clear (&first);
  fixture_result_clear (&second);
  fixture_clear (&fixture);
}

static void
test_not_open (void)
{
  g_autoptr (QsnapSession) session = qsnap_session_new ("/nowhere");
  g_autoptr (GFile) directory = g_file_new_for_path ("/nowhere/snapshot");
  g_autoptr (QsnapSnapshotOptions) options = qsnap_snapshot_options_new (directory);
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_session_instant_snapshot (session, options, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED);
  g_clear_error (&error);
  g_assert_null (qsnap_session_check (session, options, NULL, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED);
  g_assert_cmpint (qsnap_session_get_phase (session), ==, QSNAP_PHASE_IDLE);
}

/* --- the application does not matter ------------------------------------------------------- */

/* The main thread is blocked until the guest runs again, and the saving has begun: the pause did
 * not wait for it. */
static void
test_blocked_main_loop (gconstpointer style)
{
  gboolean old = GPOINTER_TO_INT (style) == MOCK_STYLE_7_2;
  Fixture fixture;
  FixtureResult result;
  g_autofree char *state = NULL;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 2);
  fixture_open (&fixture);
  fixture_start_capture (&fixture, "snapshot", NULL, &result);
  g_assert_true (mock_wait_command (fixture.mock, "transaction", 1, WAIT));
  if (!old)
    g_assert_true (mock_wait_command (fixture.mock, "cont", 1, WAIT));
  /* The last command of all. */
  g_assert_true (mock_wait_command (fixture.mock, "closefd", 2, WAIT));
  state = mock_dup_run_state (fixture.mock);
  g_assert_cmpstr (state, ==, "running");
  g_assert_cmpstr (fixture.news->str, ==, "");
  g_assert_false (result.done);

  fixture_wait_result (&result);
  g_assert_no_error (result.error);
  g_assert_cmpstr (fixture.news->str, ==, " point memory");
  g_assert_false (mock_is_torn (fixture.mock));
  fixture_result_clear (&result);
  fixture_clear (&fixture);
}

/* The application lets go of the session in the middle: what it began is brought to its end. */
static void
test_session_dropped (gconstpointer style)
{
  Fixture fixture;
  FixtureResult result;
  GWeakRef weak;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 1);
  fixture_open (&fixture);
  g_weak_ref_init (&weak, fixture.session);
  fixture_start_capture (&fixture, "snapshot", NULL, &result);
  g_clear_object (&fixture.session);
  fixture_wait_result (&result);
  g_assert_no_error (result.error);
  g_assert_true (qsnap_snapshot_get_sealed (result.snapshot));
  g_assert_cmpstr (fixture.news->str, ==, " point memory");
  fixture_result_clear (&result);
  fixture_wait_gone (&weak);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/session/context-of-construction", test_context_of_construction);
  g_test_add_func ("/session/sync-from-another-thread", test_sync_from_another_thread);
  fixture_add ("/session/sync-order", test_sync_order);
  fixture_add ("/session/async-order", test_async_order);
  g_test_add_func ("/session/busy", test_busy);
  g_test_add_func ("/session/not-open", test_not_open);
  fixture_add ("/session/blocked-main-loop", test_blocked_main_loop);
  fixture_add ("/session/dropped", test_session_dropped);
  return g_test_run ();
}
