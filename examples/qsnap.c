/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: everything the library does, from a shell. It uses the public interface only,
 * so it is also an example of that. */

#include "qsnap-tool.h"

#include <errno.h>
#include <glib-unix.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct
{
  const char *name;
  const char *arguments;
  const char *summary;
  int min_arguments;
  int max_arguments;
  int (*run) (Options *options, char **arguments);
} Command;

/* --- output -------------------------------------------------------------------------------- */

int
fail (const GError *error)
{
  g_printerr ("qsnap: %s\n", error->message);

  return EXIT_FAILED;
}

int
print_json (JsonNode *node)
{
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autofree char *text = NULL;

  json_generator_set_root (generator, node);
  json_generator_set_pretty (generator, TRUE);
  text = json_generator_to_data (generator, NULL);
  g_print ("%s\n", text);

  return EXIT_OK;
}

char *
size_text (guint64 bytes)
{
  return g_format_size_full (bytes, G_FORMAT_SIZE_IEC_UNITS);
}

char *
time_text (QsnapSnapshot *snapshot, const char *format)
{
  g_autoptr (GDateTime) time = qsnap_snapshot_dup_time (snapshot);
  g_autoptr (GDateTime) local = g_date_time_to_local (time);

  return g_date_time_format (local, format);
}

/* The manifest, with what a script asks for first at the top. */
JsonNode *
snapshot_to_json (QsnapSnapshot *snapshot)
{
  g_autoptr (JsonNode) node = qsnap_snapshot_dup_manifest (snapshot);
  JsonObject *object = json_node_get_object (node);
  g_autofree char *description = qsnap_snapshot_dup_description (snapshot);
  g_autoptr (GVariant) metadata = qsnap_snapshot_dup_metadata (snapshot);

  json_object_set_string_member (object, "directory",
                                 g_file_peek_path (qsnap_snapshot_get_directory (snapshot)));
  json_object_set_int_member (object, "pause-us", qsnap_snapshot_get_pause_us (snapshot));
  json_object_set_boolean_member (object, "has-guest", qsnap_snapshot_has_guest (snapshot));
  if (description != NULL)
    json_object_set_string_member (object, "description", description);
  if (metadata != NULL)
    json_object_set_member (object, "metadata", json_gvariant_serialize (metadata));

  return g_steal_pointer (&node);
}

void
print_strings (GStrv strings, const char *prefix)
{
  for (; strings != NULL && *strings != NULL; strings++)
    g_print ("%s%s\n", prefix, *strings);
}

static void
print_disk (QsnapDisk *disk)
{
  const char *base = qsnap_disk_get_base (disk);
  const char *overlay = qsnap_disk_get_overlay (disk);

  switch (qsnap_disk_get_mode (disk))
    {
    case QSNAP_DISK_MODE_INTERNAL:
      g_print ("  the snapshot is inside   %s\n", base);
      break;
    case QSNAP_DISK_MODE_EXCLUDE:
      g_print ("  it was left out\n");
      break;
    case QSNAP_DISK_MODE_CLONE:
    case QSNAP_DISK_MODE_COPY:
      g_print ("  the snapshot has         %s\n", base != NULL ? base : "it where it was sent to");
      break;
    case QSNAP_DISK_MODE_OVERLAY:
    case QSNAP_DISK_MODE_AUTO:
    default:
      g_print ("  the guest's disk is now %s\n", overlay != NULL ? overlay : "somewhere else");
      g_print ("  do not boot or change    %s: it belongs to the snapshot\n", base);
    }
}

static void
print_memory (QsnapSnapshot *snapshot)
{
  g_autofree char *memory = size_text (qsnap_snapshot_get_memory_size (snapshot));
  g_autofree char *data = size_text (qsnap_snapshot_get_data_size (snapshot));
  g_autofree char *stored = size_text (qsnap_snapshot_get_stored_size (snapshot));

  if (qsnap_snapshot_get_mode (snapshot) == QSNAP_SNAPSHOT_MODE_DISKS_ONLY)
    {
      g_print ("disks only, without memory\n");
      return;
    }

  g_print ("memory %s, of which %s are not zero, saved in %.2f s\n", memory, data,
           (double)qsnap_snapshot_get_save_us (snapshot) / 1e6);
  if (qsnap_snapshot_get_compression (snapshot) != QSNAP_COMPRESSION_NONE)
    g_print ("compressed to %s\n", stored);
}

