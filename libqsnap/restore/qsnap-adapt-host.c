/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include <string.h>
#include <sys/un.h>

/* The monitors that a revert has for the library. */
static const char *const our_monitors[] = { "qsnap-monitor", "qsnap-rescue-monitor", NULL };

/* Of the revert itself. */
static const char *const reserved[] = { "qsnap.sock",  "rescue",   "pages",
                                        "revert.json", "qemu.log", NULL };

/* --- files in the revert's directory ------------------------------------------------------- */

/* An id of a hostile command line is no path. */
static char *
clean_stem (const char *stem)
{
  char *clean = g_strdup (stem);

  g_strcanon (clean, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_.", '_');

  return clean;
}

char *
qsnap_host_file (QsnapHost *host, const char *stem, const char *suffix)
{
  g_autofree char *clean = clean_stem (stem);
  g_autofree char *name = g_strconcat (clean, suffix, NULL);

  for (guint n = 2; g_hash_table_contains (host->names, name); n++)
    {
      g_free (name);
      name = g_strdup_printf ("%s-%u%s", clean, n, suffix);
    }
  g_hash_table_add (host->names, g_strdup (name));

  return g_build_filename (host->context->directory, name, NULL);
}

char *
qsnap_host_socket (QsnapHost *host, const QsnapOption *option, const char *stem, GError **error)
{
  g_autofree char *path = qsnap_host_file (host, stem, ".sock");
  gsize longest = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1;

  if (strlen (path) <= longest)
    return g_steal_pointer (&path);

  qsnap_option_refuse (option, error,
                       "the path %s is too long for a socket, which may have %" G_GSIZE_FORMAT
                       " bytes: revert into another directory, or",
                       path, longest);

  return NULL;
}

guint
qsnap_host_count (QsnapHost *host, const char *kind)
{
  guint count = GPOINTER_TO_UINT (g_hash_table_lookup (host->counts, kind));

  g_hash_table_insert (host->counts, g_strdup (kind), GUINT_TO_POINTER (count + 1));

  return count;
}

/* --- options of their own kind ------------------------------------------------------------- */

static QsnapHostVerdict
drop (QsnapHost *host, QsnapOption *option, GError **error)
{
  return QSNAP_HOST_DROP;
}

static QsnapHostVerdict
drop_debugger (QsnapHost *host, QsnapOption *option, GError **error)
{
  qsnap_adapt_warn (host->context, "the revert waits for no debugger: -%s is left out",
                    option->name);

  return QSNAP_HOST_DROP;
}

static QsnapHostVerdict
refuse_descriptor (QsnapHost *host, QsnapOption *option, GError **error)
{
  qsnap_option_refuse (option, error, "a descriptor that QEMU was started with is gone");

  return QSNAP_HOST_REFUSE;
}

static QsnapHostVerdict
refuse_file_of_options (QsnapHost *host, QsnapOption *option, GError **error)
{
  qsnap_option_refuse (option, error, "options in a file cannot be adapted");

  return QSNAP_HOST_REFUSE;
}

static QsnapHostVerdict
refuse_tpm (QsnapHost *host, QsnapOption *option, GError **error)
{
  qsnap_option_refuse (option, error, "a TPM serves one guest");

  return QSNAP_HOST_REFUSE;
}

static QsnapHostVerdict
adapt_pidfile (QsnapHost *host, QsnapOption *option, GError **error)
{
  qsnap_option_take (option, qsnap_host_file (host, "qemu", ".pid"));

  return QSNAP_HOST_KEEP;
}

static QsnapHostVerdict
adapt_debug_log (QsnapHost *host, QsnapOption *option, GError **error)
{
  qsnap_option_take (option, qsnap_host_file (host, "qemu-debug", ".log"));

  return QSNAP_HOST_KEEP;
}

/* --- options with properties --------------------------------------------------------------- */

static void
set_file (QsnapHost *host,
          QsnapOption *option,
          QsnapProps *props,
          const char *key,
          const char *stem,
          const char *suffix)
{
  g_autofree char *path = qsnap_host_file (host, stem, suffix);

  qsnap_props_set (props, key, path);
  qsnap_option_store (option, props);
}

static QsnapHostVerdict
adapt_trace (QsnapHost *host, QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "enable", error);

  if (props == NULL)
    return QSNAP_HOST_REFUSE;
  if (qsnap_props_has (props, "file"))
    set_file (host, option, props, "file", "trace", ".log");

  return QSNAP_HOST_KEEP;
}

