/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap/qsnap.h"

/**
 * SECTION:qsnap-snapshot-options
 * @title: QsnapSnapshotOptions
 * @short_description: Where and how to take a snapshot
 *
 * A #QsnapSnapshotOptions says where a snapshot goes and how it is taken. Only the directory has to
 * be set.
 *
 * The options are read when an operation starts; changing them afterwards has no effect on it. The
 * object is not locked: set it up in one thread.
 */

/**
 * QsnapSnapshotOptions:
 *
 * Where and how to take a snapshot.
 *
 * Since: 1.0
 */
struct _QsnapSnapshotOptions
{
  GObject parent_instance;

  GFile *directory;
  GFile *overlay_directory;
  char *name;
  gboolean allow_managed;
  guint max_pause_ms;
  guint max_stall_ms;
};

G_DEFINE_FINAL_TYPE (QsnapSnapshotOptions, qsnap_snapshot_options, G_TYPE_OBJECT)

enum
{
  PROP_DIRECTORY = 1,
  PROP_NAME,
  PROP_OVERLAY_DIRECTORY,
  PROP_ALLOW_MANAGED,
  PROP_MAX_PAUSE_MS,
  PROP_MAX_STALL_MS,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

static void
qsnap_snapshot_options_finalize (GObject *object)
{
  QsnapSnapshotOptions *self = QSNAP_SNAPSHOT_OPTIONS (object);

  g_clear_object (&self->directory);
  g_clear_object (&self->overlay_directory);
  g_free (self->name);

  G_OBJECT_CLASS (qsnap_snapshot_options_parent_class)->finalize (object);
}

static void
qsnap_snapshot_options_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapSnapshotOptions *self = QSNAP_SNAPSHOT_OPTIONS (object);

