/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Takes an instant snapshot of a running guest, in one call: capture-sync ADDRESS DIRECTORY */

#include <qsnap/qsnap.h>

#include <stdlib.h>

/* Inside the call, at its time. */
static void
on_point_in_time (QsnapSession *session, QsnapSnapshot *snapshot, gpointer user_data)
{
  g_print ("point in time reached: the guest was stopped for %.1f ms\n",
           qsnap_snapshot_get_pause_us (snapshot) / 1000.0);
}

static void
print_disks (QsnapSnapshot *snapshot)
{
  GListModel *disks = qsnap_snapshot_get_disks (snapshot);

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDisk) disk = g_list_model_get_item (disks, i);

      g_print ("the guest's disk is now %s; do not boot %s\n", qsnap_disk_get_overlay (disk),
               qsnap_disk_get_base (disk));
    }
}

int
main (int argc, char **argv)
{
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (QsnapSnapshotOptions) options = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GFile) directory = NULL;
  g_autoptr (GError) error = NULL;

  if (argc != 3)
    {
      g_printerr ("usage: %s ADDRESS DIRECTORY\n", argv[0]);
      return 2;
    }

  session = qsnap_session_new (argv[1]);
  directory = g_file_new_for_commandline_arg (argv[2]);
  options = qsnap_snapshot_options_new (directory);
  g_signal_connect (session, "point-in-time-reached", G_CALLBACK (on_point_in_time), NULL);

  if (qsnap_session_open (session, NULL, &error))
    snapshot = qsnap_session_instant_snapshot (session, options, NULL, &error);
  if (snapshot == NULL)
    {
      g_printerr ("%s\n", error->message);
      return EXIT_FAILURE;
    }

  g_print ("memory complete: %s is sealed\n", argv[2]);
  print_disks (snapshot);

  return EXIT_SUCCESS;
}
