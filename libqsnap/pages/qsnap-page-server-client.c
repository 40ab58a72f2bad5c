/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "pages/qsnap-page-server-client.h"

#include "helper/qsnap-helper.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

struct _QsnapPageServer
{
  QsnapHelper *helper;
  QsnapPagesFunc func;
  gpointer user_data;
  QsnapPagesReport report;
};

/* In the order of the enumeration. */
static const char *const kinds[] = { "progress", "resumed", "settled", "failed", NULL };

/* @error is the caller's. The function may free the server. */
static void
deliver (QsnapPageServer *server, const GError *error)
{
  QsnapPagesReport report = server->report;

  report.error = error;
  server->func (&report, server->user_data);
}

static gboolean
deliver_death (QsnapPageServer *server)
{
  g_autoptr (GError) error = qsnap_helper_new_death (server->helper);

  server->report.kind = QSNAP_PAGES_DIED;
  deliver (server, error);

  return FALSE;
}

static gboolean
on_report (JsonObject *object, gpointer user_data)
{
  QsnapPageServer *server = user_data;
  QsnapPagesReport *report = &server->report;
  g_autoptr (GError) failure = NULL;
  gboolean over;
  int kind;

  if (object == NULL)
    return deliver_death (server);
  kind = qsnap_helper_find_kind (object, kinds);
  if (kind < 0)
    return TRUE;
  report->kind = (QsnapPagesKind)kind;

  over = report->kind == QSNAP_PAGES_SETTLED || report->kind == QSNAP_PAGES_FAILED;
  if (report->kind == QSNAP_PAGES_PROGRESS || report->kind == QSNAP_PAGES_SETTLED)
    {
      report->bytes_done = (guint64)qsnap_json_get_int (object, "bytes-done", 0);
      report->bytes_total = (guint64)qsnap_json_get_int (object, "bytes-total", 0);
      report->requests = (guint64)qsnap_json_get_int (object, "requests", 0);
    }
  if (report->kind == QSNAP_PAGES_FAILED)
    failure = qsnap_helper_parse_error (object);
  deliver (server, failure);

  return !over;
}

static GStrv
make_arguments (gboolean recover)
{
  static const char *const names[] = { "socket-fd", "dir-fd", "revert-fd", "rescue-fd" };
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *argument =
          g_strdup_printf ("--%s=%zu", names[i], QSNAP_HELPER_CONTROL_FD + 1 + i);

      g_strv_builder_add (builder, argument);
    }
  if (recover)
    g_strv_builder_add (builder, "--recover");

  return g_strv_builder_end (builder);
}

QsnapPageServer *
qsnap_page_server_start (
    int socket_fd, int dir_fd, int revert_fd, int rescue_fd, gboolean recover, GError **error)
{
  g_auto (GStrv) arguments = make_arguments (recover);
  const int fds[] = { socket_fd, dir_fd, revert_fd, rescue_fd };
  QsnapHelper *helper = qsnap_helper_start ("QSNAP_PAGE_SERVER", "qsnap-page-server",
                                            (const char *const *)arguments, fds, G_N_ELEMENTS (fds),
                                            "The process that gives the guest its memory", error);
  QsnapPageServer *server;

  if (helper == NULL)
    return NULL;
  server = g_new0 (QsnapPageServer, 1);
  server->helper = helper;

  return server;
}

gboolean
qsnap_page_server_go (QsnapPageServer *server,
                      JsonObject *host_pages,
                      GMainContext *context,
                      QsnapPagesFunc func,
                      gpointer user_data,
                      GError **error)
{
  JsonObject *command = qsnap_json_object_new ("command", 's', "go", "host-pages", 'o',
                                               qsnap_json_copy_object (host_pages), NULL);

  if (!qsnap_helper_wait_until_ready (server->helper, error))
    {
      json_object_unref (command);
      return FALSE;
    }

  server->func = func;
  server->user_data = user_data;
  qsnap_helper_attach (server->helper, context, on_report, server);

  return qsnap_helper_send (server->helper, command, error);
}

GPid
qsnap_page_server_get_pid (QsnapPageServer *server)
{
  return qsnap_helper_get_pid (server->helper);
}

void
qsnap_page_server_free (QsnapPageServer *server)
{
  qsnap_helper_free (server->helper);
  g_free (server);
}

void
qsnap_page_server_kill (QsnapPageServer *server)
{
  qsnap_helper_kill (server->helper);
  g_free (server);
}
