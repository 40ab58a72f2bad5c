/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mock QEMU in process: a thread that speaks QMP, from a script or from a model with state. */

#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _MockQemu MockQemu;
typedef struct _MockStep MockStep;

/* Which QEMU the model behaves like; it also chooses the schema that commands are checked against.
 */
typedef enum
{
  MOCK_STYLE_7_2,
  MOCK_STYLE_10
} MockStyle;

typedef enum
{
  MOCK_TRANSPORT_UNIX,       /* a listening socket in a folder of its own */
  MOCK_TRANSPORT_SOCKETPAIR, /* mock_steal_client_fd() */
  MOCK_TRANSPORT_TCP         /* loopback; no descriptors */
} MockTransport;

typedef enum
{
  MOCK_DISCONNECT_BEFORE, /* the command is not carried out */
  MOCK_DISCONNECT_AFTER,  /* carried out, the reply is never sent */
  MOCK_DISCONNECT_REPLIED /* carried out and answered */
} MockDisconnect;

typedef enum
{
  MOCK_WRITE_WHOLE,
  MOCK_WRITE_BYTEWISE, /* a write for each byte */
  MOCK_WRITE_MERGED    /* kept back and written in one piece with what comes next */
} MockWrite;

typedef enum
{
  MOCK_CLOSE_NOT,
  MOCK_CLOSE_BEFORE,  /* instead of the reply */
  MOCK_CLOSE_MIDLINE, /* after half of the reply */
  MOCK_CLOSE_AFTER
} MockClose;

/* Where a migration is, in the order in which they are reached. */
typedef enum
{
  MOCK_POINT_SETUP,         /* `migrate` is answered, nothing written */
  MOCK_POINT_HEADER,        /* the section headers are written */
  MOCK_POINT_ACTIVE,        /* MIGRATION active is sent; the guest may still run */
  MOCK_POINT_STOPPED,       /* QEMU has stopped the guest */
  MOCK_POINT_POINT_IN_TIME, /* memory is write protected, the guest not yet resumed */
  MOCK_POINT_RESUMED,       /* the run state is what it will be; no page written yet */
  MOCK_POINT_FIRST_PAGE,
  MOCK_POINT_HALF, /* half of all pages are written */
  MOCK_POINT_PAGES_DONE,
  MOCK_POINT_STREAM_DONE, /* everything is written, not yet MIGRATION completed */
  MOCK_POINT_COMPLETED,
  MOCK_N_POINTS
} MockPoint;

/* All callbacks run in the mock's thread; they may call everything here except mock_free(). */
typedef void (*MockCommandFunc) (MockQemu *mock, JsonObject *arguments, gpointer user_data);
typedef void (*MockPointFunc) (MockQemu *mock, MockPoint point, gpointer user_data);
typedef gboolean (*MockPredicate) (MockQemu *mock, gpointer user_data);

/* --- life --- */

MockQemu *mock_new (MockStyle style, MockTransport transport);
/* Has no folder of its own; listens at @socket_path. NULL: mock_steal_client_fd(). */
MockQemu *mock_new_at (MockStyle style, const char *socket_path);
void mock_free (MockQemu *mock);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (MockQemu, mock_free)

/* Listens and starts the thread. Scripts, drives and settings come before it, faults and getters at
 * any time. */
void mock_start (MockQemu *mock);

/* "unix:PATH" or "tcp:127.0.0.1:PORT", as QsnapSession takes it; NULL for a socketpair. */
const char *mock_get_address (MockQemu *mock);
const char *mock_get_socket_path (MockQemu *mock);
/* The mock's own empty folder, removed with all that is in it: room for images and snapshots. */
const char *mock_get_directory (MockQemu *mock);
int mock_steal_client_fd (MockQemu *mock);

void mock_set_version (MockQemu *mock, int major, int minor, int micro, const char *package);
/* Sent word for word instead of the greeting; NULL: it never comes. */
void mock_set_greeting (MockQemu *mock, const char *raw);
/* Complaints (wrong commands, broken scripts) are collected but do not fail the test. */
void mock_set_lenient (MockQemu *mock, gboolean lenient);
GStrv mock_dup_complaints (MockQemu *mock);

/* --- script: each step answers one command; the model takes over when none is left --- */

