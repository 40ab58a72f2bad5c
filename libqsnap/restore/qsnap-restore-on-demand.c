/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory/qsnap-io.h"
#include "memory/qsnap-postcopy.h"
#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-json.h"
#include "qsnap-session-private.h"
#include "restore/qsnap-restore-private.h"

/* The way back on demand: QEMU is the destination of a postcopy migration, and the page server is
 * its source. */

#define SOCKET_NAME "qsnap-pages"
#define POLL_US 2000
/* What happens until the guest runs takes milliseconds; on a slow disk, moments. */
#define RUN_TIMEOUT_MS (60 * 1000)

/* --- can it be done? -------------------------------------------------------------------------- */

/* Faults of the kernel are waited for too, which not every user may. QEMU before 8.1 knows only the
 * system call. */
static gboolean
probe_userfaultfd (GError **error)
{
  int fd = (int)syscall (SYS_userfaultfd, O_CLOEXEC);
  int saved_errno = errno;
  int device = fd < 0 ? open ("/dev/userfaultfd", O_RDWR | O_CLOEXEC) : -1;

  if (device >= 0)
    {
      fd = ioctl (device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
      close (device);
    }
  if (fd >= 0)
    {
      close (fd);
      return TRUE;
    }

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
               "userfaultfd: %s (it takes CAP_SYS_PTRACE, vm.unprivileged_userfaultfd=1 or, for "
               "QEMU 8.1 and later, access to /dev/userfaultfd)",
               g_strerror (saved_errno));

  return FALSE;
}

gboolean
qsnap_restore_can_serve (QsnapRestore *restore, GError **error)
{
  if (qsnap_command_has_device (restore->command, "virtio-mem"))
    g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                         "a virtio-mem device has to discard what is not plugged");
  else if (probe_userfaultfd (error) && qsnap_postcopy_is_possible (restore->image, error))
    return TRUE;

  g_prefix_error_literal (error, "the guest's memory cannot be brought in on demand: ");

  return FALSE;
}

/* --- host pages ------------------------------------------------------------------------------- */

/* A line of the monitor's `info ramblock`: the name, and the page size as a number and its unit. */
static gboolean
parse_line (const char *line, char **name, guint64 *size)
{
  static const char units[] = "KMG";
  g_auto (GStrv) words = g_strsplit_set (line, " \t\r", -1);
  const char *found[3] = { NULL };
  guint n = 0;

  for (GStrv word = words; *word != NULL && n < G_N_ELEMENTS (found); word++)
    if (**word != '\0')
      found[n++] = *word;
  if (n < G_N_ELEMENTS (found) || !g_ascii_string_to_unsigned (found[1], 10, 1, 1024, size, NULL) ||
      strchr (units, *found[2]) == NULL)
    return FALSE;

  *size <<= 10 * (strchr (units, *found[2]) - units + 1);
  *name = g_strdup (found[0]);

  return TRUE;
}

static JsonObject *
query_host_pages (QsnapQmp *qmp, GError **error)
{
  g_autoptr (JsonNode) reply =
      qsnap_qmp_run (qmp, "human-monitor-command",
                     qsnap_json_node_new ("command-line", 's', "info ramblock", NULL), error);
  g_auto (GStrv) lines = NULL;
  JsonObject *host_pages;

  if (reply == NULL)
    return NULL;

  host_pages = json_object_new ();
  lines =
      g_strsplit (JSON_NODE_HOLDS_VALUE (reply) && json_node_get_value_type (reply) == G_TYPE_STRING
                      ? json_node_get_string (reply)
                      : "",
                  "\n", -1);
  for (GStrv line = lines; *line != NULL; line++)
    {
      g_autofree char *name = NULL;
      guint64 size;

      if (parse_line (*line, &name, &size) && size != QSNAP_PAGE_SIZE)
        json_object_set_int_member (host_pages, name, (gint64)size);
    }

  return host_pages;
}

/* --- QEMU's side ------------------------------------------------------------------------------ */

