/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A client is killed in the middle of a capture in one mode or another: what it had saved is
 * sealed, else everything is undone. The client is this program, started once more. */

#include "modes-trouble.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qsnap-process.h"

/* --- the client ---------------------------------------------------------------------------- */

static int
client_main (char **argv)
{
  const Way *way = &ways[g_ascii_strtoull (argv[3], NULL, 10)];
  g_autoptr (QsnapSession) session = qsnap_session_new (argv[1]);
  g_autoptr (GFile) directory = g_file_new_for_path (argv[2]);
  g_autoptr (QsnapSnapshotOptions) options = qsnap_snapshot_options_new (directory);
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  alarm (60);
  qsnap_snapshot_options_set_mode (options, way->mode);
  qsnap_snapshot_options_set_disk_mode (options, way->disk_mode);
  qsnap_snapshot_options_set_leave (options, way->leave);
  if (argv[4] != NULL)
    qsnap_snapshot_options_set_quiesce (options, argv[4]);
  if (!qsnap_session_open (session, NULL, &error))
    g_error ("%s", error->message);
  snapshot = qsnap_session_instant_snapshot (session, options, NULL, &error);
  return snapshot != NULL ? 0 : 1;
}

static const char *program;

static GPid
start_client (Trouble *trouble, const char *directory)
{
  g_autofree char *way = g_strdup_printf ("%d", (int)(trouble->way - ways));
  const char *argv[] = { program,   "--client", mock_get_address (trouble->fixture.mock),
                         directory, way,        trouble->peer.path,
                         NULL };
  GPid pid;
  g_autoptr (GError) error = NULL;

  g_spawn_async (NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL,
                 NULL, NULL, &pid, &error);
  g_assert_no_error (error);
  return pid;
}

/* --- its end ------------------------------------------------------------------------------- */

typedef struct
{
  Trouble trouble;
  GPid pid;
  guint nth, count;
  gboolean killed;
} Death;

/* The command is carried out; nobody hears of it. */
static void
kill_client (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer user_data)
{
  Death *death = user_data;

  if (++death->count != death->nth)
    return;
  death->killed = TRUE;
  kill (death->pid, SIGKILL);
}

typedef struct
{
  guint way;
  const char *command;
  guint nth;
  gboolean sealed;
  /* QEMU is dead as well. */
  gboolean gone;
  const char *state;
  /* Of two disks the one whose copy takes long. */
  const char *held_node;
  /* The copies do not wait for the client's end. */
  gboolean ends;
} Case;

/* QEMU is another process than the one whose number it has. */
static void
let_qemu_be_gone (Fixture *fixture)
{
  g_autofree char *path = fixture_path (fixture, "snapshot/journal.json");
  g_autofree char *text = NULL, *changed = NULL;
  g_autoptr (GRegex) regex = g_regex_new ("\"qemu-start\" *: *[0-9]+", 0, 0, NULL);

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  changed = g_regex_replace_literal (regex, text, -1, 0, "\"qemu-start\" : 1", 0, NULL);
  g_assert_cmpstr (text, !=, changed);
  g_assert_true (g_file_set_contents (path, changed, -1, NULL));
}

static gpointer
release_later (gpointer mock)
{
  g_usleep (300 * 1000);
  mock_release_backups (mock);
  return NULL;
}

static void
set_up (Death *death, MockStyle style, const Case *one)
{
  Trouble *trouble = &death->trouble;
  g_autofree char *directory = NULL;

  memset (death, 0, sizeof *death);
  trouble_set_up_drives (trouble, style, &ways[one->way], one->held_node != NULL ? 2 : 1);
  if (!one->ends)
    mock_hold_backups (trouble->fixture.mock, one->held_node);
  death->nth = one->nth;
  mock_on_command (trouble->fixture.mock, one->command, kill_client, death);
  mock_start (trouble->fixture.mock);
  trouble->before = fixture_describe (&trouble->fixture);
  trouble->settings = fixture_describe_settings (&trouble->fixture);
  directory = fixture_path (&trouble->fixture, "snapshot");
  death->pid = start_client (trouble, directory);
  g_assert_cmpint (waitpid (death->pid, NULL, 0), ==, death->pid);
  g_assert_true (death->killed);
}

