/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The scenarios in C: scenarios SCENARIO ADDRESS FOLDER. Only the public API is used. */

#include <qsnap/qsnap.h>

#include <signal.h>
#include <string.h>

#define CYCLES 1000
#define IN_ORDER " point memory"

/* --- helpers ------------------------------------------------------------------------------- */

static QsnapSession *
open_session (const char *address)
{
  QsnapSession *session = qsnap_session_new (address);
  g_autoptr (GError) error = NULL;

  qsnap_session_open (session, NULL, &error);
  g_assert_no_error (error);
  return session;
}

static QsnapSnapshotOptions *
options_for (const char *folder, const char *name)
{
  g_autoptr (GFile) directory = g_file_new_build_filename (folder, name, NULL);
  QsnapSnapshotOptions *options = qsnap_snapshot_options_new (directory);
  g_autofree char *shown = g_strdup_printf ("before %s", name);

  qsnap_snapshot_options_set_name (options, shown);
  return options;
}

static JsonNode *
execute (QsnapSession *session, const char *command, const char *arguments)
{
  g_autoptr (JsonNode) node = arguments != NULL ? json_from_string (arguments, NULL) : NULL;
  g_autoptr (GError) error = NULL;
  JsonNode *reply = qsnap_session_execute (session, command, node, NULL, NULL, &error);

  g_assert_no_error (error);
  return reply;
}

static void
assert_runs (QsnapSession *session)
{
  g_autoptr (JsonNode) reply = execute (session, "query-status", NULL);

  g_assert_cmpstr (json_object_get_string_member (json_node_get_object (reply), "status"), ==,
                   "running");
}

static void
iterate_until_set (gpointer place)
{
  while (*(gpointer *)place == NULL)
    g_main_context_iteration (NULL, TRUE);
}

/* Sealed or not: a handler that comes late finds it so already. */
static void
note_point (G_GNUC_UNUSED QsnapSession *session, QsnapSnapshot *snapshot, gpointer news)
{
  g_assert_true (QSNAP_IS_SNAPSHOT (snapshot));
  g_string_append (news, " point");
}

static void
note_memory (G_GNUC_UNUSED QsnapSession *session, QsnapSnapshot *snapshot, gpointer news)
{
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  g_string_append (news, " memory");
}

static GString *
note_signals (QsnapSession *session)
{
  GString *news = g_string_new (NULL);

  g_signal_connect (session, "point-in-time-reached", G_CALLBACK (note_point), news);
  g_signal_connect (session, "memory-complete", G_CALLBACK (note_memory), news);
  return news;
}

static void
on_captured (GObject *source, GAsyncResult *result, gpointer place)
{
  g_autoptr (GError) error = NULL;
  QsnapSnapshot *snapshot =
      qsnap_session_instant_snapshot_finish (QSNAP_SESSION (source), result, &error);

  g_assert_no_error (error);
  *(QsnapSnapshot **)place = snapshot;
}

static QsnapSnapshot *
capture_sync (QsnapSession *session, const char *folder, const char *name)
{
  g_autoptr (QsnapSnapshotOptions) options = options_for (folder, name);
  g_autoptr (GError) error = NULL;
  QsnapSnapshot *snapshot = qsnap_session_instant_snapshot (session, options, NULL, &error);

  g_assert_no_error (error);
  return snapshot;
}

/* Drops @session while it runs. */
static QsnapSnapshot *
capture_and_drop (QsnapSession *session, const char *folder, const char *name)
{
  g_autoptr (QsnapSnapshotOptions) options = options_for (folder, name);
  QsnapSnapshot *snapshot = NULL;

  qsnap_session_instant_snapshot_async (session, options, NULL, on_captured, &snapshot);
  g_object_unref (session);
  iterate_until_set (&snapshot);
  return snapshot;
}

