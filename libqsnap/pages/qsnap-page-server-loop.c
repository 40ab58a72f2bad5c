/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the page server does: what the guest asks for comes first, all else follows, every page
 * once, until QEMU says that it has all. A page whose checksum is wrong is never sent: the
 * connection is closed, and the guest waits where it would have used it. */

#include "config.h"

#include "pages/qsnap-page-server-loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "helper/qsnap-helper-reports.h"
#include "helper/qsnap-sandbox.h"
#include "memory/qsnap-io.h"
#include "memory/qsnap-postcopy.h"
#include "memory/qsnap-return-path.h"
#include "pages/qsnap-page-store.h"
#include "pages/qsnap-rescue.h"
#include "pages/qsnap-revert-record.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap/qsnap-error.h"

#define PROGRESS_INTERVAL (G_USEC_PER_SEC / 10)
/* What is in the socket is in the way of what is asked for next. */
#define SOCKET_BYTES (256 << 10)
#define INPUT_BYTES 4096
/* Requests that are not answered yet; no guest has that many processors that wait. */
#define MAX_REQUESTS 4096

typedef enum
{
  STATE_WAITING,  /* for "go" */
  STATE_RESUMING, /* the destination has been asked what it has; then it says that it goes on */
  STATE_SERVING,
  STATE_ENDING, /* all has been sent, and it has not said yet that it is content */
  STATE_SETTLED,
  STATE_FAILED
} State;

typedef struct
{
  guint block;
  guint64 start;
} Request;

typedef struct
{
  const QsnapPageServerOptions *options;
  QsnapHelperReports *reports;
  JsonObject *manifest;
  QsnapImage *image;
  QsnapPageStore *store;
  QsnapReturnPath *path;
  guint32 section_id;
  State state;
  gboolean *has_bitmap; /* of each block, while resuming */
  guint n_bitmaps;
  GByteArray *out;
  gsize sent; /* of out */
  GArray *requests;
  guint64 n_requests;
  gint64 last_progress;
} Server;

/* --- reports --------------------------------------------------------------------------------- */

static JsonObject *
describe (Server *server, const char *kind)
{
  guint64 total = qsnap_image_get_bytes (server->image);

  return qsnap_json_object_new ("report", 's', kind, "bytes-done", 'i',
                                (gint64)(total - qsnap_page_store_get_bytes_left (server->store)),
                                "bytes-total", 'i', (gint64)total, "requests", 'i',
                                (gint64)server->n_requests, NULL);
}

static void
report_progress (Server *server)
{
  gint64 now = g_get_monotonic_time ();

  if (now - server->last_progress < PROGRESS_INTERVAL)
    return;
  server->last_progress = now;
  qsnap_helper_reports_try (server->reports, describe (server, "progress"));
}

static void
fail (Server *server, const GError *error)
{
  if (server->state == STATE_FAILED)
    return;
  server->state = STATE_FAILED;
  /* The guest waits, and is not given anything else. */
  shutdown (server->options->socket_fd, SHUT_RDWR);
  qsnap_helper_reports_send_error (server->reports, error);
}

static void
settle (Server *server)
{
  g_autoptr (GSocket) rescue = g_socket_new_from_fd (server->options->rescue_fd, NULL);

  server->state = STATE_SETTLED;
  qsnap_revert_record_remove (server->options->revert_fd);
  if (rescue != NULL)
    qsnap_rescue_end (rescue);
  qsnap_helper_reports_send (server->reports, describe (server, "settled"));
}

/* --- what QEMU says --------------------------------------------------------------------------- */

static gboolean
find_block (Server *server, const char *name, guint *block, GError **error)
{
  *block = qsnap_image_find_block (server->image, name);
  if (*block != G_MAXUINT)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
               "QEMU asks for the RAM block “%s”, which the snapshot does not have", name);

  return FALSE;
}

static gboolean
on_request (const char *name, guint64 start, guint32 len, gpointer user_data, GError **error)
{
  Server *server = user_data;
  Request request = { 0, start };

  if (!find_block (server, name, &request.block, error))
    return FALSE;
  if (!qsnap_page_store_can_have (server->store, request.block, start, len))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                   "QEMU asks for %u bytes at 0x%" G_GINT64_MODIFIER
                   "x of the RAM block “%s”, which is no page of it",
                   len, start, name);
      return FALSE;
    }

  server->n_requests++;
  /* Those for what has been sent would fill the list for good, once all has been. */
  if (qsnap_page_store_is_left (server->store, request.block, start))
    g_array_append_val (server->requests, request);

  return TRUE;
}

static gboolean
on_shut (guint32 status, gpointer user_data, GError **error)
{
  Server *server = user_data;

  if (server->state == STATE_ENDING && server->sent == server->out->len && status == 0)
    {
      settle (server);
      return TRUE;
    }

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED,
               "QEMU has ended the migration of the guest's memory (%u)", status);

  return FALSE;
}

