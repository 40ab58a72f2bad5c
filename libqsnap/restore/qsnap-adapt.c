/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include "qsnap/qsnap-error.h"

gboolean
qsnap_option_is (const QsnapOption *option, const char *name)
{
  return option->name != NULL && g_str_equal (option->name, name);
}

/* Arguments are bytes, messages are UTF-8. */
static char *
label (const QsnapOption *option)
{
  g_autofree char *text = NULL;

  if (option->name == NULL)
    return g_utf8_make_valid (option->value, -1);

  text = option->value != NULL ? g_strdup_printf ("-%s %s", option->name, option->value)
                               : g_strconcat ("-", option->name, NULL);

  return g_utf8_make_valid (text, -1);
}

gboolean
qsnap_option_refuse (const QsnapOption *option, GError **error, const char *reason, ...)
{
  g_autofree char *name = label (option);
  g_autofree char *text = NULL;
  g_autofree char *shown = NULL;
  va_list arguments;

  va_start (arguments, reason);
  text = g_strdup_vprintf (reason, arguments);
  va_end (arguments);

  shown = g_utf8_make_valid (text, -1);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "%s: %s; give another command line for the revert", name, shown);

  return FALSE;
}

QsnapProps *
qsnap_option_parse (const QsnapOption *option, const char *implied_key, GError **error)
{
  g_autoptr (GError) reason = NULL;
  QsnapProps *props = qsnap_props_parse (option->value, implied_key, &reason);

  if (props == NULL)
    qsnap_option_refuse (option, error, "%s", reason->message);

  return props;
}

void
qsnap_option_store (QsnapOption *option, QsnapProps *props)
{
  qsnap_option_take (option, qsnap_props_to_text (props));
}

void
qsnap_option_take (QsnapOption *option, char *value)
{
  g_free (option->value);
  option->value = value;
}

void
qsnap_option_set (QsnapOption *option, const char *name, const char *value)
{
  g_free (option->name);
  option->name = g_strdup (name);
  qsnap_option_take (option, g_strdup (value));
}

gboolean
qsnap_command_refers_to (QsnapCommand *command, const char *name)
{
  for (guint i = 0; i < command->options->len; i++)
    {
      const QsnapOption *option = g_ptr_array_index (command->options, i);
      g_autoptr (QsnapProps) props =
          option->value != NULL ? qsnap_props_parse (option->value, NULL, NULL) : NULL;

      if (props != NULL && qsnap_props_refer_to (props, name))
        return TRUE;
    }

  return FALSE;
}

char *
qsnap_adapt_resolve (const QsnapAdaptContext *context, const char *path)
{
  const char *directory = context != NULL ? context->working_directory : NULL;

  if (!g_path_is_absolute (path) && directory == NULL)
    return NULL;

  return g_canonicalize_filename (path, directory);
}

void
qsnap_adapt_warn (const QsnapAdaptContext *context, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list arguments;

  if (context->warnings == NULL)
    return;

  va_start (arguments, format);
  text = g_strdup_vprintf (format, arguments);
  va_end (arguments);

  g_ptr_array_add (context->warnings, g_utf8_make_valid (text, -1));
}
