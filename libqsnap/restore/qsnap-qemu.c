/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-process.h"

#define BLIND_POLL_US (10 * 1000)

#define MAX_WORDS 2000

/* Reference counted: the session has it, and who is just waiting for its end. */
struct _QsnapQemu
{
  /* Reaps it, even if nobody else does. */
  GSubprocess *process;
  GPid pid;
  int pidfd;
};

/* Its own session: Ctrl-C in our terminal, or its end, is not for the guest. And what we, or who
 * started us (nohup), ignore is not for QEMU to ignore. */
static void
leave_terminal (gpointer data)
{
  setsid ();
  for (int i = 1; i < SIGRTMIN; i++)
    (void)signal (i, SIG_DFL);
}

static gboolean
give_log (GSubprocessLauncher *launcher, int log_fd, GError **error)
{
  int out = fcntl (log_fd, F_DUPFD_CLOEXEC, 3);
  int err = fcntl (log_fd, F_DUPFD_CLOEXEC, 3);

  if (out < 0 || err < 0)
    {
      qsnap_io_fail (error, errno, "cannot pass the log to QEMU");
      if (out >= 0)
        close (out);
      return FALSE;
    }

  g_subprocess_launcher_take_stdout_fd (launcher, out);
  g_subprocess_launcher_take_stderr_fd (launcher, err);

  return TRUE;
}

static void
clear_qemu (gpointer data)
{
  QsnapQemu *qemu = data;

  g_clear_object (&qemu->process);
  if (qemu->pidfd >= 0)
    close (qemu->pidfd);
}

QsnapQemu *
qsnap_qemu_start (const char *const *arguments,
                  const char *directory,
                  const char *module_dir,
                  int log_fd,
                  GError **error)
{
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_NONE);
  g_autoptr (GSubprocess) process = NULL;
  const char *identifier;
  QsnapQemu *qemu;

  g_subprocess_launcher_set_child_setup (launcher, leave_terminal, NULL, NULL);
  if (directory != NULL)
    g_subprocess_launcher_set_cwd (launcher, directory);
  if (module_dir != NULL)
    g_subprocess_launcher_setenv (launcher, QSNAP_PROCESS_MODULE_DIR, module_dir, TRUE);
  if (!give_log (launcher, log_fd, error))
    return NULL;

  process = g_subprocess_launcher_spawnv (launcher, arguments, error);
  if (process == NULL)
    return NULL;

  qemu = g_atomic_rc_box_new0 (QsnapQemu);
  qemu->process = g_steal_pointer (&process);
  qemu->pidfd = -1;
  /* NULL if it has ended already. */
  identifier = g_subprocess_get_identifier (qemu->process);
  if (identifier != NULL)
    {
      qemu->pid = (GPid)g_ascii_strtoll (identifier, NULL, 10);
      qemu->pidfd = (int)syscall (SYS_pidfd_open, qemu->pid, 0);
    }

  return qemu;
}

QsnapQemu *
qsnap_qemu_ref (QsnapQemu *qemu)
{
  return g_atomic_rc_box_acquire (qemu);
}

void
qsnap_qemu_unref (QsnapQemu *qemu)
{
  g_atomic_rc_box_release_full (qemu, clear_qemu);
}

GPid
qsnap_qemu_get_pid (QsnapQemu *qemu)
{
  return qemu->pid;
}

gboolean
qsnap_qemu_has_ended (QsnapQemu *qemu)
{
  struct pollfd ended = { .fd = qemu->pidfd, .events = POLLIN };

  /* An old kernel has no pidfd; GLib hears of the end a moment later. */
  if (qemu->pidfd < 0)
    return g_subprocess_get_identifier (qemu->process) == NULL;

  return poll (&ended, 1, 0) == 1;
}

gboolean
qsnap_qemu_wait (QsnapQemu *qemu, guint timeout_ms, GCancellable *cancellable, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + (gint64)timeout_ms * 1000;
  GPollFD fds[2] = { { .fd = qemu->pidfd, .events = G_IO_IN } };
  gboolean cancel_fd = g_cancellable_make_pollfd (cancellable, &fds[1]);

  while (!qsnap_qemu_has_ended (qemu))
    {
      gint64 left = deadline - g_get_monotonic_time ();

      if (left <= 0 || g_cancellable_is_cancelled (cancellable))
        break;
      if (qemu->pidfd < 0)
        left = MIN (left, BLIND_POLL_US);
      (void)g_poll (fds, cancel_fd ? 2 : 1, (gint)(left / 1000 + 1));
    }

  if (cancel_fd)
    g_cancellable_release_fd (cancellable);
  if (qsnap_qemu_has_ended (qemu))
    return TRUE;

  (void)g_cancellable_set_error_if_cancelled (cancellable, error);

  return FALSE;
}

void
qsnap_qemu_terminate (QsnapQemu *qemu)
{
  g_subprocess_send_signal (qemu->process, SIGTERM);
}

void
qsnap_qemu_kill (QsnapQemu *qemu)
{
  g_subprocess_force_exit (qemu->process);
  (void)g_subprocess_wait (qemu->process, NULL, NULL);
}

char *
qsnap_qemu_describe_end (QsnapQemu *qemu)
{
  (void)g_subprocess_wait (qemu->process, NULL, NULL);

  if (g_subprocess_get_if_signaled (qemu->process))
    return g_strdup_printf ("was killed by signal %d", g_subprocess_get_term_sig (qemu->process));

  return g_strdup_printf ("ended with status %d", g_subprocess_get_exit_status (qemu->process));
}

char *
qsnap_qemu_last_words (int log_fd)
{
  char text[MAX_WORDS + 1] = "";
  off_t size = lseek (log_fd, 0, SEEK_END);
  off_t start = MAX (size - MAX_WORDS, 0);
  gssize n = pread (log_fd, text, MAX_WORDS, start);

  text[MAX (n, 0)] = '\0';
  for (char *p = text; *p != '\0'; p++)
    if (*p == '\n' || *p == '\r')
      *p = ' ';

  return g_utf8_make_valid (g_strstrip (text), -1);
}
