/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In the saver's place: says what $QSNAP_HOSTILE_SAVER wants, writes nothing, and reads the stream
 * to its end, so that the guest goes on. */

#include "config.h"

#include <glib.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONTROL_FD 3
#define STREAM_FD 4
#define N_FDS 250

static void
say_bytes (const char *text, gsize length)
{
  (void)!send (CONTROL_FD, text, length, MSG_NOSIGNAL);
}

static void
say (const char *kind)
{
  g_autofree char *text = g_strdup_printf ("{\"report\": \"%s\"}", kind);

  say_bytes (text, strlen (text));
}

static void
say_progress (gint64 done, gint64 total)
{
  g_autofree char *text =
      g_strdup_printf ("{\"report\": \"progress\", \"bytes-done\": %" G_GINT64_FORMAT
                       ", \"bytes-total\": %" G_GINT64_FORMAT "}",
                       done, total);

  say_bytes (text, strlen (text));
}

static void
say_with_fds (void)
{
  char space[CMSG_SPACE (N_FDS * sizeof (int))] = { 0 };
  struct cmsghdr *control = (struct cmsghdr *)space;
  char text[] = "{}";
  struct iovec vector = { text, strlen (text) };
  struct msghdr message = {
    .msg_iov = &vector, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space
  };

  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN (N_FDS * sizeof (int));
  for (guint i = 0; i < N_FDS; i++)
    memcpy (CMSG_DATA (control) + i * sizeof (int), &(int){ STREAM_FD }, sizeof (int));
  (void)!sendmsg (CONTROL_FD, &message, MSG_NOSIGNAL);
}

static void
say_garbage (void)
{
  static const char *const garbage[] = { "",
                                         "x",
                                         "[]",
                                         "{\"report\": 1}",
                                         "{\"report\": \"no such\"}",
                                         "{\"report\": \"progress\", \"bytes-done\": \"x\"}",
                                         "{\"report\": \"progress\", \"bytes-done\": -1}",
                                         "{\"report\": \"ready\"}",
                                         "{\"report\": null, \"report\": []}",
                                         "\xff\xfe" };
  g_autofree char *deep = g_strnfill (60000, '[');

  for (guint i = 1; i < G_N_ELEMENTS (garbage); i++)
    say_bytes (garbage[i], strlen (garbage[i]));
  say_bytes (deep, strlen (deep));
  say_progress (G_MAXINT64, G_MININT64);
  for (guint i = 0; i < 40; i++)
    say_with_fds ();
}

/* Until the stream has ended. */
static void
drain (gboolean flood)
{
  static char data[65536];
  struct pollfd stream = { .fd = STREAM_FD, .events = POLLIN };

  for (gint64 n = 1;; n++)
    {
      if (flood)
        say_progress (n, n / 2);
      if (poll (&stream, 1, flood ? 0 : -1) > 0 && read (STREAM_FD, data, sizeof data) <= 0)
        return;
    }
}

/* More than what comes before the pages: a first page that is told of before QEMU has stopped the
 * guest ends the capture. */
static void
wait_for_pages (void)
{
  static char data[4096];
  gssize n = 1;

  for (gssize total = 0; n > 0 && total < 4 * (gssize)sizeof data; total += n)
    n = read (STREAM_FD, data, sizeof data);
}

static void
fail_twice (void)
{
  say ("failed");
  say ("failed");
  say ("saved");
}

int
main (void)
{
  const char *deed = g_getenv ("QSNAP_HOSTILE_SAVER");
  gboolean flood = g_str_equal (deed, "flood");
  char go[8192];

  say ("ready");
  (void)!recv (CONTROL_FD, go, sizeof go, 0);
  if (g_str_equal (deed, "garbage"))
    say_garbage ();
  if (g_str_equal (deed, "fail-twice"))
    fail_twice ();
  if (flood)
    wait_for_pages ();
  say ("first-page");
  if (g_str_equal (deed, "saved-early"))
    say ("saved");
  drain (flood);
  say (g_str_equal (deed, "no-end") ? "first-page" : "saved");
  say ("saved");
  say ("drained");

  return EXIT_SUCCESS;
}
