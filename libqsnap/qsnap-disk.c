/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-disk-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"

/**
 * SECTION:qsnap-disk
 * @title: QsnapDisk
 * @short_description: What one disk of a guest became
 *
 * A #QsnapDisk says which image holds one disk of the guest at the snapshot's point in time, and
 * which image the guest has been writing to since. With %QSNAP_DISK_MODE_OVERLAY that is a new one;
 * with all other modes it is the one that the guest had, and #QsnapDisk:overlay is %NULL.
 *
 * It does not change after it was made, so any thread may read it.
 */

/**
 * QsnapDisk:
 *
 * What one disk of a guest became.
 *
 * Since: 1.0
 */
struct _QsnapDisk
{
  GObject parent_instance;

  char *device;
  char *node;
  char *format;
  char *base;
  char *overlay;
  guint64 size;
  QsnapDiskMode mode;
};

G_DEFINE_FINAL_TYPE (QsnapDisk, qsnap_disk, G_TYPE_OBJECT)

enum
{
  PROP_DEVICE = 1,
  PROP_NODE,
  PROP_FORMAT,
  PROP_BASE,
  PROP_OVERLAY,
  PROP_SIZE,
  PROP_MODE,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

static void
qsnap_disk_finalize (GObject *object)
{
  QsnapDisk *self = QSNAP_DISK (object);

  g_free (self->device);
  g_free (self->node);
  g_free (self->format);
  g_free (self->base);
  g_free (self->overlay);

  G_OBJECT_CLASS (qsnap_disk_parent_class)->finalize (object);
}

static void
qsnap_disk_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapDisk *self = QSNAP_DISK (object);

