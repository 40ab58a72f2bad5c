/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qmp/qsnap-qmp-client.h"

#include <gio/gunixfdmessage.h>
#include <string.h>

#include "qmp/qsnap-qmp-framer.h"
#include "qsnap-json.h"
#include "qsnap-worker.h"
#include "qsnap/qsnap-error.h"

#define READ_SIZE (64 * 1024)
/* The greeting is awaited like a reply; commands count from 1. */
#define GREETING_ID 0
/* Of two commands in one message. */
#define NO_ID G_MAXUINT64

typedef struct
{
  guint64 id;
  char *command;
  QsnapQmpReplyFunc func;
  gpointer user_data;
} QmpCall;

typedef struct
{
  char *text;
  gsize length;
  gsize sent;
  GUnixFDList *fds;
  /* The call it is of, if it is of one alone. */
  guint64 id;
  gboolean begun;
} QmpMessage;

struct _QsnapQmpClient
{
  gatomicrefcount refs;
  GIOStream *stream;
  /* The stream's socket where it has one: the only way to pass descriptors. */
  GSocket *socket;
  QsnapQmpHandlers handlers;
  gpointer user_data;
  GDestroyNotify destroy;

  /* Of the worker's thread alone. */
  QsnapQmpFramer *framer;
  gboolean greeted;
  char *read_buffer;

  /* Cancels reading and writing when the connection has failed. */
  GCancellable *io_cancellable;

  GMutex lock;
  /* Everything below is guarded by lock. */
  GHashTable *pending;
  GQueue outgoing;
  /* Whether the read loop and the write loop are under way: the stream is closed after both. */
  gboolean reading;
  gboolean writing;
  guint64 next_id;
  GError *failure;
};

static gboolean start_reading (gpointer client);
static void read_more (QsnapQmpClient *client);
static void write_more (QsnapQmpClient *client);

/* --- small things ------------------------------------------------------------------------- */

static void
qmp_call_free (QmpCall *call)
{
  g_free (call->command);
  g_free (call);
}

static void
qmp_message_free (QmpMessage *message)
{
  g_free (message->text);
  g_clear_object (&message->fds);
  g_free (message);
}

QsnapQmpError
qsnap_qmp_error_code (const char *class)
{
  static const struct
  {
    const char *class;
    QsnapQmpError code;
  } classes[] = {
    { "GenericError", QSNAP_QMP_ERROR_GENERIC },
    { "CommandNotFound", QSNAP_QMP_ERROR_COMMAND_NOT_FOUND },
    { "DeviceNotActive", QSNAP_QMP_ERROR_DEVICE_NOT_ACTIVE },
    { "DeviceNotFound", QSNAP_QMP_ERROR_DEVICE_NOT_FOUND },
    { "KVMMissingCap", QSNAP_QMP_ERROR_KVM_MISSING_CAP },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (classes); i++)
    if (g_strcmp0 (class, classes[i].class) == 0)
      return classes[i].code;

  return QSNAP_QMP_ERROR_UNKNOWN;
}

/* --- life ---------------------------------------------------------------------------------- */

static GSocket *
socket_for_fds (GIOStream *stream)
{
  GSocket *socket;

  if (!G_IS_SOCKET_CONNECTION (stream))
    return NULL;

  socket = g_socket_connection_get_socket (G_SOCKET_CONNECTION (stream));

  return g_socket_get_family (socket) == G_SOCKET_FAMILY_UNIX ? g_object_ref (socket) : NULL;
}

QsnapQmpClient *
qsnap_qmp_client_new (GIOStream *stream,
                      const QsnapQmpHandlers *handlers,
                      gpointer user_data,
                      GDestroyNotify destroy)
{
  QsnapQmpClient *client = g_new0 (QsnapQmpClient, 1);

  g_atomic_ref_count_init (&client->refs);
  client->stream = g_object_ref (stream);
  client->socket = socket_for_fds (stream);
  client->handlers = *handlers;
  client->user_data = user_data;
  client->destroy = destroy;
  client->framer = qsnap_qmp_framer_new (QSNAP_QMP_MAX_LINE);
  client->read_buffer = g_malloc (READ_SIZE);
  client->io_cancellable = g_cancellable_new ();
  client->pending =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, (GDestroyNotify)qmp_call_free);
  client->next_id = GREETING_ID + 1;
  g_mutex_init (&client->lock);
  g_queue_init (&client->outgoing);

  return client;
}

