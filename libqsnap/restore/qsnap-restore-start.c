/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-json.h"
#include "qsnap-session-private.h"
#include "restore/qsnap-restore-private.h"

/* QEMU is started, gets the stream, and goes on. */

#define STREAM_FD_NAME "qsnap-stream"
#define POLL_US 1000
/* A QEMU that makes its monitor later than this is stopped by something else. */
#define START_TIMEOUT_US (60 * G_USEC_PER_SEC)
/* The stream is in; what is left is the devices' state. */
#define DEVICES_TIMEOUT_MS (60 * 1000)
#define PIPE_SIZE (1 << 20)

/* --- its last words ------------------------------------------------------------------------ */

/* Whatever failed, QEMU knows best why. */
static void
add_words (QsnapRestore *restore, GError **error)
{
  g_autofree char *words = qsnap_qemu_last_words (restore->log_fd);
  g_autofree char *mismatches = NULL;
  g_autofree char *end = NULL;
  g_autoptr (GError) first = g_steal_pointer (error);

  if (g_error_matches (first, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    {
      *error = g_steal_pointer (&first);
      return;
    }

  /* The connection may have ended a moment before the process. */
  if (qsnap_qemu_wait (restore->qemu, 500, NULL, NULL))
    end = qsnap_qemu_describe_end (restore->qemu);
  if (restore->warnings->len > 0)
    {
      g_ptr_array_add (restore->warnings, NULL);
      mismatches = g_strjoinv ("; ", (GStrv)restore->warnings->pdata);
      g_ptr_array_remove_index (restore->warnings, restore->warnings->len - 1);
    }

  g_set_error (error, first->domain, first->code, "%s%s%s%s%s%s%s", first->message,
               end != NULL ? "; QEMU " : "", end != NULL ? end : "",
               *words != '\0' ? "; it said: " : "", words, mismatches != NULL ? "; note: " : "",
               mismatches != NULL ? mismatches : "");
}

/* --- starting ------------------------------------------------------------------------------ */

static gboolean
undo_process (gpointer data, GError **error)
{
  QsnapRestore *restore = data;

  qsnap_session_close (restore->session);
  qsnap_qemu_kill (restore->qemu);

  return TRUE;
}

static gboolean
wait_for_socket (QsnapRestore *restore, GError **error)
{
  const char *path = qsnap_session_get_address (restore->session);
  gint64 deadline = g_get_monotonic_time () + START_TIMEOUT_US;

  while (!g_file_test (path, G_FILE_TEST_EXISTS))
    {
      if (!qsnap_restore_go_on (restore, error))
        return FALSE;

      if (qsnap_qemu_has_ended (restore->qemu))
        {
          g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "QEMU did not start");
          return FALSE;
        }
      if (g_get_monotonic_time () > deadline)
        {
          g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                       "QEMU has not made its monitor in %d seconds",
                       (int)(START_TIMEOUT_US / G_USEC_PER_SEC));
          return FALSE;
        }
      g_usleep (POLL_US);
    }

  return TRUE;
}

/* The socket has a name before anybody listens at it. */
static gboolean
connect_to_qemu (QsnapRestore *restore, GError **error)
{
  for (;;)
    {
      g_autoptr (GError) failure = NULL;

      if (!wait_for_socket (restore, error))
        return FALSE;
      if (qsnap_session_open (restore->session, restore->cancellable, &failure))
        return TRUE;

      if (!g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED) ||
          qsnap_qemu_has_ended (restore->qemu))
        {
          g_propagate_error (error, g_steal_pointer (&failure));
          return FALSE;
        }
      g_usleep (POLL_US);
    }
}

gboolean
qsnap_restore_start (QsnapRestore *restore, GError **error)
{
  g_auto (GStrv) arguments = qsnap_command_to_strv (restore->command);

  restore->qemu = qsnap_qemu_start ((const char *const *)arguments, restore->working_directory,
                                    restore->module_dir, restore->log_fd, error);
  if (restore->qemu == NULL)
    {
      g_prefix_error (error, "cannot start QEMU (%s): ", arguments[0]);
      return FALSE;
    }

  qsnap_undo_push (restore->undo, "end QEMU", NULL, undo_process, restore);
  if (!connect_to_qemu (restore, error))
    {
      g_prefix_error_literal (error, "starting QEMU: ");
      add_words (restore, error);
      return FALSE;
    }

  restore->ready = g_get_monotonic_time ();
  qsnap_restore_unlink_copies (restore);

  return TRUE;
}

/* --- memory -------------------------------------------------------------------------------- */

static const char *const for_loading[] = { "events", NULL };

/* One flag for each block of the image. */
static gboolean *
mapped_blocks (QsnapRestore *restore)
{
  gboolean *mapped = g_new0 (gboolean, qsnap_image_get_n_blocks (restore->image));

  for (guint i = 0; restore->method == QSNAP_RESTORE_METHOD_MAP && i < restore->blocks->len; i++)
    {
      const QsnapRevertBlock *block = &g_array_index (restore->blocks, QsnapRevertBlock, i);

      mapped[qsnap_image_find_block (restore->image, block->name)] = block->mapped;
    }

  return mapped;
}

