/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock QEMU's model: backups, snapshots inside images, and the wait before the switchover,
 * against what real ones were seen to do. */

#include "mock-client.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BACKUP                                                                                     \
  "{\"type\": \"blockdev-backup\", \"data\": {\"job-id\": \"j\", \"device\": \"disk0\", "          \
  "\"target\": \"target\", \"sync\": \"full\", \"auto-dismiss\": false}}"
#define INTERNAL                                                                                   \
  "{\"type\": \"blockdev-snapshot-internal-sync\", \"data\": {\"device\": \"disk0\", \"name\": "   \
  "\"s1\"}}"
#define ABORT "{\"type\": \"abort\", \"data\": {}}"
#define ACTIONS(list) "{\"actions\": [" list "]}"

static void
set_up (Client *client, gconstpointer style)
{
  g_autofree char *image = NULL, *target = NULL, *add = NULL;

  client_set_up (client, GPOINTER_TO_INT (style));
  image = g_build_filename (mock_get_directory (client->mock), "a.qcow2", NULL);
  mock_make_qcow2 (image, 1 << 20, NULL, NULL);
  mock_add_drive (client->mock, "virtio0", NULL, "disk0", "qcow2", image);
  target = client_make_image (client->mock, "target", 1 << 20);
  client_begin (client);
  add = g_strdup_printf ("{\"driver\": \"file\", \"filename\": \"%s\", \"node-name\": \"target\"}",
                         target);
  client_void (client, "blockdev-add", add);
  g_string_truncate (client->events, 0);
}

static void
assert_contains (Client *client, const char *command, const char *text)
{
  g_autofree char *reply = client_ok (client, command, NULL);

  if (strstr (reply, text) == NULL)
    g_error ("\"%s\" is not in %s", text, reply);
}

static void
test_backup (gconstpointer style)
{
  Client client;

  set_up (&client, style);
  mock_hold_backups (client.mock, NULL);
  client_void (&client, "transaction", ACTIONS (BACKUP));
  assert_contains (&client, "query-block", "copy-before-write");
  client_error (&client, "blockdev-del", "{\"node-name\": \"target\"}", "GenericError",
                "*is busy: block device is in use by block job: backup");
  client_error (&client, "job-dismiss", "{\"id\": \"j\"}", "GenericError",
                "Job 'j' in state 'running' cannot accept command verb 'dismiss'");
  mock_release_backups (client.mock);
  client_wait_event (&client, "JOB_STATUS_CHANGE:concluded");
  g_assert_cmpstr (client.events->str, ==,
                   " JOB_STATUS_CHANGE:created JOB_STATUS_CHANGE:running JOB_STATUS_CHANGE:waiting "
                   "JOB_STATUS_CHANGE:pending BLOCK_JOB_COMPLETED JOB_STATUS_CHANGE:concluded");
  assert_contains (&client, "query-jobs", "\"current-progress\":1048576");
  client_error (&client, "job-cancel", "{\"id\": \"j\"}", "GenericError",
                "Job 'j' in state 'concluded' cannot accept command verb 'cancel'");
  client_void (&client, "job-dismiss", "{\"id\": \"j\"}");
  client_void (&client, "blockdev-del", "{\"node-name\": \"target\"}");
  client_clear (&client);
}

static void
test_backup_cancelled (gconstpointer style)
{
  Client client;

  set_up (&client, style);
  mock_hold_backups (client.mock, NULL);
  client_void (&client, "transaction", ACTIONS (BACKUP));
  client_void (&client, "job-cancel", "{\"id\": \"j\"}");
  client_wait_event (&client, "JOB_STATUS_CHANGE:concluded");
  g_assert_cmpstr (
      client.events->str, ==,
      " JOB_STATUS_CHANGE:created JOB_STATUS_CHANGE:running JOB_STATUS_CHANGE:aborting "
      "BLOCK_JOB_CANCELLED JOB_STATUS_CHANGE:concluded");
  assert_contains (&client, "query-jobs", "Operation canceled");
  client_clear (&client);
}

/* All or nothing. */
static void
test_abort (gconstpointer style)
{
  Client client;
  g_autofree char *before = NULL, *after = NULL;

  set_up (&client, style);
  before = mock_dup_graph (client.mock);
  client_error (&client, "transaction", ACTIONS (INTERNAL ", " BACKUP ", " ABORT), "GenericError",
                "Transaction aborted using Abort action");
  after = mock_dup_graph (client.mock);
  g_assert_cmpstr (after, ==, before);
  g_assert_cmpstr (client.events->str, ==,
                   " JOB_STATUS_CHANGE:created JOB_STATUS_CHANGE:aborting "
                   "JOB_STATUS_CHANGE:concluded JOB_STATUS_CHANGE:null");
  client_clear (&client);
}

