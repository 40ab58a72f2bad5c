/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser again, and the image behind it: an input is a list of what to put into a stream, so
 * that most of it makes sense. Each item is a byte for its kind, and what that needs. */

#include "fuzz.h"

#include "stream-builder.h"
#include "stream-check.h"

#define MAX_STREAM (128 * 1024)

static const char *const blocks[] = { "pc.ram", "vga.vram", "/rom@etc/acpi/tables", "x.sums",
                                      "0000:00:02.0/virtio-net-pci.rom" };
static const char *const subsections[] = { "configuration/uuid", "configuration/capabilities",
                                           "configuration/target-page-bits",
                                           "configuration/unknown" };
static const char *const machines[] = { NULL, "pc-q35-7.2", "pc-i440fx-10.0", "", "microvm" };
static const char *const devices[] = { "timer", "cpu", "0000:00:03.0/virtio-mem-early" };
static const char *const descriptions[] = { NULL, "{}", "{\"page_size\": 4096, \"devices\": []}",
                                            "not JSON" };

#define PICK(names, input) names[fuzz_take_u8 (input) % G_N_ELEMENTS (names)]

static void
put_raw (StreamBuilder *builder, FuzzInput *input)
{
  gsize length = fuzz_take_u8 (input);
  const guint8 *data = fuzz_take (input, &length);

  stream_builder_raw (builder, data, length);
}

static void
put_subsection (StreamBuilder *builder, FuzzInput *input)
{
  const char *name = PICK (subsections, input);
  gsize length = fuzz_take_u8 (input);
  const guint8 *data = fuzz_take (input, &length);

  stream_builder_subsection (builder, name, data, length);
}

/* The total is right, but for what the input adds to it. */
static void
put_setup (StreamBuilder *builder, FuzzInput *input)
{
  guint n = fuzz_take_u8 (input) % 6;
  guint first = fuzz_take_u8 (input);
  guint n_pages[6];
  guint64 total = 0;

  for (guint i = 0; i < n; i++)
    {
      n_pages[i] = fuzz_take_u8 (input);
      total += n_pages[i] * (guint64)STREAM_PAGE;
    }
  stream_builder_ram_head (builder, total + fuzz_take_u8 (input));
  for (guint i = 0; i < n; i++)
    stream_builder_block (builder, blocks[(first + i) % G_N_ELEMENTS (blocks)],
                          n_pages[i] * (guint64)STREAM_PAGE);
}

static void
put_page (StreamBuilder *builder, FuzzInput *input)
{
  guint block = fuzz_take_u8 (input) % (G_N_ELEMENTS (blocks) + 1);
  guint page = fuzz_take_u8 (input);

  stream_builder_page (builder, block < G_N_ELEMENTS (blocks) ? blocks[block] : NULL,
                       page * (guint64)STREAM_PAGE, fuzz_take_u8 (input));
}

/* All of a block: an image needs the small ones whole. */
static void
put_pages (StreamBuilder *builder, FuzzInput *input)
{
  const char *block = PICK (blocks, input);
  guint n = fuzz_take_u8 (input);
  guint seed = fuzz_take_u8 (input) % 4;

  for (guint i = 0; i < n; i++)
    stream_builder_page (builder, block, i * (guint64)STREAM_PAGE, seed);
}

static void
put_item (StreamBuilder *builder, FuzzInput *input)
{
  switch (fuzz_take_u8 (input) % 16)
    {
    case 0:
      stream_builder_head (builder, PICK (machines, input));
      break;
    case 1:
      put_subsection (builder, input);
      break;
    case 2:
      put_setup (builder, input);
      break;
    case 3:
      stream_builder_part (builder);
      break;
    case 4:
      stream_builder_last_part (builder);
      break;
    case 5:
      put_page (builder, input);
      break;
    case 6:
      put_pages (builder, input);
      break;
    case 7:
      stream_builder_end_part (builder);
      break;
    case 8:
      stream_builder_device (builder, fuzz_take_u8 (input), PICK (devices, input),
                             fuzz_take_u8 (input));
      break;
    case 9:
      stream_builder_end (builder, PICK (descriptions, input));
      break;
    case 10:
      put_raw (builder, input);
      break;
    case 11:
      stream_builder_u64 (builder, fuzz_take_u16 (input));
      break;
    case 12:
      stream_builder_u8 (builder, 0x08);
      stream_builder_u16 (builder, fuzz_take_u8 (input));
      stream_builder_u16 (builder, fuzz_take_u8 (input));
      break;
    case 13:
      builder->section_id = fuzz_take_u8 (input);
      break;
    case 14:
      stream_builder_ram_head (builder, fuzz_take_u64 (input));
      break;
    case 15:
    default:
      stream_builder_block (builder, PICK (blocks, input), fuzz_take_u64 (input));
      break;
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  FuzzInput input = { data, size };
  g_autoptr (StreamBuilder) builder = stream_builder_new ();

  while (input.size > 0 && builder->bytes->len < MAX_STREAM)
    put_item (builder, &input);
  if (stream_check (builder->bytes->data, builder->bytes->len))
    stream_check_image (builder->bytes->data, builder->bytes->len);

  return 0;
}
