/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "disk/qsnap-drive.h"
#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-process.h"
#include "qsnap-report-private.h"

G_BEGIN_DECLS

/* What was found out about a guest before anything of it is changed. */
typedef struct
{
  QsnapQmp qmp;
  QsnapProcess *process;

  gint64 major;
  gint64 minor;
  char *version;
  char *machine;
  char *name;
  char *uuid;
  gint64 ram_size;
  gint64 n_vcpus;

  /* What is to be done; a fallback has been decided on. */
  QsnapSnapshotMode mode;
  QsnapLeave leave;

  char *run_state;
  gboolean was_running;
  /* libvirt has started it. */
  gboolean managed;
  /* QsnapDrive */
  GPtrArray *drives;
  /* What the manifest says of the read-only ones. */
  JsonArray *read_only;
  /* Capability name → its state as it was found; those that have to be changed for the capture are
   * in wanted_capabilities with the state that is needed. */
  GHashTable *capabilities;
  GHashTable *wanted_capabilities;
  /* The trial got no answer: they may be switched. */
  gboolean capabilities_uncertain;
  /* So may be the pipe that was sent to see whether the peer is QEMU. */
  gboolean probe_uncertain;
  /* What QEMU does when the guest shuts down, and whether it ends when the guest panics: there is
   * no command that tells it. */
  const char *shutdown_action;
  gboolean ends_on_panic;
  /* It is to get its huge pages back after the capture, and that can be done. */
  gboolean gets_huge_pages;
  /* Its snapshot is to share pages with the parent's, and the file system can do that. */
  gboolean shares_pages;
} QsnapGuest;

QsnapGuest *qsnap_guest_new (QsnapQmpClient *client, GIOStream *stream, guint timeout_ms);
/* One whose QEMU has ended. */
QsnapGuest *qsnap_guest_new_gone (void);
void qsnap_guest_free (QsnapGuest *guest);

/* Of the capabilities that have to be changed, the state that they were found in. */
GHashTable *qsnap_guest_found_capabilities (QsnapGuest *guest);

/* 7.2 starts the guest at the end of the pause of a background snapshot, even one that its owner
 * had paused; 10 restores the run state that it found. Versions in between were not measured and
 * are taken for the former. */
gboolean qsnap_guest_snapshot_resumes (QsnapGuest *guest);

/* Whether the guest runs, and is to run again right after the point in time. */
gboolean qsnap_guest_goes_on (QsnapGuest *guest);

/* Whether the memory is saved by a plain migration of a guest that stands still: it is wanted so,
 * or a background snapshot would start a guest that is not to run. */
gboolean qsnap_guest_needs_plain_migration (QsnapGuest *guest);

/* Whether it is saved by a plain migration of a guest that runs. */
gboolean qsnap_guest_is_saved_live (QsnapGuest *guest);

/* Under TCG 7.2 now and then misses that a page was written while a migration reads it; 10 does not.
 * Versions in between were not measured, and are taken for the former. */
gboolean qsnap_guest_loses_emulated_writes (QsnapGuest *guest);

/* 7.2 writes the stream's headers before it takes its big lock: a full pipe holds it there, with
 * QMP alive and all RAM read. Measured for this version only. */
gboolean qsnap_guest_has_gate (QsnapGuest *guest);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapGuest, qsnap_guest_free)

G_END_DECLS