/* @command: its name, or "*" for any. What is not set otherwise: the reply is {"return": {}}. */
MockStep *mock_expect (MockQemu *mock, const char *command);
/* The arguments must have these members with these values; they may have others. */
void mock_step_arguments (MockStep *step, const char *json);
void mock_step_fds (MockStep *step, int n_fds);
void mock_step_return (MockStep *step, const char *json);
void mock_step_error (MockStep *step, const char *klass, const char *desc);
void mock_step_raw (MockStep *step, const void *bytes, gssize length);
void mock_step_huge (MockStep *step, gsize size);  /* a string of @size bytes */
void mock_step_deep (MockStep *step, guint depth); /* @depth nested arrays */
void mock_step_silent (MockStep *step);
void mock_step_model (MockStep *step); /* the model answers */
void mock_step_event_before (MockStep *step, const char *name, const char *data);
void mock_step_event_after (MockStep *step, const char *name, const char *data);
void mock_step_without_id (MockStep *step);
/* The reply comes after the replies to @n_commands further commands. */
void mock_step_late (MockStep *step, guint n_commands);
void mock_step_delay (MockStep *step, guint milliseconds);
void mock_step_write (MockStep *step, MockWrite mode);
void mock_step_close (MockStep *step, MockClose when);
guint mock_n_steps_left (MockQemu *mock);

/* --- faults on the model: @nth counts that command from 1; 0 means every time --- */

void mock_fail_command (
    MockQemu *mock, const char *name, guint nth, const char *klass, const char *desc);
void mock_drop_reply (MockQemu *mock, const char *name, guint nth);
void mock_delay_reply (MockQemu *mock, const char *name, guint nth, guint milliseconds);
void mock_disconnect_at (MockQemu *mock, const char *name, guint nth, MockDisconnect when);
/* QMP is silent from then on, the connection stays. */
void mock_freeze_at (MockQemu *mock, const char *name, guint nth);
void mock_emit_before_reply (
    MockQemu *mock, const char *name, guint nth, const char *event, const char *data);
/* This QEMU does not have the command: CommandNotFound, and not in query-commands. No complaint. */
void mock_remove_command (MockQemu *mock, const char *name);
/* The canned reply of a command, instead of what the model would say. */
void mock_set_reply (MockQemu *mock, const char *name, const char *json);
/* Called before the command is carried out. */
void mock_on_command (MockQemu *mock, const char *name, MockCommandFunc func, gpointer user_data);

/* @data: JSON or NULL. */
void mock_emit_event (MockQemu *mock, const char *name, const char *data);
void mock_send_raw (MockQemu *mock, const void *bytes, gssize length);
/* With @n_fds descriptors that nobody has asked for; the kernel takes up to 253 at once. */
void mock_send_raw_with_fds (MockQemu *mock, const void *bytes, gssize length, guint n_fds);
void mock_disconnect (MockQemu *mock);
void mock_freeze (MockQemu *mock);
void mock_thaw (MockQemu *mock);
/* By a fault, or because the model's QEMU waits (10: headers that nobody reads) or hangs (7.2). */
gboolean mock_is_frozen (MockQemu *mock);

/* --- transcript --- */

GStrv mock_dup_transcript (MockQemu *mock); /* "name {arguments}", in order */
void mock_clear_transcript (MockQemu *mock);
guint mock_count_command (MockQemu *mock, const char *name);
/* The arguments of its @nth time, from 1; NULL if there was none. */
JsonObject *mock_dup_arguments (MockQemu *mock, const char *name, guint nth);
guint mock_get_n_connections (MockQemu *mock);
guint mock_get_n_fds_received (MockQemu *mock);
/* Descriptors that no command took, or that did not come with the bytes of the one that did. */
guint mock_get_n_fds_stray (MockQemu *mock);

/* Polls @predicate in the mock's thread; FALSE after @milliseconds. */
gboolean
mock_wait (MockQemu *mock, MockPredicate predicate, gpointer user_data, guint milliseconds);
gboolean mock_wait_command (MockQemu *mock, const char *name, guint count, guint milliseconds);
gboolean mock_wait_migration (MockQemu *mock, const char *status, guint milliseconds);

/* --- the guest --- */

void mock_set_run_state (MockQemu *mock, const char *state); /* no event */
char *mock_dup_run_state (MockQemu *mock);
/* Another client's doing: events, but no command in the transcript. */
void mock_stop_guest (MockQemu *mock);
void mock_cont_guest (MockQemu *mock);
/* The guest's own doing; they follow set-action. */
void mock_guest_shutdown (MockQemu *mock);
void mock_guest_reset (MockQemu *mock);
void mock_guest_panic (MockQemu *mock);
/* The guest will never run again (7.2: broken stream, migrate_cancel, quit in mid-migration). */
gboolean mock_is_hung (MockQemu *mock);
gboolean mock_has_exited (MockQemu *mock);
/* @action: "shutdown", "reboot", "panic" or "watchdog". */
char *mock_dup_action (MockQemu *mock, const char *action);

void mock_set_hmp (MockQemu *mock, const char *command_line, const char *output);
/* Adds a child of @type; its parent must be there. */
void mock_qom_add (MockQemu *mock, const char *path, const char *type);
void mock_qom_set (
    MockQemu *mock, const char *path, const char *property, const char *type, const char *json);

/* --- the block graph --- */

/* @device: as with -drive, or "" as with -blockdev; @node: NULL for an automatic one; @filename: a
 * real file. */
