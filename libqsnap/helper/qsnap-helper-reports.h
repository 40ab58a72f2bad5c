/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* A helper process's end of its control socket (SOCK_SEQPACKET, a JSON object a packet). Nothing
 * here ever waits for the application: it may be busy, stopped, or dead. */
typedef struct _QsnapHelperReports QsnapHelperReports;

/* Longer packets are not sent and not read. */
#define QSNAP_HELPER_MAX_PACKET 8192

QsnapHelperReports *qsnap_helper_reports_new (int fd);
void qsnap_helper_reports_free (QsnapHelperReports *reports);

/* Kept until it is sent, in order. Takes @report. */
void qsnap_helper_reports_send (QsnapHelperReports *reports, JsonObject *report);
void qsnap_helper_reports_send_kind (QsnapHelperReports *reports, const char *kind);
/* @sandbox is what qsnap_sandbox_enter() has answered. */
void qsnap_helper_reports_send_ready (QsnapHelperReports *reports, const char *sandbox);
void qsnap_helper_reports_send_error (QsnapHelperReports *reports, const GError *error);

/* Dropped if it cannot be sent at once. Takes @report. */
void qsnap_helper_reports_try (QsnapHelperReports *reports, JsonObject *report);

/* Sends what has been kept, as far as it goes. */
void qsnap_helper_reports_flush (QsnapHelperReports *reports);
gboolean qsnap_helper_reports_is_waiting (QsnapHelperReports *reports);

/* What the application has said, a JSON object, once the socket is readable; NULL for what is none.
 * Its end closes the reports. */
JsonNode *qsnap_helper_reports_receive (QsnapHelperReports *reports);

/* Nobody reads any more: found when something is sent or received. */
gboolean qsnap_helper_reports_is_closed (QsnapHelperReports *reports);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapHelperReports, qsnap_helper_reports_free)

G_END_DECLS