  switch (id)
    {
    case PROP_DEVICE:
      g_value_set_string (value, self->device);
      break;
    case PROP_NODE:
      g_value_set_string (value, self->node);
      break;
    case PROP_FORMAT:
      g_value_set_string (value, self->format);
      break;
    case PROP_BASE:
      g_value_set_string (value, self->base);
      break;
    case PROP_OVERLAY:
      g_value_set_string (value, self->overlay);
      break;
    case PROP_SIZE:
      g_value_set_uint64 (value, self->size);
      break;
    case PROP_MODE:
      g_value_set_enum (value, self->mode);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_disk_class_init (QsnapDiskClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;

  object_class->finalize = qsnap_disk_finalize;
  object_class->get_property = qsnap_disk_get_property;

  /**
   * QsnapDisk:device:
   *
   * QEMU's name of the drive, or of its device where the drive has none.
   *
   * Since: 1.0
   */
  props[PROP_DEVICE] = g_param_spec_string ("device", NULL, NULL, NULL, flags);
  /**
   * QsnapDisk:node:
   *
   * The node that the drive was on at the point in time.
   *
   * Since: 1.0
   */
  props[PROP_NODE] = g_param_spec_string ("node", NULL, NULL, NULL, flags);
  /**
   * QsnapDisk:format:
   *
   * The format of the base image, for example `qcow2` or `raw`.
   *
   * Since: 1.0
   */
  props[PROP_FORMAT] = g_param_spec_string ("format", NULL, NULL, NULL, flags);
  /**
   * QsnapDisk:base:
   *
   * The image that holds the disk at the point in time, as an absolute path in the file system's
   * encoding; %NULL where that is no local file, or the disk was left out. Nothing may write to it,
   * or boot from it, as long as the snapshot or the overlay is needed; with
   * %QSNAP_DISK_MODE_INTERNAL it is the guest's own image, and the guest goes on in it.
   *
   * Since: 1.0
   */
  props[PROP_BASE] = g_param_spec_string ("base", NULL, NULL, NULL, flags);
  /**
   * QsnapDisk:overlay:
   *
   * The image that the guest writes to since, as an absolute path: the guest's disk is now this
   * file. %NULL where it goes on in the image that it had, or in what is no local file, or where the
   * snapshot was moved without it.
   *
   * Since: 1.0
   */
  props[PROP_OVERLAY] = g_param_spec_string ("overlay", NULL, NULL, NULL, flags);
  /**
   * QsnapDisk:size:
   *
   * The disk's size as the guest sees it, in bytes.
   *
   * Since: 1.0
   */
  props[PROP_SIZE] = g_param_spec_uint64 ("size", NULL, NULL, 0, G_MAXUINT64, 0, flags);

  /**
   * QsnapDisk:mode:
   *
   * How the disk got into the snapshot; never %QSNAP_DISK_MODE_AUTO.
   *
   * Since: 1.0
   */
  props[PROP_MODE] =
      g_param_spec_enum ("mode", NULL, NULL, QSNAP_TYPE_DISK_MODE, QSNAP_DISK_MODE_OVERLAY, flags);

  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_disk_init (QsnapDisk *self)
{
}

QsnapDisk *
qsnap_disk_new (JsonObject *object, const char *directory)
{
  QsnapDisk *self = g_object_new (QSNAP_TYPE_DISK, NULL);
  JsonObject *base = qsnap_json_get_object (object, "base");
  JsonObject *overlay = qsnap_json_get_object (object, "overlay");

  self->device = g_strdup (qsnap_json_get_string (object, "device"));
  self->node = g_strdup (qsnap_json_get_string (object, "node"));
  self->size = (guint64)qsnap_json_get_int (object, "size", 0);
  self->format = g_strdup (qsnap_json_get_string (base, "format"));
  self->mode = qsnap_manifest_disk_mode (object);
  if (self->mode != QSNAP_DISK_MODE_EXCLUDE)
    self->base = qsnap_manifest_disk_base (object, directory);
  self->overlay = g_strdup (qsnap_json_get_string (overlay, "file"));

  return self;
}

/**
 * qsnap_disk_get_device:
 * @self: a disk
 *
 * QEMU's name of the drive, or of its device where the drive has none.
 *
 * Returns: (nullable): the device
 *
 * Since: 1.0
 */
const char *
qsnap_disk_get_device (QsnapDisk *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK (self), NULL);

  return self->device;
}

/**
 * qsnap_disk_get_node:
 * @self: a disk
 *
 * The node that the drive was on at the point in time.
 *
 * Returns: the node
 *
 * Since: 1.0
 */
const char *
qsnap_disk_get_node (QsnapDisk *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK (self), NULL);

  return self->node;
}

/**
 * qsnap_disk_get_format:
 * @self: a disk
 *
 * The format of the base image, for example `qcow2` or `raw`.
 *
 * Returns: the format
 *
 * Since: 1.0
 */
const char *
qsnap_disk_get_format (QsnapDisk *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK (self), NULL);

  return self->format;
}

/**
 * qsnap_disk_get_base:
 * @self: a disk
 *
 * Gets #QsnapDisk:base.
 *
 * Returns: (nullable): the base
 *
 * Since: 1.0
 */
const char *
qsnap_disk_get_base (QsnapDisk *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK (self), NULL);

  return self->base;
}

/**
 * qsnap_disk_get_overlay:
 * @self: a disk
 *
 * Gets #QsnapDisk:overlay.
 *
 * Returns: (nullable): the overlay
 *
 * Since: 1.0
 */
const char *
qsnap_disk_get_overlay (QsnapDisk *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK (self), NULL);

  return self->overlay;
}

/**
 * qsnap_disk_get_size:
 * @self: a disk
 *
 * The disk's size as the guest sees it, in bytes.
 *
 * Returns: the size in bytes
 *
 * Since: 1.0
 */
guint64
qsnap_disk_get_size (QsnapDisk *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK (self), 0);

  return self->size;
}

/**
 * qsnap_disk_get_mode:
 * @self: a disk
 *
 * How the disk got into the snapshot.
 *
 * Returns: the mode
 *
 * Since: 1.0
 */
QsnapDiskMode
qsnap_disk_get_mode (QsnapDisk *self)
{
  g_return_val_if_fail (QSNAP_IS_DISK (self), QSNAP_DISK_MODE_OVERLAY);

  return self->mode;
}
