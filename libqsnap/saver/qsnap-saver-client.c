/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "saver/qsnap-saver-client.h"

#include "helper/qsnap-helper.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

struct _QsnapSaver
{
  QsnapHelper *helper;
  QsnapSaverFunc func;
  gpointer user_data;
  QsnapSaverReport report;
};

/* In the order of the enumeration. */
static const char *const kinds[] = { "ready",  "first-page", "progress", "saved",
                                     "failed", "drained",    NULL };

/* @error is the caller's. The function may free the saver. */
static void
deliver (QsnapSaver *saver, const GError *error)
{
  QsnapSaverReport report = saver->report;

  report.time = g_get_monotonic_time ();
  report.error = error;
  saver->func (&report, saver->user_data);
}

static gboolean
deliver_death (QsnapSaver *saver)
{
  g_autoptr (GError) error = qsnap_helper_new_death (saver->helper);

  saver->report.kind = QSNAP_SAVER_DIED;
  deliver (saver, error);
  return FALSE;
}

/* After SAVED and DRAINED nothing is expected. */
static gboolean
on_report (JsonObject *object, gpointer user_data)
{
  QsnapSaver *saver = user_data;
  QsnapSaverReport *report = &saver->report;
  g_autoptr (GError) failure = NULL;
  gboolean over;
  int kind;

  if (object == NULL)
    return deliver_death (saver);
  kind = qsnap_helper_find_kind (object, kinds);
  if (kind < 0)
    return TRUE;
  report->kind = (QsnapSaverKind)kind;

  over = report->kind == QSNAP_SAVER_SAVED || report->kind == QSNAP_SAVER_DRAINED;
  if (report->kind == QSNAP_SAVER_PROGRESS)
    {
      report->bytes_done = (guint64)qsnap_json_get_int (object, "bytes-done", 0);
      report->bytes_total = (guint64)qsnap_json_get_int (object, "bytes-total", 0);
      report->bytes_written = (guint64)qsnap_json_get_int (object, "bytes-written", 0);
    }
  if (report->kind == QSNAP_SAVER_FAILED)
    failure = qsnap_helper_parse_error (object);
  deliver (saver, failure);
  return !over;
}

static GStrv
make_arguments (const char *const *raw_blocks, gboolean pack, gsize skip)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_autofree char *stream = g_strdup_printf ("--stream-fd=%d", QSNAP_HELPER_CONTROL_FD + 1);
  g_autofree char *dir = g_strdup_printf ("--dir-fd=%d", QSNAP_HELPER_CONTROL_FD + 2);
  g_autofree char *filler = g_strdup_printf ("--skip=%" G_GSIZE_FORMAT, skip);

  g_strv_builder_add_many (builder, stream, dir, filler, pack ? "--pack" : NULL, NULL);
  for (gsize i = 0; raw_blocks != NULL && raw_blocks[i] != NULL; i++)
    {
      g_autofree char *block = g_strdup_printf ("--raw-block=%s", raw_blocks[i]);

      g_strv_builder_add (builder, block);
    }
  return g_strv_builder_end (builder);
}

QsnapSaver *
qsnap_saver_start (GMainContext *context,
                   int stream_fd,
                   int dir_fd,
                   const char *const *raw_blocks,
                   gboolean pack,
                   gsize skip,
                   QsnapSaverFunc func,
                   gpointer user_data,
                   GError **error)
{
  g_auto (GStrv) arguments = make_arguments (raw_blocks, pack, skip);
  const int fds[] = { stream_fd, dir_fd };
  QsnapHelper *helper =
      qsnap_helper_start ("QSNAP_SAVER", "qsnap-saver", (const char *const *)arguments, fds,
                          G_N_ELEMENTS (fds), "The process that saves the guest's memory", error);
  QsnapSaver *saver;

  if (helper == NULL)
    return NULL;
  /* It has not read anything yet. Left alone, it would take the closed socket for a "go". */
  if (!qsnap_helper_wait_until_ready (helper, error))
    {
      qsnap_helper_kill (helper);
      return NULL;
    }
  saver = g_new0 (QsnapSaver, 1);
  saver->helper = helper;
  saver->func = func;
  saver->user_data = user_data;
  qsnap_helper_attach (helper, context, on_report, saver);
  return saver;
}

gboolean
qsnap_saver_go (QsnapSaver *saver, GError **error)
{
  return qsnap_helper_send (saver->helper, qsnap_json_object_new ("command", 's', "go", NULL),
                            error);
}

void
qsnap_saver_discard (QsnapSaver *saver)
{
  /* If it is dead, DIED says so. */
  qsnap_helper_send (saver->helper, qsnap_json_object_new ("command", 's', "discard", NULL), NULL);
}

GPid
qsnap_saver_get_pid (QsnapSaver *saver)
{
  return qsnap_helper_get_pid (saver->helper);
}

void
qsnap_saver_free (QsnapSaver *saver)
{
  qsnap_helper_free (saver->helper);
  g_free (saver);
}
