/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-session-private.h"

#include <string.h>

#include "qsnap-json.h"

#define DEFAULT_TIMEOUT_MS (60 * 1000)
/* Events that wait for an application which does not run its main context, and about what they take
 * in memory; what comes beyond is counted and dropped. */
#define MAX_QUEUED_EVENTS 4096
#define MAX_QUEUED_BYTES (16 * 1024 * 1024)

/**
 * SECTION:qsnap-session
 * @title: QsnapSession
 * @short_description: A QMP connection to one QEMU
 *
 * A #QsnapSession is one QMP connection to one QEMU. It runs any QMP command, tells of QEMU's
 * events, checks whether a guest can be captured, and takes an instant snapshot of it.
 *
 * QMP is read and written by a thread of the library, and a capture runs on a thread of its own: an
 * application that is busy, or blocked, never makes the guest's pause longer.
 *
 * # Threads and main contexts
 *
 * Any thread may call any method. Signals are emitted in the main context that was the
 * thread-default one when the session was made, so that has to be iterated. There is one exception:
 * what belongs to an operation that was started by a synchronous call (`notify` of
 * #QsnapSession:phase and the progress, #QsnapSession::point-in-time-reached,
 * #QsnapSession::disks-complete, #QsnapSession::memory-complete) is emitted inside that call, from
 * the calling thread, at its time; no main context is iterated.
 *
 * The callback of an asynchronous method comes in the main context that was the thread-default one
 * when the method was called. That of an operation comes after the operation's signals.
 */

/**
 * QsnapSession:
 *
 * A QMP connection to one QEMU.
 *
 * Since: 1.0
 */
G_DEFINE_FINAL_TYPE (QsnapSession, qsnap_session, G_TYPE_OBJECT)

enum
{
  PROP_ADDRESS = 1,
  PROP_STREAM,
  PROP_IS_OPEN,
  PROP_QEMU_VERSION,
  PROP_OPERATION,
  PROP_PHASE,
  PROP_BYTES_DONE,
  PROP_BYTES_TOTAL,
  PROP_DISK_BYTES_DONE,
  PROP_DISK_BYTES_TOTAL,
  PROP_EVENTS_LOST,
  PROP_TIMEOUT,
  PROP_PID,
  PROP_RESTORE_DIRECTORY,
  PROP_RESTORE_METHOD,
  PROP_RESTORE_WARNINGS,
  PROP_START_US,
  PROP_LOAD_US,
  PROP_SETTLE_US,
  PROP_PAGE_REQUESTS,
  N_PROPS
};

enum
{
  SIGNAL_POINT_IN_TIME_REACHED,
  SIGNAL_STALLED,
  SIGNAL_DISKS_COMPLETE,
  SIGNAL_MEMORY_COMPLETE,
  SIGNAL_EVENT,
  SIGNAL_CLOSED,
  SIGNAL_SETTLED,
  SIGNAL_SETTLE_FAILED,
  N_SIGNALS
};

static GParamSpec *props[N_PROPS];
static guint signals[N_SIGNALS];

/* Every transition that there is: within an operation the phase grows, rolling back can follow
 * each, and all end in idle. */
static gboolean
transition_is_legal (QsnapPhase from, QsnapPhase to)
{
  return to == QSNAP_PHASE_IDLE || to > from;
}

/* --- posting to the main context ----------------------------------------------------------- */

typedef struct
{
  GWeakRef session;
  QsnapSessionFunc func;
  gpointer data;
  GDestroyNotify destroy;
} Post;

static void
post_free (Post *post)
{
  if (post->destroy != NULL)
    post->destroy (post->data);
  g_weak_ref_clear (&post->session);
  g_free (post);
}

static gboolean
post_dispatch (gpointer data)
{
  Post *post = data;
  g_autoptr (QsnapSession) session = g_weak_ref_get (&post->session);

  if (session != NULL)
    post->func (session, post->data);

  return G_SOURCE_REMOVE;
}

