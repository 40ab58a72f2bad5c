/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser of migration streams. An input is a stream, byte by byte. */

#include "fuzz.h"

#include "stream-check.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  stream_check (data, size);

  return 0;
}
