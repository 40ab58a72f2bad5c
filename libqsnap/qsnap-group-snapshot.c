/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-private.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qsnap-group-file.h"
#include "qsnap-json.h"
#include "qsnap-snapshot-private.h"

/**
 * SECTION:qsnap-group-snapshot
 * @title: QsnapGroupSnapshot
 * @short_description: Snapshots of several guests, of one instant
 *
 * A #QsnapGroupSnapshot is a folder with a snapshot for each guest of a #QsnapGroup, in folders of
 * their own, and a file that says that they are of one instant. Each is a complete #QsnapSnapshot:
 * it can be loaded, verified, exported and brought back alone, too.
 *
 * It comes from qsnap_group_instant_snapshot(), from qsnap_group_snapshot_load(), or from
 * #QsnapGroup::point-in-time-reached, where it is not yet sealed.
 *
 * Any thread may call its methods. `notify::sealed` is emitted where the group emits its signals.
 */

/**
 * QsnapGroupSnapshot:
 *
 * Snapshots of several guests, of one instant.
 *
 * Since: 1.0
 */
G_DEFINE_FINAL_TYPE (QsnapGroupSnapshot, qsnap_group_snapshot, G_TYPE_OBJECT)

enum
{
  PROP_DIRECTORY = 1,
  PROP_NAME,
  PROP_SEALED,
  PROP_TIME,
  PROP_SKEW_US,
  PROP_OVERLAP_US,
  PROP_NAMES,
  PROP_SNAPSHOTS,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

/* --- GObject ------------------------------------------------------------------------------- */

static void
qsnap_group_snapshot_finalize (GObject *object)
{
  QsnapGroupSnapshot *self = QSNAP_GROUP_SNAPSHOT (object);

  g_clear_object (&self->directory);
  g_clear_object (&self->snapshots);
  g_strfreev (self->names);
  g_free (self->name);
  g_free (self->time);

  G_OBJECT_CLASS (qsnap_group_snapshot_parent_class)->finalize (object);
}

static void
qsnap_group_snapshot_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapGroupSnapshot *self = QSNAP_GROUP_SNAPSHOT (object);

