/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-restore-private.h"

#include <string.h>
#include <unistd.h>

#include "qsnap-json.h"
#include "qsnap-session-private.h"
#include "qsnap-session-settle.h"
#include "qsnap-snapshot-private.h"

/* The order of a revert, and the one way out. */

static char *
choose_path (QsnapSnapshot *snapshot, QsnapRestoreOptions *options, GError **error)
{
  GFile *directory = options != NULL ? qsnap_restore_options_get_directory (options) : NULL;
  g_autofree char *path = NULL;

  if (directory != NULL)
    path = g_file_get_path (directory);
  else
    {
      g_autofree char *beside = g_file_get_path (qsnap_snapshot_get_directory (snapshot));

      if (beside != NULL)
        path = g_strdup_printf ("%s.revert-%08x", beside, g_random_int ());
    }

  if (path == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "a revert needs a local directory");
      return NULL;
    }

  return g_canonicalize_filename (path, NULL);
}

/* QEMU is started in the captured one's directory; a path is meant from here. */
static char *
dup_program (const char *program)
{
  if (program == NULL || strchr (program, '/') == NULL)
    return g_strdup (program);

  return g_canonicalize_filename (program, NULL);
}

QsnapRestore *
qsnap_restore_new (QsnapSnapshot *snapshot, QsnapRestoreOptions *options, GError **error)
{
  g_autoptr (QsnapRestore) restore = NULL;
  g_autofree char *path = choose_path (snapshot, options, error);
  g_autofree char *address = NULL;

  if (path == NULL)
    return NULL;

  address = g_build_filename (path, QSNAP_RESTORE_SOCKET, NULL);
  restore = g_new0 (QsnapRestore, 1);
  restore->snapshot = g_object_ref (snapshot);
  restore->path = g_steal_pointer (&path);
  restore->session = qsnap_session_new (address);
  restore->snapshot_fd = restore->dir_fd = restore->log_fd = -1;
  restore->warnings = g_ptr_array_new_with_free_func (g_free);
  restore->refusals = g_string_new (NULL);
  restore->strings = g_ptr_array_new_with_free_func (g_free);
  restore->disks = g_array_new (FALSE, TRUE, sizeof (QsnapRevertDisk));
  restore->blocks = g_array_new (FALSE, TRUE, sizeof (QsnapRevertBlock));
  restore->undo = qsnap_undo_new ();
  restore->began = g_get_monotonic_time ();
  if (options != NULL)
    {
      restore->wanted = qsnap_restore_options_get_method (options);
      restore->given_command = qsnap_restore_options_dup_command (options);
      restore->given_program = dup_program (qsnap_restore_options_get_program (options));
      restore->start_paused = qsnap_restore_options_get_start_paused (options);
      restore->verify = qsnap_restore_options_get_verify (options);
    }

  return g_steal_pointer (&restore);
}

static void
clear_fd (int fd)
{
  if (fd >= 0)
    close (fd);
}

void
qsnap_restore_free (QsnapRestore *restore)
{
  clear_fd (restore->snapshot_fd);
  clear_fd (restore->dir_fd);
  clear_fd (restore->log_fd);
  g_clear_pointer (&restore->serving, qsnap_serving_free);
  g_clear_pointer (&restore->qemu, qsnap_qemu_unref);
  g_clear_pointer (&restore->watch, qsnap_watch_unref);
  g_clear_pointer (&restore->image, qsnap_image_free);
  g_clear_pointer (&restore->command, qsnap_command_free);
  g_clear_pointer (&restore->manifest, json_object_unref);
  g_strfreev (restore->given_command);
  g_free (restore->given_program);
  g_array_unref (restore->disks);
  g_array_unref (restore->blocks);
  g_ptr_array_unref (restore->warnings);
  g_string_free (restore->refusals, TRUE);
  g_ptr_array_unref (restore->strings);
  qsnap_undo_free (restore->undo);
  g_object_unref (restore->session);
  g_object_unref (restore->snapshot);
  g_free (restore->path);
  g_free (restore);
}

gboolean
qsnap_restore_go_on (QsnapRestore *restore, GError **error)
{
  return !g_cancellable_set_error_if_cancelled (restore->cancellable, error);
}

gboolean
qsnap_restore_has_memory (QsnapRestore *restore)
{
  return qsnap_json_get_object (restore->manifest, "memory") != NULL;
}

