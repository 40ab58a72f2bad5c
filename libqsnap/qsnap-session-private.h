/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qmp/qsnap-qmp-client.h"
#include "qsnap-watch.h"
#include "qsnap/qsnap.h"
#include "restore/qsnap-qemu.h"

G_BEGIN_DECLS

/* What there is to tell of a guest that was brought back. */
typedef struct
{
  QsnapQemu *qemu;
  GFile *directory;
  QsnapRestoreMethod method;
  GStrv warnings;
  gint64 start_us;
  gint64 load_us;
} QsnapRestored;

void qsnap_restored_free (QsnapRestored *restored);

struct _QsnapSession
{
  GObject parent_instance;

  char *address;
  GMainContext *context;

  GMutex lock;
  /* Everything below is guarded by lock. */
  GIOStream *stream;
  QsnapQmpClient *client;
  gboolean opening;
  char *qemu_version;
  QsnapWatch *watch;
  const char *operation;
  QsnapPhase phase;
  guint64 bytes_done;
  guint64 bytes_total;
  guint64 disk_bytes_done;
  guint64 disk_bytes_total;
  guint queued_events;
  gsize queued_bytes;
  guint64 events_lost;
  guint timeout_ms;
  /* A guest that was brought back on demand does not have all of its memory yet; and why it will
   * not get it. */
  gboolean settling;
  GError *settle_error;
  gboolean has_quit; /* what it does not have any more is no news */
  gint64 settle_us;
  guint64 page_requests;
  /* Of its captures in mode instant: gint64, microseconds, oldest first. */
  GArray *pauses;
  GCond settle_cond;
  /* Set before anybody else has the session. */
  QsnapRestored *restored;
};

/* Takes @restored. */
void qsnap_session_set_restored (QsnapSession *session, QsnapRestored *restored);

/* A connection that tells the session what it says. */
QsnapQmpClient *qsnap_session_make_client (QsnapSession *session, GIOStream *stream);
/* Notifies, in the session's main context, of what opening it changed. */
void qsnap_session_tell_opened (QsnapSession *session);

/* A reference to the connection, or NULL with QSNAP_ERROR_CLOSED. */
QsnapQmpClient *qsnap_session_ref_client (QsnapSession *session, GError **error);
GIOStream *qsnap_session_ref_stream (QsnapSession *session);

/* A guest was captured in mode instant; and a copy of all that were noted. */
void qsnap_session_note_pause (QsnapSession *session, gint64 microseconds);
GArray *qsnap_session_copy_pauses (QsnapSession *session);

/* Events and the end of the connection are noted in @watch until it is NULL again. */
void qsnap_session_set_watch (QsnapSession *session, QsnapWatch *watch);

/* Runs @func (session, data) in the session's main context, in the order of the calls. */
typedef void (*QsnapSessionFunc) (QsnapSession *session, gpointer data);
void qsnap_session_post (QsnapSession *session,
                         QsnapSessionFunc func,
                         gpointer data,
                         GDestroyNotify destroy);

/* One operation at a time: QSNAP_ERROR_BUSY. None, but to quit, before the guest has settled. */
gboolean qsnap_session_begin (QsnapSession *session, const char *operation, GError **error);
void qsnap_session_end (QsnapSession *session);
/* Any thread; notification is the caller's business. FALSE if nothing changed. */
gboolean qsnap_session_put_phase (QsnapSession *session, QsnapPhase phase);
void qsnap_session_put_progress (QsnapSession *session, guint64 done, guint64 total);
void qsnap_session_put_disk_progress (QsnapSession *session, guint64 done, guint64 total);

/* In the thread that emits. */
void qsnap_session_notify_operation (QsnapSession *session);
void qsnap_session_notify_phase (QsnapSession *session);
void qsnap_session_notify_progress (QsnapSession *session);
void qsnap_session_notify_disk_progress (QsnapSession *session);
void qsnap_session_emit_point_in_time (QsnapSession *session, QsnapSnapshot *snapshot);
void qsnap_session_emit_stalled (QsnapSession *session, guint milliseconds);
void qsnap_session_emit_disks_complete (QsnapSession *session, QsnapSnapshot *snapshot);
void qsnap_session_emit_memory_complete (QsnapSession *session, QsnapSnapshot *snapshot);
void qsnap_session_emit_settled (QsnapSession *session);
void qsnap_session_emit_settle_failed (QsnapSession *session, const GError *error);

G_END_DECLS
