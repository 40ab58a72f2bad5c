/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-snapshot-options-private.h"

/**
 * SECTION:qsnap-snapshot-options
 * @title: QsnapSnapshotOptions
 * @short_description: Where and how to take a snapshot
 *
 * A #QsnapSnapshotOptions says where a snapshot goes and how it is taken. Only the directory has to
 * be set: then it is instant, the guest goes on in overlays, and is left as it was.
 *
 * #QsnapSnapshotOptions:mode, or #QsnapSnapshotOptions:fallback, is for guests that cannot be
 * captured instantly, and for snapshots without memory. #QsnapSnapshotOptions:disk-mode is for
 * those whose images are to stay what they are; a #QsnapDiskOptions for a single disk.
 * Options that contradict each other, quiesce with memory for example, are found by
 * qsnap_session_check() and are %G_IO_ERROR_INVALID_ARGUMENT of a capture, with every reason.
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
  QsnapSnapshotMode mode;
  QsnapSnapshotMode fallback;
  QsnapDiskMode disk_mode;
  GListStore *disks;
  QsnapLeave leave;
  char *quiesce;
  QsnapCompression compression;
  gboolean huge_pages;
  guint max_chain_length;
  gboolean share_pages;
  char *description;
  GVariant *metadata;
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
  PROP_MODE,
  PROP_FALLBACK,
  PROP_DISK_MODE,
  PROP_DISKS,
  PROP_LEAVE,
  PROP_QUIESCE,
  PROP_COMPRESSION,
  PROP_HUGE_PAGES,
  PROP_MAX_CHAIN_LENGTH,
  PROP_SHARE_PAGES,
  PROP_DESCRIPTION,
  PROP_METADATA,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

static void
qsnap_snapshot_options_finalize (GObject *object)
{
  QsnapSnapshotOptions *self = QSNAP_SNAPSHOT_OPTIONS (object);

  g_clear_object (&self->directory);
  g_clear_object (&self->overlay_directory);
  g_clear_object (&self->disks);
  g_free (self->name);
  g_free (self->quiesce);
  g_free (self->description);
  g_clear_pointer (&self->metadata, g_variant_unref);

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
    case PROP_MODE:
      g_value_set_enum (value, self->mode);
      break;
    case PROP_FALLBACK:
      g_value_set_enum (value, self->fallback);
      break;
    case PROP_DISK_MODE:
      g_value_set_enum (value, self->disk_mode);
      break;
    case PROP_DISKS:
      g_value_set_object (value, self->disks);
      break;
    case PROP_LEAVE:
      g_value_set_enum (value, self->leave);
      break;
    case PROP_QUIESCE:
      g_value_set_string (value, self->quiesce);
      break;
    case PROP_COMPRESSION:
      g_value_set_enum (value, self->compression);
      break;
    case PROP_HUGE_PAGES:
      g_value_set_boolean (value, self->huge_pages);
      break;
    case PROP_MAX_CHAIN_LENGTH:
      g_value_set_uint (value, self->max_chain_length);
      break;
    case PROP_SHARE_PAGES:
      g_value_set_boolean (value, self->share_pages);
      break;
    case PROP_DESCRIPTION:
      g_value_set_string (value, self->description);
      break;
    case PROP_METADATA:
      g_value_set_variant (value, self->metadata);
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
    case PROP_MODE:
      qsnap_snapshot_options_set_mode (self, g_value_get_enum (value));
      break;
    case PROP_FALLBACK:
      qsnap_snapshot_options_set_fallback (self, g_value_get_enum (value));
      break;
    case PROP_DISK_MODE:
      qsnap_snapshot_options_set_disk_mode (self, g_value_get_enum (value));
      break;
    case PROP_LEAVE:
      qsnap_snapshot_options_set_leave (self, g_value_get_enum (value));
      break;
    case PROP_QUIESCE:
      qsnap_snapshot_options_set_quiesce (self, g_value_get_string (value));
      break;
    case PROP_COMPRESSION:
      qsnap_snapshot_options_set_compression (self, g_value_get_enum (value));
      break;
    case PROP_HUGE_PAGES:
      qsnap_snapshot_options_set_huge_pages (self, g_value_get_boolean (value));
      break;
    case PROP_MAX_CHAIN_LENGTH:
      qsnap_snapshot_options_set_max_chain_length (self, g_value_get_uint (value));
      break;
    case PROP_SHARE_PAGES:
      qsnap_snapshot_options_set_share_pages (self, g_value_get_boolean (value));
      break;
    case PROP_DESCRIPTION:
      qsnap_snapshot_options_set_description (self, g_value_get_string (value));
      break;
    case PROP_METADATA:
      qsnap_snapshot_options_set_metadata (self, g_value_get_variant (value));
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
   * UTF-8 without control characters and slashes; no other snapshot in the same folder may have it.
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

  /**
   * QsnapSnapshotOptions:mode:
   *
   * How the guest's memory gets into the snapshot.
   *
   * Since: 1.0
   */
  props[PROP_MODE] = g_param_spec_enum ("mode", NULL, NULL, QSNAP_TYPE_SNAPSHOT_MODE,
                                        QSNAP_SNAPSHOT_MODE_INSTANT, flags);
  /**
   * QsnapSnapshotOptions:fallback:
   *
   * The mode to take where this guest cannot be captured in %QSNAP_SNAPSHOT_MODE_INSTANT; the
   * reason is among the snapshot's warnings then. %QSNAP_SNAPSHOT_MODE_INSTANT, the default, for
   * none: the capture is refused.
   *
   * Since: 1.0
   */
  props[PROP_FALLBACK] = g_param_spec_enum ("fallback", NULL, NULL, QSNAP_TYPE_SNAPSHOT_MODE,
                                            QSNAP_SNAPSHOT_MODE_INSTANT, flags);
  /**
   * QsnapSnapshotOptions:disk-mode:
   *
   * How the disks get into the snapshot, all but those that have a mode of their own in
   * #QsnapSnapshotOptions:disks.
   *
   * Since: 1.0
   */
  props[PROP_DISK_MODE] = g_param_spec_enum ("disk-mode", NULL, NULL, QSNAP_TYPE_DISK_MODE,
                                             QSNAP_DISK_MODE_OVERLAY, flags);
  /**
   * QsnapSnapshotOptions:disks:
   *
   * What holds for single disks, a list of #QsnapDiskOptions. One that fits to no disk of the guest
   * is an error of the capture.
   *
   * Since: 1.0
   */
  props[PROP_DISKS] = g_param_spec_object ("disks", NULL, NULL, G_TYPE_LIST_MODEL,
                                           G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * QsnapSnapshotOptions:leave:
   *
   * What becomes of the guest after its snapshot. A guest that does not go on stands still while
   * its memory is saved, in %QSNAP_SNAPSHOT_MODE_INSTANT too.
   *
   * Since: 1.0
   */
  props[PROP_LEAVE] =
      g_param_spec_enum ("leave", NULL, NULL, QSNAP_TYPE_LEAVE, QSNAP_LEAVE_RUNNING, flags);
  /**
   * QsnapSnapshotOptions:quiesce:
   *
   * The unix socket of the agent (qemu-ga) in the guest, which freezes the guest's file systems for
   * the point in time and thaws them after it; %NULL to leave them alone. For
   * %QSNAP_SNAPSHOT_MODE_DISKS_ONLY: with its memory a guest needs no frozen file systems, and
   * would come back with them.
   *
   * Since: 1.0
   */
  props[PROP_QUIESCE] = g_param_spec_string ("quiesce", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshotOptions:compression:
   *
   * How the guest's memory is kept. Compressed memory needs less room and more time: to be saved,
   * and for every page that is read back. A revert can load it or bring it in on demand, and cannot
   * map it.
   *
   * Since: 1.0
   */
  props[PROP_COMPRESSION] = g_param_spec_enum ("compression", NULL, NULL, QSNAP_TYPE_COMPRESSION,
                                               QSNAP_COMPRESSION_NONE, flags);
  /**
   * QsnapSnapshotOptions:huge-pages:
   *
   * Whether the guest gets its huge pages back after %QSNAP_SNAPSHOT_MODE_INSTANT, which splits
   * them: the next capture of it would pause it for longer. It is done when the snapshot is sealed
   * and #QsnapSession::memory-complete was emitted; the operation ends when it is done, after about
   * a second for each GiB that the guest uses. The guest runs on. Cancelling ends it at once, and
   * the snapshot is there all the same.
   *
   * It needs Linux 6.1, CAP_SYS_NICE, and memory that is private and in no file. Where it cannot be
   * done qsnap_session_check() warns, and the capture goes on without it. What comes in between
   * later is in #QsnapSnapshot:warnings of the snapshot that the capture returns.
   *
   * Since: 1.0
   */
  props[PROP_HUGE_PAGES] = g_param_spec_boolean ("huge-pages", NULL, NULL, FALSE, flags);

  /**
   * QsnapSnapshotOptions:share-pages:
   *
   * Whether pages of the memory that are the same, at the same place, in the snapshot that the
   * guest came from are kept once, by the file system (XFS with reflink, btrfs). Only a snapshot
   * beside this one is found. Each stays whole for itself: any of them can be deleted, or copied to
   * elsewhere, as before. It is done when the snapshot is sealed and
   * #QsnapSession::memory-complete was emitted; the operation ends when it is done, as the file
   * system reads all that both have. Until then both can be brought back, but not be deleted.
   * Cancelling ends it, and the snapshot is there all the same.
   *
   * Not with #QsnapSnapshotOptions:compression; of a snapshot before that is compressed nothing is
   * shared. Where the file system cannot do it qsnap_session_check() warns, and the capture goes on
   * without it. What comes in between later is in #QsnapSnapshot:warnings of the snapshot that the
   * capture returns.
   *
   * Since: 1.0
   */
  props[PROP_SHARE_PAGES] = g_param_spec_boolean ("share-pages", NULL, NULL, FALSE, flags);
  /**
   * QsnapSnapshotOptions:max-chain-length:
   *
   * How many snapshots of the guest may stand on each other, this one included; 0, the default,
   * for no limit. Each with an overlay makes the guest's chain of images longer by one.
   *
   * When the snapshot is sealed and #QsnapSession::memory-complete was emitted, those that it came
   * from (#QsnapSnapshot:parent-id) and that have an overlay are deleted, where they are more than
   * that, the oldest first, as qsnap_session_delete_snapshot() does it: the guest runs on, while
   * QEMU merges. The operation ends when that is done. Only snapshots in the same folder are looked
   * at. One that cannot be deleted is left, with the reason in #QsnapSnapshot:warnings of the
   * snapshot that the capture returns; the next capture tries again. Cancelling ends the merge, and
   * the snapshot is there all the same. With 1 the new snapshot itself stands on another image
   * afterwards: load it again to see its #QsnapDisk:base.
   *
   * A #QsnapGroup refuses it.
   *
   * Since: 1.0
   */
  props[PROP_MAX_CHAIN_LENGTH] =
      g_param_spec_uint ("max-chain-length", NULL, NULL, 0, G_MAXINT, 0, flags);
  /**
   * QsnapSnapshotOptions:description:
   *
   * What people say of the snapshot, at most 64 KiB of UTF-8. It can be changed later, with
   * qsnap_snapshot_annotate().
   *
   * Since: 1.0
   */
  props[PROP_DESCRIPTION] = g_param_spec_string ("description", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshotOptions:metadata:
   *
   * What programs keep with the snapshot, a dictionary. It can be changed later, with
   * qsnap_snapshot_annotate().
   *
   * Since: 1.0
   */
  props[PROP_METADATA] =
      g_param_spec_variant ("metadata", NULL, NULL, G_VARIANT_TYPE_VARDICT, NULL, flags);

  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_snapshot_options_init (QsnapSnapshotOptions *self)
{
  self->disks = g_list_store_new (QSNAP_TYPE_DISK_OPTIONS);
}

static void
copy_property (GObject *from, GObject *to, GParamSpec *pspec)
{
  g_auto (GValue) value = G_VALUE_INIT;

  g_value_init (&value, pspec->value_type);
  g_object_get_property (from, pspec->name, &value);
  g_object_set_property (to, pspec->name, &value);
}

static gpointer
copy_object (gpointer from, gpointer to)
{
  guint n;
  g_autofree GParamSpec **all = g_object_class_list_properties (G_OBJECT_GET_CLASS (from), &n);

  for (guint i = 0; i < n; i++)
    if (all[i]->flags & G_PARAM_WRITABLE && !(all[i]->flags & G_PARAM_CONSTRUCT_ONLY))
      copy_property (from, to, all[i]);

  return to;
}

QsnapSnapshotOptions *
qsnap_snapshot_options_copy (QsnapSnapshotOptions *options)
{
  QsnapSnapshotOptions *copy = copy_object (options, qsnap_snapshot_options_new (NULL));
  GListModel *disks = G_LIST_MODEL (options->disks);

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDiskOptions) disk = g_list_model_get_item (disks, i);
      g_autoptr (QsnapDiskOptions) another =
          copy_object (disk, qsnap_disk_options_new (qsnap_disk_options_get_disk (disk),
                                                     qsnap_disk_options_get_mode (disk)));

      qsnap_snapshot_options_add_disk (copy, another);
    }

  return copy;
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

/**
 * qsnap_snapshot_options_get_mode:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:mode.
 *
 * Returns: how the guest's memory gets into the snapshot
 *
 * Since: 1.0
 */
QsnapSnapshotMode
qsnap_snapshot_options_get_mode (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), 0);

  return self->mode;
}

