/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mock's connection: sockets, the splitting of bytes into messages, descriptors. */

#include "qsnap-mock-private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FDS 16
#define MAX_DEPTH 1024

/* A descriptor and the bytes that it came with, as offsets in all that was received. */
typedef struct
{
  int fd;
  guint64 start, end;
} Received;

struct _MockLink
{
  MockQemu *mock;
  int listen_fd, fd, client_fd;
  GSource *listen_source, *source;
  char *address, *path;
  gboolean frozen, dispatching;
  guint n_connections, n_fds, n_stray;

  GByteArray *input;
  /* Offset of input's first byte in all that was received. */
  guint64 consumed;
  /* Of the message that is being dispatched. */
  guint64 message_start, message_end;
  GArray *received;

  /* What was written while frozen, or is kept back to be merged. */
  GByteArray *held;

  /* The state of the scanner. */
  gsize scanned;
  guint depth;
  gboolean in_message, in_string, escaped;
};

static void watch_connection (MockLink *link);

MockLink *
mock_link_new (MockQemu *mock)
{
  MockLink *link = g_new0 (MockLink, 1);

  link->mock = mock;
  link->listen_fd = link->fd = link->client_fd = -1;
  link->input = g_byte_array_new ();
  link->held = g_byte_array_new ();
  link->received = g_array_new (FALSE, FALSE, sizeof (Received));
  return link;
}

static void
clear_source (GSource **source)
{
  if (*source != NULL)
    {
      g_source_destroy (*source);
      g_clear_pointer (source, g_source_unref);
    }
}

static void
drop_received (MockLink *link)
{
  for (guint i = 0; i < link->received->len; i++)
    {
      close (g_array_index (link->received, Received, i).fd);
      link->n_stray++;
    }
  g_array_set_size (link->received, 0);
}

static void
reset_scanner (MockLink *link)
{
  link->scanned = 0;
  link->depth = 0;
  link->in_message = link->in_string = link->escaped = FALSE;
}

static void
drop_connection (MockLink *link)
{
  clear_source (&link->source);
  mock_clear_fd (&link->fd);
  drop_received (link);
  /* While a message is dispatched, process_input() still looks at these; it sees fd and stops. */
  if (!link->dispatching)
    g_byte_array_set_size (link->input, 0);
  g_byte_array_set_size (link->held, 0);
  reset_scanner (link);
}

