/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model's migration, shared by its commands, its course and the tests' view of it. */

#pragma once

#include "qsnap-mock-private.h"

G_BEGIN_DECLS

#define MOCK_N_RAM_BLOCKS 3

struct _MockMigration
{
  MockQemu *mock;
  const char *const *names;
  /* The capabilities that are on. */
  GHashTable *on;
  /* One that cannot be switched on, or NULL. */
  char *refused;
  GPtrArray *blockers;
  const char *status;
  char *error;
  gint64 started_at, ended_at;
  gint64 max_bandwidth;
  MockRamBlock ram[MOCK_N_RAM_BLOCKS];

  GThread *thread;
  /* Atomic, from here on: the writer's thread reads or writes them. */
  gint cancelled, aborted, n_normal, n_zero, page_delay, hold;
  /* The guest writes faster than that is saved; migrate-continue came; passes over the memory. */
  gint endless, continued, n_passes;
  /* The last one reached; the hold's owner waits for it. */
  MockPoint point, fail_at;
  MockPointFunc funcs[MOCK_N_POINTS];
  gpointer func_data[MOCK_N_POINTS];

  /* Of the running migration. */
  gboolean stopped_by_us, resumed;
  /* Before finish-migrate. */
  char *old_state;
  gboolean point_done, point_while_running;
  guint point_epoch;
};

gboolean mock_migration_has (MockMigration *migration, const char *capability);
void mock_migration_set_status (MockMigration *migration, const char *status);
/* Takes @fd. */
void mock_migration_begin (MockMigration *migration, int fd);
/* Waits for the writer's thread, which must have a reason to end. */
void mock_migration_join (MockMigration *migration);

G_END_DECLS
