/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the page server sends, and in what order, to a destination that behaves. */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pages-case.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"
#include "sandbox-case.h"

/* What may come before an answer: what is in the socket and on its way into it. The data of pc.ram
 * is three times as much. */
#define MAX_AHEAD (2 * 1024 * 1024 / PAGE)

static void
begin (PagesCase *pages)
{
  pages_case_start (pages, FALSE);
  pages_case_go (pages, NULL);
  pages_expect_head (pages);
}

static PagesPage
nth_page (PagesCase *pages, guint n)
{
  g_assert_cmpuint (n, <, pages->order->len);

  return g_array_index (pages->order, PagesPage, n);
}

static void
assert_nth (PagesCase *pages, guint n, guint block, guint page)
{
  PagesPage found = nth_page (pages, n);

  if (found.block != block || found.page != page)
    g_error ("page %u of “%s” comes as number %u, and not page %u of “%s”", found.page,
             pages_blocks[found.block].name, n, page, pages_blocks[block].name);
}

/* Which one of all it was. */
static guint
find_page (PagesCase *pages, guint block, guint page)
{
  for (guint i = 0; i < pages->order->len; i++)
    {
      PagesPage found = nth_page (pages, i);

      if (found.block == block && found.page == page)
        return i;
    }

  g_error ("page %u of “%s” has not come", page, pages_blocks[block].name);
}

static guint
count_data (PagesCase *pages, guint n)
{
  guint n_data = 0;

  for (guint i = 0; i < n; i++)
    n_data += pages->seeds[nth_page (pages, i).block][nth_page (pages, i).page] != 0;

  return n_data;
}

/* ---- all of it ---- */

/* Before the first byte, and to the end. */
static void
test_sandbox (PagesCase *pages, gconstpointer data)
{
  GPid pid;

  pages_case_start (pages, FALSE);
  pid = atoi (g_subprocess_get_identifier (pages->process));
  sandbox_assert_holds (pid, FALSE);
  pages_case_go (pages, NULL);
  pages_expect_head (pages);
  sandbox_assert_holds (pid, FALSE);
  pages_read_to_end (pages);
  pages_case_settle (pages, 0);
}

static void
test_plain (PagesCase *pages, gconstpointer data)
{
  guint n = 0;

  begin (pages);
  pages_read_to_end (pages);
  for (guint block = 0; block < N_BLOCKS; block++)
    for (guint page = 0; page < pages_blocks[block].n_pages; page++)
      assert_nth (pages, n++, block, page);
  pages_case_settle (pages, 0);
}

/* ---- requests ---- */

/* The answer does not wait for the background, which is in the first block and goes on there. */
static void
check_jump (PagesCase *pages, guint block, guint page)
{
  guint n, next_page;

  pages_request_page (pages, block, page);
  pages_read_until (pages, block, page);
  n = find_page (pages, block, page);
  g_assert_cmpuint (count_data (pages, n), <, MAX_AHEAD);
  pages_read_section (pages);
  /* The background may not even have begun. */
  next_page = n > 0 ? nth_page (pages, n - 1).page + 1 : 0;
  assert_nth (pages, n + 1, BLOCK_RAM, next_page);
}

static void
test_last_page (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  check_jump (pages, BLOCK_RAM, RAM_PAGES - 1);
  pages_read_to_end (pages);
  pages_case_settle (pages, 1);
}

static void
test_middle (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  check_jump (pages, BLOCK_RAM, 2600);
  pages_read_to_end (pages);
  g_assert_cmpuint (find_page (pages, BLOCK_RAM, 2601), >, find_page (pages, BLOCK_RAM, 2599));
  g_assert_cmpuint (find_page (pages, BLOCK_VGA, 0), >,
                    find_page (pages, BLOCK_RAM, RAM_PAGES - 1));
  pages_case_settle (pages, 1);
}