/**
 * qsnap_snapshot_options_set_mode:
 * @self: options
 * @mode: how the guest's memory gets into the snapshot
 *
 * Sets #QsnapSnapshotOptions:mode.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_mode (QsnapSnapshotOptions *self, QsnapSnapshotMode mode)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->mode == mode)
    return;

  self->mode = mode;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_MODE]);
}

/**
 * qsnap_snapshot_options_get_fallback:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:fallback.
 *
 * Returns: the mode to take where the guest cannot be captured instantly
 *
 * Since: 1.0
 */
QsnapSnapshotMode
qsnap_snapshot_options_get_fallback (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), 0);

  return self->fallback;
}

/**
 * qsnap_snapshot_options_set_fallback:
 * @self: options
 * @fallback: the mode to take where the guest cannot be captured instantly
 *
 * Sets #QsnapSnapshotOptions:fallback.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_fallback (QsnapSnapshotOptions *self, QsnapSnapshotMode fallback)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->fallback == fallback)
    return;

  self->fallback = fallback;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_FALLBACK]);
}

/**
 * qsnap_snapshot_options_get_disk_mode:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:disk-mode.
 *
 * Returns: how the disks get into the snapshot
 *
 * Since: 1.0
 */
QsnapDiskMode
qsnap_snapshot_options_get_disk_mode (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), 0);

  return self->disk_mode;
}