void
qsnap_session_post (QsnapSession *self,
                    QsnapSessionFunc func,
                    gpointer data,
                    GDestroyNotify destroy)
{
  g_autoptr (GSource) source = g_idle_source_new ();
  Post *post = g_new0 (Post, 1);

  g_weak_ref_init (&post->session, self);
  post->func = func;
  post->data = data;
  post->destroy = destroy;
  /* Sources of one priority are dispatched in the order in which they were attached. */
  g_source_set_priority (source, G_PRIORITY_DEFAULT);
  g_source_set_callback (source, post_dispatch, post, (GDestroyNotify)post_free);
  g_source_set_static_name (source, "qsnap-session");
  g_source_attach (source, self->context);
}

/* --- what the connection says (worker's thread) -------------------------------------------- */

/* The connection must not keep the session alive, nor touch it while it is being finalized. */
typedef struct
{
  GWeakRef session;
} SessionLink;

static void
session_link_free (gpointer data)
{
  SessionLink *link = data;

  g_weak_ref_clear (&link->session);
  g_free (link);
}

typedef struct
{
  char *name;
  JsonNode *data;
  gint64 time;
  gsize weight;
} Event;

static void
event_free (Event *event)
{
  g_free (event->name);
  g_clear_pointer (&event->data, json_node_unref);
  g_free (event);
}

static void
emit_event (QsnapSession *self, gpointer data)
{
  Event *event = data;

  g_mutex_lock (&self->lock);
  self->queued_events--;
  self->queued_bytes -= event->weight;
  g_mutex_unlock (&self->lock);

  g_signal_emit (self, signals[SIGNAL_EVENT], g_quark_try_string (event->name), event->name,
                 event->data, event->time);
}

static void
emit_events_lost (QsnapSession *self, gpointer data)
{
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_EVENTS_LOST]);
}

/* TRUE if there is room for one more; the first that is lost is told at once. */
static gboolean
reserve_event (QsnapSession *self, gsize weight)
{
  gboolean room;
  gboolean first_lost = FALSE;

  g_mutex_lock (&self->lock);
  room = self->queued_events < MAX_QUEUED_EVENTS && weight <= MAX_QUEUED_BYTES - self->queued_bytes;
  if (room)
    {
      self->queued_events++;
      self->queued_bytes += weight;
    }
  else
    first_lost = self->events_lost++ == 0;
  g_mutex_unlock (&self->lock);

  if (first_lost)
    qsnap_session_post (self, emit_events_lost, NULL, NULL);

  return room;
}

static void
queue_event (QsnapSession *self, const char *name, JsonNode *data, gint64 time)
{
  GQuark detail = g_quark_try_string (name);
  gsize weight;
  Event *event;

  /* A handler without a detail takes all, one with a detail is found by it alone. A name that
   * nobody connected for has no quark: peers cannot make the table of quarks grow. */
  if (!g_signal_has_handler_pending (self, signals[SIGNAL_EVENT], 0, TRUE) &&
      (detail == 0 || !g_signal_has_handler_pending (self, signals[SIGNAL_EVENT], detail, TRUE)))
    return;

  weight = strlen (name) + (data != NULL ? qsnap_json_weigh (data) : 0);
  if (!reserve_event (self, weight))
    return;

  event = g_new0 (Event, 1);
  event->name = g_strdup (name);
  event->data = data != NULL ? qsnap_json_copy (data) : NULL;
  event->time = time;
  event->weight = weight;
  qsnap_session_post (self, emit_event, event, (GDestroyNotify)event_free);
}

static gboolean
client_event (const char *name, JsonNode *data, gint64 time, gpointer user_data)
{
  SessionLink *link = user_data;
  g_autoptr (QsnapSession) self = g_weak_ref_get (&link->session);

  gboolean noted = TRUE;

  if (self == NULL)
    return TRUE;

  g_mutex_lock (&self->lock);
  if (self->watch != NULL)
    noted = qsnap_watch_note_event (self->watch, name, data, time);
  g_mutex_unlock (&self->lock);

  queue_event (self, name, data, time);

  return noted;
}