gboolean
qsnap_restore_stays_paused (QsnapRestore *restore)
{
  JsonObject *guest = qsnap_json_get_object (restore->manifest, "guest");

  return restore->start_paused ||
         (qsnap_restore_has_memory (restore) &&
          g_strcmp0 (qsnap_json_get_string (guest, "run-state"), "paused") == 0);
}

static gboolean
bring_back (QsnapRestore *restore, GError **error)
{
  return qsnap_restore_go_on (restore, error) && qsnap_restore_read (restore, error) &&
         qsnap_restore_go_on (restore, error) && qsnap_restore_plan (restore, error) &&
         qsnap_restore_go_on (restore, error) && qsnap_restore_make_files (restore, error) &&
         qsnap_restore_go_on (restore, error) && qsnap_restore_start (restore, error) &&
         qsnap_restore_load (restore, error);
}

/* The first error is the one that is reported; what could not be undone is added to it. */
static void
roll_back (QsnapRestore *restore, GError **error)
{
  g_autoptr (GError) undone = NULL;
  g_autoptr (GError) first = NULL;

  if (qsnap_undo_run (restore->undo, &undone))
    return;

  first = g_steal_pointer (error);
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED,
               "%s; and it could not be undone: %s", first->message, undone->message);
}

void
qsnap_restore_note_refusal (QsnapRestore *restore, const GError *refusal)
{
  if (restore->refusals->len > 0)
    g_string_append (restore->refusals, "; ");
  g_string_append (restore->refusals, refusal->message);
}

static QsnapRestored *
describe (QsnapRestore *restore)
{
  QsnapRestored *restored = g_new0 (QsnapRestored, 1);

  if (restore->refusals->len > 0)
    g_ptr_array_add (restore->warnings,
                     g_strdup_printf ("%s: %s",
                                      restore->method == QSNAP_RESTORE_METHOD_LOAD
                                          ? "the memory is loaded"
                                          : "the memory is brought in on demand",
                                      restore->refusals->str));

  restored->qemu = qsnap_qemu_ref (restore->qemu);
  restored->directory = g_file_new_for_path (restore->path);
  restored->method = restore->method;
  g_ptr_array_add (restore->warnings, NULL);
  restored->warnings = g_strdupv ((GStrv)restore->warnings->pdata);
  restored->start_us = restore->ready - restore->began;
  restored->load_us = restore->running - restore->ready;

  return restored;
}

QsnapSession *
qsnap_restore_run (QsnapRestore *restore, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) failure = NULL;

  restore->cancellable = cancellable;
  if (bring_back (restore, &failure))
    {
      qsnap_session_set_restored (restore->session, describe (restore));
      if (restore->serving != NULL)
        qsnap_session_settle (restore->session, g_steal_pointer (&restore->serving),
                              restore->watch);
      return g_object_ref (restore->session);
    }

  roll_back (restore, &failure);
  g_propagate_prefixed_error (error, g_steal_pointer (&failure),
                              "reverting to “%s”: ", qsnap_snapshot_get_name (restore->snapshot));

  return NULL;
}

void
qsnap_restore_hold (QsnapRestore *restore)
{
  restore->held = !restore->start_paused;
  restore->start_paused = TRUE;
}

gboolean
qsnap_restore_release (QsnapRestore *restore, GError **error)
{
  g_autoptr (JsonNode) reply = NULL;

  if (!restore->held)
    return TRUE;

  restore->held = restore->start_paused = FALSE;
  if (qsnap_restore_stays_paused (restore))
    return TRUE;

  reply = qsnap_session_execute (restore->session, "cont", NULL, NULL, NULL, error);
  if (reply == NULL)
    g_prefix_error_literal (error, "starting the guest: ");

  return reply != NULL;
}

gboolean
qsnap_restore_take_back (QsnapRestore *restore, GError **error)
{
  g_autoptr (GError) failure = NULL;

  /* Where it does not end by itself the undo kills it. */
  if (!qsnap_session_quit (restore->session, NULL, &failure))
    g_debug ("taking a revert back: %s", failure->message);

  return qsnap_undo_run (restore->undo, error);
}

GStrv
qsnap_restore_build_command (QsnapRestore *restore, GError **error)
{
  if (!qsnap_restore_read (restore, error) || !qsnap_restore_plan (restore, error))
    return NULL;

  return qsnap_command_to_strv (restore->command);
}