  switch (id)
    {
    case PROP_DIRECTORY:
      g_value_set_object (value, self->directory);
      break;
    case PROP_NAME:
      g_value_set_string (value, self->name);
      break;
    case PROP_SEALED:
      g_value_set_boolean (value, qsnap_group_snapshot_get_sealed (self));
      break;
    case PROP_TIME:
      g_value_take_boxed (value, qsnap_group_snapshot_dup_time (self));
      break;
    case PROP_SKEW_US:
      g_value_set_int64 (value, self->skew_us);
      break;
    case PROP_OVERLAP_US:
      g_value_set_int64 (value, self->overlap_us);
      break;
    case PROP_NAMES:
      g_value_set_boxed (value, self->names);
      break;
    case PROP_SNAPSHOTS:
      g_value_set_object (value, self->snapshots);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_group_snapshot_class_init (QsnapGroupSnapshotClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS;

  object_class->finalize = qsnap_group_snapshot_finalize;
  object_class->get_property = qsnap_group_snapshot_get_property;

  /**
   * QsnapGroupSnapshot:directory:
   *
   * The group's folder.
   *
   * Since: 1.0
   */
  props[PROP_DIRECTORY] = g_param_spec_object ("directory", NULL, NULL, G_TYPE_FILE, flags);
  /**
   * QsnapGroupSnapshot:name:
   *
   * Its name, for people.
   *
   * Since: 1.0
   */
  props[PROP_NAME] = g_param_spec_string ("name", NULL, NULL, NULL, flags);
  /**
   * QsnapGroupSnapshot:sealed:
   *
   * Whether all of it is on stable storage. %FALSE again once its deletion has begun.
   *
   * Since: 1.0
   */
  props[PROP_SEALED] = g_param_spec_boolean ("sealed", NULL, NULL, FALSE, flags);
  /**
   * QsnapGroupSnapshot:time:
   *
   * The first moment at which all guests stood still, by QEMU's clock, in UTC.
   *
   * Since: 1.0
   */
  props[PROP_TIME] = g_param_spec_boxed ("time", NULL, NULL, G_TYPE_DATE_TIME, flags);
  /**
   * QsnapGroupSnapshot:skew-us:
   *
   * From the first guest's stop to the last one's, in microseconds, by QEMU's clock.
   *
   * Since: 1.0
   */
  props[PROP_SKEW_US] = g_param_spec_int64 ("skew-us", NULL, NULL, 0, G_MAXINT64, 0, flags);
  /**
   * QsnapGroupSnapshot:overlap-us:
   *
   * For how long all guests stood still together, in microseconds, by QEMU's clock: from the latest
   * stop to the earliest resume. It is never 0 nor negative, else there would be no snapshot of the
   * group; but -1 where no guest was to go on, so that there was no resume.
   *
   * Since: 1.0
   */
  props[PROP_OVERLAP_US] = g_param_spec_int64 ("overlap-us", NULL, NULL, -1, G_MAXINT64, -1, flags);
  /**
   * QsnapGroupSnapshot:names:
   *
   * The names of the guests, in the order of #QsnapGroupSnapshot:snapshots.
   *
   * Since: 1.0
   */
  props[PROP_NAMES] = g_param_spec_boxed ("names", NULL, NULL, G_TYPE_STRV, flags);
  /**
   * QsnapGroupSnapshot:snapshots:
   *
   * The guests' snapshots, a list of #QsnapSnapshot, in the order in which the guests were added to
   * the group.
   *
   * Since: 1.0
   */
  props[PROP_SNAPSHOTS] = g_param_spec_object ("snapshots", NULL, NULL, G_TYPE_LIST_MODEL, flags);
  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_group_snapshot_init (QsnapGroupSnapshot *self)
{
}

/* --- making -------------------------------------------------------------------------------- */

static GStrv
names_of (GListModel *snapshots)
{
  guint n = g_list_model_get_n_items (snapshots);
  GStrv names = g_new0 (char *, n + 1);

  for (guint i = 0; i < n; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (snapshots, i);

      names[i] = g_file_get_basename (qsnap_snapshot_get_directory (snapshot));
    }

  return names;
}

QsnapGroupSnapshot *
qsnap_group_snapshot_new (const char *path,
                          JsonObject *json,
                          GListModel *snapshots,
                          gboolean sealed)
{
  QsnapGroupSnapshot *self = g_object_new (QSNAP_TYPE_GROUP_SNAPSHOT, NULL);

  self->directory = g_file_new_for_path (path);
  self->name = g_strdup (qsnap_json_get_string (json, QSNAP_GROUP_NAME));
  self->time = g_strdup (qsnap_json_get_string (json, QSNAP_GROUP_TIME));
  self->skew_us = qsnap_json_get_int (json, QSNAP_GROUP_SKEW, 0);
  self->overlap_us = qsnap_json_get_int (json, QSNAP_GROUP_OVERLAP, -1);
  self->snapshots = g_object_ref (snapshots);
  self->names = names_of (snapshots);
  self->sealed = sealed;

  return self;
}

void
qsnap_group_snapshot_set_sealed (QsnapGroupSnapshot *self, gboolean sealed)
{
  g_atomic_int_set (&self->sealed, sealed);
}

gboolean
qsnap_group_snapshot_check_sealed (QsnapGroupSnapshot *self, GError **error)
{
  if (qsnap_group_snapshot_get_sealed (self))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
               "the group's snapshot %s is still being saved, or is being deleted", self->name);

  return FALSE;
}

/* --- loading ------------------------------------------------------------------------------- */

/* Another snapshot may have got the folder of one that was deleted. */
static gboolean
check_id (QsnapSnapshot *snapshot, JsonObject *guest, GError **error)
{
  g_autoptr (JsonObject) manifest = qsnap_snapshot_copy_manifest (snapshot);

  if (g_strcmp0 (qsnap_json_get_string (manifest, "id"),
                 qsnap_json_get_string (guest, QSNAP_GROUP_GUEST_ID)) == 0)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "%s: this is not the snapshot that was taken with the group",
               g_file_peek_path (qsnap_snapshot_get_directory (snapshot)));

  return FALSE;
}

GListModel *
qsnap_group_snapshot_load_snapshots (const char *path,
                                     JsonObject *json,
                                     GCancellable *cancellable,
                                     GError **error)
{
  gboolean may_be_gone = qsnap_json_get_bool (json, QSNAP_GROUP_DELETING, FALSE);
  g_autoptr (GListStore) store = g_list_store_new (QSNAP_TYPE_SNAPSHOT);

  for (guint i = 0; i < qsnap_group_file_n_guests (json); i++)
    {
      g_autofree char *below = g_build_filename (path, qsnap_group_file_guest_name (json, i), NULL);
      g_autoptr (GFile) directory = g_file_new_for_path (below);
      g_autoptr (GError) failure = NULL;
      g_autoptr (QsnapSnapshot) snapshot = qsnap_snapshot_load (directory, cancellable, &failure);

      if (snapshot == NULL && may_be_gone &&
          g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
        continue;
      if (snapshot == NULL)
        {
          g_propagate_prefixed_error (error, g_steal_pointer (&failure), "of the group: ");
          return NULL;
        }
      if (!check_id (snapshot, qsnap_group_file_guest (json, i), error))
        return NULL;
      g_list_store_append (store, snapshot);
    }

  return G_LIST_MODEL (g_steal_pointer (&store));
}

static JsonObject *
read_group (int dir_fd, const char *path, GError **error)
{
  g_autoptr (GError) failure = NULL;
  JsonObject *json = qsnap_group_file_read (dir_fd, QSNAP_GROUP_FILE, &failure);

  if (json != NULL)
    return json;

  if (!g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
    g_propagate_prefixed_error (error, g_steal_pointer (&failure), "%s: ", path);
  else if (faccessat (dir_fd, QSNAP_GROUP_JOURNAL, F_OK, 0) == 0)
    g_set_error (
        error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
        "%s: the snapshot of a group is being taken there, or that was interrupted and has "
        "to be recovered: no " QSNAP_GROUP_FILE,
        path);
  else
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                 "%s: there is no snapshot of a group: no " QSNAP_GROUP_FILE, path);

  return NULL;
}

/**
 * qsnap_group_snapshot_load:
 * @directory: the group's folder
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Loads the sealed snapshot of a group, and the snapshots of all of its guests, as
 * qsnap_snapshot_load() does.
 *
 * One whose deletion was begun and not finished is loaded too, with the snapshots that are left, so
 * that it can be deleted: #QsnapGroupSnapshot:sealed is %FALSE then.
 *
 * Errors: %G_IO_ERROR_NOT_FOUND where there is none, or where a guest's is missing;
 * %QSNAP_ERROR_BUSY where one is being taken, or that was interrupted (see
 * qsnap_group_snapshot_recover()); %QSNAP_ERROR_CORRUPT, also where a guest's snapshot is another
 * one than that of the group; those of qsnap_snapshot_load().
 *
 * Returns: (transfer full): the group's snapshot
 *
 * Since: 1.0
 */
QsnapGroupSnapshot *
qsnap_group_snapshot_load (GFile *directory, GCancellable *cancellable, GError **error)
{
  g_autofree char *path = NULL;
  g_autoptr (JsonObject) json = NULL;
  g_autoptr (GListModel) snapshots = NULL;
  int dir_fd;

  g_return_val_if_fail (G_IS_FILE (directory), NULL);

  dir_fd = qsnap_snapshot_open_directory (directory, error);
  if (dir_fd < 0)
    return NULL;

  path = g_file_get_path (directory);
  json = read_group (dir_fd, path, error);
  close (dir_fd);
  if (json == NULL)
    return NULL;

  snapshots = qsnap_group_snapshot_load_snapshots (path, json, cancellable, error);
  if (snapshots == NULL)
    return NULL;

  return qsnap_group_snapshot_new (path, json, snapshots,
                                   !qsnap_json_get_bool (json, QSNAP_GROUP_DELETING, FALSE));
}

/**
 * qsnap_group_snapshot_verify:
 * @self: the snapshot of a group
 * @cancellable: (nullable): a #GCancellable
 * @error: return location for an error
 *
 * Verifies the snapshot of each guest, as qsnap_snapshot_verify() does.
 *
 * Errors: those of qsnap_snapshot_verify(), with the guest's name before the message.
 *
 * Returns: %TRUE if all of them are intact
 *
 * Since: 1.0
 */
gboolean
qsnap_group_snapshot_verify (QsnapGroupSnapshot *self, GCancellable *cancellable, GError **error)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), FALSE);

  if (!qsnap_group_snapshot_check_sealed (self, error))
    return FALSE;

  for (guint i = 0; self->names[i] != NULL; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (self->snapshots, i);

      if (!qsnap_snapshot_verify (snapshot, cancellable, error))
        {
          g_prefix_error (error, "guest %s: ", self->names[i]);
          return FALSE;
        }
    }

  return TRUE;
}

