/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scripted answers: one step a command, and all the ways in which bytes can come. */

#include "qsnap-mock-private.h"

#include <string.h>

typedef enum
{
  ANSWER_RETURN,
  ANSWER_ERROR,
  ANSWER_RAW,
  ANSWER_SILENT,
  ANSWER_MODEL
} Answer;

struct _MockStep
{
  char *command;
  JsonNode *arguments;
  /* -1: any number. */
  int n_fds;
  Answer answer;
  JsonNode *value;
  GError *error;
  GBytes *raw;
  /* JsonObjects {"name":…, "data":…} */
  GPtrArray *before, *after;
  gboolean without_id;
  guint late, delay;
  MockWrite write;
  MockClose close;
};

/* A reply that is kept back, in mock->late. */
typedef struct
{
  guint countdown;
  JsonObject *reply;
} Late;

void
mock_late_free (gpointer data)
{
  Late *late = data;

  json_object_unref (late->reply);
  g_free (late);
}

void
mock_step_free (MockStep *step)
{
  g_free (step->command);
  g_clear_pointer (&step->arguments, json_node_unref);
  g_clear_pointer (&step->value, json_node_unref);
  g_clear_error (&step->error);
  g_clear_pointer (&step->raw, g_bytes_unref);
  g_ptr_array_unref (step->before);
  g_ptr_array_unref (step->after);
  g_free (step);
}

MockStep *
mock_expect (MockQemu *mock, const char *command)
{
  MockStep *step = g_new0 (MockStep, 1);

  step->command = g_strdup (command);
  step->n_fds = -1;
  step->before = g_ptr_array_new_with_free_func ((GDestroyNotify)json_object_unref);
  step->after = g_ptr_array_new_with_free_func ((GDestroyNotify)json_object_unref);
  g_async_queue_push (mock->script, step);
  return step;
}

void
mock_step_arguments (MockStep *step, const char *json)
{
  g_clear_pointer (&step->arguments, json_node_unref);
  step->arguments = mock_json (json);
}

void
mock_step_fds (MockStep *step, int n_fds)
{
  step->n_fds = n_fds;
}

static void
take_value (MockStep *step, JsonNode *value)
{
  step->answer = ANSWER_RETURN;
  g_clear_pointer (&step->value, json_node_unref);
  step->value = value;
}

void
mock_step_return (MockStep *step, const char *json)
{
  take_value (step, mock_json (json));
}

void
mock_step_error (MockStep *step, const char *klass, const char *desc)
{
  step->answer = ANSWER_ERROR;
  g_clear_error (&step->error);
  step->error = g_error_new_literal (MOCK_ERROR, mock_error_code (klass), desc);
}

void
mock_step_raw (MockStep *step, const void *bytes, gssize length)
{
  step->answer = ANSWER_RAW;
  g_clear_pointer (&step->raw, g_bytes_unref);
  step->raw = g_bytes_new (bytes, length >= 0 ? (gsize)length : strlen (bytes));
}

void
mock_step_huge (MockStep *step, gsize size)
{
  g_autofree char *text = g_strnfill (size, 'x');
  JsonNode *node = json_node_new (JSON_NODE_VALUE);

  json_node_set_string (node, text);
  take_value (step, node);
}

void
mock_step_deep (MockStep *step, guint depth)
{
  g_autofree char *open = g_strnfill (depth, '[');
  g_autofree char *close_text = g_strnfill (depth, ']');
  g_autofree char *line = g_strconcat ("{\"return\": ", open, close_text, "}\r\n", NULL);

  mock_step_raw (step, line, -1);
}

void
mock_step_silent (MockStep *step)
{
  step->answer = ANSWER_SILENT;
}

void
mock_step_model (MockStep *step)
{
  step->answer = ANSWER_MODEL;
}

static JsonObject *
named_event (const char *name, const char *data)
{
  JsonObject *event = json_object_new ();

  json_object_set_string_member (event, "name", name);
  if (data != NULL)
    json_object_set_member (event, "data", mock_json (data));
  return event;
}

void
mock_step_event_before (MockStep *step, const char *name, const char *data)
{
  g_ptr_array_add (step->before, named_event (name, data));
}

void
mock_step_event_after (MockStep *step, const char *name, const char *data)
{
  g_ptr_array_add (step->after, named_event (name, data));
}

void
mock_step_without_id (MockStep *step)
{
  step->without_id = TRUE;
}

void
mock_step_late (MockStep *step, guint n_commands)
{
  step->late = n_commands;
}

void
mock_step_delay (MockStep *step, guint milliseconds)
{
  step->delay = milliseconds;
}

void
mock_step_write (MockStep *step, MockWrite mode)
{
  step->write = mode;
}

void
mock_step_close (MockStep *step, MockClose when)
{
  step->close = when;
}

guint
mock_n_steps_left (MockQemu *mock)
{
  return (guint)MAX (0, g_async_queue_length (mock->script));
}

static gboolean
node_matches (JsonNode *template, JsonNode *actual)
{
  g_autoptr (GList) names = NULL;

  if (!JSON_NODE_HOLDS_OBJECT (template))
    return actual != NULL && json_node_equal (template, actual);
  if (actual == NULL || !JSON_NODE_HOLDS_OBJECT (actual))
    return FALSE;
  names = json_object_get_members (json_node_get_object (template));
  for (GList *l = names; l != NULL; l = l->next)
    {
      if (!node_matches (json_object_get_member (json_node_get_object (template), l->data),
                         json_object_get_member (json_node_get_object (actual), l->data)))
        return FALSE;
    }
  return TRUE;
}

