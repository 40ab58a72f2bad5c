/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: migration. Commands here; the course of one migration is in qsnap-mock-writer.c. */

#include "qsnap-mock-migration.h"

#include <string.h>

static const char *const capabilities_7_2[] = { "xbzrle",
                                                "rdma-pin-all",
                                                "auto-converge",
                                                "zero-blocks",
                                                "compress",
                                                "events",
                                                "postcopy-ram",
                                                "x-colo",
                                                "release-ram",
                                                "block",
                                                "return-path",
                                                "pause-before-switchover",
                                                "multifd",
                                                "dirty-bitmaps",
                                                "postcopy-blocktime",
                                                "late-block-activate",
                                                "x-ignore-shared",
                                                "validate-uuid",
                                                "background-snapshot",
                                                "zero-copy-send",
                                                "postcopy-preempt",
                                                NULL };

static const char *const capabilities_10[] = { "xbzrle",
                                               "rdma-pin-all",
                                               "auto-converge",
                                               "zero-blocks",
                                               "events",
                                               "postcopy-ram",
                                               "x-colo",
                                               "release-ram",
                                               "return-path",
                                               "pause-before-switchover",
                                               "multifd",
                                               "dirty-bitmaps",
                                               "postcopy-blocktime",
                                               "late-block-activate",
                                               "x-ignore-shared",
                                               "validate-uuid",
                                               "background-snapshot",
                                               "zero-copy-send",
                                               "postcopy-preempt",
                                               "switchover-ack",
                                               "dirty-limit",
                                               "mapped-ram",
                                               NULL };

/* facts 1.8 */
static const char *const excluded_by_background[] = {
  "postcopy-ram",  "dirty-bitmaps", "postcopy-blocktime", "late-block-activate",
  "return-path",   "multifd",       "release-ram",        "pause-before-switchover",
  "auto-converge", "rdma-pin-all",  "compress",           "xbzrle",
  "x-colo",        "validate-uuid", "zero-copy-send",     NULL
};

MockMigration *
mock_migration_new (MockQemu *mock)
{
  MockMigration *migration = g_new0 (MockMigration, 1);

  migration->mock = mock;
  migration->names = mock->style == MOCK_STYLE_7_2 ? capabilities_7_2 : capabilities_10;
  migration->on = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  migration->blockers = g_ptr_array_new_with_free_func (g_free);
  migration->status = "none";
  migration->max_bandwidth = 128 * 1024 * 1024;
  migration->hold = migration->fail_at = MOCK_N_POINTS;
  migration->ram[0] = (MockRamBlock){ "pc.ram", 24 * 1024 * 1024 };
  migration->ram[1] = (MockRamBlock){ "pc.bios", 256 * 1024 };
  migration->ram[2] = (MockRamBlock){ "/rom@etc/acpi/tables", 128 * 1024 };
  return migration;
}

void
mock_migration_free (MockMigration *migration)
{
  mock_migration_join (migration);
  g_hash_table_unref (migration->on);
  g_ptr_array_unref (migration->blockers);
  g_free (migration->refused);
  g_free (migration->error);
  g_free (migration->old_state);
  g_free (migration);
}

gboolean
mock_migration_is_active (MockQemu *mock)
{
  static const char *const over[] = { "none", "completed", "failed", "cancelled", NULL };

  return !g_strv_contains (over, mock->migration->status);
}

gboolean
mock_migration_has (MockMigration *migration, const char *capability)
{
  return g_hash_table_contains (migration->on, capability);
}

void
mock_migration_set_status (MockMigration *migration, const char *status)
{
  JsonObject *data;

  migration->status = status;
  if (!mock_migration_has (migration, "events"))
    return;
  data = json_object_new ();
  json_object_set_string_member (data, "status", status);
  mock_event (migration->mock, "MIGRATION", data);
}

/* --- capabilities --- */

static JsonNode *
query_capabilities (MockQemu *mock,
                    G_GNUC_UNUSED JsonObject *arguments,
                    G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_json ("[]");

  for (guint i = 0; mock->migration->names[i] != NULL; i++)
    {
      JsonObject *entry = json_object_new ();

      json_object_set_boolean_member (
          entry, "state", mock_migration_has (mock->migration, mock->migration->names[i]));
      json_object_set_string_member (entry, "capability", mock->migration->names[i]);
      json_array_add_object_element (json_node_get_array (result), entry);
    }
  return result;
}

