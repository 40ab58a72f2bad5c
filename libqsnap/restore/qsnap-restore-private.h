/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <json-glib/json-glib.h>

#include "memory/qsnap-image.h"
#include "pages/qsnap-serving.h"
#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-undo.h"
#include "qsnap-watch.h"
#include "restore/qsnap-command-adapt.h"
#include "restore/qsnap-qemu.h"
#include "restore/qsnap-restore.h"

G_BEGIN_DECLS

#define QSNAP_RESTORE_MONITOR "qsnap-monitor"
#define QSNAP_RESTORE_RESCUE "qsnap-rescue-monitor"
#define QSNAP_RESTORE_SOCKET "qsnap.sock"
#define QSNAP_RESTORE_LOG "qemu.log"

struct _QsnapRestore
{
  QsnapSnapshot *snapshot;
  JsonObject *manifest;
  /* What the options said. */
  QsnapRestoreMethod wanted;
  GStrv given_command;
  char *given_program;
  gboolean start_paused;
  /* It is started by qsnap_restore_release(). */
  gboolean held;
  gboolean verify;
  /* The revert's directory, absolute. */
  char *path;
  QsnapSession *session;
  GCancellable *cancellable;

  /* Set by reading the snapshot. */
  int snapshot_fd;
  QsnapImage *image;

  /* Set by planning. */
  QsnapRestoreMethod method;
  QsnapCommand *command;
  /* QEMU's working directory; NULL: unknown, ours. */
  const char *working_directory;
  /* Where the modules of the captured QEMU are; NULL: where ours are, or another QEMU. */
  const char *module_dir;
  GPtrArray *warnings;
  /* Why it is not one of the methods that would have been better. */
  GString *refusals;
  /* QsnapRevertDisk, with their files and overlays in strings */
  GArray *disks;
  /* QsnapRevertBlock: those that have a file and may be mapped */
  GArray *blocks;
  /* No QEMU may write to the files that are mapped, not even by punching holes. */
  gboolean map_read_only;
  /* The files are copied for this revert, as the guest may punch holes. */
  gboolean map_copies;
  GPtrArray *strings;

  QsnapUndo *undo;
  int dir_fd;
  gboolean directory_made;
  int log_fd;
  QsnapQemu *qemu;
  QsnapWatch *watch;
  /* On demand. */
  QsnapServing *serving;

  gint64 began;
  gint64 ready;
  gint64 running;
};

/* Else the guest boots from its disks. */
gboolean qsnap_restore_has_memory (QsnapRestore *restore);

/* Checks what can be checked before anything is made. */
gboolean qsnap_restore_read (QsnapRestore *restore, GError **error);

/* One method less. */
void qsnap_restore_note_refusal (QsnapRestore *restore, const GError *refusal);

/* Decides on the method and adapts the command line to it. */
gboolean qsnap_restore_plan (QsnapRestore *restore, GError **error);

/* Directory, log, overlays, copies. */
gboolean qsnap_restore_make_files (QsnapRestore *restore, GError **error);
/* QEMU has opened the copies of the memory: their names are not needed any more. */
void qsnap_restore_unlink_copies (QsnapRestore *restore);
/* Whether a file of the snapshot's memory can be cloned to where the revert is. */
gboolean qsnap_restore_can_clone (QsnapRestore *restore);

/* Starts QEMU and connects to it. */
gboolean qsnap_restore_start (QsnapRestore *restore, GError **error);
/* Gives it the memory and lets the guest go on. */
gboolean qsnap_restore_load (QsnapRestore *restore, GError **error);

/* Whether the guest is not to run yet: it was paused when it was captured, or is wanted so. */
gboolean qsnap_restore_stays_paused (QsnapRestore *restore);

/* On demand: whether it can be, before QEMU is started. */
gboolean qsnap_restore_can_serve (QsnapRestore *restore, GError **error);
/* Once QEMU takes a postcopy migration, gives it one; returns when the guest runs. */
gboolean qsnap_restore_serve (QsnapRestore *restore, QsnapQmp *qmp, GError **error);

/* Compares the QEMU that is to be run with the one that was captured. What differs becomes a
 * warning, what cannot work an error. Sets map_read_only. */
gboolean qsnap_restore_check_program (QsnapRestore *restore, GError **error);

/* FALSE, with the error, if it was cancelled. */
gboolean qsnap_restore_go_on (QsnapRestore *restore, GError **error);

G_END_DECLS
