/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client of the guest agent: it is in the guest, so that anything may come from it. */

#include "config.h"

#include "fuzz.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile-peer.h"
#include "qsnap-agent.h"

/* Never up: the peer always answers, or closes. */
#define TIMEOUT_MS 20000
/* A thaw is tried once. */
#define THAW_MS 1

static int
listen_at (const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  g_assert (bind (listener, (const struct sockaddr *)&address, sizeof address) == 0);
  g_assert (listen (listener, 1) == 0);

  return listener;
}

static void
check_error (gboolean good, GError *error)
{
  g_assert (good == (error == NULL));
  if (error == NULL)
    return;

  g_assert (g_utf8_validate (error->message, -1, NULL));
  for (const char *p = error->message; *p != '\0'; p = g_utf8_next_char (p))
    g_assert (g_unichar_isprint (g_utf8_get_char (p)));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autofree char *path = g_build_filename (fuzz_folder_path (), "agent", NULL);
  QsnapAgent *agent = qsnap_agent_new (path);
  g_autoptr (GError) freeze_error = NULL;
  g_autoptr (GError) thaw_error = NULL;
  HostilePeer *peer;
  gboolean frozen;
  gboolean thawed;
  int listener;
  guint n_frozen = 0;

  fuzz_folder_empty ();
  listener = listen_at (path);
  peer = hostile_peer_listen (HOSTILE_AGENT, listener, data, size);
  qsnap_agent_set_timeouts (agent, TIMEOUT_MS, TIMEOUT_MS, THAW_MS);

  frozen = qsnap_agent_freeze (agent, &n_frozen, NULL, &freeze_error);
  check_error (frozen, freeze_error);
  g_assert (n_frozen <= G_MAXINT);
  thawed = qsnap_agent_thaw (agent, &thaw_error);
  check_error (thawed, thaw_error);
  qsnap_agent_free (agent);

  shutdown (listener, SHUT_RDWR);
  hostile_peer_join (peer);
  close (listener);

  return 0;
}