static void
assert_is_good (QsnapSnapshot *snapshot, const char *folder)
{
  g_autoptr (QsnapDisk) disk = g_list_model_get_item (qsnap_snapshot_get_disks (snapshot), 0);
  g_autofree char *image = g_build_filename (folder, "a.raw", NULL);
  g_autoptr (GDateTime) time = qsnap_snapshot_dup_time (snapshot);
  g_autoptr (QsnapSnapshot) loaded = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  g_assert_true (g_str_has_prefix (qsnap_snapshot_get_name (snapshot), "before "));
  g_assert_cmpint (g_date_time_to_unix (time), >, 0);
  g_assert_cmpstr (qsnap_disk_get_device (disk), ==, "virtio0");
  g_assert_cmpstr (qsnap_disk_get_base (disk), ==, image);
  g_assert_cmpint (qsnap_disk_get_mode (disk), ==, QSNAP_DISK_MODE_OVERLAY);
  qsnap_snapshot_verify (snapshot, NULL, &error);
  g_assert_no_error (error);
  loaded = qsnap_snapshot_load (qsnap_snapshot_get_directory (snapshot), NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (qsnap_snapshot_get_pause_us (loaded), ==,
                   qsnap_snapshot_get_pause_us (snapshot));
}

/* --- connect and check --------------------------------------------------------------------- */

static void
on_opened (GObject *source, GAsyncResult *result, gpointer place)
{
  g_autoptr (GError) error = NULL;

  qsnap_session_open_finish (QSNAP_SESSION (source), result, &error);
  g_assert_no_error (error);
  *(gpointer *)place = source;
}

static void
on_stop (G_GNUC_UNUSED QsnapSession *session,
         const char *name,
         G_GNUC_UNUSED JsonNode *data,
         gint64 time,
         gpointer place)
{
  g_assert_cmpstr (name, ==, "STOP");
  g_assert_cmpint (time, >, 0);
  *(gboolean *)place = TRUE;
}

static void
on_closed (G_GNUC_UNUSED QsnapSession *session, const GError *error, gpointer place)
{
  g_assert_null (error);
  *(gboolean *)place = TRUE;
}

static void
scenario_connect (const char *address, G_GNUC_UNUSED const char *folder)
{
  g_autoptr (QsnapSession) session = qsnap_session_new (address);
  g_autofree char *version = NULL;
  gpointer opened = NULL;
  gboolean stopped = FALSE, closed = FALSE;
  g_autoptr (JsonNode) stop = NULL, listed = NULL;

  g_signal_connect (session, "event::STOP", G_CALLBACK (on_stop), &stopped);
  g_signal_connect (session, "closed", G_CALLBACK (on_closed), &closed);
  qsnap_session_open_async (session, NULL, on_opened, &opened);
  iterate_until_set (&opened);
  g_assert_true (qsnap_session_get_is_open (session));
  version = qsnap_session_dup_qemu_version (session);
  g_assert_true (g_str_has_prefix (version, "10.0"));
  g_assert_cmpstr (qsnap_session_get_address (session), ==, address);
  assert_runs (session);
  stop = execute (session, "stop", NULL);
  while (!stopped)
    g_main_context_iteration (NULL, TRUE);
  listed = execute (session, "qom-list", "{\"path\": \"/machine\"}");
  g_assert_cmpuint (json_array_get_length (json_node_get_array (listed)), >, 0);
  qsnap_session_close (session);
  while (!closed)
    g_main_context_iteration (NULL, TRUE);
  g_assert_false (qsnap_session_get_is_open (session));
}

static void
on_checked (GObject *source, GAsyncResult *result, gpointer place)
{
  g_autoptr (GError) error = NULL;
  QsnapReport *report = qsnap_session_check_finish (QSNAP_SESSION (source), result, &error);

  g_assert_no_error (error);
  *(QsnapReport **)place = report;
}

static void
scenario_check (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapSnapshotOptions) good = options_for (folder, "snapshot"),
                                   bad = options_for (folder, "");
  g_autoptr (QsnapReport) report = NULL, refused = NULL;
  g_auto (GStrv) problems = NULL, bad_problems = NULL;
  g_autoptr (GError) error = NULL;

  qsnap_session_check_async (session, good, NULL, on_checked, &report);
  iterate_until_set (&report);
  problems = qsnap_report_get_problems (report);
  g_assert_true (qsnap_report_get_ok (report));
  g_assert_cmpuint (g_strv_length (problems), ==, 0);
  refused = qsnap_session_check (session, bad, NULL, &error);
  g_assert_no_error (error);
  bad_problems = qsnap_report_get_problems (refused);
  g_assert_false (qsnap_report_get_ok (refused));
  g_assert_nonnull (strstr (bad_problems[0], "not empty"));
}

/* --- captures ------------------------------------------------------------------------------ */

