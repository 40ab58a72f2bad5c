/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-snapshot-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "disk/qsnap-drive.h"
#include "memory/qsnap-image.h"
#include "memory/qsnap-io.h"
#include "qsnap-disk-private.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-manifest.h"

#define LOCK_PATIENCE_US (3 * G_USEC_PER_SEC)
#define LOCK_POLL_US (10 * 1000)

/**
 * SECTION:qsnap-snapshot
 * @title: QsnapSnapshot
 * @short_description: A snapshot of a guest, disks and memory
 *
 * A #QsnapSnapshot is a directory with the memory of a guest at one point in time, and a manifest
 * that says which images hold its disks at the same instant.
 *
 * It comes from qsnap_session_instant_snapshot(), from qsnap_snapshot_load(), or from
 * #QsnapSession::point-in-time-reached, where it is not yet sealed: until it is, verifying and
 * exporting fail with %QSNAP_ERROR_BUSY.
 *
 * With %QSNAP_DISK_MODE_OVERLAY the guest's disk is the overlay from the point in time on. The base
 * belongs to the snapshot: booting it, or writing to it in any way, destroys both the snapshot and
 * the guest's disk. qsnap_snapshot_verify() finds a base that was changed. qsnap_snapshot_delete()
 * and qsnap_session_delete_snapshot() give the base back to the guest. With other modes the guest
 * goes on in the image that it had; see #QsnapDisk:mode.
 *
 * One of %QSNAP_SNAPSHOT_MODE_DISKS_ONLY has no memory: it cannot be exported
 * (%QSNAP_ERROR_UNSUPPORTED), and a guest that is brought back from it boots.
 *
 * Any thread may call its methods. `notify::sealed` is emitted where the session emits its signals.
 */

/**
 * QsnapSnapshot:
 *
 * A snapshot of a guest, disks and memory.
 *
 * Since: 1.0
 */
G_DEFINE_FINAL_TYPE (QsnapSnapshot, qsnap_snapshot, G_TYPE_OBJECT)

enum
{
  PROP_DIRECTORY = 1,
  PROP_NAME,
  PROP_SEALED,
  PROP_TIME,
  PROP_DISKS,
  PROP_QEMU_VERSION,
  PROP_MACHINE,
  PROP_GUEST_NAME,
  PROP_GUEST_UUID,
  PROP_COMMAND_LINE,
  PROP_WARNINGS,
  PROP_MODE,
  PROP_MEMORY_SIZE,
  PROP_DATA_SIZE,
  PROP_STORED_SIZE,
  PROP_COMPRESSION,
  PROP_PAUSE_US,
  PROP_STOP_US,
  PROP_DISKS_US,
  PROP_MEMORY_US,
  PROP_RESUME_US,
  PROP_SAVE_US,
  PROP_ID,
  PROP_PARENT_ID,
  PROP_PARENT_NAME,
  PROP_DESCRIPTION,
  PROP_METADATA,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

JsonObject *
qsnap_snapshot_copy_manifest (QsnapSnapshot *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  return qsnap_json_copy_object (self->manifest);
}

/* --- GObject ------------------------------------------------------------------------------- */

static void
qsnap_snapshot_finalize (GObject *object)
{
  QsnapSnapshot *self = QSNAP_SNAPSHOT (object);

  g_clear_object (&self->directory);
  g_clear_object (&self->disks);
  g_clear_pointer (&self->manifest, json_object_unref);
  g_free (self->name);
  qsnap_about_clear (&self->about);
  g_mutex_clear (&self->lock);

  G_OBJECT_CLASS (qsnap_snapshot_parent_class)->finalize (object);
}

static void
qsnap_snapshot_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapSnapshot *self = QSNAP_SNAPSHOT (object);

