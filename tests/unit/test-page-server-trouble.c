/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The page server with a destination that goes away, that says what cannot be, that comes back
 * after another server's death; and with an image that is damaged. */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pages-case.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

static void
begin (PagesCase *pages)
{
  pages_case_start (pages, FALSE);
  pages_case_go (pages, NULL);
  pages_expect_head (pages);
}

#define EXPECT_FAILURE(code, ...)                                                                  \
  pages_case_expect_failure (pages, QSNAP_ERROR, QSNAP_ERROR_##code, __VA_ARGS__, NULL)

/* ---- it says what cannot be ---- */

typedef struct
{
  const char *path;
  const char *block;
  guint64 start;
  guint32 len;
  const char *text;
  gboolean huge;
} BadRequest;

static const BadRequest bad_requests[] = {
  { "unknown-block", "pc.rom", 0, PAGE, "“pc.rom”", FALSE },
  { "part-of-a-name", "pc.ra", 0, PAGE, "“pc.ra”", FALSE },
  { "no-block", NULL, 0, PAGE, "names no RAM block", FALSE },
  { "unaligned", "pc.ram", 100, PAGE, "4096 bytes at 0x64 of the RAM block “pc.ram”", FALSE },
  { "beyond", "system.flash1", 5 * PAGE, PAGE, "at 0x5000 of", FALSE },
  { "far-beyond", "pc.ram", G_MAXUINT64 - PAGE + 1, PAGE, "at 0xfffffffffffff000 of", FALSE },
  { "no-length", "pc.ram", 0, 0, "0 bytes", FALSE },
  { "two-pages", "pc.ram", 0, 2 * PAGE, "8192 bytes", FALSE },
  { "longest", "pc.ram", 0, 0xfffff000, "4294963200 bytes", FALSE },
  { "part-of-huge", "pc.ram", 0, PAGE, "4096 bytes", TRUE },
  { "unaligned-huge", "pc.ram", PAGE, HUGE_PAGE, "2097152 bytes at 0x1000", TRUE },
  { "beyond-huge", "pc.ram", RAM_PAGES *(guint64)PAGE, HUGE_PAGE, "at 0xc00000 of", TRUE },
};

static void
test_bad_request (PagesCase *pages, gconstpointer data)
{
  const BadRequest *bad = data;

  if (bad->huge)
    pages_case_set_host_page (pages, BLOCK_RAM, HUGE_PAGE);
  begin (pages);
  pages_read_section (pages);
  pages_request (pages, bad->block, bad->start, bad->len);
  EXPECT_FAILURE (PROTOCOL, bad->text);
}

/* g_test_add() has one pointer for the fixture's set up and for the test. */
static void
set_up_shared (PagesCase *pages, G_GNUC_UNUSED gconstpointer data)
{
  pages_case_set_up (pages, NULL);
}

static void
test_no_message (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_send (pages, "\0\x63\0\0", 4);
  EXPECT_FAILURE (PROTOCOL, "type 99");
}

static void
test_unasked_bitmap (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_send_bitmap (pages, BLOCK_FLASH, 8);
  EXPECT_FAILURE (PROTOCOL, "system.flash1");
}

static void
test_unasked_ack (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_send_ack (pages, 1);
  EXPECT_FAILURE (PROTOCOL, "resumed");
}

/* There is nothing to ask for yet. */
static void
test_before_go (PagesCase *pages, gconstpointer data)
{
  pages_case_start (pages, FALSE);
  pages_request_page (pages, BLOCK_RAM, 0);
  pages_close (pages);
  EXPECT_FAILURE (CLOSED, "closed the connection");
}

/* ---- it ends, or goes away ---- */

static void
test_ended_early (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_send_shut (pages, 0);
  EXPECT_FAILURE (FAILED, "(0)");
}

/* With much of what has been sent still on its way. */
static void
test_ended_unread (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  while (pages->n_received < 3000)
    pages_read_section (pages);
  pages_send_shut (pages, 7);
  EXPECT_FAILURE (FAILED, "(7)");
}

static void
test_status (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_read_to_end (pages);
  pages_send_shut (pages, 4294967291u);
  EXPECT_FAILURE (FAILED, "(4294967291)");
}

/* It does not wait for a "go", though QEMU's end of the socket is open. */
static void
test_alone_from_the_start (PagesCase *pages, gconstpointer data)
{
  pages_case_start_alone (pages);
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 1);
  g_assert_true (pages_case_has_record (pages));
}

