/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session that is connected to a mock QEMU, and what is seen of both. */

#pragma once

#include <qsnap/qsnap.h>

#include "qsnap-mock-qemu.h"

G_BEGIN_DECLS

/* Milliseconds after which a test has failed: enough for a checker on a busy machine. */
#define WAIT 60000

typedef struct
{
  MockQemu *mock;
  MockStyle style;
  QsnapSession *session;
  /* What the session's signals said, in order: " point disks memory closed". */
  GString *news;
  /* What notify::phase said, QsnapPhase. */
  GArray *phases;
  /* Where the last signal of an operation came. */
  GThread *emitter;
} Fixture;

/* For a program whose tests need it; if it is not there, TAP says so. */
gboolean fixture_has_qemu_img (void);

/* A mock with images a.raw, b.raw, … as drives virtio0, virtio1, …; not started. */
void fixture_set_up (Fixture *fixture, MockStyle style, guint n_drives);
/* Starts the mock and opens a session to it. */
void fixture_open (Fixture *fixture);
/* The second half of it. */
void fixture_connect (Fixture *fixture);
void fixture_clear (Fixture *fixture);

/* Makes an image in the mock's folder. */
char *fixture_make_image (Fixture *fixture, const char *name, gsize size);
/* A path in the mock's folder. */
char *fixture_path (Fixture *fixture, const char *name);
GFile *fixture_file (Fixture *fixture, const char *name);

QsnapSnapshotOptions *fixture_options (Fixture *fixture, const char *name);
/* Synchronously, into a new directory @name of the mock's folder. */
QsnapSnapshot *
fixture_capture (Fixture *fixture, const char *name, GCancellable *cancellable, GError **error);
/* The same, which has to succeed. */
QsnapSnapshot *fixture_capture_well (Fixture *fixture, const char *name);

/* Everything that a capture changes and has to put back: graph, run state, capabilities, actions,
 * descriptors, jobs, and the files in the mock's folder. A 7.2 whose guest is paused only marks
 * descriptors as removed and goes on listing them, so they do not count there. */
char *fixture_describe (Fixture *fixture);
/* What of it stays as it was even where the capture succeeds. */
char *fixture_describe_settings (Fixture *fixture);
/* Names of the files below the mock's folder, sorted. */
char *fixture_list_files (Fixture *fixture);

/* Every file that the block graph stands on exists. */
void fixture_assert_graph_whole (Fixture *fixture);
/* The phases only grew, and the operation ended idle. */
void fixture_assert_phases (Fixture *fixture);
void fixture_assert_no_complaints (Fixture *fixture);
void fixture_forget_news (Fixture *fixture);

/* Dispatches what waits in the main context. */
void fixture_drain_context (void);

/* Waits until the session, which was dropped, is finalized. */
void fixture_wait_gone (GWeakRef *weak);

/* Runs a command that has to succeed. */
JsonNode *fixture_execute (Fixture *fixture, const char *command, const char *arguments);

/* An operation that was started asynchronously. */
typedef struct
{
  gboolean done;
  QsnapSnapshot *snapshot;
  GError *error;
} FixtureResult;

void fixture_start_capture (Fixture *fixture,
                            const char *name,
                            GCancellable *cancellable,
                            FixtureResult *result);
void fixture_wait_result (FixtureResult *result);
void fixture_result_clear (FixtureResult *result);

/* Adds a test for each of both QEMUs; it gets the MockStyle. */
void fixture_add (const char *path, GTestDataFunc func);

G_END_DECLS
