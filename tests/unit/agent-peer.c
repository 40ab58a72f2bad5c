/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "agent-peer.h"

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <string.h>

#include "qsnap-json.h"

static const struct
{
  const char *name, *shown;
} commands[N_AGENT_COMMANDS] = { { "guest-sync-delimited", "sync" },
                                 { "guest-fsfreeze-status", "status" },
                                 { "guest-fsfreeze-freeze", "freeze" },
                                 { "guest-fsfreeze-thaw", "thaw" } };

static void
peer_listen (AgentPeer *peer)
{
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (peer->path);
  g_autoptr (GError) error = NULL;

  peer->listener =
      g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, &error);
  g_assert_no_error (error);
  g_socket_bind (peer->listener, address, TRUE, &error);
  g_assert_no_error (error);
  g_socket_listen (peer->listener, &error);
  g_assert_no_error (error);
}

static void
peer_leave (AgentPeer *peer)
{
  g_clear_object (&peer->listener);
  g_unlink (peer->path);
}

static void
peer_note (AgentPeer *peer, const char *what)
{
  g_string_append_printf (peer->log, "%s%s", peer->log->len > 0 ? " " : "", what);
}

/* FALSE if the client has gone. */
static gboolean
send_bytes (GSocket *socket, const char *data, gsize length)
{
  while (length > 0)
    {
      gssize n = g_socket_send (socket, data, length, NULL, NULL);

      if (n < 0)
        return FALSE;
      data += n;
      length -= (gsize)n;
    }

  return TRUE;
}

static void
send_forever (GSocket *socket, gsize length, gulong pause_us)
{
  g_autofree char *data = g_strnfill (length, 'x');

  while (send_bytes (socket, data, length))
    g_usleep (pause_us);
}

static char *
do_command (AgentPeer *peer, AgentCommand command, JsonObject *message)
{
  JsonObject *arguments = qsnap_json_get_object (message, "arguments");
  gboolean was_frozen = peer->frozen;

  switch (command)
    {
    case AGENT_SYNC:
      return g_strdup_printf ("\xff{\"return\": %" G_GINT64_FORMAT "}\n",
                              qsnap_json_get_int (arguments, "id", -1));
    case AGENT_STATUS:
      return g_strdup_printf ("{\"return\": \"%s\"}\n", was_frozen ? "frozen" : "thawed");
    case AGENT_FREEZE:
      g_assert_false (was_frozen);
      peer->frozen = TRUE;
      return g_strdup_printf ("{\"return\": %d}\n", N_FILE_SYSTEMS);
    case AGENT_THAW:
      peer->frozen = FALSE;
      return g_strdup_printf ("{\"return\": %d}\n", was_frozen ? N_FILE_SYSTEMS : 0);
    case N_AGENT_COMMANDS:
    default:
      g_assert_not_reached ();
    }
}

static const AgentFault *
find_fault (AgentPeer *peer, AgentCommand command)
{
  for (const AgentFault *fault = peer->faults; fault != NULL && fault->command != NULL; fault++)
    if (g_str_equal (fault->command, commands[command].shown) &&
        (fault->nth == 0 || fault->nth == peer->counts[command]))
      return fault;

  return NULL;
}

/* FALSE: the connection is to be closed. */
static gboolean
do_wrong (AgentPeer *peer, GSocket *socket, const AgentFault *fault, const char *answer)
{
  switch (fault->deed)
    {
    case AGENT_ANSWER_INSTEAD:
      send_bytes (socket, fault->text, strlen (fault->text));
      return TRUE;
    case AGENT_ANSWER_BEFORE:
      send_bytes (socket, fault->text, strlen (fault->text));
      send_bytes (socket, answer, strlen (answer));
      return TRUE;
    case AGENT_ANSWER_IN_PIECES:
      for (const char *p = answer; *p != '\0'; p++)
        {
          send_bytes (socket, p, 1);
          g_usleep (500);
        }
      return TRUE;
    case AGENT_GO_AWAY:
      peer_leave (peer);
      return FALSE;
    case AGENT_TRICKLE:
      send_forever (socket, 1, 10000);
      return TRUE;
    case AGENT_FLOOD:
      send_forever (socket, 65536, 0);
      return TRUE;
    case AGENT_CANCEL:
      g_cancellable_cancel (peer->cancellable);
      return TRUE;
    case AGENT_BE_SILENT:
      return TRUE;
    case AGENT_HANG_UP:
    default:
      return FALSE;
    }
}