static void
note_thread (G_GNUC_UNUSED QsnapSession *session,
             G_GNUC_UNUSED QsnapSnapshot *snapshot,
             gpointer place)
{
  *(GThread **)place = g_thread_self ();
}

/* No main context is iterated: the signals come inside the call. */
static void
scenario_capture (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  GString *news = note_signals (session);
  GThread *thread = NULL;

  g_signal_connect (session, "point-in-time-reached", G_CALLBACK (note_thread), &thread);
  snapshot = capture_sync (session, folder, "snapshot");
  g_assert_cmpstr (news->str, ==, IN_ORDER);
  g_assert_true (thread == g_thread_self ());
  assert_is_good (snapshot, folder);
  g_string_free (news, TRUE);
}

static void
scenario_capture_async (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  GString *news = note_signals (session);

  snapshot = capture_and_drop (g_object_ref (session), folder, "snapshot");
  g_assert_cmpstr (news->str, ==, IN_ORDER);
  assert_is_good (snapshot, folder);
  g_string_free (news, TRUE);
}

typedef struct
{
  guint64 done, total;
  guint n_done;
  QsnapPhase phase;
  gboolean ended;
} Progress;

static void
note_bytes (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer user_data)
{
  Progress *progress = user_data;

  g_assert_cmpuint (qsnap_session_get_bytes_done (session), >=, progress->done);
  progress->done = qsnap_session_get_bytes_done (session);
  progress->total = qsnap_session_get_bytes_total (session);
  progress->n_done++;
}

static void
note_phase (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer user_data)
{
  Progress *progress = user_data;
  QsnapPhase phase = qsnap_session_get_phase (session);

  progress->ended = phase == QSNAP_PHASE_IDLE;
  if (progress->ended)
    return;
  g_assert_cmpint (phase, >, progress->phase);
  progress->phase = phase;
}

static void
on_group_point (G_GNUC_UNUSED QsnapGroup *group, QsnapGroupSnapshot *snapshot, gpointer news)
{
  g_string_append (news, qsnap_group_snapshot_get_sealed (snapshot) ? " sealed" : " point");
}

static void
on_group_memory (G_GNUC_UNUSED QsnapGroup *group, QsnapGroupSnapshot *snapshot, gpointer news)
{
  g_string_append (news, qsnap_group_snapshot_get_sealed (snapshot) ? " memory" : " unsealed");
}

static void
take_result (G_GNUC_UNUSED GObject *source, GAsyncResult *result, gpointer place)
{
  *(GAsyncResult **)place = g_object_ref (result);
}

