/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <gio/gio.h>
#include <string.h>

#include "memory/qsnap-stream-parser.h"
#include "qsnap/qsnap-error.h"
#include "stream-builder.h"

#define DESCRIPTION "{\"page_size\": 4096, \"devices\": []}"

/* All that came out of the parser, as one text: two ways to push are right if their texts agree. */
typedef struct
{
  GString *log;
  guint n_pages;
  guint fail_at; /* page to fail at, from 1 */
  gsize setup_begin;
  gsize device_len;
  gsize eof_offset;
} Sink;

static void
log_bytes (Sink *sink, const char *what, const guint8 *data, gsize len)
{
  g_autofree char *checksum = g_compute_checksum_for_data (G_CHECKSUM_MD5, data, len);

  g_string_append_printf (sink->log, "%s %" G_GSIZE_FORMAT " %s\n", what, len, checksum);
}

static gboolean
on_prefix (const guint8 *data, gsize len, gpointer user_data, GError **error)
{
  log_bytes (user_data, "prefix", data, len);
  ((Sink *)user_data)->setup_begin = len;
  return TRUE;
}

static gboolean
on_ram_setup (const QsnapStreamBlock *blocks,
              guint n_blocks,
              const guint8 *data,
              gsize len,
              gpointer user_data,
              GError **error)
{
  Sink *sink = user_data;

  for (guint i = 0; i < n_blocks; i++)
    g_string_append_printf (sink->log, "block %s %" G_GUINT64_FORMAT "\n", blocks[i].name,
                            blocks[i].length);
  log_bytes (sink, "setup", data, len);
  return TRUE;
}

static gboolean
on_page (guint block, guint64 offset, const guint8 *data, gpointer user_data, GError **error)
{
  static const guint8 zeros[STREAM_PAGE];
  Sink *sink = user_data;

  if (++sink->n_pages == sink->fail_at)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_NO_SPACE, "as told");
      return FALSE;
    }
  g_string_append_printf (sink->log, "%u %" G_GUINT64_FORMAT " ", block, offset);
  log_bytes (sink, data != NULL ? "page" : "zero", data != NULL ? data : zeros, STREAM_PAGE);
  return TRUE;
}

static gboolean
on_device_state (
    const guint8 *data, gsize len, gsize eof_offset, gpointer user_data, GError **error)
{
  Sink *sink = user_data;

  sink->device_len = len;
  sink->eof_offset = eof_offset;
  log_bytes (sink, "devices", data, len);
  return TRUE;
}

static const QsnapStreamCallbacks callbacks = { on_prefix, on_ram_setup, on_page, on_device_state };

static void
sink_clear (Sink *sink)
{
  g_string_free (sink->log, TRUE);
}

/* Pushes pieces of at most @piece bytes, of random lengths if it is 0. */
static gboolean
parse (Sink *sink, const guint8 *data, gsize len, gsize piece, GError **error)
{
  g_autoptr (QsnapStreamParser) parser = qsnap_stream_parser_new (&callbacks, sink);
  gsize at = 0;

  sink->log = g_string_new (NULL);
  while (at < len)
    {
      gsize want = piece != 0 ? piece : (gsize)g_test_rand_int_range (1, 6000);
      gsize n = MIN (want, len - at);
      /* Of just that length, so that valgrind and ASan see an access behind it. */
      g_autofree guint8 *copy = g_memdup2 (data + at, n);

      if (!qsnap_stream_parser_push (parser, copy, n, error))
        return FALSE;
      at += n;
    }
  g_assert_cmpuint (qsnap_stream_parser_get_bytes (parser), ==, len);
  return qsnap_stream_parser_finish (parser, error);
}

static StreamBuilder *
build_start (void)
{
  StreamBuilder *builder = stream_builder_new ();

  stream_builder_head (builder, "pc-q35-7.2");
  stream_builder_ram_head (builder, 8 * STREAM_PAGE);
  stream_builder_block (builder, "pc.ram", 5 * STREAM_PAGE);
  stream_builder_block (builder, "/rom@etc/acpi/tables", 3 * STREAM_PAGE);
  stream_builder_ram_tail (builder);
  return builder;
}