static void
test_other_blocks (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  check_jump (pages, BLOCK_FLASH, 3);
  pages_read_to_end (pages);
  g_assert_cmpuint (find_page (pages, BLOCK_FLASH, 0), >,
                    find_page (pages, BLOCK_RAM, RAM_PAGES - 1));
  g_assert_cmpuint (find_page (pages, BLOCK_FLASH, 4), >, find_page (pages, BLOCK_FLASH, 2));
  pages_case_settle (pages, 1);
}

/* Of a page with data, of one that is zero, of one in a hole, of one that was never sent. */
static void
test_kinds (PagesCase *pages, gconstpointer data)
{
  static const PagesPage wanted[] = { { BLOCK_ROM, 64 },      { BLOCK_ROM, 33 },
                                      { BLOCK_EMPTY, 129 },   { BLOCK_RAM, 1600 },
                                      { BLOCK_RAM, 1100 },    { BLOCK_FLASH, 4 },
                                      { BLOCK_RAM, 4 * 512 }, { BLOCK_VGA, 15 } };

  begin (pages);
  for (guint i = 0; i < G_N_ELEMENTS (wanted); i++)
    pages_request_page (pages, wanted[i].block, wanted[i].page);
  pages_read_to_end (pages);
  for (guint i = 1; i < G_N_ELEMENTS (wanted); i++)
    g_assert_cmpuint (find_page (pages, wanted[i].block, wanted[i].page), >,
                      find_page (pages, wanted[i - 1].block, wanted[i - 1].page));
  g_assert_cmpuint (
      count_data (pages, find_page (pages, wanted[G_N_ELEMENTS (wanted) - 1].block, 15)), <,
      MAX_AHEAD);
  pages_case_settle (pages, G_N_ELEMENTS (wanted));
}

static void
test_duplicates (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  for (guint i = 0; i < 3; i++)
    {
      pages_request_page (pages, BLOCK_RAM, 3000);
      pages_request (pages, NULL, (guint64)2900 * PAGE, PAGE);
    }
  pages_read_until (pages, BLOCK_RAM, 3000);
  /* Sent, by request and by the background; QEMU has not seen them yet, or has. */
  pages_request_page (pages, BLOCK_RAM, 3000);
  pages_request_page (pages, BLOCK_RAM, 0);
  pages_request_page (pages, BLOCK_RAM, 3001);
  pages_read_to_end (pages);
  pages_request_page (pages, BLOCK_RAM, 7);
  pages_request_page (pages, BLOCK_VGA, 15);
  pages_expect_silence (pages);
  pages_case_settle (pages, 11);
}

/* At once: a destination has another thread for what it gets, and this one has not. */
static void
request_often (PagesCase *pages, guint n_requests, guint n_pages)
{
  g_autoptr (GByteArray) out = g_byte_array_new ();

  for (guint i = 0; i < n_requests; i++)
    {
      guint64 start = GUINT64_TO_BE ((guint64)(i % n_pages) * PAGE);

      g_byte_array_append (out, (const guint8 *)"\0\3\0\x13", 4);
      g_byte_array_append (out, (const guint8 *)&start, sizeof start);
      g_byte_array_append (out, (const guint8 *)"\0\0\x10\0\6pc.ram", 11);
    }
  pages_send (pages, out->data, out->len);
}

/* More than it keeps: none of them is in the way of what comes behind them. */
static void
test_many_requests (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  request_often (pages, 5000, RAM_PAGES);
  pages_read_to_end (pages);
  pages_case_settle (pages, 5000);
}

static void
test_many_late_requests (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_read_to_end (pages);
  request_often (pages, 5000, 16);
  pages_case_settle (pages, 5000);
}

/* In pieces, and two in one. */
static void
test_split_messages (PagesCase *pages, gconstpointer data)
{
  static const guint8 message[] = "\0\3\0\x13\0\0\0\0\0\xbb\x80\0\0\0\x10\0\6pc.ram"
                                  "\0\4\0\x0c\0\0\0\0\0\xba\0\0\0\0\x10\0";

  begin (pages);
  for (gsize i = 0; i < 20; i++)
    {
      pages_send (pages, message + i, 1);
      g_usleep (500);
    }
  pages_send (pages, message + 20, sizeof message - 1 - 20);
  pages_read_to_end (pages);
  pages_case_settle (pages, 2);
}

