/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-buffer.h"

#include <sys/mman.h>

/* Before the buffer, which is at the beginning of a page: the length of the mapping. */
#define HEAD_BYTES 4096

QsnapBuffer *
qsnap_buffer_try_new (gsize size)
{
  gsize length = size + HEAD_BYTES;
  gsize *head;

  if (length < size)
    return NULL;
  head = mmap (NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (head == MAP_FAILED)
    return NULL;
  (void)madvise (head, length, MADV_DONTDUMP);
  *head = length;

  return (QsnapBuffer *)head + HEAD_BYTES;
}

QsnapBuffer *
qsnap_buffer_new (gsize size)
{
  QsnapBuffer *buffer = qsnap_buffer_try_new (size);

  if (buffer == NULL)
    g_error ("no memory for a buffer of %" G_GSIZE_FORMAT " bytes", size);

  return buffer;
}

void
qsnap_buffer_free (QsnapBuffer *buffer)
{
  gsize *head = buffer != NULL ? (gsize *)(gpointer)(buffer - HEAD_BYTES) : NULL;

  if (head != NULL)
    munmap (head, *head);
}
