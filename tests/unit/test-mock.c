/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock QEMU itself: transport, scripts, schema, faults. */

#include "mock-client.h"
#include "qsnap-qmp-schema.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* --- transport and script --- */

static void
test_transports (void)
{
  static const MockTransport transports[] = { MOCK_TRANSPORT_UNIX, MOCK_TRANSPORT_SOCKETPAIR,
                                              MOCK_TRANSPORT_TCP };

  for (guint i = 0; i < G_N_ELEMENTS (transports); i++)
    {
      Client client = { .mock = mock_new (MOCK_STYLE_7_2, transports[i]) };
      g_autofree char *version = NULL;

      client_begin (&client);
      version = client_ok (&client, "query-version", NULL);
      g_assert_nonnull (strstr (version, "\"major\":7"));
      g_assert_cmpuint (mock_get_n_connections (client.mock), ==, 1);
      client_clear (&client);
    }
}

static void
test_greetings (void)
{
  static const char *const greetings[] = { NULL, "220 mail.example ESMTP\r\n", "{\"QMP\": " };

  for (guint i = 0; i < G_N_ELEMENTS (greetings); i++)
    {
      Client client;
      g_autofree char *line = NULL;

      client_set_up (&client, MOCK_STYLE_10);
      mock_set_greeting (client.mock, greetings[i]);
      mock_start (client.mock);
      client_open (&client);
      line = client_read_line (&client, i == 1 ? WAIT : 100);
      if (i == 1)
        g_assert_cmpstr (line, ==, "220 mail.example ESMTP\r");
      else
        g_assert_null (line);
      client_clear (&client);
    }
}