static void
switch_capability (GHashTable *on, const char *name, gboolean state)
{
  if (state)
    g_hash_table_add (on, g_strdup (name));
  else
    g_hash_table_remove (on, name);
}

static gboolean
check_combination (GHashTable *on, GError **error)
{
  if (!g_hash_table_contains (on, "background-snapshot"))
    return TRUE;
  for (guint i = 0; excluded_by_background[i] != NULL; i++)
    {
      if (g_hash_table_contains (on, excluded_by_background[i]))
        {
          mock_fail (error, "Background-snapshot is not compatible with %s",
                     excluded_by_background[i]);
          return FALSE;
        }
    }
  return TRUE;
}

/* All or nothing. */
static JsonNode *
set_capabilities (MockQemu *mock, JsonObject *arguments, GError **error)
{
  JsonArray *wanted = json_object_get_array_member (arguments, "capabilities");
  g_autoptr (GHashTable) on = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  GHashTableIter iter;
  gpointer name;

  if (mock_migration_is_active (mock))
    return mock_fail (error, "There's a migration process in progress");
  g_hash_table_iter_init (&iter, mock->migration->on);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    g_hash_table_add (on, g_strdup (name));
  for (guint i = 0; i < json_array_get_length (wanted); i++)
    {
      JsonObject *entry = json_array_get_object_element (wanted, i);

      switch_capability (on, mock_arg_string (entry, "capability"),
                         json_object_get_boolean_member (entry, "state"));
    }
  if (mock->migration->refused != NULL && g_hash_table_contains (on, mock->migration->refused))
    return mock_fail (error, "The host does not support %s", mock->migration->refused);
  if (!check_combination (on, error))
    return NULL;
  g_hash_table_unref (mock->migration->on);
  mock->migration->on = g_steal_pointer (&on);
  return mock_empty ();
}

void
mock_refuse_capability (MockQemu *mock, const char *name)
{
  g_free (mock->migration->refused);
  mock->migration->refused = g_strdup (name);
}

/* --- migrate --- */

static JsonObject *
ram_info (MockMigration *migration)
{
  JsonNode *info =
      mock_json ("{\"postcopy-requests\": 0, \"multifd-bytes\": 0, "
                 "\"pages-per-second\": 0, \"downtime-bytes\": 0, \"page-size\": 4096, "
                 "\"postcopy-bytes\": 0, \"mbps\": 0, \"dirty-sync-missed-zero-copy\": 0, "
                 "\"precopy-bytes\": 0, \"dirty-pages-rate\": 0}");
  JsonObject *object = json_node_dup_object (info);
  gint64 normal = g_atomic_int_get (&migration->n_normal),
         zero = g_atomic_int_get (&migration->n_zero);
  gint64 total = 0;

  for (guint i = 0; i < MOCK_N_RAM_BLOCKS; i++)
    total += (gint64)migration->ram[i].size;
  json_node_unref (info);
  json_object_set_int_member (object, "total", total);
  json_object_set_int_member (object, "remaining", total - (normal + zero) * MOCK_PAGE_SIZE);
  json_object_set_int_member (object, "transferred", normal * (MOCK_PAGE_SIZE + 8) + zero * 9);
  json_object_set_int_member (object, "dirty-sync-count", g_atomic_int_get (&migration->n_passes));
  json_object_set_int_member (object, "duplicate", zero);
  json_object_set_int_member (object, "normal", normal);
  json_object_set_int_member (object, "normal-bytes", normal * MOCK_PAGE_SIZE);
  if (migration->mock->style == MOCK_STYLE_7_2)
    json_object_set_int_member (object, "skipped", 0);
  return object;
}

static void
add_blockers (MockMigration *migration, JsonObject *info)
{
  JsonArray *reasons;

  if (migration->blockers->len == 0)
    return;
  reasons = json_array_new ();
  for (guint i = 0; i < migration->blockers->len; i++)
    json_array_add_string_element (reasons, g_ptr_array_index (migration->blockers, i));
  json_object_set_array_member (info, "blocked-reasons", reasons);
}

