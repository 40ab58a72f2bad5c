/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-checksum.h"
#include "memory/qsnap-image-names.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-snapshot-private.h"

/* What the manifest tells of a snapshot. */

static JsonObject *
section_of (JsonObject *manifest, const char *section)
{
  return section != NULL ? qsnap_json_get_object (manifest, section) : manifest;
}

static char *
dup_string (QsnapSnapshot *self, const char *section, const char *member)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  return g_strdup (qsnap_json_get_string (section_of (self->manifest, section), member));
}

static gint64
get_int (QsnapSnapshot *self, const char *section, const char *member, gint64 otherwise)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  return qsnap_json_get_int (section_of (self->manifest, section), member, otherwise);
}

static GStrv
dup_strings (QsnapSnapshot *self, const char *section, const char *member)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  JsonArray *array = qsnap_json_get_array (section_of (self->manifest, section), member);

  if (array == NULL)
    return NULL;

  for (guint i = 0; i < json_array_get_length (array); i++)
    g_strv_builder_add (builder, json_array_get_string_element (array, i));

  return g_strv_builder_end (builder);
}

/**
 * qsnap_snapshot_get_directory:
 * @self: a snapshot
 *
 * The snapshot's own directory.
 *
 * Returns: (transfer none): the directory
 *
 * Since: 1.0
 */
GFile *
qsnap_snapshot_get_directory (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return self->directory;
}

/**
 * qsnap_snapshot_get_name:
 * @self: a snapshot
 *
 * The snapshot's name, for people.
 *
 * Returns: the name
 *
 * Since: 1.0
 */
const char *
qsnap_snapshot_get_name (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return self->name;
}

/**
 * qsnap_snapshot_get_sealed:
 * @self: a snapshot
 *
 * Whether all of it is on stable storage.
 *
 * Returns: %FALSE while it is being saved
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_get_sealed (QsnapSnapshot *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);

  locker = g_mutex_locker_new (&self->lock);

  return self->sealed;
}

/**
 * qsnap_snapshot_dup_time:
 * @self: a snapshot
 *
 * The point in time, by QEMU's clock, in UTC.
 *
 * Returns: (transfer full): the point in time
 *
 * Since: 1.0
 */
GDateTime *
qsnap_snapshot_dup_time (QsnapSnapshot *self)
{
  g_autofree char *text = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  text = dup_string (self, NULL, "time");

  return text != NULL ? g_date_time_new_from_iso8601 (text, NULL) : NULL;
}

/**
 * qsnap_snapshot_get_disks:
 * @self: a snapshot
 *
 * The guest's disks.
 *
 * Returns: (transfer none): a list of #QsnapDisk
 *
 * Since: 1.0
 */
GListModel *
qsnap_snapshot_get_disks (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return self->disks;
}

/**
 * qsnap_snapshot_dup_manifest:
 * @self: a snapshot
 *
 * The whole manifest, as it is in the snapshot's directory once it is sealed. Its layout is
 * described in the file format documentation.
 *
 * Returns: (transfer full): a copy, an object; free with json_node_unref()
 *
 * Since: 1.0
 */
JsonNode *
qsnap_snapshot_dup_manifest (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return qsnap_json_node_from_object (qsnap_snapshot_copy_manifest (self));
}

