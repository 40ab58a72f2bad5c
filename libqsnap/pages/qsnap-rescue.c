/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "pages/qsnap-rescue.h"

#include <errno.h>
#include <gio/gunixfdmessage.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

#define NAME "qsnap-rescue"
#define TIMEOUT_SECONDS 10
/* For an answer that does come, between events. */
#define ANSWER_PATIENCE_US (30 * G_USEC_PER_SEC)
#define RECOVER_PATIENCE_US (20 * G_USEC_PER_SEC)
#define RETRY_US 10000
#define MAX_LINE (1u << 20)

/* --- a conversation -------------------------------------------------------------------------- */

static gboolean
send_line (GSocket *rescue, const char *text, int fd, GError **error)
{
  GOutputVector vector = { text, strlen (text) };
  g_autoptr (GSocketControlMessage) message = NULL;
  gssize n;

  if (fd >= 0)
    {
      message = g_unix_fd_message_new ();
      if (!g_unix_fd_message_append_fd (G_UNIX_FD_MESSAGE (message), fd, error))
        return FALSE;
    }

  n = g_socket_send_message (rescue, NULL, &vector, 1, message != NULL ? &message : NULL,
                             message != NULL ? 1 : 0, G_SOCKET_MSG_NONE, NULL, error);
  if (n < 0 || (gsize)n == vector.size)
    return n >= 0;

  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_BUSY, "QEMU does not read what it is told");

  return FALSE;
}

/* A byte at a time, since what is behind the line is for who has the connection next. */
static GString *
read_line (GSocket *rescue, gint64 deadline, GError **error)
{
  g_autoptr (GString) line = g_string_new (NULL);
  char byte = '\0';

  while (byte != '\n' && line->len < MAX_LINE)
    {
      gssize n = -1;

      if (g_get_monotonic_time () > deadline)
        g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                             "QEMU says much, but not what it was asked for");
      else
        n = g_socket_receive (rescue, &byte, 1, NULL, error);

      if (n == 0)
        g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                             "QEMU has closed the connection");
      if (n <= 0)
        return NULL;
      g_string_append_c (line, byte);
    }

  return g_steal_pointer (&line);
}

static gboolean
is_answer (JsonObject *object, const char *id)
{
  return id == NULL ? qsnap_json_get_object (object, "QMP") != NULL
                    : g_strcmp0 (qsnap_json_get_string (object, "id"), id) == 0;
}

/* Waits for the answer to @id, or for the greeting; events are passed over. */
static gboolean
wait_for_answer (GSocket *rescue, const char *id, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + ANSWER_PATIENCE_US;

  for (;;)
    {
      g_autoptr (GString) line = read_line (rescue, deadline, error);
      g_autoptr (JsonNode) node = NULL;
      JsonObject *failure;

      if (line == NULL)
        return FALSE;
      node = qsnap_json_parse_object (line->str, line->len, NULL);
      if (!is_answer (qsnap_json_object (node), id))
        continue;
      failure = qsnap_json_get_object (qsnap_json_object (node), "error");
      if (failure == NULL)
        return TRUE;

      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "%s: %s", id,
                   qsnap_json_get_string (failure, "desc"));
      return FALSE;
    }
}

/* Its name is its id, too. */
static gboolean
call (GSocket *rescue,
      const char *how,
      const char *command,
      JsonNode *arguments,
      int fd,
      GError **error)
{
  g_autoptr (JsonNode) node = qsnap_json_node_new (how, 's', command, "arguments", 'n', arguments,
                                                   "id", 's', command, NULL);
  g_autofree char *text = qsnap_json_to_text (node, FALSE);
  g_autofree char *line = g_strconcat (text, "\n", NULL);

  return send_line (rescue, line, fd, error) && wait_for_answer (rescue, command, error);
}

/* --- making it, and finding it again ------------------------------------------------------------
 */

static gboolean
negotiate (GSocket *rescue, GError **error)
{
  JsonArray *wanted = json_array_new ();

  json_array_add_string_element (wanted, "oob");

  return wait_for_answer (rescue, NULL, error) &&
         call (rescue, "execute", "qmp_capabilities",
               qsnap_json_node_new ("enable", 'a', wanted, NULL), -1, error) &&
         call (rescue, "execute", "getfd", qsnap_json_node_new ("fdname", 's', NAME, NULL),
               g_socket_get_fd (rescue), error);
}

GSocket *
qsnap_rescue_open (const char *path, GError **error)
{
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (path);
  g_autoptr (GSocket) rescue =
      g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, error);

  if (rescue == NULL)
    return NULL;
  g_socket_set_timeout (rescue, TIMEOUT_SECONDS);
  if (g_socket_connect (rescue, address, NULL, error) && negotiate (rescue, error))
    return g_steal_pointer (&rescue);

  g_prefix_error (error, "preparing for the page server's death: ");

  return NULL;
}

guint64
qsnap_rescue_get_inode (GSocket *rescue)
{
  struct stat found;

  return fstat (g_socket_get_fd (rescue), &found) == 0 ? found.st_ino : 0;
}

GSocket *
qsnap_rescue_take_back (GPid pid, int number, GError **error)
{
  int pidfd = (int)syscall (SYS_pidfd_open, pid, 0);
  int fd = number >= 0 && pidfd >= 0 ? (int)syscall (SYS_pidfd_getfd, pidfd, number, 0) : -1;
  int saved_errno = number >= 0 ? errno : ENOENT;
  GSocket *rescue;

  if (pidfd >= 0)
    close (pidfd);
  if (fd < 0)
    {
      qsnap_io_fail (error, saved_errno,
                     "QEMU (process %d) does not give back the connection that it was left with",
                     (int)pid);
      return NULL;
    }

  rescue = g_socket_new_from_fd (fd, error);
  if (rescue == NULL)
    close (fd);
  else
    g_socket_set_timeout (rescue, TIMEOUT_SECONDS);

  return rescue;
}

/* --- using it -------------------------------------------------------------------------------- */

gboolean
qsnap_rescue_recover (GSocket *rescue, const char *path, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + RECOVER_PATIENCE_US;
  g_autofree char *uri = g_strconcat ("unix:", path, NULL);

  for (;;)
    {
      g_autoptr (GError) failure = NULL;

      if (call (rescue, "exec-oob", "migrate-recover", qsnap_json_node_new ("uri", 's', uri, NULL),
                -1, &failure))
        return TRUE;

      /* It refuses until it has seen that the connection is lost. */
      if (failure->domain != QSNAP_ERROR || failure->code != QSNAP_ERROR_FAILED ||
          g_get_monotonic_time () > deadline)
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      g_usleep (RETRY_US);
    }
}

void
qsnap_rescue_end (GSocket *rescue)
{
  g_socket_set_timeout (rescue, 1);
  (void)call (rescue, "execute", "closefd", qsnap_json_node_new ("fdname", 's', NAME, NULL), -1,
              NULL);
  (void)g_socket_close (rescue, NULL);
}
