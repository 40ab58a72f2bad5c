/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* make-seeds FOLDER COMMANDS: seeds that are not text, or are many, in a folder a fuzz target, and
 * a list of them. The streams have the shape of QEMU 7.2's and 10.0's, the answers are those of the
 * mock QEMU. */

#include "config.h"

#include <glib/gstdio.h>
#include <qsnap/qsnap.h>
#include <string.h>

#include "fuzz.h"
#include "memory/qsnap-image-writer.h"
#include "memory/qsnap-pack.h"
#include "qsnap-mock-qemu.h"
#include "stream-builder.h"

static const char *folder;

static void
write_seed (const char *target, const char *name, const void *data, gsize size)
{
  g_autofree char *path = g_build_filename (folder, target, NULL);
  g_autofree char *file = g_build_filename (path, name, NULL);
  g_autoptr (GError) error = NULL;

  g_assert (g_mkdir_with_parents (path, 0755) == 0);
  g_file_set_contents (file, data, (gssize)size, &error);
  g_assert_no_error (error);
  g_print ("%s/%s\n", target, name);
}

/* --- streams ------------------------------------------------------------------------------- */

#define RAM_PAGES 16
#define VGA_PAGES 2

static void
put_capabilities (StreamBuilder *stream)
{
  static const char capabilities[] = "\0\0\0\2\x06"
                                     "events"
                                     "\x0c"
                                     "return-path";

  stream_builder_subsection (stream, "configuration/capabilities", capabilities,
                             sizeof capabilities - 1);
}

static void
put_setup (StreamBuilder *stream)
{
  stream_builder_ram_head (stream, (RAM_PAGES + VGA_PAGES) * STREAM_PAGE);
  stream_builder_block (stream, "pc.ram", RAM_PAGES * STREAM_PAGE);
  stream_builder_block (stream, "vga.vram", VGA_PAGES * STREAM_PAGE);
  stream_builder_ram_tail (stream);
}

static void
put_pages (StreamBuilder *stream)
{
  stream_builder_page (stream, "pc.ram", 5 * STREAM_PAGE, 1);
  for (guint i = 0; i < RAM_PAGES; i++)
    if (i != 5)
      stream_builder_page (stream, NULL, i * STREAM_PAGE, 0);
  stream_builder_end_part (stream);
  stream_builder_part (stream);
  stream_builder_page (stream, "vga.vram", 0, 0);
  stream_builder_page (stream, NULL, STREAM_PAGE, 0);
}

/* RAM has no end section. */
static StreamBuilder *
background_7_2 (void)
{
  StreamBuilder *stream = stream_builder_new ();

  stream_builder_head (stream, "pc-q35-7.2");
  stream_builder_subsection (stream, "configuration/uuid", "0123456789abcdef", 16);
  put_setup (stream);
  stream_builder_part (stream);
  put_pages (stream);
  stream_builder_end_part (stream);
  stream_builder_device (stream, 0, "timer", 20);
  stream_builder_device (stream, 7, "0000:00:02.0/vga", 50);
  stream_builder_end (stream, "{\"page_size\": 4096, \"devices\": []}");

  return stream;
}

/* A plain migration has one, and pages that come twice. */
static StreamBuilder *
plain_10_0 (void)
{
  StreamBuilder *stream = stream_builder_new ();

  stream_builder_head (stream, "pc-i440fx-10.0");
  put_capabilities (stream);
  stream_builder_device (stream, 9, "0000:00:04.0/virtio-mem-early", 10);
  put_setup (stream);
  stream_builder_part (stream);
  put_pages (stream);
  stream_builder_u64 (stream, 0x200);
  stream_builder_end_part (stream);
  stream_builder_raw (stream, "\x08\x00\x0b\x00\x00", 5);
  stream_builder_last_part (stream);
  stream_builder_page (stream, "pc.ram", 5 * STREAM_PAGE, 0);
  stream_builder_end_part (stream);
  stream_builder_device (stream, 0, "timer", 20);
  stream_builder_end (stream, NULL);

  return stream;
}

