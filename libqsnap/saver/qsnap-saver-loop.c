/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the saver does: it serves the stream and the control socket until the stream ends. Whatever
 * goes wrong, it reads the stream to its end, since a broken one hangs the guest on old QEMUs. */

#include "config.h"

#include "saver/qsnap-saver-loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "helper/qsnap-helper-reports.h"
#include "helper/qsnap-sandbox.h"
#include "memory/qsnap-image-writer.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

#define BUFFER_BYTES (1u << 20)
#define PIPE_BYTES (1 << 20)
#define PROGRESS_INTERVAL (G_USEC_PER_SEC / 10)
/* In it QEMU fills a part of the pipe: some 50 pages where it is fast. */
#define GATHER_US 500

typedef enum
{
  MODE_WAITING, /* for "go" */
  MODE_SAVING,
  MODE_DISCARDING, /* as told */
  MODE_FAILED      /* the same, because of an error */
} Mode;

typedef struct
{
  const QsnapSaverOptions *options;
  QsnapHelperReports *reports;
  QsnapImageWriter *writer;
  QsnapStreamParser *parser;
  Mode mode;
  gboolean ended;
  gboolean saved;
  gboolean had_page;
  gboolean gathers;
  guint64 skip;
  gint64 last_progress;
  guint8 *buffer;
} Saver;

static JsonObject *
describe_progress (Saver *saver)
{
  return qsnap_json_object_new (
      "report", 's', "progress", "bytes-done", 'i',
      (gint64)qsnap_image_writer_get_bytes_done (saver->writer), "bytes-total", 'i',
      (gint64)qsnap_image_writer_get_bytes_total (saver->writer), "bytes-written", 'i',
      (gint64)qsnap_image_writer_get_bytes_written (saver->writer), NULL);
}

static void
report_progress (Saver *saver)
{
  gint64 now = g_get_monotonic_time ();

  if (!saver->had_page || now - saver->last_progress < PROGRESS_INTERVAL)
    return;
  saver->last_progress = now;
  qsnap_helper_reports_try (saver->reports, describe_progress (saver));
}

/* The first page proves the point in time, and the guest may be waiting: this is reported before
 * anything is written. */
static gboolean
on_page (guint block, guint64 offset, const guint8 *data, gpointer user_data, GError **error)
{
  Saver *saver = user_data;

  if (!saver->had_page)
    {
      saver->had_page = TRUE;
      qsnap_helper_reports_send_kind (saver->reports, "first-page");
    }
  return qsnap_image_writer_callbacks.page (block, offset, data, saver->writer, error);
}

static gboolean
on_prefix (const guint8 *data, gsize len, gpointer user_data, GError **error)
{
  Saver *saver = user_data;

  return qsnap_image_writer_callbacks.prefix (data, len, saver->writer, error);
}

static gboolean
on_ram_setup (const QsnapStreamBlock *blocks,
              guint n_blocks,
              const guint8 *data,
              gsize len,
              gpointer user_data,
              GError **error)
{
  Saver *saver = user_data;

  return qsnap_image_writer_callbacks.ram_setup (blocks, n_blocks, data, len, saver->writer, error);
}

static gboolean
on_device_state (
    const guint8 *data, gsize len, gsize eof_offset, gpointer user_data, GError **error)
{
  Saver *saver = user_data;

  return qsnap_image_writer_callbacks.device_state (data, len, eof_offset, saver->writer, error);
}

static const QsnapStreamCallbacks callbacks = { on_prefix, on_ram_setup, on_page, on_device_state };

static void
fail (Saver *saver, const GError *error)
{
  saver->mode = MODE_FAILED;
  qsnap_helper_reports_send_error (saver->reports, error);
}

static void
go (Saver *saver)
{
  if (saver->mode != MODE_WAITING)
    return;
  saver->mode = MODE_SAVING;
  /* Not allowed beyond the user's limit for pipes, and no pipe at all in a test: only slower. */
  saver->gathers = fcntl (saver->options->stream_fd, F_SETPIPE_SZ, PIPE_BYTES) >= PIPE_BYTES;
}

static void
discard (Saver *saver)
{
  go (saver);
  if (saver->mode == MODE_SAVING)
    saver->mode = MODE_DISCARDING;
}

static void
serve_control (Saver *saver)
{
  g_autoptr (JsonNode) node = qsnap_helper_reports_receive (saver->reports);
  const char *command = qsnap_json_get_string (qsnap_json_object (node), "command");

  if (g_strcmp0 (command, "go") == 0)
    go (saver);
  else if (g_strcmp0 (command, "discard") == 0)
    discard (saver);
}

/* With the application gone nobody says "go", but the guest may already be waiting for a reader: so
 * its end is a "go". */
static void
notice_lost_application (Saver *saver)
{
  if (qsnap_helper_reports_is_closed (saver->reports))
    go (saver);
}

static void
take (Saver *saver, const guint8 *data, gsize len)
{
  g_autoptr (GError) error = NULL;
  gsize filler = MIN (len, saver->skip);

  saver->skip -= filler;
  if (saver->mode != MODE_SAVING)
    return;
  if (qsnap_stream_parser_push (saver->parser, data + filler, len - filler, &error))
    report_progress (saver);
  else
    fail (saver, error);
}

