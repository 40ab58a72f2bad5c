/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock program's second monitor. It has a thread of its own, and answers whatever the main loop
 * does: that is what it is for. */

#include "mock-qemu.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING                                                                                   \
  "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 9}, \"package\": "   \
  "\"\"}, \"capabilities\": [\"oob\"]}}\r\n"
/* Milliseconds. */
#define TICK 10

struct _Rescue
{
  int listen_fd, client_fd;
  gboolean has_oob;
  /* What was passed by name. */
  GHashTable *named;
  int received_fd;

  GMutex lock;
  /* The stream is lost, and another may come. */
  gboolean is_paused;
  int stream_fd;
};

static int
listen_at (const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_assert_cmpuint (g_strlcpy (address.sun_path, path, sizeof address.sun_path), <,
                    sizeof address.sun_path);
  if (bind (fd, (struct sockaddr *)&address, sizeof address) == 0 && listen (fd, 4) == 0)
    return fd;
  close (fd);
  return -1;
}

/* --- commands --- */

static const char *
get_string (JsonObject *object, const char *name)
{
  return object != NULL && json_object_has_member (object, name)
             ? json_object_get_string_member (object, name)
             : NULL;
}

/* Each answers what is wrong, or NULL. */
static const char *
negotiate (Rescue *rescue, JsonObject *arguments)
{
  JsonArray *wanted = arguments != NULL && json_object_has_member (arguments, "enable")
                          ? json_object_get_array_member (arguments, "enable")
                          : NULL;

  rescue->has_oob = wanted != NULL && json_array_get_length (wanted) == 1 &&
                    g_strcmp0 (json_array_get_string_element (wanted, 0), "oob") == 0;
  return NULL;
}

static void
close_named (gpointer fd)
{
  close (GPOINTER_TO_INT (fd) - 1);
}

static const char *
take_named (Rescue *rescue, const char *name)
{
  int fd = g_steal_fd (&rescue->received_fd);

  if (fd < 0)
    return "No file descriptor supplied via SCM_RIGHTS";
  g_hash_table_replace (rescue->named, g_strdup (name), GINT_TO_POINTER (fd + 1));
  return NULL;
}

static const char *
drop_named (Rescue *rescue, const char *name)
{
  return g_hash_table_remove (rescue->named, name) ? NULL : "File descriptor is not there";
}

static const char *
recover (Rescue *rescue, const char *uri)
{
  const char *problem = NULL;

  g_mutex_lock (&rescue->lock);
  if (!rescue->is_paused)
    problem = "There is nothing to recover";
  else if (rescue->stream_fd >= 0)
    problem = "It is being recovered";
  else if (!g_str_has_prefix (uri, "unix:"))
    problem = "The mock is recovered over a socket only";
  else
    rescue->stream_fd = listen_at (uri + strlen ("unix:"));
  if (problem == NULL && rescue->stream_fd < 0)
    problem = "Cannot listen";
  g_mutex_unlock (&rescue->lock);
  return problem;
}

static const char *
run (Rescue *rescue, JsonObject *request, const char **command)
{
  JsonObject *arguments = json_object_has_member (request, "arguments")
                              ? json_object_get_object_member (request, "arguments")
                              : NULL;
  gboolean is_oob = json_object_has_member (request, "exec-oob");

  *command = get_string (request, is_oob ? "exec-oob" : "execute");
  if (is_oob && (!rescue->has_oob || g_strcmp0 (*command, "migrate-recover") != 0))
    return "It cannot be carried out of band";
  if (g_strcmp0 (*command, "qmp_capabilities") == 0)
    return negotiate (rescue, arguments);
  if (g_strcmp0 (*command, "getfd") == 0)
    return take_named (rescue, get_string (arguments, "fdname"));
  if (g_strcmp0 (*command, "closefd") == 0)
    return drop_named (rescue, get_string (arguments, "fdname"));
  if (g_strcmp0 (*command, "migrate-recover") == 0 && is_oob)
    return recover (rescue, get_string (arguments, "uri"));
  return "The mock does not know the command here";
}

