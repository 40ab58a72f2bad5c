/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <json-glib/json-glib.h>

#include "qsnap/qsnap-error.h"

G_BEGIN_DECLS

/* The client's side of one QMP connection (QEMU's docs/interop/qmp-spec): greeting, capabilities
 * negotiation, commands matched to replies by id, events. All reading and writing is done by one
 * thread that all clients of the process share, so neither a blocked application nor a waiting
 * caller ever blocks QMP.
 *
 * Any thread may call. The handlers and reply functions run in the shared thread (on failure in
 * the thread that caused it) and must not block. Events come before the reply that QEMU sent after
 * them: a call that returned is a barrier for the events before it. */

typedef struct _QsnapQmpClient QsnapQmpClient;

/* Either may be NULL. */
typedef struct
{
  /* @time: microseconds since the Unix epoch, QEMU's own stamp. FALSE ends the connection: a flood.
   */
  gboolean (*event) (const char *name, JsonNode *data, gint64 time, gpointer user_data);
  /* Once: the connection ended. @error is NULL where qsnap_qmp_client_close() ended it. */
  void (*closed) (const GError *error, gpointer user_data);
} QsnapQmpHandlers;

/* Exactly one of @reply and @error is set; both belong to the caller. */
typedef void (*QsnapQmpReplyFunc) (JsonNode *reply, const GError *error, gpointer user_data);

QsnapQmpClient *qsnap_qmp_client_new (GIOStream *stream,
                                      const QsnapQmpHandlers *handlers,
                                      gpointer user_data,
                                      GDestroyNotify destroy);
QsnapQmpClient *qsnap_qmp_client_ref (QsnapQmpClient *client);
void qsnap_qmp_client_unref (QsnapQmpClient *client);

/* Waits for the greeting, answers it, and returns the greeting's "QMP" object in a node. A
 * @timeout_ms of 0 is no limit, here and below. */
JsonNode *qsnap_qmp_client_negotiate (QsnapQmpClient *client,
                                      guint timeout_ms,
                                      GCancellable *cancellable,
                                      GError **error);

/* @arguments (taken) is an object or NULL; @fds travel with the bytes of the command. Returns the
 * call's id. @func is called exactly once, unless qsnap_qmp_client_forget() answered TRUE. */
guint64 qsnap_qmp_client_send (QsnapQmpClient *client,
                               const char *command,
                               JsonNode *arguments,
                               GUnixFDList *fds,
                               QsnapQmpReplyFunc func,
                               gpointer user_data);
gboolean qsnap_qmp_client_forget (QsnapQmpClient *client, guint64 id);

/* Waits for the reply. Cancelling, or running out of time, gives up the wait; the command, too, if
 * nothing of it was sent yet. */
JsonNode *qsnap_qmp_client_call (QsnapQmpClient *client,
                                 const char *command,
                                 JsonNode *arguments,
                                 GUnixFDList *fds,
                                 guint timeout_ms,
                                 GCancellable *cancellable,
                                 GError **error);

/* Two commands in one write, so that nothing of ours can come between them, not even our death. The
 * second is sent, and waited for, whatever becomes of the first; @error is that of the first that
 * failed. @first_done may be NULL. */
gboolean qsnap_qmp_client_call_pair (QsnapQmpClient *client,
                                     const char *first,
                                     JsonNode *first_arguments,
                                     const char *second,
                                     JsonNode *second_arguments,
                                     guint timeout_ms,
                                     gboolean *first_done,
                                     GError **error);

/* Of an error class by name, as QEMU and its guest agent answer with it. */
QsnapQmpError qsnap_qmp_error_code (const char *class);

gboolean qsnap_qmp_client_can_pass_fds (QsnapQmpClient *client);
gboolean qsnap_qmp_client_is_closed (QsnapQmpClient *client);

/* Fails every pending call with %QSNAP_ERROR_CLOSED and ends the connection. */
void qsnap_qmp_client_close (QsnapQmpClient *client);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapQmpClient, qsnap_qmp_client_unref)

G_END_DECLS