  switch (id)
    {
    case PROP_DIRECTORY:
      g_value_set_object (value, self->directory);
      break;
    case PROP_NAME:
      g_value_set_string (value, self->name);
      break;
    case PROP_OVERLAY_DIRECTORY:
      g_value_set_object (value, self->overlay_directory);
      break;
    case PROP_ALLOW_MANAGED:
      g_value_set_boolean (value, self->allow_managed);
      break;
    case PROP_MAX_PAUSE_MS:
      g_value_set_uint (value, self->max_pause_ms);
      break;
    case PROP_MAX_STALL_MS:
      g_value_set_uint (value, self->max_stall_ms);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_snapshot_options_set_property (GObject *object,
                                     guint id,
                                     const GValue *value,
                                     GParamSpec *pspec)
{
  QsnapSnapshotOptions *self = QSNAP_SNAPSHOT_OPTIONS (object);

  switch (id)
    {
    case PROP_DIRECTORY:
      qsnap_snapshot_options_set_directory (self, g_value_get_object (value));
      break;
    case PROP_NAME:
      qsnap_snapshot_options_set_name (self, g_value_get_string (value));
      break;
    case PROP_OVERLAY_DIRECTORY:
      qsnap_snapshot_options_set_overlay_directory (self, g_value_get_object (value));
      break;
    case PROP_ALLOW_MANAGED:
      qsnap_snapshot_options_set_allow_managed (self, g_value_get_boolean (value));
      break;
    case PROP_MAX_PAUSE_MS:
      qsnap_snapshot_options_set_max_pause_ms (self, g_value_get_uint (value));
      break;
    case PROP_MAX_STALL_MS:
      qsnap_snapshot_options_set_max_stall_ms (self, g_value_get_uint (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_snapshot_options_class_init (QsnapSnapshotOptionsClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;

  object_class->finalize = qsnap_snapshot_options_finalize;
  object_class->get_property = qsnap_snapshot_options_get_property;
  object_class->set_property = qsnap_snapshot_options_set_property;

  /**
   * QsnapSnapshotOptions:directory:
   *
   * The snapshot's own directory, on a local file system. It is made with mode 0700; its parent has
   * to exist. A directory that is there already has to be empty, and the caller's.
   *
   * Since: 1.0
   */
  props[PROP_DIRECTORY] = g_param_spec_object ("directory", NULL, NULL, G_TYPE_FILE, flags);
  /**
   * QsnapSnapshotOptions:name:
   *
   * The snapshot's name, for people; %NULL for the base name of the directory. At most 255 bytes of
   * UTF-8 without control characters and slashes.
   *
   * Since: 1.0
   */
  props[PROP_NAME] = g_param_spec_string ("name", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshotOptions:overlay-directory:
   *
   * Where the overlays go that the guest writes into from the point in time on; %NULL for beside
   * each image. It has to be set where an image is a block device. The overlays are the guest's
   * disks: they are not part of the snapshot and must not be deleted with it.
   *
   * Since: 1.0
   */
  props[PROP_OVERLAY_DIRECTORY] =
      g_param_spec_object ("overlay-directory", NULL, NULL, G_TYPE_FILE, flags);
  /**
   * QsnapSnapshotOptions:allow-managed:
   *
   * Whether a guest that libvirt owns may be captured. An overlay that libvirt knows nothing of
   * loses its data when libvirt starts the guest on the base again.
   *
   * Since: 1.0
   */
  props[PROP_ALLOW_MANAGED] = g_param_spec_boolean ("allow-managed", NULL, NULL, FALSE, flags);
  /**
   * QsnapSnapshotOptions:max-pause-ms:
   *
   * How long the guest may be stopped, in milliseconds; 0, the default, for no limit. A capture
   * whose pause gets longer is given up before its point in time and undone, with
   * %QSNAP_ERROR_TIMED_OUT. The guest goes on as soon as QEMU lets it.
   *
   * Since: 1.0
   */
  props[PROP_MAX_PAUSE_MS] = g_param_spec_uint ("max-pause-ms", NULL, NULL, 0, G_MAXINT, 0, flags);
  /**
   * QsnapSnapshotOptions:max-stall-ms:
   *
   * How long nothing of the memory may be written, in milliseconds; 0, the default, for no limit.
   * A capture whose target stalls for longer is undone, with %QSNAP_ERROR_TIMED_OUT. In any case
   * #QsnapSession::stalled tells of it.
   *
   * Since: 1.0
   */
  props[PROP_MAX_STALL_MS] = g_param_spec_uint ("max-stall-ms", NULL, NULL, 0, G_MAXINT, 0, flags);

  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_snapshot_options_init (QsnapSnapshotOptions *self)
{
}

/**
 * qsnap_snapshot_options_new:
 * @directory: (nullable): the snapshot's own directory
 *
 * Makes options with their defaults.
 *
 * Returns: (transfer full): new options
 *
 * Since: 1.0
 */
QsnapSnapshotOptions *
qsnap_snapshot_options_new (GFile *directory)
{
  return g_object_new (QSNAP_TYPE_SNAPSHOT_OPTIONS, "directory", directory, NULL);
}

/**
 * qsnap_snapshot_options_get_directory:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:directory.
 *
 * Returns: (transfer none) (nullable): the snapshot's own directory
 *
 * Since: 1.0
 */
GFile *
qsnap_snapshot_options_get_directory (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), NULL);

  return self->directory;
}

/**
 * qsnap_snapshot_options_set_directory:
 * @self: options
 * @directory: (nullable): the snapshot's own directory
 *
 * Sets #QsnapSnapshotOptions:directory.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_directory (QsnapSnapshotOptions *self, GFile *directory)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));
  g_return_if_fail (directory == NULL || G_IS_FILE (directory));

  if (g_set_object (&self->directory, directory))
    g_object_notify_by_pspec (G_OBJECT (self), props[PROP_DIRECTORY]);
}

/**
 * qsnap_snapshot_options_get_name:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:name.
 *
 * Returns: (nullable): the snapshot's name
 *
 * Since: 1.0
 */
const char *
qsnap_snapshot_options_get_name (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), NULL);

  return self->name;
}

/**
 * qsnap_snapshot_options_set_name:
 * @self: options
 * @name: (nullable): the snapshot's name
 *
 * Sets #QsnapSnapshotOptions:name.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_name (QsnapSnapshotOptions *self, const char *name)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (g_strcmp0 (self->name, name) == 0)
    return;

  g_free (self->name);
  self->name = g_strdup (name);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_NAME]);
}

/**
 * qsnap_snapshot_options_get_overlay_directory:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:overlay-directory.
 *
 * Returns: (transfer none) (nullable): where overlays go
 *
 * Since: 1.0
 */
GFile *
qsnap_snapshot_options_get_overlay_directory (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), NULL);

  return self->overlay_directory;
}

/**
 * qsnap_snapshot_options_set_overlay_directory:
 * @self: options
 * @directory: (nullable): where overlays go, or %NULL for beside each image
 *
 * Sets #QsnapSnapshotOptions:overlay-directory.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_overlay_directory (QsnapSnapshotOptions *self, GFile *directory)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));
  g_return_if_fail (directory == NULL || G_IS_FILE (directory));

  if (g_set_object (&self->overlay_directory, directory))
    g_object_notify_by_pspec (G_OBJECT (self), props[PROP_OVERLAY_DIRECTORY]);
}

/**
 * qsnap_snapshot_options_get_allow_managed:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:allow-managed.
 *
 * Returns: whether a guest that libvirt owns may be captured
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_options_get_allow_managed (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), FALSE);

  return self->allow_managed;
}

/**
 * qsnap_snapshot_options_set_allow_managed:
 * @self: options
 * @allow_managed: whether a guest that libvirt owns may be captured
 *
 * Sets #QsnapSnapshotOptions:allow-managed.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_allow_managed (QsnapSnapshotOptions *self, gboolean allow_managed)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->allow_managed == allow_managed)
    return;

  self->allow_managed = allow_managed;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_ALLOW_MANAGED]);
}

/**
 * qsnap_snapshot_options_get_max_pause_ms:
 * @self: options
 *
 * How long the guest may be stopped.
 *
 * Returns: milliseconds; 0 for no limit
 *
 * Since: 1.0
 */
guint
qsnap_snapshot_options_get_max_pause_ms (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), 0);

  return self->max_pause_ms;
}

/**
 * qsnap_snapshot_options_set_max_pause_ms:
 * @self: options
 * @max_pause_ms: milliseconds; 0 for no limit
 *
 * Sets #QsnapSnapshotOptions:max-pause-ms.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_max_pause_ms (QsnapSnapshotOptions *self, guint max_pause_ms)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->max_pause_ms == max_pause_ms)
    return;

  self->max_pause_ms = max_pause_ms;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_MAX_PAUSE_MS]);
}

/**
 * qsnap_snapshot_options_get_max_stall_ms:
 * @self: options
 *
 * How long nothing of the memory may be written.
 *
 * Returns: milliseconds; 0 for no limit
 *
 * Since: 1.0
 */
guint
qsnap_snapshot_options_get_max_stall_ms (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), 0);

  return self->max_stall_ms;
}

/**
 * qsnap_snapshot_options_set_max_stall_ms:
 * @self: options
 * @max_stall_ms: milliseconds; 0 for no limit
 *
 * Sets #QsnapSnapshotOptions:max-stall-ms.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_max_stall_ms (QsnapSnapshotOptions *self, guint max_stall_ms)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->max_stall_ms == max_stall_ms)
    return;

  self->max_stall_ms = max_stall_ms;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_MAX_STALL_MS]);
}
