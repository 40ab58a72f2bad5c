/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* QEMU's command line, taken apart into options, and put together again: what is not touched comes
 * out as it went in, in the same order (but "--option" as "-option"). Source of the grammar:
 * qemu-options.hx, util/keyval.c, util/qemu-option.c. */

typedef struct
{
  /* Without its dashes; NULL for a disk image that is given without an option. */
  char *name;
  /* NULL for an option without an argument. */
  char *value;
} QsnapOption;

typedef struct
{
  /* The program, with what starts it before it (a dynamic loader and its options). char * */
  GPtrArray *program;
  /* QsnapOption * */
  GPtrArray *options;
} QsnapCommand;

/* G_IO_ERROR_INVALID_ARGUMENT for what is no command line of a QEMU. */
QsnapCommand *qsnap_command_parse (const char *const *arguments, GError **error);
void qsnap_command_free (QsnapCommand *command);
GStrv qsnap_command_to_strv (QsnapCommand *command);

/* The path, or the name, of QEMU itself; never NULL. */
const char *qsnap_command_get_program (QsnapCommand *command);
/* Replaces the program and what starts it. */
void qsnap_command_set_program (QsnapCommand *command, const char *program);

/* Appends an option; @value may be NULL. */
void qsnap_command_add (QsnapCommand *command, const char *name, const char *value);

/* Whether there is a -device (or an option that makes one, such as -balloon) whose driver begins
 * with @prefix. */
gboolean qsnap_command_has_device (QsnapCommand *command, const char *prefix);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapCommand, qsnap_command_free)

G_END_DECLS
