/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: jobs. blockdev-create and block-commit, with QEMU's events in QEMU's order. */

#include "qsnap-mock-graph.h"
#include "qsnap-mock-jobs.h"

static void
job_free (gpointer data)
{
  MockJob *job = data;

  g_free (job->id);
  g_free (job->error);
  g_clear_pointer (&job->options, json_object_unref);
  g_free (job->top);
  g_free (job->base);
  g_free (job->backing_file);
  g_free (job);
}

MockJobs *
mock_jobs_new (void)
{
  MockJobs *jobs = g_new0 (MockJobs, 1);

  jobs->all = g_ptr_array_new_with_free_func (job_free);
  return jobs;
}

void
mock_jobs_free (MockJobs *jobs)
{
  g_ptr_array_unref (jobs->all);
  g_free (jobs->fail_type);
  g_free (jobs->fail_desc);
  g_free (jobs->held_node);
  g_free (jobs);
}

MockJob *
mock_job_find (MockQemu *mock, const char *id)
{
  for (guint i = 0; i < mock->jobs->all->len; i++)
    {
      MockJob *job = g_ptr_array_index (mock->jobs->all, i);

      if (g_str_equal (job->id, id))
        return job;
    }
  return NULL;
}

gboolean
mock_jobs_filters (MockQemu *mock, const char *node)
{
  MockNode *found = mock_graph_find (mock, node);
  MockJob *job = found != NULL && found->job != NULL ? mock_job_find (mock, found->job) : NULL;

  return job != NULL && g_str_equal (job->type, "backup") && g_str_equal (job->top, node);
}

gboolean
mock_jobs_has_backup (MockQemu *mock)
{
  for (guint i = 0; i < mock->jobs->all->len; i++)
    {
      MockJob *job = g_ptr_array_index (mock->jobs->all, i);

      if (g_str_equal (job->type, "backup") && !g_str_equal (job->status, "concluded"))
        return TRUE;
    }
  return FALSE;
}

gboolean
mock_jobs_uses (MockQemu *mock, const char *node, const char **job_type)
{
  MockNode *found = mock_graph_find (mock, node);
  MockJob *job = found != NULL && found->job != NULL ? mock_job_find (mock, found->job) : NULL;

  if (job == NULL)
    return FALSE;
  *job_type = job->type;
  return TRUE;
}

void
mock_job_set_status (MockQemu *mock, MockJob *job, const char *status)
{
  JsonObject *data = json_object_new ();

  job->status = status;
  json_object_set_string_member (data, "status", status);
  json_object_set_string_member (data, "id", job->id);
  mock_event (mock, "JOB_STATUS_CHANGE", data);
}

void
mock_job_event (MockQemu *mock, MockJob *job, const char *name)
{
  JsonObject *data = json_object_new ();

  json_object_set_string_member (data, "device", job->id);
  json_object_set_int_member (data, "len", job->total);
  json_object_set_int_member (data, "offset", job->done);
  json_object_set_int_member (data, "speed", 0);
  json_object_set_string_member (data, "type", job->type);
  if (job->error != NULL && g_str_equal (name, "BLOCK_JOB_COMPLETED"))
    json_object_set_string_member (data, "error", job->error);
  mock_event (mock, name, data);
}

void
mock_job_dismiss (MockQemu *mock, MockJob *job)
{
  mock_job_set_status (mock, job, "null");
  g_ptr_array_remove (mock->jobs->all, job);
}

void
mock_job_go_on (MockQemu *mock, MockJob *job, MockCall next)
{
  mock_later (mock, mock->jobs->delay, next, g_strdup (job->id), g_free);
}