static void
test_gone_before_go (PagesCase *pages, gconstpointer data)
{
  pages_case_start (pages, FALSE);
  pages_close (pages);
  EXPECT_FAILURE (CLOSED, "closed the connection");
}

static void
test_gone_at_once (PagesCase *pages, gconstpointer data)
{
  pages_case_start (pages, FALSE);
  pages_case_go (pages, NULL);
  pages_close (pages);
  EXPECT_FAILURE (CLOSED, "closed the connection");
}

static void
test_gone_in_between (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_read_until (pages, BLOCK_RAM, 700);
  pages_close (pages);
  EXPECT_FAILURE (CLOSED, "closed the connection");
}

static void
test_gone_at_the_end (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_read_to_end (pages);
  pages_close (pages);
  EXPECT_FAILURE (CLOSED, "closed the connection");
}

/* ---- what the library says ---- */

typedef struct
{
  const char *path;
  const char *host_pages;
  const char *text;
} BadHostPages;

static const BadHostPages bad_host_pages[] = {
  { "none", "{\"pc.ram\":0}", "“pc.ram” has host pages of 0 bytes" },
  { "negative", "{\"pc.ram\":-4096}", "-4096" },
  { "three", "{\"pc.ram\":3}", "“pc.ram” has host pages of 3 bytes" },
  { "less-than-a-page", "{\"vga.vram\":2048}", "“vga.vram” has host pages of 2048 bytes" },
  { "three-pages", "{\"pc.ram\":12288}", "12288" },
  { "giant", "{\"pc.ram\":1073741824}", "1073741824" },
  { "four-mebibytes", "{\"pc.ram\":4194304}", "4194304" },
  { "no-divisor", "{\"system.flash1\":8192}", "“system.flash1” has host pages of 8192 bytes" },
  { "longer-than-the-block", "{\"vga.vram\":2097152}", "“vga.vram”" },
};

static void
test_bad_host_pages (PagesCase *pages, gconstpointer data)
{
  const BadHostPages *bad = data;

  pages_case_start (pages, FALSE);
  pages_case_go (pages, bad->host_pages);
  EXPECT_FAILURE (UNSUPPORTED, bad->text);
  g_assert_cmpuint (pages->position, ==, 0);
}

/* ---- damage ---- */

static int
open_file (PagesCase *pages, const char *name)
{
  g_autofree char *path = g_build_filename (pages->path, name, NULL);
  int fd = open (path, O_RDWR | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);

  return fd;
}

static void
flip (PagesCase *pages, const char *name, gint64 offset)
{
  int fd = open_file (pages, name);
  guint8 byte;

  g_assert_cmpint (pread (fd, &byte, 1, offset), ==, 1);
  byte ^= 0x10;
  g_assert_cmpint (pwrite (fd, &byte, 1, offset), ==, 1);
  close (fd);
}

static void
punch (PagesCase *pages, const char *name, gint64 offset, gint64 len)
{
  int fd = open_file (pages, name);

  g_assert_cmpint (fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len), ==, 0);
  close (fd);
}

/* The background sends all before the piece that the page is in. */
static void
expect_damage (PagesCase *pages, guint page, const char *offset)
{
  EXPECT_FAILURE (CORRUPT, "“pc.ram”", offset);
  g_assert_false (pages->received[BLOCK_RAM][page]);
  g_assert_false (pages->ended);
}

static void
test_damage_background (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram", 700 * PAGE + 99);
  begin (pages);
  expect_damage (pages, 700, "0x2bc000");
  g_assert_true (pages->received[BLOCK_RAM][600]);
}

static void
test_damage_request (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram", 3000 * PAGE);
  begin (pages);
  pages_request_page (pages, BLOCK_RAM, 2999);
  pages_request_page (pages, BLOCK_RAM, 3000);
  expect_damage (pages, 3000, "0xbb8000");
  g_assert_cmpuint (pages->n_received, <, 512);
}

static void
test_damage_huge (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram", 1023 * PAGE + 4095);
  pages_case_set_host_page (pages, BLOCK_RAM, HUGE_PAGE);
  begin (pages);
  expect_damage (pages, 1023, "0x3ff000");
  g_assert_true (pages->received[BLOCK_RAM][511]);
  g_assert_false (pages->received[BLOCK_RAM][512]);
}

/* A page that was zero is data now. */
static void
test_damage_zeros (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram", 1600 * PAGE);
  begin (pages);
  expect_damage (pages, 1600, "0x640000");
}

static void
test_damage_sums (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram.sums", 700 * 8);
  begin (pages);
  expect_damage (pages, 700, "0x2bc000");
}

