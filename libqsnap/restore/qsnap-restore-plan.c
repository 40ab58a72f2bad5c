/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "pages/qsnap-rescue.h"
#include "qsnap-dependents.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-snapshot-private.h"
#include "restore/qsnap-restore-private.h"

/* Before anything is made: is the snapshot good, and which command line brings it back? */

/* --- reading ------------------------------------------------------------------------------- */

/* The snapshot names the program that is run, and its memory is given to it. */
static gboolean
check_owner (QsnapRestore *restore, GError **error)
{
  struct stat found;

  if (fstat (restore->snapshot_fd, &found) != 0)
    return qsnap_io_fail (error, errno, "cannot look at the snapshot's directory");
  if (found.st_uid == geteuid () || found.st_uid == 0)
    return TRUE;

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
               "the snapshot belongs to user %u: what it says would be run as user %u",
               (guint)found.st_uid, (guint)geteuid ());

  return FALSE;
}

static gboolean
read_image (QsnapRestore *restore, GError **error)
{
  if (!qsnap_restore_has_memory (restore))
    return TRUE;

  restore->image = qsnap_image_new (restore->snapshot_fd,
                                    qsnap_json_get_object (restore->manifest, "memory"), error);

  return restore->image != NULL && qsnap_image_check (restore->image, error) &&
         (!restore->verify || qsnap_image_verify (restore->image, restore->cancellable, error));
}

/* It would be read below the revert's overlay while another guest writes to it. */
static gboolean
check_excluded (QsnapRestore *restore, GError **error)
{
  JsonArray *disks = qsnap_json_get_array (restore->manifest, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);
      const char *file = qsnap_json_get_string (qsnap_json_get_object (disk, "base"), "file");

      if (qsnap_manifest_disk_mode (disk) != QSNAP_DISK_MODE_EXCLUDE || file == NULL ||
          !qsnap_image_is_written (file))
        continue;
      g_set_error (
          error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
          "the disk %s was left out of the snapshot, and a QEMU may write to its image %s: "
          "end that first",
          qsnap_json_get_string (disk, "device"), file);
      return FALSE;
    }

  return TRUE;
}

gboolean
qsnap_restore_read (QsnapRestore *restore, GError **error)
{
  GFile *directory = qsnap_snapshot_get_directory (restore->snapshot);

  if (!qsnap_snapshot_check_sealed (restore->snapshot, error))
    return FALSE;

  restore->manifest = qsnap_snapshot_copy_manifest (restore->snapshot);
  restore->snapshot_fd = qsnap_snapshot_open_directory (directory, error);

  return restore->snapshot_fd >= 0 && check_owner (restore, error) &&
         qsnap_snapshot_lock_directory (restore->snapshot_fd, FALSE, error) &&
         qsnap_snapshot_check_bases (restore->snapshot, restore->manifest, error) &&
         check_excluded (restore, error) && read_image (restore, error);
}

/* --- what the command line is adapted to --------------------------------------------------- */

static const char *
keep (QsnapRestore *restore, char *string)
{
  g_ptr_array_add (restore->strings, string);

  return string;
}

static const char *const *
take_files (QsnapRestore *restore, const char *image, JsonArray *array)
{
  guint n = array != NULL ? json_array_get_length (array) : 0;
  const char **files = g_new0 (const char *, n + 2);
  guint at = 0;

  if (image != NULL)
    files[at++] = image;
  for (guint i = 0; i < n; i++)
    {
      const char *below = qsnap_json_array_string (array, i);

      if (below != NULL)
        files[at++] = below;
    }
  g_ptr_array_add (restore->strings, files);

  return files;
}

static void
list_disks (QsnapRestore *restore)
{
  JsonArray *disks = qsnap_json_get_array (restore->manifest, "disks");

  g_array_set_size (restore->disks, 0);
  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *object = qsnap_json_array_object (disks, i);
      JsonObject *source = qsnap_manifest_disk_source (object);
      QsnapRevertDisk disk = { NULL };

      disk.label = qsnap_json_get_string (object, "device");
      /* The image that the guest had, then what that stands on: it may have been started on any. */
      disk.files = take_files (restore, qsnap_json_get_string (source, "file"),
                               qsnap_json_get_array (source, "chain"));
      disk.merged = take_files (restore, NULL, qsnap_json_get_array (source, "merged"));
      disk.overlay = keep (restore, g_strdup_printf ("%s/disk%u.qcow2", restore->path, i));
      g_array_append_val (restore->disks, disk);
    }
}

/* What the snapshot does not have is as it is now. */
static void
warn_of_disks (QsnapRestore *restore)
{
  JsonArray *disks = qsnap_json_get_array (restore->manifest, "disks");
  JsonArray *others = qsnap_json_get_array (restore->manifest, "read-only-disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);

      if (qsnap_manifest_disk_mode (disk) == QSNAP_DISK_MODE_EXCLUDE)
        g_ptr_array_add (restore->warnings,
                         g_strdup_printf ("the disk %s was left out of the snapshot: the guest "
                                          "finds it as it is now",
                                          qsnap_json_get_string (disk, "device")));
    }

  for (guint i = 0; others != NULL && i < json_array_get_length (others); i++)
    {
      JsonObject *medium = qsnap_json_array_object (others, i);
      const char *file = qsnap_json_get_string (medium, "file");
      g_autoptr (GError) changed = NULL;

      if (file != NULL && !qsnap_file_identity_check (medium, file, &changed))
        g_ptr_array_add (restore->warnings,
                         g_strdup_printf ("a read-only drive: %s", changed->message));
    }
}

