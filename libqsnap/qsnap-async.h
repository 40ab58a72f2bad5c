/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* The asynchronous twin of a method that only says whether it has worked. */
typedef gboolean (*QsnapAsyncFunc) (gpointer source, GCancellable *cancellable, GError **error);

/* Calls @func in a thread. @tag is the public function, for g_async_result_is_tagged(); the result
 * is a #GTask's boolean. */
void qsnap_async_run (gpointer source,
                      gpointer tag,
                      QsnapAsyncFunc func,
                      GCancellable *cancellable,
                      GAsyncReadyCallback callback,
                      gpointer user_data);

/* The asynchronous twin of a method that changes something. */
typedef gboolean (*QsnapAsyncChangeFunc) (gpointer source,
                                          gpointer data,
                                          GCancellable *cancellable,
                                          GError **error);

/* The same; what was changed is, even if it is cancelled before the callback runs. @data (taken)
 * may be NULL. */
void qsnap_async_run_change (gpointer source,
                             gpointer tag,
                             QsnapAsyncChangeFunc func,
                             gpointer data,
                             GDestroyNotify free_data,
                             GCancellable *cancellable,
                             GAsyncReadyCallback callback,
                             gpointer user_data);

/* The asynchronous twin of a function that makes an object out of what is in @file. */
typedef gpointer (*QsnapAsyncFileFunc) (GFile *file, GCancellable *cancellable, GError **error);

/* The same; the result is a #GTask's pointer, a #GObject. */
void qsnap_async_run_on_file (GFile *file,
                              gpointer tag,
                              QsnapAsyncFileFunc func,
                              GCancellable *cancellable,
                              GAsyncReadyCallback callback,
                              gpointer user_data);

G_END_DECLS
