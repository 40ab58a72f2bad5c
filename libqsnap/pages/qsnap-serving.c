/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "pages/qsnap-serving.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-fd-writer.h"
#include "memory/qsnap-image.h"
#include "memory/qsnap-io.h"
#include "memory/qsnap-postcopy.h"
#include "pages/qsnap-rescue.h"
#include "pages/qsnap-revert-record.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap-process.h"
#include "qsnap-snapshot-private.h"
#include "qsnap-worker.h"
#include "qsnap/qsnap-error.h"

#define RESUME_SOCKET "pages"
#define RESUME_TIMEOUT_MS (60 * 1000)
#define CONNECT_PATIENCE_US (10 * G_USEC_PER_SEC)
#define RETRY_US 2000
/* What ends one page server may end the next one, too. */
#define MAX_PAGE_SERVERS 5

struct _QsnapServing
{
  char *path;
  int snapshot_fd;
  int revert_fd;
  GSocket *rescue;
  QsnapPageServer *server;
  /* As in the file. */
  JsonObject *record;
};

const char *
qsnap_serving_get_snapshot (QsnapServing *serving)
{
  return qsnap_json_get_string (serving->record, "snapshot");
}

/* --- the page server -------------------------------------------------------------------------- */

static void
drop_server (gpointer data)
{
  QsnapServing *serving = data;

  g_clear_pointer (&serving->server, qsnap_page_server_free);
}

static void
kill_server (gpointer data)
{
  QsnapServing *serving = data;

  g_clear_pointer (&serving->server, qsnap_page_server_kill);
}

/* Its reports are delivered there. */
static void
in_worker (QsnapServing *serving, void (*func) (gpointer))
{
  if (serving->server != NULL)
    qsnap_worker_run_and_wait (func, serving);
}

void
qsnap_serving_give_up (QsnapServing *serving)
{
  in_worker (serving, kill_server);
  qsnap_revert_record_remove (serving->revert_fd);
}

/* Before it begins: from then on the guest depends on what the record says. */
static gboolean
record_server (QsnapServing *serving, GError **error)
{
  GPid pid = qsnap_page_server_get_pid (serving->server);

  json_object_set_int_member (serving->record, "server-pid", pid);
  json_object_set_int_member (serving->record, "server-start", qsnap_process_start_time (pid));

  return qsnap_revert_record_write (serving->revert_fd, json_object_ref (serving->record), error);
}

static gboolean
run_server (
    QsnapServing *serving, int socket_fd, gboolean resume, QsnapWatch *watch, GError **error)
{
  JsonObject *host_pages = qsnap_json_get_object (serving->record, "host-pages");

  serving->server = qsnap_page_server_start (socket_fd, serving->snapshot_fd, serving->revert_fd,
                                             g_socket_get_fd (serving->rescue), resume, error);

  return serving->server != NULL && record_server (serving, error) &&
         qsnap_page_server_go (serving->server, host_pages, qsnap_worker_context (),
                               qsnap_watch_note_pages, watch, error);
}

gboolean
qsnap_serving_start (QsnapServing *serving, int socket_fd, QsnapWatch *watch, GError **error)
{
  return run_server (serving, socket_fd, FALSE, watch, error);
}

/* --- going on --------------------------------------------------------------------------------- */

/* QEMU has said that it listens, but its socket may come a moment later. */
static GSocket *
connect_to_qemu (const char *path, GError **error)
{
  g_autoptr (GSocketAddress) address = g_unix_socket_address_new (path);
  gint64 deadline = g_get_monotonic_time () + CONNECT_PATIENCE_US;

  for (;;)
    {
      g_autoptr (GError) failure = NULL;
      g_autoptr (GSocket) socket = g_socket_new (G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM,
                                                 G_SOCKET_PROTOCOL_DEFAULT, &failure);

      if (socket != NULL && g_socket_connect (socket, address, NULL, &failure))
        return g_steal_pointer (&socket);
      if (g_get_monotonic_time () > deadline)
        {
          g_propagate_prefixed_error (error, g_steal_pointer (&failure), "%s: ", path);
          return NULL;
        }
      g_usleep (RETRY_US);
    }
}

static gboolean
pages_have_come_back (QsnapWatch *watch, gconstpointer data)
{
  return watch->pages_resumed || watch->pages_ended;
}