static JsonNode *
query_migrate (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  static const char *const with_numbers[] = { "active",         "cancelling", "completed",
                                              "pre-switchover", "device",     NULL };
  MockMigration *migration = mock->migration;
  JsonNode *result = mock_empty ();
  JsonObject *info = json_node_get_object (result);
  gint64 until = migration->ended_at != 0 ? migration->ended_at : g_get_monotonic_time ();

  add_blockers (migration, info);
  if (g_str_equal (migration->status, "none"))
    return result;
  json_object_set_string_member (info, "status", migration->status);
  if (migration->error != NULL)
    json_object_set_string_member (info, "error-desc", migration->error);
  /* In setup, and after a failure or a cancel, there are no numbers. */
  if (g_str_equal (migration->status, "setup"))
    json_object_set_int_member (info, "total-time", 0);
  if (!g_strv_contains (with_numbers, migration->status))
    return result;
  json_object_set_int_member (info, "setup-time", 0);
  json_object_set_int_member (info, "total-time", (until - migration->started_at) / 1000);
  json_object_set_object_member (info, "ram", ram_info (migration));
  if (g_str_equal (migration->status, "completed"))
    json_object_set_int_member (info, "downtime", 1);
  else
    json_object_set_int_member (info, "expected-downtime", 300);
  return result;
}

static int
take_descriptor (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *uri = mock_arg_string (arguments, "uri");
  int fd;

  if (uri == NULL || !g_str_has_prefix (uri, "fd:"))
    {
      mock_complain (mock, "the mock migrates to fd: only, not to %s", uri);
      mock_fail (error, "The mock migrates to fd: only");
      return -1;
    }
  fd = mock_fds_take_named (mock, uri + strlen ("fd:"));
  if (fd < 0)
    mock_fail (error, "File descriptor named '%s' has not been found", uri + strlen ("fd:"));
  return fd;
}

static JsonNode *
migrate (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockMigration *migration = mock->migration;
  g_autoptr (GError) problem = NULL;
  int fd;

  if (mock_migration_is_active (mock))
    return mock_fail (error, "There's a migration process in progress");
  if (migration->blockers->len > 0)
    return mock_fail (error, "%s", (const char *)g_ptr_array_index (migration->blockers, 0));
  g_clear_pointer (&migration->error, g_free);
  mock_migration_set_status (migration, "setup");
  fd = take_descriptor (mock, arguments, &problem);
  if (fd < 0)
    {
      migration->error = g_strdup (problem->message);
      mock_migration_set_status (migration, "failed");
      g_propagate_error (error, g_steal_pointer (&problem));
      return NULL;
    }
  mock_migration_begin (migration, fd);
  return mock_empty ();
}

/* {} in any case; on a pipe nothing happens until somebody reads. */
static JsonNode *
migrate_cancel (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  if (mock_migration_is_active (mock) && !g_str_equal (mock->migration->status, "cancelling"))
    {
      g_atomic_int_set (&mock->migration->cancelled, 1);
      mock_migration_set_status (mock->migration, "cancelling");
    }
  return mock_empty ();
}

static JsonNode *
migrate_continue (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *state = mock_arg_string (arguments, "state");

  if (!g_str_equal (mock->migration->status, state))
    return mock_fail (error, "Migration not in expected state: %s", mock->migration->status);
  g_atomic_int_set (&mock->migration->continued, 1);
  return mock_empty ();
}

static JsonNode *
query_parameters (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result =
      mock_json ("{\"announce-initial\": 50, \"announce-max\": 550, \"announce-rounds\": 5, "
                 "\"announce-step\": 100, "
                 "\"downtime-limit\": 300, \"max-postcopy-bandwidth\": 0, "
                 "\"multifd-channels\": 2, \"multifd-compression\": \"none\", \"tls-authz\": \"\", "
                 "\"tls-creds\": \"\", \"tls-hostname\": \"\", \"throttle-trigger-threshold\": 50, "
                 "\"xbzrle-cache-size\": 67108864}");

  json_object_set_int_member (json_node_get_object (result), "max-bandwidth",
                              mock->migration->max_bandwidth);
  return result;
}

static JsonNode *
set_parameters (MockQemu *mock, JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  mock->migration->max_bandwidth =
      mock_arg_int (arguments, "max-bandwidth", mock->migration->max_bandwidth);
  return mock_empty ();
}

const MockCommand mock_migration_commands[] = {
  { "migrate", migrate },
  { "migrate-continue", migrate_continue },
  { "migrate_cancel", migrate_cancel },
  { "migrate-set-capabilities", set_capabilities },
  { "migrate-set-parameters", set_parameters },
  { "query-migrate", query_migrate },
  { "query-migrate-capabilities", query_capabilities },
  { "query-migrate-parameters", query_parameters },
  { NULL, NULL },
};
