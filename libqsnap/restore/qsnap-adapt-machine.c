/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

gboolean
qsnap_command_pin_machine (QsnapCommand *command, const char *machine, GError **error)
{
  gboolean named = FALSE;

  for (guint i = 0; i < command->options->len; i++)
    {
      QsnapOption *option = g_ptr_array_index (command->options, i);
      g_autoptr (QsnapProps) props = NULL;

      if (!qsnap_option_is (option, "machine") && !qsnap_option_is (option, "M"))
        continue;

      props = qsnap_option_parse (option, "type", error);
      if (props == NULL)
        return FALSE;
      if (qsnap_props_get (props, "type") == NULL)
        continue;

      named = TRUE;
      qsnap_props_set (props, "type", machine);
      qsnap_option_store (option, props);
    }

  if (!named)
    qsnap_command_add (command, "machine", machine);

  return TRUE;
}