QsnapQmpClient *
qsnap_qmp_client_ref (QsnapQmpClient *client)
{
  g_atomic_ref_count_inc (&client->refs);

  return client;
}

void
qsnap_qmp_client_unref (QsnapQmpClient *client)
{
  if (!g_atomic_ref_count_dec (&client->refs))
    return;

  if (client->destroy != NULL)
    client->destroy (client->user_data);
  g_object_unref (client->stream);
  g_clear_object (&client->socket);
  qsnap_qmp_framer_free (client->framer);
  g_free (client->read_buffer);
  g_object_unref (client->io_cancellable);
  g_hash_table_unref (client->pending);
  g_queue_clear_full (&client->outgoing, (GDestroyNotify)qmp_message_free);
  g_clear_error (&client->failure);
  g_mutex_clear (&client->lock);
  g_free (client);
}

gboolean
qsnap_qmp_client_can_pass_fds (QsnapQmpClient *client)
{
  return client->socket != NULL;
}

gboolean
qsnap_qmp_client_is_closed (QsnapQmpClient *client)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&client->lock);

  return client->failure != NULL;
}

/* --- the one failure path ------------------------------------------------------------------ */

/* A stream with an operation under way cannot be closed: the last of the two loops does it. */
static void
close_stream_if_unused (QsnapQmpClient *client)
{
  gboolean unused;

  g_mutex_lock (&client->lock);
  unused = client->failure != NULL && !client->reading && !client->writing;
  g_mutex_unlock (&client->lock);

  if (unused)
    g_io_stream_close_async (client->stream, G_PRIORITY_DEFAULT, NULL, NULL, NULL);
}

static gboolean
close_stream_later (gpointer data)
{
  close_stream_if_unused (data);

  return G_SOURCE_REMOVE;
}

static void
fail_call (gpointer key, gpointer value, gpointer user_data)
{
  QmpCall *call = value;

  call->func (NULL, user_data, call->user_data);
}

/* Takes @failure. What handlers see: `closed`, once, and then every pending call fails: whoever
 * waits for a call knows the reason when it returns. */
static void
client_fail (QsnapQmpClient *client, GError *failure, gboolean ours)
{
  g_autoptr (GHashTable) pending = NULL;

  g_mutex_lock (&client->lock);
  if (client->failure != NULL)
    {
      g_mutex_unlock (&client->lock);
      g_error_free (failure);
      return;
    }
  client->failure = failure;
  pending = client->pending;
  client->pending =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, NULL, (GDestroyNotify)qmp_call_free);
  g_mutex_unlock (&client->lock);

  g_cancellable_cancel (client->io_cancellable);
  if (client->handlers.closed != NULL)
    client->handlers.closed (ours ? NULL : failure, client->user_data);
  g_hash_table_foreach (pending, fail_call, failure);
  qsnap_worker_run (close_stream_later, qsnap_qmp_client_ref (client),
                    (GDestroyNotify)qsnap_qmp_client_unref);
}

void
qsnap_qmp_client_close (QsnapQmpClient *client)
{
  client_fail (client,
               g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_CLOSED, "the session was closed"),
               TRUE);
}

/* --- what the peer says -------------------------------------------------------------------- */

static QmpCall *
steal_call (QsnapQmpClient *client, guint64 id)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&client->lock);
  gpointer call = NULL;

  g_hash_table_steal_extended (client->pending, &id, NULL, &call);

  return call;
}

