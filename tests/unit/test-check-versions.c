/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What QEMUs from 5.2 on answer, as far as a capture is decided by it, to a check: which of them
 * can be captured, what is said of the others, and that none is told to switch what it does not
 * have.
 *
 * Sources: the "since" notes in QEMU's qapi/migration.json for capabilities, and its
 * docs/about/removed-features for those that are gone. */

#include "fixture.h"

#include <string.h>

#define VERSION(major, minor) ((major)*100 + (minor))
#define EVER VERSION (1, 0)
#define NEVER VERSION (99, 0)

static const struct
{
  const char *name;
  int since;
  int until;
} capabilities[] = { { "xbzrle", EVER, NEVER },
                     { "rdma-pin-all", EVER, NEVER },
                     { "auto-converge", EVER, NEVER },
                     { "zero-blocks", EVER, NEVER },
                     { "compress", EVER, VERSION (9, 1) },
                     { "events", EVER, NEVER },
                     { "postcopy-ram", EVER, NEVER },
                     { "x-colo", EVER, NEVER },
                     { "release-ram", EVER, NEVER },
                     { "block", EVER, VERSION (9, 1) },
                     { "return-path", EVER, NEVER },
                     { "pause-before-switchover", EVER, NEVER },
                     { "multifd", EVER, NEVER },
                     { "dirty-bitmaps", EVER, NEVER },
                     { "postcopy-blocktime", EVER, NEVER },
                     { "late-block-activate", EVER, NEVER },
                     { "x-ignore-shared", EVER, NEVER },
                     { "validate-uuid", EVER, NEVER },
                     { "background-snapshot", VERSION (6, 0), NEVER },
                     { "zero-copy-send", VERSION (7, 1), NEVER },
                     { "postcopy-preempt", VERSION (7, 1), NEVER },
                     { "switchover-ack", VERSION (8, 1), NEVER },
                     { "dirty-limit", VERSION (8, 1), NEVER },
                     { "mapped-ram", VERSION (9, 0), NEVER },
                     { "unheard-of", VERSION (11, 0), NEVER } };

static const int versions[] = { VERSION (5, 2), VERSION (6, 0),  VERSION (6, 1),  VERSION (6, 2),
                                VERSION (7, 0), VERSION (7, 1),  VERSION (7, 2),  VERSION (8, 0),
                                VERSION (8, 1), VERSION (8, 2),  VERSION (9, 0),  VERSION (9, 1),
                                VERSION (9, 2), VERSION (10, 0), VERSION (10, 1), VERSION (11, 0) };

static gboolean
version_has (int version, guint capability)
{
  return version >= capabilities[capability].since && version < capabilities[capability].until;
}

/* @without is a capability that this build does not have, or NULL; @on one that is on. */
static char *
describe_capabilities (int version, const char *without, const char *on)
{
  GString *text = g_string_new ("[");

  for (guint i = 0; i < G_N_ELEMENTS (capabilities); i++)
    if (version_has (version, i) && g_strcmp0 (capabilities[i].name, without) != 0)
      g_string_append_printf (text, "%s{\"capability\": \"%s\", \"state\": %s}",
                              text->len > 1 ? ", " : "", capabilities[i].name,
                              g_strcmp0 (capabilities[i].name, on) == 0 ? "true" : "false");

  return g_string_free (g_string_append_c (text, ']'), FALSE);
}

static void
set_up (Fixture *fixture, int version, const char *without, const char *on)
{
  g_autofree char *answer = describe_capabilities (version, without, on);

  g_test_message ("--- %d.%d", version / 100, version % 100);
  fixture_set_up (fixture, version < VERSION (9, 0) ? MOCK_STYLE_7_2 : MOCK_STYLE_10, 1);
  mock_set_version (fixture->mock, version / 100, version % 100, 0, "");
  if (on != NULL)
    mock_set_capability (fixture->mock, on, TRUE);
  mock_set_reply (fixture->mock, "query-migrate-capabilities", answer);
  fixture_open (fixture);
}