/**
 * qsnap_snapshot_options_set_disk_mode:
 * @self: options
 * @disk_mode: how the disks get into the snapshot
 *
 * Sets #QsnapSnapshotOptions:disk-mode.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_disk_mode (QsnapSnapshotOptions *self, QsnapDiskMode disk_mode)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->disk_mode == disk_mode)
    return;

  self->disk_mode = disk_mode;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_DISK_MODE]);
}

/**
 * qsnap_snapshot_options_get_disks:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:disks.
 *
 * Returns: (transfer none): a list of #QsnapDiskOptions
 *
 * Since: 1.0
 */
GListModel *
qsnap_snapshot_options_get_disks (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), NULL);

  return G_LIST_MODEL (self->disks);
}

/**
 * qsnap_snapshot_options_add_disk:
 * @self: options
 * @disk: (transfer none): what holds for one disk
 *
 * Adds to #QsnapSnapshotOptions:disks.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_add_disk (QsnapSnapshotOptions *self, QsnapDiskOptions *disk)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));
  g_return_if_fail (QSNAP_IS_DISK_OPTIONS (disk));

  g_list_store_append (self->disks, disk);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_DISKS]);
}

/**
 * qsnap_snapshot_options_get_leave:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:leave.
 *
 * Returns: what becomes of the guest after its snapshot
 *
 * Since: 1.0
 */
