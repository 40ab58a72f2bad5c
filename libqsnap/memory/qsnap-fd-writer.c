/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-fd-writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "memory/qsnap-io.h"

/* Does not wait, where the kernel has a way to say so for this one call. */
static gssize
write_some (int fd, mode_t type, const guint8 *data, gsize len)
{
  struct iovec vector = { (void *)data, len };
  gssize n;

  if (type == S_IFSOCK)
    return send (fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (type == S_IFIFO)
    {
      n = pwritev2 (fd, &vector, 1, -1, RWF_NOWAIT);
      if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
        return n;
    }
  return write (fd, data, len);
}

static gboolean
wait_writable (int fd, GCancellable *cancellable, GError **error)
{
  struct pollfd fds[2] = { { .fd = fd, .events = POLLOUT }, { .fd = -1, .events = POLLIN } };
  GPollFD cancel_fd;
  int saved_errno = 0;

  /* There is no descriptor without a cancellable; poll() passes over -1. */
  if (g_cancellable_make_pollfd (cancellable, &cancel_fd))
    fds[1].fd = cancel_fd.fd;
  if (poll (fds, G_N_ELEMENTS (fds), -1) < 0 && errno != EINTR)
    saved_errno = errno;
  if (fds[1].fd >= 0)
    g_cancellable_release_fd (cancellable);
  if (saved_errno != 0)
    return qsnap_io_fail (error, saved_errno, "Could not wait for the reader of the stream");
  return !g_cancellable_set_error_if_cancelled (cancellable, error);
}

static gboolean
write_all (int fd, const guint8 *data, gsize len, GCancellable *cancellable, GError **error)
{
  struct stat info;

  if (fstat (fd, &info) != 0)
    return qsnap_io_fail (error, errno, "Could not write the stream");
  while (len > 0)
    {
      gssize n;

      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;
      n = write_some (fd, info.st_mode & S_IFMT, data, len);
      if (n >= 0)
        {
          data += n;
          len -= n;
        }
      else if (errno == EAGAIN)
        {
          if (!wait_writable (fd, cancellable, error))
            return FALSE;
        }
      else if (errno != EINTR)
        return qsnap_io_fail (error, errno, "Could not write the stream");
    }
  return TRUE;
}

/* SIGPIPE would end the application. Its disposition is the application's own, so the signal is
 * held back in this thread and taken away, unless one was there before. */
gboolean
qsnap_fd_write (int fd, const guint8 *data, gsize len, GCancellable *cancellable, GError **error)
{
  const struct timespec now = { 0, 0 };
  sigset_t pipe_only, before, pending;
  gboolean was_pending, ok;

  sigemptyset (&pipe_only);
  sigaddset (&pipe_only, SIGPIPE);
  sigemptyset (&pending);
  sigpending (&pending);
  was_pending = sigismember (&pending, SIGPIPE) == 1;
  pthread_sigmask (SIG_BLOCK, &pipe_only, &before);

  ok = write_all (fd, data, len, cancellable, error);

  if (!ok && !was_pending)
    while (sigtimedwait (&pipe_only, NULL, &now) < 0 && errno == EINTR)
      ;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return ok;
}
