/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks QMP messages against what a real QEMU said to query-qmp-schema. */

#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _MockSchema MockSchema;

#define MOCK_SCHEMA_ERROR (mock_schema_error_quark ())
GQuark mock_schema_error_quark (void);

typedef enum
{
  MOCK_SCHEMA_ERROR_UNKNOWN, /* no such command or event */
  MOCK_SCHEMA_ERROR_INVALID
} MockSchemaError;

/* @name: "7.2" or "10.0". */
MockSchema *mock_schema_load (const char *name, GError **error);
MockSchema *mock_schema_new_from_data (const char *json, GError **error);
void mock_schema_free (MockSchema *schema);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (MockSchema, mock_schema_free)

/* @arguments: NULL is the same as {}. */
gboolean mock_schema_check_command (MockSchema *schema,
                                    const char *command,
                                    JsonObject *arguments,
                                    GError **error);
gboolean
mock_schema_check_return (MockSchema *schema, const char *command, JsonNode *value, GError **error);
gboolean
mock_schema_check_event (MockSchema *schema, const char *event, JsonObject *data, GError **error);

JsonNode *mock_schema_get_root (MockSchema *schema);
GStrv mock_schema_dup_commands (MockSchema *schema);

G_END_DECLS