static void
print_disks (QsnapSnapshot *snapshot)
{
  GListModel *disks = qsnap_snapshot_get_disks (snapshot);

  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (QsnapDisk) disk = g_list_model_get_item (disks, i);
      g_autofree char *size = size_text (qsnap_disk_get_size (disk));

      g_print ("disk %s (%s):\n", qsnap_disk_get_device (disk), size);
      print_disk (disk);
    }
}

void
print_summary (QsnapSnapshot *snapshot)
{
  g_autofree char *time = time_text (snapshot, "%F %T.%f %Z");
  g_autofree char *version = qsnap_snapshot_dup_qemu_version (snapshot);
  g_autofree char *machine = qsnap_snapshot_dup_machine (snapshot);
  g_auto (GStrv) warnings = qsnap_snapshot_dup_warnings (snapshot);

  g_print ("snapshot %s in %s\n", qsnap_snapshot_get_name (snapshot),
           g_file_peek_path (qsnap_snapshot_get_directory (snapshot)));
  print_about (snapshot);
  g_print ("point in time %s\n", time);
  g_print ("QEMU %s, %s\n", version, machine);
  print_memory (snapshot);
  g_print ("pause %.1f ms (stop %.1f, disks %.1f, memory %.1f, resume %.1f)\n",
           (double)qsnap_snapshot_get_pause_us (snapshot) / 1e3,
           (double)qsnap_snapshot_get_stop_us (snapshot) / 1e3,
           (double)qsnap_snapshot_get_disks_us (snapshot) / 1e3,
           (double)qsnap_snapshot_get_memory_us (snapshot) / 1e3,
           (double)qsnap_snapshot_get_resume_us (snapshot) / 1e3);
  print_disks (snapshot);
  print_strings (warnings, "warning: ");
}

static gboolean
on_interrupt (gpointer cancellable)
{
  g_cancellable_cancel (cancellable);

  return G_SOURCE_CONTINUE;
}

void
run_loop (GMainLoop *loop, GCancellable *cancellable)
{
  guint interrupt = g_unix_signal_add (SIGINT, on_interrupt, cancellable);
  guint terminate = g_unix_signal_add (SIGTERM, on_interrupt, cancellable);
  guint hang_up = g_unix_signal_add (SIGHUP, on_interrupt, cancellable);

  g_main_loop_run (loop);
  g_source_remove (interrupt);
  g_source_remove (terminate);
  g_source_remove (hang_up);
}

#define BAR_WIDTH 40

static gboolean has_bar;

void
clear_bar (void)
{
  if (has_bar)
    g_printerr ("\r\033[K");
  has_bar = FALSE;
}

void
show_bar (Options *options, const char *what, guint64 done, guint64 total)
{
  g_autofree char *done_text = size_text (done);
  g_autofree char *total_text = size_text (total);
  char bar[BAR_WIDTH + 1];
  gsize filled;

  if (total == 0 || options->quiet || !isatty (STDERR_FILENO))
    return;

  filled = (gsize)((double)MIN (done, total) / (double)total * BAR_WIDTH);
  memset (bar, '.', BAR_WIDTH);
  memset (bar, '#', filled);
  bar[BAR_WIDTH] = '\0';
  g_printerr ("\r%s [%s] %s of %s\033[K", what, bar, done_text, total_text);
  has_bar = TRUE;
}

/* --- check --------------------------------------------------------------------------------- */

JsonNode *
strings_to_json (GStrv strings)
{
  JsonArray *array = json_array_new ();
  JsonNode *node = json_node_new (JSON_NODE_ARRAY);

  for (; strings != NULL && *strings != NULL; strings++)
    json_array_add_string_element (array, *strings);
  json_node_take_array (node, array);

  return node;
}

