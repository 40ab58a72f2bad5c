/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-worker.h"

static gpointer
worker_thread (gpointer data)
{
  GMainContext *context = data;
  g_autoptr (GMainLoop) loop = g_main_loop_new (context, FALSE);

  g_main_context_push_thread_default (context);
  g_main_loop_run (loop);

  return NULL;
}

GMainContext *
qsnap_worker_context (void)
{
  static GMainContext *context;

  if (g_once_init_enter (&context))
    {
      GMainContext *created = g_main_context_new ();

      g_thread_unref (g_thread_new ("qsnap-worker", worker_thread, created));
      g_once_init_leave (&context, created);
    }

  return context;
}

void
qsnap_worker_run (GSourceFunc func, gpointer data, GDestroyNotify destroy)
{
  g_autoptr (GSource) source = g_idle_source_new ();

  g_source_set_priority (source, G_PRIORITY_HIGH);
  g_source_set_callback (source, func, data, destroy);
  g_source_set_static_name (source, "qsnap-worker");
  g_source_attach (source, qsnap_worker_context ());
}

typedef struct
{
  void (*func) (gpointer data);
  gpointer data;
  GMutex lock;
  GCond cond;
  gboolean done;
} Job;

static gboolean
run_job (gpointer data)
{
  Job *job = data;

  job->func (job->data);

  g_mutex_lock (&job->lock);
  job->done = TRUE;
  g_cond_signal (&job->cond);
  g_mutex_unlock (&job->lock);

  return G_SOURCE_REMOVE;
}

void
qsnap_worker_run_and_wait (void (*func) (gpointer data), gpointer data)
{
  Job job = { .func = func, .data = data };

  g_mutex_init (&job.lock);
  g_cond_init (&job.cond);
  qsnap_worker_run (run_job, &job, NULL);

  g_mutex_lock (&job.lock);
  while (!job.done)
    g_cond_wait (&job.cond, &job.lock);
  g_mutex_unlock (&job.lock);

  g_cond_clear (&job.cond);
  g_mutex_clear (&job.lock);
}
