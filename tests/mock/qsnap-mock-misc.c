/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: the guest's run state, and the many small queries. */

#include "qsnap-mock-private.h"

#include <string.h>

struct _MockMisc
{
  char *state;
  /* Counts the times that the guest began to run. */
  guint epoch;
  gboolean hung, exited;
  /* set-action: "shutdown" and so on to what was set. */
  GHashTable *actions;
  /* HMP command line to output. */
  GHashTable *hmp;
  /* Path to an object {property: {"type":…, "value":…}}. */
  GHashTable *qom;
};

MockMisc *
mock_misc_new (MockQemu *mock)
{
  MockMisc *misc = g_new0 (MockMisc, 1);

  misc->state = g_strdup ("running");
  misc->actions = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  misc->hmp = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  misc->qom =
      g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)json_object_unref);
  g_hash_table_insert (misc->actions, g_strdup ("shutdown"), g_strdup ("poweroff"));
  g_hash_table_insert (misc->actions, g_strdup ("reboot"), g_strdup ("reset"));
  g_hash_table_insert (misc->actions, g_strdup ("panic"), g_strdup ("shutdown"));
  g_hash_table_insert (misc->actions, g_strdup ("watchdog"), g_strdup ("reset"));
  g_hash_table_insert (misc->hmp, g_strdup ("info network"), g_strdup (""));
  mock->misc = misc;
  mock_qom_init (mock);
  return misc;
}

void
mock_misc_free (MockMisc *misc)
{
  g_free (misc->state);
  g_hash_table_unref (misc->actions);
  g_hash_table_unref (misc->hmp);
  g_hash_table_unref (misc->qom);
  g_free (misc);
}

GHashTable *
mock_misc_get_qom (MockQemu *mock)
{
  return mock->misc->qom;
}

/* --- run state --- */

const char *
mock_get_state (MockQemu *mock)
{
  return mock->misc->state;
}

const char *
mock_run_state (MockQemu *mock)
{
  return mock->misc->state;
}

gboolean
mock_is_running (MockQemu *mock)
{
  return g_str_equal (mock->misc->state, "running");
}

guint
mock_run_epoch (MockQemu *mock)
{
  return mock->misc->epoch;
}

void
mock_enter_state (MockQemu *mock, const char *state)
{
  g_free (mock->misc->state);
  mock->misc->state = g_strdup (state);
  if (mock_is_running (mock))
    mock->misc->epoch++;
}

void
mock_set_hung (MockQemu *mock)
{
  mock->misc->hung = TRUE;
}

void
mock_exit (MockQemu *mock)
{
  mock->misc->exited = TRUE;
  mock_migration_abort (mock);
  mock_link_close_server (mock->link);
}

static void
exit_later (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  mock_exit (mock);
}

static JsonNode *
stop (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  if (mock_is_running (mock))
    {
      mock_enter_state (mock, "paused");
      mock_event (mock, "STOP", NULL);
    }
  return mock_empty ();
}

static JsonNode *
cont (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, GError **error)
{
  static const char *const need_reset[] = { "shutdown", "internal-error", NULL };

  if (g_strv_contains (need_reset, mock->misc->state))
    return mock_fail (error, "Resetting the Virtual Machine is required");
  if (g_str_equal (mock->misc->state, "finish-migrate"))
    return mock_fail (error, "Migration is not finalized yet");
  if (mock_incoming_takes_cont (mock))
    return mock_empty ();
  if (!mock_is_running (mock))
    {
      mock_enter_state (mock, "running");
      mock_event (mock, "RESUME", NULL);
    }
  return mock_empty ();
}

static JsonNode *
query_status (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_empty ();
  JsonObject *object = json_node_get_object (result);

  json_object_set_string_member (object, "status", mock->misc->state);
  if (mock->style == MOCK_STYLE_7_2)
    json_object_set_boolean_member (object, "singlestep", FALSE);
  json_object_set_boolean_member (object, "running", mock_is_running (mock));
  return result;
}

static void
reason_event (MockQemu *mock, const char *name, gboolean guest, const char *reason)
{
  JsonObject *data = json_object_new ();

  json_object_set_boolean_member (data, "guest", guest);
  json_object_set_string_member (data, "reason", reason);
  mock_event (mock, name, data);
}

