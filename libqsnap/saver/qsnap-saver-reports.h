/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* The saver's end of the control socket (SOCK_SEQPACKET, a JSON object a packet). Nothing here ever
 * waits for the application: it may be busy, stopped, or dead. */
typedef struct _QsnapSaverReports QsnapSaverReports;

/* Longer packets are not sent and not read. */
#define QSNAP_SAVER_MAX_PACKET 8192

QsnapSaverReports *qsnap_saver_reports_new (int fd);
void qsnap_saver_reports_free (QsnapSaverReports *reports);

/* Kept until it is sent, in order. Takes @report. */
void qsnap_saver_reports_send (QsnapSaverReports *reports, JsonObject *report);
void qsnap_saver_reports_send_kind (QsnapSaverReports *reports, const char *kind);
void qsnap_saver_reports_send_error (QsnapSaverReports *reports, const GError *error);

/* Dropped if it cannot be sent at once. Takes @report. */
void qsnap_saver_reports_try (QsnapSaverReports *reports, JsonObject *report);

/* Sends what has been kept, as far as it goes. */
void qsnap_saver_reports_flush (QsnapSaverReports *reports);
gboolean qsnap_saver_reports_is_waiting (QsnapSaverReports *reports);

/* Nobody reads any more. */
void qsnap_saver_reports_close (QsnapSaverReports *reports);
gboolean qsnap_saver_reports_is_closed (QsnapSaverReports *reports);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapSaverReports, qsnap_saver_reports_free)

G_END_DECLS
