/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* What a helper process lets go of before the first byte that it was not given by the library: all
 * files but those in the folders that it was given, every other descriptor, new programs, processes
 * and connections. Guests are hostile, and their memory is parsed here. */

/* Sanitizers and coverage open files and look at the process themselves: where they are built in,
 * the sandbox is off. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(QSNAP_COVERAGE)
#define QSNAP_SANDBOX_IS_ON 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define QSNAP_SANDBOX_IS_ON 0
#endif
#endif
#ifndef QSNAP_SANDBOX_IS_ON
#define QSNAP_SANDBOX_IS_ON 1
#endif

typedef enum
{
  QSNAP_SANDBOX_USE,    /* no folder: what is open stays open */
  QSNAP_SANDBOX_READ,   /* files in the folder are read */
  QSNAP_SANDBOX_WRITE,  /* files in the folder are made, written, renamed, read and removed */
  QSNAP_SANDBOX_REMOVE, /* files in the folder are removed */
} QsnapSandboxAccess;

typedef struct
{
  int fd;
  QsnapSandboxAccess access;
} QsnapSandboxDescriptor;

/* There is no way back. Answers what holds from now on, in words for a log. What the kernel, or
 * this build, does not have is not an error: a capture that runs is worth more than a layer. */
char *qsnap_sandbox_enter (const QsnapSandboxDescriptor *given, guint n_given);

G_END_DECLS