/* A page of a hole is said to have data. */
static void
test_damage_sums_of_hole (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram.sums", 1200 * 8 + 3);
  begin (pages);
  expect_damage (pages, 1200, "0x4b0000");
}

static void
test_damage_sums_request (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram.sums", 1200 * 8 + 3);
  begin (pages);
  pages_request_page (pages, BLOCK_RAM, 1200);
  expect_damage (pages, 1200, "0x4b0000");
}

static void
test_damage_hole (PagesCase *pages, gconstpointer data)
{
  punch (pages, "ram/pc.ram", 512 * PAGE, HUGE_PAGE);
  begin (pages);
  expect_damage (pages, 512, "0x200000");
}

static void
test_damage_hole_request (PagesCase *pages, gconstpointer data)
{
  punch (pages, "ram/pc.ram", 900 * PAGE, PAGE);
  begin (pages);
  pages_request_page (pages, BLOCK_RAM, 900);
  expect_damage (pages, 900, "0x384000");
  g_assert_false (pages->received[BLOCK_RAM][899]);
}

static void
test_damage_state (PagesCase *pages, gconstpointer data)
{
  flip (pages, "state", 300);
  pages_case_start (pages, FALSE);
  pages_case_go (pages, NULL);
  EXPECT_FAILURE (CORRUPT, "state");
  g_assert_cmpuint (pages->position, ==, 0);
}

/* While the pages are served: the guest has its devices, and not yet this block's pages. */
static void
test_damage_cut (PagesCase *pages, gconstpointer data)
{
  g_autofree char *path = g_build_filename (pages->path, "ram/pc.ram", NULL);

  begin (pages);
  pages_read_section (pages);
  g_assert_cmpint (truncate (path, 4 * HUGE_PAGE), ==, 0);
  pages_read_until_closed (pages);
  g_assert_false (pages->received[BLOCK_RAM][5 * 512]);
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 1);
}

static void
expect_no_start (PagesCase *pages)
{
  g_autoptr (JsonObject) report = pages_case_start_badly (pages);

  g_assert_cmpstr (qsnap_json_get_string (report, "report"), ==, "failed");
  g_assert_cmpstr (qsnap_json_get_string (report, "message"), !=, "");
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 1);
  g_assert_true (pages_case_has_record (pages));
}

static void
test_damage_manifest (PagesCase *pages, gconstpointer data)
{
  flip (pages, "snapshot.json", 40);
  expect_no_start (pages);
}

static void
test_damage_missing (PagesCase *pages, gconstpointer data)
{
  g_autofree char *path = g_build_filename (pages->path, "ram/system.flash1", NULL);

  g_assert_cmpint (unlink (path), ==, 0);
  expect_no_start (pages);
}

/* ---- after another server's death ---- */

static void
mark (PagesCase *pages, guint block, guint page)
{
  if (!pages->received[block][page])
    pages->n_received++;
  pages->received[block][page] = TRUE;
}

static gsize
bitmap_length (guint block)
{
  /* QEMU rounds it up to 64 bits. */
  return (pages_blocks[block].n_pages + 63) / 64 * 8;
}

static void
begin_recovery (PagesCase *pages)
{
  pages_case_start (pages, TRUE);
  pages_case_go (pages, NULL);
  /* The library has asked already. */
  pages_expect_silence (pages);
}

static void
send_bitmaps (PagesCase *pages)
{
  for (guint i = N_BLOCKS; i-- > 0;)
    pages_send_bitmap (pages, i, bitmap_length (i));
}

static void
resume (PagesCase *pages)
{
  begin_recovery (pages);
  send_bitmaps (pages);
  pages_expect_silence (pages);
  pages_send_ack (pages, 1);
  pages_case_expect_report (pages, "resumed");
}

/* Whole words and single pages, first and last ones. */
static void
mark_some (PagesCase *pages)
{
  for (guint i = 0; i < 300; i++)
    mark (pages, BLOCK_RAM, i);
  for (guint i = 1025; i < RAM_PAGES; i += 3)
    mark (pages, BLOCK_RAM, i);
  mark (pages, BLOCK_RAM, RAM_PAGES - 1);
  mark (pages, BLOCK_VGA, 0);
  mark (pages, BLOCK_FLASH, 4);
  for (guint i = 0; i < pages_blocks[BLOCK_ROM].n_pages; i++)
    mark (pages, BLOCK_ROM, i);
  mark (pages, BLOCK_EMPTY, 63);
  mark (pages, BLOCK_EMPTY, 64);
  mark (pages, BLOCK_EMPTY, 129);
}

