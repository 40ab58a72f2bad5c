/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include <string.h>

/* A viewer that waits for the guest is no conflict. */
static gboolean
listens (QsnapProps *props)
{
  const char *address = qsnap_props_get (props, "vnc");

  return address != NULL && !g_str_equal (address, "none") &&
         !qsnap_props_get_bool (props, "reverse", FALSE);
}

/* NULL with @error unset: nothing to do. */
static char *
adapt_vnc (QsnapHost *host, const QsnapOption *option, const char *value, GError **error)
{
  static const char *const of_network[] = { "to", "ipv4", "ipv6", "websocket", NULL };
  g_autoptr (QsnapProps) props = qsnap_props_parse (value, "vnc", NULL);
  g_autofree char *path = NULL;
  g_autofree char *address = NULL;

  if (props == NULL || !listens (props))
    return NULL;

  path = qsnap_host_socket (host, option, "vnc", error);
  if (path == NULL)
    return NULL;

  if (!g_str_has_prefix (qsnap_props_get (props, "vnc"), "unix:") ||
      qsnap_props_has (props, "websocket"))
    qsnap_adapt_warn (host->context, "VNC listens at %s, not on a port of the network", path);
  address = g_strconcat ("unix:", path, NULL);
  qsnap_props_set (props, "vnc", address);
  qsnap_props_remove_all (props, of_network);

  return qsnap_props_to_text (props);
}

static QsnapHostVerdict
store_vnc (QsnapHost *host, QsnapOption *option, const char *prefix, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autofree char *value = adapt_vnc (host, option, option->value + strlen (prefix), &failure);

  if (failure != NULL)
    {
      g_propagate_error (error, g_steal_pointer (&failure));
      return QSNAP_HOST_REFUSE;
    }

  if (value != NULL)
    qsnap_option_take (option, g_strconcat (prefix, value, NULL));

  return QSNAP_HOST_KEEP;
}

QsnapHostVerdict
qsnap_host_vnc (QsnapHost *host, QsnapOption *option, GError **error)
{
  return store_vnc (host, option, "", error);
}

static gboolean
is_curses (const QsnapOption *option)
{
  return qsnap_option_is (option, "curses") || g_str_equal (option->value, "curses") ||
         g_str_has_prefix (option->value, "curses,");
}

QsnapHostVerdict
qsnap_host_display (QsnapHost *host, QsnapOption *option, GError **error)
{
  if (is_curses (option))
    {
      qsnap_adapt_warn (host->context, "the guest's display had a terminal, the revert's has none");
      qsnap_option_set (option, "display", "none");
    }
  else if (g_str_has_prefix (option->value, "vnc="))
    return store_vnc (host, option, "vnc=", error);

  return QSNAP_HOST_KEEP;
}

QsnapHostVerdict
qsnap_host_spice (QsnapHost *host, QsnapOption *option, GError **error)
{
  static const char *const listening[] = { "port", "tls-port", "unix", NULL };
  static const char *const of_network[] = {
    "port", "tls-port", "tls-channel", "ipv4", "ipv6", NULL
  };
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, NULL, error);
  g_autofree char *path = NULL;

  if (props == NULL)
    return QSNAP_HOST_REFUSE;
  if (qsnap_props_find (props, listening) == NULL)
    return QSNAP_HOST_KEEP;

  path = qsnap_host_socket (host, option, "spice", error);
  if (path == NULL)
    return QSNAP_HOST_REFUSE;

  if (!qsnap_props_get_bool (props, "unix", FALSE))
    qsnap_adapt_warn (host->context, "SPICE listens at %s, not on a port of the network", path);
  qsnap_props_remove_all (props, of_network);
  qsnap_props_set_bool (props, "unix", TRUE);
  qsnap_props_set (props, "addr", path);
  qsnap_option_store (option, props);

  return QSNAP_HOST_KEEP;
}