static void
add_pages (StreamBuilder *builder)
{
  stream_builder_part (builder);
  stream_builder_page (builder, "pc.ram", 0, 7);
  stream_builder_page (builder, NULL, STREAM_PAGE, 0);
  stream_builder_page (builder, "/rom@etc/acpi/tables", 2 * STREAM_PAGE, 8);
  stream_builder_end_part (builder);
  stream_builder_part (builder);
  stream_builder_page (builder, NULL, 0, 9); /* goes on with the section before */
  stream_builder_u64 (builder, 0x200);
  stream_builder_page (builder, "pc.ram", 4 * STREAM_PAGE, 0);
  stream_builder_end_part (builder);
}

static void
add_devices (StreamBuilder *builder, const char *description)
{
  stream_builder_device (builder, 0, "timer", 200);
  stream_builder_device (builder, 41, "pci", 77);
  stream_builder_end (builder, description);
}

static StreamBuilder *
build (void)
{
  StreamBuilder *builder = build_start ();

  add_pages (builder);
  add_devices (builder, DESCRIPTION);
  return builder;
}

static void
test_whole (void)
{
  g_autoptr (StreamBuilder) builder = build ();
  g_autoptr (GError) error = NULL;
  Sink sink = { 0 };

  parse (&sink, builder->bytes->data, builder->bytes->len, builder->bytes->len, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (sink.n_pages, ==, 5);
  g_assert_nonnull (
      strstr (sink.log->str, "block pc.ram 20480\nblock /rom@etc/acpi/tables 12288\n"));
  g_assert_nonnull (strstr (sink.log->str, "\n1 0 page "));
  g_assert_nonnull (strstr (sink.log->str, "\n0 16384 zero "));
  g_assert_cmpuint (sink.setup_begin, ==, 8 + 5 + strlen ("pc-q35-7.2"));
  g_assert_cmpuint (sink.eof_offset, ==, sink.device_len - strlen (DESCRIPTION) - 6);
  sink_clear (&sink);
}

static void
test_splits (void)
{
  g_autoptr (StreamBuilder) builder = build ();
  g_autoptr (GError) error = NULL;
  Sink whole = { 0 };

  parse (&whole, builder->bytes->data, builder->bytes->len, builder->bytes->len, &error);
  g_assert_no_error (error);
  for (gsize piece = 0; piece < 200; piece++)
    {
      /* Bytes singly once, then some regular pieces, and many random ones. */
      gsize pieces[] = { 1, 2, 3, 7, 4096, 4104 };
      gsize len = piece < G_N_ELEMENTS (pieces) ? pieces[piece] : 0;
      Sink sink = { 0 };

      parse (&sink, builder->bytes->data, builder->bytes->len, len, &error);
      g_assert_no_error (error);
      g_assert_cmpstr (sink.log->str, ==, whole.log->str);
      sink_clear (&sink);
    }
  sink_clear (&whole);
}

static void
assert_truncations (StreamBuilder *builder, gsize complete_from)
{
  const GByteArray *bytes = builder->bytes;

  for (gsize len = 0; len < bytes->len; len++)
    {
      g_autoptr (GError) error = NULL;
      Sink sink = { 0 };

      parse (&sink, bytes->data, len, bytes->len, &error);
      /* Complete, but for the description that some machine types never send. */
      if (len == complete_from)
        g_assert_no_error (error);
      else
        g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
      sink_clear (&sink);
    }
}

static void
test_truncated (void)
{
  g_autoptr (StreamBuilder) with = build ();
  g_autoptr (StreamBuilder) without = build_start ();

  assert_truncations (with, with->bytes->len - strlen (DESCRIPTION) - 5);
  add_pages (without);
  add_devices (without, NULL);
  assert_truncations (without, 0xffffffff);
}

static void
test_plain_migration (void)
{
  g_autoptr (StreamBuilder) builder = build_start ();
  g_autoptr (GError) error = NULL;
  Sink sink = { 0 };

  add_pages (builder);
  add_pages (builder);
  /* What QEMU 10 sends before a plain migration's last phase. */
  stream_builder_u8 (builder, 0x08);
  stream_builder_u16 (builder, 11);
  stream_builder_u16 (builder, 0);
  stream_builder_last_part (builder);
  stream_builder_page (builder, NULL, 0, 0);
  stream_builder_end_part (builder);
  add_devices (builder, NULL);
  parse (&sink, builder->bytes->data, builder->bytes->len, 0, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (sink.n_pages, ==, 11);
  g_assert_cmpuint (sink.eof_offset, ==, sink.device_len - 1);
  sink_clear (&sink);
}

static void
build_configuration (StreamBuilder *builder, guint bits, const char *capability)
{
  g_autoptr (StreamBuilder) body = stream_builder_new ();

  stream_builder_head (builder, "pc-q35-10.0");
  stream_builder_u32 (body, bits);
  stream_builder_subsection (builder, "configuration/target-page-bits", body->bytes->data, 4);
  g_byte_array_set_size (body->bytes, 0);
  stream_builder_u32 (body, 2);
  stream_builder_name (body, "late-block-activate");
  stream_builder_name (body, capability);
  stream_builder_subsection (builder, "configuration/capabilities", body->bytes->data,
                             body->bytes->len);
  stream_builder_subsection (builder, "configuration/uuid", "0123456789abcdef", 16);
}

static void
finish_small (StreamBuilder *builder)
{
  stream_builder_ram_head (builder, STREAM_PAGE);
  stream_builder_block (builder, "r", STREAM_PAGE);
  stream_builder_ram_tail (builder);
  stream_builder_part (builder);
  stream_builder_page (builder, "r", 0, 1);
  stream_builder_end_part (builder);
  add_devices (builder, DESCRIPTION);
}

static void
assert_parses (StreamBuilder *builder, gsize setup_begin)
{
  gsize pieces[] = { builder->bytes->len, 1, 0 };

  for (gsize i = 0; i < G_N_ELEMENTS (pieces); i++)
    {
      g_autoptr (GError) error = NULL;
      Sink sink = { 0 };

      parse (&sink, builder->bytes->data, builder->bytes->len, pieces[i], &error);
      g_assert_no_error (error);
      g_assert_cmpuint (sink.setup_begin, ==, setup_begin);
      g_assert_cmpuint (sink.n_pages, ==, 1);
      sink_clear (&sink);
    }
}

static void
test_configuration (void)
{
  g_autoptr (StreamBuilder) full = stream_builder_new ();
  g_autoptr (StreamBuilder) none = stream_builder_new ();
  g_autoptr (StreamBuilder) unknown = stream_builder_new ();
  gsize begin;

  build_configuration (full, 12, "events");
  begin = full->bytes->len;
  finish_small (full);
  assert_parses (full, begin);

  stream_builder_head (none, NULL);
  finish_small (none);
  assert_parses (none, 8);

  stream_builder_head (unknown, "virt-12.0");
  stream_builder_subsection (unknown, "configuration/new", "\x01\x05\x01\x00\x00", 5);
  begin = unknown->bytes->len;
  finish_small (unknown);
  assert_parses (unknown, begin);
}

/* virtio-mem on newer QEMUs: device state before RAM, of unknown length. */
static void
test_early_devices (void)
{
  g_autoptr (StreamBuilder) builder = stream_builder_new ();
  gsize begin;

  build_configuration (builder, 12, "events");
  stream_builder_device (builder, 1, "virtio-mem-early", 3000);
  begin = builder->bytes->len;
  finish_small (builder);
  assert_parses (builder, begin);
}

static void
test_no_ram (void)
{
  g_autoptr (StreamBuilder) builder = stream_builder_new ();
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *filler = g_malloc0 (3 << 20);
  Sink sink = { 0 };

  stream_builder_head (builder, "pc");
  stream_builder_device (builder, 1, "early", 10);
  stream_builder_raw (builder, filler, 3 << 20);
  parse (&sink, builder->bytes->data, builder->bytes->len, 65536, &error);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  sink_clear (&sink);
}

static void
assert_refused (StreamBuilder *builder, QsnapError code, const char *text)
{
  gsize pieces[] = { builder->bytes->len, 1 };

  for (gsize i = 0; i < G_N_ELEMENTS (pieces); i++)
    {
      g_autoptr (GError) error = NULL;
      Sink sink = { 0 };

      parse (&sink, builder->bytes->data, builder->bytes->len, pieces[i], &error);
      g_assert_error (error, QSNAP_ERROR, (int)code);
      if (strstr (error->message, text) == NULL)
        g_error ("no “%s” in “%s”", text, error->message);
      sink_clear (&sink);
    }
  stream_builder_free (builder);
}

static StreamBuilder *
with_block (const char *name, guint64 length, guint64 total)
{
  StreamBuilder *builder = stream_builder_new ();

  stream_builder_head (builder, "pc");
  stream_builder_ram_head (builder, total);
  stream_builder_block (builder, name, length);
  return builder;
}

/* Of a real guest, of which tests/fuzz/cut-stream has left five pages. */
static void
test_real (gconstpointer name)
{
  g_autofree char *path =
      g_test_build_filename (G_TEST_DIST, "..", "fuzz", "corpus", "stream", name, NULL);
  g_autofree char *data = NULL;
  g_autoptr (GError) error = NULL;
  Sink sink = { 0 };
  gsize len;

  g_file_get_contents (path, &data, &len, &error);
  g_assert_no_error (error);
  parse (&sink, (const guint8 *)data, len, 0, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (sink.n_pages, ==, 5);
  g_assert_nonnull (strstr (sink.log->str, "block pc.ram 16777216\n"));
  sink_clear (&sink);
}

/* As many names as there may be, each as long as it may be, come in a time that does not grow with
 * the square of their length. */
static void
test_many_capabilities (void)
{
  g_autoptr (StreamBuilder) builder = stream_builder_new ();
  g_autoptr (StreamBuilder) body = stream_builder_new ();
  g_autofree char *name = g_strnfill (255, 'x');
  gsize begin;

  stream_builder_u32 (body, 1024);
  for (guint i = 0; i < 1024; i++)
    stream_builder_name (body, name);
  stream_builder_head (builder, "pc");
  stream_builder_subsection (builder, "configuration/capabilities", body->bytes->data,
                             body->bytes->len);
  begin = builder->bytes->len;
  finish_small (builder);
  assert_parses (builder, begin);
}

/* A configuration that leaves no room to search for RAM behind it. */
static void
test_huge_configuration (void)
{
  StreamBuilder *builder = stream_builder_new ();

  stream_builder_head (builder, "pc1");
  for (guint i = 0; i < 52423; i++)
    stream_builder_subsection (builder, "configuration/uuid", "0123456789abcdef", 16);
  for (guint i = 0; i < 6; i++)
    stream_builder_subsection (builder, "configuration/capabilities", "\0\0\0", 4);
  g_assert_cmpuint (builder->bytes->len, ==, 2 * QSNAP_STREAM_MAX_PREFIX);
  stream_builder_subsection (builder, "configuration/new", "12345678", 8);
  finish_small (builder);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "no RAM within");
}

static void
test_bad_blocks (void)
{
  StreamBuilder *builder;

  assert_refused (with_block ("a", 100, STREAM_PAGE), QSNAP_ERROR_CORRUPT, "“a” cannot have 100");
  assert_refused (with_block ("a", 0, STREAM_PAGE), QSNAP_ERROR_CORRUPT, "cannot have 0");
  assert_refused (with_block ("a", 2 * STREAM_PAGE, STREAM_PAGE), QSNAP_ERROR_CORRUPT, "cannot");
  assert_refused (with_block ("a", -(guint64)STREAM_PAGE, STREAM_PAGE), QSNAP_ERROR_CORRUPT,
                  "cannot");
  assert_refused (with_block ("", STREAM_PAGE, STREAM_PAGE), QSNAP_ERROR_CORRUPT, "valid name");
  assert_refused (with_block ("a\nb", STREAM_PAGE, STREAM_PAGE), QSNAP_ERROR_CORRUPT, "a\\x0ab");
  assert_refused (with_block ("\xc3\xa4", STREAM_PAGE, STREAM_PAGE), QSNAP_ERROR_CORRUPT, "name");
  assert_refused (with_block ("a", STREAM_PAGE, 0), QSNAP_ERROR_CORRUPT, "no length of RAM");
  assert_refused (with_block ("a", STREAM_PAGE, G_GUINT64_CONSTANT (1) << 63), QSNAP_ERROR_CORRUPT,
                  "no length of RAM");
  assert_refused (with_block ("a", STREAM_PAGE, STREAM_PAGE | 0x02), QSNAP_ERROR_CORRUPT,
                  "no length of RAM");

  builder = with_block ("twice", STREAM_PAGE, 2 * STREAM_PAGE);
  stream_builder_block (builder, "twice", STREAM_PAGE);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "two RAM blocks “twice”");

  builder = with_block ("a", STREAM_PAGE, STREAM_PAGE);
  stream_builder_block (builder, "one too many", STREAM_PAGE);
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "where the list of RAM blocks ends");

  builder = stream_builder_new ();
  stream_builder_head (builder, "pc");
  stream_builder_ram_head (builder, 5000 * (guint64)STREAM_PAGE);
  for (guint i = 0; i < 4097; i++)
    {
      g_autofree char *name = g_strdup_printf ("block%u", i);

      stream_builder_block (builder, name, STREAM_PAGE);
    }
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "more than 4096");
}

