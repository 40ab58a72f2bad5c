/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults and hooks on the model's commands, and the transcript. */

#include "qsnap-mock-private.h"

typedef enum
{
  FAULT_FAIL,
  FAULT_DROP,
  FAULT_DELAY,
  FAULT_DISCONNECT,
  FAULT_FREEZE,
  FAULT_EVENT,
  FAULT_CANNED,
  FAULT_HOOK
} FaultKind;

typedef struct
{
  char *command;
  guint nth;
  FaultKind kind;
  GError *error;
  guint delay;
  MockDisconnect when;
  char *event;
  JsonNode *json;
  MockCommandFunc hook;
  gpointer user_data;
} Fault;

struct _MockFaults
{
  GPtrArray *all;
  /* How often each command came. */
  GHashTable *counts;
  GHashTable *removed;
};

static void
fault_free (gpointer data)
{
  Fault *fault = data;

  g_free (fault->command);
  g_clear_error (&fault->error);
  g_free (fault->event);
  g_clear_pointer (&fault->json, json_node_unref);
  g_free (fault);
}

MockFaults *
mock_faults_new (void)
{
  MockFaults *faults = g_new0 (MockFaults, 1);

  faults->all = g_ptr_array_new_with_free_func (fault_free);
  faults->counts = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  faults->removed = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  return faults;
}

void
mock_faults_free (MockFaults *faults)
{
  g_ptr_array_unref (faults->all);
  g_hash_table_unref (faults->counts);
  g_hash_table_unref (faults->removed);
  g_free (faults);
}

gboolean
mock_faults_is_removed (MockFaults *faults, const char *name)
{
  return g_hash_table_contains (faults->removed, name);
}

static void
apply (MockQemu *mock, Fault *fault, const MockRequest *request, MockVerdict *verdict)
{
  switch (fault->kind)
    {
    case FAULT_FAIL:
      g_clear_error (&verdict->error);
      verdict->error = g_error_copy (fault->error);
      break;
    case FAULT_DROP:
      verdict->drop = TRUE;
      break;
    case FAULT_DELAY:
      verdict->delay = fault->delay;
      break;
    case FAULT_DISCONNECT:
      verdict->disconnect = TRUE;
      verdict->when = fault->when;
      break;
    case FAULT_FREEZE:
      verdict->freeze = TRUE;
      break;
    case FAULT_EVENT:
      mock_event_unchecked (mock, fault->event,
                            fault->json != NULL ? json_node_dup_object (fault->json) : NULL);
      break;
    case FAULT_CANNED:
      g_clear_pointer (&verdict->canned, json_node_unref);
      verdict->canned = json_node_copy (fault->json);
      break;
    case FAULT_HOOK:
    default:
      fault->hook (mock, request->arguments, fault->user_data);
      break;
    }
}

void
mock_faults_judge (MockQemu *mock, const MockRequest *request, MockVerdict *verdict)
{
  MockFaults *faults = mock->faults;
  guint count = GPOINTER_TO_UINT (g_hash_table_lookup (faults->counts, request->command)) + 1;

  g_hash_table_insert (faults->counts, g_strdup (request->command), GUINT_TO_POINTER (count));
  /* By index: a hook may add to the list. */
  for (guint i = 0; i < faults->all->len; i++)
    {
      Fault *fault = g_ptr_array_index (faults->all, i);

      if (g_str_equal (fault->command, request->command) &&
          (fault->nth == 0 || fault->nth == count))
        apply (mock, fault, request, verdict);
    }
}

void
mock_verdict_clear (MockVerdict *verdict)
{
  g_clear_error (&verdict->error);
  g_clear_pointer (&verdict->canned, json_node_unref);
}

static void
add_fault (MockQemu *mock, gpointer data)
{
  g_ptr_array_add (mock->faults->all, data);
}

static Fault *
fault_new (const char *name, guint nth, FaultKind kind)
{
  Fault *fault = g_new0 (Fault, 1);

  fault->command = g_strdup (name);
  fault->nth = nth;
  fault->kind = kind;
  return fault;
}

void
mock_fail_command (MockQemu *mock, const char *name, guint nth, const char *klass, const char *desc)
{
  Fault *fault = fault_new (name, nth, FAULT_FAIL);

  fault->error = g_error_new_literal (MOCK_ERROR, mock_error_code (klass), desc);
  mock_call (mock, add_fault, fault);
}

void
mock_drop_reply (MockQemu *mock, const char *name, guint nth)
{
  mock_call (mock, add_fault, fault_new (name, nth, FAULT_DROP));
}