static void
check_request (MockQemu *mock, MockStep *step, const MockRequest *request)
{
  guint n_fds = mock_link_count_message_fds (mock->link);
  g_autoptr (JsonNode) actual = json_node_new (JSON_NODE_OBJECT);

  json_node_set_object (actual, request->arguments);
  if (!g_str_equal (step->command, "*") && !g_str_equal (step->command, request->command))
    mock_complain (mock, "expected %s, got %s", step->command, request->command);
  else if (step->arguments != NULL && !node_matches (step->arguments, actual))
    {
      g_autofree char *wanted = json_to_string (step->arguments, FALSE);
      g_autofree char *got = json_to_string (actual, FALSE);

      mock_complain (mock, "%s: expected arguments %s, got %s", request->command, wanted, got);
    }
  if (step->n_fds >= 0 && (guint)step->n_fds != n_fds)
    mock_complain (mock, "%s: expected %d descriptors, got %u", request->command, step->n_fds,
                   n_fds);
}

/* Answers that are no model's take the descriptors that came, as QEMU's failing commands do. */
void
mock_swallow_fds (MockQemu *mock)
{
  while (mock_link_count_message_fds (mock->link) > 0)
    {
      int fd = mock_link_take_fd (mock->link);

      mock_clear_fd (&fd);
    }
}

static void
send_events (MockQemu *mock, GPtrArray *events)
{
  for (guint i = 0; i < events->len; i++)
    {
      JsonObject *event = g_ptr_array_index (events, i);
      JsonObject *data = NULL;

      if (json_object_has_member (event, "data"))
        data = json_object_ref (json_object_get_object_member (event, "data"));
      mock_event_unchecked (mock, json_object_get_string_member (event, "name"), data);
    }
}

static GBytes *
build_reply (MockStep *step, JsonNode *id)
{
  g_autofree char *text = NULL;
  g_autoptr (JsonObject) reply = NULL;
  JsonNode *value;
  char *line;

  if (step->answer == ANSWER_RAW)
    return g_bytes_ref (step->raw);
  value = step->value != NULL ? json_node_copy (step->value) : mock_empty ();
  reply = mock_reply_new (value, step->answer == ANSWER_ERROR ? step->error : NULL, id);
  if (step->answer == ANSWER_ERROR)
    json_node_unref (value);
  text = mock_object_to_string (reply);
  line = g_strconcat (text, "\r\n", NULL);
  return g_bytes_new_take (line, strlen (line));
}

static void
send_reply (MockQemu *mock, MockStep *step, JsonNode *id)
{
  g_autoptr (GBytes) bytes = build_reply (step, id);
  gsize length;
  const char *data = g_bytes_get_data (bytes, &length);

  if (step->close == MOCK_CLOSE_MIDLINE)
    length /= 2;
  mock_link_send (mock->link, data, length, step->write);
}

static void
keep_late (MockQemu *mock, MockStep *step, JsonNode *id)
{
  Late *late = g_new (Late, 1);

  /* The reply to this very command counts as well. */
  late->countdown = step->late + 1;
  late->reply =
      mock_reply_new (step->value != NULL ? json_node_copy (step->value) : mock_empty (), NULL, id);
  g_ptr_array_add (mock->late, late);
}

void
mock_script_replied (MockQemu *mock)
{
  GPtrArray *all = mock->late;

  for (guint i = 0; i < all->len;)
    {
      Late *late = g_ptr_array_index (all, i);

      if (--late->countdown == 0)
        {
          mock_send_message (mock, json_object_ref (late->reply), MOCK_WRITE_WHOLE);
          g_ptr_array_remove_index (all, i);
        }
      else
        i++;
    }
}

static void
answer_by_model (MockQemu *mock, const MockRequest *request)
{
  g_autoptr (GError) error = NULL;
  JsonNode *value = mock_run_model (mock, request, &error);

  mock_send_message (mock, mock_reply_new (value, error, request->id), MOCK_WRITE_WHOLE);
}

/* Takes @step. */
void
mock_script_answer (MockQemu *mock, MockStep *step, const MockRequest *request)
{
  JsonNode *id = step->without_id ? NULL : request->id;

  check_request (mock, step, request);
  if (step->answer != ANSWER_MODEL)
    mock_swallow_fds (mock);
  if (step->delay > 0)
    g_usleep (step->delay * 1000UL);
  send_events (mock, step->before);
  if (step->close == MOCK_CLOSE_BEFORE || step->answer == ANSWER_SILENT)
    ;
  else if (step->answer == ANSWER_MODEL)
    answer_by_model (mock, request);
  else if (step->late > 0)
    keep_late (mock, step, id);
  else
    send_reply (mock, step, id);
  /* Events flow only after a negotiation, scripted or not. */
  if (g_str_equal (request->command, "qmp_capabilities") && step->answer == ANSWER_RETURN)
    mock->negotiated = TRUE;
  if (step->close != MOCK_CLOSE_MIDLINE)
    send_events (mock, step->after);
  if (step->close != MOCK_CLOSE_NOT)
    mock_link_close (mock->link);
  mock_step_free (step);
}
