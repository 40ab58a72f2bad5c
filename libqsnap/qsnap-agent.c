/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-agent.h"

#include <string.h>

#include "qmp/qsnap-qmp-client.h"
#include "qmp/qsnap-qmp-framer.h"
#include "qsnap-address.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

/* Freezing writes back all that is dirty: a minute is what a busy guest with a slow disk needs. */
#define FREEZE_TIMEOUT_MS (60 * 1000)
/* All else is answered at once; a guest that swaps needs a moment to wake its agent. */
#define ANSWER_TIMEOUT_MS (10 * 1000)
/* An agent that is still freezing reads nothing, and one that is started anew comes back late. */
#define THAW_TIMEOUT_MS (30 * 1000)
#define THAW_PAUSE_MS 100

#define READ_SIZE 4096
/* What we ask for is answered in less than 100 bytes; an error has a text. */
#define MAX_LINE (64 * 1024)
#define MAX_SYNC_LINE 256
/* Of a guest's text in an error. */
#define MAX_TEXT 1000

/* Not in any UTF-8: the agent drops the unfinished command before it, and puts one in front of its
 * answer to guest-sync-delimited. */
#define DELIMITER 0xff
#define SYNC_COMMAND "guest-sync-delimited"

typedef enum
{
  /* Made anew: another process may have frozen before it died. */
  FROZEN_PERHAPS,
  /* A freeze was sent, and not thawed since. */
  FROZEN_BY_US,
  FROZEN_NOT_BY_US
} Frozen;

struct _QsnapAgent
{
  char *address;
  guint freeze_timeout_ms;
  guint answer_timeout_ms;
  guint thaw_timeout_ms;

  /* Both NULL unless connected and, but for while it is being done, synchronised: an answer that
   * comes is the one to the last command. */
  GIOStream *stream;
  QsnapQmpFramer *framer;

  Frozen frozen;
};

/* A command under way. Its time is that of the whole answer: one that trickles ends, too. */
typedef struct
{
  const char *command;
  guint timeout_ms;
  gint64 deadline;
  GCancellable *cancellable;
} Call;

QsnapAgent *
qsnap_agent_new (const char *address)
{
  QsnapAgent *agent = g_new0 (QsnapAgent, 1);

  agent->address = g_strdup (address);
  qsnap_agent_set_timeouts (agent, FREEZE_TIMEOUT_MS, ANSWER_TIMEOUT_MS, THAW_TIMEOUT_MS);

  return agent;
}

void
qsnap_agent_set_timeouts (QsnapAgent *agent, guint freeze_ms, guint answer_ms, guint thaw_ms)
{
  agent->freeze_timeout_ms = freeze_ms;
  agent->answer_timeout_ms = answer_ms;
  agent->thaw_timeout_ms = thaw_ms;
}

static void
disconnect (QsnapAgent *agent)
{
  if (agent->stream != NULL)
    g_io_stream_close (agent->stream, NULL, NULL);
  g_clear_object (&agent->stream);
  g_clear_pointer (&agent->framer, qsnap_qmp_framer_free);
}

void
qsnap_agent_free (QsnapAgent *agent)
{
  disconnect (agent);
  g_free (agent->address);
  g_free (agent);
}

static GSocket *
socket_of (QsnapAgent *agent)
{
  return g_socket_connection_get_socket (G_SOCKET_CONNECTION (agent->stream));
}

/* --- errors -------------------------------------------------------------------------------- */

/* A guest's text word for word, but not for a terminal to obey. */
static char *
clean_text (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  GString *clean = g_string_new (NULL);
  guint n = 0;

  for (const char *p = valid; *p != '\0' && n < MAX_TEXT; p = g_utf8_next_char (p), n++)
    {
      gunichar c = g_utf8_get_char (p);

      g_string_append_unichar (clean, g_unichar_isprint (c) ? c : '?');
    }

  return g_string_free (clean, FALSE);
}

/* One that has synchronised is there. */
static void
set_timed_out (QsnapAgent *agent, Call *call, GError **error)
{
  gboolean first = g_str_equal (call->command, SYNC_COMMAND);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
               "the guest agent at %s did not answer %s in %u.%u seconds%s", agent->address,
               call->command, call->timeout_ms / 1000, call->timeout_ms % 1000 / 100,
               first ? ": does it run in the guest, is the guest not paused, and does no other "
                       "client hold the socket?"
                     : "");
}

