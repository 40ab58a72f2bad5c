/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "group-case.h"

#include <string.h>

void
group_case_set_up (GroupCase *group, MockStyle style, guint n)
{
  memset (group, 0, sizeof *group);
  group->n = n;
  group->news = g_string_new (NULL);
  for (guint i = 0; i < n; i++)
    fixture_set_up (&group->guests[i],
                    style == MIXED ? (i % 2 == 0 ? MOCK_STYLE_7_2 : MOCK_STYLE_10) : style, 1);
}

static void
on_group_point (G_GNUC_UNUSED QsnapGroup *self, QsnapGroupSnapshot *snapshot, gpointer data)
{
  g_assert_true (QSNAP_IS_GROUP_SNAPSHOT (snapshot));
  g_string_append (((GroupCase *)data)->news, " point");
}

static void
on_group_memory (G_GNUC_UNUSED QsnapGroup *self, QsnapGroupSnapshot *snapshot, gpointer data)
{
  GroupCase *group = data;

  g_assert_true (qsnap_group_snapshot_get_sealed (snapshot));
  g_string_append (group->news, " memory");
}

static void
on_guest_point (G_GNUC_UNUSED QsnapSession *session,
                G_GNUC_UNUSED QsnapSnapshot *snapshot,
                gpointer data)
{
  g_string_append (((GroupCase *)data)->news, " p");
}

static void
on_guest_memory (G_GNUC_UNUSED QsnapSession *session,
                 G_GNUC_UNUSED QsnapSnapshot *snapshot,
                 gpointer data)
{
  g_string_append (((GroupCase *)data)->news, " m");
}

void
group_case_open (GroupCase *group)
{
  group->group = qsnap_group_new ();
  g_signal_connect (group->group, "point-in-time-reached", G_CALLBACK (on_group_point), group);
  g_signal_connect (group->group, "memory-complete", G_CALLBACK (on_group_memory), group);
  for (guint i = 0; i < group->n; i++)
    {
      const char name[] = { (char)('a' + i), '\0' };
      g_autoptr (GError) error = NULL;

      fixture_open (&group->guests[i]);
      g_signal_connect (group->guests[i].session, "point-in-time-reached",
                        G_CALLBACK (on_guest_point), group);
      g_signal_connect (group->guests[i].session, "memory-complete", G_CALLBACK (on_guest_memory),
                        group);
      qsnap_group_add_session (group->group, group->guests[i].session, name, NULL, &error);
      g_assert_no_error (error);
      group->described[i] = fixture_describe (&group->guests[i]);
    }
}

void
group_case_clear (GroupCase *group)
{
  g_object_unref (group->group);
  for (guint i = 0; i < group->n; i++)
    {
      if (group->guests[i].session != NULL)
        g_signal_handlers_disconnect_by_data (group->guests[i].session, group);
      fixture_clear (&group->guests[i]);
      g_free (group->described[i]);
    }
  g_string_free (group->news, TRUE);
}

char *
group_case_path (GroupCase *group)
{
  return fixture_path (&group->guests[0], "group");
}

QsnapSnapshotOptions *
group_case_options (GroupCase *group)
{
  g_autofree char *path = group_case_path (group);
  g_autoptr (GFile) directory = g_file_new_for_path (path);

  return qsnap_snapshot_options_new (directory);
}

QsnapGroupSnapshot *
group_case_capture (GroupCase *group, GCancellable *cancellable, GError **error)
{
  g_autoptr (QsnapSnapshotOptions) options = group_case_options (group);

  for (guint i = 0; i < group->n; i++)
    fixture_forget_news (&group->guests[i]);

  return qsnap_group_instant_snapshot (group->group, options, cancellable, error);
}

QsnapGroupSnapshot *
group_case_capture_well (GroupCase *group)
{
  g_autoptr (GError) error = NULL;
  QsnapGroupSnapshot *snapshot = group_case_capture (group, NULL, &error);

  g_assert_no_error (error);
  g_assert_nonnull (snapshot);
  return snapshot;
}

void
group_case_assert_undone (GroupCase *group)
{
  g_autofree char *path = group_case_path (group);

  if (g_file_test (path, G_FILE_TEST_EXISTS))
    {
      g_autofree char *files = fixture_list_files (&group->guests[0]);

      g_error ("the folder is still there: %s", files);
    }
  for (guint i = 0; i < group->n; i++)
    {
      g_autofree char *now = fixture_describe (&group->guests[i]);

      g_assert_cmpstr (now, ==, group->described[i]);
      /* One that was refused at once had none. */
      if (group->guests[i].phases->len > 0)
        fixture_assert_phases (&group->guests[i]);
      fixture_assert_no_complaints (&group->guests[i]);
    }
}
