/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "mock-client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int
connect_to (MockQemu *mock)
{
  const char *address = mock_get_address (mock);

  if (address == NULL)
    return mock_steal_client_fd (mock);
  if (g_str_has_prefix (address, "unix:"))
    {
      struct sockaddr_un to = { .sun_family = AF_UNIX };
      int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

      g_strlcpy (to.sun_path, address + strlen ("unix:"), sizeof to.sun_path);
      g_assert_cmpint (connect (fd, (struct sockaddr *)&to, sizeof to), ==, 0);
      return fd;
    }
  else
    {
      struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
      int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

      to.sin_port = htons ((guint16)atoi (strrchr (address, ':') + 1));
      g_assert_cmpint (connect (fd, (struct sockaddr *)&to, sizeof to), ==, 0);
      return fd;
    }
}

/* FALSE: nothing came in time, or the connection is closed. */
gboolean
client_read_more (Client *client, int milliseconds)
{
  struct pollfd poll_fd = { client->fd, POLLIN, 0 };
  char bytes[65536];
  gssize n;

  if (poll (&poll_fd, 1, milliseconds) <= 0)
    return FALSE;
  n = read (client->fd, bytes, sizeof bytes);
  if (n <= 0)
    return FALSE;
  g_string_append_len (client->input, bytes, n);
  return TRUE;
}

char *
client_read_line (Client *client, int milliseconds)
{
  char *end, *line;

  while ((end = strchr (client->input->str, '\n')) == NULL)
    {
      if (!client_read_more (client, milliseconds))
        return NULL;
    }
  line = g_strndup (client->input->str, (gsize)(end - client->input->str));
  g_string_erase (client->input, 0, end - client->input->str + 1);
  return line;
}

static void
note_event (Client *client, JsonObject *message)
{
  JsonObject *data = NULL;

  if (json_object_has_member (message, "data"))
    data = json_object_get_object_member (message, "data");
  g_string_append_printf (client->events, " %s", json_object_get_string_member (message, "event"));
  if (data != NULL && json_object_has_member (data, "status"))
    g_string_append_printf (client->events, ":%s", json_object_get_string_member (data, "status"));
}

/* The next message that is no event; NULL if there is none. */
JsonObject *
client_read_reply (Client *client, int milliseconds)
{
  for (;;)
    {
      g_autofree char *line = client_read_line (client, milliseconds);
      g_autoptr (JsonNode) node = NULL;

      if (line == NULL)
        return NULL;
      node = json_from_string (line, NULL);
      g_assert_nonnull (node);
      if (!json_object_has_member (json_node_get_object (node), "event"))
        return json_node_dup_object (node);
      note_event (client, json_node_get_object (node));
    }
}

