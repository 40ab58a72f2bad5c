/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All that is asked before a capture, of a QEMU that answers what it likes. */

#include "fuzz.h"

#include <qsnap/qsnap.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile-peer.h"

static void
assert_text (GStrv lines)
{
  for (guint i = 0; lines != NULL && lines[i] != NULL; i++)
    g_assert (*lines[i] != '\0' && g_utf8_validate (lines[i], -1, NULL));
}

static void
check (QsnapSession *session, QsnapSnapshotMode mode)
{
  g_autoptr (GFile) directory = g_file_new_build_filename (fuzz_folder_path (), "new", NULL);
  g_autoptr (QsnapSnapshotOptions) options = qsnap_snapshot_options_new (directory);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapReport) report = NULL;
  g_auto (GStrv) problems = NULL;
  g_auto (GStrv) warnings = NULL;

  qsnap_snapshot_options_set_mode (options, mode);
  report = qsnap_session_check (session, options, NULL, &error);
  g_assert ((report == NULL) == (error != NULL));
  if (report == NULL)
    return;

  problems = qsnap_report_get_problems (report);
  warnings = qsnap_report_get_warnings (report);
  assert_text (problems);
  assert_text (warnings);
  g_assert (qsnap_report_get_ok (report) == (problems == NULL || *problems == NULL));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  int sockets[2];
  HostilePeer *peer;
  g_autoptr (GSocket) socket = NULL;
  g_autoptr (GSocketConnection) connection = NULL;
  QsnapSession *session;

  g_assert (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
  socket = g_socket_new_from_fd (sockets[0], NULL);
  connection = g_socket_connection_factory_create_connection (socket);
  peer = hostile_peer_start (HOSTILE_QMP, sockets[1], data, size);
  session = qsnap_session_new_for_stream (G_IO_STREAM (connection));
  if (qsnap_session_open (session, NULL, NULL))
    check (session, (QsnapSnapshotMode)(size % (QSNAP_SNAPSHOT_MODE_DISKS_ONLY + 1)));
  g_object_unref (session);
  (void)g_socket_shutdown (socket, TRUE, TRUE, NULL);
  hostile_peer_join (peer);
  while (g_main_context_iteration (NULL, FALSE))
    ;

  return 0;
}
