/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "hostile-peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ID "$ID"

struct _HostilePeer
{
  HostileKind kind;
  int fd;
  int listener;
  char *input;
  gsize size;
  gsize at;
  GString *question;
  GThread *thread;
};

static gboolean
say (HostilePeer *peer, const char *text, gsize length)
{
  while (length > 0)
    {
      gssize n = send (peer->fd, text, length, MSG_NOSIGNAL);

      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return FALSE;
      text += n;
      length -= (gsize)n;
    }

  return TRUE;
}

/* Up to the end of a line. */
static gboolean
listen_once (HostilePeer *peer)
{
  char byte;

  g_string_truncate (peer->question, 0);
  while (recv (peer->fd, &byte, 1, 0) == 1)
    {
      g_string_append_c (peer->question, byte);
      if (byte == '\n')
        return TRUE;
    }

  return FALSE;
}

static guint64
id_of (const char *question)
{
  const char *id = strstr (question, "\"id\"");

  return id != NULL ? strtoull (id + strcspn (id, "0123456789"), NULL, 10) : 0;
}

/* FALSE: it was the last one. */
static gboolean
say_piece (HostilePeer *peer)
{
  const char *data = peer->input + peer->at;
  gsize left = peer->size - peer->at;
  gsize length = strnlen (data, left);
  g_autofree char *number = g_strdup_printf ("%" G_GUINT64_FORMAT, id_of (peer->question->str));
  g_autoptr (GString) piece = g_string_new_len (data, (gssize)length);
  gboolean last = length == left;

  g_string_replace (piece, ID, number, 0);
  peer->at += last ? length : length + 1;

  return say (peer, piece->str, piece->len) && !last;
}

static gboolean
say_plain_answer (HostilePeer *peer)
{
  g_autofree char *answer = NULL;
  guint64 id = id_of (peer->question->str);

  if (peer->question->len == 0)
    answer = g_strdup ("{\"QMP\": {}}\n");
  else if (peer->kind == HOSTILE_QMP)
    answer = g_strdup_printf ("{\"return\": {}, \"id\": %" G_GUINT64_FORMAT "}\n", id);
  else if (strstr (peer->question->str, "sync") != NULL)
    answer = g_strdup_printf ("\xff{\"return\": %" G_GUINT64_FORMAT "}\n", id);
  else
    answer = g_strdup ("{\"return\": {}}\n");

  return say (peer, answer, strlen (answer));
}

static void
converse (HostilePeer *peer)
{
  char rest[256];

  g_string_truncate (peer->question, 0);
  if (peer->kind == HOSTILE_QMP && !(say_piece (peer) && say_plain_answer (peer)))
    return;

  while (listen_once (peer) && say_piece (peer) && say_plain_answer (peer))
    ;
  /* What has been said is lost, if the connection is closed with something unread. */
  shutdown (peer->fd, SHUT_WR);
  while (recv (peer->fd, rest, sizeof rest, 0) > 0)
    ;
}

static gpointer
peer_main (gpointer data)
{
  HostilePeer *peer = data;

  if (peer->listener < 0)
    {
      converse (peer);
      close (peer->fd);
      return NULL;
    }

  while ((peer->fd = accept (peer->listener, NULL, NULL)) >= 0)
    {
      converse (peer);
      close (peer->fd);
    }

  return NULL;
}

static HostilePeer *
start (HostileKind kind, int fd, int listener, const guint8 *data, gsize size)
{
  HostilePeer *peer = g_new0 (HostilePeer, 1);

  peer->kind = kind;
  peer->fd = fd;
  peer->listener = listener;
  peer->input = g_malloc0 (size + 1);
  memcpy (peer->input, data, size);
  peer->size = size;
  peer->question = g_string_new (NULL);
  peer->thread = g_thread_new ("peer", peer_main, peer);

  return peer;
}

HostilePeer *
hostile_peer_start (HostileKind kind, int fd, const guint8 *data, gsize size)
{
  return start (kind, fd, -1, data, size);
}

HostilePeer *
hostile_peer_listen (HostileKind kind, int listener, const guint8 *data, gsize size)
{
  return start (kind, -1, listener, data, size);
}

void
hostile_peer_join (HostilePeer *peer)
{
  g_thread_join (peer->thread);
  g_string_free (peer->question, TRUE);
  g_free (peer->input);
  g_free (peer);
}
