/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

#include "memory/qsnap-checksum.h"

G_BEGIN_DECLS

/* Writes a migration stream: bytes as they are, and pages as sections of ram. It gathers large
 * pieces for its sink. */
typedef struct _QsnapRamEncoder QsnapRamEncoder;

typedef gboolean (*QsnapRamSink) (const guint8 *data,
                                  gsize len,
                                  gpointer user_data,
                                  GError **error);

QsnapRamEncoder *qsnap_ram_encoder_new (guint32 section_id, QsnapRamSink sink, gpointer user_data);
void qsnap_ram_encoder_free (QsnapRamEncoder *encoder);

/* Ends the section that may be open. */
gboolean
qsnap_ram_encoder_raw (QsnapRamEncoder *encoder, const void *data, gsize len, GError **error);

/* @data is NULL for a zero page. */
gboolean qsnap_ram_encoder_page (QsnapRamEncoder *encoder,
                                 const char *block,
                                 guint64 offset,
                                 const guint8 *data,
                                 GError **error);

/* Ends the section and gives all to the sink. */
gboolean qsnap_ram_encoder_flush (QsnapRamEncoder *encoder, GError **error);

/* Bytes so far; after flush() it is where the stream ends. */
guint64 qsnap_ram_encoder_get_position (QsnapRamEncoder *encoder);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapRamEncoder, qsnap_ram_encoder_free)

G_END_DECLS