static void
test_script_bytes (void)
{
  Client client;
  MockStep *step;
  g_autofree char *huge = NULL, *merged = NULL, *deep = NULL;
  g_autoptr (JsonObject) second = NULL;

  client_set_up (&client, MOCK_STYLE_7_2);
  mock_expect (client.mock, "qmp_capabilities");
  step = mock_expect (client.mock, "query-status");
  mock_step_arguments (step, "{}");
  mock_step_return (step, "{\"status\": \"paused\"}");
  mock_step_write (step, MOCK_WRITE_BYTEWISE);
  mock_step_event_before (step, "STOP", NULL);
  step = mock_expect (client.mock, "*");
  mock_step_huge (step, 300000);
  step = mock_expect (client.mock, "stop");
  mock_step_write (step, MOCK_WRITE_MERGED);
  mock_expect (client.mock, "cont");
  step = mock_expect (client.mock, "query-name");
  mock_step_deep (step, 50);
  client_begin (&client);
  g_free (client_ok (&client, "query-status", NULL));
  g_assert_cmpstr (client.events->str, ==, " STOP");
  huge = client_ok (&client, "query-block", NULL);
  g_assert_cmpuint (strlen (huge), ==, 300002);
  client_send (&client, "stop", NULL, -1);
  g_assert_false (client_read_more (&client, 50));
  merged = client_ok (&client, "cont", NULL);
  second = client_read_reply (&client, WAIT);
  g_assert_nonnull (second);
  deep = client_ok (&client, "query-name", NULL);
  g_assert_true (g_str_has_prefix (deep, "[[[["));
  g_assert_cmpuint (mock_n_steps_left (client.mock), ==, 0);
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

static void
test_script_replies (void)
{
  Client client;
  MockStep *step;

  client_set_up (&client, MOCK_STYLE_7_2);
  mock_expect (client.mock, "qmp_capabilities");
  step = mock_expect (client.mock, "stop");
  mock_step_late (step, 1);
  mock_step_event_after (step, "RESUME", NULL);
  mock_expect (client.mock, "cont");
  step = mock_expect (client.mock, "cont");
  mock_step_without_id (step);
  step = mock_expect (client.mock, "cont");
  mock_step_silent (step);
  step = mock_expect (client.mock, "cont");
  mock_step_error (step, "DeviceNotFound", "no such thing");
  step = mock_expect (client.mock, "query-status");
  mock_step_model (step);
  step = mock_expect (client.mock, "quit");
  mock_step_close (step, MOCK_CLOSE_MIDLINE);
  client_begin (&client);
  client_send (&client, "stop", NULL, -1);
  client_send (&client, "cont", NULL, -1);
  g_assert_cmpint (client_reply_id (&client), ==, 3);
  g_assert_cmpint (client_reply_id (&client), ==, 2);
  client_send (&client, "cont", NULL, -1);
  g_assert_cmpint (client_reply_id (&client), ==, -1);
  client_send (&client, "cont", NULL, -1);
  client_error (&client, "cont", NULL, "DeviceNotFound", "no such thing");
  client_void (&client, "query-status", NULL);
  client_send (&client, "quit", NULL, -1);
  client_assert_closed (&client);
  g_assert_cmpuint (client.input->len, >, 5);
  g_assert_null (strchr (client.input->str, '\n'));
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

static void
test_script_complains (void)
{
  Client client;
  MockStep *step;
  g_auto (GStrv) complaints = NULL;

  client_set_up (&client, MOCK_STYLE_7_2);
  mock_set_lenient (client.mock, TRUE);
  mock_expect (client.mock, "qmp_capabilities");
  mock_expect (client.mock, "stop");
  step = mock_expect (client.mock, "qom-list");
  mock_step_arguments (step, "{\"path\": \"/a\"}");
  step = mock_expect (client.mock, "getfd");
  mock_step_fds (step, 1);
  client_begin (&client);
  client_void (&client, "cont", NULL);
  client_void (&client, "qom-list", "{\"path\": \"/b\"}");
  client_void (&client, "getfd", NULL);
  complaints = mock_dup_complaints (client.mock);
  g_assert_cmpuint (g_strv_length (complaints), ==, 3);
  g_assert_cmpstr (complaints[0], ==, "expected stop, got cont");
  client_clear (&client);
}

/* QEMU's parser needs no lines; a descriptor that comes with a byte of its own is not taken for the
 * command's. */
static void
test_descriptors (void)
{
  Client client;
  g_auto (GStrv) complaints = NULL;
  int fds[2];

  client_set_up (&client, MOCK_STYLE_7_2);
  mock_set_lenient (client.mock, TRUE);
  client_begin (&client);
  g_assert_cmpint (pipe2 (fds, O_CLOEXEC), ==, 0);
  client_fd (&client, "getfd", "{\"fdname\": \"good\"}", fds[1]);
  g_assert_cmpuint (mock_get_n_fds_stray (client.mock), ==, 0);
  g_assert_cmpuint (mock_get_n_named_fds (client.mock), ==, 1);
  client_error (&client, "getfd", "{\"fdname\": \"none\"}", "GenericError",
                "No file descriptor supplied*");
  client_send_bytes (&client, "", 1, fds, 1);
  {
    g_autoptr (JsonObject) reply = client_read_reply (&client, WAIT);

    g_assert_false (json_object_has_member (reply, "id"));
  }
  client_fd (&client, "getfd", "{\"fdname\": \"bad\"}", -1);
  g_assert_cmpuint (mock_get_n_fds_stray (client.mock), ==, 1);
  client_void (&client, "closefd", "{\"fdname\": \"good\"}");
  client_error (&client, "closefd", "{\"fdname\": \"good\"}", "GenericError",
                "File descriptor named 'good' not found");
  g_assert_cmpuint (mock_get_n_fds_received (client.mock), ==, 2);
  complaints = mock_dup_complaints (client.mock);
  g_assert_cmpuint (g_strv_length (complaints), ==, 2);
  close (fds[0]);
  close (fds[1]);
  client_clear (&client);
}

/* --- schema --- */

typedef struct
{
  const char *command, *arguments;
  /* NULL: valid. */
  const char *problem;
} SchemaCase;

static const SchemaCase schema_cases[] = {
  { "query-status", "{}", NULL },
  { "query-status", "{\"x\": 1}", "Parameter 'x' is unexpected" },
  { "no-such", "{}", "The command no-such has not been found" },
  { "getfd", "{}", "Parameter 'fdname' is missing" },
  { "getfd", "{\"fdname\": 3}", "*'fdname'*string*" },
  { "add-fd", "{\"fdset-id\": 3.5}", "*'fdset-id'*int*" },
  { "migrate-set-capabilities",
    "{\"capabilities\": [{\"capability\": \"events\", \"state\": true}]}", NULL },
  { "migrate-set-capabilities", "{\"capabilities\": [{\"capability\": \"xx\", \"state\": true}]}",
    "Parameter *capability' does not accept value 'xx'" },
  { "migrate-set-capabilities", "{\"capabilities\": {}}", "*expected: array" },
  { "migrate-set-capabilities", "{\"capabilities\": [{\"capability\": \"events\", \"state\": 1}]}",
    "*boolean*" },
  { "blockdev-add", "{\"driver\": \"file\", \"node-name\": \"a\", \"filename\": \"/x\"}", NULL },
  { "blockdev-add", "{\"driver\": \"file\", \"node-name\": \"a\"}",
    "Parameter 'filename' is missing" },
  { "blockdev-add", "{\"driver\": \"raw\", \"file\": \"a\", \"filename\": \"/x\"}",
    "*'filename' is unexpected" },
  { "blockdev-add", "{\"driver\": \"qcow2\", \"file\": \"a\", \"backing\": null}", NULL },
  { "blockdev-add",
    "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"filename\": \"/x\"}}", NULL },
  { "blockdev-add", "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\"}}",
    "*'file.filename' is missing" },
  { "blockdev-add", "{\"driver\": \"qcow2\", \"file\": 3}", "*'file'*int*" },
  { "blockdev-add", "{\"driver\": \"nope\"}", "*'driver' does not accept value 'nope'" },
  { "blockdev-create",
    "{\"job-id\": \"j\", \"options\": {\"driver\": \"qcow2\", \"file\": \"a\", \"size\": 65536}}",
    NULL },
  { "blockdev-create", "{\"job-id\": \"j\", \"options\": {\"driver\": \"qcow2\", \"file\": \"a\"}}",
    "*size' is missing" },
  { "transaction",
    "{\"actions\": [{\"type\": \"blockdev-snapshot\", \"data\": {\"node\": \"a\", \"overlay\": "
    "\"b\"}}]}",
    NULL },
  { "transaction",
    "{\"actions\": [{\"type\": \"blockdev-snapshot\", \"data\": {\"node\": \"a\"}}]}",
    "*data.overlay' is missing" },
  { "transaction", "{\"actions\": [{\"type\": \"abort\", \"data\": {}}]}", NULL },
};

static void
test_schema (gconstpointer name)
{
  g_autoptr (GError) load_error = NULL;
  g_autoptr (MockSchema) schema = mock_schema_load (name, &load_error);

  g_assert_no_error (load_error);
  for (guint i = 0; i < G_N_ELEMENTS (schema_cases); i++)
    {
      const SchemaCase *c = &schema_cases[i];
      g_autoptr (JsonNode) node = json_from_string (c->arguments, NULL);
      g_autoptr (GError) error = NULL;
      gboolean ok =
          mock_schema_check_command (schema, c->command, json_node_get_object (node), &error);

      if (ok != (c->problem == NULL) ||
          (!ok && !g_pattern_match_simple (c->problem, error->message)))
        g_error ("%s %s: %s", c->command, c->arguments, ok ? "accepted" : error->message);
    }
}

/* What the two versions differ in. */
static void
test_schema_versions (void)
{
  g_autoptr (MockSchema) old = mock_schema_load ("7.2", NULL);
  g_autoptr (MockSchema) new = mock_schema_load ("10.0", NULL);
  g_autoptr (JsonNode) node = json_from_string (
      "{\"capabilities\": [{\"capability\": \"mapped-ram\", \"state\": false}]}", NULL);
  JsonObject *arguments = json_node_get_object (node);

  g_assert_false (mock_schema_check_command (old, "migrate-set-capabilities", arguments, NULL));
  g_assert_true (mock_schema_check_command (new, "migrate-set-capabilities", arguments, NULL));
}

/* The model's replies are checked against the schema inside the mock: a wrong one is a complaint.
 */
static void
test_queries (gconstpointer style)
{
  static const char *const queries[] = {
    "query-version",
    "query-status",
    "query-block",
    "query-named-block-nodes",
    "query-jobs",
    "query-block-jobs",
    "query-block-exports",
    "query-fdsets",
    "query-migrate",
    "query-name",
    "query-memory-devices",
    "query-migrate-capabilities",
    "query-uuid",
    "query-machines",
    "query-memdev",
    "query-memory-size-summary",
    "query-cpus-fast",
    "query-chardev",
    "query-kvm",
    "query-migrate-parameters",
    "query-commands",
    "query-target",
    "query-iothreads",
    "query-current-machine",
    "query-qmp-schema",
    "query-blockstats",
    "query-command-line-options",
  };
  Client client;
  g_autofree char *image = NULL, *type = NULL, *list = NULL, *hmp = NULL;

  client_set_up (&client, GPOINTER_TO_INT (style));
  image = client_make_image (client.mock, "a.raw", 1 << 20);
  mock_add_drive (client.mock, "virtio0", "/machine/peripheral-anon/device[0]/virtio-backend", NULL,
                  "raw", image);
  mock_add_empty_drive (client.mock, "ide1-cd0", "/machine/unattached/device[5]");
  client_begin (&client);
  for (guint i = 0; i < G_N_ELEMENTS (queries); i++)
    client_void (&client, queries[i], NULL);
  client_error (&client, "query-balloon", NULL, "DeviceNotActive", "No balloon*");
  type = client_ok (&client, "qom-get", "{\"path\": \"/machine\", \"property\": \"type\"}");
  g_assert_true (g_pattern_match_simple ("\"pc-q35-*-machine\"", type));
  list = client_ok (&client, "qom-list", "{\"path\": \"/machine/peripheral\"}");
  g_assert_nonnull (strstr (list, "child<virtio-blk-pci>"));
  client_error (&client, "qom-list", "{\"path\": \"/nope\"}", "DeviceNotFound",
                "Device '/nope' not found");
  hmp = client_ok (&client, "human-monitor-command", "{\"command-line\": \"bogus x\"}");
  g_assert_cmpstr (hmp, ==, "\"unknown command: 'bogus'\\r\\n\"");
  client_assert_no_complaints (client.mock);
  client_clear (&client);
}

/* --- faults --- */

static void
count_hook (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, gpointer user_data)
{
  (*(guint *)user_data)++;
}

static void
test_faults (void)
{
  Client client;
  g_autofree char *status = NULL;
  guint n_hooked = 0;

  client_set_up (&client, MOCK_STYLE_10);
  client_begin (&client);
  mock_fail_command (client.mock, "stop", 2, "GenericError", "not now");
  mock_emit_before_reply (client.mock, "cont", 1, "RTC_CHANGE", "{\"offset\": 1}");
  mock_set_reply (client.mock, "query-name", "{\"name\": \"other\"}");
  mock_on_command (client.mock, "stop", count_hook, &n_hooked);
  mock_remove_command (client.mock, "set-action");
  client_void (&client, "stop", NULL);
  client_error (&client, "stop", NULL, "GenericError", "not now");
  client_void (&client, "cont", NULL);
  g_assert_cmpstr (client.events->str, ==, " STOP RTC_CHANGE RESUME");
  g_assert_cmpuint (n_hooked, ==, 2);
  client_error (&client, "set-action", "{\"shutdown\": \"pause\"}", "CommandNotFound",
                "The command set-action has not*");
  mock_drop_reply (client.mock, "stop", 3);
  mock_delay_reply (client.mock, "query-status", 1, 50);
  client_send (&client, "stop", NULL, -1);
  status = client_ok (&client, "query-status", NULL);
  g_assert_nonnull (strstr (status, "paused"));
  g_assert_cmpuint (mock_count_command (client.mock, "stop"), ==, 3);
  client_assert_no_complaints (client.mock);
  mock_freeze (client.mock);
  client_send (&client, "query-uuid", NULL, -1);
  g_assert_false (client_read_more (&client, 50));
  mock_thaw (client.mock);
  g_assert_cmpint (client_reply_id (&client), ==, client.id);
  mock_disconnect_at (client.mock, "cont", 0, MOCK_DISCONNECT_AFTER);
  client_send (&client, "cont", NULL, -1);
  client_assert_closed (&client);
  g_free (status);
  status = mock_dup_run_state (client.mock);
  g_assert_cmpstr (status, ==, "running");
  client_clear (&client);
}

static void
test_rejects (void)
{
  Client client;
  g_auto (GStrv) complaints = NULL;

  client_set_up (&client, MOCK_STYLE_7_2);
  mock_set_lenient (client.mock, TRUE);
  mock_start (client.mock);
  client_open (&client);
  g_free (client_read_line (&client, WAIT));
  client_error (&client, "stop", NULL, "CommandNotFound", "Expecting capabilities negotiation*");
  client_void (&client, "qmp_capabilities", NULL);
  client_error (&client, "qmp_capabilities", NULL, "CommandNotFound",
                "Capabilities negotiation is already complete*");
  client_error (&client, "frobnicate", NULL, "CommandNotFound",
                "The command frobnicate has not been found");
  client_error (&client, "stop", "{\"now\": true}", "GenericError",
                "Parameter 'now' is unexpected");
  complaints = mock_dup_complaints (client.mock);
  g_assert_cmpuint (g_strv_length (complaints), ==, 2);
  client_clear (&client);
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
  g_test_add_func ("/mock/transports", test_transports);
  g_test_add_func ("/mock/greetings", test_greetings);
  g_test_add_func ("/mock/script/bytes", test_script_bytes);
  g_test_add_func ("/mock/script/replies", test_script_replies);
  g_test_add_func ("/mock/script/complains", test_script_complains);
  g_test_add_func ("/mock/descriptors", test_descriptors);
  g_test_add_data_func ("/mock/schema/7.2", "7.2", test_schema);
  g_test_add_data_func ("/mock/schema/10.0", "10.0", test_schema);
  g_test_add_func ("/mock/schema/versions", test_schema_versions);
  add_for_styles ("/mock/queries", test_queries);
  g_test_add_func ("/mock/faults", test_faults);
  g_test_add_func ("/mock/rejects", test_rejects);
  return g_test_run ();
}
