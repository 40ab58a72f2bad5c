/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The page map, and the parser of what the destination of a postcopy migration sends back. */

#include "config.h"

#include <gio/gio.h>
#include <string.h>

#include "memory/qsnap-page-map.h"
#include "memory/qsnap-return-path.h"
#include "qsnap/qsnap-error.h"
#include "stream-builder.h"

/* ---- which pages have been taken ---- */

static const guint64 sizes[] = { 1, 2, 63, 64, 65, 127, 128, 129, 200 };

/* The slow way. */
static guint64
find_left (const gboolean *taken, guint64 n_pages, guint64 page)
{
  while (page < n_pages && taken[page])
    page++;

  return MIN (page, n_pages);
}

static void
assert_map (QsnapPageMap *map, const gboolean *taken, guint64 n_pages)
{
  guint64 n_left = 0;

  for (guint64 page = 0; page < n_pages; page++)
    {
      g_assert_true (!!qsnap_page_map_is_taken (map, page) == taken[page]);
      n_left += !taken[page];
    }
  g_assert_cmpuint (qsnap_page_map_get_n_left (map), ==, n_left);
  for (guint64 page = 0; page < n_pages + 130; page++)
    g_assert_cmpuint (qsnap_page_map_find_left (map, page), ==, find_left (taken, n_pages, page));
  g_assert_cmpuint (qsnap_page_map_find_left (map, G_MAXUINT64), ==, n_pages);
}

static void
take (QsnapPageMap *map, gboolean *taken, guint64 page)
{
  g_assert_true (!!qsnap_page_map_take (map, page) == !taken[page]);
  taken[page] = TRUE;
  g_assert_false (qsnap_page_map_take (map, page));
}

/* In steps of that many pages, around the end. */
static void
check_order (guint64 n_pages, guint64 step)
{
  g_autoptr (QsnapPageMap) map = qsnap_page_map_new (n_pages);
  g_autofree gboolean *taken = g_new0 (gboolean, n_pages);
  guint64 page = 0;

  g_assert_cmpuint (qsnap_page_map_get_n_pages (map), ==, n_pages);
  assert_map (map, taken, n_pages);
  while (qsnap_page_map_get_n_left (map) > 0)
    {
      page = qsnap_page_map_find_left (map, (page + step) % n_pages);
      if (page == n_pages)
        page = qsnap_page_map_find_left (map, 0);
      take (map, taken, page);
      assert_map (map, taken, n_pages);
    }
}

