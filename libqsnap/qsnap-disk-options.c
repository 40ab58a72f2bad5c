/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-json.h"
#include "qsnap/qsnap.h"

/**
 * SECTION:qsnap-disk-options
 * @title: QsnapDiskOptions
 * @short_description: How one disk gets into a snapshot
 *
 * A #QsnapDiskOptions says how a single disk of the guest gets into a snapshot, where that is not
 * what #QsnapSnapshotOptions says of all. It is added with qsnap_snapshot_options_add_disk().
 *
 * #QsnapDiskOptions:file or #QsnapDiskOptions:target say where an overlay or a copy is made. A name
 * that fits to no writable disk of the guest is %G_IO_ERROR_NOT_FOUND of a capture, and a disk that
 * is named twice %G_IO_ERROR_INVALID_ARGUMENT.
 *
 * The options are read when an operation starts; changing them afterwards has no effect on it. The
 * object is not locked: set it up in one thread.
 */

/**
 * QsnapDiskOptions:
 *
 * How one disk gets into a snapshot.
 *
 * Since: 1.0
 */
struct _QsnapDiskOptions
{
  GObject parent_instance;

  char *disk;
  QsnapDiskMode mode;
  GFile *file;
  gboolean reuse;
  JsonNode *target;
  QsnapCopySync sync;
};

G_DEFINE_FINAL_TYPE (QsnapDiskOptions, qsnap_disk_options, G_TYPE_OBJECT)

enum
{
  PROP_DISK = 1,
  PROP_MODE,
  PROP_FILE,
  PROP_REUSE,
  PROP_TARGET,
  PROP_SYNC,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

static void
qsnap_disk_options_finalize (GObject *object)
{
  QsnapDiskOptions *self = QSNAP_DISK_OPTIONS (object);

  g_clear_object (&self->file);
  g_clear_pointer (&self->target, json_node_unref);
  g_free (self->disk);

  G_OBJECT_CLASS (qsnap_disk_options_parent_class)->finalize (object);
}

static void
qsnap_disk_options_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapDiskOptions *self = QSNAP_DISK_OPTIONS (object);