static gboolean
wait_for_resume (QsnapWatch *watch, GError **error)
{
  gboolean over = qsnap_watch_wait_helper (watch, pages_have_come_back, RESUME_TIMEOUT_MS);
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&watch->lock);

  if (over && watch->pages_error == NULL)
    return TRUE;

  if (watch->pages_error != NULL)
    g_propagate_error (error, g_error_copy (watch->pages_error));
  else
    g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                 "QEMU has not gone on with the guest's memory in %d seconds",
                 RESUME_TIMEOUT_MS / 1000);

  return FALSE;
}

static GByteArray *
make_recovery (QsnapServing *serving, GError **error)
{
  g_autoptr (JsonObject) manifest = qsnap_manifest_read (serving->snapshot_fd, error);
  g_autoptr (QsnapImage) image = NULL;
  g_autoptr (GByteArray) recovery = g_byte_array_new ();

  if (manifest == NULL)
    return NULL;
  image = qsnap_image_new (serving->snapshot_fd, qsnap_json_get_object (manifest, "memory"), error);
  if (image == NULL)
    return NULL;
  qsnap_postcopy_put_recovery (image, recovery);

  return g_steal_pointer (&recovery);
}

/* A connection that is lost before QEMU 7.2 has been told to resume is the end of it: its thread
 * uses the file that it has closed. So it is told at once, and not by a page server that has to
 * start first. Answers in @again whether another page server may do better. */
static gboolean
resume (QsnapServing *serving,
        const char *path,
        const GByteArray *recovery,
        QsnapWatch *watch,
        gboolean *again,
        GError **error)
{
  g_autoptr (GSocket) socket = NULL;

  *again = FALSE;
  if (!qsnap_rescue_recover (serving->rescue, path, error))
    return FALSE;
  socket = connect_to_qemu (path, error);
  if (socket == NULL ||
      !qsnap_fd_write (g_socket_get_fd (socket), recovery->data, recovery->len, NULL, error))
    return FALSE;

  *again = TRUE;
  if (!run_server (serving, g_socket_get_fd (socket), TRUE, watch, error))
    return FALSE;
  if (wait_for_resume (watch, error))
    return TRUE;
  *again = qsnap_watch_pages_died (watch);

  return FALSE;
}

gboolean
qsnap_serving_resume (QsnapServing *serving, QsnapWatch *watch, GError **error)
{
  g_autofree char *path = g_build_filename (serving->path, RESUME_SOCKET, NULL);
  g_autoptr (GByteArray) recovery = make_recovery (serving, error);
  gboolean again = recovery != NULL, resumed = FALSE;

  for (guint i = 0; i < MAX_PAGE_SERVERS && again && !resumed; i++)
    {
      g_clear_error (error);
      in_worker (serving, drop_server);
      qsnap_watch_forget_pages (watch);
      (void)g_unlink (path);
      resumed = resume (serving, path, recovery, watch, &again, error);
      (void)g_unlink (path);
    }
  if (!resumed)
    g_prefix_error (error, "bringing in the guest's memory: ");

  return resumed;
}

/* --- making it -------------------------------------------------------------------------------- */

static QsnapServing *
serving_new (const char *path, int snapshot_fd, int revert_fd)
{
  QsnapServing *serving = g_new0 (QsnapServing, 1);

  serving->path = g_strdup (path);
  serving->snapshot_fd = snapshot_fd;
  serving->revert_fd = revert_fd;

  return serving;
}

QsnapServing *
qsnap_serving_new (const char *snapshot,
                   const char *id,
                   int snapshot_fd,
                   const char *path,
                   int revert_fd,
                   GPid qemu,
                   JsonObject *host_pages,
                   GError **error)
{
  g_autofree char *rescue = g_build_filename (path, QSNAP_RESCUE_SOCKET, NULL);
  g_autoptr (QsnapServing) serving = serving_new (path, fcntl (snapshot_fd, F_DUPFD_CLOEXEC, 3),
                                                  fcntl (revert_fd, F_DUPFD_CLOEXEC, 3));

  serving->record = qsnap_json_object_new (
      "snapshot", 's', snapshot, "id", 's', id, "qemu-pid", 'i', (gint64)qemu, "qemu-start", 'i',
      qsnap_process_start_time (qemu), "host-pages", 'o', host_pages, NULL);
  /* Who holds the lock goes on with the guest's memory: we do, and the page server does. */
  if (serving->snapshot_fd < 0 || serving->revert_fd < 0 ||
      flock (serving->revert_fd, LOCK_EX | LOCK_NB) != 0)
    {
      qsnap_io_fail (error, errno, "cannot keep the directories open");
      return NULL;
    }

  serving->rescue = qsnap_rescue_open (rescue, error);
  /* Nobody else is to connect. */
  (void)g_unlink (rescue);
  if (serving->rescue == NULL)
    return NULL;

  json_object_set_int_member (serving->record, "rescue-socket",
                              (gint64)qsnap_rescue_get_inode (serving->rescue));

  return g_steal_pointer (&serving);
}

