/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The sandbox of the helper processes, tried from inside: each case goes into it in a process of
 * its own. */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper/qsnap-sandbox.h"
#include "other-users.h"

#define NOBODY 65534

typedef struct
{
  char *path;
  int written; /* a folder, and the next two */
  int read;
  int outside;
  int socket; /* not connected */
  int listening;
  int forgotten; /* not given */
  struct sockaddr_un address;
  char *layers;
  gboolean has_landlock;
  gboolean has_seccomp;
} Inside;

/* --- going in ------------------------------------------------------------------------------ */

static int
make_folder (Inside *inside, const char *name)
{
  g_autofree char *path = g_build_filename (inside->path, name, NULL);
  g_autofree char *file = g_build_filename (path, "file", NULL);

  g_assert_cmpint (g_mkdir (path, 0755), ==, 0);
  g_assert_true (g_file_set_contents (file, "content", -1, NULL));

  return open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void
listen_somewhere (Inside *inside)
{
  g_autofree char *path = g_build_filename (inside->path, "socket", NULL);

  inside->address.sun_family = AF_UNIX;
  g_strlcpy (inside->address.sun_path, path, sizeof inside->address.sun_path);
  inside->listening = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (
      bind (inside->listening, (struct sockaddr *)&inside->address, sizeof inside->address), ==, 0);
  g_assert_cmpint (listen (inside->listening, 1), ==, 0);
  inside->socket = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* @path is the parent's, who removes it. */
static void
prepare (Inside *inside)
{
  memset (inside, 0, sizeof *inside);
  inside->path = g_strdup (g_getenv ("QSNAP_TEST_FOLDER"));
  inside->written = make_folder (inside, "written");
  inside->read = make_folder (inside, "read");
  inside->outside = make_folder (inside, "outside");
  listen_somewhere (inside);
  inside->forgotten = open ("/dev/null", O_RDWR | O_CLOEXEC);
}

static void
enter (Inside *inside)
{
  const QsnapSandboxDescriptor given[] = {
    { inside->outside, QSNAP_SANDBOX_USE },   { inside->read, QSNAP_SANDBOX_READ },
    { inside->written, QSNAP_SANDBOX_WRITE }, { inside->socket, QSNAP_SANDBOX_USE },
    { inside->listening, QSNAP_SANDBOX_USE },
  };

  inside->layers = qsnap_sandbox_enter (given, G_N_ELEMENTS (given));
  g_test_message ("%s", inside->layers);
  inside->has_landlock = QSNAP_SANDBOX_IS_ON && strstr (inside->layers, "landlock (not") == NULL;
  inside->has_seccomp = QSNAP_SANDBOX_IS_ON && strstr (inside->layers, "seccomp (not") == NULL;
}

/* The descriptors go with the process. */
static void
clear (Inside *inside)
{
  g_free (inside->path);
  g_free (inside->layers);
}

/* --- what fails ---------------------------------------------------------------------------- */

static void
assert_refused (const char *what, gssize result)
{
  int code = errno;

  g_test_message ("%s: %s", what, result < 0 ? g_strerror (code) : "works");
  g_assert_cmpint (result, <, 0);
  g_assert_true (code == EACCES || code == EPERM);
}

static void
try_files (Inside *inside)
{
  g_autofree char *absolute = g_build_filename (inside->path, "outside", "file", NULL);

  if (!inside->has_landlock)
    return;
  assert_refused ("open /etc/passwd", open ("/etc/passwd", O_RDONLY));
  assert_refused ("open /proc/self/maps", open ("/proc/self/maps", O_RDONLY));
  assert_refused ("open a file by its path", open (absolute, O_RDONLY));
  assert_refused ("open a file beside", openat (inside->written, "../outside/file", O_RDONLY));
  assert_refused ("open in a folder that is none of its own",
                  openat (inside->outside, "file", O_RDONLY));
  assert_refused ("make a file beside",
                  openat (inside->written, "../new", O_WRONLY | O_CREAT, 0600));
  assert_refused ("make a file where it reads",
                  openat (inside->read, "new", O_WRONLY | O_CREAT, 0600));
  assert_refused ("write where it reads", openat (inside->read, "file", O_WRONLY));
  assert_refused ("truncate where it reads", openat (inside->read, "file", O_WRONLY | O_TRUNC));
  assert_refused ("remove where it reads", unlinkat (inside->read, "file", 0));
  assert_refused ("remove beside", unlinkat (inside->written, "../outside/file", 0));
  assert_refused ("link to elsewhere", symlinkat ("/etc/passwd", inside->written, "link"));
}

static void
try_connections (Inside *inside)
{
  struct sockaddr_in inet = { .sin_family = AF_INET, .sin_port = htons (80) };

  inet.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  if (!inside->has_seccomp)
    return;
  assert_refused ("connect", connect (inside->socket, (struct sockaddr *)&inside->address,
                                      sizeof inside->address));
  assert_refused ("accept", accept (inside->listening, NULL, NULL));
  assert_refused ("bind", bind (inside->socket, (struct sockaddr *)&inet, sizeof inet));
  assert_refused ("make a unix socket", socket (AF_UNIX, SOCK_STREAM, 0));
  assert_refused ("make an internet socket", socket (AF_INET, SOCK_STREAM, 0));
}

static void
try_programs (Inside *inside)
{
  char *const argv[] = { (char *)"true", NULL };

  /* Landlock alone keeps it from programs, too. */
  if (inside->has_landlock || inside->has_seccomp)
    assert_refused ("run a program", execv ("/bin/true", argv));
  if (!inside->has_seccomp)
    return;
  assert_refused ("run a program that is open", fexecve (inside->written, argv, argv));
  assert_refused ("make a process", syscall (SYS_fork));
  assert_refused ("signal the parent", kill (getppid (), 0));
  assert_refused ("trace the parent", syscall (SYS_ptrace, 16, getppid (), 0, 0));
  assert_refused ("leave this folder", chdir ("/"));
  assert_refused ("have privileges again", setuid (0));
  assert_refused ("memory that can be run",
                  (gssize)(gintptr)mmap (NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void
try_descriptors (Inside *inside)
{
  g_assert_cmpint (fcntl (inside->forgotten, F_GETFD), <, 0);
  g_assert_cmpint (fcntl (inside->socket, F_GETFD), >=, 0);
  g_assert_cmpint (fcntl (STDOUT_FILENO, F_GETFD), >=, 0);
}

/* --- what works ---------------------------------------------------------------------------- */

static void
assert_works (const char *what, gssize result)
{
  if (result < 0)
    g_error ("%s: %s", what, g_strerror (errno));
}

static void
use_folders (Inside *inside)
{
  char text[8] = "";
  int fd = openat (inside->read, "file", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

  assert_works ("open where it reads", fd);
  assert_works ("read", pread (fd, text, 7, 0));
  g_assert_cmpstr (text, ==, "content");
  assert_works ("make a folder", mkdirat (inside->written, "ram", 0700));
  fd = openat (inside->written, "new", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  assert_works ("make a file", fd);
  assert_works ("truncate", ftruncate (fd, 65536));
  assert_works ("write", pwrite (fd, "text", 4, 4096));
  if (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0)
    g_assert_cmpint (errno, ==, EOPNOTSUPP);
  assert_works ("sync", fsync (fd));
  assert_works ("close", close (fd));
  assert_works ("rename", renameat (inside->written, "new", inside->written, "newer"));
  assert_works ("remove", unlinkat (inside->written, "newer", 0));
  assert_works ("sync the folder", fsync (inside->written));
}

/* --- the cases ----------------------------------------------------------------------------- */

static void
go_in (uid_t user)
{
  Inside inside;

  prepare (&inside);
  if (user != 0)
    {
      g_assert_cmpint (fchown (inside.written, user, user), ==, 0);
      g_assert_cmpint (setresuid (user, user, user), ==, 0);
    }
  enter (&inside);
  try_descriptors (&inside);
  try_files (&inside);
  try_connections (&inside);
  try_programs (&inside);
  use_folders (&inside);
  clear (&inside);
}

static void
in_a_folder (mode_t mode, gboolean passes)
{
  g_autofree char *path = g_dir_make_tmp ("qsnap-sandbox-XXXXXX", NULL);
  const char *argv[] = { "rm", "-rf", path, NULL };

  g_assert_cmpint (g_chmod (path, mode), ==, 0);
  g_setenv ("QSNAP_TEST_FOLDER", path, TRUE);
  g_test_trap_subprocess (NULL, 30 * G_USEC_PER_SEC, G_TEST_SUBPROCESS_DEFAULT);
  g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
  g_assert_false (g_test_trap_reached_timeout ());
  if (passes)
    g_test_trap_assert_passed ();
  else
    g_test_trap_assert_failed ();
}

static void
test_inside (void)
{
  if (g_test_subprocess ())
    go_in (0);
  else
    in_a_folder (0700, TRUE);
}

static void
test_user (void)
{
  if (g_test_subprocess ())
    go_in (NOBODY);
  else if (can_be_other_users (NOBODY))
    in_a_folder (0755, TRUE);
  else
    g_test_skip ("needs root to be another user");
}

/* What this kernel and this build have is there. */
static void
test_layers (void)
{
  g_autofree char *landlock = NULL;
  Inside inside;

  if (!g_test_subprocess ())
    {
      in_a_folder (0700, TRUE);
      return;
    }
  prepare (&inside);
  errno = 0;
  if (syscall (SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0)
    landlock = g_strdup_printf (" (not: %s)", g_strerror (errno));
  enter (&inside);
  if (QSNAP_SANDBOX_IS_ON)
    {
      g_autofree char *expected = g_strdup_printf (
          "descriptors, privileges, limits, landlock%s, seccomp", landlock != NULL ? landlock : "");

      g_assert_true (g_str_has_prefix (inside.layers, expected));
#ifdef HAVE_SECCOMP
      g_assert_cmpstr (inside.layers, ==, expected);
#endif
    }
  else
    g_assert_cmpstr (inside.layers, ==, "descriptors, privileges");
  clear (&inside);
}

/* The errors of a helper have words, though nothing can be loaded for them any more. */
static void
test_errors (void)
{
  Inside inside;

  if (!g_test_subprocess ())
    {
      in_a_folder (0700, TRUE);
      return;
    }
  prepare (&inside);
  enter (&inside);
  g_assert_cmpstr (g_strerror (ENOSPC), ==, "No space left on device");
  g_assert_cmpstr (g_strerror (EIO), ==, "Input/output error");
  clear (&inside);
}

/* A process that ends by itself is one that its parent gets to know about. */
static void
test_abort (void)
{
  Inside inside;

  if (g_test_subprocess ())
    {
      prepare (&inside);
      enter (&inside);
      abort ();
    }
  in_a_folder (0700, FALSE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/sandbox/inside", test_inside);
  g_test_add_func ("/sandbox/user", test_user);
  g_test_add_func ("/sandbox/layers", test_layers);
  g_test_add_func ("/sandbox/errors", test_errors);
  g_test_add_func ("/sandbox/abort", test_abort);
  return g_test_run ();
}
