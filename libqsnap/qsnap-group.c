/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-private.h"

#include "qsnap-group-run.h"
#include "qsnap-manifest.h"
#include "qsnap-snapshot-options-private.h"

/**
 * SECTION:qsnap-group
 * @title: QsnapGroup
 * @short_description: Several guests, to be captured at one instant
 *
 * A #QsnapGroup is a number of sessions, each with the name of its guest.
 * qsnap_group_instant_snapshot() captures all of these guests at one instant, or none of them: when
 * everything is prepared for each, all are stopped; when all stand still, and their disks are
 * snapshotted, the memory of each begins to be saved and they go on. What one guest has told
 * another, the other has in the snapshots if, and only if, it was said before.
 *
 * # Threads and main contexts
 *
 * A group belongs to the thread that made it. Its signals are emitted in the main context that was
 * the thread-default one when it was made; those that belong to a synchronous call are emitted
 * inside it, from the calling thread, as those of the sessions are.
 */

/**
 * QsnapGroup:
 *
 * Several guests, to be captured at one instant.
 *
 * Since: 1.0
 */
struct _QsnapGroup
{
  GObject parent_instance;

  GMainContext *context;
  GListStore *sessions;
  /* As sessions; of the second, each may be NULL. */
  GPtrArray *names;
  GPtrArray *options;
};

G_DEFINE_FINAL_TYPE (QsnapGroup, qsnap_group, G_TYPE_OBJECT)

enum
{
  PROP_SESSIONS = 1,
  PROP_NAMES,
  N_PROPS
};

enum
{
  SIGNAL_POINT_IN_TIME_REACHED,
  SIGNAL_MEMORY_COMPLETE,
  N_SIGNALS
};

static GParamSpec *props[N_PROPS];
static guint signals[N_SIGNALS];

/* --- GObject ------------------------------------------------------------------------------- */

static void
qsnap_group_finalize (GObject *object)
{
  QsnapGroup *self = QSNAP_GROUP (object);

  g_main_context_unref (self->context);
  g_object_unref (self->sessions);
  g_ptr_array_unref (self->names);
  g_ptr_array_unref (self->options);

  G_OBJECT_CLASS (qsnap_group_parent_class)->finalize (object);
}

