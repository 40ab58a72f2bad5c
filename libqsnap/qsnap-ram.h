/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "qsnap-process.h"

G_BEGIN_DECLS

/* What the kernel tells of the RAM of a guest, in the memory of its QEMU. */

typedef struct
{
  guint64 start;
  guint64 end;
  /* Bytes: what was touched, and what of it is in huge pages. */
  guint64 resident;
  guint64 huge;
  /* Written to by other processes, or into a file. */
  gboolean shared;
  /* Of no file, and private. */
  gboolean anonymous;
  /* The kernel gives it transparent huge pages where it can. */
  gboolean eligible;
  /* hugetlbfs: it has huge pages only. */
  gboolean hugetlb;
} QsnapRamMapping;

/* The mappings that are RAM, in the text of a smaps. */
GArray *qsnap_ram_parse (const char *smaps);

/* Those of the process; NULL, with the error, where they cannot be read. The kernel walks all page
 * tables for it: some milliseconds a GiB. */
GArray *qsnap_ram_read (QsnapProcess *process, GError **error);

G_END_DECLS
