/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the mock share. All state belongs to the mock's thread: other threads reach it
 * by mock_call(). */

#pragma once

#include "qsnap-mock-qemu.h"
#include "qsnap-qmp-schema.h"

#include <unistd.h>

G_BEGIN_DECLS

/* Errors carry QEMU's class in the code; see mock_error_class(). */
#define MOCK_ERROR (mock_error_quark ())
GQuark mock_error_quark (void);

typedef enum
{
  MOCK_ERROR_GENERIC,
  MOCK_ERROR_COMMAND_NOT_FOUND,
  MOCK_ERROR_DEVICE_NOT_ACTIVE,
  MOCK_ERROR_DEVICE_NOT_FOUND
} MockErrorCode;

typedef struct _MockLink MockLink;
typedef struct _MockFaults MockFaults;
typedef struct _MockFds MockFds;
typedef struct _MockGraph MockGraph;
typedef struct _MockIncoming MockIncoming;
typedef struct _MockJobs MockJobs;
typedef struct _MockMigration MockMigration;
typedef struct _MockMisc MockMisc;

/* NULL means that @error is set. */
typedef JsonNode *(*MockHandler) (MockQemu *mock, JsonObject *arguments, GError **error);

typedef struct
{
  const char *name;
  MockHandler handler;
} MockCommand;

extern const MockCommand mock_fds_commands[];
extern const MockCommand mock_graph_commands[];
extern const MockCommand mock_incoming_commands[];
extern const MockCommand mock_jobs_commands[];
extern const MockCommand mock_migration_commands[];
extern const MockCommand mock_misc_commands[];
extern const MockCommand mock_qom_commands[];
extern const MockCommand mock_transaction_commands[];
extern const MockCommand mock_types_commands[];

struct _MockQemu
{
  MockStyle style;
  MockTransport transport;

  GThread *thread;
  GMainContext *context;
  GMainLoop *loop;
  /* Atomic: tells blocking writes and the migration thread to give up. */
  gint stopping;

  /* NULL where the socket is at a path of the caller's. */
  char *directory;
  char *socket_path;
  MockLink *link;
  char *greeting;
  gboolean no_greeting;
  int version[3];
  char *package;

  MockSchema *schema;
  /* Name to MockHandler. */
  GHashTable *commands;
  gboolean negotiated;
  GAsyncQueue *script;
  /* Scripted replies whose time has not come. */
  GPtrArray *late;
  MockFaults *faults;
  /* One JsonObject {"name":…, "arguments":…} a command. */
  GPtrArray *transcript;
  GPtrArray *complaints;
  gboolean lenient;

  MockFds *fds;
  MockGraph *graph;
  MockJobs *jobs;
  MockMigration *migration;
  MockIncoming *incoming;
  MockMisc *misc;
};

/* One message of the client. */
typedef struct
{
  JsonObject *object;
  const char *command;
  JsonObject *arguments;
  JsonNode *id;
} MockRequest;

/* Runs @func in the mock's thread and waits for it; directly if this is it, or before mock_start().
 */
typedef void (*MockCall) (MockQemu *mock, gpointer data);
void mock_call (MockQemu *mock, MockCall func, gpointer data);
/* Runs @func in the mock's thread later; @data is freed with @destroy. */
void mock_later (
    MockQemu *mock, guint milliseconds, MockCall func, gpointer data, GDestroyNotify destroy);
