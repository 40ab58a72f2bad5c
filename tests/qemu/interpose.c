/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Loaded into qsnap and its saver by LD_PRELOAD, for what no proxy can do. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* QSNAP_TEST_PEER=PID: who is behind the proxy. */
int
getsockopt (int fd, int level, int option, void *value, socklen_t *length)
{
  int (*next) (int, int, int, void *, socklen_t *) = dlsym (RTLD_NEXT, "getsockopt");
  const char *peer = getenv ("QSNAP_TEST_PEER");
  int answer = next (fd, level, option, value, length);

  if (answer == 0 && peer != NULL && level == SOL_SOCKET && option == SO_PEERCRED)
    ((struct ucred *)value)->pid = atoi (peer);

  return answer;
}

/* QSNAP_TEST_SYNC=PROGRAM:N: the Nth time that this program syncs, the device fails; it is good
 * again after that. */
static int
sync_fails (void)
{
  static int n;
  const char *wanted = getenv ("QSNAP_TEST_SYNC");
  const char *colon = wanted != NULL ? strchr (wanted, ':') : NULL;
  size_t length = strlen (program_invocation_short_name);

  if (colon == NULL || (size_t)(colon - wanted) != length ||
      strncmp (wanted, program_invocation_short_name, length) != 0)
    return 0;

  return __atomic_add_fetch (&n, 1, __ATOMIC_SEQ_CST) == atoi (colon + 1);
}

/* QSNAP_TEST_SYNC_LOG=PATH: a line with the program's name each time. A saver cannot open it later,
 * as it is in its sandbox then, and would close it. */
static int log_fd = -1;

__attribute__ ((constructor)) static void
open_log (void)
{
  const char *path = getenv ("QSNAP_TEST_SYNC_LOG");

  if (path != NULL)
    log_fd = open (path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

int
close_range (unsigned first, unsigned last, int flags)
{
  int (*next) (unsigned, unsigned, int) = dlsym (RTLD_NEXT, "close_range");

  return log_fd >= 0 && flags == 0 ? 0 : next (first, last, flags);
}

static void
log_sync (void)
{
  char line[64] = "";

  if (log_fd < 0)
    return;

  strncpy (line, program_invocation_short_name, sizeof line - 2);
  strcat (line, "\n");
  if (write (log_fd, line, strlen (line)) < 0)
    abort ();
}

static int
sync_with (const char *function, int fd)
{
  int (*next) (int) = dlsym (RTLD_NEXT, function);

  log_sync ();
  if (sync_fails ())
    {
      errno = EIO;
      return -1;
    }

  return next (fd);
}

int
fsync (int fd)
{
  return sync_with ("fsync", fd);
}

int
fdatasync (int fd)
{
  return sync_with ("fdatasync", fd);
}
