/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-file-identity.h"
#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* The disks of a manifest (docs/file-format.md). */

/* Whether the snapshot has an image beside the guest's. */
gboolean qsnap_disk_mode_has_own_image (QsnapDiskMode mode);

/* What its base is now, in place of what is said of it. */
void qsnap_manifest_disk_identify (JsonObject *disk, const QsnapFileIdentity *base);
gboolean qsnap_manifest_disk_identify_file (JsonObject *disk, const char *file, GError **error);
/* @image ("base" or "source") has no @file any more, which may be on QEMU's command line: so a
 * revert still finds there which option the disk is. */
void qsnap_manifest_disk_remember (JsonObject *image, JsonArray *command_line, const char *file);

/* For one that was read, and is valid. */
QsnapDiskMode qsnap_manifest_disk_mode (JsonObject *disk);
/* The image that holds the disk at the point in time; NULL: it is in no file. */
char *qsnap_manifest_disk_base (JsonObject *disk, const char *directory);
/* What the guest was started on: "file" and "chain". */
JsonObject *qsnap_manifest_disk_source (JsonObject *disk);
/* Which disk is meant by a name of QEMU's: of the drive, of its device or of its node. NULL, with
 * the error, if it is none of @disks, or more than one. */
JsonObject *qsnap_manifest_disk_find (JsonArray *disks, const char *drive, GError **error);
/* The image in which the guest went on; NULL: in no file, or that is not known. */
const char *qsnap_manifest_disk_goes_on_in (JsonObject *disk);
/* That the base is there, and was not written since, as far as that can be known. */
gboolean qsnap_manifest_disk_check_base (JsonObject *disk, const char *directory, GError **error);

/* Whether @disks is what a manifest may have: QSNAP_ERROR_CORRUPT. */
gboolean qsnap_manifest_check_disks (JsonArray *disks, GError **error);

G_END_DECLS
