/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-watch.h"

#include <string.h>

#include "qsnap-json.h"

/* Of the id of a job, bytes, and of what is said of it, characters. */
#define MAX_JOB_ID 255
#define MAX_STATUS 4096

QsnapWatch *
qsnap_watch_new (void)
{
  QsnapWatch *watch = g_new0 (QsnapWatch, 1);

  g_atomic_ref_count_init (&watch->refs);
  g_mutex_init (&watch->lock);
  g_cond_init (&watch->cond);
  watch->max_run_events = QSNAP_WATCH_MAX_RUN_EVENTS;
  watch->run_events = g_array_new (FALSE, FALSE, sizeof (QsnapRunEvent));
  watch->jobs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  watch->block_jobs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);

  return watch;
}

QsnapWatch *
qsnap_watch_ref (QsnapWatch *watch)
{
  g_atomic_ref_count_inc (&watch->refs);

  return watch;
}

void
qsnap_watch_unref (QsnapWatch *watch)
{
  if (!g_atomic_ref_count_dec (&watch->refs))
    return;

  g_array_unref (watch->run_events);
  g_free (watch->migration_status);
  g_hash_table_unref (watch->jobs);
  g_hash_table_unref (watch->block_jobs);
  g_clear_error (&watch->closed);
  g_clear_error (&watch->saver_error);
  g_clear_error (&watch->pages_error);
  g_cond_clear (&watch->cond);
  g_mutex_clear (&watch->lock);
  g_free (watch);
}

/* --- noting -------------------------------------------------------------------------------- */

static gboolean
note_run_event (QsnapWatch *watch, QsnapRunEventKind kind, gint64 time)
{
  QsnapRunEvent event = { kind, time };

  if (watch->run_events->len >= watch->max_run_events)
    return FALSE;

  g_array_append_val (watch->run_events, event);

  return TRUE;
}

static char *
shorten (const char *text)
{
  glong length = text != NULL ? g_utf8_strlen (text, -1) : 0;

  return text != NULL ? g_utf8_substring (text, 0, MIN (length, MAX_STATUS)) : NULL;
}

/* One with a longer name is none of ours. */
static gboolean
note_job (GHashTable *jobs, const char *id, const char *status)
{
  if (id == NULL || status == NULL || strlen (id) > MAX_JOB_ID)
    return TRUE;
  if (g_hash_table_size (jobs) >= QSNAP_WATCH_MAX_JOBS && !g_hash_table_contains (jobs, id))
    return FALSE;

  g_hash_table_replace (jobs, g_strdup (id), shorten (status));

  return TRUE;
}

static gboolean
note_block_job_end (QsnapWatch *watch, JsonObject *data)
{
  const char *error = qsnap_json_get_string (data, "error");
  g_autofree char *status = error != NULL ? g_strconcat ("error: ", error, NULL) : NULL;

  return note_job (watch->block_jobs, qsnap_json_get_string (data, "device"),
                   status != NULL ? status : "completed");
}

static gboolean
note_event_locked (QsnapWatch *watch, const char *name, JsonObject *data, gint64 time)
{
  if (g_str_equal (name, "STOP"))
    return note_run_event (watch, QSNAP_RUN_STOP, time);
  else if (g_str_equal (name, "RESUME"))
    return note_run_event (watch, QSNAP_RUN_RESUME, time);
  else if (g_str_equal (name, "MIGRATION"))
    {
      g_free (watch->migration_status);
      watch->migration_status = shorten (qsnap_json_get_string (data, "status"));
    }
  else if (g_str_equal (name, "JOB_STATUS_CHANGE"))
    return note_job (watch->jobs, qsnap_json_get_string (data, "id"),
                     qsnap_json_get_string (data, "status"));
  else if (g_str_equal (name, "BLOCK_JOB_READY"))
    return note_job (watch->block_jobs, qsnap_json_get_string (data, "device"), "ready");
  else if (g_str_equal (name, "BLOCK_JOB_CANCELLED"))
    return note_job (watch->block_jobs, qsnap_json_get_string (data, "device"), "cancelled");
  else if (g_str_equal (name, "BLOCK_JOB_COMPLETED"))
    return note_block_job_end (watch, data);
  else if (g_str_equal (name, "RESET"))
    watch->shutdown_seen = watch->panic_seen = FALSE;
  else if (g_str_equal (name, "SHUTDOWN"))
    watch->shutdown_seen = TRUE;
  else if (g_str_equal (name, "BLOCK_IO_ERROR") && qsnap_json_get_bool (data, "nospace", FALSE))
    watch->no_space_seen = TRUE;
  else if (g_str_equal (name, "GUEST_PANICKED"))
    watch->panic_seen = TRUE;

  return TRUE;
}

gboolean
qsnap_watch_note_event (QsnapWatch *watch, const char *name, JsonNode *data, gint64 time)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  gboolean noted = note_event_locked (watch, name, qsnap_json_object (data), time);

  g_cond_broadcast (&watch->cond);

  return noted;
}

void
qsnap_watch_note_closed (QsnapWatch *watch, const GError *error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  if (watch->closed == NULL)
    watch->closed = g_error_copy (error);
  g_cond_broadcast (&watch->cond);
}

static void
note_saver_error (QsnapWatch *watch, const GError *error)
{
  if (watch->saver_error == NULL && error != NULL)
    watch->saver_error = g_error_copy (error);
}