/* facts 1.20: on 7.2 leaving in the middle of a snapshot hangs for good. */
static void
leave (MockQemu *mock)
{
  if (mock_migration_is_active (mock) && !mock_incoming_is_active (mock) &&
      mock->style == MOCK_STYLE_7_2)
    {
      mock_set_hung (mock);
      mock_link_set_frozen (mock->link, TRUE);
    }
  else
    mock_later (mock, 5, exit_later, NULL, NULL);
}

static JsonNode *
quit (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  reason_event (mock, "SHUTDOWN", FALSE, "host-qmp-quit");
  leave (mock);
  return mock_empty ();
}

static JsonNode *
system_reset (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  static const char *const reset_pauses[] = { "shutdown", "internal-error", "guest-panicked",
                                              NULL };

  reason_event (mock, "RESET", FALSE, "host-qmp-system-reset");
  if (g_strv_contains (reset_pauses, mock->misc->state))
    mock_enter_state (mock, "paused");
  return mock_empty ();
}

static JsonNode *
system_powerdown (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  mock_event (mock, "POWERDOWN", NULL);
  return mock_empty ();
}

static JsonNode *
set_action (MockQemu *mock, JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  g_autoptr (GList) names = json_object_get_members (arguments);

  for (GList *l = names; l != NULL; l = l->next)
    g_hash_table_insert (mock->misc->actions, g_strdup (l->data),
                         g_strdup (mock_arg_string (arguments, l->data)));
  return mock_empty ();
}

/* --- small queries --- */

static JsonNode *
human_monitor_command (MockQemu *mock, JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  const char *line = mock_arg_string (arguments, "command-line");
  const char *output = g_hash_table_lookup (mock->misc->hmp, line);
  JsonNode *result = json_node_new (JSON_NODE_VALUE);
  g_autofree char *word = g_strndup (line, strcspn (line, " "));
  g_autofree char *unknown = g_strdup_printf ("unknown command: '%s'\r\n", word);

  json_node_set_string (result, output != NULL ? output : unknown);
  return result;
}

static JsonNode *
query_version (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_json ("{\"qemu\": {}}");
  JsonObject *qemu = json_object_get_object_member (json_node_get_object (result), "qemu");

  json_object_set_int_member (qemu, "major", mock->version[0]);
  json_object_set_int_member (qemu, "minor", mock->version[1]);
  json_object_set_int_member (qemu, "micro", mock->version[2]);
  json_object_set_string_member (json_node_get_object (result), "package", mock->package);
  return result;
}

static JsonNode *
query_commands (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  g_auto (GStrv) names = mock_schema_dup_commands (mock->schema);
  JsonNode *result = mock_json ("[]");

  for (guint i = 0; names[i] != NULL; i++)
    {
      JsonObject *entry;

      if (mock_faults_is_removed (mock->faults, names[i]))
        continue;
      entry = json_object_new ();
      json_object_set_string_member (entry, "name", names[i]);
      json_array_add_object_element (json_node_get_array (result), entry);
    }
  return result;
}

static JsonNode *
query_qmp_schema (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  return json_node_copy (mock_schema_get_root (mock->schema));
}

static JsonNode *
query_machines (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  g_autofree char *text = g_strdup_printf (
      "[{\"hotpluggable-cpus\": true, \"name\": \"pc-q35-%s\", \"alias\": \"q35\", "
      "\"numa-mem-supported\": true, \"default-cpu-type\": \"qemu64-x86_64-cpu\", "
      "\"cpu-max\": 288, \"deprecated\": false, \"default-ram-id\": \"pc.ram\"%s}]",
      mock->style == MOCK_STYLE_7_2 ? "7.2" : "10.0",
      mock->style == MOCK_STYLE_7_2 ? "" : ", \"acpi\": true");

  return mock_json (text);
}

/* The size that the migration's stream has, too. */
static JsonNode *
query_memory_size (MockQemu *mock,
                   G_GNUC_UNUSED JsonObject *arguments,
                   G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_json ("{\"plugged-memory\": 0}");

  json_object_set_int_member (json_node_get_object (result), "base-memory",
                              (gint64)mock_get_ram_block (mock, 0).size);
  return result;
}

