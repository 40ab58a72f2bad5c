/* SPDX-License-Identifier: LGPL-2.1-or-later */

#define _GNU_SOURCE
#include "peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_LINKS 4
#define MAX_PORTS 16
#define RETRY_NS 5000000

typedef struct
{
  int fd;
  _Atomic uint64_t sent; /* counted before it is written: it is never less than what can have been received */
  _Atomic uint64_t received;
} Link;

static Link links[MAX_LINKS];
static unsigned n_links;

static void
wait_a_little (void)
{
  const struct timespec time = { 0, RETRY_NS };

  nanosleep (&time, NULL);
}

/* A port whose other end is not there yet has nothing to read. */
static void
read_number (Link *link, uint64_t *number)
{
  size_t n_read = 0;

  while (n_read < sizeof *number)
    {
      ssize_t n = read (link->fd, (char *) number + n_read, sizeof *number - n_read);

      if (n > 0)
        n_read += n;
      else
        wait_a_little ();
    }
}

static bool
send_number (Link *link, uint64_t number)
{
  atomic_store (&link->sent, number);
  return write (link->fd, &number, sizeof number) == sizeof number;
}

static void *
link_thread (void *data)
{
  Link *link = data;

  for (;;)
    {
      uint64_t number;

      read_number (link, &number);
      atomic_store (&link->received, number);
      send_number (link, number + 1);
    }
  return NULL;
}

static bool
port_has_name (const char *port, const char *name)
{
  char path[96], found[64] = "";
  FILE *file;

  snprintf (path, sizeof path, "/sys/class/virtio-ports/%s/name", port);
  file = fopen (path, "r");
  if (file == NULL)
    return false;
  if (fgets (found, sizeof found, file) == NULL)
    found[0] = 0;
  fclose (file);
  found[strcspn (found, "\n")] = 0;
  return strcmp (found, name) == 0;
}

static bool
open_link (Link *link, const char *name)
{
  for (int device = 0; device < 4; device++)
    for (int number = 0; number < MAX_PORTS; number++)
      {
        char port[32], path[48];

        snprintf (port, sizeof port, "vport%dp%d", device, number);
        if (!port_has_name (port, name))
          continue;
        snprintf (path, sizeof path, "/dev/%s", port);
        link->fd = open (path, O_RDWR | O_CLOEXEC);
        return link->fd >= 0;
      }
  return false;
}

void
peer_find (void)
{
  for (; n_links < MAX_LINKS; n_links++)
    {
      char name[32];
      pthread_t thread;

      snprintf (name, sizeof name, "qsnap.peer%u", n_links);
      if (!open_link (&links[n_links], name)
          || pthread_create (&thread, NULL, link_thread, &links[n_links]) != 0)
        return;
      pthread_detach (thread);
    }
}

bool
peer_begin (void)
{
  for (unsigned i = 0; i < n_links; i++)
    if (!send_number (&links[i], 1))
      return false;
  return n_links > 0;
}

void
peer_describe (char *text, size_t size)
{
  size_t length = snprintf (text, size, "sent=");

  for (unsigned i = 0; i < n_links; i++)
    length += snprintf (text + length, size - length, "%s%llu", i > 0 ? "," : "",
                        (unsigned long long) atomic_load (&links[i].sent));
  length += snprintf (text + length, size - length, " received=");
  for (unsigned i = 0; i < n_links; i++)
    length += snprintf (text + length, size - length, "%s%llu", i > 0 ? "," : "",
                        (unsigned long long) atomic_load (&links[i].received));
}