MockJob *
mock_job_new (MockQemu *mock, const char *id, const char *type, GError **error)
{
  g_autofree char *auto_id = NULL;
  MockJob *job;

  if (id == NULL)
    id = auto_id = g_strdup_printf ("#job%u", mock->jobs->n_auto_ids++);
  if (mock_job_find (mock, id) != NULL)
    {
      mock_fail (error, "Job ID '%s' already in use", id);
      return NULL;
    }
  job = g_new0 (MockJob, 1);
  job->id = g_strdup (id);
  job->type = type;
  job->status = "undefined";
  g_ptr_array_add (mock->jobs->all, job);
  if (g_strcmp0 (mock->jobs->fail_type, type) == 0)
    {
      job->error = g_steal_pointer (&mock->jobs->fail_desc);
      g_clear_pointer (&mock->jobs->fail_type, g_free);
    }
  mock_job_set_status (mock, job, "created");
  return job;
}

static MockJob *
start_job (MockQemu *mock, const char *id, const char *type, GError **error)
{
  MockJob *job = mock_job_new (mock, id, type, error);

  if (job != NULL)
    mock_job_set_status (mock, job, "running");
  return job;
}

/* --- create --- */

static gboolean
create_image (MockQemu *mock, JsonObject *options, GError **error)
{
  const char *driver = mock_arg_string (options, "driver");
  MockNode *file;

  if (g_str_equal (driver, "file"))
    return g_file_set_contents (mock_arg_string (options, "filename"), "", 0, error);
  if (!g_str_equal (driver, "qcow2"))
    {
      mock_complain (mock, "the mock creates qcow2 images only, not %s", driver);
      mock_fail (error, "The mock cannot create %s", driver);
      return FALSE;
    }
  file = mock_graph_resolve (mock, json_object_get_member (options, "file"), error);
  return file != NULL && mock_graph_write_qcow2 (file, mock_arg_int (options, "size", 0),
                                                 mock_arg_string (options, "backing-file"),
                                                 mock_arg_string (options, "backing-fmt"), error);
}

static void
finish_create (MockQemu *mock, gpointer data)
{
  MockJob *job = mock_job_find (mock, data);
  g_autoptr (GError) error = NULL;

  if (job == NULL || !g_str_equal (job->status, "running"))
    return;
  if (job->error == NULL && !create_image (mock, job->options, &error))
    job->error = g_strdup (error->message);
  if (job->error == NULL)
    {
      mock_job_set_status (mock, job, "waiting");
      mock_job_set_status (mock, job, "pending");
    }
  else
    mock_job_set_status (mock, job, "aborting");
  mock_job_set_status (mock, job, "concluded");
}

static JsonNode *
blockdev_create (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockJob *job = start_job (mock, mock_arg_string (arguments, "job-id"), "create", error);

  if (job == NULL)
    return NULL;
  job->options = json_object_ref (json_object_get_object_member (arguments, "options"));
  mock_job_go_on (mock, job, finish_create);
  return mock_empty ();
}

/* --- commit --- */

static void
mark_nodes (MockQemu *mock, MockJob *job, gboolean in_use)
{
  MockNode *node = mock_graph_find (mock, job->top);

  for (; node != NULL; node = mock_graph_find (mock, node->backing))
    {
      g_free (node->job);
      node->job = in_use ? g_strdup (job->id) : NULL;
      if (g_str_equal (node->name, job->base))
        break;
    }
}

/* Of what stands on @top. */
static void
rewrite_headers (MockQemu *mock, MockJob *job, MockNode *base)
{
  for (GList *l = mock->graph->nodes; l != NULL; l = l->next)
    {
      MockNode *node = l->data;
      MockNode *file = mock_graph_find (mock, node->file);
      MockQcow2 header;

      if (g_strcmp0 (node->backing, job->top) == 0 && mock_qcow2_read (file, &header))
        mock_graph_write_qcow2 (file, header.size,
                                job->backing_file != NULL ? job->backing_file : base->filename,
                                base->driver, NULL);
    }
}

/* Everything above @top sits on @base afterwards. An active commit leaves the overlay as it was,
 * backing and all. */