static JsonNode *
pause_to_json (gint64 microseconds)
{
  JsonNode *node = json_node_new (microseconds >= 0 ? JSON_NODE_VALUE : JSON_NODE_NULL);

  if (microseconds >= 0)
    json_node_set_int (node, microseconds);

  return node;
}

static int
print_report (QsnapReport *report, gboolean json)
{
  g_auto (GStrv) problems = qsnap_report_get_problems (report);
  g_auto (GStrv) warnings = qsnap_report_get_warnings (report);
  gboolean ok = qsnap_report_get_ok (report);
  gint64 pause = qsnap_report_get_predicted_pause_us (report);

  if (json)
    {
      g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
      JsonObject *object = json_object_new ();

      json_object_set_boolean_member (object, "ok", ok);
      json_object_set_member (object, "problems", strings_to_json (problems));
      json_object_set_member (object, "warnings", strings_to_json (warnings));
      json_object_set_member (object, "predicted-pause-us", pause_to_json (pause));
      json_node_take_object (node, object);
      print_json (node);
    }
  else
    {
      if (ok)
        g_print ("the guest can be captured\n");
      if (pause >= 0)
        g_print ("a pause of about %.1f ms is to be expected\n", (double)pause / 1e3);
      print_strings (warnings, "warning: ");
    }

  if (ok)
    return EXIT_OK;

  g_printerr ("qsnap: the guest cannot be captured:\n");
  for (GStrv problem = problems; *problem != NULL; problem++)
    g_printerr ("  %s\n", *problem);

  return EXIT_FAILED;
}

QsnapSession *
new_session (Options *options, const char *address)
{
  QsnapSession *session = qsnap_session_new (address);

  if (options->timeout_ms > 0)
    qsnap_session_set_timeout (session, (guint)options->timeout_ms);

  return session;
}

static int
run_check (Options *options, char **arguments)
{
  g_autoptr (QsnapSession) session = new_session (options, arguments[0]);
  g_autoptr (QsnapSnapshotOptions) wanted = NULL;
  g_autoptr (QsnapReport) report = NULL;
  g_autoptr (GError) error = NULL;

  wanted = snapshot_options (options, arguments[1], &error);
  if (wanted == NULL)
    return usage ("", error->message);
  if (!qsnap_session_open (session, NULL, &error))
    return fail (error);

  report = qsnap_session_check (session, wanted, NULL, &error);
  if (report == NULL)
    return fail (error);

  return print_report (report, options->json);
}

/* --- snapshot ------------------------------------------------------------------------------ */

typedef struct
{
  Options *options;
  GMainLoop *loop;
  GCancellable *cancellable;
  QsnapSession *session;
  QsnapSnapshotOptions *wanted;
  QsnapSnapshot *snapshot;
  GError *error;
} Capture;

static void
on_progress (QsnapSession *session, GParamSpec *pspec, Capture *capture)
{
  show_bar (capture->options, "saving memory", qsnap_session_get_bytes_done (session),
            qsnap_session_get_bytes_total (session));
}

static void
on_phase (QsnapSession *session, GParamSpec *pspec, Capture *capture)
{
  if (qsnap_session_get_phase (session) != QSNAP_PHASE_ROLLING_BACK || capture->options->quiet)
    return;

  clear_bar ();
  g_printerr ("putting the guest back as it was ...\n");
}

static void
on_point_in_time (QsnapSession *session, QsnapSnapshot *snapshot, Capture *capture)
{
  g_autofree char *time = time_text (snapshot, "%T.%f");

  if (capture->options->quiet)
    return;

  clear_bar ();
  g_printerr ("point in time reached: %s, the guest was stopped for %.1f ms\n", time,
              (double)qsnap_snapshot_get_pause_us (snapshot) / 1e3);
}

static void
on_stalled (QsnapSession *session, guint milliseconds, Capture *capture)
{
  clear_bar ();
  g_printerr ("warning: nothing was written for %.1f seconds\n", milliseconds / 1e3);
}

