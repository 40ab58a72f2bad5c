/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-watch.h"

G_BEGIN_DECLS

/* A guest that does not have all of its memory yet: who gives it, and what is needed to let another
 * process go on with it. One thread at a time. */
typedef struct _QsnapServing QsnapServing;

/* For a guest that is about to be given its memory. Both descriptors are duplicated. @snapshot is
 * the snapshot's directory and @id its id, and @path the revert's own, where QEMU, process @qemu,
 * listens at QSNAP_RESCUE_SOCKET. @host_pages is taken. */
QsnapServing *qsnap_serving_new (const char *snapshot,
                                 const char *id,
                                 int snapshot_fd,
                                 const char *path,
                                 int revert_fd,
                                 GPid qemu,
                                 JsonObject *host_pages,
                                 GError **error);

/* For one whose page server has died, out of the record in the revert's directory.
 * QSNAP_ERROR_BUSY if the server is alive; QSNAP_ERROR_CLOSED if the guest is
 * gone, and then there is no record any more. */
QsnapServing *qsnap_serving_load (const char *path, GError **error);

void qsnap_serving_free (QsnapServing *serving);

const char *qsnap_serving_get_snapshot (QsnapServing *serving);

/* Lets a page server give QEMU, at the other end of @socket_fd, all of its memory. What it reports
 * is noted in @watch, which has to be there until this is freed. */
gboolean
qsnap_serving_start (QsnapServing *serving, int socket_fd, QsnapWatch *watch, GError **error);

/* After the death of a page server: another one goes on. Returns when the guest gets its pages
 * again. */
gboolean qsnap_serving_resume (QsnapServing *serving, QsnapWatch *watch, GError **error);

/* Ends the page server, for a guest that has not begun to run. */
void qsnap_serving_give_up (QsnapServing *serving);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapServing, qsnap_serving_free)

G_END_DECLS
