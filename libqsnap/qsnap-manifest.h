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
/* In the snapshot's directory, for clones and copies. */
#define QSNAP_DISKS_DIR "disks"

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

/* For those who check a part of it; FALSE is QSNAP_ERROR_CORRUPT. */
typedef struct
{
  const char *name;
  char kind; /* 's' string, 'i' not negative, 'o' object, 'a' array */
} QsnapManifestMember;

gboolean qsnap_manifest_corrupt (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* @members ends with a NULL name; @where begins the error's text. */
gboolean qsnap_manifest_check_members (JsonObject *object,
                                       const char *where,
                                       const QsnapManifestMember *members,
                                       GError **error);
/* Of an array that may be missing. */
gboolean qsnap_manifest_check_strings (JsonObject *object, const char *name, GError **error);

/* Names that people give: which rule this one breaks, in words, or NULL. */
#define QSNAP_MAX_NAME 255
const char *qsnap_name_problem (const char *name);

G_END_DECLS