void
mock_delay_reply (MockQemu *mock, const char *name, guint nth, guint milliseconds)
{
  Fault *fault = fault_new (name, nth, FAULT_DELAY);

  fault->delay = milliseconds;
  mock_call (mock, add_fault, fault);
}

void
mock_disconnect_at (MockQemu *mock, const char *name, guint nth, MockDisconnect when)
{
  Fault *fault = fault_new (name, nth, FAULT_DISCONNECT);

  fault->when = when;
  mock_call (mock, add_fault, fault);
}

void
mock_freeze_at (MockQemu *mock, const char *name, guint nth)
{
  mock_call (mock, add_fault, fault_new (name, nth, FAULT_FREEZE));
}

void
mock_emit_before_reply (
    MockQemu *mock, const char *name, guint nth, const char *event, const char *data)
{
  Fault *fault = fault_new (name, nth, FAULT_EVENT);

  fault->event = g_strdup (event);
  fault->json = data != NULL ? mock_json (data) : NULL;
  mock_call (mock, add_fault, fault);
}

void
mock_set_reply (MockQemu *mock, const char *name, const char *json)
{
  Fault *fault = fault_new (name, 0, FAULT_CANNED);

  fault->json = mock_json (json);
  mock_call (mock, add_fault, fault);
}

void
mock_on_command (MockQemu *mock, const char *name, MockCommandFunc func, gpointer user_data)
{
  Fault *fault = fault_new (name, 0, FAULT_HOOK);

  fault->hook = func;
  fault->user_data = user_data;
  mock_call (mock, add_fault, fault);
}

static void
remove_command (MockQemu *mock, gpointer data)
{
  g_hash_table_add (mock->faults->removed, data);
}

void
mock_remove_command (MockQemu *mock, const char *name)
{
  mock_call (mock, remove_command, g_strdup (name));
}

typedef struct
{
  const char *name, *data;
} EventCall;

static void
emit_event (MockQemu *mock, gpointer data)
{
  EventCall *call = data;
  g_autoptr (JsonNode) node = call->data != NULL ? mock_json (call->data) : NULL;

  mock_event_unchecked (mock, call->name, node != NULL ? json_node_dup_object (node) : NULL);
}

void
mock_emit_event (MockQemu *mock, const char *name, const char *data)
{
  EventCall call = { name, data };

  mock_call (mock, emit_event, &call);
}

static void
send_raw (MockQemu *mock, gpointer data)
{
  gsize length;
  const char *bytes = g_bytes_get_data (data, &length);

  mock_link_send (mock->link, bytes, length, MOCK_WRITE_WHOLE);
}

void
mock_send_raw (MockQemu *mock, const void *bytes, gssize length)
{
  g_autoptr (GBytes) copy = g_bytes_new (bytes, length >= 0 ? (gsize)length : strlen (bytes));

  mock_call (mock, send_raw, copy);
}

typedef struct
{
  GBytes *bytes;
  guint n_fds;
} FdsCall;

static void
send_raw_with_fds (MockQemu *mock, gpointer data)
{
  FdsCall *call = data;
  gsize length;
  const char *bytes = g_bytes_get_data (call->bytes, &length);

  mock_link_send_with_fds (mock->link, bytes, length, call->n_fds);
}

void
mock_send_raw_with_fds (MockQemu *mock, const void *bytes, gssize length, guint n_fds)
{
  g_autoptr (GBytes) copy = g_bytes_new (bytes, length >= 0 ? (gsize)length : strlen (bytes));
  FdsCall call = { copy, n_fds };

  mock_call (mock, send_raw_with_fds, &call);
}

static void
call_disconnect (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  mock_link_close (mock->link);
}

void
mock_disconnect (MockQemu *mock)
{
  mock_call (mock, call_disconnect, NULL);
}

static void
set_frozen (MockQemu *mock, gpointer data)
{
  mock_link_set_frozen (mock->link, GPOINTER_TO_INT (data));
}

void
mock_freeze (MockQemu *mock)
{
  mock_call (mock, set_frozen, GINT_TO_POINTER (TRUE));
}

void
mock_thaw (MockQemu *mock)
{
  mock_call (mock, set_frozen, GINT_TO_POINTER (FALSE));
}

static void
get_frozen (MockQemu *mock, gpointer data)
{
  *(gboolean *)data = mock_link_is_frozen (mock->link);
}

gboolean
mock_is_frozen (MockQemu *mock)
{
  gboolean frozen = FALSE;

  mock_call (mock, get_frozen, &frozen);
  return frozen;
}