  switch (id)
    {
    case PROP_DISK:
      g_value_set_string (value, self->disk);
      break;
    case PROP_MODE:
      g_value_set_enum (value, self->mode);
      break;
    case PROP_FILE:
      g_value_set_object (value, self->file);
      break;
    case PROP_REUSE:
      g_value_set_boolean (value, self->reuse);
      break;
    case PROP_TARGET:
      g_value_set_boxed (value, self->target);
      break;
    case PROP_SYNC:
      g_value_set_enum (value, self->sync);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_disk_options_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  QsnapDiskOptions *self = QSNAP_DISK_OPTIONS (object);

  switch (id)
    {
    case PROP_DISK:
      self->disk = g_value_dup_string (value);
      break;
    case PROP_MODE:
      self->mode = g_value_get_enum (value);
      break;
    case PROP_FILE:
      qsnap_disk_options_set_file (self, g_value_get_object (value));
      break;
    case PROP_REUSE:
      qsnap_disk_options_set_reuse (self, g_value_get_boolean (value));
      break;
    case PROP_TARGET:
      qsnap_disk_options_set_target (self, g_value_get_boxed (value));
      break;
    case PROP_SYNC:
      qsnap_disk_options_set_sync (self, g_value_get_enum (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_disk_options_class_init (QsnapDiskOptionsClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;
  const GParamFlags constant = G_PARAM_READWRITE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS;

  object_class->finalize = qsnap_disk_options_finalize;
  object_class->get_property = qsnap_disk_options_get_property;
  object_class->set_property = qsnap_disk_options_set_property;

  /**
   * QsnapDiskOptions:disk:
   *
   * Which disk: QEMU's name of the drive, of its device, or of its node, or the path of its image.
   *
   * Since: 1.0
   */
  props[PROP_DISK] = g_param_spec_string ("disk", NULL, NULL, NULL, constant);
  /**
   * QsnapDiskOptions:mode:
   *
   * How the disk gets into the snapshot. %QSNAP_DISK_MODE_AUTO means %QSNAP_DISK_MODE_CLONE where
   * that works for this disk, else %QSNAP_DISK_MODE_OVERLAY.
   *
   * Since: 1.0
   */
  props[PROP_MODE] = g_param_spec_enum ("mode", NULL, NULL, QSNAP_TYPE_DISK_MODE,
                                        QSNAP_DISK_MODE_OVERLAY, constant);
  /**
   * QsnapDiskOptions:file:
   *
   * The image that is made: the overlay of %QSNAP_DISK_MODE_OVERLAY, or the copy of
   * %QSNAP_DISK_MODE_COPY. %NULL for beside the guest's image (or in
   * #QsnapSnapshotOptions:overlay-directory), or in the snapshot's directory. It must not exist,
   * but for #QsnapDiskOptions:reuse.
   *
   * Since: 1.0
   */
  props[PROP_FILE] = g_param_spec_object ("file", NULL, NULL, G_TYPE_FILE, flags);
  /**
   * QsnapDiskOptions:reuse:
   *
   * Whether #QsnapDiskOptions:file is there already: an empty qcow2 image of the disk's size that
   * has the guest's image as backing file. A capture that fails does not remove it. For
   * %QSNAP_DISK_MODE_OVERLAY.
   *
   * Since: 1.0
   */
  props[PROP_REUSE] = g_param_spec_boolean ("reuse", NULL, NULL, FALSE, flags);
  /**
   * QsnapDiskOptions:target:
   *
   * Where the image is made instead of in a file, as the arguments of `blockdev-add` without
   * `node-name`: for example an export of an NBD server. With %QSNAP_DISK_MODE_COPY it has to have
   * exactly the size of the disk, and gets the disk's content as it is (raw); with
   * %QSNAP_DISK_MODE_OVERLAY it is formatted as qcow2. %NULL for #QsnapDiskOptions:file. Such a
   * target is neither verified nor removed by the library.
   *
   * Since: 1.0
   */
  props[PROP_TARGET] = g_param_spec_boxed ("target", NULL, NULL, JSON_TYPE_NODE, flags);
  /**
   * QsnapDiskOptions:sync:
   *
   * How much %QSNAP_DISK_MODE_COPY copies.
   *
   * Since: 1.0
   */
  props[PROP_SYNC] =
      g_param_spec_enum ("sync", NULL, NULL, QSNAP_TYPE_COPY_SYNC, QSNAP_COPY_SYNC_FULL, flags);

  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_disk_options_init (QsnapDiskOptions *self)
{
}

/**
 * qsnap_disk_options_new:
 * @disk: QEMU's name of the drive, of its device, or of its node, or the path of its image
 * @mode: how the disk gets into the snapshot
 *
 * Makes options of a disk.
 *
 * Returns: (transfer full): new options
 *
 * Since: 1.0
 */
QsnapDiskOptions *
qsnap_disk_options_new (const char *disk, QsnapDiskMode mode)
{
  g_return_val_if_fail (disk != NULL, NULL);

  return g_object_new (QSNAP_TYPE_DISK_OPTIONS, "disk", disk, "mode", mode, NULL);
}

/**
 * qsnap_disk_options_get_disk:
 * @self: options of a disk
 *
 * Gets #QsnapDiskOptions:disk.
 *
 * Returns: the name or path
 *
 * Since: 1.0
 */
const char *
qsnap_disk_options_get_disk (QsnapDiskOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK_OPTIONS (self), NULL);

  return self->disk;
}

/**
 * qsnap_disk_options_get_mode:
 * @self: options of a disk
 *
 * Gets #QsnapDiskOptions:mode.
 *
 * Returns: how the disk gets into the snapshot
 *
 * Since: 1.0
 */
QsnapDiskMode
qsnap_disk_options_get_mode (QsnapDiskOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK_OPTIONS (self), QSNAP_DISK_MODE_OVERLAY);

  return self->mode;
}

/**
 * qsnap_disk_options_get_file:
 * @self: options of a disk
 *
 * Gets #QsnapDiskOptions:file.
 *
 * Returns: (transfer none) (nullable): the image that is made
 *
 * Since: 1.0
 */
GFile *
qsnap_disk_options_get_file (QsnapDiskOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK_OPTIONS (self), NULL);

  return self->file;
}

/**
 * qsnap_disk_options_set_file:
 * @self: options of a disk
 * @file: (nullable): the image that is made
 *
 * Sets #QsnapDiskOptions:file.
 *
 * Since: 1.0
 */
void
qsnap_disk_options_set_file (QsnapDiskOptions *self, GFile *file)
{
  g_return_if_fail (QSNAP_IS_DISK_OPTIONS (self));
  g_return_if_fail (file == NULL || G_IS_FILE (file));

  if (g_set_object (&self->file, file))
    g_object_notify_by_pspec (G_OBJECT (self), props[PROP_FILE]);
}

/**
 * qsnap_disk_options_get_reuse:
 * @self: options of a disk
 *
 * Gets #QsnapDiskOptions:reuse.
 *
 * Returns: whether the image is there already
 *
 * Since: 1.0
 */
gboolean
qsnap_disk_options_get_reuse (QsnapDiskOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK_OPTIONS (self), FALSE);

  return self->reuse;
}

/**
 * qsnap_disk_options_set_reuse:
 * @self: options of a disk
 * @reuse: whether the image is there already
 *
 * Sets #QsnapDiskOptions:reuse.
 *
 * Since: 1.0
 */
void
qsnap_disk_options_set_reuse (QsnapDiskOptions *self, gboolean reuse)
{
  g_return_if_fail (QSNAP_IS_DISK_OPTIONS (self));

  if (self->reuse == !!reuse)
    return;

  self->reuse = !!reuse;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_REUSE]);
}