static void
scenario_group (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapGroup) group = qsnap_group_new ();
  g_autoptr (QsnapSnapshotOptions) options = options_for (folder, "snapshot");
  g_autoptr (QsnapSnapshotOptions) second_options = options_for (folder, "second");
  g_autoptr (GString) news = g_string_new (NULL);
  g_autoptr (QsnapGroupSnapshot) first = NULL, loaded = NULL, second = NULL;
  g_autoptr (GAsyncResult) result = NULL;
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) names = NULL;

  g_assert_true (qsnap_group_add_session (group, session, "web", NULL, &error));
  g_assert_false (qsnap_group_add_session (group, session, "db", NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);
  g_signal_connect (group, "point-in-time-reached", G_CALLBACK (on_group_point), news);
  g_signal_connect (group, "memory-complete", G_CALLBACK (on_group_memory), news);
  first = qsnap_group_instant_snapshot (group, options, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (news->str, ==, " point memory");
  g_assert_cmpint (qsnap_group_snapshot_get_overlap_us (first), >, 0);
  loaded = qsnap_group_snapshot_load (qsnap_group_snapshot_get_directory (first), NULL, &error);
  g_assert_no_error (error);
  names = qsnap_group_snapshot_dup_names (loaded);
  g_assert_cmpstr (names[0], ==, "web");
  g_assert_true (qsnap_group_snapshot_verify (loaded, NULL, &error));

  qsnap_group_instant_snapshot_async (group, second_options, NULL, take_result, &result);
  while (result == NULL)
    g_main_context_iteration (NULL, TRUE);
  second = qsnap_group_instant_snapshot_finish (group, result, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (news->str, ==, " point memory point memory");
}

static void
scenario_progress (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  Progress progress = { 0 };

  g_signal_connect (session, "notify::bytes-done", G_CALLBACK (note_bytes), &progress);
  g_signal_connect (session, "notify::phase", G_CALLBACK (note_phase), &progress);
  snapshot = capture_sync (session, folder, "snapshot");
  g_assert_cmpuint (progress.n_done, >, 1);
  g_assert_cmpuint (progress.done, >, 0);
  g_assert_cmpuint (progress.done, ==, progress.total);
  g_assert_true (progress.ended);
  g_assert_cmpint (progress.phase, >=, QSNAP_PHASE_SAVING);
}

static void
cancel_now (G_GNUC_UNUSED QsnapSession *session,
            G_GNUC_UNUSED QsnapSnapshot *snapshot,
            gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
}

static void
scenario_cancel (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapSnapshotOptions) options = options_for (folder, "snapshot");
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autofree char *manifest = g_build_filename (folder, "snapshot", "snapshot.json", NULL);
  GString *news = note_signals (session);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  g_signal_connect (session, "point-in-time-reached", G_CALLBACK (cancel_now), cancellable);
  snapshot = qsnap_session_instant_snapshot (session, options, cancellable, &error);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_null (snapshot);
  g_assert_cmpstr (news->str, ==, " point");
  g_assert_false (g_file_test (manifest, G_FILE_TEST_EXISTS));
  assert_runs (session);
  snapshot = capture_sync (session, folder, "snapshot");
  g_string_free (news, TRUE);
}

/* --- errors -------------------------------------------------------------------------------- */

static void
assert_capture_fails (QsnapSession *session, const char *folder, const char *name, int code)
{
  g_autoptr (QsnapSnapshotOptions) options = options_for (folder, name);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  snapshot = qsnap_session_instant_snapshot (session, options, NULL, &error);
  g_assert_error (error, QSNAP_ERROR, code);
}

static void
try_another (QsnapSession *session, G_GNUC_UNUSED QsnapSnapshot *snapshot, gpointer folder)
{
  assert_capture_fails (session, folder, "second", QSNAP_ERROR_BUSY);
}

static void
scenario_errors (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = qsnap_session_new (address),
                           nowhere = qsnap_session_new ("/nowhere");
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) error = NULL;

  assert_capture_fails (session, folder, "snapshot", QSNAP_ERROR_CLOSED);
  g_assert_false (qsnap_session_open (nowhere, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  g_clear_error (&error);
  g_assert_true (qsnap_session_open (session, NULL, &error));
  reply = qsnap_session_execute (session, "query-name", NULL, NULL, NULL, &error);
  g_assert_null (reply);
  g_assert_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC);
  g_assert_cmpstr (error->message, ==, "simulated error of query-name");
  g_signal_connect (session, "point-in-time-reached", G_CALLBACK (try_another), (gpointer)folder);
  snapshot = capture_sync (session, folder, "snapshot");
  assert_capture_fails (session, folder, "snapshot", QSNAP_ERROR_EXISTS);
}

/* --- reverting ----------------------------------------------------------------------------- */

/* Whoever is the parent reaps it a moment later. */
static void
wait_ended (int pid)
{
  for (guint i = 0; i < 10000 && kill (pid, 0) == 0; i++)
    g_usleep (1000);
  g_assert_cmpint (kill (pid, 0), !=, 0);
}

/* On a guest of any kind: what the other languages do too. */
static void
scenario_revert (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address), guest = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (QsnapRestoreOptions) options = qsnap_restore_options_new ();
  g_autoptr (GFile) directory = g_file_new_build_filename (folder, "revert", NULL);
  GString *news = note_signals (session);
  g_autoptr (GError) error = NULL;
  int pid;

  snapshot = capture_and_drop (g_object_ref (session), folder, "snapshot");
  g_assert_cmpstr (news->str, ==, IN_ORDER);
  qsnap_restore_options_set_directory (options, directory);
  guest = qsnap_snapshot_restore (snapshot, options, NULL, &error);
  g_assert_no_error (error);
  qsnap_session_wait_settled (guest, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (qsnap_session_get_restore_method (guest), !=, QSNAP_RESTORE_METHOD_AUTO);
  pid = qsnap_session_get_pid (guest);
  g_assert_cmpint (kill (pid, 0), ==, 0);
  assert_runs (guest);
  qsnap_session_quit (guest, NULL, &error);
  g_assert_no_error (error);
  wait_ended (pid);
  assert_runs (session);
  g_string_free (news, TRUE);
}

/* --- what applications do wrong ------------------------------------------------------------ */

/* As near to an exception as C comes. */
static void
complain_and_disconnect (QsnapSession *session,
                         G_GNUC_UNUSED QsnapSnapshot *snapshot,
                         gpointer user_data)
{
  g_signal_handlers_disconnect_by_func (session, complain_and_disconnect, user_data);
  g_critical ("out of the handler");
}

static void
scenario_throwing_handler (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  GString *news;

  g_signal_connect (session, "point-in-time-reached", G_CALLBACK (complain_and_disconnect), NULL);
  news = note_signals (session);
  g_test_expect_message (G_LOG_DOMAIN, G_LOG_LEVEL_CRITICAL, "out of the handler");
  snapshot = capture_sync (session, folder, "snapshot");
  g_test_assert_expected_messages ();
  g_assert_cmpstr (news->str, ==, IN_ORDER);
  g_string_free (news, TRUE);
}

static void
count_gone (gpointer count, G_GNUC_UNUSED GObject *where_it_was)
{
  g_atomic_int_inc ((gint *)count);
}

/* The library's threads let go of a session a moment later. */
static void
wait_gone (gint *count, gint expected)
{
  for (guint i = 0; i < 20000 && g_atomic_int_get (count) != expected; i++)
    {
      g_main_context_iteration (NULL, FALSE);
      g_usleep (1000);
    }
  g_assert_cmpint (g_atomic_int_get (count), ==, expected);
}

static void
scenario_dropped_session (const char *address, const char *folder)
{
  QsnapSession *session = open_session (address);
  GString *news = note_signals (session);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  gint gone = 0;

  g_object_weak_ref (G_OBJECT (session), count_gone, &gone);
  snapshot = capture_and_drop (session, folder, "snapshot");
  g_assert_cmpstr (news->str, ==, IN_ORDER);
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  wait_gone (&gone, 1);
  g_string_free (news, TRUE);
}

static guint
count_descriptors (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  return n;
}

/* A connection's is closed by the library's thread. */
static void
wait_descriptors (guint most)
{
  for (guint i = 0; i < 20000 && count_descriptors () > most; i++)
    g_usleep (1000);
  g_assert_cmpuint (count_descriptors (), <=, most);
}

/* Every second one is not closed, but dropped. */
static void
scenario_open_close (const char *address, G_GNUC_UNUSED const char *folder)
{
  gint gone = 0;
  guint before;

  g_object_unref (open_session (address));
  before = count_descriptors ();
  for (guint i = 0; i < CYCLES; i++)
    {
      QsnapSession *session = open_session (address);

      g_object_weak_ref (G_OBJECT (session), count_gone, &gone);
      if (i % 2 == 1)
        qsnap_session_close (session);
      g_object_unref (session);
    }
  wait_gone (&gone, CYCLES);
  wait_descriptors (before);
}

/* --- values -------------------------------------------------------------------------------- */

/* Where its images are. */
static void
assert_images (QsnapSnapshot *snapshot)
{
  static const char *const images[] = { "nothing=/ä", NULL };
  g_autoptr (GError) error = NULL;

  qsnap_snapshot_check_disk (snapshot, "virtio0", NULL, &error);
  g_assert_no_error (error);
  g_assert_false (qsnap_snapshot_relocate_disks (snapshot, images, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
}

/* What is said of a snapshot, and what keeps it. */
static void
assert_kept (QsnapSnapshot *snapshot, GListModel *list)
{
  g_autoptr (QsnapRetention) retention = qsnap_retention_new ();
  g_autoptr (GVariant) metadata = NULL;
  g_auto (GStrv) reasons = NULL;
  g_autoptr (GError) error = NULL;

  qsnap_snapshot_annotate (snapshot, "a text", g_variant_new_parsed ("{'n': <7>}"), NULL, &error);
  g_assert_no_error (error);
  metadata = qsnap_snapshot_dup_metadata (snapshot);
  g_assert_cmpuint (g_variant_n_children (metadata), ==, 1);
  qsnap_retention_set_keep (retention, QSNAP_PERIOD_DAILY, 1);
  reasons = qsnap_retention_explain (retention, list);
  g_assert_cmpstr (reasons[0], ==, "daily 1");
}

/* Lists, arrays, enumerations, JSON and bound properties. */
static void
scenario_values (const char *address, const char *folder)
{
  g_autoptr (QsnapSession) session = open_session (address);
  g_autoptr (QsnapSnapshotOptions) options = options_for (folder, "snapshot"),
                                   other = options_for (folder, "other");
  g_autoptr (QsnapDiskOptions) disk = qsnap_disk_options_new ("virtio0", QSNAP_DISK_MODE_OVERLAY);
  g_autoptr (GFile) parent = g_file_new_for_path (folder);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GListModel) list = NULL;
  g_autoptr (JsonNode) manifest = NULL;
  g_auto (GStrv) command = NULL;
  g_autoptr (GError) error = NULL;

  g_object_bind_property (options, "leave", other, "leave", G_BINDING_DEFAULT);
  qsnap_snapshot_options_set_leave (options, QSNAP_LEAVE_PAUSED);
  g_assert_cmpint (qsnap_snapshot_options_get_leave (other), ==, QSNAP_LEAVE_PAUSED);
  qsnap_snapshot_options_add_disk (options, disk);
  g_assert_cmpuint (g_list_model_get_n_items (qsnap_snapshot_options_get_disks (options)), ==, 1);
  snapshot = qsnap_session_instant_snapshot (session, options, NULL, &error);
  g_assert_no_error (error);
  list = qsnap_snapshot_list (parent, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (g_list_model_get_n_items (list), ==, 1);
  manifest = qsnap_snapshot_dup_manifest (snapshot);
  g_assert_cmpstr (json_object_get_string_member (json_node_get_object (manifest), "name"), ==,
                   "before snapshot");
  assert_kept (snapshot, list);
  assert_images (snapshot);
  command = qsnap_snapshot_build_command (snapshot, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_strv_contains ((const char *const *)command, "-incoming"));
}

/* --- threads ------------------------------------------------------------------------------- */

typedef struct
{
  const char *address;
  QsnapSession *session;
  GMainContext *context;
  GMainLoop *loop;
  GThread *emitter;
  GAsyncQueue *ready;
} Owner;

static gpointer
owner_main (gpointer user_data)
{
  Owner *owner = user_data;

  g_main_context_push_thread_default (owner->context);
  owner->session = open_session (owner->address);
  g_signal_connect (owner->session, "memory-complete", G_CALLBACK (note_thread), &owner->emitter);
  g_async_queue_push (owner->ready, owner);
  g_main_loop_run (owner->loop);
  g_main_context_pop_thread_default (owner->context);
  return NULL;
}

/* A session that was made in one thread, with a main context of its own, and is used from another.
 */
static void
scenario_threads (const char *address, const char *folder)
{
  Owner owner = { .address = address, .ready = g_async_queue_new () };
  GThread *thread;
  g_autoptr (QsnapSnapshot) first = NULL, second = NULL;

  owner.context = g_main_context_new ();
  owner.loop = g_main_loop_new (owner.context, FALSE);
  thread = g_thread_new ("owner", owner_main, &owner);
  g_async_queue_pop (owner.ready);
  first = capture_and_drop (g_object_ref (owner.session), folder, "first");
  g_assert_true (owner.emitter == thread);
  second = capture_sync (owner.session, folder, "second");
  g_assert_true (owner.emitter == g_thread_self ());
  g_main_loop_quit (owner.loop);
  g_thread_join (thread);
  g_object_unref (owner.session);
  g_main_loop_unref (owner.loop);
  g_main_context_unref (owner.context);
  g_async_queue_unref (owner.ready);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*run) (const char *address, const char *folder);
  } scenarios[] = {
    { "connect", scenario_connect },
    { "check", scenario_check },
    { "capture", scenario_capture },
    { "capture-async", scenario_capture_async },
    { "progress", scenario_progress },
    { "cancel", scenario_cancel },
    { "group", scenario_group },
    { "errors", scenario_errors },
    { "revert", scenario_revert },
    { "throwing-handler", scenario_throwing_handler },
    { "dropped-session", scenario_dropped_session },
    { "open-close", scenario_open_close },
    { "values", scenario_values },
    { "threads", scenario_threads },
  };

  g_assert_cmpint (argc, ==, 4);
  for (guint i = 0; i < G_N_ELEMENTS (scenarios); i++)
    {
      if (g_str_equal (argv[1], scenarios[i].name))
        {
          scenarios[i].run (argv[2], argv[3]);
          return 0;
        }
    }
  return 2;
}
