/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model's block layer, shared by the files that change, describe and set it up. */

#pragma once

#include "qsnap-mock-private.h"

G_BEGIN_DECLS

typedef struct
{
  char *device;
  char *qdev;
  /* NULL: no medium. */
  char *root;
} MockDrive;

struct _MockGraph
{
  /* Newest first, as QEMU lists them. */
  GList *nodes;
  GPtrArray *drives;
  guint n_auto_names;
  /* When the last snapshot of the disks was taken. */
  gboolean snapshot_done, snapshot_while_running;
  guint snapshot_epoch;
};

/* The few fields of a qcow2 header that the model uses. */
typedef struct
{
  gint64 size;
  char backing[1024];
  char format[32];
} MockQcow2;

gboolean mock_qcow2_read (MockNode *file, MockQcow2 *header);

/* As QEMU tells of a snapshot inside an image. */
JsonObject *mock_snapshot_info (const char *name);

MockNode *mock_graph_open (MockQemu *mock, JsonObject *options, GError **error);

JsonNode *mock_query_block (MockQemu *mock, JsonObject *arguments, GError **error);
JsonNode *mock_query_named_block_nodes (MockQemu *mock, JsonObject *arguments, GError **error);

G_END_DECLS
