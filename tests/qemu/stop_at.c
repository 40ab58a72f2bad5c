/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Preloaded into the qsnap command (and so into its saver): stops the process, with SIGSTOP, at a
 * step that QSNAP_STOP_AT names: before:WHAT or after:WHAT, and :N for the Nth time. WHAT is a QMP
 * command, or the name that a file of the snapshot gets. What to do to it then is the test's. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct
{
  char when[8];
  char what[64];
  int number;
} Point;

static atomic_int seen;

static bool
read_point (Point *point)
{
  const char *text = getenv ("QSNAP_STOP_AT");

  point->number = 1;

  return text != NULL &&
         sscanf (text, "%7[^:]:%63[^:]:%d", point->when, point->what, &point->number) >= 2;
}

static bool
says (const void *data, size_t size, const char *what)
{
  char wanted[96];

  snprintf (wanted, sizeof wanted, "\"execute\":\"%s\"", what);

  return memmem (data, size, wanted, strlen (wanted)) != NULL;
}

static bool
message_says (const struct msghdr *message, const char *what)
{
  for (size_t i = 0; i < message->msg_iovlen; i++)
    if (says (message->msg_iov[i].iov_base, message->msg_iov[i].iov_len, what))
      return true;

  return false;
}

static void
stop_if (const Point *point, const char *when, int count)
{
  if (count == point->number && strcmp (point->when, when) == 0)
    raise (SIGSTOP); /* this very thread goes no further */
}

ssize_t
sendmsg (int fd, const struct msghdr *message, int flags)
{
  ssize_t (*real) (int, const struct msghdr *, int) = dlsym (RTLD_NEXT, "sendmsg");
  Point point;
  int count;
  ssize_t sent;

  if (!read_point (&point) || !message_says (message, point.what))
    return real (fd, message, flags);

  count = ++seen;
  stop_if (&point, "before", count);
  sent = real (fd, message, flags);
  stop_if (&point, "after", count);

  return sent;
}

ssize_t
send (int fd, const void *data, size_t size, int flags)
{
  ssize_t (*real) (int, const void *, size_t, int) = dlsym (RTLD_NEXT, "send");
  Point point;
  int count;
  ssize_t sent;

  if (!read_point (&point) || !says (data, size, point.what))
    return real (fd, data, size, flags);

  count = ++seen;
  stop_if (&point, "before", count);
  sent = real (fd, data, size, flags);
  stop_if (&point, "after", count);

  return sent;
}

int
renameat (int from_dir, const char *from, int to_dir, const char *to)
{
  int (*real) (int, const char *, int, const char *) = dlsym (RTLD_NEXT, "renameat");
  Point point;
  int count, status;

  if (!read_point (&point) || strcmp (to, point.what) != 0)
    return real (from_dir, from, to_dir, to);

  count = ++seen;
  stop_if (&point, "before", count);
  status = real (from_dir, from, to_dir, to);
  stop_if (&point, "after", count);

  return status;
}
