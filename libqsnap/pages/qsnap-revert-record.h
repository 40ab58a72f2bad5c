/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* revert.json in the directory of a revert whose guest does not have all of its memory yet: what is
 * needed to go on if the page server dies. Its layout is in docs/file-format.md. */

#define QSNAP_REVERT_RECORD "revert.json"

/* Takes @record; adds what kind of file it is. */
gboolean qsnap_revert_record_write (int dir_fd, JsonObject *record, GError **error);
/* G_IO_ERROR_NOT_FOUND if there is none. */
JsonObject *qsnap_revert_record_read (int dir_fd, GError **error);
/* Where the guest has all, or is gone. */
void qsnap_revert_record_remove (int dir_fd);

G_END_DECLS
