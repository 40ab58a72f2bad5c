/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include <errno.h>
#include <unistd.h>

/* The option's properties, if it is a secret. FALSE: it cannot be read. */
static gboolean
parse_secret (const QsnapOption *option, QsnapProps **props, GError **error)
{
  g_autoptr (QsnapProps) parsed = NULL;

  *props = NULL;
  if (!qsnap_option_is (option, "object"))
    return TRUE;

  parsed = qsnap_option_parse (option, "qom-type", error);
  if (parsed == NULL)
    return FALSE;

  if (g_strcmp0 (qsnap_props_get (parsed, "qom-type"), "secret") == 0)
    *props = g_steal_pointer (&parsed);

  return TRUE;
}

static gboolean
is_used (QsnapCommand *command, QsnapProps *secret)
{
  const char *id = qsnap_props_get (secret, "id");

  return id != NULL && qsnap_command_refers_to (command, id);
}

/* libvirt gives each guest a key, in a file that goes with the guest, even if nothing is encrypted
 * with it. A secret may have been the only one that used another, which most often came before it.
 */
static gboolean
drop_unused (QsnapCommand *command, GError **error)
{
  gboolean dropped = TRUE;

  while (dropped)
    {
      dropped = FALSE;
      for (guint i = command->options->len; i > 0; i--)
        {
          g_autoptr (QsnapProps) secret = NULL;

          if (!parse_secret (g_ptr_array_index (command->options, i - 1), &secret, error))
            return FALSE;
          if (secret == NULL || is_used (command, secret))
            continue;
          g_ptr_array_remove_index (command->options, i - 1);
          dropped = TRUE;
        }
    }

  return TRUE;
}

static gboolean
check_file (const QsnapOption *option,
            QsnapProps *secret,
            const QsnapAdaptContext *context,
            GError **error)
{
  const char *file = qsnap_props_get (secret, "file");
  g_autofree char *path = file != NULL ? qsnap_adapt_resolve (context, file) : NULL;

  if (file == NULL)
    return TRUE;
  if (path == NULL)
    return qsnap_option_refuse (
        option, error, "the file %s is relative, and the working directory is not known", file);
  if (access (path, R_OK) != 0)
    return qsnap_option_refuse (option, error,
                                "another option uses this secret, and its file cannot be read (%s)",
                                g_strerror (errno));

  return TRUE;
}

gboolean
qsnap_command_adapt_secrets (QsnapCommand *command,
                             const QsnapAdaptContext *context,
                             GError **error)
{
  if (!drop_unused (command, error))
    return FALSE;

  for (guint i = 0; i < command->options->len; i++)
    {
      const QsnapOption *option = g_ptr_array_index (command->options, i);
      g_autoptr (QsnapProps) secret = NULL;

      if (!parse_secret (option, &secret, error) ||
          (secret != NULL && !check_file (option, secret, context, error)))
        return FALSE;
    }

  return TRUE;
}