static QsnapReport *
check (Fixture *fixture, QsnapSnapshotMode mode)
{
  g_autoptr (QsnapSnapshotOptions) options = fixture_options (fixture, "snapshot");
  g_autoptr (GError) error = NULL;
  QsnapReport *report = NULL;

  qsnap_snapshot_options_set_mode (options, mode);
  report = qsnap_session_check (fixture->session, options, NULL, &error);
  g_assert_no_error (error);

  return report;
}

static void
assert_says (QsnapReport *report, const char *pattern)
{
  g_auto (GStrv) problems = qsnap_report_get_problems (report);
  g_autofree char *all = g_strjoinv ("; ", problems);

  g_assert_false (qsnap_report_get_ok (report));
  g_test_message ("%s", all);
  if (strstr (all, pattern) == NULL)
    g_error ("\"%s\" is not in: %s", pattern, all);
}

static void
assert_good (QsnapReport *report)
{
  g_auto (GStrv) problems = qsnap_report_get_problems (report);
  g_auto (GStrv) warnings = qsnap_report_get_warnings (report);

  if (problems[0] != NULL)
    g_error ("%s", problems[0]);
  if (warnings[0] != NULL)
    g_error ("%s", warnings[0]);
  g_assert_true (qsnap_report_get_ok (report));
}

/* Every capability that QEMU was told to switch is one that it has. */
static void
assert_switched_known (Fixture *fixture, int version)
{
  guint n = mock_count_command (fixture->mock, "migrate-set-capabilities");

  for (guint nth = 1; nth <= n; nth++)
    {
      g_autoptr (JsonObject) arguments =
          mock_dup_arguments (fixture->mock, "migrate-set-capabilities", nth);
      JsonArray *switched = json_object_get_array_member (arguments, "capabilities");

      for (guint i = 0; i < json_array_get_length (switched); i++)
        {
          const char *name = json_object_get_string_member (
              json_array_get_object_element (switched, i), "capability");
          gboolean known = FALSE;

          for (guint k = 0; k < G_N_ELEMENTS (capabilities); k++)
            known |= version_has (version, k) && g_str_equal (capabilities[k].name, name);
          if (!known)
            g_error ("%s was switched", name);
        }
    }
}

static void
test_all (void)
{
  static const char *const on[] = { NULL, "xbzrle", "postcopy-ram", "dirty-bitmaps" };

  for (guint i = 0; i < G_N_ELEMENTS (versions); i++)
    for (guint k = 0; k < G_N_ELEMENTS (on); k++)
      {
        Fixture fixture;
        g_autoptr (QsnapReport) report = NULL;

        set_up (&fixture, versions[i], NULL, on[k]);
        report = check (&fixture, QSNAP_SNAPSHOT_MODE_INSTANT);
        if (versions[i] < VERSION (6, 0))
          assert_says (report, "too old: background snapshots came with 6.0");
        else
          assert_good (report);
        assert_switched_known (&fixture, versions[i]);
        g_assert_cmpuint (mock_count_command (fixture.mock, "stop"), ==, 0);
        fixture_clear (&fixture);
      }
}

/* Built for a host that cannot, or run by a kernel that does not let it. */
static void
test_without_background (void)
{
  for (guint i = 1; i < G_N_ELEMENTS (versions); i++)
    {
      Fixture fixture;
      g_autoptr (QsnapReport) report = NULL;
      g_autoptr (QsnapReport) stopped = NULL;

      set_up (&fixture, versions[i], "background-snapshot", NULL);
      report = check (&fixture, QSNAP_SNAPSHOT_MODE_INSTANT);
      assert_says (report, "no migration capability background-snapshot");
      /* A mode that does without it. */
      stopped = check (&fixture, QSNAP_SNAPSHOT_MODE_STOPPED);
      assert_good (stopped);
      fixture_clear (&fixture);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/check-versions/all", test_all);
  g_test_add_func ("/check-versions/without-background", test_without_background);

  return g_test_run ();
}