static void
emit_closed (QsnapSession *self, gpointer data)
{
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_IS_OPEN]);
  g_signal_emit (self, signals[SIGNAL_CLOSED], 0, data);
}

static void
client_closed (const GError *error, gpointer user_data)
{
  SessionLink *link = user_data;
  g_autoptr (QsnapSession) self = g_weak_ref_get (&link->session);
  g_autoptr (GError) closed =
      error != NULL ? g_error_copy (error)
                    : g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                                           "the session was closed by the application");
  gboolean was_open;

  if (self == NULL)
    return;

  g_mutex_lock (&self->lock);
  /* A connection that fails before it is open is the error of open(). */
  was_open = !self->opening;
  if (self->watch != NULL)
    qsnap_watch_note_closed (self->watch, closed);
  g_mutex_unlock (&self->lock);

  if (was_open)
    qsnap_session_post (self, emit_closed, error != NULL ? g_error_copy (error) : NULL,
                        error != NULL ? (GDestroyNotify)g_error_free : NULL);
}

static const QsnapQmpHandlers client_handlers = { client_event, client_closed };

QsnapQmpClient *
qsnap_session_make_client (QsnapSession *self, GIOStream *stream)
{
  SessionLink *link = g_new0 (SessionLink, 1);

  g_weak_ref_init (&link->session, self);

  return qsnap_qmp_client_new (stream, &client_handlers, link, session_link_free);
}

/* --- GObject ------------------------------------------------------------------------------- */

static void
qsnap_session_dispose (GObject *object)
{
  QsnapSession *self = QSNAP_SESSION (object);

  if (self->client != NULL)
    qsnap_qmp_client_close (self->client);
  g_clear_pointer (&self->client, qsnap_qmp_client_unref);
  g_clear_object (&self->stream);

  G_OBJECT_CLASS (qsnap_session_parent_class)->dispose (object);
}

static void
qsnap_session_finalize (GObject *object)
{
  QsnapSession *self = QSNAP_SESSION (object);

  g_free (self->address);
  g_free (self->qemu_version);
  g_clear_pointer (&self->restored, qsnap_restored_free);
  g_main_context_unref (self->context);
  g_clear_error (&self->settle_error);
  g_cond_clear (&self->settle_cond);
  g_array_unref (self->pauses);
  g_mutex_clear (&self->lock);

  G_OBJECT_CLASS (qsnap_session_parent_class)->finalize (object);
}