static gboolean
on_bitmap (const char *name, const guint8 *bits, gsize len, gpointer user_data, GError **error)
{
  Server *server = user_data;
  guint block;

  if (!find_block (server, name, &block, error))
    return FALSE;
  if (server->state != STATE_RESUMING || server->has_bitmap[block])
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                   "QEMU says unasked which pages of the RAM block “%s” it has", name);
      return FALSE;
    }
  if (!qsnap_page_store_mark (server->store, block, bits, len, error))
    return FALSE;

  server->has_bitmap[block] = TRUE;
  server->n_bitmaps++;

  return TRUE;
}

static gboolean
on_resumed (gpointer user_data, GError **error)
{
  Server *server = user_data;

  if (server->state != STATE_RESUMING ||
      server->n_bitmaps < qsnap_image_get_n_blocks (server->image))
    {
      g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL,
                           "QEMU has resumed what was not interrupted");
      return FALSE;
    }
  server->state = STATE_SERVING;
  qsnap_helper_reports_send_kind (server->reports, "resumed");

  return TRUE;
}

static const QsnapReturnPathCallbacks callbacks = { on_shut, on_request, on_bitmap, on_resumed };

static void
set_lost (GError **error, int saved_errno)
{
  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED,
               "QEMU has closed the connection that it gets the guest's memory from: %s",
               saved_errno != 0 ? g_strerror (saved_errno) : "end of file");
}

static void
serve_input (Server *server)
{
  guint8 data[INPUT_BYTES];
  gssize n = recv (server->options->socket_fd, data, sizeof data, MSG_DONTWAIT);
  g_autoptr (GError) error = NULL;

  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  /* Before "go" only the end is waited for, and what comes with it is about nothing. */
  if (n <= 0 || server->state == STATE_WAITING)
    set_lost (&error, n < 0 ? errno : 0);
  else if (qsnap_return_path_push (server->path, data, (gsize)n, &error))
    return;
  if (server->state != STATE_SETTLED)
    fail (server, error);
}

/* --- what QEMU gets --------------------------------------------------------------------------- */

static gboolean
answer_requests (Server *server, GError **error)
{
  guint done = 0;
  gboolean good = TRUE;

  while (good && done < server->requests->len && server->out->len < SOCKET_BYTES)
    {
      const Request *request = &g_array_index (server->requests, Request, done++);

      good = qsnap_page_store_put_requested (server->store, request->block, request->start,
                                             server->out, error);
    }
  g_array_remove_range (server->requests, 0, done);

  return good;
}

static gboolean
fill (Server *server, GError **error)
{
  g_byte_array_set_size (server->out, 0);
  server->sent = 0;
  if (!answer_requests (server, error))
    return FALSE;
  if (server->out->len == 0 && !qsnap_page_store_put_more (server->store, server->out, error))
    return FALSE;

  if (qsnap_page_store_get_bytes_left (server->store) == 0)
    {
      qsnap_postcopy_put_end (server->out, server->section_id);
      g_array_set_size (server->requests, 0);
      server->state = STATE_ENDING;
    }
  report_progress (server);

  return TRUE;
}

static void
serve_output (Server *server)
{
  g_autoptr (GError) error = NULL;
  gssize n;

  if (server->sent == server->out->len && server->state == STATE_SERVING && !fill (server, &error))
    {
      fail (server, error);
      return;
    }

  n = send (server->options->socket_fd, server->out->data + server->sent,
            server->out->len - server->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n >= 0)
    server->sent += (gsize)n;
  else if (errno != EAGAIN && errno != EINTR)
    {
      set_lost (&error, errno);
      fail (server, error);
    }
}

/* --- what the library says -------------------------------------------------------------------- */

static gboolean
read_host_pages (Server *server, JsonObject *sizes, guint64 *host_pages, GError **error)
{
  for (guint i = 0; i < qsnap_image_get_n_blocks (server->image); i++)
    {
      const char *name = qsnap_image_get_block_name (server->image, i);
      gint64 size = qsnap_json_get_int (sizes, name, QSNAP_PAGE_SIZE);

      if (size < QSNAP_PAGE_SIZE || size > QSNAP_POSTCOPY_MAX_HOST_PAGE ||
          (size & (size - 1)) != 0 ||
          qsnap_image_get_block_length (server->image, i) % (guint64)size != 0)
        {
          g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                       "The RAM block “%s” has host pages of %" G_GINT64_FORMAT " bytes", name,
                       size);
          return FALSE;
        }
      host_pages[i] = (guint64)size;
    }

  return TRUE;
}

static gboolean
begin (Server *server, JsonObject *command, GError **error)
{
  guint n = qsnap_image_get_n_blocks (server->image);
  g_autofree guint64 *host_pages = g_new0 (guint64, n);

  if (!read_host_pages (server, qsnap_json_get_object (command, "host-pages"), host_pages, error))
    return FALSE;

  server->store = qsnap_page_store_new (server->image, host_pages);
  if (server->options->recover)
    {
      if (!qsnap_postcopy_find_section (server->image, &server->section_id, error))
        return FALSE;
      server->has_bitmap = g_new0 (gboolean, n);
    }
  else if (!qsnap_postcopy_put_head (server->image, host_pages, server->out, &server->section_id,
                                     error))
    return FALSE;

  qsnap_page_store_begin (server->store, server->section_id);
  server->state = server->options->recover ? STATE_RESUMING : STATE_SERVING;

  return TRUE;
}

