/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <sys/types.h>

#include "disk/qsnap-disk-task.h"
#include "qsnap-agent.h"
#include "qsnap-capture.h"
#include "qsnap-guest.h"
#include "qsnap-journal.h"
#include "qsnap-undo.h"
#include "qsnap-watch.h"
#include "saver/qsnap-saver-client.h"

G_BEGIN_DECLS

/* Names of the descriptors in QEMU. The second is a copy of the pipe's read end: with it, QEMU's
 * stream cannot break even if every reader dies. */
#define QSNAP_STREAM_FD_NAME "qsnap-stream"
#define QSNAP_KEEP_FD_NAME "qsnap-keep"

typedef struct
{
  QsnapOperation *operation;
  QsnapSnapshotOptions *options;
  GCancellable *cancellable;
  /* NULL: it has no part in a group. */
  QsnapGroupMember *member;

  QsnapGuest *guest;
  /* The one that was made when the session's had ended. */
  QsnapQmpClient *second_client;
  /* guest's */
  QsnapQmp *qmp;
  QsnapWatch *watch;
  QsnapReport *report;
  /* Run only if the capture fails. */
  QsnapUndo *undo;
  /* Puts back what was changed for the time of the capture: run in any case, after undo. */
  QsnapUndo *settle;

  /* Eight hexadecimal digits in the names of nodes and overlays. */
  char *id;
  char *name;
  GFile *directory;
  char *path;
  int dir_fd;
  gboolean directory_made;
  /* Locked by us: what is in it may be removed. */
  gboolean directory_is_ours;
  mode_t directory_mode;
  QsnapJournal journal;
  /* QsnapDiskTask, as guest->drives */
  GPtrArray *tasks;

  /* NULL: the guest's file systems are not frozen. */
  QsnapAgent *agent;
  QsnapSaver *saver;
  /* The library's copy of the pipe's read end, to read on if the saver dies. */
  int stream_read;
  gint draining;
  gsize filler;
  gboolean gated;
  /* QEMU's migration waits there, and has not stopped the guest yet. */
  gboolean at_gate;
  /* The guest had stopped itself, and was started to leave the gate. */
  gboolean woken;
  /* The memory comes by a plain migration: of a guest that stands still, or of one that runs. */
  gboolean plain;
  gboolean live;
  gint64 max_bandwidth;

  /* Monotonic, microseconds. */
  gint64 stop_sent;
  gint64 stopped;
  gint64 disks_done;
  gint64 point_in_time;
  gint64 resumed;
  gint64 saved;
  /* Of QEMU's events: where in watch->run_events the pause begins, and when the guest stood still,
   * microseconds since the epoch. */
  guint first_event;
  guint first_event_after_disks;
  gint64 moment;

  gboolean copies_complete;
  gboolean point_in_time_told;

  /* As the manifest says it; NULL: there is none. */
  JsonObject *parent;
  QsnapSnapshot *snapshot;
  /* What a dead client knew of its snapshot; NULL if this is no recovery. */
  JsonObject *recovered;
} QsnapCapture;

/* The empty one, and the end of one that may be half made. */
void
qsnap_capture_init (QsnapCapture *capture, QsnapOperation *operation, GCancellable *cancellable);
void qsnap_capture_clear (QsnapCapture *capture);

/* Whether there is a migration at all, and whether it is a background snapshot. */
gboolean qsnap_capture_has_memory (QsnapCapture *capture);
gboolean qsnap_capture_is_background (QsnapCapture *capture);

/* One function a phase; each pushes the undo of what it does. */
gboolean qsnap_capture_prepare (QsnapCapture *capture, GError **error);
gboolean qsnap_capture_pause (QsnapCapture *capture, GError **error);
gboolean qsnap_capture_save (QsnapCapture *capture, GError **error);
gboolean qsnap_capture_seal (QsnapCapture *capture, GError **error);

/* For a capture that a dead client left: pushes what takes its preparation back, without the
 * overlays. max_bandwidth is negative where it was not changed. */
void qsnap_capture_push_prepared (QsnapCapture *capture);

/* The same for its migration, if there is one. */
void qsnap_capture_push_migration (QsnapCapture *capture);

/* Sets parent. */
void qsnap_capture_find_parent (QsnapCapture *capture);

/* What is to be done with @drive. */
QsnapDiskTask *qsnap_capture_add_task (QsnapCapture *capture, QsnapDrive *drive);

/* Pushes what puts the migration capabilities back. */
void qsnap_capture_settle_capabilities (QsnapCapture *capture);
void qsnap_capture_settle_probe (QsnapCapture *capture);

/* The guest's file systems, around a pause. A thaw that fails is tried again when QEMU is put back.
 */
gboolean qsnap_capture_freeze (QsnapCapture *capture, GError **error);
void qsnap_capture_thaw (QsnapCapture *capture);
/* For what a dead client froze. */
void qsnap_capture_settle_agent (QsnapCapture *capture, const char *address);

/* Right after the transaction: from here on a base must not change. */
gboolean qsnap_capture_note_bases (QsnapCapture *capture, GError **error);

