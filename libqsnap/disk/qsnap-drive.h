/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-process.h"
#include "qsnap-report-private.h"

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

/* A drive of the guest that has a medium and may be written. */
typedef struct
{
  /* QEMU's names: of the drive (may be empty), of the device in QOM (may be NULL), of the node. */
  char *device;
  char *qdev;
  char *node;
  char *driver;
  /* The node's image, absolute. */
  char *file;
  /* The images below it in its backing chain, absolute; those without a local file are left out. */
  GStrv chain;
  gint64 size;
  gboolean direct;
  gboolean no_flush;
  char *detect_zeroes;
  /* The RAM block that mirrors it, where the drive is UEFI variables in pflash, else NULL. */
  char *nvram_block;

  /* Set by qsnap_overlay_plan(). */
  char *overlay_file;
  char *overlay_node;
  char *overlay_file_node;
  gint64 overlay_fdset;
  /* The guest writes to its base again: what is in the overlay is old. */
  gboolean merged;
  QsnapFileIdentity base;
} QsnapDrive;

void qsnap_drive_free (QsnapDrive *drive);

/* How to call the drive in a message. */
const char *qsnap_drive_label (const QsnapDrive *drive);

/* "raw" for what has no format of its own. */
const char *qsnap_drive_format (const QsnapDrive *drive);

/* All writable drives with a medium (elements are QsnapDrive); whatever of them cannot be captured
 * becomes a problem in @report. NULL only when QEMU does not answer. */
GPtrArray *
qsnap_drives_query (QsnapQmp *qmp, QsnapProcess *process, QsnapReport *report, GError **error);

/* The file that a node name's "filename" means: QEMU shows /dev/fdset/N for a descriptor it was
 * given, and json:{…} for a node whose backing was set by hand. NULL: no local file. */
char *qsnap_drive_resolve_file (QsnapQmp *qmp, QsnapProcess *process, const char *filename);

G_END_DECLS
