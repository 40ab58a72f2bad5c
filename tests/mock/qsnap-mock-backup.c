/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: the job of blockdev-backup. It copies in pieces, and holds both nodes meanwhile. */

#include "qsnap-mock-graph.h"
#include "qsnap-mock-jobs.h"

#include <errno.h>
#include <unistd.h>

#define N_PIECES 4

static MockNode *
check_node (MockQemu *mock, const char *name, GError **error)
{
  MockNode *node = mock_graph_find_root (mock, name);

  if (node == NULL)
    mock_fail (error, "Cannot find device='%s' nor node-name='%s'", name, name);
  else if (node->job != NULL)
    mock_fail (error, "Node '%s' is busy: block device is in use by block job: backup", name);
  else
    return node;
  return NULL;
}

static gboolean
check_action (
    MockQemu *mock, JsonObject *data, MockNode **source, MockNode **target, GError **error)
{
  *source = check_node (mock, mock_arg_string (data, "device"), error);
  *target = *source != NULL ? check_node (mock, mock_arg_string (data, "target"), error) : NULL;
  if (*target == NULL)
    return FALSE;
  if (*source == *target)
    mock_fail (error, "Source and target cannot be the same");
  else if (mock_graph_is_drive_root (mock, (*target)->name))
    mock_fail (error, "Conflicts with use by a block device as 'root'");
  else if ((*target)->read_only)
    mock_fail (error, "Block node is read-only");
  else
    return TRUE;
  return FALSE;
}

static void
set_node_job (MockQemu *mock, const char *name, const char *id)
{
  MockNode *node = mock_graph_find (mock, name);

  if (node == NULL)
    return;
  g_free (node->job);
  node->job = g_strdup (id);
}

gpointer
mock_backup_prepare (MockQemu *mock, JsonObject *data, GError **error)
{
  MockNode *source, *target;
  MockJob *job;

  if (!check_action (mock, data, &source, &target, error))
    return NULL;
  job = mock_job_new (mock, mock_arg_string (data, "job-id"), "backup", error);
  if (job == NULL)
    return NULL;
  job->top = g_strdup (source->name);
  job->base = g_strdup (target->name);
  job->total = source->size;
  job->auto_dismiss = mock_arg_bool (data, "auto-dismiss", TRUE);
  job->auto_finalize = mock_arg_bool (data, "auto-finalize", TRUE);
  set_node_job (mock, job->top, job->id);
  set_node_job (mock, job->base, job->id);
  return g_strdup (job->id);
}

void
mock_backup_leave_nodes (MockQemu *mock, MockJob *job)
{
  set_node_job (mock, job->top, NULL);
  set_node_job (mock, job->base, NULL);
}

void
mock_backup_end (MockQemu *mock, MockJob *job, const char *event)
{
  mock_backup_leave_nodes (mock, job);
  mock_job_event (mock, job, event);
  mock_job_set_status (mock, job, "concluded");
  if (job->auto_dismiss)
    mock_job_dismiss (mock, job);
  mock_graph_collect (mock);
}

/* A qcow2 target only looks like one; what is raw gets the image's bytes. */
static gboolean
copy_bytes (MockQemu *mock, MockJob *job)
{
  MockNode *source = mock_graph_find (mock, job->top);
  MockNode *target = mock_graph_find (mock, job->base);
  MockNode *from = source->file != NULL ? mock_graph_find (mock, source->file) : source;
  g_autofree guint8 *bytes = g_malloc ((gsize)job->total);
  gssize n;

  if (target->file != NULL)
    return TRUE;
  n = pread (from->fd, bytes, (gsize)job->total, 0);
  return n >= 0 && pwrite (target->fd, bytes, (gsize)n, 0) == n;
}

static gboolean
is_held (MockQemu *mock, MockJob *job)
{
  const char *node = mock->jobs->held_node;

  return mock->jobs->held && job->done >= job->total / 2 && job->error == NULL &&
         (node == NULL || g_str_equal (job->top, node));
}

static void
advance (MockQemu *mock, gpointer data)
{
  MockJob *job = mock_job_find (mock, data);

  if (job == NULL || !g_str_equal (job->status, "running"))
    return;
  if (is_held (mock, job))
    {
      mock_job_go_on (mock, job, advance);
      return;
    }
  if (job->done >= job->total / 2 && job->error != NULL)
    {
      mock_job_set_status (mock, job, "aborting");
      mock_backup_end (mock, job, "BLOCK_JOB_COMPLETED");
      return;
    }
  job->done = MIN (job->done + MAX (job->total / N_PIECES, 1), job->total);
  if (job->done < job->total)
    {
      mock_job_go_on (mock, job, advance);
      return;
    }
  if (!copy_bytes (mock, job))
    mock_complain (mock, "the mock's backup: %s", g_strerror (errno));
  mock_job_become_pending (mock, job);
}

void
mock_backup_begin (MockQemu *mock, gpointer id)
{
  MockJob *job = mock_job_find (mock, id);

  mock_job_set_status (mock, job, "running");
  mock_job_go_on (mock, job, advance);
}

void
mock_backup_abort (MockQemu *mock, gpointer id)
{
  MockJob *job = mock_job_find (mock, id);

  mock_backup_leave_nodes (mock, job);
  mock_job_set_status (mock, job, "aborting");
  mock_job_set_status (mock, job, "concluded");
  mock_job_dismiss (mock, job);
}

static void
set_held (MockQemu *mock, gpointer node)
{
  mock->jobs->held = TRUE;
  g_free (mock->jobs->held_node);
  mock->jobs->held_node = g_strdup (node);
}

void
mock_hold_backups (MockQemu *mock, const char *node)
{
  mock_call (mock, set_held, (gpointer)node);
}

static void
release (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  mock->jobs->held = FALSE;
}

void
mock_release_backups (MockQemu *mock)
{
  mock_call (mock, release, NULL);
}
