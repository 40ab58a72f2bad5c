/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-pack.h"
#include "qsnap-check.h"
#include "qsnap-json.h"

/* Options that contradict each other, whatever the guest. Each row is one of the table in
 * docs/modes.md; tests read that table. */

typedef struct
{
  gboolean (*applies) (QsnapSnapshotOptions *options);
  const char *reason;
} Contradiction;

typedef struct
{
  gboolean (*applies) (QsnapDiskOptions *options);
  const char *reason;
} DiskContradiction;

/* --- of the snapshot ----------------------------------------------------------------------- */

static gboolean
is_disks_only (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_mode (options) == QSNAP_SNAPSHOT_MODE_DISKS_ONLY;
}

static gboolean
has_memory_and_quiesce (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_quiesce (options) != NULL && !is_disks_only (options);
}

static gboolean
stays_stopped_and_quiesce (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_quiesce (options) != NULL &&
         qsnap_snapshot_options_get_leave (options) != QSNAP_LEAVE_RUNNING;
}

static gboolean
has_useless_fallback (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_fallback (options) != QSNAP_SNAPSHOT_MODE_INSTANT &&
         qsnap_snapshot_options_get_mode (options) != QSNAP_SNAPSHOT_MODE_INSTANT;
}

static gboolean
stopped_and_max_pause (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_max_pause_ms (options) > 0 &&
         (qsnap_snapshot_options_get_mode (options) == QSNAP_SNAPSHOT_MODE_STOPPED ||
          qsnap_snapshot_options_get_fallback (options) == QSNAP_SNAPSHOT_MODE_STOPPED);
}

static gboolean
stays_stopped_and_max_pause (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_max_pause_ms (options) > 0 &&
         qsnap_snapshot_options_get_leave (options) != QSNAP_LEAVE_RUNNING;
}

static gboolean
disks_only_and_max_stall (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_max_stall_ms (options) > 0 && is_disks_only (options);
}

static gboolean
disks_only_and_compression (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_compression (options) != QSNAP_COMPRESSION_NONE &&
         is_disks_only (options);
}

static gboolean
ends_and_max_chain_length (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_max_chain_length (options) > 0 &&
         qsnap_snapshot_options_get_leave (options) == QSNAP_LEAVE_QUIT;
}

static gboolean
disks_only_and_share_pages (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_share_pages (options) && is_disks_only (options);
}

static gboolean
compression_and_share_pages (QsnapSnapshotOptions *options)
{
  return qsnap_snapshot_options_get_share_pages (options) &&
         qsnap_snapshot_options_get_compression (options) != QSNAP_COMPRESSION_NONE;
}

static gboolean
copies (QsnapSnapshotOptions *options)
{
  GListModel *disks = qsnap_snapshot_options_get_disks (options);

  if (qsnap_snapshot_options_get_disk_mode (options) == QSNAP_DISK_MODE_COPY)
    return TRUE;

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDiskOptions) disk = g_list_model_get_item (disks, i);

      if (qsnap_disk_options_get_mode (disk) == QSNAP_DISK_MODE_COPY)
        return TRUE;
    }

  return FALSE;
}

static gboolean
live_and_copy (QsnapSnapshotOptions *options)
{
  return (qsnap_snapshot_options_get_mode (options) == QSNAP_SNAPSHOT_MODE_LIVE ||
          qsnap_snapshot_options_get_fallback (options) == QSNAP_SNAPSHOT_MODE_LIVE) &&
         copies (options);
}

static const Contradiction contradictions[] = {
  { has_memory_and_quiesce,
    "quiesce is for mode disks-only: a guest that comes back with its memory needs no frozen file "
    "systems, and would come back with them" },
  { stays_stopped_and_quiesce,
    "quiesce and leave: a guest that does not go on cannot thaw its file systems" },
  { has_useless_fallback, "fallback is for mode instant" },
  { stopped_and_max_pause,
    "max-pause-ms and mode stopped: the guest stands still until all of its memory is saved" },
  { stays_stopped_and_max_pause, "max-pause-ms and leave: the pause does not end" },
  { disks_only_and_max_stall, "max-stall-ms and mode disks-only: there is no memory to be saved" },
  { disks_only_and_compression,
    "compression and mode disks-only: there is no memory to be compressed" },
  { ends_and_max_chain_length,
    "max-chain-length and leave quit: a QEMU that has ended merges nothing" },
  { disks_only_and_share_pages,
    "share-pages and mode disks-only: there is no memory to be shared" },
  { compression_and_share_pages,
    "share-pages and compression: pages that are compressed are never the same in two files" },
  { live_and_copy,
    "mode live and disk mode copy: QEMU does not end a migration while a job copies" },
};

