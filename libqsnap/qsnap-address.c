/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-address.h"

#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/un.h>

static GSocketConnectable *
parse_unix (const char *address, const char *path, GError **error)
{
  const gsize longest = sizeof ((struct sockaddr_un *)0)->sun_path - 1;

  if (*path == '\0')
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "the address \"%s\" has no path",
                   address);
      return NULL;
    }

  if (strlen (path) > longest)
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "the path of the address \"%s\" is longer than a socket's may be (%zu bytes): "
                   "change into its folder, or use a symbolic link",
                   address, longest);
      return NULL;
    }

  return G_SOCKET_CONNECTABLE (g_unix_socket_address_new (path));
}

static GSocketConnectable *
parse_tcp (const char *address, const char *host_and_port, GError **error)
{
  g_autoptr (GError) failure = NULL;
  GSocketConnectable *connectable = NULL;

  /* Port 0, which g_network_address_parse() takes for a missing one, is no QMP server's. */
  if (strrchr (host_and_port, ':') != NULL)
    connectable = g_network_address_parse (host_and_port, 0, &failure);

  if (connectable == NULL || g_network_address_get_port (G_NETWORK_ADDRESS (connectable)) == 0 ||
      *g_network_address_get_hostname (G_NETWORK_ADDRESS (connectable)) == '\0')
    {
      g_clear_object (&connectable);
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "the address \"%s\" is not of the form tcp:HOST:PORT", address);
    }

  return connectable;
}

GSocketConnectable *
qsnap_address_parse (const char *address, GError **error)
{
  if (g_str_has_prefix (address, "unix:"))
    return parse_unix (address, address + strlen ("unix:"), error);

  if (g_str_has_prefix (address, "tcp:"))
    return parse_tcp (address, address + strlen ("tcp:"), error);

  return parse_unix (address, address, error);
}

GIOStream *
qsnap_address_connect (const char *address,
                       const char *whose,
                       guint timeout_ms,
                       GCancellable *cancellable,
                       GError **error)
{
  g_autoptr (GSocketConnectable) connectable = qsnap_address_parse (address, error);
  g_autoptr (GSocketClient) client = g_socket_client_new ();
  GSocketConnection *connection;

  if (connectable == NULL)
    return NULL;

  g_socket_client_set_timeout (client, (timeout_ms + 999) / 1000);
  /* A proxy is for the web. */
  g_socket_client_set_enable_proxy (client, FALSE);
  connection = g_socket_client_connect (client, connectable, cancellable, error);
  if (connection == NULL)
    {
      g_prefix_error (error, "cannot connect to %s at %s: ", whose, address);
      return NULL;
    }

  /* The timeout was for connecting; a monitor may be silent for days. */
  g_socket_set_timeout (g_socket_connection_get_socket (connection), 0);

  return G_IO_STREAM (connection);
}