/* Tells how far the copies of disks are. @done: whether all are complete. */
gboolean qsnap_capture_poll_copies (QsnapCapture *capture, gboolean *done, GError **error);
gboolean qsnap_capture_wait_for_copies (QsnapCapture *capture, GError **error);

/* A guest that QEMU stopped, as its overlay had no room, goes on in its base. */
void qsnap_capture_resume_after_full_disk (QsnapCapture *capture);

/* What a guest asked for while its shutdown was held is carried out. */
void qsnap_capture_carry_out_wish (QsnapCapture *capture);

/* What the caller wants to become of it is carried out. */
void qsnap_capture_leave_guest (QsnapCapture *capture);

/* After the seal: whoever brings the snapshot back, or deletes it, need not wait for what still is
 * done for the guest. */
void qsnap_capture_let_go_of_directory (QsnapCapture *capture);

/* If it is wanted and can be done; the snapshot is there already. The second lets go of its
 * directory. */
void qsnap_capture_share_pages (QsnapCapture *capture);
void qsnap_capture_give_huge_pages_back (QsnapCapture *capture);

/* If it is wanted: what stands before the latest snapshots in the guest's chain is deleted. */
void qsnap_capture_limit_chain (QsnapCapture *capture);

/* What is known of the snapshot so far, for its manifest. */
JsonObject *qsnap_capture_describe (QsnapCapture *capture, JsonObject *memory);

JsonObject *qsnap_capture_describe_disk (QsnapDrive *drive, const char *directory);

/* Removes what the capture wrote there, the journal too. */
gboolean qsnap_capture_check_directory (QsnapCapture *capture, GError **error);
gboolean qsnap_capture_remove_directory (QsnapCapture *capture, GError **error);

/* Parts of the pause. The second: @left_ms are left of it, at least one; 0: there is no limit.
 * FALSE, with the error, where none is left. */
gboolean qsnap_capture_stop_guest (QsnapCapture *capture, GError **error);
gboolean qsnap_capture_check_pause (QsnapCapture *capture, gint *left_ms, GError **error);

/* Where all guests of a group wait for each other; what each has noted by then, the others may
 * read. TRUE at once where there is no group. */
gboolean qsnap_capture_meet (QsnapCapture *capture, QsnapMeeting meeting, GError **error);

/* From here on the run state is its owner's business again. A guest that stays paused for us goes
 * on if its capture fails. */
void qsnap_capture_hand_back (QsnapCapture *capture);

/* What the saver has reported is told on. */
void qsnap_capture_tell_progress (QsnapCapture *capture);

/* FALSE, with the error, if the operation was cancelled. */
gboolean qsnap_capture_go_on (QsnapCapture *capture, GError **error);

/* --- of the migration ---------------------------------------------------------------------- */

/* Pushes what ends it again. */
gboolean qsnap_capture_start_migration (QsnapCapture *capture, GError **error);

/* FALSE, with the error, if QEMU's migration is not of the kind that was asked for. */
gboolean qsnap_capture_check_capabilities (QsnapCapture *capture, GError **error);

/* FALSE, with the error, if the saver or QEMU's migration has failed. */
gboolean qsnap_capture_check_stream (QsnapCapture *capture, GError **error);

/* Waits until QEMU's migration has ended well; after a plain migration the guest goes on then, or
 * is paused again. */
gboolean qsnap_capture_finish_migration (QsnapCapture *capture, GError **error);

/* Starts a migration that saves the memory of a guest that runs, until QEMU has stopped the guest
 * for the rest. */
gboolean qsnap_capture_approach_end (QsnapCapture *capture, GError **error);
/* After the transaction: saves the rest. Undone, it ends before the disks are put back. */
gboolean qsnap_capture_save_rest (QsnapCapture *capture, GError **error);

/* Starts the migration, and waits until it has come to the gate. */
gboolean qsnap_capture_approach_gate (QsnapCapture *capture, GError **error);

/* Before a gate is opened, of a run that is thrown away: makes sure that QEMU can stop the guest.
 */
void qsnap_capture_wake_at_gate (QsnapCapture *capture);
/* After it. */
void qsnap_capture_stop_woken (QsnapCapture *capture);

/* FALSE, with the error, if the guest ran between disks and memory. */
gboolean qsnap_capture_judge_run (QsnapCapture *capture, GError **error);

/* Nothing of the stream is wanted any more; it is read to its end, whatever the saver does. */
void qsnap_capture_drain (QsnapCapture *capture);

/* --- of the connection --------------------------------------------------------------------- */

/* A connection that tells only @watch. @stream may be NULL. */
QsnapQmpClient *
qsnap_capture_connect (const char *address, QsnapWatch *watch, GIOStream **stream, GError **error);

/* Where the connection has ended but QEMU lives, makes another one, so that what was changed can be
 * put back. Sets qmp->gone where there is no QEMU any more. */
void qsnap_capture_reconnect (QsnapCapture *capture);

/* qsnap_undo_run(); if the connection ends meanwhile, what is left is done over another one. */
gboolean qsnap_capture_run_undo (QsnapCapture *capture, QsnapUndo *undo, GError **error);

G_END_DECLS
