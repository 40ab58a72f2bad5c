/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "modes-trouble.h"

#include <string.h>

const Way ways[N_WAYS] = {
  { "instant, copy", QSNAP_SNAPSHOT_MODE_INSTANT, QSNAP_DISK_MODE_COPY, QSNAP_LEAVE_RUNNING,
    FALSE },
  { "instant, internal, paused", QSNAP_SNAPSHOT_MODE_INSTANT, QSNAP_DISK_MODE_INTERNAL,
    QSNAP_LEAVE_PAUSED, FALSE },
  { "live, overlay", QSNAP_SNAPSHOT_MODE_LIVE, QSNAP_DISK_MODE_OVERLAY, QSNAP_LEAVE_RUNNING,
    FALSE },
  { "live, internal, paused", QSNAP_SNAPSHOT_MODE_LIVE, QSNAP_DISK_MODE_INTERNAL,
    QSNAP_LEAVE_PAUSED, FALSE },
  { "stopped, copy", QSNAP_SNAPSHOT_MODE_STOPPED, QSNAP_DISK_MODE_COPY, QSNAP_LEAVE_RUNNING,
    FALSE },
  { "stopped, clone, paused", QSNAP_SNAPSHOT_MODE_STOPPED, QSNAP_DISK_MODE_CLONE,
    QSNAP_LEAVE_PAUSED, FALSE },
  { "disks-only, overlay, quiesce", QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_OVERLAY,
    QSNAP_LEAVE_RUNNING, TRUE },
  { "disks-only, copy, quiesce", QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_COPY,
    QSNAP_LEAVE_RUNNING, TRUE },
  { "disks-only, clone, paused", QSNAP_SNAPSHOT_MODE_DISKS_ONLY, QSNAP_DISK_MODE_CLONE,
    QSNAP_LEAVE_PAUSED, FALSE },
};

void
trouble_set_up_drives (Trouble *trouble, MockStyle style, const Way *way, guint n_drives)
{
  memset (trouble, 0, sizeof *trouble);
  modes_set_up (&trouble->fixture, style, n_drives);
  trouble->way = way;
  trouble->cancellable = g_cancellable_new ();
  if (way->quiesce)
    agent_peer_start (&trouble->peer, NULL);
}

void
trouble_set_up (Trouble *trouble, MockStyle style, const Way *way)
{
  trouble_set_up_drives (trouble, style, way, 1);
}

void
trouble_run (Trouble *trouble)
{
  Fixture *fixture = &trouble->fixture;

  trouble->before = fixture_describe (fixture);
  trouble->settings = fixture_describe_settings (fixture);
  trouble->options = modes_options (fixture, trouble->way->mode, trouble->way->disk_mode);
  qsnap_snapshot_options_set_leave (trouble->options, trouble->way->leave);
  if (trouble->way->quiesce)
    qsnap_snapshot_options_set_quiesce (trouble->options, trouble->peer.path);
  trouble->snapshot = qsnap_session_instant_snapshot (fixture->session, trouble->options,
                                                      trouble->cancellable, &trouble->error);
  g_assert_true ((trouble->snapshot == NULL) == (trouble->error != NULL));
}

const char *
trouble_outcome (Trouble *trouble)
{
  return trouble->error != NULL ? trouble->error->message : "sealed";
}

void
trouble_clear (Trouble *trouble)
{
  if (trouble->way->quiesce)
    agent_peer_finish (&trouble->peer, NULL, "*");
  fixture_clear (&trouble->fixture);
  g_object_unref (trouble->cancellable);
  g_clear_object (&trouble->options);
  g_clear_object (&trouble->snapshot);
  g_clear_error (&trouble->error);
  g_free (trouble->before);
  g_free (trouble->settings);
}

static gboolean
has_file (Trouble *trouble, const char *name)
{
  g_autofree char *path = fixture_path (&trouble->fixture, name);

  return g_file_test (path, G_FILE_TEST_EXISTS);
}

void
trouble_wrong (Trouble *trouble, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list values;

  va_start (values, format);
  text = g_strdup_vprintf (format, values);
  va_end (values);
  g_test_message ("WRONG: %s: %s", text, trouble_outcome (trouble));
  g_test_fail ();
}

void
trouble_assert_undone (Trouble *trouble)
{
  g_autofree char *after = fixture_describe (&trouble->fixture);

  if (strcmp (after, trouble->before) != 0)
    trouble_wrong (trouble, "it was\n  %s\nand is\n  %s\nafter", trouble->before, after);
  g_assert_null (strstr (trouble->fixture.news->str, "memory"));
}

static void
assert_sound (Trouble *trouble)
{
  g_autofree char *after = fixture_describe_settings (&trouble->fixture);
  g_autoptr (GError) error = NULL;

  g_assert_false (mock_is_torn (trouble->fixture.mock));
  g_assert_true (qsnap_snapshot_verify (trouble->snapshot, NULL, &error));
  g_assert_no_error (error);
  if (strcmp (strchr (after, ';'), strchr (trouble->settings, ';')) != 0)
    trouble_wrong (trouble, "settings were %s and are %s", trouble->settings, after);
  g_assert_true (g_str_has_prefix (
      after, trouble->way->leave == QSNAP_LEAVE_PAUSED ? "state paused" : "state running"));
}

void
trouble_judge (Trouble *trouble)
{
  fixture_assert_phases (&trouble->fixture);
  fixture_assert_graph_whole (&trouble->fixture);
  fixture_assert_no_complaints (&trouble->fixture);
  g_assert_false (mock_is_hung (trouble->fixture.mock));
  if (trouble->snapshot != NULL)
    assert_sound (trouble);
  else if (!g_error_matches (trouble->error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED))
    trouble_assert_undone (trouble);
  else if (!has_file (trouble, "snapshot/journal.json") ||
           !has_file (trouble, "snapshot/snapshot.json"))
    trouble_wrong (trouble, "it is not undone, and there is no journal or no snapshot");
}