static void
on_done (GObject *source, GAsyncResult *result, gpointer data)
{
  Capture *capture = data;

  capture->snapshot =
      qsnap_session_instant_snapshot_finish (QSNAP_SESSION (source), result, &capture->error);
  clear_bar ();
  g_main_loop_quit (capture->loop);
}

static void
on_disk_progress (QsnapSession *session, GParamSpec *pspec, Capture *capture)
{
  show_bar (capture->options, "copying disks", qsnap_session_get_disk_bytes_done (session),
            qsnap_session_get_disk_bytes_total (session));
}

static void
begin_snapshot (Capture *capture)
{
  g_signal_connect (capture->session, "notify::disk-bytes-done", G_CALLBACK (on_disk_progress),
                    capture);
  g_signal_connect (capture->session, "notify::phase", G_CALLBACK (on_phase), capture);
  g_signal_connect (capture->session, "notify::bytes-done", G_CALLBACK (on_progress), capture);
  g_signal_connect (capture->session, "stalled", G_CALLBACK (on_stalled), capture);
  g_signal_connect (capture->session, "point-in-time-reached", G_CALLBACK (on_point_in_time),
                    capture);
  qsnap_session_instant_snapshot_async (capture->session, capture->wanted, capture->cancellable,
                                        on_done, capture);
}

static void
on_opened (GObject *source, GAsyncResult *result, gpointer data)
{
  Capture *capture = data;

  if (qsnap_session_open_finish (QSNAP_SESSION (source), result, &capture->error))
    begin_snapshot (capture);
  else
    g_main_loop_quit (capture->loop);
}

static void
take_snapshot (Capture *capture)
{
  qsnap_session_open_async (capture->session, capture->cancellable, on_opened, capture);
  run_loop (capture->loop, capture->cancellable);
}

static int
report_snapshot (Capture *capture)
{
  if (capture->snapshot == NULL)
    return fail (capture->error);

  if (capture->options->json)
    {
      g_autoptr (JsonNode) node = snapshot_to_json (capture->snapshot);

      return print_json (node);
    }

  if (!capture->options->quiet)
    print_summary (capture->snapshot);

  return EXIT_OK;
}

static int
capture_one (Options *options, char **arguments)
{
  g_autoptr (GMainLoop) loop = g_main_loop_new (NULL, FALSE);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (QsnapSession) session = new_session (options, arguments[0]);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshotOptions) wanted = snapshot_options (options, arguments[1], &error);
  Capture capture = { options, loop, cancellable, session, wanted, NULL, NULL };
  int status;

  if (wanted == NULL)
    return usage ("", error->message);

  take_snapshot (&capture);
  status = report_snapshot (&capture);
  g_clear_object (&capture.snapshot);
  g_clear_error (&capture.error);

  return status;
}

/* The last one is the directory. */
static int
run_snapshot (Options *options, char **arguments)
{
  guint n = g_strv_length (arguments) - 1;

  if (n > 1)
    return run_group_snapshot (options, arguments, n, arguments[n]);

  return capture_one (options, arguments);
}

/* --- snapshots that are there -------------------------------------------------------------- */

QsnapSnapshot *
load_snapshot (const char *directory, GError **error)
{
  g_autoptr (GFile) file = g_file_new_for_commandline_arg (directory);

  return qsnap_snapshot_load (file, NULL, error);
}

static int
run_show (Options *options, char **arguments)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;

  if (is_group (arguments[0]))
    return run_group_show (options, arguments[0]);

  snapshot = load_snapshot (arguments[0], &error);
  if (snapshot == NULL)
    return fail (error);

  if (options->json)
    {
      g_autoptr (JsonNode) node = snapshot_to_json (snapshot);

      return print_json (node);
    }

  print_summary (snapshot);

  return EXIT_OK;
}

