/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "disk/qsnap-internal.h"

#include "qsnap-json.h"

void
qsnap_internal_plan (QsnapDrive *drive, const char *id)
{
  drive->new_format = "qcow2";
  drive->internal_name = g_strconcat ("qsnap-", id, NULL);
}

static JsonObject *
arguments_of (QsnapDrive *drive)
{
  return qsnap_json_object_new ("device", 's', drive->node, "name", 's', drive->internal_name,
                                NULL);
}

JsonObject *
qsnap_internal_action (QsnapDiskTask *task)
{
  return qsnap_json_object_new ("type", 's', "blockdev-snapshot-internal-sync", "data", 'o',
                                arguments_of (task->drive), NULL);
}

/* There may be none: the transaction's answer may have been lost. */
static gboolean
is_there (QsnapDiskTask *task, gboolean *there, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (task->qmp, "query-named-block-nodes",
                                              qsnap_json_node_new ("flat", 'b', TRUE, NULL), error);
  JsonArray *nodes = qsnap_json_array (reply);

  *there = FALSE;
  for (guint i = 0; nodes != NULL && i < json_array_get_length (nodes); i++)
    {
      JsonObject *node = qsnap_json_array_object (nodes, i);
      JsonArray *list = qsnap_json_get_array (qsnap_json_get_object (node, "image"), "snapshots");

      if (g_strcmp0 (qsnap_json_get_string (node, "node-name"), task->drive->node) != 0)
        continue;
      for (guint j = 0; list != NULL && j < json_array_get_length (list); j++)
        if (g_strcmp0 (qsnap_json_get_string (qsnap_json_array_object (list, j), "name"),
                       task->drive->internal_name) == 0)
          *there = TRUE;
    }

  return reply != NULL;
}

gboolean
qsnap_internal_delete (gpointer data, GError **error)
{
  QsnapDiskTask *task = data;
  gboolean there;

  if (task->qmp->gone)
    return TRUE;
  if (!is_there (task, &there, error))
    return FALSE;

  return !there || qsnap_qmp_do (task->qmp, "blockdev-snapshot-delete-internal-sync",
                                 qsnap_json_node_from_object (arguments_of (task->drive)), error);
}
