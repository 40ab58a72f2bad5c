/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-guest.h"

G_BEGIN_DECLS

/* journal.json, in the snapshot's directory while a capture runs: what a client that died would
 * have to finish or undo. What is planned is written before the first change; each step adds what
 * it came to know. Its layout is in docs/file-format.md. */

#define QSNAP_JOURNAL_FILE "journal.json"

/* Flags. It is being undone, and must not be sealed any more; the guest was stopped by an undo; it
 * was paused, and stood still until all its memory had come; all jobs that copy disks have ended
 * well; all copies of disks are complete. Of an overlay: the guest writes to its base again. */
#define QSNAP_JOURNAL_UNDOING "undoing"
#define QSNAP_JOURNAL_STOPPED "stopped-to-merge"
#define QSNAP_JOURNAL_STAYED_PAUSED "stayed-paused"
#define QSNAP_JOURNAL_JOBS_ENDED "jobs-ended"
#define QSNAP_JOURNAL_COPIED "copied"
#define QSNAP_JOURNAL_MERGED "merged"

typedef struct
{
  int dir_fd;
  /* Of the file that was read. */
  uid_t owner;
  JsonObject *json;
} QsnapJournal;

/* What is done with @guest's disks has been planned. */
gboolean qsnap_journal_start (QsnapJournal *journal,
                              int dir_fd,
                              gboolean directory_made,
                              const char *id,
                              const char *name,
                              const char *address,
                              const char *agent,
                              QsnapGuest *guest,
                              GError **error);

/* Adds a member, or replaces it; written with the next step. @value is taken. */
void qsnap_journal_note (QsnapJournal *journal, const char *name, JsonNode *value);

/* What must be known from now on, in the same step. Where it cannot be written, for want of room,
 * it is not. A journal that was not started is left alone. */
void qsnap_journal_flag (QsnapJournal *journal, const char *name);

/* The same for @drive->merged. */
void qsnap_journal_note_merged (QsnapJournal *journal, QsnapDrive *drive);

/* What is left is nobody's any more, though the client lives on. */
void qsnap_journal_let_go (QsnapJournal *journal);

/* "preparing", "pausing", "saving", "sealing" */
gboolean qsnap_journal_step (QsnapJournal *journal, const char *step, GError **error);

/* The journal that was left in a directory. Its members are checked: what does not fit is
 * QSNAP_ERROR_CORRUPT, and no journal G_IO_ERROR_NOT_FOUND. */
gboolean qsnap_journal_read (QsnapJournal *journal, int dir_fd, GError **error);

/* Whether the library names an overlay of the capture so: STEM.qsnap-ID.qcow2. */
gboolean qsnap_journal_chose_name (const char *path, const char *id);

gboolean qsnap_journal_remove (QsnapJournal *journal, GError **error);
void qsnap_journal_clear (QsnapJournal *journal);

G_END_DECLS