static void
test_recover (PagesCase *pages, gconstpointer data)
{
  mark_some (pages);
  resume (pages);
  pages_read_to_end (pages);
  pages_case_settle (pages, 0);
}

static void
test_recover_nothing_there (PagesCase *pages, gconstpointer data)
{
  resume (pages);
  pages_read_to_end (pages);
  pages_case_settle (pages, 0);
}

static void
test_recover_all_there (PagesCase *pages, gconstpointer data)
{
  for (guint i = 0; i < N_BLOCKS; i++)
    for (guint n = 0; n < pages_blocks[i].n_pages; n++)
      mark (pages, i, n);
  resume (pages);
  pages_read_to_end (pages);
  g_assert_cmpuint (pages->order->len, ==, 0);
  pages_case_settle (pages, 0);
}

static void
test_recover_huge (PagesCase *pages, gconstpointer data)
{
  pages_case_set_host_page (pages, BLOCK_RAM, HUGE_PAGE);
  for (guint i = 0; i < 512; i++)
    {
      mark (pages, BLOCK_RAM, i);
      mark (pages, BLOCK_RAM, 4 * 512 + i);
    }
  resume (pages);
  pages_request_page (pages, BLOCK_RAM, 5 * 512);
  pages_read_to_end (pages);
  pages_case_settle (pages, 1);
}

/* What a guest waits for is asked for again, behind the answer or before it. */
static void
test_recover_requests (PagesCase *pages, gconstpointer data)
{
  PagesPage first;

  mark_some (pages);
  begin_recovery (pages);
  send_bitmaps (pages);
  pages_request_page (pages, BLOCK_FLASH, 3);
  pages_request_page (pages, BLOCK_ROM, 3);
  pages_expect_silence (pages);
  pages_send_ack (pages, 1);
  pages_case_expect_report (pages, "resumed");
  pages_request_page (pages, BLOCK_FLASH, 3);
  pages_read_section (pages);
  first = g_array_index (pages->order, PagesPage, 0);
  g_assert_cmpuint (first.block, ==, BLOCK_FLASH);
  g_assert_cmpuint (first.page, ==, 3);
  pages_read_to_end (pages);
  pages_case_settle (pages, 3);
}

/* No longer than has to be: it is for QEMU to say how it rounds. */
static void
test_recover_exact_bitmaps (PagesCase *pages, gconstpointer data)
{
  mark_some (pages);
  begin_recovery (pages);
  for (guint i = 0; i < N_BLOCKS; i++)
    pages_send_bitmap (pages, i, (pages_blocks[i].n_pages + 7) / 8);
  pages_send_ack (pages, 1);
  pages_case_expect_report (pages, "resumed");
  pages_read_to_end (pages);
  pages_case_settle (pages, 0);
}

static void
test_recover_short_bitmap (PagesCase *pages, gconstpointer data)
{
  begin_recovery (pages);
  pages_send_bitmap (pages, BLOCK_RAM, bitmap_length (BLOCK_RAM));
  pages_send_bitmap (pages, BLOCK_ROM, 8);
  EXPECT_FAILURE (PROTOCOL, "/rom@etc/acpi/tables", "short");
}

static void
test_recover_early_ack (PagesCase *pages, gconstpointer data)
{
  begin_recovery (pages);
  pages_send_bitmap (pages, BLOCK_RAM, bitmap_length (BLOCK_RAM));
  pages_send_ack (pages, 1);
  EXPECT_FAILURE (PROTOCOL, "resumed");
}

static void
test_recover_refused (PagesCase *pages, gconstpointer data)
{
  begin_recovery (pages);
  send_bitmaps (pages);
  pages_send_ack (pages, 2);
  EXPECT_FAILURE (PROTOCOL, "an answer 2");
}

/* As many as there are blocks, and yet not all. */
static void
test_recover_bitmap_twice (PagesCase *pages, gconstpointer data)
{
  begin_recovery (pages);
  for (guint i = 0; i < N_BLOCKS; i++)
    pages_send_bitmap (pages, BLOCK_VGA, bitmap_length (BLOCK_VGA));
  EXPECT_FAILURE (PROTOCOL, "vga.vram");
}

static void
test_recover_late_bitmap (PagesCase *pages, gconstpointer data)
{
  resume (pages);
  pages_read_section (pages);
  pages_send_bitmap (pages, BLOCK_RAM, bitmap_length (BLOCK_RAM));
  EXPECT_FAILURE (PROTOCOL, "pc.ram");
}