static void
test_internal (gconstpointer style)
{
  static const char named[] = "{\"device\": \"disk0\", \"name\": \"s1\"}";
  Client client;
  g_autofree char *reply = NULL;

  set_up (&client, style);
  client_void (&client, "transaction", ACTIONS (INTERNAL));
  client_error (&client, "transaction", ACTIONS (INTERNAL), "GenericError",
                "Snapshot with name 's1' already exists on device 'disk0'");
  assert_contains (&client, "query-named-block-nodes", "\"snapshots\":[{");
  reply = client_ok (&client, "blockdev-snapshot-delete-internal-sync", named);
  g_assert_nonnull (strstr (reply, "\"name\":\"s1\""));
  client_error (&client, "blockdev-snapshot-delete-internal-sync", named, "GenericError",
                "Snapshot with id 'null' and name 's1' does not exist on device 'disk0'");
  client_clear (&client);
}

/* --- before the switchover ----------------------------------------------------------------- */

static gpointer
drain (gpointer data)
{
  int fd = GPOINTER_TO_INT (data);
  char bytes[65536];

  while (read (fd, bytes, sizeof bytes) > 0)
    ;
  close (fd);
  return NULL;
}

static GThread *
migrate (Client *client)
{
  GThread *thread;
  int fds[2];

  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  client_void (client, "migrate-set-capabilities",
               "{\"capabilities\": [{\"capability\": \"events\", \"state\": true}, "
               "{\"capability\": \"pause-before-switchover\", \"state\": true}]}");
  client_fd (client, "getfd", "{\"fdname\": \"m\"}", fds[1]);
  close (fds[1]);
  thread = g_thread_new ("drain", drain, GINT_TO_POINTER (fds[0]));
  g_string_truncate (client->events, 0);
  client_void (client, "migrate", "{\"uri\": \"fd:m\"}");
  client_wait_event (client, "MIGRATION:pre-switchover");
  return thread;
}

static gboolean
has_state (MockQemu *mock, gpointer state)
{
  g_autofree char *found = mock_dup_run_state (mock);

  return g_str_equal (found, state);
}

static void
try_switchover (gconstpointer style, gboolean stopped, const char *command, const char *state)
{
  Client client;
  GThread *thread;

  set_up (&client, style);
  mock_set_ram_size (client.mock, 16384);
  if (stopped)
    client_void (&client, "stop", NULL);
  thread = migrate (&client);
  assert_contains (&client, "query-status", "finish-migrate");
  client_error (&client, "cont", NULL, "GenericError", "Migration is not finalized yet");
  client_error (&client, "migrate-continue", "{\"state\": \"device\"}", "GenericError",
                "Migration not in expected state: pre-switchover");
  g_assert_cmpint (strstr (client.events->str, "STOP") == NULL, ==, stopped);
  if (g_str_equal (command, "migrate_cancel"))
    {
      client_void (&client, command, NULL);
      client_wait_event (&client, "MIGRATION:cancelled");
    }
  else
    {
      client_void (&client, command, "{\"state\": \"pre-switchover\"}");
      client_wait_event (&client, "MIGRATION:completed");
      g_assert_nonnull (strstr (client.events->str, "MIGRATION:device"));
    }
  g_thread_join (thread);
  /* It comes a moment after the event. */
  g_assert_true (mock_wait (client.mock, has_state, (gpointer)state, WAIT));
  client_clear (&client);
}

static void
test_switchover (gconstpointer style)
{
  gboolean is_new = GPOINTER_TO_INT (style) == MOCK_STYLE_10;

  try_switchover (style, FALSE, "migrate-continue", "postmigrate");
  try_switchover (style, TRUE, "migrate-continue", "postmigrate");
  try_switchover (style, FALSE, "migrate_cancel", "running");
  try_switchover (style, TRUE, "migrate_cancel", is_new ? "paused" : "postmigrate");
}

static void
add_for_styles (const char *path, GTestDataFunc func)
{
  g_autofree char *old = g_strconcat (path, "/7.2", NULL);
  g_autofree char *new = g_strconcat (path, "/10.0", NULL);

  g_test_add_data_func (old, GINT_TO_POINTER (MOCK_STYLE_7_2), func);
  g_test_add_data_func (new, GINT_TO_POINTER (MOCK_STYLE_10), func);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_for_styles ("/mock/backup", test_backup);
  add_for_styles ("/mock/backup-cancelled", test_backup_cancelled);
  add_for_styles ("/mock/abort", test_abort);
  add_for_styles ("/mock/internal", test_internal);
  add_for_styles ("/mock/switchover", test_switchover);
  return g_test_run ();
}
