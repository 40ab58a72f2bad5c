/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot, a page server that is started on it, and the destination that it gives pages to:
 * written from the description of QEMU's stream alone, and checking every byte of it. */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

#define PAGE 4096u
#define HUGE_PAGE (512 * PAGE)
/* Not QEMU's usual one, as nobody may rely on that. */
#define RAM_SECTION 9u
#define N_BLOCKS 5u

enum
{
  BLOCK_RAM,   /* raw, 12 MiB, with data and holes */
  BLOCK_VGA,   /* in the state */
  BLOCK_FLASH, /* raw, 5 pages */
  BLOCK_EMPTY, /* raw, and all of it a hole */
  BLOCK_ROM    /* in the state, 65 pages */
};

#define RAM_PAGES (6 * 512u)

typedef struct
{
  const char *name;
  guint n_pages;
} PagesBlock;

extern const PagesBlock pages_blocks[N_BLOCKS];

typedef struct
{
  char *path; /* of the snapshot */
  char *revert_path;
  guint32 *seeds[N_BLOCKS];  /* of each page; 0 is zero */
  GByteArray *configuration; /* what is to come of it */
  GByteArray *device_state;

  GSubprocess *process;
  int control;
  int rescue;
  guint64 bytes_done; /* as reported last */

  /* The destination. */
  int socket;
  GByteArray *in;
  gsize at;
  guint64 position; /* in the stream, for messages */
  gboolean may_close;
  gboolean closed;
  guint64 host_pages[N_BLOCKS];
  gboolean *received[N_BLOCKS];
  guint64 n_received;
  GArray *order; /* PagesPage, as they came */
  guint block;   /* of the record before */
  gboolean ended;
} PagesCase;

#define PAGES_ADD(name, func)                                                                      \
  g_test_add ("/page-server/" name, PagesCase, NULL, pages_case_set_up, func, pages_case_tear_down)
/* With a snapshot of its own, which it may damage. */
#define PAGES_ADD_DAMAGE(name, func)                                                               \
  g_test_add ("/page-server/" name, PagesCase, "own", pages_case_set_up, func, pages_case_tear_down)

/* g_test_run() */
int pages_case_run (void);

typedef struct
{
  guint block;
  guint page;
} PagesPage;

/* ---- the snapshot and the process ---- */

void pages_case_set_up (PagesCase *pages, gconstpointer data);
void pages_case_tear_down (PagesCase *pages, gconstpointer data);

/* Starts the program and waits until it says that it is ready. */
void pages_case_start (PagesCase *pages, gboolean recover);
/* The same; it says something else. */
JsonObject *pages_case_start_badly (PagesCase *pages);
/* Whoever has started it is dead before it can say that it is ready. */
void pages_case_start_alone (PagesCase *pages);
/* @host_pages in JSON; NULL for those that are set. */
void pages_case_go (PagesCase *pages, const char *host_pages);

/* The next report that is not one of progress. */
JsonObject *pages_case_next_report (PagesCase *pages);
void pages_case_expect_report (PagesCase *pages, const char *kind);
/* That it failed so, with each of the NULL-terminated texts in its message, that the connection is
 * closed and that the process has ended. Pages up to there are checked. */
void
pages_case_expect_failure (PagesCase *pages, GQuark domain, int code, ...) G_GNUC_NULL_TERMINATED;
int pages_case_wait_exit (PagesCase *pages);
gboolean pages_case_has_record (PagesCase *pages);

/* Answers what the rescue connection is told at the end. */
void pages_case_answer_rescue (PagesCase *pages);
/* Says that all is well, and expects what follows. */
void pages_case_settle (PagesCase *pages, guint n_requests);

/* ---- the destination ---- */

/* The size of the block's host pages at the destination. */
void pages_case_set_host_page (PagesCase *pages, guint block, guint64 size);

guint8 pages_read_u8 (PagesCase *pages);
guint16 pages_read_u16 (PagesCase *pages);
guint32 pages_read_u32 (PagesCase *pages);
guint64 pages_read_u64 (PagesCase *pages);
void pages_expect_name (PagesCase *pages, const char *name);
void pages_expect_command (PagesCase *pages, guint command, guint len);

/* Everything up to the command to run. */
void pages_expect_head (PagesCase *pages);
/* A section of pages, each of which is checked; FALSE if it was the end. */
gboolean pages_read_section (PagesCase *pages);
/* Sections, until the page is there. */
void pages_read_until (PagesCase *pages, guint block, guint page);
/* Sections, until the connection is closed. */
void pages_read_until_closed (PagesCase *pages);
/* All others, and the end. */
void pages_read_to_end (PagesCase *pages);
/* Nothing comes, though the process has had the time. */
void pages_expect_silence (PagesCase *pages);

void pages_send (PagesCase *pages, const void *data, gsize len);
/* @block is NULL for the one before. */
void pages_request (PagesCase *pages, const char *block, guint64 start, guint32 len);
void pages_request_page (PagesCase *pages, guint block, guint page);
void pages_send_shut (PagesCase *pages, guint32 status);
void pages_send_ack (PagesCase *pages, guint32 value);
/* What has been received, @len bytes of it. */
void pages_send_bitmap (PagesCase *pages, guint block, gsize len);
/* The destination disappears. */
void pages_close (PagesCase *pages);

G_END_DECLS
