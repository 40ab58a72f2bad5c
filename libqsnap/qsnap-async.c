/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"

/* One of the two functions. */
typedef struct
{
  QsnapAsyncFunc func;
  QsnapAsyncChangeFunc change;
  gpointer data;
  GDestroyNotify free_data;
} Call;

static void
free_call (gpointer data)
{
  Call *call = data;

  if (call->data != NULL)
    call->free_data (call->data);
  g_free (call);
}

static void
call_thread (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Call *call = data;
  g_autoptr (GError) error = NULL;
  gboolean done = call->change != NULL ? call->change (source, call->data, cancellable, &error)
                                       : call->func (source, cancellable, &error);

  if (done)
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, g_steal_pointer (&error));
}

static void
start (GTask *task, gpointer tag, const Call *call)
{
  g_task_set_source_tag (task, tag);
  g_task_set_task_data (task, g_memdup2 (call, sizeof *call), free_call);
  g_task_run_in_thread (task, call_thread);
}

void
qsnap_async_run (gpointer source,
                 gpointer tag,
                 QsnapAsyncFunc func,
                 GCancellable *cancellable,
                 GAsyncReadyCallback callback,
                 gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (source, cancellable, callback, user_data);
  const Call call = { .func = func };

  start (task, tag, &call);
}

void
qsnap_async_run_change (gpointer source,
                        gpointer tag,
                        QsnapAsyncChangeFunc func,
                        gpointer data,
                        GDestroyNotify free_data,
                        GCancellable *cancellable,
                        GAsyncReadyCallback callback,
                        gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (source, cancellable, callback, user_data);
  const Call call = { .change = func, .data = data, .free_data = free_data };

  g_task_set_check_cancellable (task, FALSE);
  start (task, tag, &call);
}

typedef struct
{
  QsnapAsyncFileFunc func;
  GFile *file;
} FileCall;

static void
free_file_call (gpointer data)
{
  FileCall *call = data;

  g_object_unref (call->file);
  g_free (call);
}

static void
call_on_file_thread (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const FileCall *call = data;
  g_autoptr (GError) error = NULL;
  gpointer object = call->func (call->file, cancellable, &error);

  if (object != NULL)
    g_task_return_pointer (task, object, g_object_unref);
  else
    g_task_return_error (task, g_steal_pointer (&error));
}

void
qsnap_async_run_on_file (GFile *file,
                         gpointer tag,
                         QsnapAsyncFileFunc func,
                         GCancellable *cancellable,
                         GAsyncReadyCallback callback,
                         gpointer user_data)
{
  g_autoptr (GTask) task = g_task_new (NULL, cancellable, callback, user_data);
  FileCall *call = g_new0 (FileCall, 1);

  call->func = func;
  call->file = g_object_ref (file);
  g_task_set_source_tag (task, tag);
  g_task_set_task_data (task, call, free_file_call);
  g_task_run_in_thread (task, call_on_file_thread);
}