gboolean
qsnap_restore_switch_postcopy (QsnapQmp *qmp, gboolean on, GError **error)
{
  static const char *const names[] = { "events", "postcopy-ram", NULL };

  return qsnap_qmp_switch_capabilities (qmp, names, on, error);
}

static gboolean
make_serving (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  g_autofree char *snapshot = g_file_get_path (qsnap_snapshot_get_directory (restore->snapshot));
  g_autofree char *absolute = g_canonicalize_filename (snapshot, NULL);
  JsonObject *host_pages = query_host_pages (qmp, error);

  if (host_pages == NULL)
    return FALSE;

  restore->serving = qsnap_serving_new (absolute, qsnap_json_get_string (restore->manifest, "id"),
                                        restore->snapshot_fd, restore->path, restore->dir_fd,
                                        qsnap_qemu_get_pid (restore->qemu), host_pages, error);

  return restore->serving != NULL;
}

static gboolean
connect_both (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  int sockets[2];
  gboolean connected;

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
    return qsnap_io_fail (error, errno, "cannot make the migration's socket");

  connected = qsnap_qmp_getfd (qmp, SOCKET_NAME, sockets[0], error) &&
              qsnap_qmp_do (qmp, "migrate-incoming",
                            qsnap_json_node_new ("uri", 's', "fd:" SOCKET_NAME, NULL), error) &&
              qsnap_serving_start (restore->serving, sockets[1], restore->watch, error);
  close (sockets[0]);
  close (sockets[1]);

  return connected;
}

/* --- running ---------------------------------------------------------------------------------- */

static gboolean
runs_or_never_will (QsnapWatch *watch, gconstpointer data)
{
  return watch->pages_ended || g_strcmp0 (watch->migration_status, "failed") == 0 ||
         watch->run_events->len > 0;
}

/* The page server's reason is why QEMU has closed the connection, too. */
static gboolean
check_pages (QsnapRestore *restore, GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&restore->watch->lock);

  if (restore->watch->pages_error != NULL)
    g_propagate_error (error, g_error_copy (restore->watch->pages_error));
  else if (g_strcmp0 (restore->watch->migration_status, "failed") == 0)
    g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "QEMU's migration failed");
  else
    return TRUE;

  return FALSE;
}

static gboolean
wait_until_it_runs (QsnapRestore *restore, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (qsnap_watch_wait (restore->watch, runs_or_never_will, NULL, RUN_TIMEOUT_MS,
                        restore->cancellable, &failure))
    return check_pages (restore, error);

  if (failure == NULL)
    g_set_error (&failure, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                 "the guest does not run %d seconds after its devices' state was sent",
                 RUN_TIMEOUT_MS / 1000);
  g_propagate_error (error, g_steal_pointer (&failure));

  return FALSE;
}

/* No event tells of a guest that is paused when it has been brought in. */
static gboolean
wait_until_it_is_there (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  gint64 deadline = g_get_monotonic_time () + RUN_TIMEOUT_MS * G_GINT64_CONSTANT (1000);

  for (;;)
    {
      g_autofree char *status = qsnap_qmp_query_status (qmp, error);

      if (status == NULL || !check_pages (restore, error) || !qsnap_restore_go_on (restore, error))
        return FALSE;
      if (!g_str_equal (status, "inmigrate"))
        return TRUE;
      if (g_get_monotonic_time () > deadline)
        {
          g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                               "the guest's devices are not loaded");
          return FALSE;
        }
      g_usleep (POLL_US);
    }
}

static gboolean
undo_serving (gpointer data, GError **error)
{
  QsnapRestore *restore = data;

  /* Once all went well it is the session's. */
  if (restore->serving != NULL)
    qsnap_serving_give_up (restore->serving);

  return TRUE;
}

gboolean
qsnap_restore_serve (QsnapRestore *restore, QsnapQmp *qmp, GError **error)
{
  if (!make_serving (restore, qmp, error))
    return FALSE;

  qsnap_undo_push (restore->undo, "end the page server", NULL, undo_serving, restore);

  return connect_both (restore, qmp, error) &&
         (qsnap_restore_stays_paused (restore) ? wait_until_it_is_there (restore, qmp, error)
                                               : wait_until_it_runs (restore, error));
}