/* One client at a time, as QEMU's chardev: others wait in the backlog and get no greeting. */
static gboolean
on_client (gint fd, G_GNUC_UNUSED GIOCondition condition, gpointer user_data)
{
  MockLink *link = user_data;

  link->fd = accept4 (fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (link->fd < 0)
    return G_SOURCE_CONTINUE;
  clear_source (&link->listen_source);
  link->n_connections++;
  watch_connection (link);
  mock_dispatch_connected (link->mock);
  return G_SOURCE_REMOVE;
}

static void
watch_listener (MockLink *link)
{
  if (link->listen_fd < 0 || link->listen_source != NULL)
    return;
  link->listen_source = g_unix_fd_source_new (link->listen_fd, G_IO_IN);
  g_source_set_callback (link->listen_source, G_SOURCE_FUNC (on_client), link, NULL);
  g_source_attach (link->listen_source, link->mock->context);
}

void
mock_link_close (MockLink *link)
{
  if (link->fd < 0)
    return;
  drop_connection (link);
  mock_fds_client_gone (link->mock);
  link->mock->negotiated = FALSE;
  watch_listener (link);
}

void
mock_link_close_server (MockLink *link)
{
  clear_source (&link->listen_source);
  mock_clear_fd (&link->listen_fd);
  mock_link_close (link);
}

static gboolean
message_has_fd (MockLink *link, const Received *received)
{
  return received->start < link->message_end && received->end > link->message_start;
}

int
mock_link_take_fd (MockLink *link)
{
  Received received;

  if (link->received->len == 0)
    return -1;
  received = g_array_index (link->received, Received, 0);
  g_array_remove_index (link->received, 0);
  if (!message_has_fd (link, &received))
    {
      link->n_stray++;
      mock_complain (link->mock,
                     "a descriptor did not come with the bytes of the command that takes it");
    }
  return received.fd;
}

guint
mock_link_count_message_fds (MockLink *link)
{
  guint n = 0;

  for (guint i = 0; i < link->received->len; i++)
    n += message_has_fd (link, &g_array_index (link->received, Received, i));
  return n;
}

/* Steps over one byte; TRUE if it ends a message. Like QEMU's, the parser needs no line ends. */
static gboolean
scan_byte (MockLink *link, guint8 c)
{
  if (link->in_string)
    {
      if (link->escaped)
        link->escaped = FALSE;
      else if (c == '\\')
        link->escaped = TRUE;
      else if (c == '"')
        link->in_string = FALSE;
      return FALSE;
    }
  if (c == '"')
    link->in_string = TRUE;
  else if (c == '{' || c == '[')
    link->depth++;
  else if (c == '}' || c == ']')
    link->depth--;
  return link->depth == 0;
}

/* Cuts @length bytes off the input and hands them on. */
static void
take_message (MockLink *link, gsize length)
{
  g_autofree char *text = g_strndup ((const char *)link->input->data, length);

  link->message_start = link->consumed;
  link->message_end = link->consumed + length;
  g_byte_array_remove_range (link->input, 0, length);
  link->consumed += length;
  reset_scanner (link);
  mock_dispatch_text (link->mock, text, length);
}

static void
skip_byte (MockLink *link)
{
  g_byte_array_remove_range (link->input, 0, 1);
  link->consumed++;
}

/* Looks at the bytes from link->scanned on; TRUE if something was taken away. */
static gboolean
scan_input (MockLink *link)
{
  while (link->scanned < link->input->len)
    {
      guint8 c = link->input->data[link->scanned];

      if (!link->in_message)
        {
          if (c != '{' && c != '[')
            {
              skip_byte (link);
              if (!g_ascii_isspace (c))
                mock_dispatch_garbage (link->mock, (char)c);
              return TRUE;
            }
          link->in_message = TRUE;
        }
      link->scanned++;
      if (scan_byte (link, c) || link->depth > MAX_DEPTH)
        {
          take_message (link, link->scanned);
          return TRUE;
        }
    }
  return FALSE;
}

static void
process_input (MockLink *link)
{
  if (link->dispatching)
    return;
  link->dispatching = TRUE;
  while (link->fd >= 0 && !link->frozen && scan_input (link))
    ;
  link->dispatching = FALSE;
  if (link->fd < 0)
    g_byte_array_set_size (link->input, 0);
}

static void
note_descriptors (MockLink *link, struct msghdr *message, gsize length)
{
  guint64 start = link->consumed + link->input->len;

  for (struct cmsghdr *c = CMSG_FIRSTHDR (message); c != NULL; c = CMSG_NXTHDR (message, c))
    {
      gsize n = (c->cmsg_len - CMSG_LEN (0)) / sizeof (int);

      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        continue;
      /* QEMU closes what nobody took when new ones come. */
      drop_received (link);
      for (gsize i = 0; i < n; i++)
        {
          Received received = { -1, start, start + length };

          memcpy (&received.fd, CMSG_DATA (c) + i * sizeof (int), sizeof (int));
          g_array_append_val (link->received, received);
          link->n_fds++;
        }
    }
}

static gboolean
on_input (gint fd, G_GNUC_UNUSED GIOCondition condition, gpointer user_data)
{
  MockLink *link = user_data;
  guint8 bytes[4096];
  union
  {
    struct cmsghdr header;
    char space[CMSG_SPACE (MAX_FDS * sizeof (int))];
  } control;
  struct iovec vector = { bytes, sizeof bytes };
  struct msghdr message = {
    .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
  };
  gssize n = recvmsg (fd, &message, MSG_CMSG_CLOEXEC);

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return G_SOURCE_CONTINUE;
  if (n <= 0)
    {
      mock_link_close (link);
      return G_SOURCE_REMOVE;
    }
  note_descriptors (link, &message, (gsize)n);
  g_byte_array_append (link->input, bytes, (guint)n);
  process_input (link);
  /* Either may have happened while the messages were dispatched. */
  return link->source != NULL && link->fd == fd ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void
watch_connection (MockLink *link)
{
  if (link->fd < 0 || link->source != NULL)
    return;
  link->source = g_unix_fd_source_new (link->fd, G_IO_IN | G_IO_HUP);
  g_source_set_callback (link->source, G_SOURCE_FUNC (on_input), link, NULL);
  g_source_attach (link->source, link->mock->context);
}

/* Waits for room so that a client that does not read cannot hold mock_free() up. */
static gboolean
write_all (MockLink *link, const guint8 *bytes, gsize length)
{
  while (length > 0)
    {
      struct pollfd poll_fd = { link->fd, POLLOUT, 0 };
      gssize n = send (link->fd, bytes, length, MSG_NOSIGNAL);

      if (n > 0)
        {
          bytes += n;
          length -= (gsize)n;
        }
      else if (errno != EAGAIN && errno != EINTR)
        return FALSE;
      else if (mock_is_stopping (link->mock))
        return FALSE;
      else
        poll (&poll_fd, 1, 50);
    }
  return TRUE;
}

void
mock_link_send (MockLink *link, const char *bytes, gsize length, MockWrite mode)
{
  if (link->fd < 0)
    return;
  g_byte_array_append (link->held, (const guint8 *)bytes, (guint)length);
  if (link->frozen || mode == MOCK_WRITE_MERGED)
    return;
  if (mode == MOCK_WRITE_BYTEWISE)
    {
      for (guint i = 0; i < link->held->len; i++)
        write_all (link, link->held->data + i, 1);
    }
  else
    write_all (link, link->held->data, link->held->len);
  g_byte_array_set_size (link->held, 0);
}

/* The kernel refuses more than there may be under way, until some have been received. */
void
mock_link_send_with_fds (MockLink *link, const char *bytes, gsize length, guint n_fds)
{
  g_autofree struct cmsghdr *control = g_malloc0 (CMSG_SPACE (n_fds * sizeof (int)));
  struct iovec vector = { (char *)bytes, length };
  struct msghdr message = { .msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = CMSG_SPACE (n_fds * sizeof (int)) };
  struct pollfd poll_fd = { link->fd, POLLOUT, 0 };
  gssize n = -1;

  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN (n_fds * sizeof (int));
  for (guint i = 0; i < n_fds; i++)
    memcpy (CMSG_DATA (control) + i * sizeof (int), &link->fd, sizeof (int));

  while (link->fd >= 0 && n < 0 && !mock_is_stopping (link->mock))
    {
      n = sendmsg (link->fd, &message, MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ETOOMANYREFS)
        return;
      if (n < 0)
        poll (&poll_fd, 1, 1);
    }
  if (n >= 0)
    write_all (link, (const guint8 *)bytes + n, length - (gsize)n);
}

gboolean
mock_link_is_frozen (MockLink *link)
{
  return link->frozen;
}

static gboolean
process_again (gpointer user_data)
{
  process_input (user_data);
  return G_SOURCE_REMOVE;
}

/* Frozen is what a QEMU is whose main loop waits for something: nothing is read, no event gets out.
 */
void
mock_link_set_frozen (MockLink *link, gboolean frozen)
{
  g_autoptr (GSource) source = NULL;

  if (link->frozen == frozen)
    return;
  link->frozen = frozen;
  if (frozen)
    {
      clear_source (&link->source);
      return;
    }
  watch_connection (link);
  mock_link_send (link, "", 0, MOCK_WRITE_WHOLE);
  source = g_idle_source_new ();
  g_source_set_callback (source, process_again, link, NULL);
  g_source_attach (source, link->mock->context);
}

static void
open_unix (MockLink *link)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  link->path = link->mock->socket_path != NULL
                   ? g_strdup (link->mock->socket_path)
                   : g_build_filename (link->mock->directory, "qmp.sock", NULL);
  link->address = g_strconcat ("unix:", link->path, NULL);
  g_assert_cmpuint (g_strlcpy (address.sun_path, link->path, sizeof address.sun_path), <,
                    sizeof address.sun_path);
  link->listen_fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (bind (link->listen_fd, (struct sockaddr *)&address, sizeof address), ==, 0);
}

static void
open_tcp (MockLink *link)
{
  struct sockaddr_in address = { .sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
  socklen_t length = sizeof address;

  link->listen_fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (bind (link->listen_fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  g_assert_cmpint (getsockname (link->listen_fd, (struct sockaddr *)&address, &length), ==, 0);
  link->address = g_strdup_printf ("tcp:127.0.0.1:%d", ntohs (address.sin_port));
}

static void
open_pair (MockLink *link)
{
  int fds[2];

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  link->fd = fds[0];
  link->client_fd = fds[1];
  g_assert_true (g_unix_set_fd_nonblocking (link->fd, TRUE, NULL));
  link->n_connections = 1;
  watch_connection (link);
}

void
mock_link_open (MockLink *link)
{
  switch (link->mock->transport)
    {
    case MOCK_TRANSPORT_UNIX:
      open_unix (link);
      break;
    case MOCK_TRANSPORT_TCP:
      open_tcp (link);
      break;
    case MOCK_TRANSPORT_SOCKETPAIR:
    default:
      open_pair (link);
      return;
    }
  g_assert_cmpint (listen (link->listen_fd, 4), ==, 0);
  watch_listener (link);
}

void
mock_link_free (MockLink *link)
{
  clear_source (&link->listen_source);
  drop_connection (link);
  mock_clear_fd (&link->listen_fd);
  mock_clear_fd (&link->client_fd);
  g_byte_array_unref (link->input);
  g_byte_array_unref (link->held);
  g_array_unref (link->received);
  g_free (link->address);
  g_free (link->path);
  g_free (link);
}

gboolean
mock_link_is_connected (MockLink *link)
{
  return link->fd >= 0;
}

const char *
mock_link_get_address (MockLink *link)
{
  return link->address;
}

const char *
mock_link_get_path (MockLink *link)
{
  return link->path;
}

int
mock_link_steal_client_fd (MockLink *link)
{
  return g_steal_fd (&link->client_fd);
}

guint
mock_link_get_n_connections (MockLink *link)
{
  return link->n_connections;
}

guint
mock_link_get_n_fds (MockLink *link)
{
  return link->n_fds;
}

/* Those that wait for the next command are not yet stray, but once their message is over they are.
 */
guint
mock_link_get_n_stray (MockLink *link)
{
  guint n = link->n_stray;

  for (guint i = 0; i < link->received->len; i++)
    n += g_array_index (link->received, Received, i).end <= link->consumed;
  return n;
}
