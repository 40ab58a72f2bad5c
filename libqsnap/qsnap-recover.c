/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-recover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "memory/qsnap-image.h"
#include "memory/qsnap-io.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-recover-private.h"
#include "qsnap-session-private.h"
#include "qsnap-snapshot-private.h"

/* What a client that died left behind. The journal says what it had begun; out of it a capture is
 * made again that has come as far, so that the same functions finish it or take it back. Each of
 * them copes with a step that never happened, or that is undone already: a recovery that dies can
 * be run again. */

#define POLL_US (50 * 1000)
#define TIMEOUT_MS (60 * 1000)

/* --- the directory ------------------------------------------------------------------------- */

static gboolean
open_directory (QsnapCapture *capture, GFile *directory, GError **error)
{
  g_autofree char *path = g_file_get_path (directory);

  if (path == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "a snapshot is in a local directory");
      return FALSE;
    }

  capture->directory = g_object_ref (directory);
  capture->path = g_canonicalize_filename (path, NULL);
  capture->dir_fd = open (capture->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

  return capture->dir_fd >= 0 ||
         qsnap_io_fail (error, errno, "cannot open the directory %s", capture->path);
}

static gboolean
is_alive (JsonObject *journal, const char *pid_name, const char *start_name)
{
  GPid pid = (GPid)qsnap_json_get_int (journal, pid_name, 0);
  gint64 start = qsnap_json_get_int (journal, start_name, 0);

  return start != 0 && qsnap_process_start_time (pid) == start;
}

static gboolean
check_client_is_dead (QsnapCapture *capture, GError **error)
{
  JsonObject *journal = capture->journal.json;

  if (qsnap_json_get_int (journal, "client-pid", 0) == getpid () ||
      !is_alive (journal, "client-pid", "client-start"))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
               "a capture into %s is under way: process %" G_GINT64_FORMAT, capture->path,
               qsnap_json_get_int (journal, "client-pid", 0));

  return FALSE;
}

/* The saver of a dead client goes on until all memory is saved, and holds the lock for as long. A
 * client of this very process that is alive holds it, too, and does not let go. */
static gboolean
lock_directory (QsnapCapture *capture, GError **error)
{
  JsonObject *journal = capture->journal.json;

  while (flock (capture->dir_fd, LOCK_EX | LOCK_NB) != 0)
    {
      if (errno != EWOULDBLOCK && errno != EINTR)
        return qsnap_io_fail (error, errno, "cannot lock %s", capture->path);
      if (journal != NULL && qsnap_json_get_int (journal, "client-pid", 0) == getpid () &&
          is_alive (journal, "client-pid", "client-start"))
        {
          g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY, "a capture into %s is under way",
                       capture->path);
          return FALSE;
        }
      if (!qsnap_capture_go_on (capture, error))
        return FALSE;
      g_usleep (POLL_US);
    }

  return TRUE;
}

/* --- the capture again --------------------------------------------------------------------- */

static JsonObject *
disk_of_snapshot (QsnapCapture *capture, guint index)
{
  JsonArray *disks = qsnap_json_get_array (capture->recovered, "disks");

  return disks != NULL && index < json_array_get_length (disks)
             ? qsnap_json_array_object (disks, index)
             : NULL;
}

static void
restore_drive (QsnapCapture *capture, JsonObject *object, guint index)
{
  QsnapDrive *drive = g_new0 (QsnapDrive, 1);
  JsonObject *disk = disk_of_snapshot (capture, index);

  drive->device = g_strdup (qsnap_json_get_string (object, "device"));
  drive->qdev = g_strdup (qsnap_json_get_string (object, "qdev"));
  drive->node = g_strdup (qsnap_json_get_string (object, "base-node"));
  drive->file = g_strdup (qsnap_json_get_string (object, "base"));
  drive->driver = g_strdup (qsnap_json_get_string (object, "base-format"));
  drive->nvram_block = g_strdup (qsnap_json_get_string (object, "nvram-block"));
  drive->overlay_file = g_strdup (qsnap_json_get_string (object, "overlay"));
  drive->overlay_node = g_strdup (qsnap_json_get_string (object, "overlay-node"));
  drive->overlay_file_node = g_strdup (qsnap_json_get_string (object, "overlay-file-node"));
  drive->overlay_fdset = -1;
  drive->size = qsnap_json_get_int (disk, "size", 0);
  qsnap_file_identity_from_json (&drive->base, qsnap_json_get_object (disk, "base"));
  g_ptr_array_add (capture->guest->drives, drive);
}