static void
handle_greeting (QsnapQmpClient *client, JsonNode *message)
{
  QmpCall *call;

  if (qsnap_json_get_object (json_node_get_object (message), "QMP") == NULL)
    {
      client_fail (client,
                   g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                                        "the peer's first message is not a QMP greeting"),
                   FALSE);
      return;
    }

  client->greeted = TRUE;
  call = steal_call (client, GREETING_ID);
  if (call == NULL)
    return;

  call->func (message, NULL, call->user_data);
  qmp_call_free (call);
}

static void
handle_event (QsnapQmpClient *client, JsonObject *message, const char *name)
{
  JsonObject *stamp = qsnap_json_get_object (message, "timestamp");
  gint64 seconds = qsnap_json_get_int (stamp, "seconds", -1);
  gint64 microseconds = qsnap_json_get_int (stamp, "microseconds", 0);
  gboolean possible = seconds >= 0 && seconds < G_MAXINT64 / G_USEC_PER_SEC - 1 &&
                      microseconds >= 0 && microseconds < G_USEC_PER_SEC;
  gint64 time = possible ? seconds * G_USEC_PER_SEC + microseconds : g_get_real_time ();

  g_debug ("event %.100s", name);
  if (client->handlers.event == NULL ||
      client->handlers.event (name, json_object_get_member (message, "data"), time,
                              client->user_data))
    return;

  client_fail (client,
               g_error_new (QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                            "QEMU floods the connection with the event %s: it was closed", name),
               FALSE);
}

static GError *
error_from_reply (JsonObject *message)
{
  JsonObject *error = qsnap_json_get_object (message, "error");
  const char *text = qsnap_json_get_string (error, "desc");

  return g_error_new_literal (QSNAP_QMP_ERROR,
                              qsnap_qmp_error_code (qsnap_json_get_string (error, "class")),
                              text != NULL ? text : "QEMU gave no description");
}

/* Arguments and results are in no log, so that no secret is. QEMU's text may repeat an argument. */
static gboolean
may_repeat_secret (const char *command)
{
  static const char *const commands[] = { "change-vnc-password",   "expire_password",
                                          "human-monitor-command", "object-add",
                                          "set_password",          NULL };

  return g_strv_contains (commands, command);
}

/* A reply that nobody waits for (late, or without an id: QEMU answers so when it cannot parse a
 * command) is no reason to give up the connection. */
static void
handle_reply (QsnapQmpClient *client, JsonObject *message)
{
  gint64 id = qsnap_json_get_int (message, "id", -1);
  QmpCall *call = id > GREETING_ID ? steal_call (client, (guint64)id) : NULL;

  if (call == NULL)
    {
      g_debug ("dropped a reply with id %" G_GINT64_FORMAT " that nothing waits for", id);
      return;
    }

  if (json_object_has_member (message, "return"))
    {
      call->func (json_object_get_member (message, "return"), NULL, call->user_data);
    }
  else
    {
      g_autoptr (GError) error = error_from_reply (message);

      g_debug ("%s failed: %.200s", call->command,
               may_repeat_secret (call->command) ? "(text left out)" : error->message);
      call->func (NULL, error, call->user_data);
    }

  qmp_call_free (call);
}

static void
handle_line (QsnapQmpClient *client, const char *line, gsize length)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = qsnap_json_parse_object (line, length, &error);
  JsonObject *message;
  const char *event;

  if (node == NULL)
    {
      g_prefix_error (&error, "the peer does not speak QMP: ");
      client_fail (client, g_steal_pointer (&error), FALSE);
      return;
    }

  message = json_node_get_object (node);
  event = qsnap_json_get_string (message, "event");

  if (!client->greeted)
    handle_greeting (client, node);
  else if (event != NULL)
    handle_event (client, message, event);
  else if (json_object_has_member (message, "return") || json_object_has_member (message, "error"))
    handle_reply (client, message);
  else
    g_debug ("dropped a message that is neither event nor reply");
}

/* --- reading ------------------------------------------------------------------------------- */

static GError *
end_of_stream (QsnapQmpClient *client)
{
  if (!client->greeted)
    return g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                                "the peer closed the connection without a QMP greeting");

  return g_error_new (QSNAP_ERROR, QSNAP_ERROR_CLOSED, "QEMU closed the QMP connection%s",
                      qsnap_qmp_framer_is_inside_line (client->framer) ? " in mid-message" : "");
}

