/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "restore/qsnap-command.h"

G_BEGIN_DECLS

/* A captured guest's command line is made that of its revert. What cannot be adapted is
 * QSNAP_ERROR_UNSUPPORTED; the message names the option and its value and says what to do.
 *
 * The functions only look at the command line (and at files, where two paths have to be compared,
 * or a file may be gone): nothing is made, nothing is started. Each is independent of the others,
 * but disks come before the host: what they leave out needs no secret and no descriptor. */

/* A disk of the snapshot. */
typedef struct
{
  /* How to call it in a message. */
  const char *label;
  /* What the guest may have been started on: the disk's base, then what is below it in its backing
   * chain. Absolute paths. */
  const char *const *files;
  /* The qcow2 image that the revert has instead. */
  const char *overlay;
  /* What it may have been started on, too, and is there no more: it was merged into one of the
   * files. NULL: none. */
  const char *const *merged;
} QsnapRevertDisk;

/* A RAM block that is to be mapped from a file. */
typedef struct
{
  /* QEMU's name of the block in the stream. */
  const char *name;
  guint64 length;
  /* Absolute. */
  const char *path;
  /* Out: an option maps it now. Where there is none, its pages have to be sent. */
  gboolean mapped;
} QsnapRevertBlock;

typedef struct
{
  /* The directory of the revert, absolute: sockets and logs go there. */
  const char *directory;
  /* What relative paths of the command line belong to; NULL: they cannot be told. */
  const char *working_directory;
  /* What was left out or replaced and the user may miss, for people. char *, owned by the array */
  GPtrArray *warnings;
} QsnapAdaptContext;

/* The machine type that the guest was captured with, without alias: for -machine and -M in all
 * their forms, or for neither. */
gboolean qsnap_command_pin_machine (QsnapCommand *command, const char *machine, GError **error);

/* Each writable drive of the command line gets the overlay of its disk, and each disk must be on
 * the command line exactly once. Nodes that only a replaced image stood on are left out. */
gboolean qsnap_command_adapt_disks (QsnapCommand *command,
                                    const QsnapAdaptContext *context,
                                    const QsnapRevertDisk *disks,
                                    guint n_disks,
                                    GError **error);

/* Every block of @blocks that is a memory backend is mapped from its file; @read_only if this
 * QEMU's memory-backend-file has the property "rom". */
gboolean qsnap_command_map_memory (QsnapCommand *command,
                                   QsnapRevertBlock *blocks,
                                   guint n_blocks,
                                   gboolean read_only,
                                   GError **error);

/* Where memory is loaded: no backend may be a file that others have, too. */
gboolean
qsnap_command_load_memory (QsnapCommand *command, const QsnapAdaptContext *context, GError **error);

/* Everything else that two QEMUs would fight for, or that only the first start of a guest wants:
 * sockets, ports, files, monitors, -incoming, -S, -loadvm, -daemonize, … */
gboolean
qsnap_command_adapt_host (QsnapCommand *command, const QsnapAdaptContext *context, GError **error);

G_END_DECLS