static void
restore_overlays (QsnapCapture *capture)
{
  JsonArray *overlays = qsnap_json_get_array (capture->journal.json, "overlays");

  for (guint i = 0; i < json_array_get_length (overlays); i++)
    {
      QsnapOverlay *overlay = g_new0 (QsnapOverlay, 1);

      restore_drive (capture, qsnap_json_array_object (overlays, i), i);
      overlay->drive = g_ptr_array_index (capture->guest->drives, i);
      overlay->qmp = capture->qmp;
      overlay->watch = capture->watch;
      g_ptr_array_add (capture->overlays, overlay);
    }
}

static void
restore_capabilities (QsnapGuest *guest, JsonObject *found)
{
  g_autoptr (GList) names = json_object_get_members (found);

  guest->capabilities = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (GList *l = names; l != NULL; l = l->next)
    {
      char *name = g_strdup (l->data);
      gboolean state = qsnap_json_get_bool (found, name, FALSE);

      g_hash_table_insert (guest->capabilities, name, GINT_TO_POINTER (state));
      g_hash_table_insert (guest->wanted_capabilities, name, GINT_TO_POINTER (!state));
    }
}

static void
restore_guest (QsnapCapture *capture)
{
  JsonObject *journal = capture->journal.json;
  QsnapGuest *guest = capture->guest;
  const char *action = qsnap_json_get_string (journal, "shutdown-action");

  guest->version = g_strdup (qsnap_json_get_string (journal, "qemu-version"));
  guest->major = g_ascii_strtoll (guest->version, NULL, 10);
  guest->run_state = g_strdup (qsnap_json_get_string (journal, "run-state"));
  guest->was_running = g_str_equal (guest->run_state, "running");
  guest->shutdown_action = g_str_equal (action, "pause") ? "pause" : "poweroff";
  guest->ends_on_panic = qsnap_json_get_bool (journal, "ends-on-panic", TRUE);
  restore_capabilities (guest, qsnap_json_get_object (journal, "capabilities"));
  restore_overlays (capture);

  capture->plain = qsnap_guest_needs_plain_migration (guest);
  capture->max_bandwidth = qsnap_json_get_int (journal, "max-bandwidth", -1);
}

/* --- the connection ------------------------------------------------------------------------ */

/* The session's own, where it is open; else one for this recovery. NULL without an error: there is
 * no QEMU any more. */
static QsnapQmpClient *
reach_qemu (QsnapCapture *capture, GIOStream **stream, GError **error)
{
  QsnapSession *session = qsnap_operation_get_session (capture->operation);
  JsonObject *journal = capture->journal.json;
  const char *address = qsnap_session_get_address (session);
  g_autoptr (GError) failure = NULL;
  QsnapQmpClient *client = qsnap_session_ref_client (session, NULL);

  if (client != NULL)
    {
      *stream = qsnap_session_ref_stream (session);
      qsnap_session_set_watch (session, capture->watch);
      return client;
    }

  if (qsnap_json_get_int (journal, "qemu-start", 0) != 0 &&
      !is_alive (journal, "qemu-pid", "qemu-start"))
    return NULL;

  if (address == NULL)
    address = qsnap_json_get_string (journal, "address");
  if (address != NULL)
    client = qsnap_capture_connect (address, capture->watch, stream, &failure);
  if (client != NULL)
    {
      capture->second_client = client;
      return qsnap_qmp_client_ref (client);
    }

  /* Nobody listens, and nothing says that QEMU lives. */
  if (!is_alive (journal, "qemu-pid", "qemu-start") &&
      (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED) ||
       g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)))
    return NULL;

  if (failure == NULL)
    g_set_error_literal (&failure, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                         "QEMU may be alive, and its monitor's address is not known: give it");
  g_propagate_error (error, g_steal_pointer (&failure));

  return NULL;
}

