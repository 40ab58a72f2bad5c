/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-async.h"

typedef struct
{
  QsnapAsyncFunc func;
} Call;

static void
call_thread (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Call *call = data;
  g_autoptr (GError) error = NULL;

  if (call->func (source, cancellable, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, g_steal_pointer (&error));
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
  Call *call = g_new0 (Call, 1);

  call->func = func;
  g_task_set_source_tag (task, tag);
  g_task_set_task_data (task, call, g_free);
  g_task_run_in_thread (task, call_thread);
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