static void
recover (Death *death, const Case *one)
{
  Trouble *trouble = &death->trouble;
  g_autoptr (GFile) directory = fixture_file (&trouble->fixture, "snapshot");
  GThread *thread = g_thread_new ("release", release_later, trouble->fixture.mock);
  g_autoptr (QsnapSession) alone = NULL;

  if (one->gone)
    {
      let_qemu_be_gone (&trouble->fixture);
      alone = qsnap_session_new (NULL);
    }
  else
    fixture_connect (&trouble->fixture);
  trouble->snapshot = qsnap_session_recover (one->gone ? alone : trouble->fixture.session,
                                             directory, NULL, &trouble->error);
  g_thread_join (thread);
}

static void
try_death (MockStyle style, const Case *one)
{
  Death death;
  Trouble *trouble = &death.trouble;
  g_autofree char *journal = NULL, *after = NULL, *start = NULL, *settings = NULL;

  set_up (&death, style, one);
  recover (&death, one);
  g_test_message ("%s, killed at %s #%u%s → %s", ways[one->way].name, one->command, one->nth,
                  one->gone ? ", QEMU too" : "",
                  trouble->snapshot != NULL ? "sealed"
                  : trouble->error != NULL  ? trouble->error->message
                                            : "undone");
  g_assert_no_error (trouble->error);
  g_assert_cmpint (trouble->snapshot != NULL, ==, one->sealed);
  settings = fixture_describe_settings (&trouble->fixture);
  start = g_strdup_printf ("state %s;", one->state);
  if (one->sealed)
    {
      g_assert_true (qsnap_snapshot_verify (trouble->snapshot, NULL, NULL));
      g_assert_false (mock_is_torn (trouble->fixture.mock));
      journal = fixture_path (&trouble->fixture, "snapshot/journal.json");
      g_assert_false (g_file_test (journal, G_FILE_TEST_EXISTS));
    }
  else if (!one->gone)
    {
      after = fixture_describe (&trouble->fixture);
      g_assert_cmpstr (after, ==, trouble->before);
    }
  if (!one->gone)
    {
      g_assert_cmpstr (strchr (settings, ';'), ==, strchr (trouble->settings, ';'));
      g_assert_true (g_str_has_prefix (settings, start));
      fixture_assert_graph_whole (&trouble->fixture);
    }
  if (one->gone && !one->sealed)
    {
      g_autofree char *files = fixture_list_files (&trouble->fixture);

      g_assert_cmpstr (files, ==, "a.qcow2 qmp.sock");
    }
  trouble_clear (trouble);
}

/* The first query-jobs, and the first job-dismiss, are about the making of the image. The second
 * set-action is after all has been saved. */
