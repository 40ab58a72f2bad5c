/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The same in a main loop, which goes on meanwhile: capture-async ADDRESS DIRECTORY */

#include <qsnap/qsnap.h>

#include <stdlib.h>

static GMainLoop *loop;
static QsnapSnapshotOptions *options;
static int status = EXIT_FAILURE;

static void
on_point_in_time (QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  g_print ("point in time reached: the guest was stopped for %.1f ms\n",
           qsnap_snapshot_get_pause_us (snapshot) / 1000.0);
}

static void
on_memory_complete (QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  g_print ("memory complete: %s is sealed\n", qsnap_snapshot_get_name (snapshot));
}

static void
on_captured (GObject *source, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot =
      qsnap_session_instant_snapshot_finish (QSNAP_SESSION (source), result, &error);

  if (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_BUSY))
    g_printerr ("try again later: %s\n", error->message);
  else if (snapshot == NULL)
    g_printerr ("%s\n", error->message);
  else
    status = EXIT_SUCCESS;
  g_main_loop_quit (loop);
}

static void
on_open (GObject *source, GAsyncResult *result, gpointer user_data)
{
  QsnapSession *session = QSNAP_SESSION (source);
  g_autoptr (GError) error = NULL;

  if (qsnap_session_open_finish (session, result, &error))
    {
      qsnap_session_instant_snapshot_async (session, options, NULL, on_captured, NULL);
      return;
    }
  g_printerr ("%s\n", error->message);
  g_main_loop_quit (loop);
}

int
main (int argc, char **argv)
{
  g_autoptr (QsnapSession) session = qsnap_session_new (argc == 3 ? argv[1] : NULL);
  g_autoptr (GFile) directory = g_file_new_for_commandline_arg (argc == 3 ? argv[2] : "");

  options = qsnap_snapshot_options_new (directory);
  loop = g_main_loop_new (NULL, FALSE);
  g_signal_connect (session, "point-in-time-reached", G_CALLBACK (on_point_in_time), NULL);
  g_signal_connect (session, "memory-complete", G_CALLBACK (on_memory_complete), NULL);
  if (argc == 3)
    {
      qsnap_session_open_async (session, NULL, on_open, NULL);
      g_main_loop_run (loop);
    }
  else
    g_printerr ("usage: %s ADDRESS DIRECTORY\n", argv[0]);
  g_main_loop_unref (loop);
  g_object_unref (options);

  return status;
}