  switch (id)
    {
    case PROP_DIRECTORY:
      g_value_set_object (value, self->directory);
      break;
    case PROP_NAME:
      g_value_set_string (value, self->name);
      break;
    case PROP_SEALED:
      g_value_set_boolean (value, qsnap_snapshot_get_sealed (self));
      break;
    case PROP_TIME:
      g_value_take_boxed (value, qsnap_snapshot_dup_time (self));
      break;
    case PROP_DISKS:
      g_value_set_object (value, self->disks);
      break;
    case PROP_QEMU_VERSION:
      g_value_take_string (value, qsnap_snapshot_dup_qemu_version (self));
      break;
    case PROP_MACHINE:
      g_value_take_string (value, qsnap_snapshot_dup_machine (self));
      break;
    case PROP_GUEST_NAME:
      g_value_take_string (value, qsnap_snapshot_dup_guest_name (self));
      break;
    case PROP_GUEST_UUID:
      g_value_take_string (value, qsnap_snapshot_dup_guest_uuid (self));
      break;
    case PROP_COMMAND_LINE:
      g_value_take_boxed (value, qsnap_snapshot_dup_command_line (self));
      break;
    case PROP_WARNINGS:
      g_value_take_boxed (value, qsnap_snapshot_dup_warnings (self));
      break;
    case PROP_MODE:
      g_value_set_enum (value, qsnap_snapshot_get_mode (self));
      break;
    case PROP_MEMORY_SIZE:
      g_value_set_uint64 (value, qsnap_snapshot_get_memory_size (self));
      break;
    case PROP_DATA_SIZE:
      g_value_set_uint64 (value, qsnap_snapshot_get_data_size (self));
      break;
    case PROP_STORED_SIZE:
      g_value_set_uint64 (value, qsnap_snapshot_get_stored_size (self));
      break;
    case PROP_COMPRESSION:
      g_value_set_enum (value, qsnap_snapshot_get_compression (self));
      break;
    case PROP_PAUSE_US:
      g_value_set_int64 (value, qsnap_snapshot_get_pause_us (self));
      break;
    case PROP_STOP_US:
      g_value_set_int64 (value, qsnap_snapshot_get_stop_us (self));
      break;
    case PROP_DISKS_US:
      g_value_set_int64 (value, qsnap_snapshot_get_disks_us (self));
      break;
    case PROP_MEMORY_US:
      g_value_set_int64 (value, qsnap_snapshot_get_memory_us (self));
      break;
    case PROP_RESUME_US:
      g_value_set_int64 (value, qsnap_snapshot_get_resume_us (self));
      break;
    case PROP_SAVE_US:
      g_value_set_int64 (value, qsnap_snapshot_get_save_us (self));
      break;
    case PROP_ID:
      g_value_take_string (value, qsnap_snapshot_dup_id (self));
      break;
    case PROP_PARENT_ID:
      g_value_take_string (value, qsnap_snapshot_dup_parent_id (self));
      break;
    case PROP_PARENT_NAME:
      g_value_take_string (value, qsnap_snapshot_dup_parent_name (self));
      break;
    case PROP_DESCRIPTION:
      g_value_take_string (value, qsnap_snapshot_dup_description (self));
      break;
    case PROP_METADATA:
      g_value_take_variant (value, qsnap_snapshot_dup_metadata (self));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
install_fixed_properties (GParamFlags flags)
{
  /**
   * QsnapSnapshot:directory:
   *
   * The snapshot's own directory.
   *
   * Since: 1.0
   */
  props[PROP_DIRECTORY] = g_param_spec_object ("directory", NULL, NULL, G_TYPE_FILE, flags);
  /**
   * QsnapSnapshot:name:
   *
   * The snapshot's name, for people.
   *
   * Since: 1.0
   */
  props[PROP_NAME] = g_param_spec_string ("name", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:sealed:
   *
   * Whether all of it is on stable storage. %FALSE again once its deletion has begun.
   *
   * Since: 1.0
   */
  props[PROP_SEALED] = g_param_spec_boolean ("sealed", NULL, NULL, FALSE, flags);
  /**
   * QsnapSnapshot:time:
   *
   * The point in time, by QEMU's clock, in UTC.
   *
   * Since: 1.0
   */
  props[PROP_TIME] = g_param_spec_boxed ("time", NULL, NULL, G_TYPE_DATE_TIME, flags);
  /**
   * QsnapSnapshot:disks:
   *
   * The guest's disks, a list of #QsnapDisk.
   *
   * Since: 1.0
   */
  props[PROP_DISKS] = g_param_spec_object ("disks", NULL, NULL, G_TYPE_LIST_MODEL, flags);
}

static void
install_manifest_properties (GParamFlags flags)
{
  /**
   * QsnapSnapshot:qemu-version:
   *
   * The version of the QEMU that the guest ran on, for example `7.2.22`.
   *
   * Since: 1.0
   */
  props[PROP_QEMU_VERSION] = g_param_spec_string ("qemu-version", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:machine:
   *
   * The machine type, pinned: `pc-q35-7.2`, never the alias.
   *
   * Since: 1.0
   */
  props[PROP_MACHINE] = g_param_spec_string ("machine", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:guest-name:
   *
   * The guest's name (QEMU's option `-name`), if it has one.
   *
   * Since: 1.0
   */
  props[PROP_GUEST_NAME] = g_param_spec_string ("guest-name", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:guest-uuid:
   *
   * The guest's UUID (QEMU's option `-uuid`), if it has one.
   *
   * Since: 1.0
   */
  props[PROP_GUEST_UUID] = g_param_spec_string ("guest-uuid", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:command-line:
   *
   * The command line of QEMU, where it could be read.
   *
   * Since: 1.0
   */
  props[PROP_COMMAND_LINE] = g_param_spec_boxed ("command-line", NULL, NULL, G_TYPE_STRV, flags);
  /**
   * QsnapSnapshot:warnings:
   *
   * What was noticed when the snapshot was taken, for people.
   *
   * Since: 1.0
   */
  props[PROP_WARNINGS] = g_param_spec_boxed ("warnings", NULL, NULL, G_TYPE_STRV, flags);
  /**
   * QsnapSnapshot:mode:
   *
   * How the memory got into the snapshot: the mode that was asked for, or its fallback.
   *
   * Since: 1.0
   */
  props[PROP_MODE] = g_param_spec_enum ("mode", NULL, NULL, QSNAP_TYPE_SNAPSHOT_MODE,
                                        QSNAP_SNAPSHOT_MODE_INSTANT, flags);
  /**
   * QsnapSnapshot:memory-size:
   *
   * The guest's RAM in bytes, device memory included; 0 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_MEMORY_SIZE] =
      g_param_spec_uint64 ("memory-size", NULL, NULL, 0, G_MAXUINT64, 0, flags);
  /**
   * QsnapSnapshot:data-size:
   *
   * How many bytes of the RAM are not zero; 0 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_DATA_SIZE] = g_param_spec_uint64 ("data-size", NULL, NULL, 0, G_MAXUINT64, 0, flags);
  /**
   * QsnapSnapshot:stored-size:
   *
   * How many bytes the memory takes in the snapshot's files: #QsnapSnapshot:data-size, or less if
   * it is compressed; 0 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_STORED_SIZE] =
      g_param_spec_uint64 ("stored-size", NULL, NULL, 0, G_MAXUINT64, 0, flags);
  /**
   * QsnapSnapshot:compression:
   *
   * How the guest's memory is kept. A revert cannot map what is compressed.
   *
   * Since: 1.0
   */
  props[PROP_COMPRESSION] = g_param_spec_enum ("compression", NULL, NULL, QSNAP_TYPE_COMPRESSION,
                                               QSNAP_COMPRESSION_NONE, flags);
  /**
   * QsnapSnapshot:pause-us:
   *
   * How long the guest was stopped, in microseconds, by QEMU's own events; 0 for a guest that
   * was paused by its owner; -1 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_PAUSE_US] = g_param_spec_int64 ("pause-us", NULL, NULL, -1, G_MAXINT64, -1, flags);
  /**
   * QsnapSnapshot:stop-us:
   *
   * The part of the pause that stopping the guest took, its disks drained and flushed, in
   * microseconds; -1 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_STOP_US] = g_param_spec_int64 ("stop-us", NULL, NULL, -1, G_MAXINT64, -1, flags);
  /**
   * QsnapSnapshot:disks-us:
   *
   * The part of the pause that the transaction on the disks took, in microseconds; -1 before it
   * is known.
   *
   * Since: 1.0
   */
  props[PROP_DISKS_US] = g_param_spec_int64 ("disks-us", NULL, NULL, -1, G_MAXINT64, -1, flags);
  /**
   * QsnapSnapshot:memory-us:
   *
   * The part of the pause that QEMU took to save the devices and to protect the memory, in
   * microseconds; -1 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_MEMORY_US] = g_param_spec_int64 ("memory-us", NULL, NULL, -1, G_MAXINT64, -1, flags);
  /**
   * QsnapSnapshot:resume-us:
   *
   * The part of the pause from the proof of the point in time to the guest's resume, in
   * microseconds; next to nothing where QEMU resumed the guest by itself; -1 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_RESUME_US] = g_param_spec_int64 ("resume-us", NULL, NULL, -1, G_MAXINT64, -1, flags);
  /**
   * QsnapSnapshot:save-us:
   *
   * How long saving the memory took, from the point in time until all of it was on stable
   * storage, in microseconds; -1 before it is known.
   *
   * Since: 1.0
   */
  props[PROP_SAVE_US] = g_param_spec_int64 ("save-us", NULL, NULL, -1, G_MAXINT64, -1, flags);
}

static void
install_set_properties (GParamFlags flags)
{
  /**
   * QsnapSnapshot:id:
   *
   * Eight hexadecimal digits that tell it apart from all others, whatever its name or directory.
   *
   * Since: 1.0
   */
  props[PROP_ID] = g_param_spec_string ("id", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:parent-id:
   *
   * The #QsnapSnapshot:id of the snapshot that the guest came from: the last one that was taken of
   * it before, or the one that it was brought back from. Only snapshots that were in the same
   * folder when this one was taken are looked at. %NULL for the first, and where that is not known.
   *
   * Since: 1.0
   */
  props[PROP_PARENT_ID] = g_param_spec_string ("parent-id", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:parent-name:
   *
   * The name of the snapshot with #QsnapSnapshot:parent-id.
   *
   * Since: 1.0
   */
  props[PROP_PARENT_NAME] = g_param_spec_string ("parent-name", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:description:
   *
   * What people say of it; see qsnap_snapshot_annotate().
   *
   * Since: 1.0
   */
  props[PROP_DESCRIPTION] = g_param_spec_string ("description", NULL, NULL, NULL, flags);
  /**
   * QsnapSnapshot:metadata:
   *
   * What programs keep with it; see qsnap_snapshot_annotate().
   *
   * Since: 1.0
   */
  props[PROP_METADATA] =
      g_param_spec_variant ("metadata", NULL, NULL, G_VARIANT_TYPE_VARDICT, NULL, flags);
}

static void
qsnap_snapshot_class_init (QsnapSnapshotClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;

  object_class->finalize = qsnap_snapshot_finalize;
  object_class->get_property = qsnap_snapshot_get_property;

  install_fixed_properties (flags);
  install_manifest_properties (flags);
  install_set_properties (flags);
  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_snapshot_init (QsnapSnapshot *self)
{
  g_mutex_init (&self->lock);
}

static void
list_disks (GListStore *store, JsonObject *manifest, GFile *directory)
{
  g_autofree char *path = g_file_get_path (directory);
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func (g_object_unref);
  JsonArray *array = qsnap_json_get_array (manifest, "disks");

  for (guint i = 0; array != NULL && i < json_array_get_length (array); i++)
    g_ptr_array_add (disks, qsnap_disk_new (qsnap_json_array_object (array, i), path));

  g_list_store_splice (store, 0, g_list_model_get_n_items (G_LIST_MODEL (store)), disks->pdata,
                       disks->len);
}

QsnapSnapshot *
qsnap_snapshot_new_unsealed (GFile *directory, JsonObject *manifest)
{
  QsnapSnapshot *self = g_object_new (QSNAP_TYPE_SNAPSHOT, NULL);

  self->directory = g_object_ref (directory);
  /* Of parts of it the caller may have references. */
  self->manifest = qsnap_json_copy_object (manifest);
  self->name = g_strdup (qsnap_json_get_string (manifest, "name"));
  self->disks = G_LIST_MODEL (g_list_store_new (QSNAP_TYPE_DISK));
  list_disks (G_LIST_STORE (self->disks), manifest, directory);
  json_object_unref (manifest);

  return self;
}

static void
replace_manifest (QsnapSnapshot *self, JsonObject *manifest, gboolean sealed)
{
  g_autoptr (JsonObject) old = NULL;
  JsonObject *copy = qsnap_json_copy_object (manifest);

  json_object_unref (manifest);
  g_mutex_lock (&self->lock);
  old = self->manifest;
  self->manifest = copy;
  self->sealed = sealed;
  g_mutex_unlock (&self->lock);
}

void
qsnap_snapshot_describe (QsnapSnapshot *self, JsonObject *manifest)
{
  replace_manifest (self, manifest, FALSE);
}

void
qsnap_snapshot_seal (QsnapSnapshot *self, JsonObject *manifest)
{
  replace_manifest (self, manifest, TRUE);
}

void
qsnap_snapshot_list_disks_anew (QsnapSnapshot *self)
{
  g_autoptr (JsonObject) manifest = qsnap_snapshot_copy_manifest (self);

  list_disks (G_LIST_STORE (self->disks), manifest, self->directory);
}

void
qsnap_snapshot_add_warning (QsnapSnapshot *self, const char *warning)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);
  JsonArray *warnings = qsnap_json_get_array (self->manifest, "warnings");

  if (warnings != NULL)
    json_array_add_string_element (warnings, warning);
}

void
qsnap_snapshot_set_deleting (QsnapSnapshot *self, gboolean deleting)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  self->deleting = deleting;
  self->sealed = !deleting;
}

/* --- loading ------------------------------------------------------------------------------- */

int
qsnap_snapshot_open_directory (GFile *directory, GError **error)
{
  g_autofree char *path = g_file_get_path (directory);
  int fd;

  if (path == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                           "a snapshot's directory has to be on a local file system");
      return -1;
    }

  fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    {
      qsnap_io_fail (error, errno, "%s", path);
      return -1;
    }
  if (!qsnap_io_check_top (fd, path, error))
    {
      close (fd);
      return -1;
    }

  return fd;
}

/* A saver ends a moment after its snapshot was sealed. */
gboolean
qsnap_snapshot_lock_directory (int dir_fd, gboolean exclusive, GError **error)
{
  const gint64 deadline = g_get_monotonic_time () + LOCK_PATIENCE_US;

  while (flock (dir_fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0)
    {
      if (errno != EWOULDBLOCK && errno != EINTR)
        return qsnap_io_fail (error, errno, "cannot lock the snapshot's directory");
      if (g_get_monotonic_time () > deadline)
        {
          g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
                               "the snapshot is being saved, brought back or deleted by somebody "
                               "else");
          return FALSE;
        }
      g_usleep (LOCK_POLL_US);
    }

  return TRUE;
}

static void
prefix_with_path (GError **error, GFile *directory)
{
  g_autofree char *path = g_file_get_path (directory);

  if (error != NULL && *error != NULL && path != NULL && strstr ((*error)->message, path) == NULL)
    g_prefix_error (error, "%s: ", path);
}

static JsonObject *
read_manifest (int dir_fd, gboolean *deleting, GError **error)
{
  g_autoptr (GError) failure = NULL;
  JsonObject *manifest = qsnap_manifest_read (dir_fd, &failure);

  *deleting = FALSE;
  if (manifest == NULL && g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    {
      manifest = qsnap_manifest_read_deleted (dir_fd, NULL);
      *deleting = manifest != NULL;
    }
  if (manifest == NULL)
    g_propagate_error (error, g_steal_pointer (&failure));

  return manifest;
}

/* Or none, where it is of the disks only. */
static gboolean
has_good_memory (int dir_fd, JsonObject *manifest, GError **error)
{
  JsonObject *memory = qsnap_json_get_object (manifest, "memory");
  g_autoptr (QsnapImage) image = memory != NULL ? qsnap_image_new (dir_fd, memory, error) : NULL;

  return memory == NULL || image != NULL;
}

/**
 * qsnap_snapshot_load:
 * @directory: the snapshot's directory
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Loads a sealed snapshot: reads its manifest and checks its structure. The checksums of the memory
 * are left to qsnap_snapshot_verify().
 *
 * One whose deletion was begun and not finished is loaded too, so that it can be deleted:
 * #QsnapSnapshot:sealed is %FALSE then, and nothing else can be done with it.
 *
 * Errors: %G_IO_ERROR_NOT_FOUND where there is no snapshot (an interrupted capture has a journal,
 * but no manifest), %QSNAP_ERROR_CORRUPT, %QSNAP_ERROR_UNSUPPORTED for the schema of a newer
 * version, and those of #GIOErrorEnum.
 *
 * Returns: (transfer full): the snapshot
 *
 * Since: 1.0
 */
QsnapSnapshot *
qsnap_snapshot_load (GFile *directory, GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonObject) manifest = NULL;
  QsnapSnapshot *self;
  gboolean deleting, good;
  int dir_fd;

  g_return_val_if_fail (G_IS_FILE (directory), NULL);

  if (g_cancellable_set_error_if_cancelled (cancellable, error))
    return NULL;

  dir_fd = qsnap_snapshot_open_directory (directory, error);
  if (dir_fd < 0)
    return NULL;

  manifest = read_manifest (dir_fd, &deleting, error);
  good = manifest != NULL && has_good_memory (dir_fd, manifest, error);
  if (!good)
    {
      close (dir_fd);
      prefix_with_path (error, directory);
      return NULL;
    }

  self = qsnap_snapshot_new_unsealed (directory, g_steal_pointer (&manifest));
  qsnap_snapshot_set_deleting (self, deleting);
  qsnap_snapshot_read_about (self, dir_fd);
  close (dir_fd);

  return self;
}

static gint
compare_times (gconstpointer a, gconstpointer b, gpointer user_data)
{
  g_autoptr (GDateTime) time_a = qsnap_snapshot_dup_time ((QsnapSnapshot *)a);
  g_autoptr (GDateTime) time_b = qsnap_snapshot_dup_time ((QsnapSnapshot *)b);

  return g_date_time_compare (time_a, time_b);
}

/**
 * qsnap_snapshot_list:
 * @parent: a directory
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Finds the snapshots in the directories below @parent, oldest first. What is not a snapshot, or a
 * damaged one, or one that is being deleted, is left out, with a debug message:
 * qsnap_snapshot_load() says what is wrong with it.
 *
 * Returns: (transfer full): a list of #QsnapSnapshot
 *
 * Since: 1.0
 */
GListModel *
qsnap_snapshot_list (GFile *parent, GCancellable *cancellable, GError **error)
{
  g_autoptr (GFileEnumerator) children = NULL;
  g_autoptr (GListStore) store = g_list_store_new (QSNAP_TYPE_SNAPSHOT);

  g_return_val_if_fail (G_IS_FILE (parent), NULL);

  children = g_file_enumerate_children (
      parent, G_FILE_ATTRIBUTE_STANDARD_NAME "," G_FILE_ATTRIBUTE_STANDARD_TYPE,
      G_FILE_QUERY_INFO_NOFOLLOW_SYMLINKS, cancellable, error);
  if (children == NULL)
    return NULL;

  for (;;)
    {
      g_autoptr (QsnapSnapshot) snapshot = NULL;
      g_autoptr (GError) failure = NULL;
      GFileInfo *info;
      GFile *child;

      if (!g_file_enumerator_iterate (children, &info, &child, cancellable, error))
        return NULL;
      if (info == NULL)
        break;
      if (g_file_info_get_file_type (info) != G_FILE_TYPE_DIRECTORY)
        continue;

      snapshot = qsnap_snapshot_load (child, cancellable, &failure);
      if (snapshot != NULL && qsnap_snapshot_get_sealed (snapshot))
        g_list_store_append (store, snapshot);
      else
        g_debug ("not listed: %s", failure != NULL ? failure->message : "it is being deleted");
    }

  g_list_store_sort (store, compare_times, NULL);

  return G_LIST_MODEL (g_steal_pointer (&store));
}

/* --- reading the memory -------------------------------------------------------------------- */

gboolean
qsnap_snapshot_check_sealed (QsnapSnapshot *self, GError **error)
{
  if (qsnap_snapshot_get_sealed (self))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY, "snapshot %s is %s", self->name,
               self->deleting ? "being deleted, or is deleted" : "still being saved");

  return FALSE;
}

gboolean
qsnap_snapshot_check_bases (QsnapSnapshot *self, JsonObject *manifest, GError **error)
{
  JsonArray *disks = qsnap_json_get_array (manifest, "disks");
  g_autofree char *path = g_file_get_path (self->directory);

  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (!qsnap_manifest_disk_check_base (qsnap_json_array_object (disks, i), path, error))
      return FALSE;

  return TRUE;
}

typedef gboolean (*ImageFunc) (QsnapImage *image,
                               int fd,
                               GCancellable *cancellable,
                               GError **error);

static gboolean
with_image (QsnapSnapshot *self,
            JsonObject *manifest,
            ImageFunc func,
            int fd,
            GCancellable *cancellable,
            GError **error)
{
  g_autoptr (QsnapImage) image = NULL;
  gboolean done;
  int dir_fd;

  if (qsnap_json_get_object (manifest, "memory") == NULL)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                           "the snapshot is of the disks only: it has no memory");
      return FALSE;
    }

  dir_fd = qsnap_snapshot_open_directory (self->directory, error);
  if (dir_fd < 0)
    return FALSE;

  image = qsnap_image_new (dir_fd, qsnap_json_get_object (manifest, "memory"), error);
  done = image != NULL && func (image, fd, cancellable, error);
  close (dir_fd);
  if (!done)
    prefix_with_path (error, self->directory);

  return done;
}

static gboolean
verify_image (QsnapImage *image, int fd, GCancellable *cancellable, GError **error)
{
  return qsnap_image_check (image, error) && qsnap_image_verify (image, cancellable, error);
}

/**
 * qsnap_snapshot_verify:
 * @self: a snapshot
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Reads the whole snapshot and compares every checksum, and looks whether the bases of the disks
 * are there and have not been written since (with %QSNAP_DISK_MODE_INTERNAL and
 * %QSNAP_DISK_MODE_EXCLUDE, whose images the guest goes on in, only whether they are there; targets
 * are not looked at). This takes as long as reading the memory image does.
 *
 * Errors: %QSNAP_ERROR_CORRUPT, whose message names the file and the place, %QSNAP_ERROR_BUSY
 * before the snapshot is sealed, and those of #GIOErrorEnum.
 *
 * Returns: %TRUE if the snapshot is intact
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_verify (QsnapSnapshot *self, GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonObject) manifest = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);

  if (!qsnap_snapshot_check_sealed (self, error))
    return FALSE;

  manifest = qsnap_snapshot_copy_manifest (self);

  return qsnap_snapshot_check_bases (self, manifest, error) &&
         (qsnap_json_get_object (manifest, "memory") == NULL ||
          with_image (self, manifest, verify_image, -1, cancellable, error));
}

static gboolean
export_image (QsnapImage *image, int fd, GCancellable *cancellable, GError **error)
{
  return qsnap_image_check (image, error) && qsnap_image_export (image, fd, cancellable, error);
}

/**
 * qsnap_snapshot_export_stream:
 * @self: a snapshot
 * @fd: a descriptor to write to; it stays the caller's
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Writes the memory as QEMU's plain migration stream, which any QEMU of the same or a later version
 * loads with `-incoming`, given the same machine and disks. Checksums are compared on the way: a
 * stream that ends with an error is one that QEMU refuses.
 *
 * Errors: as for qsnap_snapshot_verify(), and %QSNAP_ERROR_UNSUPPORTED for a snapshot without
 * memory.
 *
 * Returns: %TRUE if all was written
 *
 * Since: 1.0
 */
gboolean
qsnap_snapshot_export_stream (QsnapSnapshot *self,
                              int fd,
                              GCancellable *cancellable,
                              GError **error)
{
  g_autoptr (JsonObject) manifest = NULL;

  g_return_val_if_fail (QSNAP_IS_SNAPSHOT (self), FALSE);
  g_return_val_if_fail (fd >= 0, FALSE);

  if (!qsnap_snapshot_check_sealed (self, error))
    return FALSE;

  manifest = qsnap_snapshot_copy_manifest (self);

  return with_image (self, manifest, export_image, fd, cancellable, error);
}
