/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model's jobs, shared by the files that have one kind of them each. */

#pragma once

#include "qsnap-mock-private.h"

G_BEGIN_DECLS

typedef struct
{
  char *id;
  /* "create", "commit" or "backup" */
  const char *type;
  const char *status;
  char *error;
  gboolean auto_dismiss;
  gboolean auto_finalize;
  gint64 done, total;

  /* create */
  JsonObject *options;
  /* commit, and backup from the one to the other: names of nodes */
  char *top, *base;
  gboolean active;
  /* What the header of what stands on top is to name then; NULL: the base's file. */
  char *backing_file;
} MockJob;

struct _MockJobs
{
  GPtrArray *all;
  guint delay;
  guint n_auto_ids;
  char *fail_type, *fail_desc;
  /* Backups stay where they are at half of it; those of this node only, unless it is NULL. */
  gboolean held;
  char *held_node;
};

MockJob *mock_job_find (MockQemu *mock, const char *id);
/* In status "created"; @id may be NULL. */
MockJob *mock_job_new (MockQemu *mock, const char *id, const char *type, GError **error);
void mock_job_set_status (MockQemu *mock, MockJob *job, const char *status);
/* One of BLOCK_JOB_*. */
void mock_job_event (MockQemu *mock, MockJob *job, const char *name);
/* It has done its work; ends unless it is to be told to. */
void mock_job_become_pending (MockQemu *mock, MockJob *job);
void mock_job_dismiss (MockQemu *mock, MockJob *job);
/* Jobs go on by their name, after the delay: the job may have been cancelled meanwhile. */
void mock_job_go_on (MockQemu *mock, MockJob *job, MockCall next);

/* The name of a job that was made, to be freed, or NULL. */
gpointer mock_backup_prepare (MockQemu *mock, JsonObject *data, GError **error);
void mock_backup_begin (MockQemu *mock, gpointer id);
/* The transaction failed. */
void mock_backup_abort (MockQemu *mock, gpointer id);
/* Its nodes are nobody's any more. */
void mock_backup_leave_nodes (MockQemu *mock, MockJob *job);
void mock_backup_end (MockQemu *mock, MockJob *job, const char *event);

G_END_DECLS