static void
pivot (MockQemu *mock, MockJob *job)
{
  MockNode *base = mock_graph_find (mock, job->base);
  MockNode *file = mock_graph_find (mock, base->file);

  if (!job->active)
    rewrite_headers (mock, job, base);
  mock_graph_replace (mock, job->top, job->base, NULL);
  if (job->active)
    {
      base->read_only = FALSE;
      if (file != NULL)
        file->read_only = FALSE;
    }
}

static void
end_commit (MockQemu *mock, MockJob *job, const char *event)
{
  mock_job_event (mock, job, event);
  mock_job_set_status (mock, job, "concluded");
  if (job->auto_dismiss)
    mock_job_dismiss (mock, job);
  mock_graph_collect (mock);
}

static void
finalize (MockQemu *mock, gpointer data)
{
  MockJob *job = mock_job_find (mock, data);

  if (job == NULL || !g_str_equal (job->status, "pending"))
    return;
  if (g_str_equal (job->type, "backup"))
    {
      mock_backup_end (mock, job, "BLOCK_JOB_COMPLETED");
      return;
    }
  mark_nodes (mock, job, FALSE);
  pivot (mock, job);
  end_commit (mock, job, "BLOCK_JOB_COMPLETED");
}

static void
pending_event (MockQemu *mock, MockJob *job)
{
  JsonObject *data = json_object_new ();

  json_object_set_string_member (data, "id", job->id);
  json_object_set_string_member (data, "type", job->type);
  mock_event (mock, "BLOCK_JOB_PENDING", data);
}

void
mock_job_become_pending (MockQemu *mock, MockJob *job)
{
  mock_job_set_status (mock, job, "waiting");
  mock_job_set_status (mock, job, "pending");
  if (job->auto_finalize)
    finalize (mock, job->id);
  else
    pending_event (mock, job);
}

static void
finish_commit (MockQemu *mock, gpointer data)
{
  MockJob *job = mock_job_find (mock, data);

  if (job == NULL)
    return;
  if (job->error != NULL)
    {
      mark_nodes (mock, job, FALSE);
      mock_job_set_status (mock, job, "aborting");
      end_commit (mock, job, "BLOCK_JOB_COMPLETED");
      return;
    }
  mock_job_become_pending (mock, job);
}

static void
ready_commit (MockQemu *mock, gpointer data)
{
  MockJob *job = mock_job_find (mock, data);

  if (job == NULL || !g_str_equal (job->status, "running"))
    return;
  if (!job->active || job->error != NULL)
    {
      finish_commit (mock, data);
      return;
    }
  mock_job_set_status (mock, job, "ready");
  mock_job_event (mock, job, "BLOCK_JOB_READY");
}

/* A node named by one of two arguments, by its name or by its file's. */
static MockNode *
find_in_chain (
    MockQemu *mock, MockNode *root, JsonObject *arguments, const char *by_node, const char *by_file)
{
  const char *name = mock_arg_string (arguments, by_node);
  const char *file = mock_arg_string (arguments, by_file);

  for (MockNode *node = root; node != NULL; node = mock_graph_find (mock, node->backing))
    {
      if ((name != NULL && g_str_equal (node->name, name)) ||
          (file != NULL && g_str_equal (node->filename, file)))
        return node;
    }
  return NULL;
}

static MockNode *
lowest (MockQemu *mock, MockNode *node)
{
  while (node->backing != NULL)
    node = mock_graph_find (mock, node->backing);
  return node;
}

/* Fills in top and base; by default the whole chain below the root. */
static gboolean
choose_nodes (MockQemu *mock,
              MockNode *root,
              JsonObject *arguments,
              MockNode **top,
              MockNode **base,
              GError **error)
{
  *top = root;
  *base = lowest (mock, root);
  if (json_object_has_member (arguments, "top-node") || json_object_has_member (arguments, "top"))
    *top = find_in_chain (mock, root, arguments, "top-node", "top");
  if (json_object_has_member (arguments, "base-node") || json_object_has_member (arguments, "base"))
    *base = find_in_chain (mock, root, arguments, "base-node", "base");
  if (*top == NULL || *base == NULL)
    mock_fail (error, "'%s' is not in this backing file chain", *top == NULL ? "top" : "base");
  else if (*top == *base)
    mock_fail (error, "cannot commit an image into itself");
  else if ((*top)->job != NULL || (*base)->job != NULL)
    mock_fail (error, "Node '%s' is busy: block device is in use by block job: commit",
               (*top)->name);
  else
    return TRUE;
  return FALSE;
}