/* QEMU has the content of pflash in RAM as well, but not as a memory backend. */
static gboolean
mirrors_nvram (QsnapRestore *restore, const char *block)
{
  JsonArray *disks = qsnap_json_get_array (restore->manifest, "disks");

  for (guint i = 0; i < json_array_get_length (disks); i++)
    if (g_strcmp0 (qsnap_json_get_string (qsnap_json_array_object (disks, i), "nvram-block"),
                   block) == 0)
      return TRUE;

  return FALSE;
}

static void
list_blocks (QsnapRestore *restore)
{
  g_autofree char *snapshot_path =
      g_file_get_path (qsnap_snapshot_get_directory (restore->snapshot));

  g_array_set_size (restore->blocks, 0);
  for (guint i = 0; i < qsnap_image_get_n_blocks (restore->image); i++)
    {
      QsnapRevertBlock block = { NULL };
      const char *file = qsnap_image_get_block_file (restore->image, i);

      block.name = qsnap_image_get_block_name (restore->image, i);
      block.length = qsnap_image_get_block_length (restore->image, i);
      if (file == NULL || mirrors_nvram (restore, block.name))
        continue;

      if (restore->map_copies)
        block.path = keep (restore, g_strdup_printf ("%s/ram%u", restore->path, i));
      else
        block.path = keep (restore, g_canonicalize_filename (file, snapshot_path));
      g_array_append_val (restore->blocks, block);
    }
}

static gboolean
parse_command (QsnapRestore *restore, GError **error)
{
  JsonObject *qemu = qsnap_json_get_object (restore->manifest, "qemu");
  g_auto (GStrv) recorded = qsnap_snapshot_dup_command_line (restore->snapshot);
  GStrv arguments = restore->given_command != NULL ? restore->given_command : recorded;

  if (arguments == NULL || *arguments == NULL)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                           "the snapshot does not have QEMU's command line (it could not be read "
                           "when it was taken): give one");
      return FALSE;
    }

  g_clear_pointer (&restore->command, qsnap_command_free);
  restore->command = qsnap_command_parse ((const char *const *)arguments, error);
  if (restore->command == NULL)
    return FALSE;

  if (restore->given_program != NULL)
    qsnap_command_set_program (restore->command, restore->given_program);
  /* The caller's own paths are relative to where the caller is. */
  if (restore->given_command != NULL)
    restore->working_directory = keep (restore, g_get_current_dir ());
  else
    restore->working_directory = qsnap_json_get_string (qemu, "directory");
  if (restore->given_command == NULL && restore->given_program == NULL)
    restore->module_dir = qsnap_json_get_string (qemu, "module-directory");

  return TRUE;
}

/* --- the method ---------------------------------------------------------------------------- */

static gboolean G_GNUC_PRINTF (2, 3) refuse_map (GError **error, const char *format, ...)
{
  g_autofree char *reason = NULL;
  va_list values;

  va_start (values, format);
  reason = g_strdup_vprintf (format, values);
  va_end (values);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "the guest's memory cannot be mapped: %s", reason);

  return FALSE;
}

/* A guest that gives memory back makes QEMU punch holes into the file, even into one that is mapped
 * privately. */
static gboolean
guard_files (QsnapRestore *restore, GError **error)
{
  gboolean gives_back = qsnap_command_has_device (restore->command, "virtio-balloon");

  restore->map_copies = FALSE;
  if (qsnap_command_has_device (restore->command, "virtio-mem"))
    return refuse_map (error, "a virtio-mem device has to discard what is not plugged");
  if (!gives_back)
    return TRUE;
  if (restore->map_read_only)
    {
      g_ptr_array_add (
          restore->warnings,
          g_strdup ("what the guest's balloon gives back is not freed on the host, and "
                    "QEMU logs it, as its memory is mapped read-only"));
      return TRUE;
    }

  list_blocks (restore);
  restore->map_copies = restore->blocks->len > 0 && qsnap_restore_can_clone (restore);

  return restore->map_copies ||
         refuse_map (error,
                     "it has a balloon, this QEMU would punch holes into the snapshot's file, and "
                     "the file system of %s cannot clone it",
                     restore->path);
}

static gboolean
plan_map (QsnapRestore *restore, GError **error)
{
  gboolean mapped = FALSE;

  if (qsnap_image_is_packed (restore->image))
    return refuse_map (error, "it is compressed");
  if (!guard_files (restore, error))
    return FALSE;

  list_blocks (restore);
  if (!qsnap_command_map_memory (restore->command, (QsnapRevertBlock *)restore->blocks->data,
                                 restore->blocks->len, restore->map_read_only, error))
    return FALSE;

  for (guint i = 0; i < restore->blocks->len; i++)
    mapped = mapped || g_array_index (restore->blocks, QsnapRevertBlock, i).mapped;
  if (!mapped)
    return refuse_map (error, "none of its RAM is a memory backend on the command line");

  restore->method = QSNAP_RESTORE_METHOD_MAP;

  return TRUE;
}