static gboolean
save (Saver *saver, GError **error)
{
  if (!qsnap_stream_parser_finish (saver->parser, error))
    return FALSE;
  /* All has come; bringing it to the disk may take a while. */
  qsnap_helper_reports_try (saver->reports, describe_progress (saver));
  if (!qsnap_image_writer_finish (saver->writer, saver->parser, error))
    return FALSE;
  /* The last one is kept until it is sent: it has the final numbers. */
  qsnap_helper_reports_send (saver->reports, describe_progress (saver));
  return TRUE;
}

static void
end (Saver *saver)
{
  g_autoptr (GError) error = NULL;

  saver->ended = TRUE;
  if (saver->mode == MODE_SAVING)
    {
      saver->saved = save (saver, &error);
      if (saver->saved)
        {
          qsnap_helper_reports_send_kind (saver->reports, "saved");
          return;
        }
      fail (saver, error);
    }
  qsnap_helper_reports_send_kind (saver->reports, "drained");
}

/* QEMU writes each page of a background snapshot by itself: a reader who is woken by each costs
 * more than the page, here and in QEMU. So a few may come first, as long as QEMU has room for them;
 * but not the first of all, for which the guest waits. */
static void
let_some_come (const Saver *saver, gsize n_read)
{
  if (saver->gathers && saver->had_page && n_read < PIPE_BYTES / 2)
    g_usleep (GATHER_US);
}

/* O_NONBLOCK is shared with the library's and QEMU's copies of this descriptor, and not touched: a
 * read() after poll() takes what is there. */
static void
serve_stream (Saver *saver)
{
  gssize n = read (saver->options->stream_fd, saver->buffer, BUFFER_BYTES);

  if (n > 0)
    {
      take (saver, saver->buffer, (gsize)n);
      let_some_come (saver, (gsize)n);
    }
  else if (n == 0)
    end (saver);
  else if (errno != EINTR && errno != EAGAIN)
    {
      g_autoptr (GError) error = NULL;

      g_set_error (&error, G_IO_ERROR, g_io_error_from_errno (errno),
                   "Could not read the migration stream: %s", g_strerror (errno));
      if (saver->mode == MODE_SAVING)
        fail (saver, error);
      end (saver);
    }
}

static void
wait_and_serve (Saver *saver)
{
  gboolean closed = qsnap_helper_reports_is_closed (saver->reports);
  struct pollfd fds[2] = {
    { .fd = closed ? -1 : saver->options->control_fd, .events = POLLIN },
    { .fd = saver->mode == MODE_WAITING || saver->ended ? -1 : saver->options->stream_fd,
      .events = POLLIN },
  };

  if (qsnap_helper_reports_is_waiting (saver->reports))
    fds[0].events |= POLLOUT;
  if (poll (fds, G_N_ELEMENTS (fds), -1) < 0)
    return;
  if (fds[0].revents & POLLOUT)
    qsnap_helper_reports_flush (saver->reports);
  if (fds[0].revents & ~POLLOUT)
    serve_control (saver);
  if (fds[1].revents != 0)
    serve_stream (saver);
}

static gboolean
prepare (Saver *saver)
{
  g_autoptr (GError) error = NULL;

  saver->writer = qsnap_image_writer_new (saver->options->dir_fd,
                                          (const char *const *)saver->options->raw_blocks,
                                          saver->options->pack, &error);
  if (saver->writer == NULL)
    {
      qsnap_helper_reports_send_error (saver->reports, error);
      return FALSE;
    }
  saver->parser = qsnap_stream_parser_new (&callbacks, saver);
  saver->buffer = g_malloc (BUFFER_BYTES);
  return TRUE;
}

static void
clear (Saver *saver)
{
  g_clear_pointer (&saver->parser, qsnap_stream_parser_free);
  g_clear_pointer (&saver->writer, qsnap_image_writer_free);
  g_clear_pointer (&saver->reports, qsnap_helper_reports_free);
  g_free (saver->buffer);
}

static char *
enter_sandbox (const QsnapSaverOptions *options)
{
  const QsnapSandboxDescriptor given[] = {
    { options->control_fd, QSNAP_SANDBOX_USE },
    { options->stream_fd, QSNAP_SANDBOX_USE },
    { options->dir_fd, QSNAP_SANDBOX_WRITE },
  };

  return qsnap_sandbox_enter (given, G_N_ELEMENTS (given));
}

int
qsnap_saver_run (const QsnapSaverOptions *options)
{
  g_autofree char *sandbox = enter_sandbox (options);
  Saver saver = { .options = options, .mode = MODE_WAITING, .skip = options->skip };

  saver.reports = qsnap_helper_reports_new (options->control_fd);
  /* Before "ready" nothing has been read, and no stream depends on this process. */
  if (!prepare (&saver))
    {
      clear (&saver);
      return 1;
    }
  qsnap_helper_reports_send_ready (saver.reports, sandbox);
  /* An application that is busy still gets its last reports; one that is dead ends the wait. */
  while (!saver.ended || (qsnap_helper_reports_is_waiting (saver.reports) &&
                          !qsnap_helper_reports_is_closed (saver.reports)))
    {
      notice_lost_application (&saver);
      wait_and_serve (&saver);
    }
  clear (&saver);
  return saver.saved || saver.mode == MODE_DISCARDING ? 0 : 1;
}
