/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-command.h"

#include <string.h>

#include "restore/qsnap-option-props.h"

/* All that QEMU 6.0 to 10.0 has. Every other option takes the next argument. */
static const char *const without_argument[] = { "S",
                                                "alt-grab",
                                                "async-teardown",
                                                "audio-help",
                                                "ctrl-grab",
                                                "curses",
                                                "daemonize",
                                                "enable-fips",
                                                "enable-kvm",
                                                "enable-sync-profile",
                                                "full-screen",
                                                "h",
                                                "help",
                                                "jitdump",
                                                "mem-prealloc",
                                                "no-acpi",
                                                "no-fd-bootchk",
                                                "no-hpet",
                                                "no-quit",
                                                "no-reboot",
                                                "no-shutdown",
                                                "no-user-config",
                                                "nodefaults",
                                                "nographic",
                                                "old-param",
                                                "one-insn-per-tb",
                                                "only-migratable",
                                                "perfmap",
                                                "portrait",
                                                "preconfig",
                                                "s",
                                                "sdl",
                                                "semihosting",
                                                "show-cursor",
                                                "singlestep",
                                                "snapshot",
                                                "usb",
                                                "version",
                                                "win2k-hack",
                                                "xen-attach",
                                                "xen-domid-restrict",
                                                NULL };

static const char *const loader_with_argument[] = {
  "--argv0",         "--audit",        "--glibc-hwcaps-mask", "--glibc-hwcaps-prepend",
  "--inhibit-rpath", "--library-path", "--preload",           NULL
};

/* --- options ------------------------------------------------------------------------------- */

static void
option_free (QsnapOption *option)
{
  g_free (option->name);
  g_free (option->value);
  g_free (option);
}

static void
add_option (QsnapCommand *command, const char *name, const char *value)
{
  QsnapOption *option = g_new0 (QsnapOption, 1);

  option->name = g_strdup (name);
  option->value = g_strdup (value);
  g_ptr_array_add (command->options, option);
}

void
qsnap_command_add (QsnapCommand *command, const char *name, const char *value)
{
  add_option (command, name, value);
}

void
qsnap_command_free (QsnapCommand *command)
{
  g_ptr_array_unref (command->program);
  g_ptr_array_unref (command->options);
  g_free (command);
}

GStrv
qsnap_command_to_strv (QsnapCommand *command)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  for (guint i = 0; i < command->program->len; i++)
    g_strv_builder_add (builder, g_ptr_array_index (command->program, i));

  for (guint i = 0; i < command->options->len; i++)
    {
      const QsnapOption *option = g_ptr_array_index (command->options, i);

      if (option->name != NULL)
        {
          g_autofree char *name = g_strconcat ("-", option->name, NULL);

          g_strv_builder_add (builder, name);
        }
      if (option->value != NULL)
        g_strv_builder_add (builder, option->value);
    }

  return g_strv_builder_end (builder);
}

/* --- the program --------------------------------------------------------------------------- */

const char *
qsnap_command_get_program (QsnapCommand *command)
{
  return g_ptr_array_index (command->program, command->program->len - 1);
}

void
qsnap_command_set_program (QsnapCommand *command, const char *program)
{
  g_ptr_array_set_size (command->program, 0);
  g_ptr_array_add (command->program, g_strdup (program));
}

/* A QEMU that brings its own libraries is run by their loader. */
static gboolean
is_loader (const char *program)
{
  g_autofree char *name = g_path_get_basename (program);

  return g_str_has_prefix (name, "ld-linux") || g_str_has_prefix (name, "ld.so");
}

/* NULL: there is only a loader. */
static const char *const *
take_program (QsnapCommand *command, const char *const *arguments)
{
  const char *const *next = arguments;

  if (is_loader (*next))
    {
      g_ptr_array_add (command->program, g_strdup (*next++));
      while (*next != NULL && g_str_has_prefix (*next, "--"))
        {
          gboolean takes_one = g_strv_contains (loader_with_argument, *next);

          g_ptr_array_add (command->program, g_strdup (*next++));
          if (takes_one && *next != NULL)
            g_ptr_array_add (command->program, g_strdup (*next++));
        }
    }

  if (*next == NULL)
    return NULL;

  g_ptr_array_add (command->program, g_strdup (*next));

  return next + 1;
}

/* A command line comes from a manifest: a damaged one must not make us run anything else. */
static gboolean
check_program (QsnapCommand *command, GError **error)
{
  g_autofree char *name = g_path_get_basename (qsnap_command_get_program (command));
  g_autofree char *shown = g_utf8_make_valid (name, -1);

  if (strstr (name, "qemu") != NULL || strstr (name, "kvm") != NULL)
    return TRUE;

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
               "%s is no QEMU: the program's name must contain \"qemu\" or \"kvm\"", shown);

  return FALSE;
}

/* --- parsing ------------------------------------------------------------------------------- */

static gboolean
take_options (QsnapCommand *command, const char *const *arguments, GError **error)
{
  for (const char *const *next = arguments; *next != NULL; next++)
    {
      const char *name = *next;

      if (*name != '-')
        {
          add_option (command, NULL, name);
          continue;
        }

      name += g_str_has_prefix (name, "--") ? 2 : 1;
      if (g_strv_contains (without_argument, name))
        add_option (command, name, NULL);
      /* "---x" would come out as "--x", which is another option. */
      else if (*name != '\0' && *name != '-' && next[1] != NULL)
        add_option (command, name, *++next);
      else
        {
          g_autofree char *shown = g_utf8_make_valid (*next, -1);

          g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                       "%s is no option of QEMU, or its argument is missing", shown);
          return FALSE;
        }
    }

  return TRUE;
}

QsnapCommand *
qsnap_command_parse (const char *const *arguments, GError **error)
{
  g_autoptr (QsnapCommand) command = g_new0 (QsnapCommand, 1);
  const char *const *next;

  command->program = g_ptr_array_new_with_free_func (g_free);
  command->options = g_ptr_array_new_with_free_func ((GDestroyNotify)option_free);

  if (arguments == NULL || *arguments == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "the command line is empty");
      return NULL;
    }

  next = take_program (command, arguments);
  if (next == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "the command line has a loader, but no program");
      return NULL;
    }

  if (!check_program (command, error) || !take_options (command, next, error))
    return NULL;

  return g_steal_pointer (&command);
}

/* --- devices ------------------------------------------------------------------------------- */

/* The driver of the device that an option makes, or NULL. */
static char *
driver_of (const QsnapOption *option)
{
  g_autoptr (QsnapProps) props = NULL;

  if (g_strcmp0 (option->name, "balloon") == 0)
    return g_str_equal (option->value, "none") ? NULL : g_strdup ("virtio-balloon");
  if (g_strcmp0 (option->name, "virtfs") == 0)
    return g_strdup ("virtio-9p");
  if (g_strcmp0 (option->name, "device") != 0)
    return NULL;

  props = qsnap_props_parse (option->value, "driver", NULL);

  return props != NULL ? g_strdup (qsnap_props_get (props, "driver")) : NULL;
}

gboolean
qsnap_command_has_device (QsnapCommand *command, const char *prefix)
{
  for (guint i = 0; i < command->options->len; i++)
    {
      g_autofree char *driver = driver_of (g_ptr_array_index (command->options, i));

      if (driver != NULL && g_str_has_prefix (driver, prefix))
        return TRUE;
    }

  return FALSE;
}