static JsonNode *
query_memdev (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result =
      mock_json ("[{\"share\": false, \"reserve\": true, \"prealloc\": false, \"host-nodes\": [], "
                 "\"merge\": true, \"dump\": true, \"policy\": \"default\", \"id\": \"pc.ram\"}]");
  JsonObject *memdev = json_array_get_object_element (json_node_get_array (result), 0);

  json_object_set_int_member (memdev, "size", (gint64)mock_get_ram_block (mock, 0).size);
  return result;
}

static JsonNode *
query_command_line_options (G_GNUC_UNUSED MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *option = mock_arg_string (arguments, "option");

  if (option != NULL && !g_str_equal (option, "action"))
    return mock_fail (error, "invalid option name: %s", option);
  return mock_json (
      "[{\"parameters\": [{\"name\": \"watchdog\", \"type\": \"string\"}, "
      "{\"name\": \"panic\", \"type\": \"string\"}, {\"name\": \"reboot\", \"type\": \"string\"}, "
      "{\"name\": \"shutdown\", \"type\": \"string\"}], \"option\": \"action\"}]");
}

static JsonNode *
query_balloon (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, GError **error)
{
  g_set_error_literal (error, MOCK_ERROR, MOCK_ERROR_DEVICE_NOT_ACTIVE,
                       "No balloon device has been activated");
  return NULL;
}

#define CANNED(function, json)                                                                     \
  static JsonNode *function (G_GNUC_UNUSED MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments,    \
                             G_GNUC_UNUSED GError **error)                                         \
  {                                                                                                \
    return mock_json (json);                                                                       \
  }

/* mock_set_reply() changes what these say. */
CANNED (query_nothing, "[]")
CANNED (query_name, "{\"name\": \"mock-guest\"}")
CANNED (query_uuid, "{\"UUID\": \"b9c4a1de-0d5c-4c0b-9d3a-6f1f2a3b4c5d\"}")
CANNED (query_kvm, "{\"enabled\": true, \"present\": true}")
CANNED (query_target, "{\"arch\": \"x86_64\"}")
CANNED (query_current_machine, "{\"wakeup-suspend-support\": true}")
CANNED (query_chardev,
        "[{\"frontend-open\": true, \"filename\": \"unix:/mock,server=on\", \"label\": "
        "\"compat_monitor0\"}]")
CANNED (
    query_cpus,
    "[{\"thread-id\": 1000, \"props\": {\"core-id\": 0, \"thread-id\": 0, \"socket-id\": 0}, "
    "\"qom-path\": \"/machine/unattached/device[0]\", \"cpu-index\": 0, \"target\": \"x86_64\"}]")

const MockCommand mock_misc_commands[] = {
  { "stop", stop },
  { "cont", cont },
  { "quit", quit },
  { "set-action", set_action },
  { "system_reset", system_reset },
  { "system_powerdown", system_powerdown },
  { "human-monitor-command", human_monitor_command },
  { "query-status", query_status },
  { "query-version", query_version },
  { "query-commands", query_commands },
  { "query-qmp-schema", query_qmp_schema },
  { "query-command-line-options", query_command_line_options },
  { "query-machines", query_machines },
  { "query-current-machine", query_current_machine },
  { "query-memory-size-summary", query_memory_size },
  { "query-memdev", query_memdev },
  { "query-memory-devices", query_nothing },
  { "query-block-exports", query_nothing },
  { "query-iothreads", query_nothing },
  { "query-blockstats", query_nothing },
  { "query-name", query_name },
  { "query-uuid", query_uuid },
  { "query-kvm", query_kvm },
  { "query-target", query_target },
  { "query-balloon", query_balloon },
  { "query-chardev", query_chardev },
  { "query-cpus-fast", query_cpus },
  { NULL, NULL },
};

/* --- what tests see and do --- */

typedef struct
{
  const char *name, *value;
  char *text;
  gboolean hung, exited;
} MiscCall;

static void
set_run_state (MockQemu *mock, gpointer data)
{
  mock_enter_state (mock, data);
}

void
mock_set_run_state (MockQemu *mock, const char *state)
{
  mock_call (mock, set_run_state, (gpointer)state);
}

