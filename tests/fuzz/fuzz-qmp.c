/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The framer and the client: a whole conversation with a QEMU that says what it likes. */

#include "config.h"

#include "fuzz.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile-peer.h"
#include "qmp/qsnap-qmp-commands.h"
#include "qmp/qsnap-qmp-framer.h"
#include "qsnap-json.h"
#include "qsnap-worker.h"

#define MAX_LINE 100

static void
check_error (gconstpointer reply, GError *error)
{
  g_assert ((reply == NULL) == (error != NULL));
  if (error != NULL)
    g_assert (g_utf8_validate (error->message, -1, NULL));
}

/* Whole and byte by byte, there are the same lines. */
static char *
cut (const guint8 *data, gsize size, gsize piece)
{
  g_autoptr (QsnapQmpFramer) framer = qsnap_qmp_framer_new (MAX_LINE);
  GString *lines = g_string_new (NULL);
  gboolean good = TRUE;

  for (gsize at = 0; at < size && good; at += piece)
    {
      const char *line;
      gsize length;

      good = qsnap_qmp_framer_push (framer, (const char *)data + at, MIN (piece, size - at), NULL);
      while (good && (line = qsnap_qmp_framer_pop (framer, &length)) != NULL)
        {
          g_assert (length > 0 && line[length] != '\0');
          g_string_append_len (lines, line, (gssize)length);
          g_string_append_c (lines, '\n');
        }
    }

  return g_string_free (lines, FALSE);
}

static void
check_framer (const guint8 *data, gsize size)
{
  g_autofree char *bytewise = cut (data, size, 1);
  g_autofree char *in_pairs = cut (data, size, 2);

  g_assert_cmpstr (bytewise, ==, in_pairs);
}

static gboolean
on_event (const char *name, JsonNode *data, gint64 time, G_GNUC_UNUSED gpointer user_data)
{
  g_assert (name != NULL && time >= 0);
  if (data != NULL)
    json_node_unref (qsnap_json_copy (data));

  return TRUE;
}

static void
on_closed (G_GNUC_UNUSED const GError *error, gpointer user_data)
{
  int *n_closed = user_data;

  g_assert (g_atomic_int_add (n_closed, 1) == 0);
}

static void
run (QsnapQmpClient *client, const char *command, GUnixFDList *fds)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply = qsnap_qmp_client_call (client, command, NULL, fds, 0, NULL, &error);

  check_error (reply, error);
}

static void
run_pair (QsnapQmpClient *client)
{
  g_autoptr (GError) error = NULL;
  gboolean first;
  gboolean both =
      qsnap_qmp_client_call_pair (client, "stop", NULL, "cont", NULL, 0, &first, &error);

  check_error (both ? client : NULL, error);
  g_assert (first || !both);
}

/* What reads its answers with more care. */
static void
run_typed (QsnapQmpClient *client)
{
  static const char *const capabilities[] = { "background-snapshot", NULL };
  QsnapQmp qmp = { client, 0, NULL, FALSE };
  GHashTable *found = qsnap_qmp_query_capabilities (&qmp, NULL);
  char *status = qsnap_qmp_query_status (&qmp, NULL);
  int fd = open ("/dev/null", O_RDONLY | O_CLOEXEC);
  gboolean running;
  gint64 set;

  (void)qsnap_qmp_is_running (&qmp, &running, NULL);
  (void)qsnap_fdset_of_path (&qmp, "/a", &set, NULL);
  (void)qsnap_qmp_add_fd (&qmp, -1, "/a", fd, NULL);
  (void)qsnap_qmp_switch_capabilities (&qmp, capabilities, TRUE, NULL);
  close (fd);
  g_clear_pointer (&found, g_hash_table_unref);
  g_free (status);
}

static void
converse (QsnapQmpClient *client)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GUnixFDList) fds = g_unix_fd_list_new ();
  g_autoptr (JsonNode) greeting = qsnap_qmp_client_negotiate (client, 0, NULL, &error);

  check_error (greeting, error);
  if (greeting == NULL)
    return;

  g_assert (g_unix_fd_list_append (fds, STDIN_FILENO, NULL) == 0);
  run (client, "query-version", NULL);
  run (client, "getfd", fds);
  run_pair (client);
  run_typed (client);
}

static void
do_nothing (G_GNUC_UNUSED gpointer data)
{
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  const QsnapQmpHandlers handlers = { on_event, on_closed };
  int sockets[2];
  int n_closed = 0;
  HostilePeer *peer;
  g_autoptr (GSocket) socket = NULL;
  g_autoptr (GSocketConnection) connection = NULL;
  QsnapQmpClient *client;

  check_framer (data, size);

  g_assert (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
  socket = g_socket_new_from_fd (sockets[0], NULL);
  connection = g_socket_connection_factory_create_connection (socket);
  peer = hostile_peer_start (HOSTILE_QMP, sockets[1], data, size);
  client = qsnap_qmp_client_new (G_IO_STREAM (connection), &handlers, &n_closed, NULL);
  converse (client);
  qsnap_qmp_client_close (client);
  g_assert (qsnap_qmp_client_is_closed (client));
  /* The worker may be at it still. */
  (void)g_socket_shutdown (socket, TRUE, TRUE, NULL);
  hostile_peer_join (peer);
  qsnap_worker_run_and_wait (do_nothing, NULL);
  qsnap_qmp_client_unref (client);
  qsnap_worker_run_and_wait (do_nothing, NULL);
  g_assert (n_closed == 1);

  return 0;
}
