/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For what is installed: it links, runs, and answers. */

#include <qsnap/qsnap.h>

int
main (void)
{
  g_autoptr (QsnapSession) session = qsnap_session_new ("/nowhere");
  g_autoptr (GError) error = NULL;

  g_assert_true (QSNAP_CHECK_VERSION (1, 0, 0));
  g_assert_false (qsnap_session_open (session, NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);
  g_print ("%s\n", error->message);
  return 0;
}