static gboolean
connect_and_restore (QsnapCapture *capture, GError **error)
{
  g_autoptr (GIOStream) stream = NULL;
  g_autoptr (GError) failure = NULL;
  g_autoptr (QsnapQmpClient) client = reach_qemu (capture, &stream, &failure);

  if (failure != NULL)
    {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }

  capture->guest =
      client != NULL ? qsnap_guest_new (client, stream, TIMEOUT_MS) : qsnap_guest_new_gone ();
  capture->qmp = &capture->guest->qmp;
  restore_guest (capture);

  return TRUE;
}

/* --- finishing ----------------------------------------------------------------------------- */

gboolean
qsnap_recover_memory_is_complete (QsnapCapture *capture)
{
  const char *step = qsnap_json_get_string (capture->journal.json, "step");
  gboolean proven = g_str_equal (step, "saving") || g_str_equal (step, "sealing");

  return proven && capture->recovered != NULL &&
         faccessat (capture->dir_fd, QSNAP_IMAGE_JSON, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A guest that was paused is in "postmigrate" for as long as nobody has resumed it; if somebody
 * has, its memory and its disks may not be of one instant. */
static gboolean
check_still_paused (QsnapCapture *capture, GError **error)
{
  g_autofree char *status = NULL;

  if (!capture->plain || capture->qmp->gone)
    return TRUE;

  status = qsnap_qmp_query_status (capture->qmp, error);
  if (status == NULL)
    return FALSE;
  if (g_str_equal (status, "postmigrate"))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
               "the guest did not stay paused while its memory was saved (it is %s)", status);

  return FALSE;
}

static gboolean
finish (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) unsettled = NULL;

  if (!check_still_paused (capture, error) ||
      (!capture->qmp->gone && !qsnap_capture_finish_migration (capture, error)))
    return FALSE;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_SETTLING);
  qsnap_undo_run (capture->settle, &unsettled);

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_SEALING);
  capture->snapshot =
      qsnap_snapshot_new_unsealed (capture->directory, qsnap_capture_describe (capture, NULL));
  if (!qsnap_capture_seal (capture, error))
    return FALSE;

  qsnap_capture_carry_out_wish (capture);
  if (unsettled == NULL)
    return qsnap_journal_remove (&capture->journal, error);

  g_propagate_prefixed_error (error, g_steal_pointer (&unsettled),
                              "the snapshot is complete, but QEMU could not be put back: ");

  return FALSE;
}

/* --- undoing ------------------------------------------------------------------------------- */

/* Whoever stopped it in the pause is dead. Later its run state is its owner's business. */
static gboolean
resume_guest (gpointer data, GError **error)
{
  QsnapCapture *capture = data;
  g_autofree char *status = NULL;

  if (capture->qmp->gone || !capture->guest->was_running ||
      !g_str_equal (qsnap_json_get_string (capture->journal.json, "step"), "pausing"))
    return TRUE;

  status = qsnap_qmp_query_status (capture->qmp, error);
  if (status == NULL)
    return FALSE;

  return !g_str_equal (status, "paused") || qsnap_qmp_do (capture->qmp, "cont", NULL, error);
}

/* In the order in which a capture pushes them. */
static void
push_all (QsnapCapture *capture)
{
  for (guint i = 0; i < capture->overlays->len; i++)
    qsnap_overlay_push_undo (g_ptr_array_index (capture->overlays, i), capture->undo);
  qsnap_capture_push_prepared (capture);
  qsnap_undo_push (capture->undo, "resume the guest", NULL, resume_guest, capture);
  for (guint i = 0; i < capture->overlays->len; i++)
    {
      QsnapOverlay *overlay = g_ptr_array_index (capture->overlays, i);

      qsnap_undo_push (capture->undo, "merge the overlay back", overlay->drive,
                       qsnap_overlay_merge_back, overlay);
    }
  qsnap_capture_push_migration (capture);
}

