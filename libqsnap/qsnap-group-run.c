/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-group-run.h"

#include "qsnap-capture.h"
#include "qsnap-group-file.h"
#include "qsnap-group-folder.h"
#include "qsnap-group-private.h"
#include "qsnap-manifest.h"
#include "qsnap-operation.h"
#include "qsnap-rendezvous.h"
#include "qsnap-session-private.h"
#include "qsnap-snapshot-options-private.h"

/* Each guest's capture runs as it does alone, on a thread of its own. What makes a group of them
 * are the meetings (QsnapMeeting), where all go on together or none does, and what the last one who
 * comes does there: the folder, the proof, group.json. */

struct _QsnapGroupRun
{
  gatomicrefcount refs;
  QsnapGroup *group;
  GMainContext *context;
  char *name;
  QsnapGroupFolder *folder;
  /* QsnapGroupMember */
  GPtrArray *members;
  QsnapRendezvous *rendezvous;
  GCancellable *cancellable;
  gulong cancel_handler;

  /* NULL: news goes to the main context. */
  GAsyncQueue *queue;
  GTask *task;
  gboolean ended;

  QsnapGroupSnapshot *snapshot;
  gint n_told_point_in_time;
  gint n_told_memory_complete;
  gint n_jobs_done;
  gint n_ended;
};

/* --- begin and end ------------------------------------------------------------------------- */

static void
member_free (gpointer data)
{
  QsnapGroupMember *member = data;

  g_object_unref (member->session);
  g_object_unref (member->options);
  g_clear_object (&member->snapshot);
  g_clear_error (&member->error);
  g_free (member->id);
  g_free ((char *)member->name);
  g_free (member);
}

void
qsnap_group_run_unref (QsnapGroupRun *run)
{
  if (!g_atomic_ref_count_dec (&run->refs))
    return;

  g_object_unref (run->group);
  g_main_context_unref (run->context);
  g_free (run->name);
  g_clear_pointer (&run->folder, qsnap_group_folder_free);
  g_ptr_array_unref (run->members);
  g_clear_pointer (&run->rendezvous, qsnap_rendezvous_free);
  g_clear_object (&run->cancellable);
  g_clear_pointer (&run->queue, g_async_queue_unref);
  g_clear_object (&run->task);
  g_clear_object (&run->snapshot);
  g_free (run);
}

static QsnapGroupRun *
run_ref (QsnapGroupRun *run)
{
  g_atomic_ref_count_inc (&run->refs);

  return run;
}

static QsnapGroupMember *
member_of (QsnapGroupRun *run, guint index)
{
  return g_ptr_array_index (run->members, index);
}

/* --- options ------------------------------------------------------------------------------- */

static gboolean
check_common_options (QsnapSnapshotOptions *options, GError **error)
{
  if (qsnap_snapshot_options_get_quiesce (options) == NULL)
    return TRUE;

  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                       "quiesce: an agent is one guest's; give it with the options of that guest");

  return FALSE;
}

static gboolean
check_options (QsnapSnapshotOptions *options, const char *name, GError **error)
{
  if (qsnap_snapshot_options_get_max_chain_length (options) > 0)
    {
      g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                   "guest %s: max-chain-length: a guest's snapshot in a group is in a folder of its "
                   "own, where none is that it came from",
                   name);
      return FALSE;
    }

  if (qsnap_snapshot_options_get_mode (options) != QSNAP_SNAPSHOT_MODE_LIVE &&
      qsnap_snapshot_options_get_fallback (options) != QSNAP_SNAPSHOT_MODE_LIVE)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "guest %s: mode live is not for groups: QEMU stops such a guest when its memory is "
               "nearly saved, and not when the others stop",
               name);

  return FALSE;
}

/* Of guests on another host the clock cannot be compared. */
static gboolean
check_address (QsnapSession *session, const char *name, GError **error)
{
  const char *address = qsnap_session_get_address (session);

  if (address == NULL || !g_str_has_prefix (address, "tcp:"))
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "guest %s: its monitor is reached by TCP: that all guests of a group stood still at "
               "one instant is proven by the clock of this host; use a Unix socket",
               name);

  return FALSE;
}