QsnapLeave
qsnap_snapshot_options_get_leave (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), 0);

  return self->leave;
}

/**
 * qsnap_snapshot_options_set_leave:
 * @self: options
 * @leave: what becomes of the guest after its snapshot
 *
 * Sets #QsnapSnapshotOptions:leave.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_leave (QsnapSnapshotOptions *self, QsnapLeave leave)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->leave == leave)
    return;

  self->leave = leave;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_LEAVE]);
}

/**
 * qsnap_snapshot_options_get_quiesce:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:quiesce.
 *
 * Returns: (nullable): the unix socket of the guest's agent
 *
 * Since: 1.0
 */
const char *
qsnap_snapshot_options_get_quiesce (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), NULL);

  return self->quiesce;
}

/**
 * qsnap_snapshot_options_set_quiesce:
 * @self: options
 * @agent: (nullable): the unix socket of the guest's agent, `unix:PATH` or a bare path
 *
 * Sets #QsnapSnapshotOptions:quiesce.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_quiesce (QsnapSnapshotOptions *self, const char *agent)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (g_strcmp0 (self->quiesce, agent) == 0)
    return;

  g_free (self->quiesce);
  self->quiesce = g_strdup (agent);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_QUIESCE]);
}

/**
 * qsnap_snapshot_options_get_compression:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:compression.
 *
 * Returns: how the guest's memory is kept
 *
 * Since: 1.0
 */
QsnapCompression
qsnap_snapshot_options_get_compression (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), QSNAP_COMPRESSION_NONE);

  return self->compression;
}