static void
test_recover_gone (PagesCase *pages, gconstpointer data)
{
  begin_recovery (pages);
  send_bitmaps (pages);
  pages_close (pages);
  EXPECT_FAILURE (CLOSED, "closed the connection");
}

static void
test_recover_damage (PagesCase *pages, gconstpointer data)
{
  flip (pages, "ram/pc.ram", 3000 * PAGE);
  /* One that is there already does no harm. */
  flip (pages, "ram/pc.ram", 10 * PAGE);
  mark (pages, BLOCK_RAM, 10);
  resume (pages);
  expect_damage (pages, 3000, "0xbb8000");
  g_assert_true (pages->received[BLOCK_RAM][11]);
}

static void
add_lists (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (bad_requests); i++)
    {
      g_autofree char *path = g_strconcat ("/page-server/request/", bad_requests[i].path, NULL);

      g_test_add (path, PagesCase, &bad_requests[i], set_up_shared, test_bad_request,
                  pages_case_tear_down);
    }
  for (guint i = 0; i < G_N_ELEMENTS (bad_host_pages); i++)
    {
      g_autofree char *path =
          g_strconcat ("/page-server/host-pages/", bad_host_pages[i].path, NULL);

      g_test_add (path, PagesCase, &bad_host_pages[i], set_up_shared, test_bad_host_pages,
                  pages_case_tear_down);
    }
}

static void
add_damage (void)
{
  PAGES_ADD_DAMAGE ("damage/background", test_damage_background);
  PAGES_ADD_DAMAGE ("damage/request", test_damage_request);
  PAGES_ADD_DAMAGE ("damage/huge", test_damage_huge);
  PAGES_ADD_DAMAGE ("damage/zeros", test_damage_zeros);
  PAGES_ADD_DAMAGE ("damage/sums", test_damage_sums);
  PAGES_ADD_DAMAGE ("damage/sums-of-hole", test_damage_sums_of_hole);
  PAGES_ADD_DAMAGE ("damage/sums-request", test_damage_sums_request);
  PAGES_ADD_DAMAGE ("damage/hole", test_damage_hole);
  PAGES_ADD_DAMAGE ("damage/hole-request", test_damage_hole_request);
  PAGES_ADD_DAMAGE ("damage/state", test_damage_state);
  PAGES_ADD_DAMAGE ("damage/cut", test_damage_cut);
  PAGES_ADD_DAMAGE ("damage/manifest", test_damage_manifest);
  PAGES_ADD_DAMAGE ("damage/missing", test_damage_missing);
  PAGES_ADD_DAMAGE ("recover/damage", test_recover_damage);
}

static void
add_recoveries (void)
{
  PAGES_ADD ("recover/some", test_recover);
  PAGES_ADD ("recover/nothing-there", test_recover_nothing_there);
  PAGES_ADD ("recover/all-there", test_recover_all_there);
  PAGES_ADD ("recover/huge", test_recover_huge);
  PAGES_ADD ("recover/requests", test_recover_requests);
  PAGES_ADD ("recover/exact-bitmaps", test_recover_exact_bitmaps);
  PAGES_ADD ("recover/short-bitmap", test_recover_short_bitmap);
  PAGES_ADD ("recover/early-ack", test_recover_early_ack);
  PAGES_ADD ("recover/refused", test_recover_refused);
  PAGES_ADD ("recover/bitmap-twice", test_recover_bitmap_twice);
  PAGES_ADD ("recover/late-bitmap", test_recover_late_bitmap);
  PAGES_ADD ("recover/gone", test_recover_gone);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_lists ();
  PAGES_ADD ("message/unknown", test_no_message);
  PAGES_ADD ("message/bitmap", test_unasked_bitmap);
  PAGES_ADD ("message/ack", test_unasked_ack);
  PAGES_ADD ("message/before-go", test_before_go);
  PAGES_ADD ("end/early", test_ended_early);
  PAGES_ADD ("end/unread", test_ended_unread);
  PAGES_ADD ("end/status", test_status);
  PAGES_ADD ("gone/application-from-the-start", test_alone_from_the_start);
  PAGES_ADD ("gone/before-go", test_gone_before_go);
  PAGES_ADD ("gone/at-once", test_gone_at_once);
  PAGES_ADD ("gone/in-between", test_gone_in_between);
  PAGES_ADD ("gone/at-the-end", test_gone_at_the_end);
  add_damage ();
  add_recoveries ();
  return pages_case_run ();
}