static int
run_verify (Options *options, char **arguments)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  gboolean intact;

  if (is_group (arguments[0]))
    intact = verify_group (arguments[0], &error);
  else
    {
      snapshot = load_snapshot (arguments[0], &error);
      intact = snapshot != NULL && qsnap_snapshot_verify (snapshot, NULL, &error);
    }

  g_assert (intact == (error == NULL));
  if (options->json)
    {
      g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
      JsonObject *object = json_object_new ();

      json_object_set_boolean_member (object, "intact", intact);
      if (error != NULL)
        json_object_set_string_member (object, "problem", error->message);
      json_node_take_object (node, object);
      print_json (node);
    }

  if (!intact)
    return fail (error);

  if (!options->json && !options->quiet)
    {
      g_print ("intact: every checksum holds, and the disks' bases are unchanged\n");
      if (snapshot != NULL)
        print_disks (snapshot);
    }

  return EXIT_OK;
}

static int
run_export (Options *options, char **arguments)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = load_snapshot (arguments[0], &error);

  if (snapshot == NULL)
    return fail (error);

  if (isatty (STDOUT_FILENO))
    {
      g_printerr (
          "qsnap: the stream is binary and holds the guest's memory: redirect the output\n");
      return EXIT_USAGE;
    }

  if (!qsnap_snapshot_export_stream (snapshot, STDOUT_FILENO, NULL, &error))
    return fail (error);

  if (options->json)
    {
      g_autofree char *time = time_text (snapshot, "%FT%T.%f%:z");

      g_printerr ("{\"exported\": true, \"time\": \"%s\"}\n", time);
    }

  return EXIT_OK;
}

/* --- the command line ---------------------------------------------------------------------- */

static const Command commands[] = {
  { "check", "ADDRESS [DIR]", "can this guest be captured? every reason against it", 1, 2,
    run_check },
  { "snapshot", "ADDRESS… DIR", "an instant snapshot of a guest, or of several at one instant", 2,
    G_MAXINT, run_snapshot },
  { "show", "DIR", "what a snapshot holds", 1, 1, run_show },
  { "list", "DIR", "the snapshots in the folders below DIR, and which came from which", 1, 1,
    run_list },
  { "describe", "DIR [TEXT]", "say what a snapshot is for; --metadata: for programs", 1, 2,
    run_describe },
  { "verify", "DIR", "compare every checksum, and look whether the disks' bases changed", 1, 1,
    run_verify },
  { "import", "DIR [DRIVE=FILE…]",
    "the images of a snapshot that was moved: are they there? DRIVE=FILE: say where one is", 1,
    G_MAXINT, run_import },
  { "export", "DIR", "write the memory as QEMU's plain migration stream to stdout", 1, 1,
    run_export },
  { "revert", "DIR [-- QEMU…]", "a new QEMU that continues at the snapshot's point in time", 1,
    G_MAXINT, run_revert },
  { "clone", "DIR [-- QEMU…]", "as revert, -n times, side by side", 1, G_MAXINT, run_clone },
  { "recover", "[ADDRESS] DIR", "finish or undo what a client that died left in DIR", 1, 2,
    run_recover },
  { "delete", "DIR [ADDRESS…]", "delete a snapshot; ADDRESS: of the guest that runs on its overlay",
    1, G_MAXINT, run_delete },
  { "prune", "DIR [ADDRESS]",
    "delete the snapshots below DIR that no --keep- option keeps; ADDRESS: as for delete", 1, 2,
    run_prune },
  { "quit", "ADDRESS", "end a QEMU, as if its power was cut", 1, 1, run_quit },
};

static char *
describe_commands (void)
{
  GString *text = g_string_new ("Commands:\n");

  for (gsize i = 0; i < G_N_ELEMENTS (commands); i++)
    g_string_append_printf (text, "  %-8s %-14s %s\n", commands[i].name, commands[i].arguments,
                            commands[i].summary);
  g_string_append (text, "\nADDRESS is QEMU's monitor: unix:PATH, a bare path, or tcp:HOST:PORT.\n"
                         "Start QEMU with -qmp unix:PATH,server=on,wait=off to have one.\n"
                         "\nExit status: 0 done, 1 failed, 2 wrong usage.");

  return g_string_free (text, FALSE);
}

static const Command *
find_command (const char *name)
{
  for (gsize i = 0; i < G_N_ELEMENTS (commands); i++)
    if (strcmp (commands[i].name, name) == 0)
      return &commands[i];

  return NULL;
}

