/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "restore/qsnap-command-adapt.h"
#include "restore/qsnap-option-props.h"

G_BEGIN_DECLS

/* --- for all that adapt -------------------------------------------------------------------- */

gboolean qsnap_option_is (const QsnapOption *option, const char *name);

/* QSNAP_ERROR_UNSUPPORTED with the option, its value and the remedy around the reason. Always
 * FALSE, for a tail call. */
gboolean qsnap_option_refuse (const QsnapOption *option, GError **error, const char *reason, ...)
    G_GNUC_PRINTF (3, 4);

QsnapProps *qsnap_option_parse (const QsnapOption *option, const char *implied_key, GError **error);
void qsnap_option_store (QsnapOption *option, QsnapProps *props);
void qsnap_option_set (QsnapOption *option, const char *name, const char *value);
/* Replaces the value, which is freed. */
void qsnap_option_take (QsnapOption *option, char *value);

/* Whether a property of any option has that value, but for those that name the option itself. */
gboolean qsnap_command_refers_to (QsnapCommand *command, const char *name);

/* The absolute path, or NULL where it cannot be told. */
char *qsnap_adapt_resolve (const QsnapAdaptContext *context, const char *path);

void qsnap_adapt_warn (const QsnapAdaptContext *context, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

/* --- disks --------------------------------------------------------------------------------- */

typedef struct
{
  const QsnapAdaptContext *context;
  const QsnapRevertDisk *disks;
  guint n_disks;
  /* For each disk whether it was found. */
  gboolean *found;
  /* -snapshot is given. */
  gboolean temporary;
} QsnapDiskSearch;

/* The overlay for the image of a writable drive, or NULL. Of every disk once. */
const char *qsnap_disk_search_take (QsnapDiskSearch *search,
                                    const QsnapOption *option,
                                    const char *image,
                                    GError **error);

/* Whether the images of the disk with that overlay, as the guest had them, stand on each other by
 * their headers, too. */
gboolean qsnap_disk_check_headers (const QsnapDiskSearch *search,
                                   const QsnapOption *option,
                                   const char *overlay,
                                   GError **error);

/* "file" and "host_device": what opens a local file. */
gboolean qsnap_disk_driver_is_file (const char *driver);

/* Whether an image of any format is all that the properties of a drive or node say. */
gboolean qsnap_disk_check_image (const QsnapOption *option,
                                 QsnapProps *props,
                                 const char *format_key,
                                 GError **error);

/* Makes the properties of a node of any image format those of a qcow2 node, but for its file. */
gboolean qsnap_disk_make_qcow2 (const QsnapOption *option,
                                QsnapProps *props,
                                const char *format_key,
                                GError **error);

gboolean
qsnap_command_adapt_blockdevs (QsnapCommand *command, QsnapDiskSearch *search, GError **error);

/* --- host ---------------------------------------------------------------------------------- */

typedef struct
{
  const QsnapAdaptContext *context;
  /* Names of files in the revert's directory that are taken. */
  GHashTable *names;
  /* How many options of a kind there were. */
  GHashTable *counts;
} QsnapHost;

typedef enum
{
  QSNAP_HOST_KEEP,
  QSNAP_HOST_DROP,
  QSNAP_HOST_REFUSE,
} QsnapHostVerdict;

typedef QsnapHostVerdict (*QsnapHostFunc) (QsnapHost *host, QsnapOption *option, GError **error);

/* A path in the revert's directory that nothing else has: STEM.SUFFIX, STEM-2.SUFFIX, … */
char *qsnap_host_file (QsnapHost *host, const char *stem, const char *suffix);
/* The same for a socket; NULL: its path is too long for one. */
char *
qsnap_host_socket (QsnapHost *host, const QsnapOption *option, const char *stem, GError **error);
/* 0 for the first option of @kind, then 1, … */
guint qsnap_host_count (QsnapHost *host, const char *kind);

QsnapHostVerdict qsnap_host_chardev (QsnapHost *host, QsnapOption *option, GError **error);
QsnapHostVerdict qsnap_host_legacy (QsnapHost *host, QsnapOption *option, GError **error);
QsnapHostVerdict qsnap_host_network (QsnapHost *host, QsnapOption *option, GError **error);
QsnapHostVerdict qsnap_host_display (QsnapHost *host, QsnapOption *option, GError **error);
QsnapHostVerdict qsnap_host_vnc (QsnapHost *host, QsnapOption *option, GError **error);
QsnapHostVerdict qsnap_host_spice (QsnapHost *host, QsnapOption *option, GError **error);

/* When everything else is adapted: a secret that no option uses any more goes. */
gboolean qsnap_command_adapt_secrets (QsnapCommand *command,
                                      const QsnapAdaptContext *context,
                                      GError **error);

G_END_DECLS
