/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The image's format: what the writer makes and the reader expects. */

#define QSNAP_IMAGE_FORMAT 1
/* With blocks that are compressed. */
#define QSNAP_IMAGE_PACKED_FORMAT 2
#define QSNAP_IMAGE_CHECKSUM "xxh3-64"

#define QSNAP_IMAGE_RAM_DIR "ram"
#define QSNAP_IMAGE_STATE "state"
#define QSNAP_IMAGE_JSON "memory.json"
#define QSNAP_IMAGE_SUMS_SUFFIX ".sums"
#define QSNAP_IMAGE_PACKED_SUFFIX ".zst"
#define QSNAP_IMAGE_PACKED_COMPRESSION "zstd"

/* Longer blocks get a file of their own. The device RAM of a PC (16 MiB of VGA) stays below. */
#define QSNAP_IMAGE_MAX_SMALL_BLOCK (16u << 20)
/* Blocks that are small, but together more than this, get files as well: the writer holds small
 * ones in memory. */
#define QSNAP_IMAGE_MAX_SMALL_TOTAL (256u << 20)

/* Where a block's pages are: "ram/" and the name, with all but [A-Za-z0-9._-], and a leading dot,
 * percent-encoded; one that would be too long for a file name is cut and gets a hash. @packed pages
 * have a suffix. */
char *qsnap_image_block_path (const char *block, gboolean packed);
char *qsnap_image_sums_path (const char *block, gboolean packed);

G_END_DECLS
