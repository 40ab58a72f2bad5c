/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock as a program: how it is called, and what it reported. */

#pragma once

#include "fixture.h"

G_BEGIN_DECLS

/* More than a block that lies in the state of the snapshot has. */
#define PROCESS_RAM_SIZE (24 * 1024 * 1024)

/* A fixture as fixture_set_up() makes it, whose RAM gets a file of its own; sets the environment of
 * the programs that are started from now on. */
void process_set_up (Fixture *fixture, MockStyle style, guint n_drives);
void process_clear (Fixture *fixture);
/* NULL: none. */
void process_set_fault (const char *fault);

/* The command line of a guest on the fixture's drives. @memory is the -object, without its id and
 * size, "memory-backend-ram" for example. */
GStrv process_dup_command (Fixture *fixture, const char *memory, guint n_drives);

/* Options for a revert to that command line. */
QsnapRestoreOptions *process_options (Fixture *fixture,
                                      QsnapRestoreMethod method,
                                      const char *memory,
                                      guint n_drives);
/* Synchronously; has to succeed, and the guest of the session is checked. */
QsnapSession *process_restore_well (Fixture *fixture,
                                    QsnapSnapshot *snapshot,
                                    QsnapRestoreOptions *options);

/* A revert that was started asynchronously. */
typedef struct
{
  gboolean done;
  QsnapSession *session;
  GError *error;
  /* Where the callback came. */
  GThread *thread;
} ProcessResult;

void process_start_restore (QsnapSnapshot *snapshot,
                            QsnapRestoreOptions *options,
                            GCancellable *cancellable,
                            ProcessResult *result);
void process_wait_result (ProcessResult *result);

/* "running", … */
char *process_dup_state (QsnapSession *session);
/* Ends the guest of the session, which is dropped. */
void process_quit (Fixture *fixture, QsnapSession *session);

/* What a revert that failed must not have changed: all files but the report, and the snapshot. */
char *process_describe (Fixture *fixture);
/* No program that was started is there any more. */
void process_assert_all_gone (Fixture *fixture);

/* Adds one argument. */
void process_add (GStrvBuilder *builder, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* The values of @key, "argv" for example, in the report of the process @pid; 0: of all. */
GStrv process_dup_report (Fixture *fixture, int pid, const char *key);
/* The same in one text, separated by "; ". */
char *process_join_report (Fixture *fixture, int pid, const char *key);
/* All processes that were started, "guest" or "probe". */
GArray *process_list_pids (Fixture *fixture, const char *kind);
/* It ends soon, and is nobody's zombie. */
gboolean process_is_gone (int pid);
/* Until the last process of @kind has reported it. */
void process_wait_report (Fixture *fixture, const char *kind, const char *key, const char *text);

G_END_DECLS