static void
qsnap_session_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapSession *self = QSNAP_SESSION (object);

  switch (id)
    {
    case PROP_ADDRESS:
      g_value_set_string (value, self->address);
      break;
    case PROP_IS_OPEN:
      g_value_set_boolean (value, qsnap_session_get_is_open (self));
      break;
    case PROP_QEMU_VERSION:
      g_value_take_string (value, qsnap_session_dup_qemu_version (self));
      break;
    case PROP_OPERATION:
      g_value_take_string (value, qsnap_session_dup_operation (self));
      break;
    case PROP_PHASE:
      g_value_set_enum (value, qsnap_session_get_phase (self));
      break;
    case PROP_DISK_BYTES_DONE:
      g_value_set_uint64 (value, qsnap_session_get_disk_bytes_done (self));
      break;
    case PROP_DISK_BYTES_TOTAL:
      g_value_set_uint64 (value, qsnap_session_get_disk_bytes_total (self));
      break;
    case PROP_BYTES_DONE:
      g_value_set_uint64 (value, qsnap_session_get_bytes_done (self));
      break;
    case PROP_BYTES_TOTAL:
      g_value_set_uint64 (value, qsnap_session_get_bytes_total (self));
      break;
    case PROP_EVENTS_LOST:
      g_value_set_uint64 (value, qsnap_session_get_events_lost (self));
      break;
    case PROP_TIMEOUT:
      g_value_set_uint (value, qsnap_session_get_timeout (self));
      break;
    case PROP_PID:
      g_value_set_int (value, qsnap_session_get_pid (self));
      break;
    case PROP_RESTORE_DIRECTORY:
      g_value_set_object (value, qsnap_session_get_restore_directory (self));
      break;
    case PROP_RESTORE_METHOD:
      g_value_set_enum (value, qsnap_session_get_restore_method (self));
      break;
    case PROP_RESTORE_WARNINGS:
      g_value_take_boxed (value, qsnap_session_dup_restore_warnings (self));
      break;
    case PROP_START_US:
      g_value_set_int64 (value, qsnap_session_get_start_us (self));
      break;
    case PROP_LOAD_US:
      g_value_set_int64 (value, qsnap_session_get_load_us (self));
      break;
    case PROP_SETTLE_US:
      g_value_set_int64 (value, qsnap_session_get_settle_us (self));
      break;
    case PROP_PAGE_REQUESTS:
      g_value_set_uint64 (value, qsnap_session_get_page_requests (self));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_session_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  QsnapSession *self = QSNAP_SESSION (object);

  switch (id)
    {
    case PROP_ADDRESS:
      self->address = g_value_dup_string (value);
      break;
    case PROP_STREAM:
      self->stream = g_value_dup_object (value);
      break;
    case PROP_TIMEOUT:
      qsnap_session_set_timeout (self, g_value_get_uint (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
install_connection_properties (void)
{
  const GParamFlags read = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;
  const GParamFlags construct = G_PARAM_WRITABLE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS;

  /**
   * QsnapSession:address:
   *
   * The monitor's address: `unix:PATH`, a bare path, or `tcp:HOST:PORT`; %NULL for a session that
   * was made for a stream.
   *
   * Since: 1.0
   */
  props[PROP_ADDRESS] =
      g_param_spec_string ("address", NULL, NULL, NULL, G_PARAM_READABLE | construct);
  /**
   * QsnapSession:stream:
   *
   * The stream to speak QMP over, instead of an address.
   *
   * Since: 1.0
   */
  props[PROP_STREAM] = g_param_spec_object ("stream", NULL, NULL, G_TYPE_IO_STREAM, construct);
  /**
   * QsnapSession:is-open:
   *
   * Whether the session is connected and QMP is negotiated.
   *
   * Since: 1.0
   */
  props[PROP_IS_OPEN] = g_param_spec_boolean ("is-open", NULL, NULL, FALSE, read);
  /**
   * QsnapSession:qemu-version:
   *
   * QEMU's version as its greeting says it, for example `7.2.22`; %NULL before the session is open.
   *
   * Since: 1.0
   */
  props[PROP_QEMU_VERSION] = g_param_spec_string ("qemu-version", NULL, NULL, NULL, read);
  /**
   * QsnapSession:timeout:
   *
   * How long to wait for the answer to a QMP command, in milliseconds; 0 for no limit. For the
   * connection and the greeting it is the same, but never more than 15 seconds.
   *
   * Since: 1.0
   */
  props[PROP_TIMEOUT] =
      g_param_spec_uint ("timeout", NULL, NULL, 0, G_MAXINT, DEFAULT_TIMEOUT_MS,
                         G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS);
  /**
   * QsnapSession:events-lost:
   *
   * How many QMP events were dropped because the main context did not take them. News of an
   * operation are never dropped.
   *
   * Since: 1.0
   */
  props[PROP_EVENTS_LOST] =
      g_param_spec_uint64 ("events-lost", NULL, NULL, 0, G_MAXUINT64, 0, read);
}

static void
install_operation_properties (void)
{
  const GParamFlags read = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;

  /**
   * QsnapSession:operation:
   *
   * The operation under way, for example `instant-snapshot`, or %NULL.
   *
   * Since: 1.0
   */
  props[PROP_OPERATION] = g_param_spec_string ("operation", NULL, NULL, NULL, read);
  /**
   * QsnapSession:phase:
   *
   * Where the operation is. Within one operation the phase only grows. Reading it answers the
   * newest value, which `notify` may not have told yet.
   *
   * Since: 1.0
   */
  props[PROP_PHASE] =
      g_param_spec_enum ("phase", NULL, NULL, QSNAP_TYPE_PHASE, QSNAP_PHASE_IDLE, read);
  /**
   * QsnapSession:bytes-done:
   *
   * How many bytes of the guest's RAM the operation has dealt with; when a snapshot is deleted, of
   * its overlays. `notify` comes at most ten times a second.
   *
   * Since: 1.0
   */
  props[PROP_BYTES_DONE] = g_param_spec_uint64 ("bytes-done", NULL, NULL, 0, G_MAXUINT64, 0, read);
  /**
   * QsnapSession:bytes-total:
   *
   * How many bytes of RAM the guest has, or, when a snapshot is deleted, how many there are to
   * merge; 0 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_BYTES_TOTAL] =
      g_param_spec_uint64 ("bytes-total", NULL, NULL, 0, G_MAXUINT64, 0, read);
  /**
   * QsnapSession:disk-bytes-done:
   *
   * How many bytes have been copied of the disks whose mode is %QSNAP_DISK_MODE_COPY. `notify`
   * comes at most ten times a second.
   *
   * Since: 1.0
   */
  props[PROP_DISK_BYTES_DONE] =
      g_param_spec_uint64 ("disk-bytes-done", NULL, NULL, 0, G_MAXUINT64, 0, read);
  /**
   * QsnapSession:disk-bytes-total:
   *
   * How many bytes of those disks there are to be copied; 0 before it is known, and where there are
   * none. It may change while QEMU copies.
   *
   * Since: 1.0
   */
  props[PROP_DISK_BYTES_TOTAL] =
      g_param_spec_uint64 ("disk-bytes-total", NULL, NULL, 0, G_MAXUINT64, 0, read);
}

static void
install_restore_properties (void)
{
  const GParamFlags read = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;

  /**
   * QsnapSession:pid:
   *
   * The process of a QEMU that qsnap_snapshot_restore() started; 0 for another session.
   *
   * Since: 1.0
   */
  props[PROP_PID] = g_param_spec_int ("pid", NULL, NULL, 0, G_MAXINT, 0, read);
  /**
   * QsnapSession:restore-directory:
   *
   * The directory of a guest that was brought back, with the disks that it writes to; %NULL for
   * another session.
   *
   * Since: 1.0
   */
  props[PROP_RESTORE_DIRECTORY] =
      g_param_spec_object ("restore-directory", NULL, NULL, G_TYPE_FILE, read);
  /**
   * QsnapSession:restore-method:
   *
   * How a guest that was brought back got its memory.
   *
   * Since: 1.0
   */
  props[PROP_RESTORE_METHOD] = g_param_spec_enum (
      "restore-method", NULL, NULL, QSNAP_TYPE_RESTORE_METHOD, QSNAP_RESTORE_METHOD_AUTO, read);
  /**
   * QsnapSession:restore-warnings:
   *
   * What was left out of the command line of a guest that was brought back, or replaced.
   *
   * Since: 1.0
   */
  props[PROP_RESTORE_WARNINGS] =
      g_param_spec_boxed ("restore-warnings", NULL, NULL, G_TYPE_STRV, read);
  /**
   * QsnapSession:start-us:
   *
   * From the call of qsnap_snapshot_restore() until QEMU was up, in microseconds; -1 for another
   * session.
   *
   * Since: 1.0
   */
  props[PROP_START_US] = g_param_spec_int64 ("start-us", NULL, NULL, -1, G_MAXINT64, -1, read);
  /**
   * QsnapSession:load-us:
   *
   * From then on until the guest ran, or was ready to, in microseconds; -1 for another session.
   *
   * Since: 1.0
   */
  props[PROP_LOAD_US] = g_param_spec_int64 ("load-us", NULL, NULL, -1, G_MAXINT64, -1, read);

  /**
   * QsnapSession:settle-us:
   *
   * From then on until a guest that was brought back on demand had all of its memory, in
   * microseconds; -1 before that, and for another session. It is not notified:
   * #QsnapSession::settled is.
   *
   * Since: 1.0
   */
  props[PROP_SETTLE_US] = g_param_spec_int64 ("settle-us", NULL, NULL, -1, G_MAXINT64, -1, read);

  /**
   * QsnapSession:page-requests:
   *
   * How many pages such a guest had to wait for. It is not notified.
   *
   * Since: 1.0
   */
  props[PROP_PAGE_REQUESTS] =
      g_param_spec_uint64 ("page-requests", NULL, NULL, 0, G_MAXUINT64, 0, read);
}

static void
install_operation_signals (GType type)
{
  /**
   * QsnapSession::point-in-time-reached:
   * @self: the session
   * @snapshot: the snapshot, not yet sealed
   *
   * The point in time has passed and is proven: whatever the guest does from here on is not in the
   * snapshot. The caller may now do the unsafe thing. The snapshot does not exist yet, though: it
   * may still fail, and then the snapshot's point in time is lost.
   *
   * With %QSNAP_SNAPSHOT_MODE_LIVE and %QSNAP_SNAPSHOT_MODE_STOPPED this comes only when the memory
   * is saved. So it does for a guest that its owner had paused, or that is to be left paused or
   * ended, on a QEMU that cannot take a background snapshot of it without starting it (7.2): it
   * must stay paused until then.
   *
   * Since: 1.0
   */
  signals[SIGNAL_POINT_IN_TIME_REACHED] =
      g_signal_new ("point-in-time-reached", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                    G_TYPE_NONE, 1, QSNAP_TYPE_SNAPSHOT);
  /**
   * QsnapSession::stalled:
   * @self: the session
   * @milliseconds: for how long
   *
   * The target takes nothing of the memory: nothing was written for this long. A guest that writes
   * to memory that is not saved yet waits for it. It comes once for each time that it stalls; see
   * #QsnapSnapshotOptions:max-stall-ms for a limit.
   *
   * Since: 1.0
   */
  signals[SIGNAL_STALLED] = g_signal_new ("stalled", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                          G_TYPE_NONE, 1, G_TYPE_UINT);
  /**
   * QsnapSession::disks-complete:
   * @self: the session
   * @snapshot: the snapshot, not yet sealed
   *
   * The copies of all disks whose mode is %QSNAP_DISK_MODE_COPY are complete. It comes after
   * #QsnapSession::point-in-time-reached and before #QsnapSession::memory-complete, and not at all
   * where no disk is copied.
   *
   * Since: 1.0
   */
  signals[SIGNAL_DISKS_COMPLETE] = g_signal_new ("disks-complete", type, G_SIGNAL_RUN_LAST, 0, NULL,
                                                 NULL, NULL, G_TYPE_NONE, 1, QSNAP_TYPE_SNAPSHOT);
  /**
   * QsnapSession::memory-complete:
   * @self: the session
   * @snapshot: the snapshot, now sealed
   *
   * Everything is on stable storage, the manifest is in place: the snapshot exists. It comes for a
   * snapshot without memory, too.
   *
   * Since: 1.0
   */
  signals[SIGNAL_MEMORY_COMPLETE] =
      g_signal_new ("memory-complete", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                    QSNAP_TYPE_SNAPSHOT);
}

static void
install_connection_signals (GType type)
{
  /**
   * QsnapSession::event:
   * @self: the session
   * @name: the event's name, also the signal's detail: connect to `event::SHUTDOWN`
   * @data: (nullable): the event's data, if it has any
   * @time: QEMU's time stamp in microseconds since the Unix epoch
   *
   * QEMU sent an event. Only events with a handler are kept, and only so many for a main context
   * that is not iterated: see #QsnapSession:events-lost.
   *
   * Since: 1.0
   */
  signals[SIGNAL_EVENT] =
      g_signal_new ("event", type, G_SIGNAL_RUN_LAST | G_SIGNAL_DETAILED, 0, NULL, NULL, NULL,
                    G_TYPE_NONE, 3, G_TYPE_STRING, JSON_TYPE_NODE, G_TYPE_INT64);
  /**
   * QsnapSession::closed:
   * @self: the session
   * @error: (nullable): why, or %NULL if qsnap_session_close() was called
   *
   * The connection has ended. Every call that was under way has failed with the same error.
   *
   * Since: 1.0
   */
  signals[SIGNAL_CLOSED] = g_signal_new ("closed", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                         G_TYPE_NONE, 1, G_TYPE_ERROR);
}

static void
install_restore_signals (GType type)
{
  /**
   * QsnapSession::settled:
   * @self: the session
   *
   * The guest, which was brought back on demand (%QSNAP_RESTORE_METHOD_ON_DEMAND), has all of its
   * memory: the snapshot's memory image is not needed any more, and the guest can be captured.
   * Until then the phase is %QSNAP_PHASE_FETCHING, and #QsnapSession:bytes-done grows. Who does not
   * run the main context uses qsnap_session_wait_settled().
   *
   * Since: 1.0
   */
  signals[SIGNAL_SETTLED] =
      g_signal_new ("settled", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
  /**
   * QsnapSession::settle-failed:
   * @self: the session
   * @error: why
   *
   * Comes instead of #QsnapSession::settled: the guest will not get the rest of its memory. It
   * waits as soon as it needs a page of it, and QEMU may not answer then: qsnap_session_quit() ends
   * it. With %QSNAP_ERROR_CORRUPT the snapshot is damaged, and the error names the RAM block and
   * the offset; no page that does not match its checksum was given to the guest. After other errors
   * qsnap_session_recover() can try again, with the revert's directory.
   *
   * Since: 1.0
   */
  signals[SIGNAL_SETTLE_FAILED] = g_signal_new ("settle-failed", type, G_SIGNAL_RUN_LAST, 0, NULL,
                                                NULL, NULL, G_TYPE_NONE, 1, G_TYPE_ERROR);
}

static void
qsnap_session_class_init (QsnapSessionClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->dispose = qsnap_session_dispose;
  object_class->finalize = qsnap_session_finalize;
  object_class->get_property = qsnap_session_get_property;
  object_class->set_property = qsnap_session_set_property;

  install_connection_properties ();
  install_operation_properties ();
  install_restore_properties ();
  g_object_class_install_properties (object_class, N_PROPS, props);

  install_operation_signals (G_TYPE_FROM_CLASS (klass));
  install_connection_signals (G_TYPE_FROM_CLASS (klass));
  install_restore_signals (G_TYPE_FROM_CLASS (klass));
}

static void
qsnap_session_init (QsnapSession *self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->settle_cond);
  self->pauses = g_array_new (FALSE, FALSE, sizeof (gint64));
  self->context = g_main_context_ref_thread_default ();
  self->timeout_ms = DEFAULT_TIMEOUT_MS;
  self->settle_us = -1;
}

/* --- state, for operations ----------------------------------------------------------------- */

QsnapQmpClient *
qsnap_session_ref_client (QsnapSession *self, GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  if (self->client != NULL && !self->opening && !qsnap_qmp_client_is_closed (self->client))
    return qsnap_qmp_client_ref (self->client);

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED, "the session is not open");

  return NULL;
}

GIOStream *
qsnap_session_ref_stream (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  return g_object_ref (self->stream);
}

void
qsnap_session_set_watch (QsnapSession *self, QsnapWatch *watch)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  self->watch = watch;
}

gboolean
qsnap_session_begin (QsnapSession *self, const char *operation, GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  if (self->operation != NULL)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
                   "the session is busy: its operation %s is under way", self->operation);
      return FALSE;
    }

  if (self->settling && !g_str_equal (operation, "quit"))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
                   "the guest's memory is still being brought in (%" G_GUINT64_FORMAT
                   " of %" G_GUINT64_FORMAT " bytes): wait until it has settled",
                   self->bytes_done, self->bytes_total);
      return FALSE;
    }

  self->operation = operation;
  self->bytes_done = self->bytes_total = 0;
  self->disk_bytes_done = self->disk_bytes_total = 0;

  return TRUE;
}