static void
set_protocol_error (QsnapAgent *agent, Call *call, const char *what, GError **error)
{
  g_autofree char *clean = clean_text (what);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
               "the guest agent at %s answered %s with something else: %s", agent->address,
               call->command, clean);
}

static void
prefix_io_error (QsnapAgent *agent, Call *call, GError **error)
{
  g_prefix_error (error, "%s to the guest agent at %s: ", call->command, agent->address);
}

/* The agent's classes are those of QMP. */
static void
set_agent_error (QsnapAgent *agent, Call *call, JsonObject *reply, GError **error)
{
  JsonObject *object = qsnap_json_get_object (reply, "error");
  const char *class = qsnap_json_get_string (object, "class");
  const char *text = qsnap_json_get_string (object, "desc");
  g_autofree char *clean_class = clean_text (class != NULL ? class : "an error");
  g_autofree char *clean = clean_text (text != NULL ? text : "no description");

  g_set_error (error, QSNAP_QMP_ERROR, qsnap_qmp_error_code (class),
               "the guest agent at %s answered %s with %s: %s", agent->address, call->command,
               clean_class, clean);
}

/* --- bytes --------------------------------------------------------------------------------- */

static Call
begin_call (const char *command, guint timeout_ms, GCancellable *cancellable)
{
  gint64 deadline = g_get_monotonic_time () + (gint64)timeout_ms * 1000;

  return (Call){ command, timeout_ms, deadline, cancellable };
}

static gboolean
wait_for (QsnapAgent *agent, GIOCondition condition, Call *call, GError **error)
{
  gint64 left = call->deadline - g_get_monotonic_time ();
  g_autoptr (GError) failure = NULL;

  /* Who sends without a pause is always ready. */
  if (left <= 0)
    {
      set_timed_out (agent, call, error);
      return FALSE;
    }

  if (g_socket_condition_timed_wait (socket_of (agent), condition, left, call->cancellable,
                                     &failure))
    return TRUE;

  if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
    {
      set_timed_out (agent, call, error);
      return FALSE;
    }

  g_propagate_error (error, g_steal_pointer (&failure));
  prefix_io_error (agent, call, error);

  return FALSE;
}

static gboolean
send_text (QsnapAgent *agent, const char *text, Call *call, GError **error)
{
  gsize length = strlen (text);

  for (gsize sent = 0; sent < length;)
    {
      gssize n;

      if (!wait_for (agent, G_IO_OUT, call, error))
        return FALSE;

      n = g_socket_send (socket_of (agent), text + sent, length - sent, NULL, error);
      if (n < 0)
        {
          prefix_io_error (agent, call, error);
          return FALSE;
        }
      sent += (gsize)n;
    }

  return TRUE;
}

/* How many bytes have come, or -1. */
static gssize
receive (QsnapAgent *agent, char *data, Call *call, GError **error)
{
  gssize n;

  if (!wait_for (agent, G_IO_IN, call, error))
    return -1;

  n = g_socket_receive (socket_of (agent), data, READ_SIZE, NULL, error);
  if (n > 0)
    return n;

  if (n == 0)
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CONNECTION_CLOSED,
                         "the connection was closed before the answer");
  prefix_io_error (agent, call, error);

  return -1;
}

/* --- synchronising ------------------------------------------------------------------------- */

static gboolean
is_sync_answer (GString *line, gint64 id)
{
  g_autoptr (JsonNode) node = qsnap_json_parse_object (line->str, line->len, NULL);

  return qsnap_json_get_int (qsnap_json_object (node), "return", -1) == id;
}

/* Skips what was meant for clients before us: answers of any length, halves of answers, and the
 * agent's complaint about the halves of commands. Holds no more than a short line. What comes
 * behind the answer answers nothing: nothing else was asked yet. */
