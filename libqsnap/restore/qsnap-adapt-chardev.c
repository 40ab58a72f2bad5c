/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include <string.h>

/* What says where a socket is and how one speaks over it. */
static const char *const of_sockets[] = {
  "host",      "port",      "to",        "ipv4",         "ipv6",   "delay",  "nodelay",
  "abstract",  "tight",     "reconnect", "reconnect-ms", "telnet", "tn3270", "websocket",
  "tls-creds", "tls-authz", "path",      "fd",           "server", "wait",   NULL
};

/* --- -chardev ------------------------------------------------------------------------------ */

static const char *
id_of (QsnapProps *props)
{
  const char *id = qsnap_props_get (props, "id");

  return id != NULL ? id : "chardev";
}

/* What has to be spoken on the socket before the guest's own bytes, or NULL. */
static const char *
find_protocol (QsnapProps *props)
{
  static const char *const switches[] = { "telnet", "tn3270", "websocket" };

  for (guint i = 0; i < G_N_ELEMENTS (switches); i++)
    if (qsnap_props_get_bool (props, switches[i], FALSE))
      return switches[i];

  return qsnap_props_has (props, "tls-creds") ? "tls-creds" : NULL;
}

/* Whoever connected over the network, or with telnet, has to know. */
static void
warn_of_socket (QsnapHost *host, const char *who, QsnapProps *props, const char *path)
{
  const char *protocol = find_protocol (props);

  if (protocol != NULL)
    qsnap_adapt_warn (host->context, "%s listens at %s, without %s", who, path, protocol);
  else if (qsnap_props_has (props, "port"))
    qsnap_adapt_warn (host->context, "%s listens at %s, not on a port of the network", who, path);
}

static QsnapHostVerdict
adapt_socket (QsnapHost *host, QsnapOption *option, QsnapProps *props, GError **error)
{
  const char *id = id_of (props);
  g_autofree char *who = g_strconcat ("the chardev ", id, NULL);
  g_autofree char *path = NULL;

  if (!qsnap_props_get_bool (props, "server", FALSE))
    {
      if (!qsnap_props_has (props, "fd"))
        return QSNAP_HOST_KEEP;
      qsnap_option_refuse (option, error, "a descriptor that QEMU was started with is gone");
      return QSNAP_HOST_REFUSE;
    }

  path = qsnap_host_socket (host, option, id, error);
  if (path == NULL)
    return QSNAP_HOST_REFUSE;

  warn_of_socket (host, who, props, path);
  qsnap_props_remove_all (props, of_sockets);
  qsnap_props_set (props, "path", path);
  qsnap_props_set_bool (props, "server", TRUE);
  qsnap_props_set_bool (props, "wait", FALSE);

  return QSNAP_HOST_KEEP;
}

static QsnapHostVerdict
adapt_file (QsnapHost *host, QsnapOption *option, QsnapProps *props, GError **error)
{
  g_autofree char *path = NULL;

  if (qsnap_props_has (props, "input-path"))
    {
      qsnap_option_refuse (option, error, "its input was read by the original already");
      return QSNAP_HOST_REFUSE;
    }

  path = qsnap_host_file (host, id_of (props), ".log");
  qsnap_props_set (props, "path", path);

  return QSNAP_HOST_KEEP;
}

/* A revert has no terminal. */
static QsnapHostVerdict
adapt_stdio (QsnapHost *host, QsnapOption *option, QsnapProps *props, GError **error)
{
  g_autofree char *path = qsnap_host_file (host, id_of (props), ".log");

  qsnap_adapt_warn (host->context, "the chardev %s has no terminal; its output goes to %s",
                    id_of (props), path);
  qsnap_props_set (props, "backend", "file");
  qsnap_props_remove (props, "signal");
  qsnap_props_set (props, "path", path);

  return QSNAP_HOST_KEEP;
}

/* Since 10.0 it may have a link to its terminal. */
static QsnapHostVerdict
adapt_pty (QsnapHost *host, QsnapOption *option, QsnapProps *props, GError **error)
{
  g_autofree char *path = NULL;

  if (!qsnap_props_has (props, "path"))
    return QSNAP_HOST_KEEP;

  path = qsnap_host_file (host, id_of (props), ".pty");
  qsnap_props_set (props, "path", path);

  return QSNAP_HOST_KEEP;
}

static QsnapHostVerdict
refuse_device (QsnapHost *host, QsnapOption *option, QsnapProps *props, GError **error)
{
  qsnap_option_refuse (option, error, "%s is the original's: two guests cannot have it",
                       qsnap_props_get (props, "backend"));

  return QSNAP_HOST_REFUSE;
}

static const struct
{
  const char *name;
  QsnapHostVerdict (*adapt) (QsnapHost *, QsnapOption *, QsnapProps *, GError **);
} backends[] = {
  { "file", adapt_file },     { "parallel", refuse_device }, { "parport", refuse_device },
  { "pipe", refuse_device },  { "pty", adapt_pty },          { "serial", refuse_device },
  { "socket", adapt_socket }, { "stdio", adapt_stdio },      { "tty", refuse_device },
  { "udp", refuse_device },
};