/**
 * qsnap_disk_options_get_target:
 * @self: options of a disk
 *
 * Gets #QsnapDiskOptions:target.
 *
 * Returns: (transfer none) (nullable): block options of QEMU
 *
 * Since: 1.0
 */
JsonNode *
qsnap_disk_options_get_target (QsnapDiskOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK_OPTIONS (self), NULL);

  return self->target;
}

/**
 * qsnap_disk_options_set_target:
 * @self: options of a disk
 * @target: (nullable): block options of QEMU, an object
 *
 * Sets #QsnapDiskOptions:target.
 *
 * Since: 1.0
 */
void
qsnap_disk_options_set_target (QsnapDiskOptions *self, JsonNode *target)
{
  g_return_if_fail (QSNAP_IS_DISK_OPTIONS (self));

  g_clear_pointer (&self->target, json_node_unref);
  self->target = target != NULL ? qsnap_json_copy (target) : NULL;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_TARGET]);
}

/**
 * qsnap_disk_options_get_sync:
 * @self: options of a disk
 *
 * Gets #QsnapDiskOptions:sync.
 *
 * Returns: how much is copied
 *
 * Since: 1.0
 */
QsnapCopySync
qsnap_disk_options_get_sync (QsnapDiskOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK_OPTIONS (self), QSNAP_COPY_SYNC_FULL);

  return self->sync;
}

/**
 * qsnap_disk_options_set_sync:
 * @self: options of a disk
 * @sync: how much is copied
 *
 * Sets #QsnapDiskOptions:sync.
 *
 * Since: 1.0
 */
void
qsnap_disk_options_set_sync (QsnapDiskOptions *self, QsnapCopySync sync)
{
  g_return_if_fail (QSNAP_IS_DISK_OPTIONS (self));

  if (self->sync == sync)
    return;

  self->sync = sync;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_SYNC]);
}