static void
qsnap_group_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapGroup *self = QSNAP_GROUP (object);

  switch (id)
    {
    case PROP_SESSIONS:
      g_value_set_object (value, self->sessions);
      break;
    case PROP_NAMES:
      g_value_take_boxed (value, qsnap_group_dup_names (self));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
install_signals (GType type)
{
  /**
   * QsnapGroup::point-in-time-reached:
   * @self: the group
   * @snapshot: the snapshot of the group, not yet sealed
   *
   * The points in time of all guests have passed, and it is proven that all of them stood still at
   * one instant. The caller may now do the unsafe thing, to any of them. The snapshot does not
   * exist yet, though: it may still fail. It comes after #QsnapSession::point-in-time-reached of
   * each session whose main context is the group's.
   *
   * Since: 1.0
   */
  signals[SIGNAL_POINT_IN_TIME_REACHED] =
      g_signal_new ("point-in-time-reached", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                    G_TYPE_NONE, 1, QSNAP_TYPE_GROUP_SNAPSHOT);
  /**
   * QsnapGroup::memory-complete:
   * @self: the group
   * @snapshot: the snapshot of the group, now sealed
   *
   * The snapshots of all guests are on stable storage, and so is what makes them one: the group's
   * snapshot exists. It comes after #QsnapSession::memory-complete of each session whose main
   * context is the group's.
   *
   * Since: 1.0
   */
  signals[SIGNAL_MEMORY_COMPLETE] =
      g_signal_new ("memory-complete", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                    QSNAP_TYPE_GROUP_SNAPSHOT);
}

static void
qsnap_group_class_init (QsnapGroupClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;

  object_class->finalize = qsnap_group_finalize;
  object_class->get_property = qsnap_group_get_property;

  /**
   * QsnapGroup:sessions:
   *
   * The sessions, a list of #QsnapSession, in the order in which they were added.
   *
   * Since: 1.0
   */
  props[PROP_SESSIONS] = g_param_spec_object ("sessions", NULL, NULL, G_TYPE_LIST_MODEL, flags);
  /**
   * QsnapGroup:names:
   *
   * The names of the guests, in the order of #QsnapGroup:sessions.
   *
   * Since: 1.0
   */
  props[PROP_NAMES] = g_param_spec_boxed ("names", NULL, NULL, G_TYPE_STRV, flags);
  g_object_class_install_properties (object_class, N_PROPS, props);
  install_signals (G_TYPE_FROM_CLASS (klass));
}

static void
unref_options (gpointer options)
{
  if (options != NULL)
    g_object_unref (options);
}

static void
qsnap_group_init (QsnapGroup *self)
{
  self->context = g_main_context_ref_thread_default ();
  self->sessions = g_list_store_new (QSNAP_TYPE_SESSION);
  self->names = g_ptr_array_new_with_free_func (g_free);
  self->options = g_ptr_array_new_with_free_func (unref_options);
}

/* --- posting and emitting ------------------------------------------------------------------ */

typedef struct
{
  void (*func) (gpointer data);
  gpointer data;
  GDestroyNotify destroy;
} Post;

static gboolean
post_dispatch (gpointer data)
{
  Post *post = data;

  post->func (post->data);

  return G_SOURCE_REMOVE;
}

static void
post_free (gpointer data)
{
  Post *post = data;

  post->destroy (post->data);
  g_free (post);
}

void
qsnap_group_post (GMainContext *context,
                  void (*func) (gpointer data),
                  gpointer data,
                  GDestroyNotify destroy)
{
  g_autoptr (GSource) source = g_idle_source_new ();
  Post *post = g_new0 (Post, 1);

  post->func = func;
  post->data = data;
  post->destroy = destroy;
  /* As what a session tells: sources of one priority come in the order in which they were attached.
   */
  g_source_set_priority (source, G_PRIORITY_DEFAULT);
  g_source_set_callback (source, post_dispatch, post, post_free);
  g_source_set_static_name (source, "qsnap-group");
  g_source_attach (source, context);
}

void
qsnap_group_emit_point_in_time (QsnapGroup *self, QsnapGroupSnapshot *snapshot)
{
  g_signal_emit (self, signals[SIGNAL_POINT_IN_TIME_REACHED], 0, snapshot);
}

void
qsnap_group_emit_memory_complete (QsnapGroup *self, QsnapGroupSnapshot *snapshot)
{
  g_signal_emit (self, signals[SIGNAL_MEMORY_COMPLETE], 0, snapshot);
}

/* --- sessions ------------------------------------------------------------------------------ */

/**
 * qsnap_group_new:
 *
 * Makes a group without guests.
 *
 * Returns: (transfer full): the group
 *
 * Since: 1.0
 */
QsnapGroup *
qsnap_group_new (void)
{
  return g_object_new (QSNAP_TYPE_GROUP, NULL);
}

/**
 * qsnap_group_add_session:
 * @self: a group
 * @session: a session, which has to be open when a snapshot is taken
 * @name: the guest's name in the group, and that of its folder below the group's
 * @options: (nullable): how this guest is captured, or %NULL: as the group's options say;
 *   #QsnapSnapshotOptions:directory of it is not used
 * @error: return location for an error
 *
 * Adds a guest to the group. A name is UTF-8, without slashes and control characters, and of at
 * most 255 bytes.
 *
 * Errors: %G_IO_ERROR_INVALID_ARGUMENT for a name that cannot be used, or a session or a name that
 * the group has already.
 *
 * Returns: %TRUE if it was added
 *
 * Since: 1.0
 */
gboolean
qsnap_group_add_session (QsnapGroup *self,
                         QsnapSession *session,
                         const char *name,
                         QsnapSnapshotOptions *options,
                         GError **error)
{
  g_return_val_if_fail (QSNAP_IS_GROUP (self), FALSE);
  g_return_val_if_fail (QSNAP_IS_SESSION (session), FALSE);
  g_return_val_if_fail (name != NULL, FALSE);
  g_return_val_if_fail (options == NULL || QSNAP_IS_SNAPSHOT_OPTIONS (options), FALSE);

  /* The group's own files are beside the guests' folders. */
  if (qsnap_name_problem (name) != NULL || g_str_has_suffix (name, ".json"))
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "“%s” cannot be the name of a guest in a group", name);
      return FALSE;
    }
  if (g_ptr_array_find_with_equal_func (self->names, name, g_str_equal, NULL) ||
      g_list_store_find (self->sessions, session, NULL))
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "the group has a guest %s, or this session, already", name);
      return FALSE;
    }

  g_list_store_append (self->sessions, session);
  g_ptr_array_add (self->names, g_strdup (name));
  g_ptr_array_add (self->options, options != NULL ? qsnap_snapshot_options_copy (options) : NULL);

  return TRUE;
}

