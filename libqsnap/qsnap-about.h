/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* about.json: what people and programs say of a snapshot. It may change for as long as the snapshot
 * is there, so it is beside the manifest and not in it. Its layout is in docs/file-format.md. */

#define QSNAP_ABOUT_FILE "about.json"

typedef struct
{
  char *description;
  /* a{sv} */
  GVariant *metadata;
} QsnapAbout;

void qsnap_about_clear (QsnapAbout *about);

/* Which rule it breaks, in words, or NULL. Either may be NULL. */
const char *qsnap_about_problem (const char *description, GVariant *metadata);

/* Where there is none, nothing is said, and TRUE. */
gboolean qsnap_about_read (QsnapAbout *about, int dir_fd, GError **error);
/* Nothing to say: the file is removed. */
gboolean
qsnap_about_write (int dir_fd, const char *description, GVariant *metadata, GError **error);

G_END_DECLS