static void
stop_reading (QsnapQmpClient *client, GError *reason)
{
  client_fail (client, reason, FALSE);

  g_mutex_lock (&client->lock);
  client->reading = FALSE;
  g_mutex_unlock (&client->lock);

  close_stream_if_unused (client);
}

/* Takes @failure, of a read that did not succeed. FALSE: it was the last one. */
static gboolean
take_read (QsnapQmpClient *client, gssize n, GError *failure)
{
  g_autoptr (GError) error = failure;
  const char *line;
  gsize length;

  if (n > 0)
    qsnap_qmp_framer_push (client->framer, client->read_buffer, (gsize)n, &error);
  else if (n == 0)
    error = end_of_stream (client);
  else if (!g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    g_prefix_error (&error, "reading from QEMU's monitor failed: ");

  while (error == NULL && !qsnap_qmp_client_is_closed (client) &&
         (line = qsnap_qmp_framer_pop (client->framer, &length)) != NULL)
    handle_line (client, line, length);

  if (error == NULL && qsnap_qmp_client_is_closed (client))
    error = g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_CLOSED, "closed");

  if (error == NULL)
    return TRUE;

  stop_reading (client, g_steal_pointer (&error));

  return FALSE;
}

/* Comes again and again: to begin each read anew costs more than the read. */
static gboolean
stream_is_readable (GObject *source, gpointer user_data)
{
  QsnapQmpClient *client = user_data;
  GError *error = NULL;
  gssize n = g_pollable_input_stream_read_nonblocking (G_POLLABLE_INPUT_STREAM (source),
                                                       client->read_buffer, READ_SIZE,
                                                       client->io_cancellable, &error);

  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
    {
      g_error_free (error);
      return G_SOURCE_CONTINUE;
    }

  return take_read (client, n, error) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void
read_done (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (QsnapQmpClient) client = user_data;
  GError *error = NULL;
  gssize n = g_input_stream_read_finish (G_INPUT_STREAM (source), result, &error);

  if (take_read (client, n, error))
    read_more (client);
}

static void
read_more (QsnapQmpClient *client)
{
  g_input_stream_read_async (g_io_stream_get_input_stream (client->stream), client->read_buffer,
                             READ_SIZE, G_PRIORITY_DEFAULT, client->io_cancellable, read_done,
                             qsnap_qmp_client_ref (client));
}

/* Sockets can be polled; a stream of the application's may be of any kind. */
static gboolean
start_reading (gpointer data)
{
  QsnapQmpClient *client = data;
  GInputStream *stream = g_io_stream_get_input_stream (client->stream);
  g_autoptr (GSource) source = NULL;

  if (!G_IS_POLLABLE_INPUT_STREAM (stream) ||
      !g_pollable_input_stream_can_poll (G_POLLABLE_INPUT_STREAM (stream)))
    {
      read_more (client);
      return G_SOURCE_REMOVE;
    }

  source = g_pollable_input_stream_create_source (G_POLLABLE_INPUT_STREAM (stream),
                                                  client->io_cancellable);
  g_source_set_callback (source, G_SOURCE_FUNC (stream_is_readable), qsnap_qmp_client_ref (client),
                         (GDestroyNotify)qsnap_qmp_client_unref);
  g_source_attach (source, qsnap_worker_context ());

  return G_SOURCE_REMOVE;
}

/* --- writing ------------------------------------------------------------------------------- */

static void
stop_writing (QsnapQmpClient *client, GError *reason)
{
  if (reason != NULL)
    {
      g_prefix_error (&reason, "writing to QEMU's monitor failed: ");
      client_fail (client, reason, FALSE);
    }

  g_mutex_lock (&client->lock);
  client->writing = FALSE;
  g_mutex_unlock (&client->lock);

  close_stream_if_unused (client);
}

static void
write_done (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (QsnapQmpClient) client = user_data;
  g_autoptr (GError) error = NULL;

  if (!g_output_stream_write_all_finish (G_OUTPUT_STREAM (source), result, NULL, &error))
    {
      stop_writing (client, g_steal_pointer (&error));
      return;
    }

  g_mutex_lock (&client->lock);
  qmp_message_free (g_queue_pop_head (&client->outgoing));
  g_mutex_unlock (&client->lock);

  write_more (client);
}

static gboolean
socket_is_writable (GSocket *socket, GIOCondition condition, gpointer user_data)
{
  write_more (user_data);

  return G_SOURCE_REMOVE;
}

/* QEMU takes descriptors only with the bytes of the command that names them, so the first bytes of
 * such a message are sent here; what remains of it is written like any other. */
static gboolean
send_with_fds (QsnapQmpClient *client, QmpMessage *message, GError **error)
{
  GOutputVector vector = { message->text, message->length };
  g_autoptr (GSocketControlMessage) control = g_unix_fd_message_new_with_fd_list (message->fds);
  gssize n = g_socket_send_message (client->socket, NULL, &vector, 1, &control, 1,
                                    G_SOCKET_MSG_NONE, NULL, error);

  if (n < 0)
    return FALSE;

  message->sent = (gsize)n;
  g_clear_object (&message->fds);

  return TRUE;
}

static void
wait_until_writable (QsnapQmpClient *client)
{
  g_autoptr (GSource) source =
      g_socket_create_source (client->socket, G_IO_OUT, client->io_cancellable);

  g_source_set_callback (source, G_SOURCE_FUNC (socket_is_writable), qsnap_qmp_client_ref (client),
                         (GDestroyNotify)qsnap_qmp_client_unref);
  g_source_attach (source, qsnap_worker_context ());
}

/* The message at the head of the queue stays there until it is written. */
static void
write_more (QsnapQmpClient *client)
{
  QmpMessage *message;
  g_autoptr (GError) error = NULL;
  gboolean failed;

  g_mutex_lock (&client->lock);
  failed = client->failure != NULL;
  message = failed ? NULL : g_queue_peek_head (&client->outgoing);
  if (message != NULL)
    message->begun = TRUE;
  else
    client->writing = FALSE;
  g_mutex_unlock (&client->lock);

  if (message == NULL)
    {
      close_stream_if_unused (client);
      return;
    }

  if (message->fds != NULL && !send_with_fds (client, message, &error))
    {
      if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK))
        wait_until_writable (client);
      else
        stop_writing (client, g_steal_pointer (&error));
      return;
    }

  g_output_stream_write_all_async (g_io_stream_get_output_stream (client->stream),
                                   message->text + message->sent, message->length - message->sent,
                                   G_PRIORITY_DEFAULT, client->io_cancellable, write_done,
                                   qsnap_qmp_client_ref (client));
}

