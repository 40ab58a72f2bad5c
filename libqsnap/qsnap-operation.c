/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-operation.h"

#include "qsnap-session-private.h"

#define PROGRESS_INTERVAL_US (G_USEC_PER_SEC / 10)

struct _QsnapOperation
{
  gatomicrefcount refs;
  QsnapSession *session;
  QsnapOperationFunc func;
  gpointer data;
  GCancellable *cancellable;

  /* What the calling thread of a synchronous call has to do; NULL: it goes to the main context. */
  GAsyncQueue *queue;
  GTask *task;
  GDestroyNotify free_result;
  /* One of several. */
  void (*on_end) (gpointer data);

  gpointer result;
  GError *error;
  gboolean ended;
  gint64 last_progress;
  gint64 last_disk_progress;
  /* One at a time is told: who hears of it late reads what it has become. */
  gint progress_is_told;
  gint disk_progress_is_told;
  gint stalled_ms;
};

typedef struct
{
  QsnapOperation *operation;
  void (*func) (QsnapOperation *operation, QsnapSnapshot *snapshot);
  QsnapSnapshot *snapshot;
} News;

static void
operation_unref (QsnapOperation *operation)
{
  if (!g_atomic_ref_count_dec (&operation->refs))
    return;

  g_object_unref (operation->session);
  g_clear_object (&operation->cancellable);
  g_clear_pointer (&operation->queue, g_async_queue_unref);
  g_clear_object (&operation->task);
  g_clear_error (&operation->error);
  g_free (operation);
}

static QsnapOperation *
operation_ref (QsnapOperation *operation)
{
  g_atomic_ref_count_inc (&operation->refs);

  return operation;
}

/* --- the queue ----------------------------------------------------------------------------- */

typedef struct
{
  void (*func) (gpointer data);
  gpointer data;
  GDestroyNotify destroy;
} Item;

static void
item_free (gpointer data)
{
  Item *item = data;

  item->destroy (item->data);
  g_free (item);
}

GAsyncQueue *
qsnap_operation_queue_new (void)
{
  return g_async_queue_new_full (item_free);
}

void
qsnap_operation_queue_push (GAsyncQueue *queue,
                            void (*func) (gpointer data),
                            gpointer data,
                            GDestroyNotify destroy)
{
  Item *item = g_new0 (Item, 1);

  item->func = func;
  item->data = data;
  item->destroy = destroy;
  g_async_queue_push (queue, item);
}

void
qsnap_operation_queue_run_next (GAsyncQueue *queue)
{
  Item *item = g_async_queue_pop (queue);

  item->func (item->data);
  item_free (item);
}

/* --- news ---------------------------------------------------------------------------------- */

static void
news_free (gpointer data)
{
  News *news = data;

  operation_unref (news->operation);
  g_clear_object (&news->snapshot);
  g_free (news);
}

static void
deliver (gpointer data)
{
  News *news = data;

  news->func (news->operation, news->snapshot);
}

static void
deliver_posted (QsnapSession *session, gpointer news)
{
  deliver (news);
}

static void
tell (QsnapOperation *operation,
      void (*func) (QsnapOperation *, QsnapSnapshot *),
      QsnapSnapshot *snapshot)
{
  News *news = g_new0 (News, 1);

  news->operation = operation_ref (operation);
  news->func = func;
  news->snapshot = snapshot != NULL ? g_object_ref (snapshot) : NULL;

  if (operation->queue != NULL)
    qsnap_operation_queue_push (operation->queue, deliver, news, news_free);
  else
    qsnap_session_post (operation->session, deliver_posted, news, news_free);
}

static void
tell_operation (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  qsnap_session_notify_operation (operation->session);
}

static void
tell_phase (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  qsnap_session_notify_phase (operation->session);
}

static void
tell_progress (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  g_atomic_int_set (&operation->progress_is_told, FALSE);
  qsnap_session_notify_progress (operation->session);
}

static void
tell_disk_progress (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  g_atomic_int_set (&operation->disk_progress_is_told, FALSE);
  qsnap_session_notify_disk_progress (operation->session);
}

static void
tell_disks_complete (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  qsnap_session_emit_disks_complete (operation->session, snapshot);
}

static void
tell_point_in_time (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  qsnap_session_emit_point_in_time (operation->session, snapshot);
}

static void
tell_memory_complete (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  g_object_notify (G_OBJECT (snapshot), "sealed");
  qsnap_session_emit_memory_complete (operation->session, snapshot);
}

static void
tell_stalled (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  qsnap_session_emit_stalled (operation->session, (guint)g_atomic_int_get (&operation->stalled_ms));
}

QsnapSession *
qsnap_operation_get_session (QsnapOperation *operation)
{
  return operation->session;
}

void
qsnap_operation_set_phase (QsnapOperation *operation, QsnapPhase phase)
{
  if (qsnap_session_put_phase (operation->session, phase))
    tell (operation, tell_phase, NULL);
}