static StreamBuilder *
with_start (const char *name, guint instance, guint version)
{
  StreamBuilder *builder = stream_builder_new ();

  stream_builder_head (builder, "pc");
  stream_builder_u8 (builder, 0x01);
  stream_builder_u32 (builder, 1);
  stream_builder_name (builder, name);
  stream_builder_u32 (builder, instance);
  stream_builder_u32 (builder, version);
  stream_builder_u64 (builder, 0x1004);
  return builder;
}

static StreamBuilder *
with_late_start (const char *name)
{
  StreamBuilder *builder = build_start ();

  stream_builder_u8 (builder, 0x01);
  stream_builder_u32 (builder, 9);
  stream_builder_name (builder, name);
  return builder;
}

static void
test_bad_sections (void)
{
  StreamBuilder *builder;

  assert_refused (with_start ("block", 0, 1), QSNAP_ERROR_UNSUPPORTED, "“block”");
  assert_refused (with_start ("ram", 1, 4), QSNAP_ERROR_UNSUPPORTED, "instance 1");
  assert_refused (with_start ("ram", 0, 5), QSNAP_ERROR_UNSUPPORTED, "version 5");
  assert_refused (with_late_start ("dirty-bitmap"), QSNAP_ERROR_UNSUPPORTED, "“dirty-bitmap”");
  assert_refused (with_late_start ("0000:00:05.0/vfio"), QSNAP_ERROR_UNSUPPORTED, "vfio");

  builder = build_start ();
  builder->section_id = 3;
  stream_builder_part (builder);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "section 3");

  builder = build_start ();
  stream_builder_part (builder);
  builder->section_id = 3;
  stream_builder_end_part (builder);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "footer of section 3");

  builder = build_start ();
  stream_builder_part (builder);
  stream_builder_u64 (builder, 0x10);
  stream_builder_u8 (builder, 0x02);
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "without footer");

  builder = build_start ();
  stream_builder_last_part (builder);
  stream_builder_end_part (builder);
  stream_builder_part (builder);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "section 2 goes on");

  builder = build_start ();
  stream_builder_u8 (builder, 0x55);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "0x55");
}

