/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "helper/qsnap-sandbox.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

/* A guest with more RAM blocks that have files of their own, two each, is none that there is. */
#define MAX_DESCRIPTORS 1024

/* Each of the layers answers 0 or an errno. */
typedef int (*LayerFunc) (const QsnapSandboxDescriptor *given, guint n_given);

/* --- descriptors --------------------------------------------------------------------------- */

static guint
next_given (const QsnapSandboxDescriptor *given, guint n_given, guint first)
{
  guint next = G_MAXINT;

  for (guint i = 0; i < n_given; i++)
    if (given[i].fd >= (int)first)
      next = MIN (next, (guint)given[i].fd);

  return next;
}

/* The library gives no others, but a program that it is linked into may have some that every child
 * inherits. */
static int
close_others (const QsnapSandboxDescriptor *given, guint n_given)
{
  guint first = STDERR_FILENO + 1;

  while (first < G_MAXINT)
    {
      guint next = next_given (given, n_given, first);

      if (next > first && close_range (first, next - 1, 0) != 0)
        return errno;
      first = next + 1;
    }

  return 0;
}

static int
forbid_new_privileges (const QsnapSandboxDescriptor *given, guint n_given)
{
  return prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
}

#if QSNAP_SANDBOX_IS_ON

/* --- limits -------------------------------------------------------------------------------- */

static gboolean
is_writer (const QsnapSandboxDescriptor *given, guint n_given)
{
  for (guint i = 0; i < n_given; i++)
    if (given[i].access == QSNAP_SANDBOX_WRITE)
      return TRUE;

  return FALSE;
}

/* Lowered, and never raised, which needs a privilege. */
static int
set_limit (int resource, rlim_t most)
{
  struct rlimit limit;

  if (getrlimit (resource, &limit) != 0)
    return errno;
  limit.rlim_cur = MIN (limit.rlim_cur, most);
  limit.rlim_max = limit.rlim_cur;

  return setrlimit (resource, &limit) == 0 ? 0 : errno;
}

/* How long a file of RAM gets is known only from the stream, so who writes has no limit of it. No
 * process at all holds only without root. */
static int
set_limits (const QsnapSandboxDescriptor *given, guint n_given)
{
  int result = set_limit (RLIMIT_CORE, 0);

  if (result == 0)
    result = set_limit (RLIMIT_NPROC, 0);
  if (result == 0)
    result = set_limit (RLIMIT_NOFILE, MAX_DESCRIPTORS);
  if (result == 0 && !is_writer (given, n_given))
    result = set_limit (RLIMIT_FSIZE, 0);

  return result;
}

/* --- landlock ------------------------------------------------------------------------------ */

/* The C library has no wrappers, and the kernel's header may be older than the kernel. */
typedef struct
{
  guint64 fs;
  guint64 net;
  guint64 scoped;
} Ruleset;

#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_TRUNCATE (1u << 14)
#define ACCESS_WRITE                                                                               \
  (ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE | LANDLOCK_ACCESS_FS_MAKE_REG |   \
   LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE)

/* Everything that this version of the kernel can forbid. */
static const Ruleset rulesets[] = {
  { (1u << 13) - 1, 0, 0 }, /* Linux 5.13: files */
  { (1u << 14) - 1, 0, 0 }, /* 5.19: moving them to another folder */
  { (1u << 15) - 1, 0, 0 }, /* 6.2: truncating them */
  { (1u << 15) - 1, 3, 0 }, /* 6.7: binding and connecting TCP */
  { (1u << 16) - 1, 3, 0 }, /* 6.10: ioctl of devices */
  { (1u << 16) - 1, 3, 3 }, /* 6.12: abstract sockets, and signals to others */
};

static guint64
allowed_access (QsnapSandboxAccess access)
{
  switch (access)
    {
    case QSNAP_SANDBOX_READ:
      return ACCESS_READ;
    case QSNAP_SANDBOX_WRITE:
      return ACCESS_WRITE;
    case QSNAP_SANDBOX_REMOVE:
      return LANDLOCK_ACCESS_FS_REMOVE_FILE;
    case QSNAP_SANDBOX_USE:
    default:
      return 0;
    }
}