/**
 * qsnap_group_get_sessions:
 * @self: a group
 *
 * The sessions, in the order in which they were added.
 *
 * Returns: (transfer none): a list of #QsnapSession
 *
 * Since: 1.0
 */
GListModel *
qsnap_group_get_sessions (QsnapGroup *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP (self), NULL);

  return G_LIST_MODEL (self->sessions);
}

/**
 * qsnap_group_dup_names:
 * @self: a group
 *
 * The names of the guests, in the order of qsnap_group_get_sessions().
 *
 * Returns: (transfer full): the names; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_group_dup_names (QsnapGroup *self)
{
  GStrv names;

  g_return_val_if_fail (QSNAP_IS_GROUP (self), NULL);

  names = g_new0 (char *, self->names->len + 1);
  for (guint i = 0; i < self->names->len; i++)
    names[i] = g_strdup (self->names->pdata[i]);

  return names;
}

/**
 * qsnap_group_find_session:
 * @self: a group
 * @name: a guest's name
 *
 * Finds the session of a guest.
 *
 * Returns: (transfer full) (nullable): the session, or %NULL if there is no such guest
 *
 * Since: 1.0
 */
QsnapSession *
qsnap_group_find_session (QsnapGroup *self, const char *name)
{
  guint index;

  g_return_val_if_fail (QSNAP_IS_GROUP (self), NULL);
  g_return_val_if_fail (name != NULL, NULL);

  if (!g_ptr_array_find_with_equal_func (self->names, name, g_str_equal, &index))
    return NULL;

  return g_list_model_get_item (G_LIST_MODEL (self->sessions), index);
}

/* --- instant snapshot ---------------------------------------------------------------------- */

static QsnapGroupRun *
make_run (QsnapGroup *self, QsnapSnapshotOptions *options, GError **error)
{
  g_autoptr (GPtrArray) sessions = g_ptr_array_new_with_free_func (g_object_unref);
  g_auto (GStrv) names = qsnap_group_dup_names (self);

  for (guint i = 0; i < self->names->len; i++)
    g_ptr_array_add (sessions, g_list_model_get_item (G_LIST_MODEL (self->sessions), i));

  return qsnap_group_run_new (self, self->context, sessions, (const char *const *)names,
                              self->options, options, error);
}