/**
 * qsnap_snapshot_options_set_compression:
 * @self: options
 * @compression: how the guest's memory is kept
 *
 * Sets #QsnapSnapshotOptions:compression.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_compression (QsnapSnapshotOptions *self, QsnapCompression compression)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->compression == compression)
    return;

  self->compression = compression;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_COMPRESSION]);
}

/**
 * qsnap_snapshot_options_get_huge_pages:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:huge-pages.
 *
 * Returns: whether the guest gets its huge pages back
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_options_get_huge_pages (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), FALSE);

  return self->huge_pages;
}

/**
 * qsnap_snapshot_options_set_huge_pages:
 * @self: options
 * @huge_pages: whether the guest gets its huge pages back
 *
 * Sets #QsnapSnapshotOptions:huge-pages.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_huge_pages (QsnapSnapshotOptions *self, gboolean huge_pages)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  huge_pages = huge_pages != FALSE;
  if (self->huge_pages == huge_pages)
    return;

  self->huge_pages = huge_pages;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_HUGE_PAGES]);
}

/**
 * qsnap_snapshot_options_get_share_pages:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:share-pages.
 *
 * Returns: whether pages are shared with the snapshot before
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_options_get_share_pages (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), FALSE);

  return self->share_pages;
}

/**
 * qsnap_snapshot_options_set_share_pages:
 * @self: options
 * @share_pages: whether pages are shared with the snapshot before
 *
 * Sets #QsnapSnapshotOptions:share-pages.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_share_pages (QsnapSnapshotOptions *self, gboolean share_pages)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  share_pages = share_pages != FALSE;
  if (self->share_pages == share_pages)
    return;

  self->share_pages = share_pages;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_SHARE_PAGES]);
}

/**
 * qsnap_snapshot_options_get_max_chain_length:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:max-chain-length.
 *
 * Returns: how many snapshots may stand on each other; 0 for no limit
 *
 * Since: 1.0
 */
guint
qsnap_snapshot_options_get_max_chain_length (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), 0);

  return self->max_chain_length;
}

/**
 * qsnap_snapshot_options_set_max_chain_length:
 * @self: options
 * @max_chain_length: how many snapshots may stand on each other; 0 for no limit
 *
 * Sets #QsnapSnapshotOptions:max-chain-length.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_max_chain_length (QsnapSnapshotOptions *self, guint max_chain_length)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (self->max_chain_length == max_chain_length)
    return;

  self->max_chain_length = max_chain_length;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_MAX_CHAIN_LENGTH]);
}

/**
 * qsnap_snapshot_options_get_description:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:description.
 *
 * Returns: (nullable): what people say of the snapshot
 *
 * Since: 1.0
 */
const char *
qsnap_snapshot_options_get_description (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), NULL);

  return self->description;
}

/**
 * qsnap_snapshot_options_set_description:
 * @self: options
 * @description: (nullable): what people say of the snapshot
 *
 * Sets #QsnapSnapshotOptions:description.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_description (QsnapSnapshotOptions *self, const char *description)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));

  if (g_strcmp0 (self->description, description) == 0)
    return;

  g_free (self->description);
  self->description = g_strdup (description);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_DESCRIPTION]);
}

/**
 * qsnap_snapshot_options_get_metadata:
 * @self: options
 *
 * Gets #QsnapSnapshotOptions:metadata.
 *
 * Returns: (transfer none) (nullable): what programs keep with the snapshot, `a{sv}`
 *
 * Since: 1.0
 */
GVariant *
qsnap_snapshot_options_get_metadata (QsnapSnapshotOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self), NULL);

  return self->metadata;
}

/**
 * qsnap_snapshot_options_set_metadata:
 * @self: options
 * @metadata: (nullable): what programs keep with the snapshot, a dictionary of the type `a{sv}`; a
 *   floating one is taken
 *
 * Sets #QsnapSnapshotOptions:metadata.
 *
 * Since: 1.0
 */
void
qsnap_snapshot_options_set_metadata (QsnapSnapshotOptions *self, GVariant *metadata)
{
  g_return_if_fail (QSNAP_IS_SNAPSHOT_OPTIONS (self));
  g_return_if_fail (metadata == NULL || g_variant_is_of_type (metadata, G_VARIANT_TYPE_VARDICT));

  if (self->metadata == metadata)
    return;

  g_clear_pointer (&self->metadata, g_variant_unref);
  self->metadata = metadata != NULL ? g_variant_ref_sink (metadata) : NULL;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_METADATA]);
}
