/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "helper/qsnap-helper-reports.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "qsnap-json.h"

/* So that with its escapes a message fits a packet. */
#define MAX_MESSAGE 1000

struct _QsnapHelperReports
{
  int fd;
  gboolean closed;
  GQueue waiting; /* char * */
};

/* Answers whether the packet need not be tried again. */
static gboolean
send_text (QsnapHelperReports *reports, const char *text)
{
  while (!reports->closed)
    {
      if (send (reports->fd, text, strlen (text), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return TRUE;
      if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
        return FALSE;
      if (errno != EINTR)
        reports->closed = TRUE;
    }
  return TRUE;
}

void
qsnap_helper_reports_flush (QsnapHelperReports *reports)
{
  while (!g_queue_is_empty (&reports->waiting) &&
         send_text (reports, g_queue_peek_head (&reports->waiting)))
    g_free (g_queue_pop_head (&reports->waiting));
}

static char *
to_text (JsonObject *report)
{
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (report);

  return qsnap_json_to_text (node, FALSE);
}

void
qsnap_helper_reports_send (QsnapHelperReports *reports, JsonObject *report)
{
  g_queue_push_tail (&reports->waiting, to_text (report));
  qsnap_helper_reports_flush (reports);
}

void
qsnap_helper_reports_send_kind (QsnapHelperReports *reports, const char *kind)
{
  qsnap_helper_reports_send (reports, qsnap_json_object_new ("report", 's', kind, NULL));
}

void
qsnap_helper_reports_send_ready (QsnapHelperReports *reports, const char *sandbox)
{
  qsnap_helper_reports_send (
      reports, qsnap_json_object_new ("report", 's', "ready", "sandbox", 's', sandbox, NULL));
}

void
qsnap_helper_reports_send_error (QsnapHelperReports *reports, const GError *error)
{
  g_autofree char *valid = g_utf8_make_valid (error->message, -1);
  g_autofree char *message =
      g_utf8_substring (valid, 0, MIN (g_utf8_strlen (valid, -1), MAX_MESSAGE));

  qsnap_helper_reports_send (reports, qsnap_json_object_new ("report", 's', "failed", "domain", 's',
                                                             g_quark_to_string (error->domain),
                                                             "code", 'i', (gint64)error->code,
                                                             "message", 's', message, NULL));
}

void
qsnap_helper_reports_try (QsnapHelperReports *reports, JsonObject *report)
{
  g_autofree char *text = to_text (report);

  /* Not past the ones that are kept. */
  qsnap_helper_reports_flush (reports);
  if (g_queue_is_empty (&reports->waiting))
    send_text (reports, text);
}

gboolean
qsnap_helper_reports_is_waiting (QsnapHelperReports *reports)
{
  return !g_queue_is_empty (&reports->waiting);
}

JsonNode *
qsnap_helper_reports_receive (QsnapHelperReports *reports)
{
  char text[QSNAP_HELPER_MAX_PACKET];
  gssize n = recv (reports->fd, text, sizeof text, MSG_DONTWAIT);

  if (n > 0)
    return qsnap_json_parse_object (text, (gsize)n, NULL);
  if (n == 0 || (errno != EAGAIN && errno != EINTR))
    {
      reports->closed = TRUE;
      /* Drops what has been kept. */
      qsnap_helper_reports_flush (reports);
    }
  return NULL;
}

gboolean
qsnap_helper_reports_is_closed (QsnapHelperReports *reports)
{
  return reports->closed;
}

QsnapHelperReports *
qsnap_helper_reports_new (int fd)
{
  QsnapHelperReports *reports = g_new0 (QsnapHelperReports, 1);

  reports->fd = fd;
  g_queue_init (&reports->waiting);
  return reports;
}

void
qsnap_helper_reports_free (QsnapHelperReports *reports)
{
  g_queue_clear_full (&reports->waiting, g_free);
  g_free (reports);
}
