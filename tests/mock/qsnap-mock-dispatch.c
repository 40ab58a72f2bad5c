/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a message to its answer: envelope, negotiation, schema, script or model. */

#include "qsnap-mock-private.h"

#include <string.h>

static const char *const error_classes[] = { "GenericError", "CommandNotFound", "DeviceNotActive",
                                             "DeviceNotFound" };

static const char *
error_class (const GError *error)
{
  if (error->domain != MOCK_ERROR || error->code < 0 ||
      error->code >= (int)G_N_ELEMENTS (error_classes))
    return "GenericError";
  return error_classes[error->code];
}

int
mock_error_code (const char *klass)
{
  for (guint i = 0; i < G_N_ELEMENTS (error_classes); i++)
    {
      if (g_strcmp0 (klass, error_classes[i]) == 0)
        return (int)i;
    }
  return MOCK_ERROR_GENERIC;
}

char *
mock_object_to_string (JsonObject *object)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);

  json_node_set_object (node, object);
  return json_to_string (node, FALSE);
}

void
mock_send_message (MockQemu *mock, JsonObject *message, MockWrite mode)
{
  g_autofree char *text = mock_object_to_string (message);
  g_autofree char *line = g_strconcat (text, "\r\n", NULL);

  mock_link_send (mock->link, line, strlen (line), mode);
  json_object_unref (message);
}

/* Takes @value. */
JsonObject *
mock_reply_new (JsonNode *value, const GError *error, JsonNode *id)
{
  JsonObject *reply = json_object_new ();

  if (error != NULL)
    {
      JsonObject *object = json_object_new ();

      json_object_set_string_member (object, "class", error_class (error));
      json_object_set_string_member (object, "desc", error->message);
      json_object_set_object_member (reply, "error", object);
    }
  else
    json_object_set_member (reply, "return", value);
  if (id != NULL)
    json_object_set_member (reply, "id", json_node_copy (id));
  return reply;
}

static JsonObject *
timestamp_now (void)
{
  gint64 now = g_get_real_time ();
  JsonObject *timestamp = json_object_new ();

  json_object_set_int_member (timestamp, "seconds", now / G_USEC_PER_SEC);
  json_object_set_int_member (timestamp, "microseconds", now % G_USEC_PER_SEC);
  return timestamp;
}

/* Takes @data, which may be NULL. */
void
mock_event_unchecked (MockQemu *mock, const char *name, JsonObject *data)
{
  JsonObject *event = json_object_new ();

  json_object_set_object_member (event, "timestamp", timestamp_now ());
  json_object_set_string_member (event, "event", name);
  if (data != NULL)
    json_object_set_object_member (event, "data", data);
  /* A client that has not negotiated gets no events. */
  if (mock->negotiated)
    mock_send_message (mock, event, MOCK_WRITE_WHOLE);
  else
    json_object_unref (event);
}

/* The model's own events have to look like QEMU's. */
void
mock_event (MockQemu *mock, const char *name, JsonObject *data)
{
  g_autoptr (GError) error = NULL;

  if (!mock_schema_check_event (mock->schema, name, data, &error))
    mock_complain (mock, "the mock's own event %s: %s", name, error->message);
  mock_event_unchecked (mock, name, data);
}

static char *
default_greeting (MockQemu *mock)
{
  return g_strdup_printf (
      "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": %d, \"minor\": %d, \"major\": %d}, "
      "\"package\": \"%s\"}, \"capabilities\": [\"oob\"]}}\r\n",
      mock->version[2], mock->version[1], mock->version[0], mock->package);
}

void
mock_dispatch_connected (MockQemu *mock)
{
  g_autofree char *greeting =
      mock->greeting != NULL ? g_strdup (mock->greeting) : default_greeting (mock);

  mock->negotiated = FALSE;
  if (!mock->no_greeting)
    mock_link_send (mock->link, greeting, strlen (greeting), MOCK_WRITE_WHOLE);
}

static void
send_error (MockQemu *mock, JsonNode *id, const char *text)
{
  g_autoptr (GError) error = g_error_new_literal (MOCK_ERROR, MOCK_ERROR_GENERIC, text);

  mock_send_message (mock, mock_reply_new (NULL, error, id), MOCK_WRITE_WHOLE);
}

