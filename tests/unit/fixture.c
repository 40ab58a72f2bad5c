/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fixture.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "qsnap-qemu-img.h"

/* Enough for several reads of the saver, and quick. */
#define RAM_SIZE (4 * 1024 * 1024)

/* A hang is a failure with a name: SIGALRM says at which test. Seconds. */
#define PATIENCE 240

/* --- set up -------------------------------------------------------------------------------- */

gboolean
fixture_has_qemu_img (void)
{
  g_autoptr (GError) error = NULL;

  if (!qsnap_qemu_img_is_there (&error))
    g_print ("1..0 # SKIP %s\n", error->message);

  return error == NULL;
}

char *
fixture_path (Fixture *fixture, const char *name)
{
  return g_build_filename (mock_get_directory (fixture->mock), name, NULL);
}

GFile *
fixture_file (Fixture *fixture, const char *name)
{
  g_autofree char *path = fixture_path (fixture, name);

  return g_file_new_for_path (path);
}

char *
fixture_make_image (Fixture *fixture, const char *name, gsize size)
{
  char *path = fixture_path (fixture, name);
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
  close (fd);
  return path;
}

void
fixture_set_up (Fixture *fixture, MockStyle style, guint n_drives)
{
  memset (fixture, 0, sizeof *fixture);
  alarm (PATIENCE);
  fixture->style = style;
  fixture->mock = mock_new (style, MOCK_TRANSPORT_UNIX);
  fixture->news = g_string_new (NULL);
  fixture->phases = g_array_new (FALSE, FALSE, sizeof (QsnapPhase));
  mock_set_ram_size (fixture->mock, RAM_SIZE);
  for (guint i = 0; i < n_drives; i++)
    {
      g_autofree char *name = g_strdup_printf ("%c.raw", 'a' + (int)i);
      g_autofree char *device = g_strdup_printf ("virtio%u", i);
      g_autofree char *qdev = g_strdup_printf ("/machine/peripheral-anon/device[%u]", i);
      g_autofree char *image = fixture_make_image (fixture, name, 1024 * 1024);

      mock_add_drive (fixture->mock, device, qdev, NULL, "raw", image);
    }
}

static void
on_phase (QsnapSession *session, G_GNUC_UNUSED GParamSpec *pspec, gpointer user_data)
{
  Fixture *fixture = user_data;
  QsnapPhase phase = qsnap_session_get_phase (session);

  fixture->emitter = g_thread_self ();
  g_array_append_val (fixture->phases, phase);
}

static void
on_point (G_GNUC_UNUSED QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  Fixture *fixture = user_data;

  g_assert_true (QSNAP_IS_SNAPSHOT (snapshot));
  fixture->emitter = g_thread_self ();
  g_string_append (fixture->news, " point");
}

static void
on_disks (G_GNUC_UNUSED QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  Fixture *fixture = user_data;

  g_assert_true (QSNAP_IS_SNAPSHOT (snapshot));
  fixture->emitter = g_thread_self ();
  g_string_append (fixture->news, " disks");
}

static void
on_memory (G_GNUC_UNUSED QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  Fixture *fixture = user_data;

  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  fixture->emitter = g_thread_self ();
  g_string_append (fixture->news, " memory");
}

static void
on_closed (G_GNUC_UNUSED QsnapSession *session,
           G_GNUC_UNUSED const GError *error,
           gpointer user_data)
{
  g_string_append (((Fixture *)user_data)->news, " closed");
}

void
fixture_open (Fixture *fixture)
{
  mock_start (fixture->mock);
  fixture_connect (fixture);
}

void
fixture_connect (Fixture *fixture)
{
  g_autoptr (GError) error = NULL;

  fixture->session = qsnap_session_new (mock_get_address (fixture->mock));
  g_signal_connect (fixture->session, "notify::phase", G_CALLBACK (on_phase), fixture);
  g_signal_connect (fixture->session, "point-in-time-reached", G_CALLBACK (on_point), fixture);
  g_signal_connect (fixture->session, "disks-complete", G_CALLBACK (on_disks), fixture);
  g_signal_connect (fixture->session, "memory-complete", G_CALLBACK (on_memory), fixture);
  g_signal_connect (fixture->session, "closed", G_CALLBACK (on_closed), fixture);
  qsnap_session_open (fixture->session, NULL, &error);
  g_assert_no_error (error);
}

