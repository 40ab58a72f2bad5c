/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* The folder of a group that is being taken. While it is, it is locked. */

typedef struct _QsnapGroupFolder QsnapGroupFolder;

QsnapGroupFolder *
qsnap_group_folder_new (const char *path, const char *name, const char *const *guests);
/* Lets go of it. */
void qsnap_group_folder_free (QsnapGroupFolder *folder);

const char *qsnap_group_folder_get_path (QsnapGroupFolder *folder);
/* What is known of the group; the folder's. */
JsonObject *qsnap_group_folder_get_json (QsnapGroupFolder *folder);

/* Makes the folder, or takes one that is empty, and writes the journal. */
gboolean qsnap_group_folder_make (QsnapGroupFolder *folder, GError **error);

void qsnap_group_folder_note_snapshot (QsnapGroupFolder *folder, guint guest, const char *id);
/* Microseconds since the epoch; G_MAXINT64: no guest was stopped, or goes on. Writes the journal.
 */
gboolean qsnap_group_folder_note_times (QsnapGroupFolder *folder,
                                        gint64 first_stop,
                                        gint64 last_stop,
                                        gint64 first_resume,
                                        GError **error);
gboolean qsnap_group_folder_seal (QsnapGroupFolder *folder, GError **error);

/* Nothing more is done in it: what has to go is removed. */
void qsnap_group_folder_leave (QsnapGroupFolder *folder);

G_END_DECLS
