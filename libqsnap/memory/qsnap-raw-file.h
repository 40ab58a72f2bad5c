/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

#include "memory/qsnap-checksum.h"
#include "memory/qsnap-pack.h"

G_BEGIN_DECLS

/* The pages of one RAM block, and their checksums, each in a file: either a raw, sparse one with
 * the pages at their offsets, or one with them in compressed form (qsnap-pack.h). */
typedef struct _QsnapRawFile QsnapRawFile;

/* Pages that follow each other are gathered here and written at once. It is shared by the files of
 * an image, as the stream stays with one block for long; it must outlive them. */
typedef struct _QsnapRun QsnapRun;

QsnapRun *qsnap_run_new (void);
void qsnap_run_free (QsnapRun *run);
/* Bytes that were written to files, without holes. */
guint64 qsnap_run_get_written (QsnapRun *run);

/* @ram_fd is the folder, @name and @sums_name are names in it; neither may exist. The pages are
 * compressed by @packer, which must outlive the file; NULL: they are not. */
QsnapRawFile *qsnap_raw_file_new (int ram_fd,
                                  const char *name,
                                  const char *sums_name,
                                  guint64 length,
                                  QsnapRun *run,
                                  QsnapPacker *packer,
                                  GError **error);
void qsnap_raw_file_free (QsnapRawFile *file);

/* @data is NULL for a zero page. A page may come again: the last one counts. */
gboolean
qsnap_raw_file_write_page (QsnapRawFile *file, guint64 offset, const guint8 *data, GError **error);

/* Writes what is still gathered and the checksums, and waits until both are on stable storage. */
gboolean qsnap_raw_file_finish (QsnapRawFile *file, GError **error);

/* Pages that are not zero; pages that came, zero or not. */
guint64 qsnap_raw_file_get_n_data (QsnapRawFile *file);
guint64 qsnap_raw_file_get_n_seen (QsnapRawFile *file);
/* Bytes in the file of compressed pages. */
guint64 qsnap_raw_file_get_packed_length (QsnapRawFile *file);
/* Of the file of checksums, once finished. */
const char *qsnap_raw_file_get_digest (QsnapRawFile *file);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapRun, qsnap_run_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapRawFile, qsnap_raw_file_free)

G_END_DECLS
