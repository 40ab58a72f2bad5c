/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "pages/qsnap-revert-record.h"

#include <string.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

#define FORMAT "qsnap-revert"
#define SCHEMA 1
#define MAX_BYTES (1u << 20)

gboolean
qsnap_revert_record_write (int dir_fd, JsonObject *record, GError **error)
{
  g_autoptr (JsonNode) node = qsnap_json_node_from_object (record);
  g_autofree char *text = NULL;

  json_object_set_string_member (record, "format", FORMAT);
  json_object_set_int_member (record, "schema", SCHEMA);
  text = qsnap_json_to_text (node, TRUE);

  /* The guest waits for this, and is gone if the host is. */
  return qsnap_io_replace_unsynced (dir_fd, QSNAP_REVERT_RECORD, text, strlen (text), error);
}

JsonObject *
qsnap_revert_record_read (int dir_fd, GError **error)
{
  gsize len = 0;
  g_autofree char *text = qsnap_io_read_whole (dir_fd, QSNAP_REVERT_RECORD, MAX_BYTES, &len, error);
  g_autoptr (JsonNode) node = NULL;
  JsonObject *record;

  if (text == NULL)
    return NULL;
  node = qsnap_json_parse_object (text, len, error);
  record = qsnap_json_object (node);
  if (record == NULL)
    return NULL;
  if (g_strcmp0 (qsnap_json_get_string (record, "format"), FORMAT) == 0 &&
      qsnap_json_get_int (record, "schema", -1) == SCHEMA)
    return json_object_ref (record);

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
                       QSNAP_REVERT_RECORD " is none that this version knows");

  return NULL;
}

void
qsnap_revert_record_remove (int dir_fd)
{
  (void)unlinkat (dir_fd, QSNAP_REVERT_RECORD, 0);
}