void
mock_dispatch_garbage (MockQemu *mock, char c)
{
  g_autofree char *text =
      g_strdup_printf ("JSON parse error, stray '%c'", g_ascii_isprint (c) ? c : '?');

  mock_complain (mock, "byte 0x%02x outside any message", (guint8)c);
  send_error (mock, NULL, text);
}

/* The envelope, with QEMU's texts. */
static gboolean
read_request (JsonNode *node, MockRequest *request, char **problem)
{
  g_autoptr (GList) members = NULL;
  JsonNode *command, *arguments;

  if (!JSON_NODE_HOLDS_OBJECT (node))
    {
      *problem = g_strdup ("QMP input must be a JSON object");
      return FALSE;
    }
  request->object = json_node_get_object (node);
  request->id = json_object_get_member (request->object, "id");
  members = json_object_get_members (request->object);
  for (GList *l = members; l != NULL; l = l->next)
    {
      static const char *const known[] = { "execute", "exec-oob", "arguments", "id", NULL };

      if (!g_strv_contains (known, l->data))
        {
          *problem = g_strdup_printf ("QMP input member '%s' is unexpected", (const char *)l->data);
          return FALSE;
        }
    }
  command = json_object_get_member (request->object, "execute");
  if (command == NULL)
    command = json_object_get_member (request->object, "exec-oob");
  arguments = json_object_get_member (request->object, "arguments");
  if (command == NULL)
    *problem = g_strdup ("QMP input lacks member 'execute'");
  else if (!JSON_NODE_HOLDS_VALUE (command) || json_node_get_value_type (command) != G_TYPE_STRING)
    *problem = g_strdup ("QMP input member 'execute' must be a string");
  else if (arguments != NULL && !JSON_NODE_HOLDS_OBJECT (arguments))
    *problem = g_strdup ("QMP input member 'arguments' must be an object");
  if (*problem != NULL)
    return FALSE;
  request->command = json_node_get_string (command);
  request->arguments = arguments != NULL ? json_node_get_object (arguments) : NULL;
  return TRUE;
}

static void
record (MockQemu *mock, const MockRequest *request)
{
  JsonObject *entry = json_object_new ();

  json_object_set_string_member (entry, "name", request->command);
  json_object_set_object_member (entry, "arguments", json_object_ref (request->arguments));
  g_ptr_array_add (mock->transcript, entry);
}

static gboolean
negotiate (MockQemu *mock, const MockRequest *request, GError **error)
{
  gboolean is_negotiation = g_str_equal (request->command, "qmp_capabilities");

  if (!mock->negotiated && !is_negotiation)
    g_set_error_literal (error, MOCK_ERROR, MOCK_ERROR_COMMAND_NOT_FOUND,
                         "Expecting capabilities negotiation with 'qmp_capabilities'");
  else if (mock->negotiated && is_negotiation)
    g_set_error_literal (error, MOCK_ERROR, MOCK_ERROR_COMMAND_NOT_FOUND,
                         "Capabilities negotiation is already complete, command ignored");
  else
    return TRUE;
  return FALSE;
}

/* What the real one would not take is our client's mistake. */
static gboolean
check_schema (MockQemu *mock, const MockRequest *request, GError **error)
{
  g_autoptr (GError) problem = NULL;

  if (mock_faults_is_removed (mock->faults, request->command))
    {
      g_set_error (error, MOCK_ERROR, MOCK_ERROR_COMMAND_NOT_FOUND,
                   "The command %s has not been found", request->command);
      return FALSE;
    }
  if (mock_schema_check_command (mock->schema, request->command, request->arguments, &problem))
    return TRUE;
  mock_complain (mock, "%s: %s", request->command, problem->message);
  g_set_error_literal (error, MOCK_ERROR,
                       problem->code == MOCK_SCHEMA_ERROR_UNKNOWN ? MOCK_ERROR_COMMAND_NOT_FOUND
                                                                  : MOCK_ERROR_GENERIC,
                       problem->message);
  return FALSE;
}