/* --- getters ------------------------------------------------------------------------------- */

/**
 * qsnap_group_snapshot_get_directory:
 * @self: the snapshot of a group
 *
 * The group's folder.
 *
 * Returns: (transfer none): the folder
 *
 * Since: 1.0
 */
GFile *
qsnap_group_snapshot_get_directory (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);

  return self->directory;
}

/**
 * qsnap_group_snapshot_get_name:
 * @self: the snapshot of a group
 *
 * Its name, for people.
 *
 * Returns: (transfer none): the name
 *
 * Since: 1.0
 */
const char *
qsnap_group_snapshot_get_name (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);

  return self->name;
}

/**
 * qsnap_group_snapshot_get_sealed:
 * @self: the snapshot of a group
 *
 * Whether all of it is on stable storage.
 *
 * Returns: %FALSE while it is still being saved, and once its deletion has begun
 *
 * Since: 1.0
 */
gboolean
qsnap_group_snapshot_get_sealed (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), FALSE);

  return g_atomic_int_get (&self->sealed);
}

/**
 * qsnap_group_snapshot_dup_time:
 * @self: the snapshot of a group
 *
 * The first moment at which all guests stood still, by QEMU's clock.
 *
 * Returns: (transfer full): the time, in UTC
 *
 * Since: 1.0
 */
