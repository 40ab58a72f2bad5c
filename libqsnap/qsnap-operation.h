/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* One long job of a session, on a thread of its own, and the way its news takes to the application:
 * into the session's main context, or, in a synchronous call, to the thread that called. Either way
 * all of it passes one queue, so the order in which the job said it is the order in which it comes,
 * the end of the job last. */

typedef struct _QsnapOperation QsnapOperation;

/* Runs in the operation's thread; the result (transfer full) is NULL on error. */
typedef gpointer (*QsnapOperationFunc) (QsnapOperation *operation,
                                        gpointer data,
                                        GCancellable *cancellable,
                                        GError **error);

/* Waits, emitting what comes, until the job is done. @data is not freed. */
gpointer qsnap_operation_run (QsnapSession *session,
                              const char *name,
                              QsnapOperationFunc func,
                              gpointer data,
                              GCancellable *cancellable,
                              GError **error);

/* Returns into @task (transfer full), from the session's main context; @data is the task's. */
void qsnap_operation_start (QsnapSession *session,
                            const char *name,
                            QsnapOperationFunc func,
                            GTask *task,
                            GDestroyNotify free_result);

/* One of several operations that have one caller; the session has begun it. It tells its news into
 * @queue, which the caller empties, or, if that is NULL, into its session's main context. There
 * @ended comes last, when the session is free again. @func answers nothing; @data is not freed. */
void qsnap_operation_start_one (QsnapSession *session,
                                QsnapOperationFunc func,
                                gpointer data,
                                GCancellable *cancellable,
                                GAsyncQueue *queue,
                                void (*ended) (gpointer data));

/* The queue of a synchronous call. The second waits for the next thing in it, and does it. */
GAsyncQueue *qsnap_operation_queue_new (void);
void qsnap_operation_queue_run_next (GAsyncQueue *queue);
void qsnap_operation_queue_push (GAsyncQueue *queue,
                                 void (*func) (gpointer data),
                                 gpointer data,
                                 GDestroyNotify destroy);

/* For the job. */
QsnapSession *qsnap_operation_get_session (QsnapOperation *operation);
void qsnap_operation_set_phase (QsnapOperation *operation, QsnapPhase phase);
/* Told on at most ten times a second. */
void qsnap_operation_set_progress (QsnapOperation *operation, guint64 done, guint64 total);
/* Of the copies of disks. */
void qsnap_operation_set_disk_progress (QsnapOperation *operation, guint64 done, guint64 total);
void qsnap_operation_point_in_time (QsnapOperation *operation, QsnapSnapshot *snapshot);
/* Nothing was written for so long. */
void qsnap_operation_stalled (QsnapOperation *operation, guint milliseconds);
void qsnap_operation_disks_complete (QsnapOperation *operation, QsnapSnapshot *snapshot);
void qsnap_operation_memory_complete (QsnapOperation *operation, QsnapSnapshot *snapshot);

G_END_DECLS