/**
 * qsnap_snapshot_dup_qemu_version:
 * @self: a snapshot
 *
 * The version of the QEMU that the guest ran on, for example `7.2.22`.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_qemu_version (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_string (self, "qemu", "version");
}

/**
 * qsnap_snapshot_dup_machine:
 * @self: a snapshot
 *
 * The machine type, pinned: `pc-q35-7.2`, never the alias.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_machine (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_string (self, "qemu", "machine");
}

/**
 * qsnap_snapshot_dup_guest_name:
 * @self: a snapshot
 *
 * The guest's name (QEMU's option `-name`), if it has one.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_guest_name (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_string (self, "guest", "name");
}

/**
 * qsnap_snapshot_dup_guest_uuid:
 * @self: a snapshot
 *
 * The guest's UUID (QEMU's option `-uuid`), if it has one.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_guest_uuid (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_string (self, "guest", "uuid");
}

/**
 * qsnap_snapshot_dup_command_line:
 * @self: a snapshot
 *
 * The command line of QEMU, where it could be read.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_snapshot_dup_command_line (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_strings (self, "qemu", "command-line");
}

/**
 * qsnap_snapshot_dup_warnings:
 * @self: a snapshot
 *
 * What was noticed when the snapshot was taken, for people. Of #QsnapSnapshotOptions:huge-pages,
 * #QsnapSnapshotOptions:share-pages and #QsnapSnapshotOptions:max-chain-length it is noticed when the
 * snapshot is sealed already: only the one that the capture returns tells of it.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_snapshot_dup_warnings (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_strings (self, NULL, "warnings");
}

/**
 * qsnap_snapshot_get_mode:
 * @self: a snapshot
 *
 * How the memory got into the snapshot.
 *
 * Returns: the mode that was asked for, or its fallback
 *
 * Since: 1.0
 */
QsnapSnapshotMode
qsnap_snapshot_get_mode (QsnapSnapshot *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), QSNAP_SNAPSHOT_MODE_INSTANT);

  locker = g_mutex_locker_new (&self->lock);

  return (QsnapSnapshotMode)qsnap_json_get_enum (self->manifest, "mode", QSNAP_TYPE_SNAPSHOT_MODE,
                                                 QSNAP_SNAPSHOT_MODE_INSTANT);
}

/**
 * qsnap_snapshot_get_memory_size:
 * @self: a snapshot
 *
 * The guest's RAM in bytes, device memory included; 0 before it is known.
 *
 * Returns: bytes
 *
 * Since: 1.0
 */
guint64
qsnap_snapshot_get_memory_size (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), 0);

  return (guint64)get_int (self, "guest", "memory-size", 0);
}

/**
 * qsnap_snapshot_get_data_size:
 * @self: a snapshot
 *
 * How many bytes of the RAM are not zero: about what the memory image takes on disk; 0 before
 * it is known.
 *
 * Returns: bytes
 *
 * Since: 1.0
 */
guint64
qsnap_snapshot_get_data_size (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), 0);

  return (guint64)get_int (self, "guest", "data-size", 0);
}

static guint64
stored_size_of (JsonObject *block)
{
  gint64 size = json_object_has_member (block, "compression")
                    ? qsnap_json_get_int (block, "packed-length", 0)
                    : qsnap_json_get_int (block, "pages", 0) * (gint64)QSNAP_PAGE_SIZE;

  return (guint64)MAX (size, 0);
}

/**
 * qsnap_snapshot_get_stored_size:
 * @self: a snapshot
 *
 * How much room the guest's memory takes in the snapshot's files: its #QsnapSnapshot:data-size, or
 * less if it is compressed.
 *
 * Returns: bytes; 0 for a snapshot of disks only, or one that is not sealed
 *
 * Since: 1.0
 */
guint64
qsnap_snapshot_get_stored_size (QsnapSnapshot *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;
  JsonArray *blocks;
  guint64 size = 0;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), 0);

  locker = g_mutex_locker_new (&self->lock);
  blocks = qsnap_json_get_array (section_of (self->manifest, "memory"), "blocks");
  for (guint i = 0; blocks != NULL && i < json_array_get_length (blocks); i++)
    size += stored_size_of (qsnap_json_array_object (blocks, i));

  return size;
}

/**
 * qsnap_snapshot_get_compression:
 * @self: a snapshot
 *
 * How the guest's memory is kept. A revert cannot map what is compressed.
 *
 * Returns: the compression; %QSNAP_COMPRESSION_NONE for a snapshot that is not sealed
 *
 * Since: 1.0
 */
QsnapCompression
qsnap_snapshot_get_compression (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), QSNAP_COMPRESSION_NONE);

  return get_int (self, "memory", "format", 0) == QSNAP_IMAGE_PACKED_FORMAT
             ? QSNAP_COMPRESSION_ZSTD
             : QSNAP_COMPRESSION_NONE;
}

