/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which snapshots of a set are kept. */

#include <qsnap/qsnap.h>

#include "qsnap-json.h"
#include "qsnap-snapshot-private.h"

static void
add (GListStore *store, const char *time, const char *uuid)
{
  g_autoptr (GFile) directory = g_file_new_for_path ("/nowhere");
  g_autoptr (QsnapSnapshot) snapshot = qsnap_snapshot_new_unsealed (
      directory, qsnap_json_object_new ("name", 's', time, "time", 's', time, "guest", 'o',
                                        qsnap_json_object_new ("uuid", 's', uuid, NULL), NULL));

  g_list_store_append (store, snapshot);
}

/* @expected: for each of the list what keeps it, "-" for nothing. */
static void
assert_kept (GListStore *store, QsnapRetention *retention, const char *expected)
{
  g_auto (GStrv) reasons = qsnap_retention_explain (retention, G_LIST_MODEL (store));
  g_autoptr (GString) found = g_string_new (NULL);

  for (guint i = 0; reasons[i] != NULL; i++)
    g_string_append_printf (found, "%s%s", i > 0 ? "; " : "",
                            *reasons[i] != '\0' ? reasons[i] : "-");
  g_assert_cmpstr (found->str, ==, expected);
}

static GListStore *
some_days (void)
{
  static const char *const times[] = {
    "2023-12-30T10:00:00Z", "2024-01-01T09:00:00Z", "2024-01-01T09:30:00Z",
    "2024-01-01T10:05:00Z", "2024-01-03T23:59:59Z", "2024-01-04T00:00:00Z",
  };
  GListStore *store = g_list_store_new (QSNAP_TYPE_SNAPSHOT);

  for (guint i = 0; i < G_N_ELEMENTS (times); i++)
    add (store, times[i], "a");
  return store;
}

static void
check (QsnapPeriod period, guint n, const char *expected)
{
  g_autoptr (GListStore) store = some_days ();
  g_autoptr (QsnapRetention) retention = qsnap_retention_new ();

  qsnap_retention_set_keep (retention, period, n);
  g_assert_cmpuint (qsnap_retention_get_keep (retention, period), ==, n);
  assert_kept (store, retention, expected);
}

static void
test_rules (void)
{
  check (QSNAP_PERIOD_LAST, 2, "-; -; -; -; last 2; last 1");
  check (QSNAP_PERIOD_LAST, 99, "last 6; last 5; last 4; last 3; last 2; last 1");
  check (QSNAP_PERIOD_HOURLY, 4, "-; -; hourly 4; hourly 3; hourly 2; hourly 1");
  /* Days without a snapshot do not count. */
  check (QSNAP_PERIOD_DAILY, 3, "-; -; -; daily 3; daily 2; daily 1");
  check (QSNAP_PERIOD_WEEKLY, 2, "weekly 2; -; -; -; -; weekly 1");
  check (QSNAP_PERIOD_MONTHLY, 9, "monthly 2; -; -; -; -; monthly 1");
  check (QSNAP_PERIOD_YEARLY, 1, "-; -; -; -; -; yearly 1");
}

static void
test_together (void)
{
  g_autoptr (GListStore) store = some_days ();
  g_autoptr (QsnapRetention) retention = qsnap_retention_new ();

  assert_kept (store, retention,
               "there is no rule; there is no rule; there is no rule; there is no rule; "
               "there is no rule; there is no rule");
  qsnap_retention_set_keep (retention, QSNAP_PERIOD_LAST, 1);
  qsnap_retention_set_keep (retention, QSNAP_PERIOD_DAILY, 2);
  qsnap_retention_set_keep (retention, QSNAP_PERIOD_YEARLY, 2);
  assert_kept (store, retention, "yearly 2; -; -; -; daily 2; last 1, daily 1, yearly 1");
}

/* Those of one guest do not push out those of another, and the order does not matter. */
static void
test_guests (void)
{
  g_autoptr (GListStore) store = g_list_store_new (QSNAP_TYPE_SNAPSHOT);
  g_autoptr (QsnapRetention) retention = qsnap_retention_new ();

  add (store, "2024-01-03T00:00:00Z", "a");
  add (store, "2024-01-01T00:00:00Z", "a");
  add (store, "2024-01-02T00:00:00Z", "b");
  add (store, "2023-01-02T00:00:00Z", NULL);
  add (store, "2024-01-04T00:00:00Z", "a");
  qsnap_retention_set_keep (retention, QSNAP_PERIOD_LAST, 1);
  assert_kept (store, retention, "-; -; last 1; last 1; last 1");
}

int
main (int argc, char **argv)
{
  g_setenv ("TZ", "UTC", TRUE);
  g_test_init (&argc, &argv, NULL);

  g_test_add_func ("/retention/rules", test_rules);
  g_test_add_func ("/retention/together", test_together);
  g_test_add_func ("/retention/guests", test_guests);

  return g_test_run ();
}