void
fixture_clear (Fixture *fixture)
{
  /* An operation's thread may keep the session for a moment longer. */
  if (fixture->session != NULL)
    g_signal_handlers_disconnect_by_data (fixture->session, fixture);
  g_clear_object (&fixture->session);
  mock_free (fixture->mock);
  g_string_free (fixture->news, TRUE);
  g_array_unref (fixture->phases);
  fixture_drain_context ();
  alarm (0);
}

void
fixture_drain_context (void)
{
  while (g_main_context_iteration (NULL, FALSE))
    ;
}

void
fixture_forget_news (Fixture *fixture)
{
  g_string_truncate (fixture->news, 0);
  g_array_set_size (fixture->phases, 0);
}

/* The library's threads let go of it a moment after the application heard of the end. */
void
fixture_wait_gone (GWeakRef *weak)
{
  gint64 patience = g_get_monotonic_time () + WAIT * (gint64)1000;

  for (;;)
    {
      g_autoptr (GObject) object = g_weak_ref_get (weak);

      if (object == NULL)
        break;
      if (g_get_monotonic_time () > patience)
        g_error ("the session is leaked: %u references and ours", object->ref_count - 1);
      g_clear_object (&object);
      fixture_drain_context ();
      g_usleep (1000);
    }
  g_weak_ref_clear (weak);
}

JsonNode *
fixture_execute (Fixture *fixture, const char *command, const char *arguments)
{
  g_autoptr (JsonNode) node = arguments != NULL ? json_from_string (arguments, NULL) : NULL;
  g_autoptr (GError) error = NULL;
  JsonNode *reply = qsnap_session_execute (fixture->session, command, node, NULL, NULL, &error);

  g_assert_no_error (error);
  return reply;
}

/* --- capturing ----------------------------------------------------------------------------- */

QsnapSnapshotOptions *
fixture_options (Fixture *fixture, const char *name)
{
  g_autoptr (GFile) directory = fixture_file (fixture, name);

  return qsnap_snapshot_options_new (directory);
}

QsnapSnapshot *
fixture_capture (Fixture *fixture, const char *name, GCancellable *cancellable, GError **error)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, name);

  return qsnap_session_instant_snapshot (fixture->session, options, cancellable, error);
}

QsnapSnapshot *
fixture_capture_well (Fixture *fixture, const char *name)
{
  g_autoptr (GError) error = NULL;
  QsnapSnapshot *snapshot = fixture_capture (fixture, name, NULL, &error);

  g_assert_no_error (error);
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  g_assert_false (mock_is_torn (fixture->mock));
  return snapshot;
}

static void
on_result (GObject *source, GAsyncResult *async, gpointer user_data)
{
  FixtureResult *result = user_data;

  result->done = TRUE;
  result->snapshot =
      qsnap_session_instant_snapshot_finish (QSNAP_SESSION (source), async, &result->error);
}

void
fixture_start_capture (Fixture *fixture,
                       const char *name,
                       GCancellable *cancellable,
                       FixtureResult *result)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, name);

  memset (result, 0, sizeof *result);
  qsnap_session_instant_snapshot_async (fixture->session, options, cancellable, on_result, result);
}

void
fixture_wait_result (FixtureResult *result)
{
  while (!result->done)
    g_main_context_iteration (NULL, TRUE);
}

void
fixture_result_clear (FixtureResult *result)
{
  g_clear_object (&result->snapshot);
  g_clear_error (&result->error);
}

/* --- what is there ------------------------------------------------------------------------- */

static void
collect_files (const char *folder, const char *prefix, GPtrArray *names)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      char *shown = g_build_filename (prefix, name, NULL);

      g_ptr_array_add (names, shown);
      if (g_file_test (path, G_FILE_TEST_IS_DIR) && !g_file_test (path, G_FILE_TEST_IS_SYMLINK))
        collect_files (path, shown, names);
    }
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