void
client_send_bytes (Client *client, const char *bytes, gsize length, const int *fds, int n_fds)
{
  union
  {
    struct cmsghdr header;
    char space[CMSG_SPACE (4 * sizeof (int))];
  } control = { 0 };
  struct iovec vector = { (void *)bytes, length };
  struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

  if (n_fds > 0)
    {
      struct cmsghdr *header;

      message.msg_control = &control;
      message.msg_controllen = CMSG_SPACE (n_fds * sizeof (int));
      header = CMSG_FIRSTHDR (&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN (n_fds * sizeof (int));
      memcpy (CMSG_DATA (header), fds, n_fds * sizeof (int));
    }
  g_assert_cmpint (sendmsg (client->fd, &message, MSG_NOSIGNAL), ==, (gssize)length);
}

void
client_send (Client *client, const char *command, const char *arguments, int fd)
{
  g_autofree char *line =
      g_strdup_printf ("{\"execute\": \"%s\", \"arguments\": %s, \"id\": %u}\n", command,
                       arguments != NULL ? arguments : "{}", ++client->id);

  client_send_bytes (client, line, strlen (line), &fd, fd >= 0 ? 1 : 0);
}

static JsonObject *
run (Client *client, const char *command, const char *arguments, int fd)
{
  JsonObject *reply;

  client_send (client, command, arguments, fd);
  reply = client_read_reply (client, WAIT);
  g_assert_nonnull (reply);
  return reply;
}

/* The reply has to be a return; gives it as text. */
char *
client_ok (Client *client, const char *command, const char *arguments)
{
  g_autoptr (JsonObject) reply = run (client, command, arguments, -1);

  if (!json_object_has_member (reply, "return"))
    g_error (
        "%s: %s", command,
        json_object_get_string_member (json_object_get_object_member (reply, "error"), "desc"));
  return json_to_string (json_object_get_member (reply, "return"), FALSE);
}

void
client_void (Client *client, const char *command, const char *arguments)
{
  g_free (client_ok (client, command, arguments));
}

void
client_fd (Client *client, const char *command, const char *arguments, int fd)
{
  g_autoptr (JsonObject) reply = run (client, command, arguments, fd);

  g_assert_true (json_object_has_member (reply, "return"));
}

void
client_error (Client *client,
              const char *command,
              const char *arguments,
              const char *klass,
              const char *pattern)
{
  g_autoptr (JsonObject) reply = run (client, command, arguments, -1);
  JsonObject *error;

  g_assert_true (json_object_has_member (reply, "error"));
  error = json_object_get_object_member (reply, "error");
  g_assert_cmpstr (json_object_get_string_member (error, "class"), ==, klass);
  if (!g_pattern_match_simple (pattern, json_object_get_string_member (error, "desc")))
    g_error ("%s: got '%s'", command, json_object_get_string_member (error, "desc"));
}

void
client_assert_closed (Client *client)
{
  while (client_read_more (client, WAIT))
    ;
  g_assert_cmpint (recv (client->fd, &(char){ 0 }, 1, MSG_DONTWAIT), <=, 0);
}

/* Reads until that event has come. */
void
client_wait_event (Client *client, const char *event)
{
  while (strstr (client->events->str, event) == NULL)
    {
      g_autofree char *line = client_read_line (client, WAIT);
      g_autoptr (JsonNode) node = line != NULL ? json_from_string (line, NULL) : NULL;

      if (node == NULL)
        g_error ("no %s, only%s", event, client->events->str);
      note_event (client, json_node_get_object (node));
    }
}

void
client_open (Client *client)
{
  client->fd = connect_to (client->mock);
  client->input = g_string_new (NULL);
  client->events = g_string_new (NULL);
}

void
client_begin (Client *client)
{
  g_autofree char *greeting = NULL;

  mock_start (client->mock);
  client_open (client);
  greeting = client_read_line (client, WAIT);
  g_assert_nonnull (greeting);
  g_assert_true (g_str_has_prefix (greeting, "{\"QMP\""));
  client_void (client, "qmp_capabilities", NULL);
}

void
client_set_up (Client *client, MockStyle style)
{
  *client = (Client){ .mock = mock_new (style, MOCK_TRANSPORT_UNIX) };
}

void
client_clear (Client *client)
{
  close (client->fd);
  g_string_free (client->input, TRUE);
  g_string_free (client->events, TRUE);
  mock_free (client->mock);
}

char *
client_make_image (MockQemu *mock, const char *name, gsize size)
{
  char *path = g_build_filename (mock_get_directory (mock), name, NULL);
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
  close (fd);
  return path;
}

void
client_assert_no_complaints (MockQemu *mock)
{
  g_auto (GStrv) complaints = mock_dup_complaints (mock);
  g_autofree char *all = g_strjoinv ("; ", complaints);

  g_assert_cmpstr (all, ==, "");
}

gint64
client_reply_id (Client *client)
{
  g_autoptr (JsonObject) reply = client_read_reply (client, WAIT);

  return reply != NULL ? json_object_get_int_member_with_default (reply, "id", -1) : -2;
}