static gboolean
plan_load (QsnapRestore *restore, const QsnapAdaptContext *context, GError **error)
{
  restore->map_copies = FALSE;
  restore->method = QSNAP_RESTORE_METHOD_LOAD;

  return qsnap_command_load_memory (restore->command, context, error);
}

static gboolean
plan_on_demand (QsnapRestore *restore, const QsnapAdaptContext *context, GError **error)
{
  if (!qsnap_restore_can_serve (restore, error) || !plan_load (restore, context, error))
    return FALSE;

  restore->method = QSNAP_RESTORE_METHOD_ON_DEMAND;

  return TRUE;
}

/* --- all of it ----------------------------------------------------------------------------- */

static void
add_monitor (QsnapRestore *restore, const char *id, const char *name)
{
  g_autoptr (GString) directory = g_string_new (restore->path);
  g_autofree char *chardev = NULL;
  g_autofree char *monitor = g_strdup_printf ("chardev=%s,mode=control", id);

  /* In an option's value a comma is written twice. */
  g_string_replace (directory, ",", ",,", 0);
  chardev =
      g_strdup_printf ("socket,id=%s,path=%s/%s,server=on,wait=off", id, directory->str, name);
  qsnap_command_add (restore->command, "chardev", chardev);
  qsnap_command_add (restore->command, "mon", monitor);
}

static void
add_own_options (QsnapRestore *restore)
{
  gboolean on_demand = restore->method == QSNAP_RESTORE_METHOD_ON_DEMAND;
  gboolean has_memory = qsnap_restore_has_memory (restore);

  add_monitor (restore, QSNAP_RESTORE_MONITOR, QSNAP_RESTORE_SOCKET);
  if (on_demand)
    add_monitor (restore, QSNAP_RESTORE_RESCUE, QSNAP_RESCUE_SOCKET);
  /* The guest is let run when QEMU is asked to; on demand, as soon as it can. */
  if (!on_demand || qsnap_restore_stays_paused (restore))
    qsnap_command_add (restore->command, "S", NULL);
  if (has_memory)
    qsnap_command_add (restore->command, "incoming", "defer");
}

static gboolean
adapt (QsnapRestore *restore, const QsnapAdaptContext *context, GError **error)
{
  JsonObject *qemu = qsnap_json_get_object (restore->manifest, "qemu");
  const char *machine = qsnap_json_get_string (qemu, "machine");

  if (g_strcmp0 (machine, "unknown") != 0 &&
      !qsnap_command_pin_machine (restore->command, machine, error))
    return FALSE;

  return qsnap_command_adapt_disks (restore->command, context,
                                    (const QsnapRevertDisk *)restore->disks->data,
                                    restore->disks->len, error) &&
         qsnap_command_adapt_host (restore->command, context, error);
}

static gboolean
plan_method (QsnapRestore *restore, const QsnapAdaptContext *context, GError **error)
{
  g_autoptr (GError) refusal = NULL;
  g_autoptr (GError) second = NULL;

  if (restore->wanted == QSNAP_RESTORE_METHOD_LOAD || !qsnap_restore_has_memory (restore))
    return plan_load (restore, context, error);
  if (restore->wanted == QSNAP_RESTORE_METHOD_ON_DEMAND)
    return plan_on_demand (restore, context, error);
  if (plan_map (restore, &refusal))
    return TRUE;

  if (restore->wanted == QSNAP_RESTORE_METHOD_MAP)
    {
      g_propagate_error (error, g_steal_pointer (&refusal));
      return FALSE;
    }

  qsnap_restore_note_refusal (restore, refusal);
  if (plan_on_demand (restore, context, &second))
    return TRUE;

  qsnap_restore_note_refusal (restore, second);

  return plan_load (restore, context, error);
}

static gboolean
check_socket_path (QsnapRestore *restore, GError **error)
{
  struct sockaddr_un address;
  g_autofree char *path = g_build_filename (restore->path, QSNAP_RESTORE_SOCKET, NULL);

  if (strlen (path) < sizeof address.sun_path)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "%s is too long for the path of a socket (%zu bytes at most): choose another "
               "directory for the revert",
               path, sizeof address.sun_path - 1);

  return FALSE;
}

gboolean
qsnap_restore_plan (QsnapRestore *restore, GError **error)
{
  QsnapAdaptContext context = { NULL };

  if (!check_socket_path (restore, error) || !parse_command (restore, error) ||
      !qsnap_restore_check_program (restore, error))
    return FALSE;

  list_disks (restore);
  warn_of_disks (restore);
  context.directory = restore->path;
  context.working_directory = restore->working_directory;
  context.warnings = restore->warnings;
  if (!adapt (restore, &context, error) || !plan_method (restore, &context, error))
    return FALSE;

  add_own_options (restore);

  return TRUE;
}