static void
test_bad_heads (void)
{
  StreamBuilder *builder = stream_builder_new ();

  stream_builder_raw (builder, "garbage garbage", 15);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "no migration stream");

  builder = stream_builder_new ();
  stream_builder_u32 (builder, 0x5145564d);
  stream_builder_u32 (builder, 2);
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "version 2");

  builder = stream_builder_new ();
  stream_builder_head (builder, "a\001b");
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "machine");

  builder = stream_builder_new ();
  build_configuration (builder, 14, "events");
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "2^14");

  builder = stream_builder_new ();
  build_configuration (builder, 12, "x-ignore-shared");
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "x-ignore-shared");

  builder = stream_builder_new ();
  build_configuration (builder, 12, "mapped-ram");
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "mapped-ram");

  builder = stream_builder_new ();
  stream_builder_head (builder, "pc");
  stream_builder_u8 (builder, 0x08);
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "postcopy");

  builder = build_start ();
  stream_builder_u8 (builder, 0x08);
  stream_builder_u16 (builder, 7);
  stream_builder_u16 (builder, 4);
  assert_refused (builder, QSNAP_ERROR_UNSUPPORTED, "command 7");
}

static StreamBuilder *
with_record (guint64 value, const char *block, int fill)
{
  StreamBuilder *builder = build_start ();

  stream_builder_part (builder);
  stream_builder_u64 (builder, value);
  if (block != NULL)
    stream_builder_name (builder, block);
  if (fill >= 0)
    stream_builder_u8 (builder, (guint)fill);
  return builder;
}