/**
 * qsnap_snapshot_get_pause_us:
 * @self: a snapshot
 *
 * How long the guest was stopped, in microseconds, by QEMU's own events; 0 for a guest that
 * was paused by its owner; -1 before it is known.
 *
 * Returns: microseconds
 *
 * Since: 1.0
 */
gint64
qsnap_snapshot_get_pause_us (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), -1);

  return get_int (self, "timing", "pause-us", -1);
}

/**
 * qsnap_snapshot_get_stop_us:
 * @self: a snapshot
 *
 * The part of the pause that stopping the guest took, its disks drained and flushed, in
 * microseconds; -1 before it is known.
 *
 * Returns: microseconds
 *
 * Since: 1.0
 */
gint64
qsnap_snapshot_get_stop_us (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), -1);

  return get_int (self, "timing", "stop-us", -1);
}

/**
 * qsnap_snapshot_get_disks_us:
 * @self: a snapshot
 *
 * The part of the pause that the transaction on the disks took, in microseconds; -1 before it
 * is known.
 *
 * Returns: microseconds
 *
 * Since: 1.0
 */
gint64
qsnap_snapshot_get_disks_us (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), -1);

  return get_int (self, "timing", "disks-us", -1);
}

/**
 * qsnap_snapshot_get_memory_us:
 * @self: a snapshot
 *
 * The part of the pause that QEMU took to save the devices and to protect the memory, in
 * microseconds; -1 before it is known.
 *
 * Returns: microseconds
 *
 * Since: 1.0
 */
gint64
qsnap_snapshot_get_memory_us (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), -1);

  return get_int (self, "timing", "memory-us", -1);
}

/**
 * qsnap_snapshot_get_resume_us:
 * @self: a snapshot
 *
 * The part of the pause from the proof of the point in time to the guest's resume, in
 * microseconds; next to nothing where QEMU resumed the guest by itself; -1 before it is known.
 *
 * Returns: microseconds
 *
 * Since: 1.0
 */
gint64
qsnap_snapshot_get_resume_us (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), -1);

  return get_int (self, "timing", "resume-us", -1);
}

/**
 * qsnap_snapshot_get_save_us:
 * @self: a snapshot
 *
 * How long saving the memory took, from the point in time until all of it was on stable
 * storage, in microseconds; -1 before it is known.
 *
 * Returns: microseconds
 *
 * Since: 1.0
 */
gint64
qsnap_snapshot_get_save_us (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), -1);

  return get_int (self, "timing", "save-us", -1);
}

/**
 * qsnap_snapshot_dup_id:
 * @self: a snapshot
 *
 * Eight hexadecimal digits that tell it apart from all others, whatever its name or directory.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_id (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_string (self, NULL, "id");
}

/**
 * qsnap_snapshot_dup_parent_id:
 * @self: a snapshot
 *
 * Gets #QsnapSnapshot:parent-id.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_parent_id (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_string (self, "parent", "id");
}

/**
 * qsnap_snapshot_dup_parent_name:
 * @self: a snapshot
 *
 * Gets #QsnapSnapshot:parent-name.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_snapshot_dup_parent_name (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), NULL);

  return dup_string (self, "parent", "name");
}

/**
 * qsnap_snapshot_has_guest:
 * @self: a snapshot
 *
 * Whether a guest goes on from here at this moment: a QEMU holds its lock for writing on one of the
 * overlays. That of an earlier snapshot is only read, and one that was taken with other modes than
 * %QSNAP_DISK_MODE_OVERLAY has none.
 *
 * Returns: %TRUE if there is one
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_has_guest (QsnapSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);

  for (guint i = 0; i < g_list_model_get_n_items (self->disks); i++)
    {
      g_autoptr (QsnapDisk) disk = g_list_model_get_item (self->disks, i);
      const char *overlay = qsnap_disk_get_overlay (disk);

      if (overlay != NULL && qsnap_image_is_written (overlay))
        return TRUE;
    }

  return FALSE;
}