/* --- of a disk ----------------------------------------------------------------------------- */

static gboolean
makes_image (QsnapDiskOptions *options)
{
  return qsnap_disk_options_get_mode (options) == QSNAP_DISK_MODE_OVERLAY ||
         qsnap_disk_options_get_mode (options) == QSNAP_DISK_MODE_COPY;
}

static gboolean
has_useless_file (QsnapDiskOptions *options)
{
  return qsnap_disk_options_get_file (options) != NULL && !makes_image (options);
}

static gboolean
has_remote_file (QsnapDiskOptions *options)
{
  GFile *file = qsnap_disk_options_get_file (options);
  g_autofree char *path = file != NULL ? g_file_get_path (file) : NULL;

  return file != NULL && (path == NULL || !g_utf8_validate (path, -1, NULL));
}

static gboolean
has_useless_reuse (QsnapDiskOptions *options)
{
  return qsnap_disk_options_get_reuse (options) &&
         (qsnap_disk_options_get_mode (options) != QSNAP_DISK_MODE_OVERLAY ||
          qsnap_disk_options_get_file (options) == NULL);
}

static gboolean
has_useless_target (QsnapDiskOptions *options)
{
  return qsnap_disk_options_get_target (options) != NULL && !makes_image (options);
}

static gboolean
has_file_and_target (QsnapDiskOptions *options)
{
  return qsnap_disk_options_get_target (options) != NULL &&
         qsnap_disk_options_get_file (options) != NULL;
}

static gboolean
has_bad_target (QsnapDiskOptions *options)
{
  JsonNode *target = qsnap_disk_options_get_target (options);
  JsonObject *object = qsnap_json_object (target);

  return target != NULL && (qsnap_json_get_string (object, "driver") == NULL ||
                            json_object_has_member (object, "node-name"));
}

static gboolean
has_useless_sync (QsnapDiskOptions *options)
{
  return qsnap_disk_options_get_sync (options) == QSNAP_COPY_SYNC_TOP &&
         qsnap_disk_options_get_mode (options) != QSNAP_DISK_MODE_COPY;
}

static gboolean
has_top_and_target (QsnapDiskOptions *options)
{
  return qsnap_disk_options_get_sync (options) == QSNAP_COPY_SYNC_TOP &&
         qsnap_disk_options_get_target (options) != NULL;
}

static const DiskContradiction disk_contradictions[] = {
  { has_useless_file, "file is for disk mode overlay or copy" },
  { has_remote_file, "file has to be a local file, with a path in UTF-8" },
  { has_useless_reuse, "reuse is for disk mode overlay, with a file" },
  { has_useless_target, "target is for disk mode overlay or copy" },
  { has_file_and_target, "file and target: one of them says where the image is" },
  { has_bad_target, "target has to be an object with a driver, and without node-name" },
  { has_useless_sync, "sync top is for disk mode copy" },
  { has_top_and_target, "sync top and target: what is raw has no backing file" },
};

/* --- all ----------------------------------------------------------------------------------- */

static void
check_disk (QsnapDiskOptions *options, QsnapReport *report)
{
  for (guint i = 0; i < G_N_ELEMENTS (disk_contradictions); i++)
    if (disk_contradictions[i].applies (options))
      qsnap_report_take_problem (report,
                                 g_error_new (G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                                              "disk %s: %s", qsnap_disk_options_get_disk (options),
                                              disk_contradictions[i].reason));
}

static void
check_compression (QsnapSnapshotOptions *options, QsnapReport *report)
{
  GError *problem = NULL;

  if (qsnap_snapshot_options_get_compression (options) != QSNAP_COMPRESSION_NONE &&
      !qsnap_pack_is_supported (&problem))
    qsnap_report_take_problem (report, problem);
}

gboolean
qsnap_check_options (QsnapSnapshotOptions *options, QsnapReport *report)
{
  GListModel *disks = qsnap_snapshot_options_get_disks (options);

  check_compression (options, report);
  for (guint i = 0; i < G_N_ELEMENTS (contradictions); i++)
    if (contradictions[i].applies (options))
      qsnap_report_take_problem (
          report,
          g_error_new_literal (G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, contradictions[i].reason));

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDiskOptions) disk = g_list_model_get_item (disks, i);

      check_disk (disk, report);
    }

  return qsnap_report_get_ok (report);
}
