/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-guest.h"

G_BEGIN_DECLS

/* journal.json, in the snapshot's directory while a capture runs: what a client that died would
 * have to finish or undo. All of it is planned, and written, before the first change; later only
 * the step changes. Its layout is in docs/file-format.md. */

#define QSNAP_JOURNAL_FILE "journal.json"

typedef struct
{
  int dir_fd;
  JsonObject *json;
} QsnapJournal;

/* @guest's overlays have been planned. */
gboolean qsnap_journal_start (QsnapJournal *journal,
                              int dir_fd,
                              const char *id,
                              const char *name,
                              const char *address,
                              QsnapGuest *guest,
                              GError **error);

/* "preparing", "pausing", "saving", "sealing" */
gboolean qsnap_journal_step (QsnapJournal *journal, const char *step, GError **error);

gboolean qsnap_journal_remove (QsnapJournal *journal, GError **error);
void qsnap_journal_clear (QsnapJournal *journal);

G_END_DECLS
