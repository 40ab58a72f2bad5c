/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* A file as it was at some moment: a base that is still the same file and was not written since. */
typedef struct
{
  guint64 device;
  guint64 inode;
  guint64 size;
  /* nanoseconds since the epoch */
  gint64 mtime;
  /* A block device has neither a size of its own nor a meaningful mtime. */
  gboolean is_block_device;
} QsnapFileIdentity;

gboolean qsnap_file_identity_read (QsnapFileIdentity *identity, const char *path, GError **error);
JsonObject *qsnap_file_identity_to_json (const QsnapFileIdentity *identity);
void qsnap_file_identity_from_json (QsnapFileIdentity *identity, JsonObject *object);
/* Compares the file at @path with what the manifest says of it. */
gboolean qsnap_file_identity_check (JsonObject *object, const char *path, GError **error);

G_END_DECLS
