/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* A QEMU process that we started. It does not end with us, nor with our terminal. */
typedef struct _QsnapQemu QsnapQemu;

/* Without a shell, with nothing on its standard input, and with what it prints in @log_fd (which
 * stays the caller's). @directory is its working directory, @module_dir where its modules are;
 * NULL: as we have it. */
QsnapQemu *qsnap_qemu_start (const char *const *arguments,
                             const char *directory,
                             const char *module_dir,
                             int log_fd,
                             GError **error);
QsnapQemu *qsnap_qemu_ref (QsnapQemu *qemu);
/* Leaves the process alone. */
void qsnap_qemu_unref (QsnapQemu *qemu);

GPid qsnap_qemu_get_pid (QsnapQemu *qemu);
gboolean qsnap_qemu_has_ended (QsnapQemu *qemu);

/* Waits for its end; FALSE after @timeout_ms, or with the error where that was cancelled. */
gboolean
qsnap_qemu_wait (QsnapQemu *qemu, guint timeout_ms, GCancellable *cancellable, GError **error);

void qsnap_qemu_terminate (QsnapQemu *qemu);
/* SIGKILL: a hung QEMU hears nothing else. Waits until it is gone. */
void qsnap_qemu_kill (QsnapQemu *qemu);

/* How it ended, for a message: "ended with status 1", "was killed by signal 11". */
char *qsnap_qemu_describe_end (QsnapQemu *qemu);

/* The end of what it printed into its log, in one line; "" if it said nothing. */
char *qsnap_qemu_last_words (int log_fd);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapQemu, qsnap_qemu_unref)

G_END_DECLS