static void
answer (Rescue *rescue, const char *line)
{
  g_autoptr (JsonNode) node = json_from_string (line, NULL);
  JsonObject *request = node != NULL ? json_node_get_object (node) : NULL;
  const char *command = "?", *problem;
  g_autofree char *text = NULL;

  if (request == NULL)
    return;
  problem = run (rescue, request, &command);
  report ("rescue", "%s: %s", command, problem != NULL ? problem : "done");
  text = problem != NULL
             ? g_strdup_printf ("{\"id\": \"%s\", \"error\": {\"class\": \"GenericError\", "
                                "\"desc\": \"%s\"}}\r\n",
                                get_string (request, "id"), problem)
             : g_strdup_printf ("{\"id\": \"%s\", \"return\": {}}\r\n", get_string (request, "id"));
  (void)!send (rescue->client_fd, text, strlen (text), MSG_NOSIGNAL);
}

/* --- the connection --- */

static gssize
receive (Rescue *rescue, char *byte)
{
  union
  {
    struct cmsghdr header;
    char space[CMSG_SPACE (sizeof (int))];
  } control;
  struct iovec vector = { byte, 1 };
  struct msghdr message = {
    .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
  };
  gssize n = recvmsg (rescue->client_fd, &message, MSG_CMSG_CLOEXEC);
  struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR (&message) : NULL;

  if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
    memcpy (&rescue->received_fd, CMSG_DATA (head), sizeof (int));
  return n;
}

static void
serve (Rescue *rescue)
{
  g_autoptr (GString) line = g_string_new (NULL);
  char byte;

  (void)!send (rescue->client_fd, GREETING, strlen (GREETING), MSG_NOSIGNAL);
  while (receive (rescue, &byte) > 0)
    {
      if (byte != '\n')
        g_string_append_c (line, byte);
      else
        {
          answer (rescue, line->str);
          g_string_truncate (line, 0);
        }
    }
  report ("rescue", "closed");
  rescue->has_oob = FALSE;
}

/* Ends with the process. */
static gpointer
rescue_main (gpointer data)
{
  Rescue *rescue = data;

  while ((rescue->client_fd = accept4 (rescue->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
    {
      serve (rescue);
      close (rescue->client_fd);
    }
  return NULL;
}

Rescue *
rescue_new (const char *path)
{
  Rescue *rescue = g_new0 (Rescue, 1);

  rescue->stream_fd = rescue->received_fd = -1;
  rescue->named = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, close_named);
  g_mutex_init (&rescue->lock);
  rescue->listen_fd = listen_at (path);
  if (rescue->listen_fd < 0)
    complain ("%s: %s", path, g_strerror (errno));
  else
    g_thread_unref (g_thread_new ("rescue", rescue_main, rescue));
  return rescue;
}

static int
get_stream (Rescue *rescue)
{
  int fd;

  g_mutex_lock (&rescue->lock);
  fd = rescue->stream_fd;
  g_mutex_unlock (&rescue->lock);
  return fd;
}

int
rescue_wait_stream (Rescue *rescue, RescueStop stop, gpointer user_data)
{
  int fd = -1;

  g_mutex_lock (&rescue->lock);
  rescue->is_paused = TRUE;
  g_mutex_unlock (&rescue->lock);
  while (fd < 0 && !stop (user_data))
    {
      struct pollfd poll_fd = { get_stream (rescue), POLLIN, 0 };

      if (poll (&poll_fd, 1, TICK) == 1)
        fd = accept4 (poll_fd.fd, NULL, NULL, SOCK_CLOEXEC);
    }

  g_mutex_lock (&rescue->lock);
  rescue->is_paused = FALSE;
  if (rescue->stream_fd >= 0)
    close (rescue->stream_fd);
  rescue->stream_fd = -1;
  g_mutex_unlock (&rescue->lock);
  return fd;
}
