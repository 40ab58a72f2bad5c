/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-watch.h"

G_BEGIN_DECLS

/* Brings what a guest that runs has written into an overlay back into its base, after which it
 * writes to the base, or what stood on the overlay stands on the base. A job of QEMU does it, which
 * a client that dies leaves running: the next one takes it up by its name. */

typedef struct
{
  /* Of bytes; both grow while the guest writes. */
  void (*progress) (gpointer data, guint64 done, guint64 total);
  /* The base has all that the overlay has, and nobody writes until this returns. FALSE: the guest
   * goes on in the overlay. */
  gboolean (*complete) (gpointer data, GError **error);
  /* The guest is stopped, as it writes faster than the job copies; and has to go on again. */
  gboolean (*stop) (gpointer data, GError **error);
} QsnapMergeFuncs;

typedef struct
{
  QsnapQmp *qmp;
  QsnapWatch *watch;
  GCancellable *cancellable;
  const QsnapMergeFuncs *funcs;
  gpointer data;

  const char *job;
  /* Names of nodes. */
  const char *overlay;
  const char *base;
  /* What the guest writes to, where that is not the overlay but stands on it; and what then stands
   * on the base is to name as its backing file. */
  const char *top;
  const char *backing_file;

  /* The job's own. */
  gboolean completing;
  gboolean complete;
  gboolean cancelled;
  gboolean stopped;
  guint64 least_left;
  gint64 least_left_time;
} QsnapMerge;

/* When this returns, the job is gone unless the connection is. Which image the guest writes to is
 * known to QEMU: it may be the base in spite of an error. */
gboolean qsnap_merge_run (QsnapMerge *merge, GError **error);

/* Removes what is left of a job that has ended; there may be none. */
gboolean qsnap_merge_dismiss (QsnapQmp *qmp, const char *job, GError **error);

G_END_DECLS