/* Without a path it would be a file in the working directory. */
static QsnapHostVerdict
adapt_audio (QsnapHost *host, QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "driver", error);
  const char *id;

  if (props == NULL)
    return QSNAP_HOST_REFUSE;

  id = qsnap_props_get (props, "id");
  if (g_strcmp0 (qsnap_props_get (props, "driver"), "wav") == 0)
    set_file (host, option, props, "path", id != NULL ? id : "audio", ".wav");

  return QSNAP_HOST_KEEP;
}

static QsnapHostVerdict
adapt_object (QsnapHost *host, QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "qom-type", error);
  const char *id;

  if (props == NULL)
    return QSNAP_HOST_REFUSE;

  id = qsnap_props_get (props, "id");
  if (g_strcmp0 (qsnap_props_get (props, "qom-type"), "filter-dump") == 0)
    set_file (host, option, props, "file", id != NULL ? id : "filter-dump", ".pcap");

  return QSNAP_HOST_KEEP;
}

/* The guest has to learn that it is a new generation. */
static QsnapHostVerdict
adapt_device (QsnapHost *host, QsnapOption *option, GError **error)
{
  static const char *const descriptors[] = { "vhostfd", "vhostfds", "fd", NULL };
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "driver", error);

  if (props == NULL)
    return QSNAP_HOST_REFUSE;
  if (qsnap_props_find (props, descriptors) != NULL)
    return refuse_descriptor (host, option, error);

  if (g_strcmp0 (qsnap_props_get (props, "driver"), "vmgenid") == 0 &&
      qsnap_props_has (props, "guid"))
    {
      qsnap_props_set (props, "guid", "auto");
      qsnap_option_store (option, props);
    }

  return QSNAP_HOST_KEEP;
}

/* Only that of an earlier revert goes; the others have a chardev of their own. */
static gboolean
is_ours (const char *chardev)
{
  return chardev != NULL && g_strv_contains (our_monitors, chardev);
}

static QsnapHostVerdict
adapt_mon (QsnapHost *host, QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "chardev", error);

  if (props == NULL)
    return QSNAP_HOST_REFUSE;

  return is_ours (qsnap_props_get (props, "chardev")) ? QSNAP_HOST_DROP : QSNAP_HOST_KEEP;
}

static QsnapHostVerdict
adapt_chardev (QsnapHost *host, QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, "backend", error);

  if (props == NULL)
    return QSNAP_HOST_REFUSE;
  if (is_ours (qsnap_props_get (props, "id")))
    return QSNAP_HOST_DROP;

  return qsnap_host_chardev (host, option, error);
}

/* It works on the options that were given, so it would put back what was adapted. */
static QsnapHostVerdict
adapt_set (QsnapHost *host, QsnapOption *option, GError **error)
{
  static const char *const groups[] = { "chardev.", "drive.", "netdev." };

  for (guint i = 0; i < G_N_ELEMENTS (groups); i++)
    if (g_str_has_prefix (option->value, groups[i]))
      {
        qsnap_option_refuse (option, error, "it changes an option that is adapted itself");
        return QSNAP_HOST_REFUSE;
      }

  return QSNAP_HOST_KEEP;
}

/* --- descriptors --------------------------------------------------------------------------- */

static gboolean
mentions (const QsnapOption *option, const char *path)
{
  const char *at = option->value != NULL ? strstr (option->value, path) : NULL;

  for (; at != NULL; at = strstr (at + 1, path))
    if (!g_ascii_isdigit (at[strlen (path)]))
      return TRUE;

  return FALSE;
}

