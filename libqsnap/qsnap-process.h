/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <sys/stat.h>

G_BEGIN_DECLS

/* What /proc tells of the QEMU process at the other end of a unix socket. All of it is a help, none
 * is needed: a QEMU of another user, or in another container, cannot be looked at, and the
 * functions then say so by their "unknown" value. */

/* The variable that tells a QEMU which is not installed where its modules are. */
#define QSNAP_PROCESS_MODULE_DIR "QEMU_MODULE_DIR"

typedef struct
{
  /* 0: unknown, all else below is unset then. */
  GPid pid;
  /* Becomes readable when it ends; -1: unknown. */
  int pidfd;
  char *directory;
  GStrv command_line;
  /* Where the program is, through /proc, so that it is found even if it was replaced. A QEMU that
   * runs through a dynamic loader has the loader's. */
  char *program;
  /* Of its environment, which may hold secrets, only where its modules are. NULL: not set. */
  char *module_dir;
} QsnapProcess;

/* The process that listens at the peer's end of @stream; whether that is QEMU has to be proven by
 * qsnap_process_prove(), as a launcher (libvirt) may have made the socket. */
QsnapProcess *qsnap_process_new_for_stream (GIOStream *stream);
QsnapProcess *qsnap_process_new_unknown (void);
void qsnap_process_free (QsnapProcess *process);

/* FALSE, with the error, if it cannot be looked at. */
gboolean qsnap_process_check_known (QsnapProcess *process, GError **error);

/* Forgets the process unless it has the file of @fd open, which was sent to QEMU just before. */
void qsnap_process_prove (QsnapProcess *process, int fd);

typedef enum
{
  QSNAP_OPEN_UNKNOWN,
  QSNAP_OPEN_NO,
  QSNAP_OPEN_YES
} QsnapOpenState;

QsnapOpenState qsnap_process_has_open (QsnapProcess *process, const struct stat *file);

/* When it started, in the kernel's ticks since boot: with the id it names a process for good. 0:
 * there is no such process, or @pid is 0. */
gint64 qsnap_process_start_time (GPid pid);

/* Whether the process that @record has noted, by its id and when it started, is there. */
gboolean qsnap_process_is_alive (JsonObject *record, const char *pid_name, const char *start_name);

/* The number of a descriptor of @pid: @kind ("pipe", "socket") and @inode, open with @access (one
 * of the O_ACCMODE). -1: there is none, or the process cannot be looked at. */
int qsnap_process_find_descriptor (GPid pid, const char *kind, guint64 inode, int access);

/* Whether the process has ended; FALSE where that is unknown. */
gboolean qsnap_process_has_ended (QsnapProcess *process);

/* Bytes of RAM that the process uses, file mappings not counted; -1: unknown. */
gint64 qsnap_process_resident_bytes (QsnapProcess *process);

/* Whether the command line has @option (without its dash); @value as part of its argument unless
 * NULL. */
gboolean qsnap_process_has_option (QsnapProcess *process, const char *option, const char *value);

/* The ids of all threads now; NULL: unknown. */
GHashTable *qsnap_process_threads (QsnapProcess *process);

/* Whether a thread that is not in @known sleeps in a write to a pipe (or, where the kernel does not
 * tell in what, sleeps). */
gboolean qsnap_process_new_thread_sleeps (QsnapProcess *process, GHashTable *known);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapProcess, qsnap_process_free)

G_END_DECLS
