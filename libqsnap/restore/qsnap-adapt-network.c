/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

static const char *const descriptors[] = { "fd", "fds", "vhostfd", "vhostfds", "sock-fds", NULL };

/* Why two guests cannot both have this backend, or NULL. */
static const char *
find_conflict (const char *type, QsnapProps *props)
{
  const char *local = qsnap_props_get (props, "local.type");
  const char *address = qsnap_props_get (props, "addr.type");

  if (g_str_equal (type, "tap") && qsnap_props_find (props, descriptors) != NULL)
    return "a descriptor that QEMU was started with is gone (a tap that QEMU opens itself, without "
           "fd, vhostfd and ifname, can be brought back)";
  if (qsnap_props_find (props, descriptors) != NULL || g_strcmp0 (local, "fd") == 0 ||
      g_strcmp0 (address, "fd") == 0)
    return "a descriptor that QEMU was started with is gone";

  if (g_str_equal (type, "tap") && qsnap_props_has (props, "ifname"))
    return "the network interface is the original's";
  if (g_str_equal (type, "socket") &&
      (qsnap_props_has (props, "listen") || qsnap_props_has (props, "udp")))
    return "the address is the original's";
  if (g_str_equal (type, "stream") && qsnap_props_get_bool (props, "server", FALSE))
    return "the address is the original's";
  if (g_str_equal (type, "dgram") && qsnap_props_has (props, "local"))
    return "the address is the original's";

  return NULL;
}

QsnapHostVerdict
qsnap_host_network (QsnapHost *host, QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "type", error);
  const char *type = props != NULL ? qsnap_props_get (props, "type") : NULL;
  const char *conflict;

  if (props == NULL)
    return QSNAP_HOST_REFUSE;
  if (type == NULL)
    return QSNAP_HOST_KEEP;

  conflict = find_conflict (type, props);
  if (conflict != NULL)
    {
      qsnap_option_refuse (option, error, "%s", conflict);
      return QSNAP_HOST_REFUSE;
    }

  if (g_str_equal (type, "user") && qsnap_props_has (props, "hostfwd"))
    {
      qsnap_adapt_warn (host->context,
                        "the ports that are forwarded to the guest (hostfwd) are the original's: "
                        "-%s %s",
                        option->name, option->value);
      qsnap_props_remove (props, "hostfwd");
      qsnap_option_store (option, props);
    }

  return QSNAP_HOST_KEEP;
}