/* From before QEMU 2.4: no configuration. */
static StreamBuilder *
nameless (void)
{
  StreamBuilder *stream = stream_builder_new ();

  stream_builder_head (stream, NULL);
  put_setup (stream);
  stream_builder_part (stream);
  stream_builder_page (stream, "vga.vram", 0, 0);
  stream_builder_end_part (stream);
  stream_builder_end (stream, NULL);

  return stream;
}

static void
make_streams (void)
{
  static const struct
  {
    const char *name;
    StreamBuilder *(*build) (void);
  } streams[] = { { "background-7.2", background_7_2 },
                  { "plain-10.0", plain_10_0 },
                  { "nameless", nameless } };

  for (guint i = 0; i < G_N_ELEMENTS (streams); i++)
    {
      g_autoptr (StreamBuilder) stream = streams[i].build ();

      write_seed ("stream", streams[i].name, stream->bytes->data, stream->bytes->len);
    }
}

/* What fuzz-records.c builds the same from. */
static void
make_records (void)
{
  static const guint8 background[] = {
    0,  1,      /* head, pc-q35-7.2 */
    1,  0,  16, /* configuration/uuid */
    1,  2,  3,  4,  5,  6, 7, 8, 9,  10, 11,
    12, 13, 14, 15, 16, 2, 2, 0, 16, 2,  0, /* pc.ram and vga.vram */
    7,  3,                                  /* the end of the setup; a part */
    5,  0,  5,  1,                          /* a page of pc.ram */
    5,  5,  6,  0,                          /* a zero page of the same */
    6,  1,  2,  0,                          /* vga.vram, whole */
    7,                                      /* the end of the part */
    8,  0,  0,  20, 8,  3, 1, 9,            /* two devices */
    9,  2                                   /* the end, with a description */
  };
  static const guint8 plain[] = {
    0, 2, 2,  3, 0, 9, 3,  2,  0, 7, 3, 6, 0, 9, 1, 6, 1, 3, 2, 6, 2,
    2, 0, 11, 2, 0, 7, 12, 11, 0, 4, 5, 0, 3, 0, 7, 8, 0, 0, 5, 9, 0
  };
  static const guint8 early[] = { 0, 4, 8, 9, 2, 10, 2, 1, 0, 4, 0, 7,
                                  3, 6, 0, 4, 2, 7,  8, 0, 0, 5, 9, 1 };

  write_seed ("records", "background-7.2", background, sizeof background);
  write_seed ("records", "plain-10.0", plain, sizeof plain);
  write_seed ("records", "early", early, sizeof early);
}

/* --- images -------------------------------------------------------------------------------- */

#define FLAG_PACKED (1u << 5) /* of fuzz-image.c */

/* Page 5 has the content 1. */
static void
put_image_pages (GByteArray *seed)
{
  guint8 pages[RAM_PAGES] = { [5] = 1 };

  g_byte_array_append (seed, pages, sizeof pages);
}

/* The same, and the frame that it is in. */
static void
put_packed_image_pages (GByteArray *seed, JsonObject *block)
{
  guint8 pages[3 * RAM_PAGES] = { [3 * 5] = 1 };
  g_autoptr (QsnapPacker) packer = qsnap_packer_new (NULL);
  g_autofree guint8 *frame = g_malloc (qsnap_pack_bound ());
  guint8 page[STREAM_PAGE], length[2];
  gsize n;

  stream_builder_fill (page, 1);
  n = qsnap_packer_pack (packer, page, 1, frame);
  length[0] = (guint8)(n >> 8);
  length[1] = (guint8)n;
  g_byte_array_append (seed, pages, sizeof pages);
  g_byte_array_append (seed, length, sizeof length);
  g_byte_array_append (seed, frame, (guint)n);
  json_object_set_string_member (block, "file", "ram/pc.ram.zst");
  json_object_set_string_member (block, "sums", "ram/pc.ram.zst.sums");
  json_object_set_string_member (block, "compression", "zstd");
  json_object_set_int_member (block, "packed-length", (gint64)n);
}