static void
test_bad_records (void)
{
  StreamBuilder *builder;

  assert_refused (with_record (0x100, "pc.ram", -1), QSNAP_ERROR_UNSUPPORTED, "compression");
  assert_refused (with_record (0x40, "pc.ram", -1), QSNAP_ERROR_UNSUPPORTED, "XBZRLE");
  assert_refused (with_record (0x80, NULL, -1), QSNAP_ERROR_UNSUPPORTED, "RDMA");
  assert_refused (with_record (0x1004, NULL, -1), QSNAP_ERROR_UNSUPPORTED, "size");
  assert_refused (with_record (0x0a, "pc.ram", 0), QSNAP_ERROR_CORRUPT, "0x00a");
  assert_refused (with_record (0x400, "pc.ram", 0), QSNAP_ERROR_CORRUPT, "0x400");
  assert_refused (with_record (0x00, "pc.ram", 0), QSNAP_ERROR_CORRUPT, "0x000");
  assert_refused (with_record (0x1010, NULL, -1), QSNAP_ERROR_CORRUPT, "0x010");
  /* Which it says may be the guest's memory. */
  assert_refused (with_record (0x02, "other", 0), QSNAP_ERROR_CORRUPT,
                  "110: a page of a RAM block that is none of those in its list");
  assert_refused (with_record (0x02, "", 0), QSNAP_ERROR_CORRUPT, "none of those in its list");
  assert_refused (with_record (0x02, "pc.ram", 1), QSNAP_ERROR_UNSUPPORTED, "0x01");
  assert_refused (with_record (0x22, NULL, 0), QSNAP_ERROR_CORRUPT, "names no RAM block");
  assert_refused (with_record (5 * STREAM_PAGE | 0x02, "pc.ram", 0), QSNAP_ERROR_CORRUPT,
                  "0x5000 is outside");
  assert_refused (with_record (-(guint64)STREAM_PAGE | 0x02, "pc.ram", 0), QSNAP_ERROR_CORRUPT,
                  "outside");

  builder = build_start ();
  stream_builder_part (builder);
  stream_builder_u64 (builder, 0x02);
  stream_builder_u8 (builder, 7);
  stream_builder_raw (builder, "pc.ram", 7); /* with its NUL */
  stream_builder_u8 (builder, 0);
  assert_refused (builder, QSNAP_ERROR_CORRUPT, "none of those in its list");
}