static gboolean
start_writing (gpointer data)
{
  write_more (data);

  return G_SOURCE_REMOVE;
}

/* --- calling ------------------------------------------------------------------------------- */

static char *
command_text (const char *command, JsonNode *arguments, guint64 id)
{
  g_autoptr (JsonNode) node = qsnap_json_node_new ("execute", 's', command, "arguments", 'n',
                                                   arguments, "id", 'i', (gint64)id, NULL);
  g_autofree char *text = qsnap_json_to_text (node, FALSE);

  return g_strconcat (text, "\n", NULL);
}

static void
register_call (QsnapQmpClient *client,
               guint64 id,
               const char *command,
               QsnapQmpReplyFunc func,
               gpointer user_data)
{
  QmpCall *call = g_new0 (QmpCall, 1);

  call->id = id;
  call->command = g_strdup (command);
  call->func = func;
  call->user_data = user_data;
  g_hash_table_insert (client->pending, &call->id, call);
}

/* With the lock held, and nothing before it: without another thread a command is on its way sooner.
 * How much was sent. */
static gsize
send_at_once (QsnapQmpClient *client, const QmpMessage *message)
{
  gssize n;

  if (client->socket == NULL || message->fds != NULL)
    return 0;

  /* What goes wrong goes wrong again where it is told. */
  n = g_socket_send_with_blocking (client->socket, message->text, message->length, FALSE, NULL,
                                   NULL);

  return n > 0 ? (gsize)n : 0;
}