static void
serve_control (Server *server)
{
  g_autoptr (JsonNode) node = qsnap_helper_reports_receive (server->reports);
  JsonObject *command = qsnap_json_object (node);
  g_autoptr (GError) error = NULL;

  if (server->state == STATE_WAITING &&
      g_strcmp0 (qsnap_json_get_string (command, "command"), "go") == 0 &&
      !begin (server, command, &error))
    fail (server, error);
}

/* Nobody will say "go", and no guest depends on this process yet. */
static void
notice_lost_application (Server *server)
{
  if (server->state == STATE_WAITING && qsnap_helper_reports_is_closed (server->reports))
    server->state = STATE_FAILED;
}

/* --- all of it -------------------------------------------------------------------------------- */

static gboolean
is_over (Server *server)
{
  return server->state == STATE_SETTLED || server->state == STATE_FAILED;
}

static gboolean
has_output (Server *server)
{
  return server->state == STATE_SERVING || server->sent < server->out->len;
}

static void
wait_and_serve (Server *server)
{
  struct pollfd fds[2] = {
    { .fd = qsnap_helper_reports_is_closed (server->reports) ? -1 : server->options->control_fd,
      .events = POLLIN },
    { .fd = is_over (server) ? -1 : server->options->socket_fd },
  };

  if (qsnap_helper_reports_is_waiting (server->reports))
    fds[0].events |= POLLOUT;
  if (server->state != STATE_WAITING && server->requests->len < MAX_REQUESTS)
    fds[1].events |= POLLIN;
  if (has_output (server))
    fds[1].events |= POLLOUT;
  if (poll (fds, G_N_ELEMENTS (fds), -1) < 0)
    return;

  if (fds[0].revents & POLLOUT)
    qsnap_helper_reports_flush (server->reports);
  if (fds[0].revents & ~POLLOUT)
    serve_control (server);
  if (fds[1].revents & ~POLLOUT)
    serve_input (server);
  if (fds[1].revents & POLLOUT && has_output (server) && !is_over (server))
    serve_output (server);
}

static gboolean
prepare (Server *server, GError **error)
{
  int size = SOCKET_BYTES;

  server->manifest = qsnap_manifest_read (server->options->dir_fd, error);
  if (server->manifest == NULL)
    return FALSE;
  server->image = qsnap_image_new (server->options->dir_fd,
                                   qsnap_json_get_object (server->manifest, "memory"), error);
  if (server->image == NULL || !qsnap_image_check (server->image, error))
    return FALSE;

  /* Without it, a request would only be answered later. */
  (void)setsockopt (server->options->socket_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  server->path = qsnap_return_path_new (&callbacks, server);
  server->out = g_byte_array_new ();
  server->requests = g_array_new (FALSE, FALSE, sizeof (Request));

  return TRUE;
}

static void
serve (Server *server, const char *sandbox)
{
  qsnap_helper_reports_send_ready (server->reports, sandbox);
  notice_lost_application (server);
  /* An application that is busy still gets its last reports; one that is dead ends the wait. */
  while (!is_over (server) || (qsnap_helper_reports_is_waiting (server->reports) &&
                               !qsnap_helper_reports_is_closed (server->reports)))
    {
      wait_and_serve (server);
      notice_lost_application (server);
    }
}

static void
clear (Server *server)
{
  g_clear_pointer (&server->has_bitmap, g_free);
  g_clear_pointer (&server->store, qsnap_page_store_free);
  g_clear_pointer (&server->image, qsnap_image_free);
  g_clear_pointer (&server->path, qsnap_return_path_free);
  g_clear_pointer (&server->manifest, json_object_unref);
  g_clear_pointer (&server->out, g_byte_array_unref);
  g_clear_pointer (&server->requests, g_array_unref);
  g_clear_pointer (&server->reports, qsnap_helper_reports_free);
}

static char *
enter_sandbox (const QsnapPageServerOptions *options)
{
  const QsnapSandboxDescriptor given[] = {
    { options->control_fd, QSNAP_SANDBOX_USE },   { options->socket_fd, QSNAP_SANDBOX_USE },
    { options->rescue_fd, QSNAP_SANDBOX_USE },    { options->dir_fd, QSNAP_SANDBOX_READ },
    { options->revert_fd, QSNAP_SANDBOX_REMOVE },
  };

  return qsnap_sandbox_enter (given, G_N_ELEMENTS (given));
}

int
qsnap_page_server_run (const QsnapPageServerOptions *options)
{
  g_autofree char *sandbox = enter_sandbox (options);
  Server server = { .options = options, .state = STATE_WAITING };
  g_autoptr (GError) error = NULL;

  server.reports = qsnap_helper_reports_new (options->control_fd);
  if (prepare (&server, &error))
    serve (&server, sandbox);
  else
    qsnap_helper_reports_send_error (server.reports, error);
  clear (&server);

  return server.state == STATE_SETTLED ? 0 : 1;
}
