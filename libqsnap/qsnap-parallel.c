/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-parallel.h"

typedef struct
{
  guint index;
  QsnapParallelFunc func;
  gpointer data;
  GThread *thread;
} Part;

static gpointer
part_thread (gpointer data)
{
  Part *part = data;

  part->func (part->index, part->data);

  return NULL;
}

void
qsnap_parallel_run (guint n, QsnapParallelFunc func, gpointer data)
{
  g_autofree Part *parts = g_new0 (Part, n);

  for (guint i = 0; i < n; i++)
    {
      parts[i].index = i;
      parts[i].func = func;
      parts[i].data = data;
      parts[i].thread = g_thread_new ("qsnap-parallel", part_thread, &parts[i]);
    }
  for (guint i = 0; i < n; i++)
    (void)g_thread_join (parts[i].thread);
}