/* With the lock held. */
static void
enqueue_text (QsnapQmpClient *client, guint64 id, char *text, GUnixFDList *fds)
{
  QmpMessage *message = g_new0 (QmpMessage, 1);

  message->text = text;
  message->length = strlen (text);
  message->id = id;
  message->fds = fds != NULL ? g_object_ref (fds) : NULL;
  if (!client->writing)
    message->sent = send_at_once (client, message);
  if (message->sent == message->length)
    {
      qmp_message_free (message);
      return;
    }

  message->begun = message->sent > 0;
  g_queue_push_tail (&client->outgoing, message);
  if (client->writing)
    return;

  client->writing = TRUE;
  qsnap_worker_run (start_writing, qsnap_qmp_client_ref (client),
                    (GDestroyNotify)qsnap_qmp_client_unref);
}

static GError *
cannot_send (QsnapQmpClient *client, GUnixFDList *fds)
{
  if (client->failure != NULL)
    return g_error_copy (client->failure);

  if (fds != NULL && client->socket == NULL)
    return g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                                "file descriptors travel only over a unix socket");

  return NULL;
}

guint64
qsnap_qmp_client_send (QsnapQmpClient *client,
                       const char *command,
                       JsonNode *arguments,
                       GUnixFDList *fds,
                       QsnapQmpReplyFunc func,
                       gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  guint64 id;

  g_mutex_lock (&client->lock);
  id = client->next_id++;
  error = cannot_send (client, fds);
  if (error == NULL)
    {
      g_debug ("command %s, id %" G_GUINT64_FORMAT, command, id);
      register_call (client, id, command, func, user_data);
      enqueue_text (client, id, command_text (command, g_steal_pointer (&arguments), id), fds);
    }
  g_mutex_unlock (&client->lock);

  if (error != NULL)
    {
      g_clear_pointer (&arguments, json_node_unref);
      func (NULL, error, user_data);
    }

  return id;
}

static gint
compare_id (gconstpointer message, gconstpointer id)
{
  return ((const QmpMessage *)message)->id != *(const guint64 *)id;
}

/* A peer that does not read must not make commands, and their descriptors, add up. */
static void
drop_unsent (QsnapQmpClient *client, guint64 id)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&client->lock);
  GList *link = g_queue_find_custom (&client->outgoing, &id, compare_id);
  QmpMessage *message = link != NULL ? link->data : NULL;

  if (message == NULL || message->begun)
    return;

  g_queue_delete_link (&client->outgoing, link);
  qmp_message_free (message);
}

gboolean
qsnap_qmp_client_forget (QsnapQmpClient *client, guint64 id)
{
  QmpCall *call = steal_call (client, id);

  if (call == NULL)
    return FALSE;

  qmp_call_free (call);
  drop_unsent (client, id);

  return TRUE;
}

/* --- waiting ------------------------------------------------------------------------------- */

typedef struct
{
  GMutex lock;
  GCond cond;
  gboolean done;
  JsonNode *reply;
  GError *error;
} Waiter;

static void
waiter_init (Waiter *waiter)
{
  memset (waiter, 0, sizeof *waiter);
  g_mutex_init (&waiter->lock);
  g_cond_init (&waiter->cond);
}

static void
waiter_clear (Waiter *waiter)
{
  g_clear_pointer (&waiter->reply, json_node_unref);
  g_clear_error (&waiter->error);
  g_cond_clear (&waiter->cond);
  g_mutex_clear (&waiter->lock);
}

static void
waiter_reply (JsonNode *reply, const GError *error, gpointer user_data)
{
  Waiter *waiter = user_data;
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&waiter->lock);

  /* The message goes away in this thread, whenever the waiter reads its answer. */
  waiter->reply = reply != NULL ? qsnap_json_copy (reply) : NULL;
  waiter->error = error != NULL ? g_error_copy (error) : NULL;
  waiter->done = TRUE;
  g_cond_broadcast (&waiter->cond);
}

