/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* The library's side of the saver process. */
typedef struct _QsnapSaver QsnapSaver;

typedef enum
{
  QSNAP_SAVER_READY, /* never reported: qsnap_saver_start() waits for it */
  QSNAP_SAVER_FIRST_PAGE,
  QSNAP_SAVER_PROGRESS,
  QSNAP_SAVER_SAVED,   /* all is on stable storage; nothing comes after it */
  QSNAP_SAVER_FAILED,  /* nothing will be saved; the stream is still read to its end */
  QSNAP_SAVER_DRAINED, /* after FAILED or a discard: the stream has ended; nothing comes after it */
  QSNAP_SAVER_DIED     /* before either end: somebody else must read the stream now */
} QsnapSaverKind;

typedef struct
{
  QsnapSaverKind kind;
  guint64 bytes_done; /* the three are those of the latest progress, in every report */
  guint64 bytes_total;
  guint64 bytes_written;
  const GError *error; /* FAILED and DIED */
  gint64 time;         /* g_get_monotonic_time() when it was received */
} QsnapSaverReport;

typedef void (*QsnapSaverFunc) (const QsnapSaverReport *report, gpointer user_data);

/* Starts the process and waits until it is ready, at most 10 s. @func is called in @context, in the
 * thread that runs it, from then on. The saver does not read @stream_fd before qsnap_saver_go(); it
 * first drops @skip bytes. @raw_blocks may be NULL; with @pack all other files are compressed.
 *
 * The program is QSNAP_SAVER of the environment, else the installed one. */
QsnapSaver *qsnap_saver_start (GMainContext *context,
                               int stream_fd,
                               int dir_fd,
                               const char *const *raw_blocks,
                               gboolean pack,
                               gsize skip,
                               QsnapSaverFunc func,
                               gpointer user_data,
                               GError **error);

/* Both may be called in any thread. */
gboolean qsnap_saver_go (QsnapSaver *saver, GError **error);

/* Nothing more is written, what is written stays; the stream is read to its end, also if it has not
 * been told to go. It may be too late: SAVED can still come instead of DRAINED. */
void qsnap_saver_discard (QsnapSaver *saver);

GPid qsnap_saver_get_pid (QsnapSaver *saver);

/* Lets go of the process, which goes on to the stream's end. @func is not called any more, if this
 * is called from it or in the thread of the context. */
void qsnap_saver_free (QsnapSaver *saver);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapSaver, qsnap_saver_free)

G_END_DECLS
