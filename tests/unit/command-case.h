/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "restore/qsnap-command-adapt.h"

/* Arguments after the program, with a space between them. */
typedef struct
{
  const char *name;
  const char *before;
  /* NULL: nothing changes. */
  const char *after;
  /* Words of the error (then there is no after), or of a warning. */
  const char *error;
  const char *warning;
  /* What the adaption under test needs beside. */
  const char *extra;
} CommandCase;

#define COMMAND_CASE_DIRECTORY "/revert"
#define COMMAND_CASE_WORKING_DIRECTORY "/guest"

typedef gboolean (*CommandCaseFunc) (QsnapCommand *command,
                                     const QsnapAdaptContext *context,
                                     const CommandCase *test,
                                     GError **error);

/* Each case is a test of its own. */
void command_cases_add (const char *path,
                        const CommandCase *cases,
                        guint n_cases,
                        CommandCaseFunc adapt);

QsnapCommand *command_from_text (const char *arguments);
char *command_to_text (QsnapCommand *command);