static void
test_failing_callback (void)
{
  g_autoptr (StreamBuilder) builder = build ();
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) second = NULL;
  Sink sink = { .fail_at = 3, .log = g_string_new (NULL) };
  g_autoptr (QsnapStreamParser) parser = qsnap_stream_parser_new (&callbacks, &sink);

  g_assert_false (
      qsnap_stream_parser_push (parser, builder->bytes->data, builder->bytes->len, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_NO_SPACE);
  /* No callback comes any more. */
  g_assert_false (
      qsnap_stream_parser_push (parser, builder->bytes->data, builder->bytes->len, NULL));
  g_assert_false (qsnap_stream_parser_finish (parser, &second));
  g_assert_error (second, G_IO_ERROR, G_IO_ERROR_NO_SPACE);
  g_assert_cmpuint (sink.n_pages, ==, 3);
  sink_clear (&sink);
}

static void
test_too_much_device_state (void)
{
  g_autoptr (StreamBuilder) builder = build_start ();
  g_autoptr (QsnapStreamParser) parser = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *zeros = g_malloc0 (16 << 20);
  const QsnapStreamCallbacks none = { NULL, NULL, NULL, NULL };
  guint n = 0;

  add_pages (builder);
  parser = qsnap_stream_parser_new (&none, NULL);
  qsnap_stream_parser_push (parser, builder->bytes->data, builder->bytes->len, &error);
  g_assert_no_error (error);
  qsnap_stream_parser_push (parser, "\x04", 1, &error);
  while (error == NULL && n++ < 32)
    qsnap_stream_parser_push (parser, zeros, 16 << 20, &error);
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_assert_cmpuint (n, ==, 16);
}