static JsonNode *
block_commit (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *device = mock_arg_string (arguments, "device");
  const char *id = mock_arg_string (arguments, "job-id");
  MockNode *root = mock_graph_find_root (mock, device);
  MockNode *top, *base;
  MockJob *job;

  if (root == NULL)
    {
      g_set_error (error, MOCK_ERROR, MOCK_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
      return NULL;
    }
  /* While it is committed, a filter of the job's own is the root above the node. */
  if (!mock_graph_is_drive_root (mock, root->name) ||
      (root->job != NULL && g_str_equal (device, root->name)))
    return mock_fail (error, "Need a root block node");
  if (!mock_graph_is_active (mock, error) ||
      !choose_nodes (mock, root, arguments, &top, &base, error))
    return NULL;
  job = start_job (mock, id != NULL ? id : device, "commit", error);
  if (job == NULL)
    return NULL;
  job->top = g_strdup (top->name);
  job->base = g_strdup (base->name);
  job->active = top == root;
  job->backing_file = g_strdup (mock_arg_string (arguments, "backing-file"));
  job->auto_dismiss = mock_arg_bool (arguments, "auto-dismiss", TRUE);
  job->auto_finalize = mock_arg_bool (arguments, "auto-finalize", TRUE);
  mark_nodes (mock, job, TRUE);
  mock_job_go_on (mock, job, ready_commit);
  return mock_empty ();
}

/* --- control --- */

static MockJob *
job_argument (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *device = mock_arg_string (arguments, "device");
  const char *id = device != NULL ? device : mock_arg_string (arguments, "id");
  MockJob *job = mock_job_find (mock, id);

  if (job == NULL && device != NULL)
    g_set_error (error, MOCK_ERROR, MOCK_ERROR_DEVICE_NOT_ACTIVE, "Block job '%s' not found",
                 device);
  else if (job == NULL)
    mock_fail (error, "Job not found");
  return job;
}

static JsonNode *
job_complete (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockJob *job = job_argument (mock, arguments, error);

  if (job == NULL)
    return NULL;
  if (!g_str_equal (job->status, "ready"))
    return mock_fail (error, "Job '%s' in state '%s' cannot accept command verb 'complete'",
                      job->id, job->status);
  mock_job_go_on (mock, job, finish_commit);
  return mock_empty ();
}

static JsonNode *
job_finalize (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockJob *job = job_argument (mock, arguments, error);

  if (job == NULL)
    return NULL;
  if (!g_str_equal (job->status, "pending"))
    return mock_fail (error, "Job '%s' in state '%s' cannot accept command verb 'finalize'",
                      job->id, job->status);
  mock_job_go_on (mock, job, finalize);
  return mock_empty ();
}

static JsonNode *
job_dismiss (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockJob *job = job_argument (mock, arguments, error);

  if (job == NULL)
    return NULL;
  if (!g_str_equal (job->status, "concluded"))
    return mock_fail (error, "Job '%s' in state '%s' cannot accept command verb 'dismiss'", job->id,
                      job->status);
  mock_job_dismiss (mock, job);
  return mock_empty ();
}

static void
finish_cancel (MockQemu *mock, gpointer data)
{
  MockJob *job = mock_job_find (mock, data);

  if (job == NULL || g_str_equal (job->status, "concluded"))
    return;
  g_free (job->error);
  job->error = g_strdup ("Operation canceled");
  mock_job_set_status (mock, job, "aborting");
  if (g_str_equal (job->type, "commit"))
    {
      mark_nodes (mock, job, FALSE);
      end_commit (mock, job, "BLOCK_JOB_CANCELLED");
    }
  else if (g_str_equal (job->type, "backup"))
    mock_backup_end (mock, job, "BLOCK_JOB_CANCELLED");
  else
    mock_job_set_status (mock, job, "concluded");
}

static JsonNode *
job_cancel (MockQemu *mock, JsonObject *arguments, GError **error)
{
  MockJob *job = job_argument (mock, arguments, error);

  if (job == NULL)
    return NULL;
  if (g_str_equal (job->status, "concluded"))
    return mock_fail (error, "Job '%s' in state '%s' cannot accept command verb 'cancel'", job->id,
                      job->status);
  mock_job_go_on (mock, job, finish_cancel);
  return mock_empty ();
}

static JsonNode *
query_jobs (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_json ("[]");

  for (guint i = 0; i < mock->jobs->all->len; i++)
    {
      MockJob *job = g_ptr_array_index (mock->jobs->all, i);
      JsonObject *info = json_object_new ();

      json_object_set_string_member (info, "id", job->id);
      json_object_set_string_member (info, "type", job->type);
      json_object_set_string_member (info, "status", job->status);
      json_object_set_int_member (info, "current-progress", job->done);
      json_object_set_int_member (info, "total-progress", job->total);
      if (job->error != NULL)
        json_object_set_string_member (info, "error", job->error);
      json_array_add_object_element (json_node_get_array (result), info);
    }
  return result;
}

static JsonNode *
query_block_jobs (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_json ("[]");

  for (guint i = 0; i < mock->jobs->all->len; i++)
    {
      MockJob *job = g_ptr_array_index (mock->jobs->all, i);
      JsonNode *info = mock_json (
          "{\"auto-finalize\": true, \"io-status\": \"ok\", \"busy\": false, \"len\": 0, "
          "\"offset\": 0, \"paused\": false, \"speed\": 0}");
      JsonObject *object = json_node_get_object (info);

      if (g_str_equal (job->type, "create"))
        {
          json_node_unref (info);
          continue;
        }
      json_object_set_string_member (object, "device", job->id);
      json_object_set_boolean_member (object, "auto-dismiss", job->auto_dismiss);
      json_object_set_string_member (object, "status", job->status);
      json_object_set_boolean_member (object, "ready", g_str_equal (job->status, "ready"));
      json_object_set_string_member (object, "type", job->type);
      json_array_add_element (json_node_get_array (result), info);
    }
  return result;
}

const MockCommand mock_jobs_commands[] = {
  { "blockdev-create", blockdev_create },   { "block-commit", block_commit },
  { "block-job-cancel", job_cancel },       { "job-cancel", job_cancel },
  { "job-complete", job_complete },         { "job-dismiss", job_dismiss },
  { "job-finalize", job_finalize },         { "query-jobs", query_jobs },
  { "query-block-jobs", query_block_jobs }, { NULL, NULL },
};

/* --- what tests see and set --- */

static void
count_jobs (MockQemu *mock, gpointer data)
{
  *(guint *)data = mock->jobs->all->len;
}

guint
mock_get_n_jobs (MockQemu *mock)
{
  guint n = 0;

  mock_call (mock, count_jobs, &n);
  return n;
}

static void
set_job_delay (MockQemu *mock, gpointer data)
{
  mock->jobs->delay = GPOINTER_TO_UINT (data);
}

void
mock_set_job_delay (MockQemu *mock, guint milliseconds)
{
  mock_call (mock, set_job_delay, GUINT_TO_POINTER (milliseconds));
}

static void
set_job_failure (MockQemu *mock, gpointer data)
{
  const char **texts = data;

  g_free (mock->jobs->fail_type);
  g_free (mock->jobs->fail_desc);
  mock->jobs->fail_type = g_strdup (texts[0]);
  mock->jobs->fail_desc = g_strdup (texts[1]);
}

void
mock_fail_job (MockQemu *mock, const char *type, const char *desc)
{
  const char *texts[] = { type, desc };

  mock_call (mock, set_job_failure, texts);
}