static gboolean
skip_to_sync_answer (QsnapAgent *agent, gint64 id, Call *call, GError **error)
{
  g_autoptr (GString) line = g_string_new (NULL);
  gboolean delimited = FALSE;
  char data[READ_SIZE];
  gssize n;

  while ((n = receive (agent, data, call, error)) > 0)
    for (gssize i = 0; i < n; i++)
      {
        if ((guchar)data[i] == DELIMITER)
          {
            delimited = TRUE;
            g_string_truncate (line, 0);
          }
        else if (!delimited)
          continue;
        else if (data[i] != '\n' && line->len < MAX_SYNC_LINE)
          g_string_append_c (line, data[i]);
        else if (data[i] == '\n' && is_sync_answer (line, id))
          return TRUE;
        else
          delimited = FALSE;
      }

  return FALSE;
}

static gboolean
synchronise (QsnapAgent *agent, Call *call, GError **error)
{
  gint64 id = g_random_int ();
  g_autofree char *text = g_strdup_printf ("\xff{\"execute\": \"" SYNC_COMMAND
                                           "\", \"arguments\": {\"id\": %" G_GINT64_FORMAT "}}\n",
                                           id);

  return send_text (agent, text, call, error) && skip_to_sync_answer (agent, id, call, error);
}

/* Connects where there is no connection. */
static gboolean
ensure_connected (QsnapAgent *agent, GCancellable *cancellable, GError **error)
{
  Call call = begin_call (SYNC_COMMAND, agent->answer_timeout_ms, cancellable);

  if (agent->stream != NULL)
    return TRUE;

  agent->stream = qsnap_address_connect (agent->address, "the guest agent",
                                         agent->answer_timeout_ms, cancellable, error);
  if (agent->stream == NULL)
    return FALSE;

  g_socket_set_blocking (socket_of (agent), FALSE);
  agent->framer = qsnap_qmp_framer_new (MAX_LINE);
  if (synchronise (agent, &call, error))
    return TRUE;

  disconnect (agent);

  return FALSE;
}

/* --- commands ------------------------------------------------------------------------------ */

static const char *
read_line (QsnapAgent *agent, gsize *length, Call *call, GError **error)
{
  const char *line;

  while ((line = qsnap_qmp_framer_pop (agent->framer, length)) == NULL)
    {
      char data[READ_SIZE];
      gssize n = receive (agent, data, call, error);

      if (n < 0)
        return NULL;

      if (!qsnap_qmp_framer_push (agent->framer, data, (gsize)n, NULL))
        {
          set_protocol_error (agent, call, "a line without an end", error);
          return NULL;
        }
    }

  return line;
}

static JsonNode *
read_reply (QsnapAgent *agent, Call *call, GError **error)
{
  g_autoptr (JsonNode) node = NULL;
  g_autoptr (GError) failure = NULL;
  gsize length;
  const char *line = read_line (agent, &length, call, error);

  if (line == NULL)
    return NULL;

  node = qsnap_json_parse_object (line, length, &failure);
  if (node == NULL)
    {
      set_protocol_error (agent, call, failure->message, error);
      return NULL;
    }

  return g_steal_pointer (&node);
}

/* The answer, with what the agent returned. After any error but its own the connection is ended: an
 * answer may still come, and must not be taken for the one to the next command. */
static JsonNode *
run (QsnapAgent *agent, Call *call, GError **error)
{
  g_autofree char *text = g_strdup_printf ("{\"execute\": \"%s\"}\n", call->command);
  g_autoptr (JsonNode) reply = NULL;
  JsonObject *object;

  if (send_text (agent, text, call, error))
    reply = read_reply (agent, call, error);
  if (reply == NULL)
    {
      disconnect (agent);
      return NULL;
    }

  object = qsnap_json_object (reply);
  if (json_object_has_member (object, "return"))
    return g_steal_pointer (&reply);

  if (json_object_has_member (object, "error"))
    set_agent_error (agent, call, object, error);
  else
    {
      set_protocol_error (agent, call, "neither a result nor an error", error);
      disconnect (agent);
    }

  return NULL;
}

static gboolean
query_frozen (QsnapAgent *agent, gboolean *frozen, GCancellable *cancellable, GError **error)
{
  Call call = begin_call ("guest-fsfreeze-status", agent->answer_timeout_ms, cancellable);
  g_autoptr (JsonNode) reply = run (agent, &call, error);
  const char *status;

  if (reply == NULL)
    return FALSE;

  status = qsnap_json_get_string (qsnap_json_object (reply), "return");
  *frozen = g_strcmp0 (status, "frozen") == 0;
  if (*frozen || g_strcmp0 (status, "thawed") == 0)
    return TRUE;

  set_protocol_error (agent, &call, "neither frozen nor thawed", error);
  disconnect (agent);

  return FALSE;
}

