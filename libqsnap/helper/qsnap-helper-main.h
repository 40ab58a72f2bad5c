/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* What the main programs of the helper processes have in common. */

/* Nothing that is meant for the application, its terminal or its session ends this process. */
void qsnap_helper_leave_session (void);

/* The guest's memory passes through here: no core dump, no ptrace by the same user, no folder kept
 * busy, and nothing printed to where it does not belong. */
gboolean qsnap_helper_isolate (void);

/* Whether @fd was passed by the library; says so on standard error if not. */
gboolean qsnap_helper_is_open (const char *option, int fd);

/* Fills in the options; says on standard error what it does not like. */
gboolean qsnap_helper_parse_options (int *argc,
                                     char ***argv,
                                     const char *summary,
                                     const GOptionEntry *entries);

G_END_DECLS