static int
add_rules (int ruleset_fd,
           const Ruleset *ruleset,
           const QsnapSandboxDescriptor *given,
           guint n_given)
{
  for (guint i = 0; i < n_given; i++)
    {
      struct landlock_path_beneath_attr rule = {
        .allowed_access = allowed_access (given[i].access) & ruleset->fs,
        .parent_fd = given[i].fd,
      };

      if (rule.allowed_access != 0 &&
          syscall (SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return errno;
    }

  return 0;
}

static int
forbid_files (const QsnapSandboxDescriptor *given, guint n_given)
{
  long version = syscall (SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  const Ruleset *ruleset;
  int fd, result;

  if (version < 1)
    return version < 0 ? errno : ENOSYS;
  ruleset = &rulesets[MIN ((gsize)version, G_N_ELEMENTS (rulesets)) - 1];
  /* An older kernel takes the longer structure, as what it does not know is zero. */
  fd = (int)syscall (SYS_landlock_create_ruleset, ruleset, sizeof *ruleset, 0);
  if (fd < 0)
    return errno;

  result = add_rules (fd, ruleset, given, n_given);
  if (result == 0 && syscall (SYS_landlock_restrict_self, fd, 0) != 0)
    result = errno;
  close (fd);

  return result;
}

/* --- seccomp ------------------------------------------------------------------------------- */

#ifdef HAVE_SECCOMP

static const int used_calls[] = {
  /* streams and sockets */
  SCMP_SYS (close),
  SCMP_SYS (fcntl),
  SCMP_SYS (getpeername),
  SCMP_SYS (getsockname),
  SCMP_SYS (getsockopt),
  SCMP_SYS (poll),
  SCMP_SYS (ppoll),
  SCMP_SYS (read),
  SCMP_SYS (recvfrom),
  SCMP_SYS (sendmsg),
  SCMP_SYS (sendto),
  SCMP_SYS (setsockopt),
  SCMP_SYS (shutdown),
  SCMP_SYS (write),
  /* files */
  SCMP_SYS (fadvise64),
  SCMP_SYS (fstat),
  SCMP_SYS (lseek),
  SCMP_SYS (newfstatat),
  SCMP_SYS (openat),
  SCMP_SYS (pread64),
  SCMP_SYS (unlinkat),
  /* memory */
  SCMP_SYS (brk),
  SCMP_SYS (getrandom),
  SCMP_SYS (madvise),
  SCMP_SYS (mremap),
  SCMP_SYS (munmap),
  /* threads, though there is one: locks, and what the C library does at an abort */
  SCMP_SYS (futex),
  SCMP_SYS (getpid),
  SCMP_SYS (gettid),
  /* who we are, time, signals, the end */
  SCMP_SYS (clock_gettime),
  SCMP_SYS (clock_nanosleep),
  SCMP_SYS (exit),
  SCMP_SYS (exit_group),
  SCMP_SYS (geteuid),
  SCMP_SYS (restart_syscall),
  SCMP_SYS (rt_sigaction),
  SCMP_SYS (rt_sigprocmask),
  SCMP_SYS (rt_sigreturn),
};

static const int writing_calls[] = {
  SCMP_SYS (fallocate), SCMP_SYS (fsync),    SCMP_SYS (ftruncate), SCMP_SYS (mkdirat),
  SCMP_SYS (pwrite64),  SCMP_SYS (renameat), SCMP_SYS (renameat2), SCMP_SYS (sync_file_range),
};

static int
allow (scmp_filter_ctx filter, const int *calls, gsize n_calls)
{
  int result = 0;

  for (gsize i = 0; result == 0 && i < n_calls; i++)
    result = seccomp_rule_add (filter, SCMP_ACT_ALLOW, calls[i], 0);

  return result;
}

/* Memory that is not to be run, and signals to nobody else. */
static int
allow_some (scmp_filter_ctx filter)
{
  const struct scmp_arg_cmp not_run = SCMP_A2 (SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
  const struct scmp_arg_cmp ourselves = SCMP_A0 (SCMP_CMP_EQ, (scmp_datum_t)getpid ());
  int result = seccomp_rule_add_array (filter, SCMP_ACT_ALLOW, SCMP_SYS (mmap), 1, &not_run);

  if (result == 0)
    result = seccomp_rule_add_array (filter, SCMP_ACT_ALLOW, SCMP_SYS (mprotect), 1, &not_run);
  if (result == 0)
    result = seccomp_rule_add_array (filter, SCMP_ACT_ALLOW, SCMP_SYS (tgkill), 1, &ourselves);

  return result;
}

/* Any other call fails, and the process goes on. To kill it would be the usual way, but then a call
 * that was forgotten here (another C library has others) stalls a guest: nobody reads its stream,
 * or gives it its memory. */
static int
forbid_calls (const QsnapSandboxDescriptor *given, guint n_given)
{
  scmp_filter_ctx filter = seccomp_init (SCMP_ACT_ERRNO (EPERM));
  int result = filter != NULL ? 0 : -ENOMEM;

  if (result == 0)
    result = allow (filter, used_calls, G_N_ELEMENTS (used_calls));
  if (result == 0 && is_writer (given, n_given))
    result = allow (filter, writing_calls, G_N_ELEMENTS (writing_calls));
  if (result == 0)
    result = allow_some (filter);
  if (result == 0)
    result = seccomp_load (filter);
  if (filter != NULL)
    seccomp_release (filter);

  return -result;
}

#else

static int
forbid_calls (const QsnapSandboxDescriptor *given, guint n_given)
{
  return ENOSYS;
}

#endif
#endif

/* --- all of it ----------------------------------------------------------------------------- */

static const struct
{
  const char *name;
  LayerFunc enter;
} layers[] = {
  { "descriptors", close_others },
  { "privileges", forbid_new_privileges }, /* the two at the end need it without root */
#if QSNAP_SANDBOX_IS_ON
  { "limits", set_limits },
  { "landlock", forbid_files },
  { "seccomp", forbid_calls }, /* the last: it forbids the others */
#endif
};

char *
qsnap_sandbox_enter (const QsnapSandboxDescriptor *given, guint n_given)
{
  GString *said = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (layers); i++)
    {
      int result = layers[i].enter (given, n_given);

      g_string_append_printf (said, "%s%s", said->len > 0 ? ", " : "", layers[i].name);
      if (result != 0)
        g_string_append_printf (said, " (not: %s)", g_strerror (result));
    }

  return g_string_free (said, FALSE);
}