static gboolean
migration_is_over (QsnapWatch *watch, gconstpointer data)
{
  return g_strcmp0 (watch->migration_status, "completed") == 0 ||
         g_strcmp0 (watch->migration_status, "failed") == 0;
}

static gboolean
wait_for_completion (QsnapRestore *restore, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autofree char *status = NULL;

  if (!qsnap_watch_wait (restore->watch, migration_is_over, NULL, DEVICES_TIMEOUT_MS,
                         restore->cancellable, &failure))
    {
      if (failure == NULL)
        g_set_error (&failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                     "QEMU has not finished loading %d seconds after the whole stream",
                     DEVICES_TIMEOUT_MS / 1000);
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }

  g_mutex_lock (&restore->watch->lock);
  status = g_strdup (restore->watch->migration_status);
  g_mutex_unlock (&restore->watch->lock);
  if (g_strcmp0 (status, "completed") == 0)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "QEMU's migration %s", status);

  return FALSE;
}

/* @stream[0] is closed here, @stream[1] when all is written or has failed. */
static gboolean
send_stream (QsnapRestore *restore, QsnapQmp *qmp, int stream[2], GError **error)
{
  g_autofree gboolean *mapped = mapped_blocks (restore);
  gboolean sent = qsnap_qmp_getfd (qmp, STREAM_FD_NAME, stream[0], error);

  /* Ours goes, so that a QEMU that ends is seen. */
  close (stream[0]);
  sent =
      sent &&
      qsnap_qmp_do (qmp, "migrate-incoming",
                    qsnap_json_node_new ("uri", 's', "fd:" STREAM_FD_NAME, NULL), error) &&
      qsnap_image_export_without (restore->image, mapped, stream[1], restore->cancellable, error);
  close (stream[1]);

  return sent;
}

static gboolean
give_memory (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  int stream[2];

  if (!qsnap_qmp_switch_capabilities (qmp, for_loading, TRUE, error) ||
      !g_unix_open_pipe (stream, FD_CLOEXEC, error))
    return FALSE;

  /* Refused to users who have many pipes; it works without, too. */
  (void)fcntl (stream[1], F_SETPIPE_SZ, PIPE_SIZE);

  return send_stream (restore, qmp, stream, error) && wait_for_completion (restore, error);
}

/* --- running ------------------------------------------------------------------------------- */

/* The saved run state is that of a guest that was stopped for its capture. */
static gboolean
let_run (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  return qsnap_restore_stays_paused (restore) || qsnap_qmp_do (qmp, "cont", NULL, error);
}

/* QEMU knows best whether it can; one that cannot loads with the same command line. */
static gboolean
try_on_demand (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  g_autoptr (GError) refusal = NULL;

  if (qsnap_restore_switch_postcopy (qmp, TRUE, &refusal))
    return TRUE;

  if (restore->wanted != QSNAP_RESTORE_METHOD_AUTO || refusal->domain != QSNAP_QMP_ERROR)
    {
      g_propagate_error (error, g_steal_pointer (&refusal));
      return FALSE;
    }

  restore->method = QSNAP_RESTORE_METHOD_LOAD;
  g_prefix_error_literal (&refusal, "it cannot be brought in on demand: ");
  qsnap_restore_note_refusal (restore, refusal);

  return TRUE;
}

/* A guest without memory boots. */
static gboolean
bring_in_memory (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  if (!qsnap_restore_has_memory (restore))
    return let_run (restore, qmp, error);
  if (restore->method == QSNAP_RESTORE_METHOD_ON_DEMAND && !try_on_demand (restore, qmp, error))
    return FALSE;
  if (restore->method == QSNAP_RESTORE_METHOD_ON_DEMAND)
    return qsnap_restore_serve (restore, qmp, error);

  return give_memory (restore, qmp, error) && let_run (restore, qmp, error);
}

gboolean
qsnap_restore_load (QsnapRestore *restore, GError **error)
{
  g_autoptr (QsnapQmpClient) client = qsnap_session_ref_client (restore->session, error);
  QsnapQmp qmp = { .client = client,
                   .timeout_ms = qsnap_session_get_timeout (restore->session),
                   .cancellable = restore->cancellable };

  if (client == NULL)
    return FALSE;

  restore->watch = qsnap_watch_new ();
  qsnap_session_set_watch (restore->session, restore->watch);
  if (!bring_in_memory (restore, &qmp, error))
    {
      qsnap_session_set_watch (restore->session, NULL);
      g_prefix_error_literal (error, "loading the guest: ");
      add_words (restore, error);
      return FALSE;
    }

  restore->running = g_get_monotonic_time ();
  /* On demand it goes on. */
  if (restore->serving != NULL)
    return TRUE;

  qsnap_session_set_watch (restore->session, NULL);
  qmp.cancellable = NULL;
  (void)qsnap_qmp_switch_capabilities (&qmp, for_loading, FALSE, NULL);

  return TRUE;
}