void
qsnap_watch_note_saver (const QsnapSaverReport *report, gpointer user_data)
{
  QsnapWatch *watch = user_data;
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  switch (report->kind)
    {
    case QSNAP_SAVER_READY:
      break;
    case QSNAP_SAVER_FIRST_PAGE:
      watch->saver_first_page = TRUE;
      watch->saver_first_page_time = report->time;
      break;
    case QSNAP_SAVER_PROGRESS:
      watch->bytes_done = report->bytes_done;
      watch->bytes_total = report->bytes_total;
      break;
    case QSNAP_SAVER_SAVED:
      watch->saver_saved = TRUE;
      watch->saver_ended = TRUE;
      break;
    case QSNAP_SAVER_FAILED:
      note_saver_error (watch, report->error);
      break;
    case QSNAP_SAVER_DRAINED:
      watch->saver_ended = TRUE;
      break;
    case QSNAP_SAVER_DIED:
      note_saver_error (watch, report->error);
      watch->saver_ended = TRUE;
      break;
    default:
      g_assert_not_reached ();
    }

  g_cond_broadcast (&watch->cond);
}

void
qsnap_watch_note_pages (const QsnapPagesReport *report, gpointer user_data)
{
  QsnapWatch *watch = user_data;
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  watch->bytes_done = report->bytes_done;
  watch->bytes_total = report->bytes_total;
  watch->page_requests = report->requests;
  watch->pages_resumed |= report->kind == QSNAP_PAGES_RESUMED;
  watch->pages_settled = report->kind == QSNAP_PAGES_SETTLED;
  watch->pages_died = report->kind == QSNAP_PAGES_DIED;
  watch->pages_ended |= watch->pages_settled || report->error != NULL;
  if (report->error != NULL)
    {
      g_clear_error (&watch->pages_error);
      watch->pages_error = g_error_copy (report->error);
    }

  g_cond_broadcast (&watch->cond);
}

gboolean
qsnap_watch_pages_died (QsnapWatch *watch)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  return watch->pages_died;
}

void
qsnap_watch_forget_pages (QsnapWatch *watch)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  watch->pages_resumed = watch->pages_settled = watch->pages_ended = watch->pages_died = FALSE;
  g_clear_error (&watch->pages_error);
}

/* --- waiting ------------------------------------------------------------------------------- */

static void
wake (GCancellable *cancellable, gpointer user_data)
{
  QsnapWatch *watch = user_data;
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  g_cond_broadcast (&watch->cond);
}

static gboolean
wait_locked (QsnapWatch *watch,
             QsnapWatchFunc func,
             gconstpointer data,
             gint timeout_ms,
             GCancellable *cancellable,
             GError **error)
{
  gint64 deadline = g_get_monotonic_time () + (gint64)timeout_ms * 1000;

  for (;;)
    {
      if (func (watch, data))
        return TRUE;

      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;

      if (watch->closed != NULL)
        {
          g_propagate_error (error, g_error_copy (watch->closed));
          return FALSE;
        }

      if (timeout_ms == 0)
        g_cond_wait (&watch->cond, &watch->lock);
      else if (timeout_ms < 0 || !g_cond_wait_until (&watch->cond, &watch->lock, deadline))
        return func (watch, data);
    }
}

gboolean
qsnap_watch_wait (QsnapWatch *watch,
                  QsnapWatchFunc func,
                  gconstpointer data,
                  gint timeout_ms,
                  GCancellable *cancellable,
                  GError **error)
{
  gulong handler = 0;
  gboolean content;

  if (cancellable != NULL)
    handler = g_cancellable_connect (cancellable, G_CALLBACK (wake), watch, NULL);

  g_mutex_lock (&watch->lock);
  content = wait_locked (watch, func, data, timeout_ms, cancellable, error);
  g_mutex_unlock (&watch->lock);

  if (handler != 0)
    g_cancellable_disconnect (cancellable, handler);

  return content;
}

gboolean
qsnap_watch_wait_helper (QsnapWatch *watch, QsnapWatchFunc func, gint timeout_ms)
{
  gint64 deadline = g_get_monotonic_time () + (gint64)timeout_ms * 1000;
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  while (!func (watch, NULL))
    if (!g_cond_wait_until (&watch->cond, &watch->lock, deadline))
      return func (watch, NULL);

  return TRUE;
}

void
qsnap_watch_reopen (QsnapWatch *watch)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  g_clear_error (&watch->closed);

  /* A flood must not end this connection, too. */
  watch->max_run_events = watch->run_events->len + QSNAP_WATCH_MAX_RUN_EVENTS;
  if (g_hash_table_size (watch->jobs) >= QSNAP_WATCH_MAX_JOBS)
    g_hash_table_remove_all (watch->jobs);
  if (g_hash_table_size (watch->block_jobs) >= QSNAP_WATCH_MAX_JOBS)
    g_hash_table_remove_all (watch->block_jobs);
}

/* --- asking -------------------------------------------------------------------------------- */

guint
qsnap_watch_n_run_events (QsnapWatch *watch)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  return watch->run_events->len;
}

guint
qsnap_watch_count (QsnapWatch *watch, QsnapRunEventKind kind, guint since)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);
  guint count = 0;

  for (guint i = since; i < watch->run_events->len; i++)
    if (g_array_index (watch->run_events, QsnapRunEvent, i).kind == kind)
      count++;

  return count;
}

gint64
qsnap_watch_time_of (QsnapWatch *watch, QsnapRunEventKind kind, guint since)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  for (guint i = since; i < watch->run_events->len; i++)
    {
      QsnapRunEvent *event = &g_array_index (watch->run_events, QsnapRunEvent, i);

      if (event->kind == kind)
        return event->time;
    }

  return 0;
}

gboolean
qsnap_watch_is_closed (QsnapWatch *watch)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  return watch->closed != NULL;
}
