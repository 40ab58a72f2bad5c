/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/qsnap-disk-check.h"
#include "memory/qsnap-buffer.h"
#include "memory/qsnap-io.h"
#include "qsnap-about.h"
#include "qsnap-capture-private.h"
#include "qsnap-check.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-worker.h"

/* Everything that can be done before the pause: files, overlays, the saver, QEMU's settings. */

/* One page is the smallest pipe there is, and quickest to fill. */
#define GATE_PIPE_SIZE 4096
#define STREAM_PIPE_SIZE (1024 * 1024)
#define SAVER_PATIENCE_MS (10 * 1000)
/* A plain migration is limited to 128 MiB/s unless told otherwise. */
#define NO_BANDWIDTH_LIMIT (G_GINT64_CONSTANT (1) << 50)

/* --- directory ----------------------------------------------------------------------------- */

/* The directory was empty, or did not exist, when the capture began: all that is in it is ours. */
static gboolean
remove_contents (int dir_fd, gboolean below, GError **error)
{
  int copy = openat (dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", copy);
  g_autoptr (GDir) dir = copy >= 0 ? g_dir_open (path, 0, error) : NULL;
  const char *name;
  gboolean removed = dir != NULL;

  while (removed && (name = g_dir_read_name (dir)) != NULL)
    {
      int child = below ? openat (copy, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

      if (child >= 0)
        {
          removed = remove_contents (child, FALSE, error);
          close (child);
        }
      if (removed && unlinkat (copy, name, child >= 0 ? AT_REMOVEDIR : 0) != 0 && errno != ENOENT)
        removed = qsnap_io_fail (error, errno, "cannot remove %s", name);
    }

  if (copy >= 0)
    close (copy);

  return removed;
}

static gboolean
is_in_place (QsnapCapture *capture)
{
  struct stat opened, named;

  return fstat (capture->dir_fd, &opened) == 0 && lstat (capture->path, &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* What QEMU and its tools write is named by its path. */
gboolean
qsnap_capture_check_directory (QsnapCapture *capture, GError **error)
{
  if (is_in_place (capture))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
               "the directory %s was moved away, or another was put in its place", capture->path);

  return FALSE;
}

gboolean
qsnap_capture_remove_directory (QsnapCapture *capture, GError **error)
{
  if (!capture->directory_is_ours)
    return TRUE;

  if (!remove_contents (capture->dir_fd, TRUE, error))
    return FALSE;

  if (!capture->directory_made)
    (void)fchmod (capture->dir_fd, capture->directory_mode);
  else if (is_in_place (capture) && rmdir (capture->path) != 0 && errno != ENOENT)
    return qsnap_io_fail (error, errno, "cannot remove %s", capture->path);

  return TRUE;
}

static gboolean
make_directory (QsnapCapture *capture, GError **error)
{
  capture->directory_made = mkdir (capture->path, 0700) == 0;
  if (!capture->directory_made && errno != EEXIST)
    return qsnap_io_fail (error, errno, "cannot make the directory %s", capture->path);

  capture->dir_fd = open (capture->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (capture->dir_fd < 0)
    return qsnap_io_fail (error, errno, "cannot open the directory %s", capture->path);

  capture->directory_is_ours =
      qsnap_io_take_dir (capture->dir_fd, capture->path, &capture->directory_mode, error);

  return capture->directory_is_ours;
}

/* --- disks --------------------------------------------------------------------------------- */

/* Should we die, somebody has to start the guest again. */
static void
note_stop_for_merge (gpointer journal)
{
  qsnap_journal_flag (journal, QSNAP_JOURNAL_STOPPED);
}

static void
note_merged (QsnapDrive *drive, gpointer journal)
{
  qsnap_journal_note_merged (journal, drive);
}

QsnapDiskTask *
qsnap_capture_add_task (QsnapCapture *capture, QsnapDrive *drive)
{
  QsnapDiskTask *task = qsnap_disk_task_new (drive, capture->qmp, capture->watch);

  task->about_to_stop = note_stop_for_merge;
  task->note_merged = note_merged;
  task->data = &capture->journal;
  g_ptr_array_add (capture->tasks, task);

  return task;
}

static void
plan_disks (QsnapCapture *capture)
{
  GFile *directory = qsnap_snapshot_options_get_overlay_directory (capture->options);
  g_autofree char *path = directory != NULL ? g_file_get_path (directory) : NULL;
  g_autofree char *absolute = path != NULL ? g_canonicalize_filename (path, NULL) : NULL;

  for (guint i = 0; i < capture->guest->drives->len; i++)
    {
      QsnapDiskTask *task =
          qsnap_capture_add_task (capture, g_ptr_array_index (capture->guest->drives, i));

      qsnap_disk_task_plan (task, absolute, capture->path, capture->id, i);
    }
}

/* What the host holds dirty of the image would be written while the guest stands still. */
static void
flush_base (QsnapDrive *drive)
{
  int fd = drive->file != NULL ? open (drive->file, O_RDONLY | O_CLOEXEC) : -1;

  if (fd < 0)
    return;

  /* It only shortens the pause: QEMU flushes what matters. */
  (void)fdatasync (fd);
  close (fd);
}

static gboolean
make_disks_directory (QsnapCapture *capture, GError **error)
{
  GPtrArray *drives = capture->guest->drives;

  if (!qsnap_disks_have_mode (drives, QSNAP_DISK_MODE_CLONE) &&
      !qsnap_disks_have_mode (drives, QSNAP_DISK_MODE_COPY))
    return TRUE;

  return mkdirat (capture->dir_fd, QSNAP_DISKS_DIR, 0700) == 0 ||
         qsnap_io_fail (error, errno, "cannot make the directory %s/" QSNAP_DISKS_DIR,
                        capture->path);
}

static gboolean
prepare_disks (QsnapCapture *capture, GError **error)
{
  if (!make_disks_directory (capture, error))
    return FALSE;

  for (guint i = 0; i < capture->tasks->len; i++)
    if (!qsnap_capture_go_on (capture, error) ||
        !qsnap_disk_task_prepare (g_ptr_array_index (capture->tasks, i), capture->undo, error))
      return FALSE;

  return TRUE;
}

/* --- stream and saver ---------------------------------------------------------------------- */

static gboolean
fill_pipe (QsnapCapture *capture, int write_end, GError **error)
{
  g_autofree char *filler = g_malloc0 (GATE_PIPE_SIZE);
  gboolean filled;
  gssize n;

  if (!g_unix_set_fd_nonblocking (write_end, TRUE, error))
    return FALSE;

  while ((n = write (write_end, filler, GATE_PIPE_SIZE)) > 0)
    capture->filler += (gsize)n;
  filled = n < 0 && errno == EAGAIN;
  if (!filled)
    qsnap_io_fail (error, errno, "cannot fill the stream's pipe");

  /* The flag is shared with what QEMU gets. */
  return g_unix_set_fd_nonblocking (write_end, FALSE, filled ? error : NULL) && filled;
}

/* QEMU's stream must be read, or the guest hangs: beside a saver that may be dead, or that waits
 * for its disk, this reads and throws away. */
static gpointer
drain_thread (gpointer data)
{
  int fd = GPOINTER_TO_INT (data);
  g_autoptr (QsnapBuffer) buffer = qsnap_buffer_new (STREAM_PIPE_SIZE);
  gssize n;

  /* The gate's is one page small, and the saver may not have come to enlarge it. */
  (void)fcntl (fd, F_SETPIPE_SZ, STREAM_PIPE_SIZE);
  do
    n = read (fd, buffer, STREAM_PIPE_SIZE);
  while (n > 0 || (n < 0 && errno == EINTR));
  close (fd);

  return NULL;
}

static void
start_drain (QsnapCapture *capture)
{
  int fd;

  if (!g_atomic_int_compare_and_exchange (&capture->draining, FALSE, TRUE))
    return;

  fd = fcntl (capture->stream_read, F_DUPFD_CLOEXEC, 0);
  if (fd >= 0)
    g_thread_unref (g_thread_new ("qsnap-drain", drain_thread, GINT_TO_POINTER (fd)));
}

void
qsnap_capture_drain (QsnapCapture *capture)
{
  if (capture->saver != NULL)
    qsnap_saver_discard (capture->saver);
  if (capture->stream_read >= 0)
    start_drain (capture);
}

/* In the worker's thread. */
static void
saver_reported (const QsnapSaverReport *report, gpointer user_data)
{
  QsnapCapture *capture = user_data;

  qsnap_watch_note_saver (report, capture->watch);
  if (report->kind == QSNAP_SAVER_DIED)
    start_drain (capture);
}

static gboolean
saver_has_ended (QsnapWatch *watch, gconstpointer data)
{
  return watch->saver_ended;
}

/* After it no file is written any more. The stream's write end is closed everywhere by now, so a
 * saver that does not end waits for its disk, and is ended. Where QEMU lives and cannot be reached
 * the saver is left to read. */
static gboolean
undo_saver (gpointer data, GError **error)
{
  QsnapCapture *capture = data;

  qsnap_saver_discard (capture->saver);
  if (qsnap_watch_is_closed (capture->watch) && !capture->qmp->gone)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
                           "QEMU cannot be reached, and may still send");
      return FALSE;
    }

  if (!qsnap_watch_wait_helper (capture->watch, saver_has_ended, SAVER_PATIENCE_MS))
    {
      kill (qsnap_saver_get_pid (capture->saver), SIGKILL);
      (void)qsnap_watch_wait_helper (capture->watch, saver_has_ended, SAVER_PATIENCE_MS);
    }

  return TRUE;
}

static gboolean
undo_stream_fd (gpointer data, GError **error)
{
  QsnapCapture *capture = data;

  g_autoptr (GError) failure = NULL;

  /* `migrate` has taken it, or will never get it. Where QEMU was not even asked, it has it still.
   */
  if (capture->qmp->gone || qsnap_qmp_closefd (capture->qmp, QSNAP_STREAM_FD_NAME, &failure) ||
      !qsnap_qmp_client_is_closed (capture->qmp->client))
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

/* It may never have come there. */
static gboolean
settle_fd (QsnapCapture *capture, const char *name, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (capture->qmp->gone || qsnap_qmp_closefd (capture->qmp, name, &failure) ||
      strstr (failure->message, "not found") != NULL)
    return TRUE;

  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

static gboolean
settle_keep_fd (gpointer capture, GError **error)
{
  return settle_fd (capture, QSNAP_KEEP_FD_NAME, error);
}

static gboolean
settle_probe (gpointer capture, GError **error)
{
  return settle_fd (capture, QSNAP_PROBE_FD_NAME, error);
}

void
qsnap_capture_settle_probe (QsnapCapture *capture)
{
  qsnap_undo_push (capture->settle, "close the pipe that QEMU was tried with", NULL, settle_probe,
                   capture);
}

static gboolean
start_saver (QsnapCapture *capture, GError **error)
{
  g_autoptr (GStrvBuilder) raw_blocks = g_strv_builder_new ();
  gboolean pack =
      qsnap_snapshot_options_get_compression (capture->options) != QSNAP_COMPRESSION_NONE;
  g_auto (GStrv) names = NULL;

  for (guint i = 0; i < capture->guest->drives->len; i++)
    {
      QsnapDrive *drive = g_ptr_array_index (capture->guest->drives, i);

      if (drive->nvram_block != NULL)
        g_strv_builder_add (raw_blocks, drive->nvram_block);
    }
  names = g_strv_builder_end (raw_blocks);

  capture->saver = qsnap_saver_start (qsnap_worker_context (), capture->stream_read,
                                      capture->dir_fd, (const char *const *)names, pack,
                                      capture->filler, saver_reported, capture, error);
  if (capture->saver == NULL)
    {
      g_prefix_error (error, "starting the saver: ");
      return FALSE;
    }

  qsnap_undo_push (capture->undo, "wait for the saver", capture, undo_saver, capture);

  return TRUE;
}

static gboolean
pass_stream (QsnapCapture *capture, int write_end, GError **error)
{
  qsnap_undo_push (capture->undo, "close the stream in QEMU", NULL, undo_stream_fd, capture);
  qsnap_undo_push (capture->settle, "close the stream's copy in QEMU", NULL, settle_keep_fd,
                   capture);

  return qsnap_qmp_getfd (capture->qmp, QSNAP_STREAM_FD_NAME, write_end, error) &&
         qsnap_qmp_getfd (capture->qmp, QSNAP_KEEP_FD_NAME, capture->stream_read, error);
}

/* By its inode the pipe is found again in QEMU's descriptors. */
static void
note_stream (QsnapCapture *capture)
{
  struct stat found;

  if (fstat (capture->stream_read, &found) == 0)
    qsnap_journal_note (&capture->journal, "stream-pipe",
                        json_node_init_int (json_node_alloc (), (gint64)found.st_ino));
}

/* The gate is a pipe that is full before QEMU writes to it. */
static gboolean
make_stream (QsnapCapture *capture, GError **error)
{
  int fds[2];
  gboolean made;

  if (!g_unix_open_pipe (fds, FD_CLOEXEC, error))
    return FALSE;

  capture->stream_read = fds[0];
  note_stream (capture);
  /* Fails for a user who has too many large pipes; any size is right. */
  (void)fcntl (fds[1], F_SETPIPE_SZ, capture->gated ? GATE_PIPE_SIZE : STREAM_PIPE_SIZE);

  made = (!capture->gated || fill_pipe (capture, fds[1], error)) && start_saver (capture, error) &&
         pass_stream (capture, fds[1], error);
  close (fds[1]);

  return made;
}

/* --- QEMU's settings ----------------------------------------------------------------------- */

static gboolean
settle_capabilities (gpointer data, GError **error)
{
  QsnapCapture *capture = data;
  g_autoptr (GHashTable) found = qsnap_guest_found_capabilities (capture->guest);

  if (capture->qmp->gone)
    return TRUE;

  return qsnap_qmp_do (capture->qmp, "migrate-set-capabilities",
                       qsnap_qmp_capabilities_arguments (found), error);
}

void
qsnap_capture_settle_capabilities (QsnapCapture *capture)
{
  qsnap_undo_push (capture->settle, "put the migration capabilities back", NULL,
                   settle_capabilities, capture);
}

static gboolean
set_capabilities (QsnapCapture *capture, GError **error)
{
  if (g_hash_table_size (capture->guest->wanted_capabilities) == 0)
    return TRUE;

  qsnap_capture_settle_capabilities (capture);

  return qsnap_qmp_do (capture->qmp, "migrate-set-capabilities",
                       qsnap_qmp_capabilities_arguments (capture->guest->wanted_capabilities),
                       error);
}

static gboolean
settle_bandwidth (gpointer data, GError **error)
{
  QsnapCapture *capture = data;

  if (capture->qmp->gone)
    return TRUE;

  return qsnap_qmp_do (capture->qmp, "migrate-set-parameters",
                       qsnap_json_node_new ("max-bandwidth", 'i', capture->max_bandwidth, NULL),
                       error);
}

static gboolean
raise_bandwidth (QsnapCapture *capture, GError **error)
{
  g_autoptr (JsonNode) reply =
      qsnap_qmp_run (capture->qmp, "query-migrate-parameters", NULL, error);

  if (reply == NULL)
    return FALSE;

  capture->max_bandwidth = qsnap_json_get_int (qsnap_json_object (reply), "max-bandwidth", 0);
  qsnap_journal_note (&capture->journal, "max-bandwidth",
                      json_node_init_int (json_node_alloc (), capture->max_bandwidth));
  qsnap_undo_push (capture->settle, "put max-bandwidth back", NULL, settle_bandwidth, capture);

  return qsnap_qmp_do (capture->qmp, "migrate-set-parameters",
                       qsnap_json_node_new ("max-bandwidth", 'i', NO_BANDWIDTH_LIMIT, NULL), error);
}

static gboolean
settle_shutdown_action (gpointer data, GError **error)
{
  QsnapCapture *capture = data;

  if (capture->qmp->gone)
    return TRUE;

  return qsnap_qmp_set_shutdown_action (capture->qmp, capture->guest->shutdown_action, error);
}

/* A guest that powers off, or reboots under -no-reboot, would take the snapshot with it, and on 7.2
 * hang QEMU. */
static gboolean
hold_shutdown (QsnapCapture *capture, GError **error)
{
  if (g_str_equal (capture->guest->shutdown_action, "pause"))
    return TRUE;

  qsnap_undo_push (capture->settle, "put the shutdown action back", NULL, settle_shutdown_action,
                   capture);

  return qsnap_qmp_set_shutdown_action (capture->qmp, "pause", error);
}

void
qsnap_capture_push_prepared (QsnapCapture *capture)
{
  qsnap_undo_push (capture->undo, "close the stream in QEMU", NULL, undo_stream_fd, capture);
  qsnap_undo_push (capture->settle, "close the stream's copy in QEMU", NULL, settle_keep_fd,
                   capture);
  if (!g_str_equal (capture->guest->shutdown_action, "pause"))
    qsnap_undo_push (capture->settle, "put the shutdown action back", NULL, settle_shutdown_action,
                     capture);
  if (capture->max_bandwidth >= 0)
    qsnap_undo_push (capture->settle, "put max-bandwidth back", NULL, settle_bandwidth, capture);
  if (g_hash_table_size (capture->guest->wanted_capabilities) > 0)
    qsnap_capture_settle_capabilities (capture);
}

/* --- all of it ----------------------------------------------------------------------------- */

/* The gate needs to see QEMU's threads. */
static gboolean
can_gate (QsnapCapture *capture)
{
  g_autoptr (GHashTable) threads = NULL;

  if (!qsnap_capture_is_background (capture) || !qsnap_guest_goes_on (capture->guest) ||
      !qsnap_guest_has_gate (capture->guest))
    return FALSE;

  threads = qsnap_process_threads (capture->guest->process);

  return threads != NULL;
}

/* Whoever recovers may be somewhere else. */
static char *
absolute_address (const char *address)
{
  g_autofree char *path = NULL;

  if (address == NULL || g_str_has_prefix (address, "tcp:"))
    return g_strdup (address);
  if (g_str_has_prefix (address, "unix:"))
    address += strlen ("unix:");
  path = g_canonicalize_filename (address, NULL);

  return g_strconcat ("unix:", path, NULL);
}

gboolean
qsnap_capture_prepare (QsnapCapture *capture, GError **error)
{
  QsnapGuest *guest = capture->guest;
  QsnapSession *session = qsnap_operation_get_session (capture->operation);
  g_autofree char *address = absolute_address (qsnap_session_get_address (session));
  g_autofree char *agent = absolute_address (qsnap_snapshot_options_get_quiesce (capture->options));

  capture->plain = qsnap_guest_needs_plain_migration (guest);
  capture->live = qsnap_guest_is_saved_live (guest);
  capture->gated = can_gate (capture);

  if (!make_directory (capture, error))
    return FALSE;

  qsnap_capture_find_parent (capture);
  plan_disks (capture);
  if (!qsnap_journal_start (&capture->journal, capture->dir_fd, capture->directory_made,
                            capture->id, capture->name, address, agent, guest, error) ||
      !qsnap_about_write (capture->dir_fd,
                          qsnap_snapshot_options_get_description (capture->options),
                          qsnap_snapshot_options_get_metadata (capture->options), error) ||
      !prepare_disks (capture, error) ||
      (qsnap_capture_has_memory (capture) && !make_stream (capture, error)) ||
      !hold_shutdown (capture, error) ||
      ((capture->plain || capture->live) && !raise_bandwidth (capture, error)) ||
      !qsnap_capture_check_directory (capture, error) ||
      !qsnap_journal_step (&capture->journal, "pausing", error))
    return FALSE;

  for (guint i = 0; i < guest->drives->len; i++)
    flush_base (g_ptr_array_index (guest->drives, i));

  /* Last, so that it is on for no longer than needed: a migration that somebody starts with it on
   * leaves two guests on one disk. */
  return qsnap_capture_go_on (capture, error) && set_capabilities (capture, error) &&
         qsnap_capture_freeze (capture, error) && qsnap_capture_go_on (capture, error);
}
