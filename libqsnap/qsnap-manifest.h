/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* snapshot.json, the manifest: written last and renamed into place, so a directory without one is
 * no snapshot. Its layout is in docs/file-format.md. */

#define QSNAP_MANIFEST_FILE "snapshot.json"
/* Its name once the deletion of the snapshot has begun. */
#define QSNAP_MANIFEST_DELETED "deleted.json"
#define QSNAP_MANIFEST_SCHEMA 1

/* Sets "format", "schema" and "checksum" in @manifest and writes it; when this returns TRUE the
 * snapshot is on stable storage. */
gboolean qsnap_manifest_write (int dir_fd, JsonObject *manifest, GError **error);

/* Reads it back. Nothing in it is trusted: it has the schema, its own checksum holds, every member
 * that the library uses is there and of the right type and range. */
JsonObject *qsnap_manifest_read (int dir_fd, GError **error);
/* The same for a snapshot whose deletion has begun. */
JsonObject *qsnap_manifest_read_deleted (int dir_fd, GError **error);

/* Parses what a manifest says; split from reading for tests and fuzzing. */
JsonObject *qsnap_manifest_parse (const char *text, gsize length, GError **error);

/* Names that people give: UTF-8, 1 to 255 bytes, no control characters, no slash. */
gboolean qsnap_name_is_valid (const char *name);

G_END_DECLS