static QsnapSnapshotOptions *
options_of_guest (QsnapSnapshotOptions *common,
                  QsnapSnapshotOptions *own,
                  const char *path,
                  const char *name)
{
  QsnapSnapshotOptions *options = qsnap_snapshot_options_copy (own != NULL ? own : common);
  g_autofree char *below = g_build_filename (path, name, NULL);
  g_autoptr (GFile) directory = g_file_new_for_path (below);

  qsnap_snapshot_options_set_directory (options, directory);

  return options;
}

static gboolean
add_member (QsnapGroupRun *run,
            QsnapSession *session,
            const char *name,
            QsnapSnapshotOptions *options,
            GError **error)
{
  QsnapGroupMember *member = g_new0 (QsnapGroupMember, 1);

  member->run = run;
  member->index = run->members->len;
  member->name = g_strdup (name);
  member->session = g_object_ref (session);
  member->options = options;
  g_ptr_array_add (run->members, member);

  return check_options (options, name, error) && check_address (session, name, error);
}

static gboolean
choose_folder (QsnapGroupRun *run,
               QsnapSnapshotOptions *options,
               const char *const *names,
               GError **error)
{
  GFile *directory = qsnap_snapshot_options_get_directory (options);
  const char *name = qsnap_snapshot_options_get_name (options);
  g_autofree char *given = directory != NULL ? g_file_get_path (directory) : NULL;
  g_autofree char *path = given != NULL ? g_canonicalize_filename (given, NULL) : NULL;

  if (path == NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "the options name no local directory for the group's snapshots");
      return FALSE;
    }

  run->name = name != NULL ? g_strdup (name) : g_path_get_basename (path);
  if (qsnap_name_problem (run->name) != NULL)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "the group's name, or its directory's, cannot be the name of a snapshot");
      return FALSE;
    }
  run->folder = qsnap_group_folder_new (path, run->name, names);

  return TRUE;
}

QsnapGroupRun *
qsnap_group_run_new (QsnapGroup *group,
                     GMainContext *context,
                     GPtrArray *sessions,
                     const char *const *names,
                     GPtrArray *options_of_guests,
                     QsnapSnapshotOptions *options,
                     GError **error)
{
  g_autoptr (QsnapGroupRun) run = g_new0 (QsnapGroupRun, 1);

  g_atomic_ref_count_init (&run->refs);
  run->group = g_object_ref (group);
  run->context = g_main_context_ref (context);
  run->members = g_ptr_array_new_with_free_func (member_free);
  run->rendezvous = qsnap_rendezvous_new (names);
  if (sessions->len == 0)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                           "there is no guest in the group");
      return NULL;
    }
  if (!check_common_options (options, error) || !choose_folder (run, options, names, error))
    return NULL;

  for (guint i = 0; i < sessions->len; i++)
    if (!add_member (run, sessions->pdata[i], names[i],
                     options_of_guest (options, options_of_guests->pdata[i],
                                       qsnap_group_folder_get_path (run->folder), names[i]),
                     error))
      return NULL;

  return g_steal_pointer (&run);
}

/* --- news ---------------------------------------------------------------------------------- */

static void
tell (QsnapGroupRun *run, void (*func) (gpointer run))
{
  if (run->queue != NULL)
    qsnap_operation_queue_push (run->queue, func, run_ref (run),
                                (GDestroyNotify)qsnap_group_run_unref);
  else
    qsnap_group_post (run->context, func, run_ref (run), (GDestroyNotify)qsnap_group_run_unref);
}

static void
tell_point_in_time (gpointer data)
{
  QsnapGroupRun *run = data;

  qsnap_group_emit_point_in_time (run->group, run->snapshot);
}

static void
tell_memory_complete (gpointer data)
{
  QsnapGroupRun *run = data;

  g_object_notify (G_OBJECT (run->snapshot), "sealed");
  qsnap_group_emit_memory_complete (run->group, run->snapshot);
}

static gboolean
is_last (QsnapGroupRun *run, gint *counter)
{
  return g_atomic_int_add (counter, 1) + 1 == (gint)run->members->len;
}