static gboolean
undo (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) undone = NULL;
  g_autoptr (GError) settled = NULL;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_ROLLING_BACK);
  if (capture->qmp->gone)
    return qsnap_recover_undo_offline (capture, error);

  qsnap_undo_run (capture->undo, &undone);
  qsnap_undo_run (capture->settle, &settled);
  qsnap_capture_carry_out_wish (capture);
  if (undone == NULL && settled == NULL)
    return qsnap_capture_remove_directory (capture, error);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED, "it could not be undone: %s%s%s",
               undone != NULL ? undone->message : "", undone != NULL && settled != NULL ? "; " : "",
               settled != NULL ? settled->message : "");

  return FALSE;
}

/* --- all of it ----------------------------------------------------------------------------- */

/* The seal was the last thing that mattered. */
static QsnapSnapshot *
tidy_sealed (QsnapCapture *capture, GError **error)
{
  (void)unlinkat (capture->dir_fd, QSNAP_IMAGE_JSON, 0);
  (void)unlinkat (capture->dir_fd, QSNAP_JOURNAL_FILE, 0);

  return qsnap_snapshot_load (capture->directory, capture->cancellable, error);
}

static gboolean
is_sealed (QsnapCapture *capture)
{
  return faccessat (capture->dir_fd, QSNAP_MANIFEST_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The journal is read again under the lock: another recovery may have been faster. */
static gboolean
read_journal (QsnapCapture *capture, GError **error)
{
  JsonObject *snapshot;

  qsnap_journal_clear (&capture->journal);
  if (!qsnap_journal_read (&capture->journal, capture->dir_fd, error))
    {
      g_prefix_error (error, "there is nothing to recover in %s: ", capture->path);
      return FALSE;
    }

  snapshot = qsnap_json_get_object (capture->journal.json, "snapshot");
  if (snapshot != NULL && capture->recovered == NULL)
    capture->recovered = json_object_ref (snapshot);
  capture->directory_is_ours = TRUE;
  capture->directory_made = qsnap_json_get_bool (capture->journal.json, "directory-made", TRUE);
  capture->directory_mode = 0700;

  return TRUE;
}

static QsnapSnapshot *
recover (QsnapCapture *capture, GError **error)
{
  g_autoptr (GError) failure = NULL;

  qsnap_operation_set_phase (capture->operation, QSNAP_PHASE_CHECKING);
  if (!is_sealed (capture) &&
      (!read_journal (capture, error) || !check_client_is_dead (capture, error)))
    return NULL;
  if (!lock_directory (capture, error))
    return NULL;
  if (is_sealed (capture))
    return tidy_sealed (capture, error);
  if (!read_journal (capture, error))
    return NULL;

  /* Before QMP, which may wait for a guest that waits for its stream to be read. */
  qsnap_recover_drain (capture);
  if (!connect_and_restore (capture, error))
    return NULL;

  push_all (capture);
  if (qsnap_recover_memory_is_complete (capture))
    {
      if (finish (capture, &failure))
        return g_object_ref (capture->snapshot);
      g_debug ("it cannot be finished, so it is undone: %s", failure->message);
      if (capture->snapshot != NULL && qsnap_snapshot_get_sealed (capture->snapshot))
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return NULL;
        }
    }

  if (!undo (capture, error))
    g_prefix_error (error, "recovering %s: ", capture->path);

  return NULL;
}

QsnapSnapshot *
qsnap_recover_run (QsnapOperation *operation,
                   GFile *directory,
                   GCancellable *cancellable,
                   GError **error)
{
  QsnapCapture capture;
  QsnapSnapshot *snapshot = NULL;

  qsnap_capture_init (&capture, operation, cancellable);
  if (open_directory (&capture, directory, error))
    snapshot = recover (&capture, error);
  qsnap_capture_clear (&capture);

  return snapshot;
}