/* --- thawing ------------------------------------------------------------------------------- */

/* Agents differ in what they say to a thaw of what is not frozen. */
static gboolean
is_thawed (QsnapAgent *agent)
{
  gboolean frozen = TRUE;

  return agent->stream != NULL && query_frozen (agent, &frozen, NULL, NULL) && !frozen;
}

static gboolean
thaw_once (QsnapAgent *agent, GError **error)
{
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) failure = NULL;
  Call call;

  if (!ensure_connected (agent, NULL, error))
    return FALSE;

  call = begin_call ("guest-fsfreeze-thaw", agent->answer_timeout_ms, NULL);
  reply = run (agent, &call, &failure);
  if (reply != NULL || is_thawed (agent))
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

gboolean
qsnap_agent_thaw (QsnapAgent *agent, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + (gint64)agent->thaw_timeout_ms * 1000;
  g_autoptr (GError) failure = NULL;
  gboolean thawed = agent->frozen == FROZEN_NOT_BY_US;

  while (!thawed)
    {
      g_clear_error (&failure);
      thawed = thaw_once (agent, &failure);
      if (thawed || g_get_monotonic_time () + THAW_PAUSE_MS * 1000 >= deadline)
        break;

      g_debug ("thawing failed, once more: %s", failure->message);
      disconnect (agent);
      g_usleep (THAW_PAUSE_MS * 1000);
    }

  /* Others may want the agent. */
  disconnect (agent);
  if (thawed)
    {
      agent->frozen = FROZEN_NOT_BY_US;
      return TRUE;
    }

  g_propagate_prefixed_error (error, g_steal_pointer (&failure),
                              "the guest's file systems could not be thawed, they may be frozen "
                              "until the agent is sent guest-fsfreeze-thaw: ");

  return FALSE;
}

/* --- freezing ------------------------------------------------------------------------------ */

static gboolean
check_not_frozen (QsnapAgent *agent, GCancellable *cancellable, GError **error)
{
  gboolean frozen;

  if (!query_frozen (agent, &frozen, cancellable, error))
    return FALSE;

  if (!frozen)
    return TRUE;

  g_set_error (
      error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
      "the guest's file systems are frozen already, says the guest agent at %s: another "
      "program is taking a snapshot, or one has left them so (guest-fsfreeze-thaw ends it)",
      agent->address);

  return FALSE;
}

static gboolean
freeze (QsnapAgent *agent, guint *n_frozen, GCancellable *cancellable, GError **error)
{
  Call call = begin_call ("guest-fsfreeze-freeze", agent->freeze_timeout_ms, cancellable);
  g_autoptr (JsonNode) reply = run (agent, &call, error);
  gint64 n;

  if (reply == NULL)
    return FALSE;

  n = qsnap_json_get_int (qsnap_json_object (reply), "return", -1);
  if (n < 0 || n > G_MAXINT)
    {
      set_protocol_error (agent, &call, "not the number of file systems", error);
      return FALSE;
    }
  *n_frozen = (guint)n;

  return TRUE;
}

static void
thaw_after_failure (QsnapAgent *agent, GError **failure)
{
  g_autoptr (GError) thaw_failure = NULL;
  g_autoptr (GError) first = NULL;

  if (qsnap_agent_thaw (agent, &thaw_failure))
    return;

  first = g_steal_pointer (failure);
  g_set_error (failure, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED, "%s; %s", first->message,
               thaw_failure->message);
}

gboolean
qsnap_agent_freeze (QsnapAgent *agent, guint *n_frozen, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (agent->frozen == FROZEN_PERHAPS)
    agent->frozen = FROZEN_NOT_BY_US;

  if (!ensure_connected (agent, cancellable, error) ||
      !check_not_frozen (agent, cancellable, error) ||
      g_cancellable_set_error_if_cancelled (cancellable, error))
    {
      disconnect (agent);
      return FALSE;
    }

  agent->frozen = FROZEN_BY_US;
  if (freeze (agent, n_frozen, cancellable, &failure))
    return TRUE;

  thaw_after_failure (agent, &failure);
  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}