/* Whatever a byte becomes, nothing must crash, and each answer must be one of the parser's own. */
static void
test_flipped_bytes (void)
{
  g_autoptr (StreamBuilder) builder = build ();

  for (guint i = 0; i < 4000; i++)
    {
      g_autoptr (GError) error = NULL;
      g_autofree guint8 *copy = g_memdup2 (builder->bytes->data, builder->bytes->len);
      Sink sink = { 0 };

      for (gint n = g_test_rand_int_range (1, 4); n > 0; n--)
        copy[g_test_rand_int_range (0, (gint32)(i % 2 == 0 ? 140 : builder->bytes->len))] =
            (guint8)g_test_rand_int_range (0, 256);
      parse (&sink, copy, builder->bytes->len, 0, &error);
      g_assert_true (error == NULL || error->domain == QSNAP_ERROR);
      sink_clear (&sink);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/stream-parser/whole", test_whole);
  g_test_add_func ("/stream-parser/splits", test_splits);
  g_test_add_func ("/stream-parser/truncated", test_truncated);
  g_test_add_func ("/stream-parser/plain-migration", test_plain_migration);
  g_test_add_func ("/stream-parser/configuration", test_configuration);
  g_test_add_func ("/stream-parser/early-devices", test_early_devices);
  g_test_add_data_func ("/stream-parser/real/7.2-background", "qemu-7.2-background", test_real);
  g_test_add_data_func ("/stream-parser/real/7.2-plain", "qemu-7.2-plain", test_real);
  g_test_add_data_func ("/stream-parser/real/10.0-background", "qemu-10.0-background", test_real);
  g_test_add_data_func ("/stream-parser/real/10.0-plain", "qemu-10.0-plain", test_real);
  g_test_add_func ("/stream-parser/many-capabilities", test_many_capabilities);
  g_test_add_func ("/stream-parser/huge-configuration", test_huge_configuration);
  g_test_add_func ("/stream-parser/no-ram", test_no_ram);
  g_test_add_func ("/stream-parser/bad-blocks", test_bad_blocks);
  g_test_add_func ("/stream-parser/bad-sections", test_bad_sections);
  g_test_add_func ("/stream-parser/bad-heads", test_bad_heads);
  g_test_add_func ("/stream-parser/bad-records", test_bad_records);
  g_test_add_func ("/stream-parser/failing-callback", test_failing_callback);
  g_test_add_func ("/stream-parser/too-much-device-state", test_too_much_device_state);
  g_test_add_func ("/stream-parser/flipped-bytes", test_flipped_bytes);
  return g_test_run ();
}