GDateTime *
qsnap_group_snapshot_dup_time (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);

  return g_date_time_new_from_iso8601 (self->time, NULL);
}

/**
 * qsnap_group_snapshot_get_skew_us:
 * @self: the snapshot of a group
 *
 * See #QsnapGroupSnapshot:skew-us.
 *
 * Returns: from the first guest's stop to the last one's, in microseconds
 *
 * Since: 1.0
 */
gint64
qsnap_group_snapshot_get_skew_us (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), 0);

  return self->skew_us;
}

/**
 * qsnap_group_snapshot_get_overlap_us:
 * @self: the snapshot of a group
 *
 * See #QsnapGroupSnapshot:overlap-us.
 *
 * Returns: from the latest stop to the earliest resume, in microseconds, or -1
 *
 * Since: 1.0
 */
gint64
qsnap_group_snapshot_get_overlap_us (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), -1);

  return self->overlap_us;
}

/**
 * qsnap_group_snapshot_dup_names:
 * @self: the snapshot of a group
 *
 * The names of the guests, in the order of qsnap_group_snapshot_get_snapshots().
 *
 * Returns: (transfer full): the names; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_group_snapshot_dup_names (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);

  return g_strdupv (self->names);
}

/**
 * qsnap_group_snapshot_get_snapshots:
 * @self: the snapshot of a group
 *
 * The snapshots of the guests, in the order in which these were added to the group.
 *
 * Returns: (transfer none): a list of #QsnapSnapshot
 *
 * Since: 1.0
 */
GListModel *
qsnap_group_snapshot_get_snapshots (QsnapGroupSnapshot *self)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);

  return self->snapshots;
}

/**
 * qsnap_group_snapshot_find_snapshot:
 * @self: the snapshot of a group
 * @name: a guest's name
 *
 * Finds the snapshot of a guest.
 *
 * Returns: (transfer full) (nullable): the snapshot, or %NULL if there is no such guest
 *
 * Since: 1.0
 */
QsnapSnapshot *
qsnap_group_snapshot_find_snapshot (QsnapGroupSnapshot *self, const char *name)
{
  g_return_val_if_fail (QSNAP_IS_GROUP_SNAPSHOT (self), NULL);
  g_return_val_if_fail (name != NULL, NULL);

  for (guint i = 0; self->names[i] != NULL; i++)
    if (g_str_equal (self->names[i], name))
      return g_list_model_get_item (self->snapshots, i);

  return NULL;
}