static void
test_map_orders (void)
{
  static const guint64 steps[] = { 1, 2, 63, 64, 65 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    for (guint j = 0; j < G_N_ELEMENTS (steps); j++)
      check_order (sizes[i], steps[j]);
}

static void
test_map_edges (void)
{
  static const guint64 edges[] = { 0, 1, 31, 32, 62, 63, 64, 65, 126, 127, 128, 199 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (QsnapPageMap) map = qsnap_page_map_new (sizes[i]);
      g_autofree gboolean *taken = g_new0 (gboolean, sizes[i]);

      for (guint j = 0; j < G_N_ELEMENTS (edges); j++)
        if (edges[j] < sizes[i])
          {
            take (map, taken, edges[j]);
            assert_map (map, taken, sizes[i]);
          }
    }
}

/* ---- what the destination says ---- */

#define BITMAP_END G_GUINT64_CONSTANT (0x0123456789abcdef)
#define REFUSED "the callback does not want it"

typedef struct
{
  GString *said;
  /* Of the callbacks, the one with this letter fails. */
  char refused;
} Listener;

static gboolean note (Listener *listener, GError **error, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

static gboolean
note (Listener *listener, GError **error, const char *format, ...)
{
  va_list values;

  va_start (values, format);
  g_string_append_vprintf (listener->said, format, values);
  va_end (values);
  g_string_append_c (listener->said, ';');
  if (format[0] != listener->refused)
    return TRUE;

  g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, REFUSED);

  return FALSE;
}

static gboolean
on_shut (guint32 status, gpointer user_data, GError **error)
{
  return note (user_data, error, "shut %u", status);
}

static gboolean
on_request (const char *block, guint64 start, guint32 len, gpointer user_data, GError **error)
{
  return note (user_data, error, "pages %s %" G_GINT64_MODIFIER "x+%x", block, start, len);
}

static gboolean
on_bitmap (const char *block, const guint8 *bits, gsize len, gpointer user_data, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (gsize i = 0; i < MIN (len, 16); i++)
    g_string_append_printf (text, "%02x", bits[i]);

  return note (user_data, error, "bitmap %s %zu %s", block, len, text->str);
}

static gboolean
on_resumed (gpointer user_data, GError **error)
{
  return note (user_data, error, "resumed");
}

static const QsnapReturnPathCallbacks callbacks = { on_shut, on_request, on_bitmap, on_resumed };

static void
put_head (StreamBuilder *out, guint type, guint len)
{
  stream_builder_u16 (out, type);
  stream_builder_u16 (out, len);
}

static void
put_number (StreamBuilder *out, guint type, guint32 value)
{
  put_head (out, type, 4);
  stream_builder_u32 (out, value);
}

static void
put_request (StreamBuilder *out, const char *name, guint64 start, guint32 len)
{
  put_head (out, name != NULL ? 3 : 4, name != NULL ? 13 + (guint)strlen (name) : 12);
  stream_builder_u64 (out, start);
  stream_builder_u32 (out, len);
  if (name != NULL)
    stream_builder_name (out, name);
}

static void
put_bitmap (StreamBuilder *out, const char *name, guint64 len, guint64 mark)
{
  put_head (out, 5, 1 + (guint)strlen (name));
  stream_builder_name (out, name);
  stream_builder_u64 (out, len);
  for (guint64 i = 0; i < MIN (len, 100000); i++)
    stream_builder_u8 (out, (guint)(i + 1) & 0xff);
  stream_builder_u64 (out, mark);
}

static void
put_everything (StreamBuilder *out)
{
  g_autofree char *longest = g_strnfill (255, 'x');

  put_number (out, 2, 7);
  put_request (out, "pc.ram", G_GUINT64_CONSTANT (0x123456789000), 4096);
  put_request (out, NULL, 0, 2097152);
  put_request (out, "/rom@etc/acpi/tables", 4096, 4096);
  put_request (out, NULL, 8192, 4096);
  put_request (out, longest, 0, 4096);
  put_bitmap (out, "a", 0, BITMAP_END);
  put_bitmap (out, "pc.ram", 8, BITMAP_END);
  put_bitmap (out, "vga.vram", 9000, BITMAP_END);
  put_number (out, 6, 1);
  put_head (out, 7, 0);
  put_number (out, 1, 0);
  put_number (out, 1, 0xfffffffb);
}

static char *
everything_said (void)
{
  g_autofree char *longest = g_strnfill (255, 'x');

  return g_strdup_printf ("pages pc.ram 123456789000+1000;pages pc.ram 0+200000;"
                          "pages /rom@etc/acpi/tables 1000+1000;"
                          "pages /rom@etc/acpi/tables 2000+1000;pages %s 0+1000;"
                          "bitmap a 0 ;bitmap pc.ram 8 0102030405060708;"
                          "bitmap vga.vram 9000 0102030405060708090a0b0c0d0e0f10;"
                          "resumed;shut 0;shut 4294967291;",
                          longest);
}

static void
push_in_pieces (const GByteArray *bytes, gsize piece)
{
  Listener listener = { g_string_new (NULL), '\0' };
  g_autoptr (QsnapReturnPath) path = qsnap_return_path_new (&callbacks, &listener);
  g_autofree char *expected = everything_said ();
  g_autoptr (GError) error = NULL;

  g_assert_true (qsnap_return_path_push (path, "", 0, &error));
  for (gsize at = 0; at < bytes->len; at += piece)
    {
      /* Nothing behind the piece is there to be read. */
      g_autofree guint8 *copy = g_memdup2 (bytes->data + at, MIN (piece, bytes->len - at));

      qsnap_return_path_push (path, copy, MIN (piece, bytes->len - at), &error);
      g_assert_no_error (error);
    }
  g_assert_cmpstr (listener.said->str, ==, expected);
  g_string_free (listener.said, TRUE);
}

static void
test_pieces (void)
{
  static const gsize pieces[] = { 1, 2, 3, 5, 7, 16, 255, 4096, 1000000 };
  g_autoptr (StreamBuilder) out = stream_builder_new ();

  put_everything (out);
  for (guint i = 0; i < G_N_ELEMENTS (pieces); i++)
    push_in_pieces (out->bytes, pieces[i]);
}

/* A message is given on when its last byte is there: no guest waits for the one behind it. */
static void
test_at_once (void)
{
  Listener listener = { g_string_new (NULL), '\0' };
  g_autoptr (QsnapReturnPath) path = qsnap_return_path_new (&callbacks, &listener);
  g_autoptr (StreamBuilder) out = stream_builder_new ();

  put_request (out, "pc.ram", 0, 4096);
  g_assert_true (qsnap_return_path_push (path, out->bytes->data, out->bytes->len - 1, NULL));
  g_assert_cmpstr (listener.said->str, ==, "");
  g_assert_true (qsnap_return_path_push (path, out->bytes->data + out->bytes->len - 1, 1, NULL));
  g_assert_cmpstr (listener.said->str, ==, "pages pc.ram 0+1000;");
  g_string_free (listener.said, TRUE);
}

/* Once in one piece and once byte by byte; a good message before and behind it. */
static void
assert_refused_in (StreamBuilder *bad, const char *text, gsize piece)
{
  Listener listener = { g_string_new (NULL), '\0' };
  g_autoptr (QsnapReturnPath) path = qsnap_return_path_new (&callbacks, &listener);
  g_autoptr (StreamBuilder) out = stream_builder_new ();
  gboolean good = TRUE;

  put_number (out, 1, 5);
  stream_builder_raw (out, bad->bytes->data, bad->bytes->len);
  put_number (out, 1, 6);
  for (gsize at = 0; at < out->bytes->len; at += piece)
    {
      g_autoptr (GError) error = NULL;
      gsize len = MIN (piece, out->bytes->len - at);
      gboolean pushed = qsnap_return_path_push (path, out->bytes->data + at, len, &error);

      g_assert_true (pushed == (error == NULL));
      if (pushed)
        {
          g_assert_true (good);
          continue;
        }
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
      if (good && strstr (error->message, text) == NULL)
        g_error ("no “%s” in “%s”", text, error->message);
      good = FALSE;
    }
  g_assert_false (good);
  g_assert_false (qsnap_return_path_push (path, "", 0, NULL));
  g_assert_cmpstr (listener.said->str, ==, "shut 5;");
  g_string_free (listener.said, TRUE);
}

static void
assert_refused (StreamBuilder *bad, const char *text)
{
  assert_refused_in (bad, text, 1000000);
  assert_refused_in (bad, text, 1);
  g_byte_array_set_size (bad->bytes, 0);
}

static void
test_types (void)
{
  static const guint types[] = { 0, 8, 9, 0x100, 0x300, 0xffff };
  g_autoptr (StreamBuilder) bad = stream_builder_new ();

  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    {
      g_autofree char *text = g_strdup_printf ("a message of type %u", types[i]);

      put_number (bad, types[i], 1);
      assert_refused (bad, text);
    }
}

static void
test_lengths (void)
{
  static const guint numbers[] = { 1, 2, 6 };
  static const guint lengths[] = { 0, 3, 5, 8 };
  g_autoptr (StreamBuilder) bad = stream_builder_new ();

  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    for (guint j = 0; j < G_N_ELEMENTS (lengths); j++)
      {
        put_head (bad, numbers[i], lengths[j]);
        stream_builder_raw (bad, "\0\0\0\1\0\0\0\1", lengths[j]);
        assert_refused (bad, "bytes");
      }
}

static void
put_request_body (StreamBuilder *bad, guint type, guint len)
{
  put_head (bad, type, len);
  for (guint i = 0; i < len; i++)
    stream_builder_u8 (bad, 0);
}

static void
test_requests (void)
{
  g_autoptr (StreamBuilder) bad = stream_builder_new ();

  put_request (bad, NULL, 0, 4096);
  assert_refused (bad, "names no RAM block");
  for (guint len = 0; len < 12; len++)
    {
      put_request_body (bad, 3, len);
      assert_refused (bad, "a request of");
      put_request_body (bad, 4, len);
      assert_refused (bad, "a request of");
    }
  put_request_body (bad, 4, 13);
  assert_refused (bad, "a request of 13 bytes");
  put_request_body (bad, 3, 12);
  assert_refused (bad, "valid name");
  put_request_body (bad, 3, 13);
  assert_refused (bad, "valid name");
}

/* @claimed is what its length byte says. */
static void
refuse_name (guint claimed, const char *name, gsize len)
{
  g_autoptr (StreamBuilder) bad = stream_builder_new ();

  put_head (bad, 3, 13 + (guint)len);
  stream_builder_u64 (bad, 0);
  stream_builder_u32 (bad, 4096);
  stream_builder_u8 (bad, claimed);
  stream_builder_raw (bad, name, len);
  assert_refused (bad, "valid name");

  put_head (bad, 5, 1 + (guint)len);
  stream_builder_u8 (bad, claimed);
  stream_builder_raw (bad, name, len);
  assert_refused (bad, "valid name");
}

static void
test_names (void)
{
  g_autoptr (StreamBuilder) bad = stream_builder_new ();
  g_autofree char *longest = g_strnfill (256, 'x');

  refuse_name (5, "pc.ram", 6);
  refuse_name (7, "pc.ram", 6);
  refuse_name (0, "pc.ram", 6);
  refuse_name (255, "pc.ram", 6);
  refuse_name (0, "", 0);
  refuse_name (6, "pc.ra\0", 6);
  refuse_name (6, "pc\nram", 6);
  refuse_name (6, "pc\177ram", 6);
  refuse_name (7, "pc.r\303\244m", 7);
  refuse_name (0, longest, 256);
  put_head (bad, 5, 0);
  assert_refused (bad, "valid name");
}

static void
test_bitmaps (void)
{
  g_autoptr (StreamBuilder) bad = stream_builder_new ();

  put_bitmap (bad, "pc.ram", QSNAP_RETURN_PATH_MAX_BITMAP + 1, BITMAP_END);
  assert_refused (bad, "a bitmap of 67108865 bytes");
  put_bitmap (bad, "pc.ram", G_MAXUINT64, BITMAP_END);
  assert_refused (bad, "a bitmap of");
  put_bitmap (bad, "pc.ram", G_MAXUINT64 - 15, BITMAP_END);
  assert_refused (bad, "a bitmap of");
  put_bitmap (bad, "pc.ram", 8, 0);
  assert_refused (bad, "without its end");
  /* Little-endian, as the bits are. */
  put_bitmap (bad, "pc.ram", 8, GUINT64_SWAP_LE_BE (BITMAP_END));
  assert_refused (bad, "without its end");
  put_bitmap (bad, "pc.ram", 0, BITMAP_END + 1);
  assert_refused (bad, "without its end");
}

/* One that stays cut is not given on, and is no error. */
static void
test_cut (void)
{
  g_autoptr (StreamBuilder) out = stream_builder_new ();

  put_bitmap (out, "pc.ram", 16, BITMAP_END);
  for (gsize len = 0; len < out->bytes->len; len++)
    {
      Listener listener = { g_string_new (NULL), '\0' };
      g_autoptr (QsnapReturnPath) path = qsnap_return_path_new (&callbacks, &listener);

      g_assert_true (qsnap_return_path_push (path, out->bytes->data, len, NULL));
      g_assert_cmpstr (listener.said->str, ==, "");
      g_string_free (listener.said, TRUE);
    }
}

static void
test_answer (void)
{
  g_autoptr (StreamBuilder) bad = stream_builder_new ();

  put_number (bad, 6, 0);
  assert_refused (bad, "an answer 0");
  put_number (bad, 6, 0x01000000);
  assert_refused (bad, "an answer 16777216");
}

/* The callback's own error comes out, and nothing behind it goes in. */
static void
test_refusing (void)
{
  static const struct
  {
    char refused;
    const char *said;
  } cases[] = { { 'p', "pages a 0+1000;" },
                { 'b', "pages a 0+1000;bitmap a 1 01;" },
                { 'r', "pages a 0+1000;bitmap a 1 01;resumed;" },
                { 's', "pages a 0+1000;bitmap a 1 01;resumed;shut 0;" } };
  g_autoptr (StreamBuilder) out = stream_builder_new ();

  put_request (out, "a", 0, 4096);
  put_bitmap (out, "a", 1, BITMAP_END);
  put_number (out, 6, 1);
  put_number (out, 1, 0);
  put_request (out, NULL, 0, 4096);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      Listener listener = { g_string_new (NULL), cases[i].refused };
      g_autoptr (QsnapReturnPath) path = qsnap_return_path_new (&callbacks, &listener);
      g_autoptr (GError) error = NULL;

      g_assert_false (qsnap_return_path_push (path, out->bytes->data, out->bytes->len, &error));
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED);
      g_assert_cmpstr (error->message, ==, REFUSED);
      g_clear_error (&error);
      g_assert_false (qsnap_return_path_push (path, out->bytes->data, out->bytes->len, &error));
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_PROTOCOL);
      g_assert_cmpstr (listener.said->str, ==, cases[i].said);
      g_string_free (listener.said, TRUE);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/page-map/orders", test_map_orders);
  g_test_add_func ("/page-map/edges", test_map_edges);
  g_test_add_func ("/return-path/pieces", test_pieces);
  g_test_add_func ("/return-path/at-once", test_at_once);
  g_test_add_func ("/return-path/types", test_types);
  g_test_add_func ("/return-path/lengths", test_lengths);
  g_test_add_func ("/return-path/requests", test_requests);
  g_test_add_func ("/return-path/names", test_names);
  g_test_add_func ("/return-path/bitmaps", test_bitmaps);
  g_test_add_func ("/return-path/cut", test_cut);
  g_test_add_func ("/return-path/answer", test_answer);
  g_test_add_func ("/return-path/refusing", test_refusing);
  return g_test_run ();
}
