/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib/gstdio.h>
#include <unistd.h>

/* Root of a user namespace of its own, which has nobody else in it, can neither give files away nor
 * become another user. */
static inline gboolean
can_be_other_users (uid_t user)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "qsnap-owner-XXXXXX", NULL);
  int fd = geteuid () == 0 ? g_mkstemp (path) : -1;
  gboolean can = fd >= 0 && fchown (fd, user, (gid_t)-1) == 0;

  if (fd >= 0)
    {
      close (fd);
      g_unlink (path);
    }

  return can;
}