/**
 * qsnap_group_instant_snapshot:
 * @self: a group
 * @options: where the snapshots go, and how they are taken
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Takes a snapshot of all guests at one instant, and returns when all of it is sealed. Each guest's
 * is a complete snapshot of its own, in the folder with its name below
 * #QsnapSnapshotOptions:directory.
 *
 * All guests stand still together for a moment: #QsnapGroupSnapshot:overlap-us says for how long. A
 * guest's pause is longer than it would be alone by what the slowest of them needs to stop, with
 * its disks, more than itself. Who waits in the pause for another one for more than ten seconds, or
 * than #QsnapSnapshotOptions:max-pause-ms allows, ends it for all, with %QSNAP_ERROR_TIMED_OUT.
 *
 * Then #QsnapGroup::point-in-time-reached is emitted, and the guests run while their memory is
 * saved. When all is on stable storage #QsnapGroup::memory-complete is emitted. Both, and what the
 * sessions emit, come inside this call.
 *
 * **All or none**: where one guest cannot be captured, or fails before the end, or the operation is
 * cancelled, everything is undone for all of them before this returns, as
 * qsnap_session_instant_snapshot() does it for one.
 *
 * %QSNAP_SNAPSHOT_MODE_LIVE is %QSNAP_ERROR_UNSUPPORTED, as QEMU chooses the moment of the stop
 * itself; so is a monitor that is reached by TCP, as the guest's clock may be that of another host.
 * #QsnapSnapshotOptions:quiesce is for one guest, given to qsnap_group_add_session().
 *
 * Errors: those of qsnap_session_instant_snapshot(), with the guest's name before the message;
 * %QSNAP_ERROR_INTERFERED also where a guest was resumed before all had stopped.
 *
 * Returns: (transfer full): the snapshot of the group, sealed
 *
 * Since: 1.0
 */
QsnapGroupSnapshot *
qsnap_group_instant_snapshot (QsnapGroup *self,
                              QsnapSnapshotOptions *options,
                              GCancellable *cancellable,
                              GError **error)
{
  g_autoptr (QsnapGroupRun) run = NULL;

  g_return_val_if_fail (QSNAP_IS_GROUP (self), NULL);
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (options), NULL);

  run = make_run (self, options, error);

  return run != NULL ? qsnap_group_run_wait (run, cancellable, error) : NULL;
}

/**
 * qsnap_group_instant_snapshot_async:
 * @self: a group
 * @options: where the snapshots go, and how they are taken
 * @cancellable: (nullable): a #GCancellable
 * @callback: (scope async) (closure user_data): called when all is sealed
 * @user_data: data for @callback
 *
 * Asynchronous twin of qsnap_group_instant_snapshot(). The signals come in the main contexts of the
 * sessions and of the group, and @callback after them; all of them have to be iterated.
 *
 * Since: 1.0
 */
void
qsnap_group_instant_snapshot_async (QsnapGroup *self,
                                    QsnapSnapshotOptions *options,
                                    GCancellable *cancellable,
                                    GAsyncReadyCallback callback,
                                    gpointer user_data)
{
  g_autoptr (QsnapGroupRun) run = NULL;
  GError *error = NULL;
  GTask *task;

  g_return_if_fail (QSNAP_IS_GROUP (self));
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (options));

  task = g_task_new (self, cancellable, callback, user_data);
  g_task_set_source_tag (task, qsnap_group_instant_snapshot_async);
  run = make_run (self, options, &error);
  if (run != NULL)
    {
      qsnap_group_run_start (run, task);
      return;
    }

  g_task_return_error (task, error);
  g_object_unref (task);
}

/**
 * qsnap_group_instant_snapshot_finish:
 * @self: a group
 * @result: the result that the callback got
 * @error: return location for an error
 *
 * Finishes qsnap_group_instant_snapshot_async().
 *
 * Returns: (transfer full): the snapshot of the group, sealed
 *
 * Since: 1.0
 */
QsnapGroupSnapshot *
qsnap_group_instant_snapshot_finish (QsnapGroup *self, GAsyncResult *result, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_GROUP (self), NULL);
  g_return_val_if_fail (g_task_is_valid (result, self), NULL);
  g_return_val_if_fail (g_async_result_is_tagged (result, qsnap_group_instant_snapshot_async),
                        NULL);

  return g_task_propagate_pointer (G_TASK (result), error);
}