static void
make_snapshot (QsnapGroupRun *run)
{
  g_autoptr (GListStore) snapshots = g_list_store_new (QSNAP_TYPE_SNAPSHOT);

  for (guint i = 0; i < run->members->len; i++)
    g_list_store_append (snapshots, member_of (run, i)->snapshot);
  run->snapshot = qsnap_group_snapshot_new (qsnap_group_folder_get_path (run->folder),
                                            qsnap_group_folder_get_json (run->folder),
                                            G_LIST_MODEL (snapshots), FALSE);
}

void
qsnap_group_member_told_point_in_time (QsnapGroupMember *member, QsnapSnapshot *snapshot)
{
  QsnapGroupRun *run = member->run;

  member->snapshot = g_object_ref (snapshot);
  if (!is_last (run, &run->n_told_point_in_time))
    return;

  make_snapshot (run);
  tell (run, tell_point_in_time);
}

void
qsnap_group_member_told_memory_complete (QsnapGroupMember *member)
{
  QsnapGroupRun *run = member->run;

  if (!is_last (run, &run->n_told_memory_complete))
    return;

  qsnap_group_snapshot_set_sealed (run->snapshot, TRUE);
  tell (run, tell_memory_complete);
}

/* --- meetings ------------------------------------------------------------------------------ */

static gboolean
make_folder (gpointer data, GError **error)
{
  QsnapGroupRun *run = data;

  return qsnap_group_folder_make (run->folder, error);
}

/* Each guest stood still from its own STOP to its own RESUME; the others' lie in between. */
static gboolean
prove_common_instant (gpointer data, GError **error)
{
  QsnapGroupRun *run = data;
  gint64 first_stop = G_MAXINT64, last_stop = 0, first_resume = G_MAXINT64;

  for (guint i = 0; i < run->members->len; i++)
    {
      QsnapGroupMember *member = member_of (run, i);

      last_stop = MAX (last_stop, member->stopped);
      if (member->stopped > 0)
        first_stop = MIN (first_stop, member->stopped);
      if (member->resumed > 0)
        first_resume = MIN (first_resume, member->resumed);
      qsnap_group_folder_note_snapshot (run->folder, i, member->id);
    }

  if (last_stop >= first_resume)
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_INTERFERED,
                           "a guest went on before all of them had stopped: there is no instant at "
                           "which all stood still; try again");
      return FALSE;
    }

  return qsnap_group_folder_note_times (run->folder, first_stop, last_stop, first_resume, error);
}

static gboolean
write_group (gpointer data, GError **error)
{
  QsnapGroupRun *run = data;

  return qsnap_group_folder_seal (run->folder, error);
}

gboolean
qsnap_group_member_meet (QsnapGroupMember *member,
                         QsnapMeeting meeting,
                         gint timeout_ms,
                         GError **error)
{
  static const struct
  {
    const char *what;
    QsnapRendezvousFunc last;
  } meetings[] = {
    [QSNAP_MEETING_BEGUN] = { "begin", make_folder },
    [QSNAP_MEETING_PREPARED] = { "be prepared", NULL },
    [QSNAP_MEETING_READY] = { "be ready to stop", NULL },
    [QSNAP_MEETING_STOPPED] = { "stop and have its disks snapshotted", NULL },
    [QSNAP_MEETING_PROVEN] = { "go on", prove_common_instant },
    [QSNAP_MEETING_SAVED] = { "be saved", NULL },
    [QSNAP_MEETING_SEALED] = { "be sealed", write_group },
  };
  QsnapGroupRun *run = member->run;

  return qsnap_rendezvous_meet (run->rendezvous, member->index, meetings[meeting].what, timeout_ms,
                                meetings[meeting].last, run, error);
}

void
qsnap_group_member_fail (QsnapGroupMember *member, const GError *error)
{
  qsnap_rendezvous_fail (member->run->rendezvous, member->index, error);
}

/* --- the jobs ------------------------------------------------------------------------------ */

static gpointer
capture_job (QsnapOperation *operation, gpointer data, GCancellable *cancellable, GError **error)
{
  QsnapGroupMember *member = data;
  QsnapGroupRun *run = member->run;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  if (qsnap_group_member_meet (member, QSNAP_MEETING_BEGUN, 0, &member->error))
    snapshot = qsnap_capture_run (operation, member->options, member, cancellable, &member->error);
  if (snapshot == NULL)
    qsnap_group_member_fail (member, member->error);

  if (is_last (run, &run->n_jobs_done))
    qsnap_group_folder_leave (run->folder);

  return NULL;
}