/* Of what the writer wrote, in the form that fuzz-image.c takes. */
static void
write_image_seed (const char *name, guint flags, JsonObject *memory)
{
  g_autoptr (GByteArray) seed = g_byte_array_new ();
  g_autofree char *path = g_build_filename (fuzz_folder_path (), QSNAP_IMAGE_STATE, NULL);
  g_autofree char *state = NULL;
  g_autofree char *text = NULL;
  g_autoptr (JsonNode) node = json_node_init_object (json_node_alloc (), memory);
  const guint8 head[] = { (guint8)flags, RAM_PAGES };
  JsonArray *blocks = json_object_get_array_member (memory, "blocks");
  JsonObject *block = json_array_get_object_element (blocks, 0);
  guint8 state_length[2];
  gsize length;

  g_assert (g_file_get_contents (path, &state, &length, NULL));
  g_byte_array_append (seed, head, sizeof head);
  if (flags & FLAG_PACKED)
    put_packed_image_pages (seed, block);
  else
    put_image_pages (seed);
  json_object_set_string_member (block, "sums-checksum", "$SUMS");
  json_object_set_string_member (json_object_get_object_member (memory, "state"), "checksum",
                                 "$STATE");
  text = json_to_string (node, TRUE);
  state_length[0] = (guint8)(length >> 8);
  state_length[1] = (guint8)length;
  g_byte_array_append (seed, state_length, sizeof state_length);
  g_byte_array_append (seed, (const guint8 *)state, (guint)length);
  g_byte_array_append (seed, (const guint8 *)text, (guint)strlen (text));
  write_seed ("image", name, seed->data, seed->len);
}

static void
make_images (void)
{
  static const char *const raw[] = { "pc.ram", NULL };
  static const char *const names[] = { "good",     "wrong-sum", "lost-page", "link",
                                       "replaced", "left-out",  "packed" };
  guint n = qsnap_pack_is_supported (NULL) ? G_N_ELEMENTS (names) : G_N_ELEMENTS (names) - 1;

  for (guint i = 0; i < n; i++)
    {
      g_autoptr (StreamBuilder) stream = background_7_2 ();
      g_autoptr (QsnapImageWriter) writer = NULL;
      g_autoptr (QsnapStreamParser) parser = NULL;

      fuzz_folder_empty ();
      writer = qsnap_image_writer_new (fuzz_folder (), raw, FALSE, NULL);
      parser = qsnap_stream_parser_new (&qsnap_image_writer_callbacks, writer);
      g_assert (qsnap_stream_parser_push (parser, stream->bytes->data, stream->bytes->len, NULL));
      g_assert (qsnap_stream_parser_finish (parser, NULL));
      g_assert (qsnap_image_writer_finish (writer, parser, NULL));
      write_image_seed (names[i], i == 0 ? 0 : 1u << (i - 1), qsnap_image_writer_get_json (writer));
    }
}

/* --- the postcopy return path -------------------------------------------------------------- */

static void
put_packet (GByteArray *seed, guint type, const void *data, gsize length)
{
  const guint8 head[] = { (guint8)(4 + length), 0, (guint8)type, 0, (guint8)length };

  g_byte_array_append (seed, head, sizeof head);
  g_byte_array_append (seed, data, (guint)length);
}

