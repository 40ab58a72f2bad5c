/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Versions of QEMU that nobody measured, and QEMUs that do not do what their version says. */

#include "fixture.h"

typedef struct
{
  const char *path;
  MockStyle style;
  int major;
  int minor;
} Version;

/* The behaviour of one under the number of another: whichever of the two an untested version has,
 * the way that is taken must be right for it. */
static const Version untested[] = {
  { "/versions/6.0/as-7.2", MOCK_STYLE_7_2, 6, 0 },
  { "/versions/7.1/as-7.2", MOCK_STYLE_7_2, 7, 1 },
  { "/versions/8.0/as-7.2", MOCK_STYLE_7_2, 8, 0 },
  { "/versions/8.2/as-10", MOCK_STYLE_10, 8, 2 },
  { "/versions/9.2/as-7.2", MOCK_STYLE_7_2, 9, 2 },
  { "/versions/9.2/as-10", MOCK_STYLE_10, 9, 2 },
  { "/versions/10.1/as-10", MOCK_STYLE_10, 10, 1 },
  { "/versions/11.0/as-10", MOCK_STYLE_10, 11, 0 },
};

static void
set_up (Fixture *fixture, const Version *version)
{
  fixture_set_up (fixture, version->style, 2);
  mock_set_version (fixture->mock, version->major, version->minor, 0, "untested");
  fixture_open (fixture);
}

static void
assert_run_state (Fixture *fixture, const char *expected)
{
  g_autofree char *state = mock_dup_run_state (fixture->mock);

  g_assert_cmpstr (state, ==, expected);
}

static int
index_of_command (GStrv transcript, const char *name)
{
  for (int i = 0; transcript[i] != NULL; i++)
    if (g_str_has_prefix (transcript[i], name))
      return i;

  g_test_message ("no command %s", name);
  g_test_fail ();

  return -1;
}

static void
test_running (gconstpointer data)
{
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_auto (GStrv) transcript = NULL;

  set_up (&fixture, data);
  snapshot = fixture_capture_well (&fixture, "snap");
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  g_assert_false (mock_is_torn (fixture.mock));
  assert_run_state (&fixture, "running");

  /* The safe path: the guest is stopped before QEMU is told to migrate. */
  transcript = mock_dup_transcript (fixture.mock);
  g_assert_cmpint (index_of_command (transcript, "stop "), <,
                   index_of_command (transcript, "transaction "));
  g_assert_cmpint (index_of_command (transcript, "transaction "), <,
                   index_of_command (transcript, "migrate "));
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

static void
test_paused (gconstpointer data)
{
  const Version *version = data;
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  set_up (&fixture, version);
  mock_set_run_state (fixture.mock, "paused");
  snapshot = fixture_capture_well (&fixture, "snap");
  g_assert_true (qsnap_snapshot_get_sealed (snapshot));
  g_assert_false (mock_is_torn (fixture.mock));
  assert_run_state (&fixture, "paused");
  /* A plain migration, which never starts the guest, unless the QEMU is known not to. */
  g_assert_cmpint (mock_count_command (fixture.mock, "cont"), ==, version->major < 10 ? 1 : 0);
  fixture_assert_no_complaints (&fixture);
  fixture_clear (&fixture);
}

/* It says 7.2, but freezes while nobody reads its headers: `stop`, or, of one that was slow to
 * begin, `transaction` stays without an answer while the gate is shut. */
static void
test_gate_does_not_hold (void)
{
  const Version version = { "", MOCK_STYLE_10, 7, 2 };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *before = NULL;
  g_autofree char *after = NULL;

  set_up (&fixture, &version);
  /* Its schema is 10's. */
  before = fixture_describe (&fixture);
  qsnap_session_set_timeout (fixture.session, 1000);
  snapshot = fixture_capture (&fixture, "snap", NULL, &error);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT);
  g_assert_true (strstr (error->message, "stop") != NULL ||
                 strstr (error->message, "transaction") != NULL);
  g_assert_null (snapshot);
  assert_run_state (&fixture, "running");
  after = fixture_describe (&fixture);
  g_assert_cmpstr (after, ==, before);
  fixture_clear (&fixture);
}

/* It says 10, but starts a guest that its owner had paused. */
static void
test_resumes_unexpectedly (void)
{
  const Version version = { "", MOCK_STYLE_7_2, 10, 0 };
  Fixture fixture;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GError) error = NULL;

  set_up (&fixture, &version);
  mock_set_run_state (fixture.mock, "paused");
  snapshot = fixture_capture (&fixture, "snap", NULL, &error);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED);
  g_assert_null (snapshot);
  g_assert_cmpstr (fixture.news->str, ==, "");
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);

  for (gsize i = 0; i < G_N_ELEMENTS (untested); i++)
    {
      g_autofree char *running = g_strconcat (untested[i].path, "/running", NULL);
      g_autofree char *paused = g_strconcat (untested[i].path, "/paused", NULL);

      g_test_add_data_func (running, &untested[i], test_running);
      g_test_add_data_func (paused, &untested[i], test_paused);
    }
  g_test_add_func ("/versions/wrong-guess/gate-does-not-hold", test_gate_does_not_hold);
  g_test_add_func ("/versions/wrong-guess/resumes-unexpectedly", test_resumes_unexpectedly);

  return g_test_run ();
}