void
qsnap_operation_set_progress (QsnapOperation *operation, guint64 done, guint64 total)
{
  gint64 now = g_get_monotonic_time ();

  qsnap_session_put_progress (operation->session, done, total);
  if (done != total && now - operation->last_progress < PROGRESS_INTERVAL_US)
    return;

  operation->last_progress = now;
  if (g_atomic_int_compare_and_exchange (&operation->progress_is_told, FALSE, TRUE))
    tell (operation, tell_progress, NULL);
}

void
qsnap_operation_set_disk_progress (QsnapOperation *operation, guint64 done, guint64 total)
{
  gint64 now = g_get_monotonic_time ();

  qsnap_session_put_disk_progress (operation->session, done, total);
  if (done != total && now - operation->last_disk_progress < PROGRESS_INTERVAL_US)
    return;

  operation->last_disk_progress = now;
  if (g_atomic_int_compare_and_exchange (&operation->disk_progress_is_told, FALSE, TRUE))
    tell (operation, tell_disk_progress, NULL);
}

void
qsnap_operation_point_in_time (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  tell (operation, tell_point_in_time, snapshot);
}

void
qsnap_operation_stalled (QsnapOperation *operation, guint milliseconds)
{
  g_atomic_int_set (&operation->stalled_ms, (gint)milliseconds);
  tell (operation, tell_stalled, NULL);
}

void
qsnap_operation_disks_complete (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  tell (operation, tell_disks_complete, snapshot);
}

void
qsnap_operation_memory_complete (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  tell (operation, tell_memory_complete, snapshot);
}

/* --- running ------------------------------------------------------------------------------- */

/* In the thread that emits, after all other news. The session is free again before the caller
 * hears of the end, so that it can start the next operation at once. */
static void
tell_end (QsnapOperation *operation, QsnapSnapshot *snapshot)
{
  qsnap_session_end (operation->session);
  qsnap_session_notify_operation (operation->session);
  qsnap_session_notify_phase (operation->session);
  operation->ended = TRUE;

  if (operation->on_end != NULL)
    operation->on_end (operation->data);
  if (operation->task == NULL)
    return;

  /* Nothing, without an error, can be a result too. */
  if (operation->error != NULL)
    g_task_return_error (operation->task, g_steal_pointer (&operation->error));
  else
    g_task_return_pointer (operation->task, g_steal_pointer (&operation->result),
                           operation->free_result);
}

static gpointer
operation_thread (gpointer data)
{
  QsnapOperation *operation = data;

  operation->result =
      operation->func (operation, operation->data, operation->cancellable, &operation->error);
  tell (operation, tell_end, NULL);
  operation_unref (operation);

  return NULL;
}

static QsnapOperation *
operation_new (QsnapSession *session,
               QsnapOperationFunc func,
               gpointer data,
               GCancellable *cancellable)
{
  QsnapOperation *operation = g_new0 (QsnapOperation, 1);

  g_atomic_ref_count_init (&operation->refs);
  operation->session = g_object_ref (session);
  operation->func = func;
  operation->data = data;
  operation->cancellable = cancellable != NULL ? g_object_ref (cancellable) : NULL;

  return operation;
}

static void
start_thread (QsnapOperation *operation)
{
  tell (operation, tell_operation, NULL);
  g_thread_unref (g_thread_new ("qsnap-capture", operation_thread, operation_ref (operation)));
}

void
qsnap_operation_start (QsnapSession *session,
                       const char *name,
                       QsnapOperationFunc func,
                       GTask *task,
                       GDestroyNotify free_result)
{
  g_autoptr (GError) error = NULL;
  QsnapOperation *operation;

  if (!qsnap_session_begin (session, name, &error))
    {
      g_task_return_error (task, g_steal_pointer (&error));
      g_object_unref (task);
      return;
    }

  operation =
      operation_new (session, func, g_task_get_task_data (task), g_task_get_cancellable (task));
  operation->task = task;
  operation->free_result = free_result;
  /* A capture that was sealed is a success, even if it is cancelled before the callback runs. */
  g_task_set_check_cancellable (task, FALSE);
  start_thread (operation);
  operation_unref (operation);
}

void
qsnap_operation_start_one (QsnapSession *session,
                           QsnapOperationFunc func,
                           gpointer data,
                           GCancellable *cancellable,
                           GAsyncQueue *queue,
                           void (*ended) (gpointer data))
{
  QsnapOperation *operation = operation_new (session, func, data, cancellable);

  operation->queue = queue != NULL ? g_async_queue_ref (queue) : NULL;
  operation->on_end = ended;
  start_thread (operation);
  operation_unref (operation);
}

gpointer
qsnap_operation_run (QsnapSession *session,
                     const char *name,
                     QsnapOperationFunc func,
                     gpointer data,
                     GCancellable *cancellable,
                     GError **error)
{
  QsnapOperation *operation;
  gpointer result;

  if (!qsnap_session_begin (session, name, error))
    return NULL;

  operation = operation_new (session, func, data, cancellable);
  operation->queue = qsnap_operation_queue_new ();
  start_thread (operation);

  while (!operation->ended)
    qsnap_operation_queue_run_next (operation->queue);

  result = g_steal_pointer (&operation->result);
  if (operation->error != NULL)
    g_propagate_error (error, g_steal_pointer (&operation->error));
  operation_unref (operation);

  return result;
}