JsonNode *
mock_run_handler (MockQemu *mock, const char *command, JsonObject *arguments, GError **error)
{
  MockHandler handler = (MockHandler)g_hash_table_lookup (mock->commands, command);
  g_autoptr (GError) problem = NULL;
  JsonNode *result;

  if (handler == NULL)
    {
      mock_complain (mock, "the model does not know %s", command);
      return mock_fail (error, "The mock has no model of %s", command);
    }
  result = handler (mock, arguments, error);
  if (result != NULL && !mock_schema_check_return (mock->schema, command, result, &problem))
    mock_complain (mock, "the mock's own reply to %s: %s", command, problem->message);
  return result;
}

JsonNode *
mock_run_model (MockQemu *mock, const MockRequest *request, GError **error)
{
  if (!negotiate (mock, request, error) || !check_schema (mock, request, error))
    return NULL;
  if (g_str_equal (request->command, "qmp_capabilities"))
    {
      mock->negotiated = TRUE;
      return mock_empty ();
    }
  return mock_run_handler (mock, request->command, request->arguments, error);
}

typedef struct
{
  JsonObject *reply;
} Delayed;

static void
send_delayed (MockQemu *mock, gpointer data)
{
  Delayed *delayed = data;

  mock_send_message (mock, g_steal_pointer (&delayed->reply), MOCK_WRITE_WHOLE);
}

static void
delayed_free (gpointer data)
{
  Delayed *delayed = data;

  g_clear_pointer (&delayed->reply, json_object_unref);
  g_free (delayed);
}

static void
send_verdict (MockQemu *mock, MockVerdict *verdict, JsonObject *reply)
{
  if (verdict->drop || (verdict->disconnect && verdict->when != MOCK_DISCONNECT_REPLIED))
    json_object_unref (reply);
  else if (verdict->delay > 0)
    {
      Delayed *delayed = g_new (Delayed, 1);

      delayed->reply = reply;
      mock_later (mock, verdict->delay, send_delayed, delayed, delayed_free);
    }
  else
    mock_send_message (mock, reply, MOCK_WRITE_WHOLE);
  if (verdict->disconnect)
    mock_link_close (mock->link);
}

static void
answer_from_model (MockQemu *mock, const MockRequest *request)
{
  MockVerdict verdict = { 0 };
  g_autoptr (GError) error = NULL;
  JsonNode *value = NULL;

  mock_faults_judge (mock, request, &verdict);
  if (verdict.freeze)
    mock_link_set_frozen (mock->link, TRUE);
  else if (verdict.disconnect && verdict.when == MOCK_DISCONNECT_BEFORE)
    mock_link_close (mock->link);
  else
    {
      if (verdict.error == NULL && verdict.canned == NULL)
        value = mock_run_model (mock, request, &error);
      /* What a real one would not take is wrong even where the test has an answer to it. */
      else if (!check_schema (mock, request, &error))
        ;
      else if (verdict.error != NULL)
        error = g_error_copy (verdict.error);
      else
        value = json_node_copy (verdict.canned);
      if (verdict.error != NULL || verdict.canned != NULL)
        mock_swallow_fds (mock);
      send_verdict (mock, &verdict, mock_reply_new (value, error, request->id));
    }
  mock_verdict_clear (&verdict);
}

void
mock_dispatch_text (MockQemu *mock, const char *text, gsize length)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (JsonObject) no_arguments = json_object_new ();
  g_autofree char *problem = NULL;
  MockRequest request = { 0 };
  MockStep *step;

  if (!json_parser_load_from_data (parser, text, (gssize)length, NULL))
    {
      mock_complain (mock, "not JSON: %.200s", text);
      send_error (mock, NULL, "JSON parse error, expecting value");
      return;
    }
  if (!read_request (json_parser_get_root (parser), &request, &problem))
    {
      mock_complain (mock, "%s", problem);
      send_error (mock, request.id, problem);
      return;
    }
  if (request.arguments == NULL)
    request.arguments = no_arguments;
  record (mock, &request);
  step = g_async_queue_try_pop (mock->script);
  if (step != NULL)
    mock_script_answer (mock, step, &request);
  else
    answer_from_model (mock, &request);
  mock_script_replied (mock);
}