static void
get_state (MockQemu *mock, gpointer data)
{
  MiscCall *call = data;

  call->hung = mock->misc->hung;
  call->exited = mock->misc->exited;
  call->text = g_strdup (call->name != NULL ? g_hash_table_lookup (mock->misc->actions, call->name)
                                            : mock->misc->state);
}

char *
mock_dup_run_state (MockQemu *mock)
{
  MiscCall call = { 0 };

  mock_call (mock, get_state, &call);
  return call.text;
}

char *
mock_dup_action (MockQemu *mock, const char *action)
{
  MiscCall call = { .name = action };

  mock_call (mock, get_state, &call);
  return call.text;
}

gboolean
mock_is_hung (MockQemu *mock)
{
  MiscCall call = { 0 };

  mock_call (mock, get_state, &call);
  g_free (call.text);
  return call.hung;
}

gboolean
mock_has_exited (MockQemu *mock)
{
  MiscCall call = { 0 };

  mock_call (mock, get_state, &call);
  g_free (call.text);
  return call.exited;
}

static void
run_handler (MockQemu *mock, gpointer data)
{
  g_autoptr (JsonObject) no_arguments = json_object_new ();
  g_autoptr (JsonNode) result = NULL;
  g_autoptr (GError) error = NULL;

  result = mock_run_handler (mock, data, no_arguments, &error);
  g_assert_no_error (error);
}

void
mock_stop_guest (MockQemu *mock)
{
  mock_call (mock, run_handler, (gpointer) "stop");
}

/* QEMU refuses between the guest's stop and the end of its migration. */
static void
try_cont (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  if (!g_str_equal (mock->misc->state, "finish-migrate"))
    run_handler (mock, (gpointer) "cont");
}

void
mock_cont_guest (MockQemu *mock)
{
  mock_call (mock, try_cont, NULL);
}

/* The actions' defaults are QEMU's: off means exit, reboot means reset. */
static void
guest_shutdown (MockQemu *mock, gpointer data)
{
  const char *reason = data;

  reason_event (mock, "SHUTDOWN", TRUE, reason);
  if (g_strcmp0 (g_hash_table_lookup (mock->misc->actions, "shutdown"), "pause") != 0)
    {
      leave (mock);
      return;
    }
  if (mock_is_running (mock))
    mock_event (mock, "STOP", NULL);
  mock_enter_state (mock, "shutdown");
}

void
mock_guest_shutdown (MockQemu *mock)
{
  mock_call (mock, guest_shutdown, (gpointer) "guest-shutdown");
}

static void
guest_reset (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  if (g_strcmp0 (g_hash_table_lookup (mock->misc->actions, "reboot"), "shutdown") == 0)
    guest_shutdown (mock, (gpointer) "guest-reset");
  else
    reason_event (mock, "RESET", TRUE, "guest-reset");
}

void
mock_guest_reset (MockQemu *mock)
{
  mock_call (mock, guest_reset, NULL);
}

/* A shutdown action of "pause" holds this, too. */
static void
guest_panic (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  GHashTable *actions = mock->misc->actions;
  gboolean pauses = g_strcmp0 (g_hash_table_lookup (actions, "panic"), "pause") == 0 ||
                    g_strcmp0 (g_hash_table_lookup (actions, "shutdown"), "pause") == 0;
  JsonObject *event = json_object_new ();

  json_object_set_string_member (event, "action", pauses ? "pause" : "poweroff");
  mock_event (mock, "GUEST_PANICKED", event);
  if (mock_is_running (mock))
    mock_event (mock, "STOP", NULL);
  mock_enter_state (mock, "guest-panicked");
  if (!pauses)
    guest_shutdown (mock, (gpointer) "guest-panic");
}

void
mock_guest_panic (MockQemu *mock)
{
  mock_call (mock, guest_panic, NULL);
}

static void
set_hmp (MockQemu *mock, gpointer data)
{
  MiscCall *call = data;

  g_hash_table_insert (mock->misc->hmp, g_strdup (call->name), g_strdup (call->value));
}

void
mock_set_hmp (MockQemu *mock, const char *command_line, const char *output)
{
  MiscCall call = { .name = command_line, .value = output };

  mock_call (mock, set_hmp, &call);
}