/* ---- host pages ---- */

static void
test_huge (PagesCase *pages, gconstpointer data)
{
  pages_case_set_host_page (pages, BLOCK_RAM, HUGE_PAGE);
  begin (pages);
  pages_read_to_end (pages);
  pages_case_settle (pages, 0);
}

static void
test_huge_requests (PagesCase *pages, gconstpointer data)
{
  pages_case_set_host_page (pages, BLOCK_RAM, HUGE_PAGE);
  begin (pages);
  /* The hole, the one with one page of data, and a full one. */
  pages_request_page (pages, BLOCK_RAM, 2 * 512);
  pages_request_page (pages, BLOCK_RAM, 4 * 512 + 77);
  pages_request_page (pages, BLOCK_RAM, 5 * 512);
  pages_request_page (pages, BLOCK_RAM, 4 * 512);
  pages_read_until (pages, BLOCK_RAM, 5 * 512);
  g_assert_true (pages->received[BLOCK_RAM][2 * 512 + 511]);
  g_assert_true (pages->received[BLOCK_RAM][4 * 512 + 511]);
  g_assert_true (pages->received[BLOCK_RAM][5 * 512 + 511]);
  g_assert_false (pages->received[BLOCK_RAM][3 * 512]);
  pages_read_to_end (pages);
  pages_case_settle (pages, 4);
}

/* Other sizes, for a block in the state and for one that is a hole. */
static void
test_host_pages (PagesCase *pages, gconstpointer data)
{
  pages_case_set_host_page (pages, BLOCK_RAM, 64 * 1024);
  pages_case_set_host_page (pages, BLOCK_VGA, 8 * PAGE);
  pages_case_set_host_page (pages, BLOCK_EMPTY, 2 * PAGE);
  begin (pages);
  pages_request_page (pages, BLOCK_VGA, 8);
  pages_request_page (pages, BLOCK_EMPTY, 128);
  pages_request_page (pages, BLOCK_RAM, 1040);
  pages_read_to_end (pages);
  pages_case_settle (pages, 3);
}

/* ---- who else is there ---- */

static void
test_application_goes (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  pages_read_until (pages, BLOCK_RAM, 100);
  close (pages->control);
  pages->control = -1;
  pages_request_page (pages, BLOCK_ROM, 64);
  pages_read_to_end (pages);
  g_assert_cmpuint (count_data (pages, find_page (pages, BLOCK_ROM, 64)), <, MAX_AHEAD + 100);
  pages_send_shut (pages, 0);
  pages_case_answer_rescue (pages);
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 0);
  g_assert_false (pages_case_has_record (pages));
}

static void
test_application_gone_before (PagesCase *pages, gconstpointer data)
{
  pages_case_start (pages, FALSE);
  close (pages->control);
  pages->control = -1;
  pages_read_until_closed (pages);
  g_assert_cmpuint (pages->position, ==, 0);
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 1);
  g_assert_true (pages_case_has_record (pages));
}

/* What is nobody's business is passed over, and there is one beginning. */
static void
test_other_commands (PagesCase *pages, gconstpointer data)
{
  static const char *const packets[] = { "no JSON", "[]", "{\"command\":\"stop\"}", "{}",
                                         "{\"command\":7}" };

  pages_case_start (pages, FALSE);
  for (guint i = 0; i < G_N_ELEMENTS (packets); i++)
    g_assert_cmpint (send (pages->control, packets[i], strlen (packets[i]), 0), >, 0);
  pages_expect_silence (pages);
  pages_case_go (pages, NULL);
  pages_case_go (pages, NULL);
  pages_expect_head (pages);
  pages_read_to_end (pages);
  pages_case_settle (pages, 0);
}

/* What is meant for the application does not end it. */
static void
test_signals (PagesCase *pages, gconstpointer data)
{
  static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT };

  begin (pages);
  for (guint i = 0; i < G_N_ELEMENTS (signals); i++)
    g_subprocess_send_signal (pages->process, signals[i]);
  pages_read_to_end (pages);
  pages_case_settle (pages, 0);
}