static gboolean
take_line (AgentPeer *peer, GSocket *socket, const char *line, gsize length)
{
  g_autoptr (JsonNode) node = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *answer = NULL;
  const AgentFault *fault;
  AgentCommand command = 0;
  const char *name;

  if ((guchar)*line == 0xff)
    {
      peer_note (peer, "ff");
      line++;
      length--;
    }
  node = qsnap_json_parse_object (line, length, &error);
  g_assert_no_error (error);
  name = qsnap_json_get_string (qsnap_json_object (node), "execute");
  while (command < N_AGENT_COMMANDS && g_strcmp0 (commands[command].name, name) != 0)
    command++;
  g_assert_cmpint (command, <, N_AGENT_COMMANDS);

  peer_note (peer, commands[command].shown);
  peer->counts[command]++;
  answer = do_command (peer, command, qsnap_json_object (node));
  fault = find_fault (peer, command);
  if (fault != NULL)
    return do_wrong (peer, socket, fault, answer);
  send_bytes (socket, answer, strlen (answer));

  return TRUE;
}

/* Until the client or the agent ends it. FALSE if the test says that it was the last one. */
static gboolean
serve (AgentPeer *peer, GSocket *socket)
{
  g_autoptr (GString) received = g_string_new (NULL);
  char data[4096];
  const char *newline;
  gssize n;

  while ((n = g_socket_receive (socket, data, sizeof data, NULL, NULL)) > 0)
    {
      g_string_append_len (received, data, n);
      if (g_str_equal (received->str, "quit\n"))
        return FALSE;
      while ((newline = memchr (received->str, '\n', received->len)) != NULL)
        {
          gsize length = (gsize)(newline - received->str);

          if (received->len == 0 || !take_line (peer, socket, received->str, length))
            {
              peer_note (peer, "hangup");
              return TRUE;
            }
          g_string_erase (received, 0, (gssize)length + 1);
        }
    }
  g_assert_cmpuint (received->len, ==, 0);
  peer_note (peer, "end");

  return TRUE;
}

static gpointer
peer_run (gpointer data)
{
  AgentPeer *peer = data;
  gboolean more = TRUE;

  while (more)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (GSocket) socket = g_socket_accept (peer->listener, NULL, &error);
      gsize before = peer->log->len;

      g_assert_no_error (error);
      peer_note (peer, "connect");
      more = serve (peer, socket);
      if (!more)
        g_string_truncate (peer->log, before);
      g_clear_object (&socket);
      if (peer->listener == NULL)
        {
          /* Long enough for the client to try in vain. */
          g_usleep (300 * 1000);
          peer_listen (peer);
        }
    }

  return NULL;
}

void
agent_peer_start (AgentPeer *peer, const AgentFault *faults)
{
  g_autoptr (GError) error = NULL;

  *peer = (AgentPeer){ .faults = faults };
  peer->folder = g_dir_make_tmp ("qsnap-agent-XXXXXX", &error);
  g_assert_no_error (error);
  peer->path = g_build_filename (peer->folder, "agent.sock", NULL);
  peer->cancellable = g_cancellable_new ();
  peer->log = g_string_new (NULL);
  peer_listen (peer);
  peer->thread = g_thread_new ("agent", peer_run, peer);
}

/* Connections are served in their order, so this comes after all that the client sent. */
static void
peer_say_quit (AgentPeer *peer)
{
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (peer->path);
  g_autoptr (GSocketClient) client = g_socket_client_new ();
  g_autoptr (GError) error = NULL;
  g_autoptr (GSocketConnection) connection =
      g_socket_client_connect (client, G_SOCKET_CONNECTABLE (address), NULL, &error);

  g_assert_no_error (error);
  g_output_stream_write_all (g_io_stream_get_output_stream (G_IO_STREAM (connection)), "quit\n", 5,
                             NULL, NULL, &error);
  g_assert_no_error (error);
  g_thread_join (peer->thread);
}

void
agent_peer_finish (AgentPeer *peer, QsnapAgent *agent, const char *expected)
{
  g_clear_pointer (&agent, qsnap_agent_free);
  peer_say_quit (peer);
  if (!g_pattern_match_simple (expected, peer->log->str))
    g_error ("the agent has seen \"%s\", not \"%s\"", peer->log->str, expected);
  g_assert_false (peer->frozen);

  peer_leave (peer);
  g_rmdir (peer->folder);
  g_free (peer->folder);
  g_free (peer->path);
  g_object_unref (peer->cancellable);
  g_string_free (peer->log, TRUE);
}
