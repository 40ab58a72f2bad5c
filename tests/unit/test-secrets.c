/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* With all messages on (G_MESSAGES_DEBUG=all), no secret is in them. */

#include "fixture.h"

#include <string.h>

#define SECRET "correct-horse-battery-staple"

static GMutex lock;
static GString *written;

static void
note (const char *domain, GLogLevelFlags level, const char *message, gpointer user_data)
{
  g_mutex_lock (&lock);
  g_string_append_printf (written, "%s\n", message);
  g_mutex_unlock (&lock);
}

static void
assert_logged (const char *text, gboolean wanted)
{
  g_mutex_lock (&lock);
  if ((strstr (written->str, text) != NULL) != wanted)
    g_error ("“%s” is %s the log:\n%s", text, wanted ? "not in" : "in", written->str);
  g_mutex_unlock (&lock);
}

static const struct
{
  const char *command;
  const char *arguments;
} secrets[] = {
  { "object-add", "{\"qom-type\":\"secret\",\"id\":\"s0\",\"data\":\"" SECRET "\"}" },
  { "object-add",
    "{\"qom-type\":\"secret\",\"id\":\"s1\",\"keyid\":\"s0\",\"iv\":\"aXY=\",\"format\":\"base64\","
    "\"data\":\"" SECRET "\"}" },
  { "set_password", "{\"protocol\":\"vnc\",\"password\":\"" SECRET "\"}" },
  { "change-vnc-password", "{\"password\":\"" SECRET "\"}" },
  { "human-monitor-command", "{\"command-line\":\"set_password vnc " SECRET "\"}" },
  { "blockdev-add",
    "{\"driver\":\"ssh\",\"path\":\"/\",\"server\":{\"host\":\"h\",\"port\":\"22\"},"
    "\"user\":\"" SECRET "\"}" },
  { "qom-set", "{\"path\":\"/objects/s0\",\"property\":\"key\",\"value\":\"" SECRET "\"}" },
};

static void
execute (Fixture *fixture, guint i)
{
  g_autoptr (JsonNode) arguments = json_from_string (secrets[i].arguments, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) reply G_GNUC_UNUSED =
      qsnap_session_execute (fixture->session, secrets[i].command, arguments, NULL, NULL, &error);
}

static void
test_arguments (gconstpointer style)
{
  Fixture fixture;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  mock_set_lenient (fixture.mock, TRUE);
  mock_expect (fixture.mock, "qmp_capabilities");
  for (guint i = 0; i < G_N_ELEMENTS (secrets); i++)
    mock_step_return (mock_expect (fixture.mock, "*"), "{\"data\":\"" SECRET "\"}");
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (secrets); i++)
    {
      g_autofree char *line = g_strdup_printf ("command %s, id", secrets[i].command);

      execute (&fixture, i);
      assert_logged (line, TRUE);
    }
  assert_logged (SECRET, FALSE);
  fixture_clear (&fixture);
}

/* QEMU may repeat what it does not like. The caller is told; the log is not. */
static void
test_errors (gconstpointer style)
{
  static const char *const commands[] = { "object-add", "set_password", "change-vnc-password",
                                          "human-monitor-command" };
  Fixture fixture;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  mock_set_lenient (fixture.mock, TRUE);
  mock_expect (fixture.mock, "qmp_capabilities");
  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    mock_step_error (mock_expect (fixture.mock, "*"), "GenericError",
                     "'" SECRET "' is not valid base64");
  fixture_open (&fixture);
  for (guint i = 0; i < G_N_ELEMENTS (commands); i++)
    {
      g_autofree char *line = g_strdup_printf ("%s failed: (", commands[i]);
      g_autoptr (GError) error = NULL;

      g_assert_null (
          qsnap_session_execute (fixture.session, commands[i], NULL, NULL, NULL, &error));
      g_assert_error (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_GENERIC);
      g_assert_nonnull (strstr (error->message, SECRET));
      assert_logged (line, TRUE);
    }
  assert_logged (SECRET, FALSE);
  fixture_clear (&fixture);
}

/* Nor what an event says, nor what is no QMP at all. */
static void
test_peer (gconstpointer style)
{
  Fixture fixture;
  MockStep *step;
  g_autoptr (JsonNode) reply = NULL;
  g_autoptr (GError) error = NULL;

  fixture_set_up (&fixture, GPOINTER_TO_INT (style), 0);
  mock_set_lenient (fixture.mock, TRUE);
  mock_expect (fixture.mock, "qmp_capabilities");
  step = mock_expect (fixture.mock, "query-status");
  mock_step_event_before (step, "VNC_CONNECTED", "{\"key\":\"" SECRET "\"}");
  mock_step_raw (mock_expect (fixture.mock, "query-status"), "{\"x\":" SECRET "}\n", -1);
  fixture_open (&fixture);
  reply = fixture_execute (&fixture, "query-status", NULL);
  assert_logged ("event VNC_CONNECTED", TRUE);
  g_assert_null (qsnap_session_execute (fixture.session, "query-status", NULL, NULL, NULL, &error));
  g_assert_nonnull (error);
  assert_logged (SECRET, FALSE);
  fixture_clear (&fixture);
}

int
main (int argc, char **argv)
{
  int status;

  g_setenv ("G_MESSAGES_DEBUG", "all", TRUE);
  g_test_init (&argc, &argv, NULL);
  written = g_string_new (NULL);
  g_log_set_handler ("qsnap", G_LOG_LEVEL_MASK, note, NULL);
  fixture_add ("/secrets/arguments", test_arguments);
  fixture_add ("/secrets/errors", test_errors);
  fixture_add ("/secrets/peer", test_peer);
  status = g_test_run ();
  g_string_free (written, TRUE);

  return status;
}
