/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the fuzz targets share. Each target is a program: libFuzzer's with -Dfuzz=true, else one
 * that replays its seeds, a test as any other. */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

int LLVMFuzzerInitialize (int *argc, char ***argv);
int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);

/* --- an input that is taken apart, from its beginning; behind its end there are zeros --------- */

typedef struct
{
  const guint8 *data;
  gsize size;
} FuzzInput;

guint fuzz_take_u8 (FuzzInput *input);
guint fuzz_take_u16 (FuzzInput *input);
guint64 fuzz_take_u64 (FuzzInput *input);
/* At most @length bytes, and how many there are. */
const guint8 *fuzz_take (FuzzInput *input, gsize *length);
/* All that is left, with a NUL behind it. */
char *fuzz_take_text (FuzzInput *input);

/* --- a folder that is empty at first, in memory if that goes, and removed when the process ends
 * ------------ */

int fuzz_folder (void);
const char *fuzz_folder_path (void);
void fuzz_folder_empty (void);
void fuzz_folder_write (const char *name, const void *data, gsize length);

G_END_DECLS