/* Behind a bitmap's name there are its size, itself and a mark, which its length does not count. */
static void
put_bitmap (GByteArray *seed, const char *name)
{
  static const guint8 rest[] = { 0, 0, 0, 0, 0,    0,    0,    8,    1,    0,    0,    0,
                                 0, 0, 0, 0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
  guint start = seed->len;
  guint8 length = (guint8)strlen (name);

  put_packet (seed, 5, "", 0);
  g_byte_array_append (seed, &length, 1);
  g_byte_array_append (seed, (const guint8 *)name, length);
  g_byte_array_append (seed, rest, sizeof rest);
  seed->data[start] = (guint8)(seed->len - start - 1);
  seed->data[start + 4] = (guint8)(length + 1);
}

static void
make_return_paths (void)
{
  static const guint8 named[] = "\0\0\0\0\0\0\x50\0\0\0\x10\0\6pc.ram";
  static const guint8 same[] = "\0\0\0\0\0\0\x60\0\0\0\x10\0";
  static const guint8 zero[] = { 0, 0, 0, 0 };
  static const guint8 one[] = { 0, 0, 0, 1 };

  for (guint flags = 0; flags < 16; flags++)
    {
      g_autoptr (GByteArray) seed = g_byte_array_new ();
      g_autofree char *name = g_strdup_printf ("conversation-%u", flags);
      guint8 byte = (guint8)flags;

      g_byte_array_append (seed, &byte, 1);
      put_packet (seed, 2, one, sizeof one);
      if (flags & 1)
        {
          put_bitmap (seed, "pc.ram");
          put_bitmap (seed, "vga.vram");
          put_packet (seed, 6, one, sizeof one);
        }
      put_packet (seed, 3, named, sizeof named - 1);
      put_packet (seed, 4, same, sizeof same - 1);
      for (guint i = 0; i < 12; i++)
        put_packet (seed, 2, zero, sizeof zero);
      put_packet (seed, 1, zero, sizeof zero);
      write_seed ("return-path", name, seed->data, seed->len);
    }
}

/* --- conversations ------------------------------------------------------------------------- */

#define GREETING                                                                                   \
  "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "                \
  "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\n"
#define RETURNED(value) "{\"return\": " value ", \"id\": $ID}\n"

static void
make_qmp (void)
{
  static const char good[] = GREETING "\0" RETURNED (
      "{}") "\0"
            "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": "
            "2}}\n" RETURNED (
                "{\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \"package\": "
                "\"\"}") "\0"
                         "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, "
                         "\"id\": $ID}\n\0" RETURNED ("{}") "\0" RETURNED (
                             "[{"
                             "\"capabilit"
                             "y\": "
                             "\"backgroun"
                             "d-"
                             "snapshot\","
                             " \"state\":"
                             " false}]") "\0" RETURNED ("{\"status\": \"running\", "
                                                        "\"singlestep\": false, \"running\": "
                                                        "true}") "\0" RETURNED ("{\"status\": "
                                                                                "\"paused\", "
                                                                                "\"singlestep\""
                                                                                ": false, "
                                                                                "\"running\": "
                                                                                "false}") "\0" RETURNED ("[{\"fds\": "
                                                                                                         "[{\"fd\": 7, "
                                                                                                         "\"opaque\": "
                                                                                                         "\"/a\"}], "
                                                                                                         "\"fdset-id\": 3}]") "\0" RETURNED ("{\"fdset-id\": 4, \"fd\": 8}") "\0" RETURNED ("{}");
  static const char bad[] = GREETING "\0{\"return\": [[[[{\"a\": \"\\u00e4\\n\"}]]]], \"id\": $ID";
  static const char none[] = "SSH-2.0-OpenSSH\r\n";

  write_seed ("qmp", "good", good, sizeof good - 1);
  write_seed ("qmp", "cut", bad, sizeof bad - 1);
  write_seed ("qmp", "other", none, sizeof none - 1);
}

static void
make_agent (void)
{
  static const char good[] =
      "\xff{\"return\": $ID}\n\0{\"return\": \"thawed\"}\n\0{\"return\": 2}\n"
      "\0{\"return\": 2}\n\0";
  static const char frozen[] = "{\"return\": {}}\n\xff{\"return\": $ID}\n\0"
                               "{\"return\": \"frozen\"}\n\0";
  static const char refused[] = "\xff{\"return\": $ID}\n\0{\"return\": \"thawed\"}\n\0"
                                "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n\0"
                                "{\"error\": {\"class\": \"GenericError\"}}\n\0"
                                "{\"return\": \"thawed\"}\n\0";

  write_seed ("agent", "good", good, sizeof good - 1);
  write_seed ("agent", "frozen", frozen, sizeof frozen - 1);
  write_seed ("agent", "refused", refused, sizeof refused - 1);
}

/* The quotation mark is no string's, though the nesting behind it would be in one. */
static void
make_hidden_depth (void)
{
  g_autofree char *open = g_strnfill (200000, '[');
  g_autofree char *text = g_strconcat ("{\"QMP\": 1 /*\"*/, \"a\": ", open, "\n", NULL);

  write_seed ("qmp", "comment-hides-depth", text, strlen (text));
  write_seed ("manifest", "comment-hides-depth", text, strlen (text));
}

/* What cannot be asked again, without a descriptor, went well. */
static void
put_answer (GString *seed, QsnapSession *session, const char *line)
{
  g_auto (GStrv) parts = g_strsplit (line, " ", 2);
  g_autoptr (JsonNode) arguments = json_from_string (parts[1], NULL);
  g_autoptr (JsonNode) reply =
      qsnap_session_execute (session, parts[0], arguments, NULL, NULL, NULL);
  g_autofree char *text = reply != NULL ? json_to_string (reply, FALSE) : g_strdup ("{}");

  g_string_append_c (seed, '\0');
  g_string_append_printf (seed, "{\"return\": %s, \"id\": $ID}\n", text);
}

/* What a mock QEMU was asked, and what it answers. */
static void
make_check (MockStyle style, const char *name)
{
  g_autoptr (MockQemu) mock = mock_new (style, MOCK_TRANSPORT_UNIX);
  g_autofree char *image = g_build_filename (mock_get_directory (mock), "a.raw", NULL);
  g_autoptr (QsnapSession) session = NULL;
  g_autoptr (QsnapReport) report = NULL;
  g_autoptr (GString) seed = g_string_new (GREETING);
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) asked = NULL;

  g_assert (g_file_set_contents (image, "", 0, NULL));
  mock_add_drive (mock, "virtio0", "/machine/peripheral-anon/device[0]", NULL, "raw", image);
  mock_set_lenient (mock, TRUE);
  mock_start (mock);
  session = qsnap_session_new (mock_get_address (mock));
  qsnap_session_open (session, NULL, &error);
  g_assert_no_error (error);
  report = qsnap_session_check (session, NULL, NULL, &error);
  g_assert_no_error (error);

  asked = mock_dup_transcript (mock);
  for (guint i = 0; asked[i] != NULL; i++)
    put_answer (seed, session, asked[i]);
  write_seed ("check", name, seed->str, seed->len);
}

/* --- command lines ------------------------------------------------------------------------- */

/* A line is what fuzz-command.c takes, written closely. */
static void
make_commands (const char *path)
{
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;

  g_assert (g_file_get_contents (path, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  for (guint i = 0; lines[i] != NULL; i++)
    {
      g_autofree char *name = g_strdup_printf ("line-%u", i + 1);
      char *arguments = strrchr (lines[i], '|');

      if (*lines[i] == '#' || arguments == NULL)
        continue;
      g_strdelimit (arguments, " ", '\n');
      g_strdelimit (lines[i], "|", '\n');
      write_seed ("command", name, lines[i], strlen (lines[i]));
    }
}

int
main (int argc, char **argv)
{
  g_assert (argc == 3);
  folder = argv[1];
  make_commands (argv[2]);
  make_streams ();
  make_records ();
  make_images ();
  make_return_paths ();
  make_qmp ();
  make_agent ();
  make_hidden_depth ();
  make_check (MOCK_STYLE_7_2, "mock-7.2");
  make_check (MOCK_STYLE_10, "mock-10");

  return 0;
}