int
usage (const char *problem, const char *what)
{
  g_printerr ("qsnap: %s%s\nTry `qsnap --help`.\n", problem, what);

  return EXIT_USAGE;
}

static int
run_command (Options *options, char **arguments)
{
  const Command *command = arguments != NULL ? find_command (arguments[0]) : NULL;
  guint n = arguments != NULL ? g_strv_length (arguments) : 0;

  if (n == 0)
    return usage ("a command is missing", "");
  if (command == NULL)
    return usage ("there is no command ", arguments[0]);
  if ((int)n - 1 < command->min_arguments || (int)n - 1 > command->max_arguments)
    {
      g_printerr ("qsnap: usage: qsnap %s %s\n", command->name, command->arguments);
      return EXIT_USAGE;
    }

  return command->run (options, arguments + 1);
}

int
main (int argc, char **argv)
{
  Options options = { .number = 0 };
  gboolean version = FALSE;
  g_auto (GStrv) arguments = NULL;
  g_autofree char *description = describe_commands ();
  g_autoptr (GError) error = NULL;
  g_autoptr (GOptionContext) context = g_option_context_new ("COMMAND ARGUMENTS…");
  const GOptionEntry entries[] = {
    { "json", 'j', 0, G_OPTION_ARG_NONE, &options.json, "print JSON", NULL },
    { "quiet", 'q', 0, G_OPTION_ARG_NONE, &options.quiet, "print errors only", NULL },
    { "name", 0, 0, G_OPTION_ARG_STRING, &options.name, "snapshot: its name, for people", "NAME" },
    { "description", 0, 0, G_OPTION_ARG_STRING, &options.description,
      "snapshot: what it is for, for people", "TEXT" },
    { "metadata", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.metadata,
      "snapshot, describe: for programs; may be repeated", "KEY=VALUE" },
    { "overlay-directory", 0, 0, G_OPTION_ARG_FILENAME, &options.overlay_directory,
      "snapshot: where the guest's new images go (default: beside the old)", "DIR" },
    { "allow-managed", 0, 0, G_OPTION_ARG_NONE, &options.allow_managed,
      "snapshot: also of a guest that libvirt owns", NULL },
    { "max-pause-ms", 0, 0, G_OPTION_ARG_INT, &options.max_pause_ms,
      "snapshot: give up if the guest would be stopped for longer", "MS" },
    { "max-stall-ms", 0, 0, G_OPTION_ARG_INT, &options.max_stall_ms,
      "snapshot: give up if nothing of the memory is written for longer", "MS" },
    { "mode", 0, 0, G_OPTION_ARG_STRING, &options.mode,
      "snapshot: instant (the default), live, stopped or disks-only", "MODE" },
    { "fallback", 0, 0, G_OPTION_ARG_STRING, &options.fallback,
      "snapshot: the mode where the guest cannot be captured instantly", "MODE" },
    { "disk-mode", 0, 0, G_OPTION_ARG_STRING, &options.disk_mode,
      "snapshot: overlay (the default), clone, copy, internal, exclude or auto", "MODE" },
    { "disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.disks,
      "snapshot: for one disk (device, node or image): DISK=MODE[:file=FILE][:reuse][:sync=top]"
      "[:target=JSON]; may be repeated",
      "DISK=MODE" },
    { "leave", 0, 0, G_OPTION_ARG_STRING, &options.leave,
      "snapshot: what becomes of the guest: running (the default), paused or quit", "WHAT" },
    { "compression", 0, 0, G_OPTION_ARG_STRING, &options.compression,
      "snapshot: how the memory is kept: none (the default) or zstd", "HOW" },
    { "quiesce", 0, 0, G_OPTION_ARG_STRING, &options.quiesce,
      "snapshot, disks-only: freeze the guest's file systems by its agent's socket", "SOCKET" },
    { "max-chain-length", 0, 0, G_OPTION_ARG_INT, &options.max_chain_length,
      "snapshot: then delete those before the N latest that stand on each other", "N" },
    { "huge-pages", 0, 0, G_OPTION_ARG_NONE, &options.huge_pages,
      "snapshot: give the guest its huge pages back, for short pauses later", NULL },
    { "share-pages", 0, 0, G_OPTION_ARG_NONE, &options.share_pages,
      "snapshot: keep pages that the snapshot before has too once (XFS, btrfs)", NULL },
    { "timeout-ms", 0, 0, G_OPTION_ARG_INT, &options.timeout_ms,
      "check, snapshot: give up if QEMU does not answer for longer (default: a minute)", "MS" },
    { "method", 'm', 0, G_OPTION_ARG_STRING, &options.method,
      "revert, clone: auto, map or on-demand (run at once), or load (reads all memory first)",
      "METHOD" },
    { "directory", 'd', 0, G_OPTION_ARG_FILENAME, &options.directory,
      "revert, clone: where its disks, socket and log go (default: beside the snapshot)", "DIR" },
    { "program", 0, 0, G_OPTION_ARG_FILENAME, &options.program,
      "revert, clone: another QEMU than the captured one", "QEMU" },
    { "paused", 'p', 0, G_OPTION_ARG_NONE, &options.paused,
      "revert, clone: the guest waits for cont", NULL },
    { "wait", 'w', 0, G_OPTION_ARG_NONE, &options.wait,
      "revert, clone: on demand, return only when the guest has all of its memory", NULL },
    { "verify", 0, 0, G_OPTION_ARG_NONE, &options.verify,
      "revert, clone: compare every checksum before", NULL },
    { "number", 'n', 0, G_OPTION_ARG_INT, &options.number, "clone: how many", "N" },
    { "keep-last", 0, 0, G_OPTION_ARG_INT, &options.keep[QSNAP_PERIOD_LAST],
      "prune: keep the last N snapshots", "N" },
    { "keep-hourly", 0, 0, G_OPTION_ARG_INT, &options.keep[QSNAP_PERIOD_HOURLY],
      "prune: keep the latest of each of the last N hours that have one", "N" },
    { "keep-daily", 0, 0, G_OPTION_ARG_INT, &options.keep[QSNAP_PERIOD_DAILY],
      "prune: the same for days", "N" },
    { "keep-weekly", 0, 0, G_OPTION_ARG_INT, &options.keep[QSNAP_PERIOD_WEEKLY],
      "prune: the same for weeks", "N" },
    { "keep-monthly", 0, 0, G_OPTION_ARG_INT, &options.keep[QSNAP_PERIOD_MONTHLY],
      "prune: the same for months", "N" },
    { "keep-yearly", 0, 0, G_OPTION_ARG_INT, &options.keep[QSNAP_PERIOD_YEARLY],
      "prune: the same for years", "N" },
    { "orphans", 0, 0, G_OPTION_ARG_NONE, &options.orphans,
      "list: the files and directories that nothing seems to need, and why", NULL },
    { "dry-run", 0, 0, G_OPTION_ARG_NONE, &options.dry_run,
      "prune: only say what would be kept, and why, and what deleted", NULL },
    { "version", 0, 0, G_OPTION_ARG_NONE, &version, "print the version", NULL },
    { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &arguments, NULL, NULL },
    { NULL },
  };
  int status;

  setlocale (LC_ALL, "");
  g_set_prgname ("qsnap");
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context, "Instant snapshots of running QEMU guests.");
  g_option_context_set_description (context, description);
  if (!g_option_context_parse (context, &argc, &argv, &error))
    return usage ("", error->message);

  if (version)
    {
      g_print ("qsnap %d.%d.%d\n", QSNAP_MAJOR_VERSION, QSNAP_MINOR_VERSION, QSNAP_MICRO_VERSION);
      return EXIT_OK;
    }

  status = run_command (&options, arguments);
  g_free (options.name);
  g_free (options.description);
  g_strfreev (options.metadata);
  g_free (options.overlay_directory);
  g_free (options.mode);
  g_free (options.fallback);
  g_free (options.disk_mode);
  g_strfreev (options.disks);
  g_free (options.leave);
  g_free (options.quiesce);
  g_free (options.compression);
  g_free (options.method);
  g_free (options.directory);
  g_free (options.program);

  return status;
}
