/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* The library's side of a helper process, which outlives the application: a SOCK_SEQPACKET with a
 * JSON object a packet. */
typedef struct _QsnapHelper QsnapHelper;

/* What the child calls its end of the socket; the descriptors that it is given follow. */
#define QSNAP_HELPER_CONTROL_FD 3

/* @report is NULL when the process has ended, or has let go of the socket. Answers whether more is
 * wanted; after the end nothing comes. */
typedef gboolean (*QsnapHelperFunc) (JsonObject *report, gpointer user_data);

/* Starts @program of the library's own directory, or the one that the environment variable
 * @variable names, with @arguments and with a copy of each of @fds. @what names it in errors: "The
 * process that …". */
QsnapHelper *qsnap_helper_start (const char *variable,
                                 const char *program,
                                 const char *const *arguments,
                                 const int *fds,
                                 guint n_fds,
                                 const char *what,
                                 GError **error);

/* Waits until it has reported "ready", which is not delivered; one that has failed before says why.
 */
gboolean qsnap_helper_wait_until_ready (QsnapHelper *helper, GError **error);

/* @func is called in @context, in the thread that runs it, from now on. */
void qsnap_helper_attach (QsnapHelper *helper,
                          GMainContext *context,
                          QsnapHelperFunc func,
                          gpointer user_data);

/* Any thread. Takes @command. */
gboolean qsnap_helper_send (QsnapHelper *helper, JsonObject *command, GError **error);

GPid qsnap_helper_get_pid (QsnapHelper *helper);

/* Which of @names (the last is NULL) the report is; -1: none. */
int qsnap_helper_find_kind (JsonObject *report, const char *const *names);
/* The error of a process that has ended before it reported one of its ends. */
GError *qsnap_helper_new_death (QsnapHelper *helper);
/* The error of a report "failed". */
GError *qsnap_helper_parse_error (JsonObject *report);

/* Lets go of the process, which sees that nobody listens any more. The function is not called any
 * more, if this is called from it or in the thread of the context. */
void qsnap_helper_free (QsnapHelper *helper);
/* The same for one that is not to go on. */
void qsnap_helper_kill (QsnapHelper *helper);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapHelper, qsnap_helper_free)

G_END_DECLS