void
qsnap_session_end (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  self->operation = NULL;
  self->phase = QSNAP_PHASE_IDLE;
}

gboolean
qsnap_session_put_phase (QsnapSession *self, QsnapPhase phase)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  if (self->phase == phase)
    return FALSE;
  if (!transition_is_legal (self->phase, phase))
    {
      g_critical ("phase %d cannot follow phase %d", phase, self->phase);
      return FALSE;
    }

  self->phase = phase;

  return TRUE;
}

void
qsnap_session_put_progress (QsnapSession *self, guint64 done, guint64 total)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  self->bytes_done = done;
  self->bytes_total = total;
}

void
qsnap_session_put_disk_progress (QsnapSession *self, guint64 done, guint64 total)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  self->disk_bytes_done = done;
  self->disk_bytes_total = total;
}

void
qsnap_session_notify_operation (QsnapSession *self)
{
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_OPERATION]);
}

void
qsnap_session_notify_phase (QsnapSession *self)
{
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_PHASE]);
}

void
qsnap_session_notify_progress (QsnapSession *self)
{
  g_object_freeze_notify (G_OBJECT (self));
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_BYTES_DONE]);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_BYTES_TOTAL]);
  g_object_thaw_notify (G_OBJECT (self));
}

void
qsnap_session_notify_disk_progress (QsnapSession *self)
{
  g_object_freeze_notify (G_OBJECT (self));
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_DISK_BYTES_DONE]);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_DISK_BYTES_TOTAL]);
  g_object_thaw_notify (G_OBJECT (self));
}