static void
waiter_wake (GCancellable *cancellable, gpointer user_data)
{
  Waiter *waiter = user_data;
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&waiter->lock);

  g_cond_broadcast (&waiter->cond);
}

/* TRUE once the reply is there, FALSE when the time is up or @cancellable was cancelled. */
static gboolean
waiter_sleep (Waiter *waiter, guint timeout_ms, GCancellable *cancellable)
{
  gint64 deadline = g_get_monotonic_time () + (gint64)timeout_ms * 1000;
  gulong handler = 0;
  gboolean done;

  if (cancellable != NULL)
    handler = g_cancellable_connect (cancellable, G_CALLBACK (waiter_wake), waiter, NULL);

  g_mutex_lock (&waiter->lock);
  while (!waiter->done && !g_cancellable_is_cancelled (cancellable))
    {
      if (timeout_ms == 0)
        g_cond_wait (&waiter->cond, &waiter->lock);
      else if (!g_cond_wait_until (&waiter->cond, &waiter->lock, deadline))
        break;
    }
  done = waiter->done;
  g_mutex_unlock (&waiter->lock);

  if (handler != 0)
    g_cancellable_disconnect (cancellable, handler);

  return done;
}

static JsonNode *
wait_for_reply (QsnapQmpClient *client,
                Waiter *waiter,
                guint64 id,
                const char *what,
                guint timeout_ms,
                GCancellable *cancellable,
                GError **error)
{
  if (!waiter_sleep (waiter, timeout_ms, cancellable) && qsnap_qmp_client_forget (client, id))
    {
      if (!g_cancellable_set_error_if_cancelled (cancellable, error))
        g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT, "no answer to %s in %u.%u seconds",
                     what, timeout_ms / 1000, timeout_ms % 1000 / 100);
      return NULL;
    }

  /* Where it could not be forgotten the reply is being delivered right now. */
  waiter_sleep (waiter, 0, NULL);

  if (waiter->error != NULL)
    {
      g_propagate_error (error, g_steal_pointer (&waiter->error));
      return NULL;
    }

  return g_steal_pointer (&waiter->reply);
}

JsonNode *
qsnap_qmp_client_call (QsnapQmpClient *client,
                       const char *command,
                       JsonNode *arguments,
                       GUnixFDList *fds,
                       guint timeout_ms,
                       GCancellable *cancellable,
                       GError **error)
{
  Waiter waiter;
  JsonNode *reply;
  guint64 id;

  if (g_cancellable_set_error_if_cancelled (cancellable, error))
    {
      g_clear_pointer (&arguments, json_node_unref);
      return NULL;
    }

  waiter_init (&waiter);
  id = qsnap_qmp_client_send (client, command, arguments, fds, waiter_reply, &waiter);
  reply = wait_for_reply (client, &waiter, id, command, timeout_ms, cancellable, error);
  waiter_clear (&waiter);

  return reply;
}

