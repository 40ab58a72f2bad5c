/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The main context that the library's own I/O thread iterates, for as long as the process lives:
 * QMP of all sessions and the reports of all savers. */
GMainContext *qsnap_worker_context (void);

/* Runs @func once in the worker's thread, always later, never inside this call. */
void qsnap_worker_run (GSourceFunc func, gpointer data, GDestroyNotify destroy);

/* Runs @func in the worker's thread and waits for it; not to be called in that thread. */
void qsnap_worker_run_and_wait (void (*func) (gpointer data), gpointer data);

G_END_DECLS