void
qsnap_session_emit_point_in_time (QsnapSession *self, QsnapSnapshot *snapshot)
{
  g_signal_emit (self, signals[SIGNAL_POINT_IN_TIME_REACHED], 0, snapshot);
}

void
qsnap_session_emit_stalled (QsnapSession *self, guint milliseconds)
{
  g_signal_emit (self, signals[SIGNAL_STALLED], 0, milliseconds);
}

void
qsnap_session_emit_disks_complete (QsnapSession *self, QsnapSnapshot *snapshot)
{
  g_signal_emit (self, signals[SIGNAL_DISKS_COMPLETE], 0, snapshot);
}

void
qsnap_session_emit_memory_complete (QsnapSession *self, QsnapSnapshot *snapshot)
{
  g_signal_emit (self, signals[SIGNAL_MEMORY_COMPLETE], 0, snapshot);
}

void
qsnap_session_emit_settled (QsnapSession *self)
{
  g_signal_emit (self, signals[SIGNAL_SETTLED], 0);
}

void
qsnap_session_emit_settle_failed (QsnapSession *self, const GError *error)
{
  g_signal_emit (self, signals[SIGNAL_SETTLE_FAILED], 0, error);
}

static void
emit_opened (QsnapSession *self, gpointer data)
{
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_QEMU_VERSION]);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_IS_OPEN]);
}

void
qsnap_session_tell_opened (QsnapSession *self)
{
  qsnap_session_post (self, emit_opened, NULL, NULL);
}
