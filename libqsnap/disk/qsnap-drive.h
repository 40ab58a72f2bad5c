/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "disk/qsnap-file-identity.h"
#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-process.h"
#include "qsnap-report-private.h"

G_BEGIN_DECLS

/* A drive of the guest that has a medium and may be written. */
typedef struct
{
  /* QEMU's names: of the drive (may be empty), of the device in QOM (may be NULL), of the node. */
  char *device;
  char *qdev;
  char *node;
  char *driver;
  /* What QEMU calls the node's image, and that as an absolute path; NULL if it is no local file. */
  char *filename;
  char *file;
  /* The images below it in its backing chain, absolute; those without a local file are left out. */
  GStrv chain;
  /* Those that were below it and were merged away, when a snapshot was deleted; NULL: not known. */
  JsonArray *merged_files;
  /* Of the first of the chain, where it is right below; else NULL. */
  char *backing_format;
  gint64 size;
  gboolean direct;
  gboolean no_flush;
  char *detect_zeroes;
  /* query-block's list of its dirty bitmaps; NULL: none. */
  JsonArray *bitmaps;
  /* What the guest has written is in another file than the image. */
  gboolean has_data_file;
  /* The RAM block that mirrors it, where the drive is UEFI variables in pflash, else NULL. */
  char *nvram_block;

  /* How it gets into the snapshot, and what the caller said of it, or NULL. */
  QsnapDiskMode mode;
  QsnapDiskOptions *options;

  /* The image that the capture makes: the overlay, the clone or the copy. Planned before anything
   * is made; the file is NULL where the copy's target is something else. */
  char *new_file;
  const char *new_format;
  char *new_node;
  char *new_file_node;
  gint64 new_fdset;
  /* Of the snapshot in the image, for QSNAP_DISK_MODE_INTERNAL. */
  char *internal_name;
  /* A journal says so, and it is no name that the library chooses. */
  gboolean new_file_is_doubtful;
  /* The guest writes to its base again: what is in the overlay is old. */
  gboolean merged;
  /* The job that copies it has ended well. */
  gboolean copied;
  /* The image that holds the disk at the point in time, as it was then. */
  QsnapFileIdentity base;
} QsnapDrive;

void qsnap_drive_free (QsnapDrive *drive);

/* How to call the drive in a message. */
const char *qsnap_drive_label (const QsnapDrive *drive);

/* "raw" for what has no format of its own. */
const char *qsnap_drive_format (const QsnapDrive *drive);

/* All writable drives with a medium (elements are QsnapDrive). @read_only gets what the manifest
 * says of the others. NULL only when QEMU does not answer. */
GPtrArray *
qsnap_drives_query (QsnapQmp *qmp, QsnapProcess *process, JsonArray **read_only, GError **error);

/* The file that a node name's "filename" means: QEMU shows /dev/fdset/N for a descriptor it was
 * given, and json:{…} for a node whose backing was set by hand. NULL: no local file. */
char *qsnap_drive_resolve_file (QsnapQmp *qmp, QsnapProcess *process, const char *filename);

G_END_DECLS
