/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* What makes snapshots in the folders below one folder a group. group.json is written when all of
 * them are sealed, and renamed into place: without it there is no group. The journal is the same
 * document while the group is being taken; it has its times once the common instant is proven. The
 * layout is in docs/file-format.md. */

#define QSNAP_GROUP_FILE "group.json"
#define QSNAP_GROUP_JOURNAL "group-journal.json"

/* Members: each of "guests" has these, the group's own are below. */
#define QSNAP_GROUP_GUESTS "guests"
#define QSNAP_GROUP_GUEST_NAME "name"
#define QSNAP_GROUP_GUEST_ID "snapshot"

#define QSNAP_GROUP_NAME "name"
#define QSNAP_GROUP_TIME "time"
#define QSNAP_GROUP_SKEW "skew-us"
#define QSNAP_GROUP_OVERLAP "overlap-us"
/* Its deletion has begun. */
#define QSNAP_GROUP_DELETING "deleting"

/* Each of @guests is a name. */
JsonObject *qsnap_group_file_new (const char *name, const char *const *guests);

/* Sets "format", "schema" and "checksum" of @group. */
gboolean
qsnap_group_file_write (int dir_fd, const char *file_name, JsonObject *group, GError **error);

/* Nothing in it is trusted: names are names, and no two guests have one. A group.json has times and
 * the ids of all snapshots; a journal need not. */
JsonObject *qsnap_group_file_read (int dir_fd, const char *file_name, GError **error);

/* Whether the common instant of all guests is proven. */
gboolean qsnap_group_file_is_proven (JsonObject *group);

guint qsnap_group_file_n_guests (JsonObject *group);
JsonObject *qsnap_group_file_guest (JsonObject *group, guint index);
const char *qsnap_group_file_guest_name (JsonObject *group, guint index);

G_END_DECLS