gboolean mock_is_stopping (MockQemu *mock);
/* A wrong command or a broken script: fails the test. */
void mock_complain (MockQemu *mock, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* --- link: sockets, bytes, descriptors --- */
MockLink *mock_link_new (MockQemu *mock);
void mock_link_free (MockLink *link);
void mock_link_open (MockLink *link);
void mock_link_close (MockLink *link);        /* the connection */
void mock_link_close_server (MockLink *link); /* the listening socket as well */
/* From other threads: a blocked write gives up. */
void mock_link_send (MockLink *link, const char *bytes, gsize length, MockWrite mode);
void mock_link_send_with_fds (MockLink *link, const char *bytes, gsize length, guint n_fds);
void mock_link_set_frozen (MockLink *link, gboolean frozen);
gboolean mock_link_is_frozen (MockLink *link);
gboolean mock_link_is_connected (MockLink *link);
const char *mock_link_get_address (MockLink *link);
const char *mock_link_get_path (MockLink *link);
int mock_link_steal_client_fd (MockLink *link);
/* The next descriptor that came, or -1; checks that it came with the current message. */
int mock_link_take_fd (MockLink *link);
guint mock_link_count_message_fds (MockLink *link);
guint mock_link_get_n_connections (MockLink *link);
guint mock_link_get_n_fds (MockLink *link);
guint mock_link_get_n_stray (MockLink *link);

/* --- dispatch --- */
void mock_dispatch_connected (MockQemu *mock);
void mock_dispatch_text (MockQemu *mock, const char *text, gsize length);
void mock_dispatch_garbage (MockQemu *mock, char c);
/* Takes @value; @id may be NULL. */
void mock_send_message (MockQemu *mock, JsonObject *message, MockWrite mode);
JsonObject *mock_reply_new (JsonNode *value, const GError *error, JsonNode *id);
JsonNode *mock_run_model (MockQemu *mock, const MockRequest *request, GError **error);
JsonNode *
mock_run_handler (MockQemu *mock, const char *command, JsonObject *arguments, GError **error);
void mock_event (MockQemu *mock, const char *name, JsonObject *data);
/* Whatever the test wants. */
void mock_event_unchecked (MockQemu *mock, const char *name, JsonObject *data);
int mock_error_code (const char *klass);
char *mock_object_to_string (JsonObject *object);

/* --- script --- */
void mock_step_free (MockStep *step);
void mock_late_free (gpointer data);
void mock_swallow_fds (MockQemu *mock);
void mock_script_answer (MockQemu *mock, MockStep *step, const MockRequest *request);
/* Sends the late replies whose time has come. */
void mock_script_replied (MockQemu *mock);

/* --- faults --- */
typedef struct
{
  JsonNode *canned;
  GError *error;
  gboolean drop, freeze;
  guint delay;
  gboolean disconnect;
  MockDisconnect when;
} MockVerdict;

MockFaults *mock_faults_new (void);
void mock_faults_free (MockFaults *faults);
/* Counts the command, calls its hooks, sends its events. */
void mock_faults_judge (MockQemu *mock, const MockRequest *request, MockVerdict *verdict);
void mock_verdict_clear (MockVerdict *verdict);
gboolean mock_faults_is_removed (MockFaults *faults, const char *name);

/* --- descriptors --- */
MockFds *mock_fds_new (void);
void mock_fds_free (MockFds *fds);
int mock_fds_dup_from_set (MockQemu *mock, gint64 id, GError **error);
void mock_fds_user_gone (MockQemu *mock, gint64 id);
/* The descriptor called @name, taken out; -1 if there is none. */
int mock_fds_take_named (MockQemu *mock, const char *name);
void mock_fds_client_gone (MockQemu *mock);

/* --- graph --- */
typedef struct
{
  char *name;
  char *driver;
  char *filename;
  /* Names of child nodes, or NULL. */
  char *file;
  char *backing;
  gint64 size;
  gboolean read_only;
  gboolean owned_by_monitor;
  /* The fdset that it was opened from, or -1. */
  gint64 fdset;
  int fd;
  /* The job that works on it, or NULL. */
  char *job;
  /* Names of the snapshots inside the image. */
  GPtrArray *snapshots;
  /* As query-block tells them. */
  JsonArray *bitmaps;
} MockNode;

MockGraph *mock_graph_new (void);
void mock_graph_free (MockGraph *graph);
MockNode *mock_graph_find (MockQemu *mock, const char *name);
MockNode *mock_graph_find_root (MockQemu *mock, const char *device_or_node);
MockNode *mock_graph_resolve (MockQemu *mock, JsonNode *reference, GError **error);
void mock_graph_replace (MockQemu *mock, const char *from, const char *to, const char *except);
void mock_graph_collect (MockQemu *mock);
gboolean mock_graph_is_drive_root (MockQemu *mock, const char *name);
/* After a migration that has ended QEMU has let go of its images. FALSE sets @error. */
gboolean mock_graph_is_active (MockQemu *mock, GError **error);
gboolean mock_graph_is_child (MockQemu *mock, const char *name);
/* A node that has @base as its backing. */
gboolean mock_graph_find_overlay (MockQemu *mock, const char *base, MockNode **overlay);
gboolean mock_graph_write_qcow2 (
    MockNode *file, gint64 size, const char *backing, const char *format, GError **error);
void
mock_graph_get_snapshot (MockQemu *mock, gboolean *done, gboolean *while_running, guint *epoch);

/* --- jobs --- */
MockJobs *mock_jobs_new (void);
void mock_jobs_free (MockJobs *jobs);
/* The source of a backup, which is hidden below a filter of the job's. */
gboolean mock_jobs_filters (MockQemu *mock, const char *node);
gboolean mock_jobs_has_backup (MockQemu *mock);
gboolean mock_jobs_uses (MockQemu *mock, const char *node, const char **job_type);

/* --- migration --- */
MockMigration *mock_migration_new (MockQemu *mock);
void mock_migration_free (MockMigration *migration);
gboolean mock_migration_is_active (MockQemu *mock);
void mock_migration_abort (MockQemu *mock);

/* --- incoming --- */
MockIncoming *mock_incoming_new (void);
/* Waits for the reader's thread, which sees mock_is_stopping(). */
void mock_incoming_join (MockIncoming *incoming);
void mock_incoming_free (MockIncoming *incoming);
/* A stream is being read. */
gboolean mock_incoming_is_active (MockQemu *mock);
/* `cont` before the stream is in only says what is to come after it. */
gboolean mock_incoming_takes_cont (MockQemu *mock);

/* The writer's side; each of these is called in the writer's thread. */
typedef struct
{
  MockQemu *mock;
  int fd;
  GByteArray *buffer;
  gboolean background;
  /* Why the stream ended early, or NULL. */
  char *broken;
  guint64 n_pages, n_written;
} MockWriter;

gboolean mock_stream_write_header (MockWriter *writer);
gboolean mock_stream_write_pages (MockWriter *writer);
gboolean mock_stream_write_devices (MockWriter *writer);
gboolean mock_writer_reach (MockWriter *writer, MockPoint point);
/* The mock is freed, or its QEMU exits. */
gboolean mock_writer_has_to_end (MockWriter *writer);
gboolean mock_writer_is_cancelled (MockWriter *writer);
void mock_writer_count_page (MockWriter *writer, gboolean normal);
char *mock_writer_machine (MockWriter *writer);

/* --- misc --- */
MockMisc *mock_misc_new (MockQemu *mock);
void mock_misc_free (MockMisc *misc);
const char *mock_run_state (MockQemu *mock);
gboolean mock_is_running (MockQemu *mock);
guint mock_run_epoch (MockQemu *mock);
void mock_enter_state (MockQemu *mock, const char *state);
const char *mock_get_state (MockQemu *mock);
void mock_set_hung (MockQemu *mock);
void mock_exit (MockQemu *mock);
GHashTable *mock_misc_get_qom (MockQemu *mock);
void mock_qom_init (MockQemu *mock);

/* --- small things --- */
static inline void
mock_clear_fd (int *fd)
{
  if (*fd >= 0)
    close (*fd);
  *fd = -1;
}

JsonNode *mock_empty (void);
/* From single-quoted or plain JSON; aborts on a mistake. */
JsonNode *mock_json (const char *json);
const char *mock_arg_string (JsonObject *arguments, const char *name);
gint64 mock_arg_int (JsonObject *arguments, const char *name, gint64 fallback);
gboolean mock_arg_bool (JsonObject *arguments, const char *name, gboolean fallback);
JsonNode *mock_fail (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

G_END_DECLS
