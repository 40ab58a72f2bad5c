/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Runs @func for each index below @n, all at once, and returns when all have. */
typedef void (*QsnapParallelFunc) (guint index, gpointer data);

void qsnap_parallel_run (guint n, QsnapParallelFunc func, gpointer data);

G_END_DECLS