QsnapHostVerdict
qsnap_host_chardev (QsnapHost *host, QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "backend", error);
  QsnapHostVerdict verdict = QSNAP_HOST_KEEP;
  const char *backend;

  if (props == NULL)
    return QSNAP_HOST_REFUSE;

  backend = qsnap_props_get (props, "backend");
  for (guint i = 0; i < G_N_ELEMENTS (backends); i++)
    if (g_strcmp0 (backend, backends[i].name) == 0)
      {
        verdict = backends[i].adapt (host, option, props, error);
        break;
      }

  if (qsnap_props_has (props, "logfile"))
    {
      g_autofree char *path = qsnap_host_file (host, id_of (props), ".logfile");

      qsnap_props_set (props, "logfile", path);
    }
  qsnap_option_store (option, props);

  return verdict;
}

/* --- -serial and the like ------------------------------------------------------------------ */

/* "unix:PATH,…", "tcp:HOST:PORT,…": what comes before the list, or NULL. */
static const char *
skip_network (const char *value)
{
  static const char *const prefixes[] = { "unix:", "tcp:", "telnet:", "tn3270:", "websocket:" };

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    if (g_str_has_prefix (value, prefixes[i]))
      return value + strlen (prefixes[i]);

  return NULL;
}

static QsnapHostVerdict
adapt_legacy_socket (QsnapHost *host,
                     QsnapOption *option,
                     const char *mux,
                     const char *stem,
                     const char *address,
                     GError **error)
{
  g_autoptr (QsnapProps) given = qsnap_props_parse (address, "path", NULL);
  g_autoptr (QsnapProps) props = NULL;
  g_autofree char *path = NULL;
  g_autofree char *list = NULL;

  if (given == NULL || !qsnap_props_get_bool (given, "server", FALSE))
    return QSNAP_HOST_KEEP;

  path = qsnap_host_socket (host, option, stem, error);
  if (path == NULL)
    return QSNAP_HOST_REFUSE;
  if (!g_str_has_prefix (option->value + strlen (mux), "unix:"))
    qsnap_adapt_warn (host->context, "-%s %s listens at %s", option->name, option->value, path);

  props = qsnap_props_parse ("", NULL, NULL);
  qsnap_props_set (props, "path", path);
  qsnap_props_set_bool (props, "server", TRUE);
  qsnap_props_set_bool (props, "wait", FALSE);
  list = qsnap_props_to_text (props);
  /* The path has no key here. */
  qsnap_option_take (option, g_strconcat (mux, "unix:", list + strlen ("path="), NULL));

  return QSNAP_HOST_KEEP;
}

/* A monitor that nobody can talk to is none; "none" keeps QEMU from making its own. */
static QsnapHostVerdict
adapt_legacy_stdio (QsnapHost *host, QsnapOption *option, const char *stem)
{
  static const char *const monitors[] = { "monitor", "qmp", "qmp-pretty", NULL };
  g_autofree char *path = NULL;

  if (g_strv_contains (monitors, option->name))
    {
      qsnap_adapt_warn (host->context, "the monitor on the terminal (-%s %s) is left out",
                        option->name, option->value);
      qsnap_option_set (option, "monitor", "none");
      return QSNAP_HOST_KEEP;
    }

  path = qsnap_host_file (host, stem, ".log");
  qsnap_adapt_warn (host->context, "-%s %s has no terminal; its output goes to %s", option->name,
                    option->value, path);
  qsnap_option_take (option, g_strconcat ("file:", path, NULL));

  return QSNAP_HOST_KEEP;
}

static gboolean
is_device (const char *value)
{
  return g_str_has_prefix (value, "udp:") || g_str_has_prefix (value, "pipe:") ||
         g_str_has_prefix (value, "/dev/");
}

QsnapHostVerdict
qsnap_host_legacy (QsnapHost *host, QsnapOption *option, GError **error)
{
  const char *kind = g_str_has_prefix (option->name, "qmp") ? "qmp" : option->name;
  g_autofree char *stem = g_strdup_printf ("%s%u", kind, qsnap_host_count (host, kind));
  const char *mux = g_str_has_prefix (option->value, "mon:") ? "mon:" : "";
  const char *value = option->value + strlen (mux);
  const char *address = skip_network (value);

  /* None of these options goes without an argument. */
  g_assert (option->value != NULL);
  if (address != NULL)
    return adapt_legacy_socket (host, option, mux, stem, address, error);
  if (g_str_equal (value, "stdio"))
    return adapt_legacy_stdio (host, option, stem);
  if (g_str_has_prefix (value, "file:"))
    {
      g_autofree char *path = qsnap_host_file (host, stem, ".log");

      qsnap_option_take (option, g_strconcat (mux, "file:", path, NULL));
      return QSNAP_HOST_KEEP;
    }
  if (is_device (value))
    {
      qsnap_option_refuse (option, error, "it is the original's: two guests cannot have it");
      return QSNAP_HOST_REFUSE;
    }

  return QSNAP_HOST_KEEP;
}