gboolean
qsnap_qmp_client_call_pair (QsnapQmpClient *client,
                            const char *first,
                            JsonNode *first_arguments,
                            const char *second,
                            JsonNode *second_arguments,
                            guint timeout_ms,
                            gboolean *first_done,
                            GError **error)
{
  Waiter waiters[2];
  guint64 ids[2];
  g_autofree char *first_text = NULL;
  g_autofree char *second_text = NULL;
  g_autoptr (JsonNode) first_reply = NULL;
  g_autoptr (JsonNode) second_reply = NULL;
  g_autoptr (GError) failure = NULL;

  waiter_init (&waiters[0]);
  waiter_init (&waiters[1]);

  g_mutex_lock (&client->lock);
  failure = cannot_send (client, NULL);
  ids[0] = client->next_id++;
  ids[1] = client->next_id++;
  first_text = command_text (first, first_arguments, ids[0]);
  second_text = command_text (second, second_arguments, ids[1]);
  if (failure == NULL)
    {
      g_debug ("commands %s and %s, id %" G_GUINT64_FORMAT, first, second, ids[0]);
      register_call (client, ids[0], first, waiter_reply, &waiters[0]);
      register_call (client, ids[1], second, waiter_reply, &waiters[1]);
      enqueue_text (client, NO_ID, g_strconcat (first_text, second_text, NULL), NULL);
    }
  g_mutex_unlock (&client->lock);

  if (failure == NULL)
    {
      first_reply = wait_for_reply (client, &waiters[0], ids[0], first, timeout_ms, NULL, &failure);
      second_reply = wait_for_reply (client, &waiters[1], ids[1], second, timeout_ms, NULL,
                                     failure == NULL ? &failure : NULL);
    }
  waiter_clear (&waiters[0]);
  waiter_clear (&waiters[1]);

  if (first_done != NULL)
    *first_done = first_reply != NULL;
  if (failure != NULL)
    g_propagate_error (error, g_steal_pointer (&failure));

  return first_reply != NULL && second_reply != NULL;
}

/* --- the greeting -------------------------------------------------------------------------- */

/* With OOB on, QEMU queues up to eight commands, where without it reads the second only after it
 * has run the first: two commands sent as a pair then run one right after the other. */
static JsonNode *
capabilities_to_enable (JsonObject *greeting)
{
  JsonArray *offered = qsnap_json_get_array (greeting, "capabilities");
  g_autoptr (JsonArray) enable = json_array_new ();

  for (guint i = 0; offered != NULL && i < json_array_get_length (offered); i++)
    if (g_strcmp0 (qsnap_json_array_string (offered, i), "oob") == 0)
      json_array_add_string_element (enable, "oob");

  if (json_array_get_length (enable) == 0)
    return NULL;

  return qsnap_json_node_new ("enable", 'a', g_steal_pointer (&enable), NULL);
}

static JsonNode *
wait_for_greeting (QsnapQmpClient *client,
                   guint timeout_ms,
                   GCancellable *cancellable,
                   GError **error)
{
  g_autoptr (GError) local_error = NULL;
  Waiter waiter;
  JsonNode *message;

  waiter_init (&waiter);
  g_mutex_lock (&client->lock);
  register_call (client, GREETING_ID, "greeting", waiter_reply, &waiter);
  client->reading = TRUE;
  g_mutex_unlock (&client->lock);
  qsnap_worker_run (start_reading, qsnap_qmp_client_ref (client),
                    (GDestroyNotify)qsnap_qmp_client_unref);
  message = wait_for_reply (client, &waiter, GREETING_ID, "the connection", timeout_ms, cancellable,
                            &local_error);
  waiter_clear (&waiter);

  if (g_error_matches (local_error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT))
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                 "no QMP greeting came in %u.%u seconds: is it a QMP monitor, and does another "
                 "client hold it? It serves one at a time; give QEMU a second -qmp option",
                 timeout_ms / 1000, timeout_ms % 1000 / 100);
  else if (local_error != NULL)
    g_propagate_error (error, g_steal_pointer (&local_error));

  return message;
}

JsonNode *
qsnap_qmp_client_negotiate (QsnapQmpClient *client,
                            guint timeout_ms,
                            GCancellable *cancellable,
                            GError **error)
{
  g_autoptr (JsonNode) message = NULL;
  g_autoptr (JsonNode) reply = NULL;
  JsonObject *greeting;

  message = wait_for_greeting (client, timeout_ms, cancellable, error);
  if (message == NULL)
    return NULL;

  greeting = qsnap_json_get_object (json_node_get_object (message), "QMP");
  reply = qsnap_qmp_client_call (client, "qmp_capabilities", capabilities_to_enable (greeting),
                                 NULL, timeout_ms, cancellable, error);
  if (reply == NULL)
    {
      g_prefix_error (error, "negotiating QMP capabilities failed: ");
      return NULL;
    }

  return qsnap_json_node_from_object (json_object_ref (greeting));
}
