/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* The library's side of the page server. */
typedef struct _QsnapPageServer QsnapPageServer;

typedef enum
{
  QSNAP_PAGES_PROGRESS,
  QSNAP_PAGES_RESUMED, /* the guest gets its pages again */
  QSNAP_PAGES_SETTLED, /* it has all; nothing comes after it */
  QSNAP_PAGES_FAILED,  /* it will not get them from here; nothing comes after it */
  QSNAP_PAGES_DIED     /* before either end: another one has to go on */
} QsnapPagesKind;

typedef struct
{
  QsnapPagesKind kind;
  guint64 bytes_done; /* the three are those of the latest progress, in every report */
  guint64 bytes_total;
  guint64 requests;
  const GError *error; /* FAILED and DIED */
} QsnapPagesReport;

typedef void (*QsnapPagesFunc) (const QsnapPagesReport *report, gpointer user_data);

/* Starts the process, and does not wait for it. @socket_fd leads to QEMU; with @recover, to one
 * that has lost an earlier connection. @revert_fd is the revert's directory, @rescue_fd a
 * QsnapRescue connection.
 *
 * The program is QSNAP_PAGE_SERVER of the environment, else the installed one. */
QsnapPageServer *qsnap_page_server_start (
    int socket_fd, int dir_fd, int revert_fd, int rescue_fd, gboolean recover, GError **error);

/* Waits until it is ready, and lets it begin; @func is called in @context from then on.
 * @host_pages, which is copied, has the size of each block's host pages at the destination that are
 * not of 4096 bytes. */
gboolean qsnap_page_server_go (QsnapPageServer *server,
                               JsonObject *host_pages,
                               GMainContext *context,
                               QsnapPagesFunc func,
                               gpointer user_data,
                               GError **error);

GPid qsnap_page_server_get_pid (QsnapPageServer *server);

/* Lets go of the process, which goes on. @func is not called any more, if this is called from it or
 * in the thread of the context. */
void qsnap_page_server_free (QsnapPageServer *server);
/* The same for one that is not needed. */
void qsnap_page_server_kill (QsnapPageServer *server);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapPageServer, qsnap_page_server_free)

G_END_DECLS