void mock_add_drive (MockQemu *mock,
                     const char *device,
                     const char *qdev,
                     const char *node,
                     const char *driver,
                     const char *filename);
void mock_add_empty_drive (MockQemu *mock, const char *device, const char *qdev);
/* Puts a backing image, read-only, below the lowest node of @node's chain. */
void mock_add_backing (MockQemu *mock, const char *node, const char *driver, const char *filename);
void mock_set_node_read_only (MockQemu *mock, const char *node, gboolean read_only);
/* @json: as query-block tells it. */
void mock_add_bitmap (MockQemu *mock, const char *node, const char *json);
/* Writes the header of an image that holds nothing; @backing and @format may be NULL. */
void mock_make_qcow2 (const char *path, gint64 size, const char *backing, const char *format);
/* "virtio0=ov(qcow2:/dev/fdset/7)<-#block001(raw:/a.raw) | free: x y", to compare before and after;
 * snapshots inside an image are "@name" behind it, bitmaps "+name". */
char *mock_dup_graph (MockQemu *mock);
char *mock_dup_drive_node (MockQemu *mock, const char *device_or_qdev);
guint mock_get_n_nodes (MockQemu *mock);
guint mock_get_n_jobs (MockQemu *mock);
void mock_set_job_delay (MockQemu *mock, guint milliseconds);
/* Those of blockdev-backup, of @node or, if that is NULL, all, stay at half of the image. */
void mock_hold_backups (MockQemu *mock, const char *node);
void mock_release_backups (MockQemu *mock);
/* The next job of @type ("create", "commit" or "backup") fails with @desc. */
void mock_fail_job (MockQemu *mock, const char *type, const char *desc);

guint mock_get_n_fdsets (MockQemu *mock);
guint mock_get_n_fdset_fds (MockQemu *mock);
guint mock_get_n_named_fds (MockQemu *mock);

/* --- migration --- */

gboolean mock_get_capability (MockQemu *mock, const char *name);
void mock_set_capability (MockQemu *mock, const char *name, gboolean state);
/* The host cannot do it. Before mock_start(). */
void mock_refuse_capability (MockQemu *mock, const char *name);
/* "bg,events": those that are on, in QEMU's order. */
char *mock_dup_capabilities (MockQemu *mock);
char *mock_dup_migration_status (MockQemu *mock);
void mock_add_migration_blocker (MockQemu *mock, const char *reason);
void mock_set_ram_size (MockQemu *mock, guint64 bytes); /* of pc.ram; 24 MiB */
gint64 mock_get_max_bandwidth (MockQemu *mock);
/* A guest that runs writes to its memory as fast as it is saved: a plain migration ends only when
 * the guest is stopped. */
void mock_set_endless (MockQemu *mock, gboolean endless);
/* Pause after each page, to make a save last. */
void mock_set_page_delay (MockQemu *mock, guint microseconds);
/* Called in the mock's thread while the migration waits. */
void mock_on_point (MockQemu *mock, MockPoint point, MockPointFunc func, gpointer user_data);
/* The migration waits at @point until mock_release_point(). */
void mock_hold_point (MockQemu *mock, MockPoint point);
void mock_release_point (MockQemu *mock);
/* As if QEMU had an error of its own at @point; the stream ends there. */
void mock_fail_migration_at (MockQemu *mock, MockPoint point);
MockPoint mock_get_point (MockQemu *mock);
/* A transaction and a point in time have been, and the guest may have run between them. */
gboolean mock_is_torn (MockQemu *mock);

/* Reads a migration stream from @fd, in a thread of its own, until it ends or @stopping answers
 * TRUE; answers what is wrong with it, or NULL. */
typedef char *(*MockLoadFunc) (MockQemu *mock, int fd, gpointer user_data);
/* Was started with `-S -incoming defer`: the run state is inmigrate until a stream has been read.
 * Before mock_start(). */
void mock_set_incoming (MockQemu *mock, MockLoadFunc func, gpointer user_data);
/* From within it, for a postcopy migration: QEMU says the status, which is a literal; the guest
 * runs, unless it was started paused. */
void mock_incoming_set_status (MockQemu *mock, const char *status);
void mock_incoming_run (MockQemu *mock, gboolean paused);
gboolean mock_incoming_has_run (MockQemu *mock);
/* What was wrong with the stream; NULL: nothing yet. */
char *mock_dup_incoming_error (MockQemu *mock);

/* What the stream holds: page @page of block @block. */
typedef struct
{
  const char *name;
  guint64 size;
} MockRamBlock;

#define MOCK_PAGE_SIZE 4096
guint mock_get_n_ram_blocks (MockQemu *mock);
MockRamBlock mock_get_ram_block (MockQemu *mock, guint block);
/* FALSE: a page of zeros. */
gboolean mock_fill_page (guint block, guint64 page, guint8 *data);
/* The first block has so many pages with data one after the other, behind twice as many. */
#define MOCK_RUN_PAGES 16

G_END_DECLS