/* What could not be undone comes first: somebody has to look after it. */
static GError *
join_failures (QsnapGroupRun *run)
{
  g_autoptr (GString) left = g_string_new (NULL);

  for (guint i = 0; i < run->members->len; i++)
    {
      QsnapGroupMember *member = member_of (run, i);

      if (g_error_matches (member->error, QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED))
        g_string_append_printf (left, "%sguest %s: %s", left->len > 0 ? "; " : "", member->name,
                                member->error->message);
    }
  if (left->len == 0)
    return qsnap_rendezvous_dup_error (run->rendezvous);

  return g_error_new_literal (QSNAP_ERROR, QSNAP_ERROR_ROLLBACK_FAILED, left->str);
}

/* What failed after the seal is an error, too; a late cancellation is none. */
static GError *
find_failure (QsnapGroupRun *run)
{
  gboolean all_well = run->snapshot != NULL && qsnap_group_snapshot_get_sealed (run->snapshot);

  for (guint i = 0; i < run->members->len; i++)
    all_well = all_well && member_of (run, i)->error == NULL;

  return all_well ? NULL : join_failures (run);
}

static void
finish (gpointer data)
{
  QsnapGroupRun *run = data;
  GError *failure;

  g_cancellable_disconnect (run->cancellable, run->cancel_handler);
  run->ended = TRUE;
  if (run->task == NULL)
    return;

  failure = find_failure (run);
  if (failure != NULL)
    g_task_return_error (run->task, failure);
  else
    g_task_return_pointer (run->task, g_object_ref (run->snapshot), g_object_unref);
}

/* In the thread that emits; sessions may have different ones. */
static void
one_ended (gpointer data)
{
  QsnapGroupMember *member = data;
  QsnapGroupRun *run = member->run;

  if (is_last (run, &run->n_ended))
    tell (run, finish);
  qsnap_group_run_unref (run);
}

static gboolean
begin_sessions (QsnapGroupRun *run, GError **error)
{
  for (guint i = 0; i < run->members->len; i++)
    if (!qsnap_session_begin (member_of (run, i)->session, "instant-snapshot", error))
      {
        g_prefix_error (error, "guest %s: ", member_of (run, i)->name);
        while (i-- > 0)
          qsnap_session_end (member_of (run, i)->session);
        return FALSE;
      }

  return TRUE;
}

static gboolean
start (QsnapGroupRun *run, GCancellable *cancellable, GError **error)
{
  if (g_cancellable_set_error_if_cancelled (cancellable, error) || !begin_sessions (run, error))
    return FALSE;

  g_set_object (&run->cancellable, cancellable);
  run->cancel_handler = qsnap_rendezvous_follow (run->rendezvous, cancellable);
  for (guint i = 0; i < run->members->len; i++)
    {
      run_ref (run);
      qsnap_operation_start_one (member_of (run, i)->session, capture_job, member_of (run, i),
                                 qsnap_rendezvous_get_cancellable (run->rendezvous), run->queue,
                                 one_ended);
    }

  return TRUE;
}

QsnapGroupSnapshot *
qsnap_group_run_wait (QsnapGroupRun *run, GCancellable *cancellable, GError **error)
{
  GError *failure;

  run->queue = qsnap_operation_queue_new ();
  if (!start (run, cancellable, error))
    return NULL;

  while (!run->ended)
    qsnap_operation_queue_run_next (run->queue);

  failure = find_failure (run);
  if (failure == NULL)
    return g_object_ref (run->snapshot);
  g_propagate_error (error, failure);

  return NULL;
}

void
qsnap_group_run_start (QsnapGroupRun *run, GTask *task)
{
  GError *error = NULL;

  /* A group that was sealed is a success, even if it is cancelled before the callback runs. */
  g_task_set_check_cancellable (task, FALSE);
  run->task = task;
  if (!start (run, g_task_get_cancellable (task), &error))
    g_task_return_error (task, error);
}