static const Case cases[] = {
  /* disks-only, copy, quiesce */
  { 7, "transaction", 1, FALSE, FALSE, "running" },
  { 7, "cont", 1, FALSE, FALSE, "running" },
  { 7, "query-jobs", 3, TRUE, FALSE, "running" },
  { 7, "query-jobs", 3, FALSE, TRUE, "running" },
  { 7, "query-jobs", 14, TRUE, FALSE, "running", .held_node = "disk1" },
  { 7, "job-dismiss", 2, TRUE, FALSE, "running", .ends = TRUE },
  { 7, "blockdev-del", 1, TRUE, FALSE, "running", .ends = TRUE },
  { 7, "blockdev-del", 2, FALSE, TRUE, "running", .ends = TRUE },
  /* disks-only, overlay, quiesce */
  { 6, "stop", 1, FALSE, FALSE, "running" },
  { 6, "transaction", 1, FALSE, FALSE, "running" },
  { 6, "set-action", 2, TRUE, FALSE, "running" },
  { 6, "set-action", 2, TRUE, TRUE, "running" },
  /* disks-only, clone, paused */
  { 8, "stop", 1, FALSE, FALSE, "running" },
  { 8, "set-action", 2, TRUE, FALSE, "paused" },
  { 8, "stop", 1, FALSE, TRUE, "running" },
  /* instant, copy */
  { 0, "transaction", 1, FALSE, FALSE, "running" },
  { 0, "query-jobs", 5, TRUE, FALSE, "running" },
  /* instant, internal, paused */
  { 1, "transaction", 1, FALSE, FALSE, "running" },
  { 1, "migrate", 1, FALSE, FALSE, "running" },
  { 1, "set-action", 2, TRUE, FALSE, "paused" },
  /* live, overlay */
  { 2, "migrate", 1, FALSE, FALSE, "running" },
  { 2, "transaction", 1, FALSE, FALSE, "running" },
  { 2, "migrate-continue", 1, FALSE, FALSE, "running" },
  { 2, "set-action", 2, TRUE, FALSE, "running" },
  /* live, internal, paused */
  { 3, "migrate-continue", 1, FALSE, FALSE, "running" },
  { 3, "set-action", 2, TRUE, FALSE, "paused" },
  /* stopped, copy */
  { 4, "query-jobs", 3, FALSE, FALSE, "running" },
};

/* A live capture meets another QEMU there; of the others each meets one of both. */
static void
test_death (gconstpointer style)
{
  guint other = GPOINTER_TO_INT (style) == MOCK_STYLE_10;

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    if (ways[cases[i].way].mode == QSNAP_SNAPSHOT_MODE_LIVE || i % 2 == other)
      try_death (GPOINTER_TO_INT (style), &cases[i]);
}

/* --- sealed already ------------------------------------------------------------------------ */

/* The agent did not answer at the time. */
static void
test_thaw_of_sealed (void)
{
  Trouble trouble;
  g_autoptr (GFile) directory = NULL;
  g_autoptr (QsnapSnapshot) again = NULL;
  g_autofree char *journal = NULL, *text = NULL;
  g_autoptr (GError) error = NULL;

  trouble_set_up (&trouble, MOCK_STYLE_10, &ways[6]);
  fixture_open (&trouble.fixture);
  trouble_run (&trouble);
  g_assert_no_error (trouble.error);
  text = g_strdup_printf (
      "{\"format\":\"qsnap-journal\",\"schema\":1,\"step\":\"sealing\",\"id\":\"0a1b2c3d\","
      "\"name\":\"n\",\"client-pid\":1,\"client-start\":0,\"qemu-pid\":%d,"
      "\"qemu-start\":%" G_GINT64_FORMAT ",\"qemu-version\":\"10.0.0\",\"run-state\":\"running\","
      "\"mode\":\"disks-only\",\"agent\":\"%s\",\"shutdown-action\":\"poweroff\","
      "\"capabilities\":{},\"disks\":[]}",
      getpid (), qsnap_process_start_time (getpid ()), trouble.peer.path);
  journal = fixture_path (&trouble.fixture, "snapshot/journal.json");
  g_assert_true (g_file_set_contents (journal, text, -1, NULL));
  trouble.peer.frozen = TRUE;
  directory = fixture_file (&trouble.fixture, "snapshot");
  again = qsnap_session_recover (trouble.fixture.session, directory, NULL, &error);
  g_assert_no_error (error);
  g_assert_nonnull (again);
  g_assert_false (trouble.peer.frozen);
  g_assert_false (g_file_test (journal, G_FILE_TEST_EXISTS));
  trouble_clear (&trouble);
}

int
main (int argc, char **argv)
{
  if (argc > 1 && g_str_equal (argv[1], "--client"))
    return client_main (argv + 1);

  program = argv[0];
  g_test_init (&argc, &argv, NULL);
  fixture_add ("/modes-recover/death", test_death);
  g_test_add_func ("/modes-recover/thaw-of-sealed", test_thaw_of_sealed);
  return g_test_run ();
}