static gboolean
check_state (QsnapServing *serving, GError **error)
{
  if (flock (serving->revert_fd, LOCK_EX | LOCK_NB) != 0 ||
      qsnap_process_is_alive (serving->record, "server-pid", "server-start"))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_BUSY,
                   "the guest is being given its memory: process %" G_GINT64_FORMAT,
                   qsnap_json_get_int (serving->record, "server-pid", 0));
      return FALSE;
    }
  if (qsnap_process_is_alive (serving->record, "qemu-pid", "qemu-start"))
    return TRUE;

  qsnap_revert_record_remove (serving->revert_fd);
  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_CLOSED, "the guest has ended");

  return FALSE;
}

/* Pages of another snapshot would be the end of the guest. */
static gboolean
check_snapshot (QsnapServing *serving, GError **error)
{
  g_autoptr (JsonObject) manifest = qsnap_manifest_read (serving->snapshot_fd, error);

  if (manifest == NULL)
    return FALSE;
  if (g_strcmp0 (qsnap_json_get_string (manifest, "id"),
                 qsnap_json_get_string (serving->record, "id")) == 0)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT,
               "%s is not the snapshot that the guest is brought back from",
               qsnap_serving_get_snapshot (serving));

  return FALSE;
}

static gboolean
open_snapshot (QsnapServing *serving, GError **error)
{
  const char *path = qsnap_serving_get_snapshot (serving);

  serving->snapshot_fd =
      path != NULL ? open (path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
  if (serving->snapshot_fd < 0)
    return qsnap_io_fail (error, path != NULL ? errno : EINVAL, "cannot open the snapshot %s",
                          path != NULL ? path : "");

  return qsnap_io_check_top (serving->snapshot_fd, path, error) &&
         qsnap_snapshot_lock_directory (serving->snapshot_fd, FALSE, error) &&
         check_snapshot (serving, error);
}

/* The record says whose pages which QEMU gets. */
static gboolean
check_owner (QsnapServing *serving, GError **error)
{
  struct stat found;

  if (fstat (serving->revert_fd, &found) != 0)
    return qsnap_io_fail (error, errno, "cannot look at the directory %s", serving->path);
  if (found.st_uid == geteuid ())
    return qsnap_io_check_top (serving->revert_fd, serving->path, error);

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
               "the revert's directory %s belongs to user %u", serving->path, (guint)found.st_uid);

  return FALSE;
}

static GSocket *
take_back_rescue (QsnapServing *serving, GError **error)
{
  GPid pid = (GPid)qsnap_json_get_int (serving->record, "qemu-pid", 0);
  guint64 inode = (guint64)qsnap_json_get_int (serving->record, "rescue-socket", 0);

  return qsnap_rescue_take_back (pid, qsnap_process_find_descriptor (pid, "socket", inode, O_RDWR),
                                 error);
}

QsnapServing *
qsnap_serving_load (const char *path, GError **error)
{
  g_autoptr (QsnapServing) serving =
      serving_new (path, -1, open (path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));

  if (serving->revert_fd < 0)
    {
      qsnap_io_fail (error, errno, "cannot open the directory %s", path);
      return NULL;
    }
  if (!check_owner (serving, error))
    return NULL;
  serving->record = qsnap_revert_record_read (serving->revert_fd, error);
  if (serving->record == NULL || !check_state (serving, error) || !open_snapshot (serving, error))
    return NULL;

  serving->rescue = take_back_rescue (serving, error);

  return serving->rescue != NULL ? g_steal_pointer (&serving) : NULL;
}

void
qsnap_serving_free (QsnapServing *serving)
{
  in_worker (serving, drop_server);
  g_clear_object (&serving->rescue);
  g_clear_pointer (&serving->record, json_object_unref);
  if (serving->snapshot_fd >= 0)
    close (serving->snapshot_fd);
  if (serving->revert_fd >= 0)
    close (serving->revert_fd);
  g_free (serving->path);
  g_free (serving);
}