/* ---- the rescue connection ---- */

static void
finish_without_answer (PagesCase *pages)
{
  pages_read_to_end (pages);
  pages_send_shut (pages, 0);
  pages_case_expect_report (pages, "settled");
  g_assert_cmpint (pages_case_wait_exit (pages), ==, 0);
  g_assert_false (pages_case_has_record (pages));
}

static void
test_rescue_silent (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  finish_without_answer (pages);
}

static void
test_rescue_closed (PagesCase *pages, gconstpointer data)
{
  begin (pages);
  close (pages->rescue);
  pages->rescue = -1;
  finish_without_answer (pages);
}

static void
test_rescue_refuses (PagesCase *pages, gconstpointer data)
{
  static const char answer[] = "no JSON\r\n{\"error\": {\"class\": \"GenericError\", \"desc\": "
                               "\"no\"}, \"id\": \"closefd\"}\r\n";

  begin (pages);
  g_assert_cmpint (write (pages->rescue, answer, strlen (answer)), ==, strlen (answer));
  finish_without_answer (pages);
}

/* ---- its options ---- */

static void
assert_status (const char *const *arguments, int status)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
  g_auto (GStrv) argv = NULL;
  g_autofree char *complaint = NULL;
  g_autoptr (GError) error = NULL;
  int found;

  g_strv_builder_add (builder, g_getenv ("QSNAP_PAGE_SERVER"));
  g_strv_builder_addv (builder, (const char **)arguments);
  argv = g_strv_builder_end (builder);
  g_spawn_sync (NULL, argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &complaint, &found,
                &error);
  g_assert_no_error (error);
  g_assert_true (WIFEXITED (found));
  g_assert_cmpint (WEXITSTATUS (found), ==, status);
  g_assert_cmpstr (complaint, !=, "");
}

static void
test_options (void)
{
  static const char *const cases[][8] = {
    { NULL },
    { "--control-fd=3", NULL },
    { "--nonsense", NULL },
    { "extra", NULL },
    { "--control-fd=three", NULL },
    { "--control-fd=300", "--socket-fd=301", "--dir-fd=302", "--revert-fd=303", "--rescue-fd=304",
      NULL },
    { "--control-fd=0", "--socket-fd=0", "--dir-fd=0", "--revert-fd=0", "--rescue-fd=0", NULL },
    { "--control-fd=-1", "--socket-fd=1", "--dir-fd=1", "--revert-fd=1", "--rescue-fd=1",
      "--recover", NULL },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_status (cases[i], 2);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  PAGES_ADD ("sandbox", test_sandbox);
  PAGES_ADD ("plain", test_plain);
  PAGES_ADD ("requests/last-page", test_last_page);
  PAGES_ADD ("requests/middle", test_middle);
  PAGES_ADD ("requests/other-blocks", test_other_blocks);
  PAGES_ADD ("requests/kinds", test_kinds);
  PAGES_ADD ("requests/duplicates", test_duplicates);
  PAGES_ADD ("requests/many", test_many_requests);
  PAGES_ADD ("requests/many-late", test_many_late_requests);
  PAGES_ADD ("requests/split", test_split_messages);
  PAGES_ADD ("host-pages/huge", test_huge);
  PAGES_ADD ("host-pages/huge-requests", test_huge_requests);
  PAGES_ADD ("host-pages/others", test_host_pages);
  PAGES_ADD ("application/goes", test_application_goes);
  PAGES_ADD ("application/gone-before", test_application_gone_before);
  PAGES_ADD ("application/other-commands", test_other_commands);
  PAGES_ADD ("application/signals", test_signals);
  PAGES_ADD ("rescue/silent", test_rescue_silent);
  PAGES_ADD ("rescue/closed", test_rescue_closed);
  PAGES_ADD ("rescue/refuses", test_rescue_refuses);
  g_test_add_func ("/page-server/options", test_options);
  return pages_case_run ();
}
