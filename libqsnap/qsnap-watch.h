/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "pages/qsnap-page-server-client.h"
#include "saver/qsnap-saver-client.h"

G_BEGIN_DECLS

/* What has been heard, of QEMU and of a helper process, since a capture or a revert began. The
 * worker thread notes it, the capture thread waits until something it needs is there. */

/* In one operation, over one connection. Another client may stop and resume the guest, and have jobs of its own. */
#define QSNAP_WATCH_MAX_RUN_EVENTS 65536
#define QSNAP_WATCH_MAX_JOBS 4096

typedef enum
{
  QSNAP_RUN_STOP,
  QSNAP_RUN_RESUME
} QsnapRunEventKind;

typedef struct
{
  QsnapRunEventKind kind;
  /* QEMU's stamp, microseconds since the epoch. */
  gint64 time;
} QsnapRunEvent;

typedef struct
{
  gatomicrefcount refs;
  GMutex lock;
  GCond cond;

  /* Guarded by lock from here on; predicates of qsnap_watch_wait() run with it held. */
  guint max_run_events;
  GArray *run_events;
  char *migration_status;
  /* Job id → the last status of JOB_STATUS_CHANGE. */
  GHashTable *jobs;
  /* Block job id → "ready", "completed", "cancelled" or "error: …". */
  GHashTable *block_jobs;
  /* The guest shut down, was reset under -no-reboot, or panicked, and was not started anew since.
   */
  gboolean shutdown_seen;
  gboolean panic_seen;
  /* A disk had no room for what the guest wrote, and QEMU stopped it. */
  gboolean no_space_seen;
  GError *closed;

  gboolean saver_first_page;
  gint64 saver_first_page_time;
  gboolean saver_saved;
  /* The saver writes nothing any more: saved, drained, or dead. */
  gboolean saver_ended;
  GError *saver_error;
  guint64 bytes_done;
  guint64 bytes_total;

  gboolean pages_resumed;
  gboolean pages_settled;
  /* The page server does nothing any more, as it is done, has failed (then with its error), or is
   * dead. */
  gboolean pages_ended;
  gboolean pages_died;
  guint64 page_requests;
  GError *pages_error;
} QsnapWatch;

typedef gboolean (*QsnapWatchFunc) (QsnapWatch *watch, gconstpointer data);

QsnapWatch *qsnap_watch_new (void);
QsnapWatch *qsnap_watch_ref (QsnapWatch *watch);
void qsnap_watch_unref (QsnapWatch *watch);

/* Worker thread. FALSE if there were so many that no QEMU in its senses sends them, and this one was
 * not noted: the connection is not worth any more. */
gboolean qsnap_watch_note_event (QsnapWatch *watch, const char *name, JsonNode *data, gint64 time);
void qsnap_watch_note_closed (QsnapWatch *watch, const GError *error);
void qsnap_watch_note_saver (const QsnapSaverReport *report, gpointer watch);
void qsnap_watch_note_pages (const QsnapPagesReport *report, gpointer watch);

/* Waits until @func answers TRUE. The end of the QMP connection ends the wait too (it is the error
 * then), unless @func is content. Answers FALSE without an error when @timeout_ms have passed; 0 is
 * no limit, and a negative one does not wait at all. */
gboolean qsnap_watch_wait (QsnapWatch *watch,
                           QsnapWatchFunc func,
                           gconstpointer data,
                           gint timeout_ms,
                           GCancellable *cancellable,
                           GError **error);

/* The same for what a helper process reports, whatever became of the connection. */
gboolean qsnap_watch_wait_helper (QsnapWatch *watch, QsnapWatchFunc func, gint timeout_ms);

/* Another page server may go on where it ended. */
gboolean qsnap_watch_pages_died (QsnapWatch *watch);

/* There is another page server. */
void qsnap_watch_forget_pages (QsnapWatch *watch);

/* There is a new connection. */
void qsnap_watch_reopen (QsnapWatch *watch);

/* How many of @kind came at or after index @since of the run events. */
guint qsnap_watch_count (QsnapWatch *watch, QsnapRunEventKind kind, guint since);
guint qsnap_watch_n_run_events (QsnapWatch *watch);
/* The time of the first event of @kind at or after index @since, or 0. */
gint64 qsnap_watch_time_of (QsnapWatch *watch, QsnapRunEventKind kind, guint since);

gboolean qsnap_watch_is_closed (QsnapWatch *watch);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapWatch, qsnap_watch_unref)

G_END_DECLS