char *
fixture_list_files (Fixture *fixture)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);

  collect_files (mock_get_directory (fixture->mock), "", names);
  g_ptr_array_sort (names, compare_names);
  g_ptr_array_add (names, NULL);
  return g_strjoinv (" ", (char **)names->pdata);
}

char *
fixture_describe_settings (Fixture *fixture)
{
  g_autofree char *state = mock_dup_run_state (fixture->mock);
  g_autofree char *capabilities = mock_dup_capabilities (fixture->mock);
  g_autofree char *shutdown_action = mock_dup_action (fixture->mock, "shutdown");
  g_autofree char *reboot_action = mock_dup_action (fixture->mock, "reboot");

  return g_strdup_printf ("state %s; capabilities %s; max-bandwidth %" G_GINT64_FORMAT
                          "; shutdown=%s reboot=%s; %u named descriptors; %u jobs",
                          state, capabilities, mock_get_max_bandwidth (fixture->mock),
                          shutdown_action, reboot_action, mock_get_n_named_fds (fixture->mock),
                          mock_get_n_jobs (fixture->mock));
}

char *
fixture_describe (Fixture *fixture)
{
  g_autofree char *settings = fixture_describe_settings (fixture);
  g_autofree char *graph = mock_dup_graph (fixture->mock);
  g_autofree char *files = fixture_list_files (fixture);
  gboolean counts =
      fixture->style != MOCK_STYLE_7_2 || g_str_has_prefix (settings, "state running");

  return g_strdup_printf ("%s; graph %s; %d fdsets; files %s", settings, graph,
                          counts ? (int)mock_get_n_fdsets (fixture->mock) : -1, files);
}

/* An overlay's node shows only /dev/fdset/N, but the capture's id is in its name, qsnap-ID-N, and
 * in that of its file. */
void
fixture_assert_graph_whole (Fixture *fixture)
{
  g_autofree char *graph = mock_dup_graph (fixture->mock);
  g_autofree char *files = fixture_list_files (fixture);
  g_autoptr (GRegex) regex = g_regex_new ("qsnap-[0-9a-f]{8}-[0-9]+\\(", 0, 0, NULL);
  g_autoptr (GMatchInfo) match = NULL;

  for (g_regex_match (regex, graph, 0, &match); g_match_info_matches (match);
       g_match_info_next (match, NULL))
    {
      g_autofree char *node = g_match_info_fetch (match, 0);
      g_autofree char *overlay = g_strndup (node, strlen ("qsnap-01234567"));

      if (strstr (files, overlay) == NULL)
        g_error ("the graph uses an overlay that is not there any more: %s; %s", graph, files);
    }
}

void
fixture_assert_phases (Fixture *fixture)
{
  GArray *phases = fixture->phases;

  g_assert_cmpuint (phases->len, >, 0);
  for (guint i = 1; i + 1 < phases->len; i++)
    g_assert_cmpint (g_array_index (phases, QsnapPhase, i), >=,
                     g_array_index (phases, QsnapPhase, i - 1));
  g_assert_cmpint (g_array_index (phases, QsnapPhase, phases->len - 1), ==, QSNAP_PHASE_IDLE);
  g_assert_cmpint (qsnap_session_get_phase (fixture->session), ==, QSNAP_PHASE_IDLE);
}

void
fixture_assert_no_complaints (Fixture *fixture)
{
  g_auto (GStrv) complaints = mock_dup_complaints (fixture->mock);
  g_autofree char *all = g_strjoinv ("; ", complaints);

  g_assert_cmpstr (all, ==, "");
}

void
fixture_add (const char *path, GTestDataFunc func)
{
  g_autofree char *old = g_strconcat (path, "/7.2", NULL);
  g_autofree char *new = g_strconcat (path, "/10.0", NULL);

  g_test_add_data_func (old, GINT_TO_POINTER (MOCK_STYLE_7_2), func);
  g_test_add_data_func (new, GINT_TO_POINTER (MOCK_STYLE_10), func);
}