/* Whether nothing that is left opens a descriptor of this -add-fd. */
static gboolean
check_descriptor (QsnapCommand *command, const QsnapOption *option, GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_option_parse (option, NULL, error);
  const char *set = props != NULL ? qsnap_props_get (props, "set") : NULL;
  g_autofree char *path = set != NULL ? g_strconcat ("/dev/fdset/", set, NULL) : NULL;

  if (props == NULL)
    return FALSE;
  if (set == NULL || *set == '\0' || set[strspn (set, "0123456789")] != '\0')
    return qsnap_option_refuse (option, error, "it says no number of a set");

  for (guint i = 0; i < command->options->len; i++)
    {
      const QsnapOption *user = g_ptr_array_index (command->options, i);

      if (mentions (user, path))
        return qsnap_option_refuse (user, error,
                                    "a descriptor that QEMU was started with is gone (-add-fd %s)",
                                    option->value);
    }

  return TRUE;
}

/* What opened them has files of its own by now. */
static gboolean
drop_descriptors (QsnapCommand *command, GError **error)
{
  guint i = 0;

  while (i < command->options->len)
    {
      const QsnapOption *option = g_ptr_array_index (command->options, i);

      if (!qsnap_option_is (option, "add-fd"))
        i++;
      else if (check_descriptor (command, option, error))
        g_ptr_array_remove_index (command->options, i);
      else
        return FALSE;
    }

  return TRUE;
}

/* --- all ----------------------------------------------------------------------------------- */

static const struct
{
  const char *name;
  QsnapHostFunc adapt;
} handlers[] = {
  { "S", drop },
  { "daemonize", drop },
  { "incoming", drop },
  { "loadvm", drop },
  { "preconfig", drop },
  { "qtest", drop },
  { "qtest-log", drop },
  { "writeconfig", drop },
  { "gdb", drop_debugger },
  { "s", drop_debugger },
  { "readconfig", refuse_file_of_options },
  { "tpmdev", refuse_tpm },
  { "D", adapt_debug_log },
  { "audiodev", adapt_audio },
  { "chardev", adapt_chardev },
  { "curses", qsnap_host_display },
  { "debugcon", qsnap_host_legacy },
  { "device", adapt_device },
  { "display", qsnap_host_display },
  { "mon", adapt_mon },
  { "monitor", qsnap_host_legacy },
  { "net", qsnap_host_network },
  { "netdev", qsnap_host_network },
  { "nic", qsnap_host_network },
  { "object", adapt_object },
  { "parallel", qsnap_host_legacy },
  { "pidfile", adapt_pidfile },
  { "qmp", qsnap_host_legacy },
  { "qmp-pretty", qsnap_host_legacy },
  { "serial", qsnap_host_legacy },
  { "set", adapt_set },
  { "spice", qsnap_host_spice },
  { "trace", adapt_trace },
  { "vnc", qsnap_host_vnc },
};

static QsnapHostVerdict
adapt_option (QsnapHost *host, QsnapOption *option, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (handlers); i++)
    if (qsnap_option_is (option, handlers[i].name))
      return handlers[i].adapt (host, option, error);

  return QSNAP_HOST_KEEP;
}

gboolean
qsnap_command_adapt_host (QsnapCommand *command, const QsnapAdaptContext *context, GError **error)
{
  g_autoptr (GHashTable) names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) counts = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  QsnapHost host = { context, names, counts };
  guint i = 0;

  for (guint j = 0; reserved[j] != NULL; j++)
    g_hash_table_add (names, g_strdup (reserved[j]));

  while (i < command->options->len)
    switch (adapt_option (&host, g_ptr_array_index (command->options, i), error))
      {
      case QSNAP_HOST_KEEP:
        i++;
        break;
      case QSNAP_HOST_DROP:
        g_ptr_array_remove_index (command->options, i);
        break;
      case QSNAP_HOST_REFUSE:
        return FALSE;
      default:
        g_assert_not_reached ();
      }

  return qsnap_command_adapt_secrets (command, context, error) && drop_descriptors (command, error);
}
