/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disk/qsnap-drive.h"
#include "memory/qsnap-io.h"
#include "qmp/qsnap-qmp-commands.h"
#include "qsnap-json.h"
#include "restore/qsnap-restore-private.h"

/* The QEMU that is to be run, beside the one that was captured. */

/* From 8.2 on a memory backend can be mapped so that nothing can write to its file, and its guest
 * still writes to its RAM: the property "rom" of memory-backend-file. */
#define ROM_SINCE_MAJOR 8
#define ROM_SINCE_MINOR 2
#define PROBE_TIMEOUT_MS (30 * 1000)

/* --- which program it is ------------------------------------------------------------------- */

static char *
find_program (QsnapRestore *restore, const char *program, GError **error)
{
  g_autofree char *found = NULL;

  if (strchr (program, '/') == NULL)
    found = g_find_program_in_path (program);
  else
    found = g_canonicalize_filename (program, restore->working_directory);

  if (found != NULL && g_file_test (found, G_FILE_TEST_IS_EXECUTABLE))
    return g_steal_pointer (&found);

  g_set_error (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
               "there is no QEMU “%s”: give another program", program);

  return NULL;
}

/* The very file that ran the captured guest: it can do what it could. One that runs through a
 * loader is not told apart by that loader. */
static gboolean
is_captured_program (QsnapRestore *restore, const char *path)
{
  JsonObject *qemu = qsnap_json_get_object (restore->manifest, "qemu");
  JsonObject *recorded = qsnap_json_get_object (qemu, "program");

  return recorded != NULL && restore->command->program->len == 1 &&
         qsnap_file_identity_check (recorded, path, NULL);
}

/* --- the guest's parts ---------------------------------------------------------------------- */

/* The value up to its first comma, which may be given with its key. */
static char *
first_word (const char *value, const char *key)
{
  g_autofree char *word = g_strndup (value, strcspn (value, ","));
  g_autofree char *prefix = g_strconcat (key, "=", NULL);

  return g_strdup (g_str_has_prefix (word, prefix) ? word + strlen (prefix) : word);
}

static char *
device_of (const QsnapOption *option)
{
  if (g_strcmp0 (option->name, "device") != 0 || option->value == NULL)
    return NULL;

  if (*option->value == '{')
    {
      g_autoptr (JsonNode) node =
          qsnap_json_parse_object (option->value, strlen (option->value), NULL);

      return g_strdup (qsnap_json_get_string (qsnap_json_object (node), "driver"));
    }

  return first_word (option->value, "driver");
}

static char *
cpu_of (const QsnapOption *option)
{
  if (g_strcmp0 (option->name, "cpu") != 0 || option->value == NULL)
    return NULL;

  return first_word (option->value, "model");
}

/* --- asking it ----------------------------------------------------------------------------- */

typedef struct
{
  char *version;
  gboolean has_rom;
  /* Names of machine types and of CPU models. */
  GHashTable *machines;
  GHashTable *cpus;
  /* Of those that the guest has. */
  GHashTable *missing_devices;
} Abilities;

static void
abilities_free (Abilities *abilities)
{
  g_free (abilities->version);
  g_clear_pointer (&abilities->machines, g_hash_table_unref);
  g_clear_pointer (&abilities->cpus, g_hash_table_unref);
  g_clear_pointer (&abilities->missing_devices, g_hash_table_unref);
  g_free (abilities);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Abilities, abilities_free)

static GHashTable *
names_of_reply (
    QsnapQmp *qmp, const char *command, JsonNode *arguments, const char *alias, GError **error)
{
  g_autoptr (JsonNode) reply = qsnap_qmp_run (qmp, command, arguments, error);
  JsonArray *list = qsnap_json_array (reply);
  GHashTable *names;

  if (reply == NULL)
    return NULL;

  names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    {
      JsonObject *entry = qsnap_json_array_object (list, i);
      const char *name = qsnap_json_get_string (entry, "name");
      const char *other = qsnap_json_get_string (entry, alias);

      if (name != NULL)
        g_hash_table_add (names, g_strdup (name));
      if (other != NULL)
        g_hash_table_add (names, g_strdup (other));
    }

  return names;
}

static gboolean
ask (QsnapQmp *qmp, Abilities *abilities, GError **error)
{
  g_autoptr (GHashTable) properties = names_of_reply (
      qmp, "qom-list-properties",
      qsnap_json_node_new ("typename", 's', "memory-backend-file", NULL), "alias", error);

  if (properties == NULL)
    return FALSE;

  abilities->has_rom = g_hash_table_contains (properties, "rom");
  abilities->machines = names_of_reply (qmp, "query-machines", NULL, "alias", error);
  if (abilities->machines == NULL)
    return FALSE;

  abilities->cpus = names_of_reply (qmp, "query-cpu-definitions", NULL, "alias", error);

  return abilities->cpus != NULL;
}

/* One by one: a list of all would make QEMU load every module that it has. A type that is an alias
 * on this machine (virtio-blk) is none in QOM. */
static gboolean
has_type (QsnapQmp *qmp, const char *device)
{
  const char *const suffixes[] = { "", "-pci" };

  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    {
      g_autofree char *name = g_strconcat (device, suffixes[i], NULL);
      g_autoptr (GError) error = NULL;

      if (qsnap_qmp_do (qmp, "qom-list-properties",
                        qsnap_json_node_new ("typename", 's', name, NULL), &error) ||
          !g_error_matches (error, QSNAP_QMP_ERROR, QSNAP_QMP_ERROR_DEVICE_NOT_FOUND))
        return TRUE;
    }

  return FALSE;
}

static void
ask_for_devices (QsnapRestore *restore, QsnapQmp *qmp, Abilities *abilities)
{
  abilities->missing_devices = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (guint i = 0; i < restore->command->options->len; i++)
    {
      g_autofree char *device = device_of (restore->command->options->pdata[i]);

      if (device != NULL && !g_hash_table_contains (abilities->missing_devices, device) &&
          !has_type (qmp, device))
        g_hash_table_add (abilities->missing_devices, g_steal_pointer (&device));
    }
}

static char *
version_of (JsonNode *greeting)
{
  JsonObject *version = qsnap_json_get_object (qsnap_json_object (greeting), "version");
  JsonObject *qemu = qsnap_json_get_object (version, "qemu");

  return g_strdup_printf ("%d.%d.%d", (int)qsnap_json_get_int (qemu, "major", 0),
                          (int)qsnap_json_get_int (qemu, "minor", 0),
                          (int)qsnap_json_get_int (qemu, "micro", 0));
}

/* Takes @log_fd. */
static GSubprocess *
start_probe (QsnapRestore *restore, int log_fd, GError **error)
{
  static const char *const options[] = { "-machine", "none",  "-nodefaults",
                                         "-display", "none",  "-S",
                                         "-qmp",     "stdio", "-no-user-config",
                                         NULL };
  g_autoptr (GSubprocessLauncher) launcher =
      g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE);
  g_autoptr (GPtrArray) arguments = g_ptr_array_new ();

  g_subprocess_launcher_take_stderr_fd (launcher, log_fd);
  if (restore->working_directory != NULL)
    g_subprocess_launcher_set_cwd (launcher, restore->working_directory);
  if (restore->module_dir != NULL)
    g_subprocess_launcher_setenv (launcher, QSNAP_PROCESS_MODULE_DIR, restore->module_dir, TRUE);
  g_ptr_array_extend (arguments, restore->command->program, NULL, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    g_ptr_array_add (arguments, (gpointer)options[i]);

  return g_subprocess_launcher_spawnv (launcher, (const char *const *)arguments->pdata, error);
}

static Abilities *
probe_process (QsnapRestore *restore, GSubprocess *process, GError **error)
{
  static const QsnapQmpHandlers no_handlers = { NULL, NULL };
  g_autoptr (GIOStream) stream = NULL;
  g_autoptr (QsnapQmpClient) client = NULL;
  g_autoptr (JsonNode) greeting = NULL;
  g_autoptr (Abilities) abilities = g_new0 (Abilities, 1);
  QsnapQmp qmp = { .timeout_ms = PROBE_TIMEOUT_MS, .cancellable = restore->cancellable };
  gboolean asked = FALSE;

  stream = g_simple_io_stream_new (g_subprocess_get_stdout_pipe (process),
                                   g_subprocess_get_stdin_pipe (process));
  client = qmp.client = qsnap_qmp_client_new (stream, &no_handlers, NULL, NULL);
  greeting = qsnap_qmp_client_negotiate (client, PROBE_TIMEOUT_MS, restore->cancellable, error);
  if (greeting != NULL)
    {
      abilities->version = version_of (greeting);
      asked = ask (&qmp, abilities, error);
      if (asked)
        ask_for_devices (restore, &qmp, abilities);
    }
  qsnap_qmp_client_close (client);
  g_subprocess_force_exit (process);
  (void)g_subprocess_wait (process, NULL, NULL);

  return asked ? g_steal_pointer (&abilities) : NULL;
}

/* What it printed says why it did not start, for example. */
static Abilities *
probe (QsnapRestore *restore, GError **error)
{
  int log_fd = memfd_create ("qsnap-probe", MFD_CLOEXEC);
  int copy = log_fd >= 0 ? fcntl (log_fd, F_DUPFD_CLOEXEC, 3) : -1;
  g_autoptr (GSubprocess) process = NULL;
  g_autofree char *words = NULL;
  g_autoptr (GError) failure = NULL;
  Abilities *abilities = NULL;

  if (copy >= 0)
    process = start_probe (restore, copy, &failure);
  else
    qsnap_io_fail (&failure, errno, "cannot make a log");
  if (process != NULL)
    abilities = probe_process (restore, process, &failure);

  words = qsnap_qemu_last_words (log_fd);
  if (log_fd >= 0)
    close (log_fd);
  if (failure != NULL)
    g_set_error (error, failure->domain, failure->code, "%s%s%s", failure->message,
                 *words != '\0' ? "; it said: " : "", words);

  return abilities;
}

/* --- comparing ----------------------------------------------------------------------------- */

/* QEMU itself has the last word on these: it knows aliases that are not listed. */
static void
warn_of_unknown (QsnapRestore *restore, const Abilities *abilities)
{
  for (guint i = 0; i < restore->command->options->len; i++)
    {
      const QsnapOption *option = restore->command->options->pdata[i];
      g_autofree char *device = device_of (option);
      g_autofree char *cpu = cpu_of (option);

      if (device != NULL && g_hash_table_contains (abilities->missing_devices, device))
        g_ptr_array_add (restore->warnings, g_strdup_printf ("QEMU %s does not have the device %s",
                                                             abilities->version, device));
      /* The host's own is listed only where there is KVM. */
      if (cpu != NULL && !g_str_equal (cpu, "host") &&
          !g_hash_table_contains (abilities->cpus, cpu))
        g_ptr_array_add (
            restore->warnings,
            g_strdup_printf ("QEMU %s does not have the CPU model %s", abilities->version, cpu));
    }
}

static gboolean
compare_with_program (QsnapRestore *restore, const Abilities *abilities, GError **error)
{
  JsonObject *qemu = qsnap_json_get_object (restore->manifest, "qemu");
  const char *machine = qsnap_json_get_string (qemu, "machine");
  const char *version = qsnap_json_get_string (qemu, "version");

  if (!g_str_equal (machine, "unknown") && !g_hash_table_contains (abilities->machines, machine))
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                   "QEMU %s does not have the machine type %s, with which QEMU %s ran the guest: "
                   "give a program that has it",
                   abilities->version, machine, version);
      return FALSE;
    }

  if (!g_str_equal (abilities->version, version))
    g_ptr_array_add (restore->warnings,
                     g_strdup_printf ("the guest was captured with QEMU %s and runs with %s",
                                      version, abilities->version));
  warn_of_unknown (restore, abilities);

  return TRUE;
}

/* What a guest is made of, as far as the stream depends on it: "device virtio-blk-pci". */
static GPtrArray *
hardware_of (QsnapCommand *command)
{
  GPtrArray *hardware = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < command->options->len; i++)
    {
      const QsnapOption *option = command->options->pdata[i];
      g_autofree char *device = device_of (option);

      if (device != NULL)
        g_ptr_array_add (hardware, g_strdup_printf ("-device %s", device));
      else if (option->value != NULL &&
               (g_strcmp0 (option->name, "cpu") == 0 || g_strcmp0 (option->name, "smp") == 0))
        g_ptr_array_add (hardware, g_strdup_printf ("-%s %s", option->name, option->value));
    }

  return hardware;
}

static void
warn_of_missing (QsnapRestore *restore, GPtrArray *wanted, GPtrArray *found, const char *format)
{
  for (guint i = 0; i < wanted->len; i++)
    {
      guint index;

      /* Each stands for one of the other's only. */
      if (g_ptr_array_find_with_equal_func (found, wanted->pdata[i], g_str_equal, &index))
        g_ptr_array_remove_index (found, index);
      else
        g_ptr_array_add (restore->warnings,
                         g_strdup_printf ("%s: %s", format, (char *)wanted->pdata[i]));
    }
}

/* Only a warning: the caller may know what was plugged and unplugged since the guest's start. */
static void
compare_with_command (QsnapRestore *restore)
{
  g_auto (GStrv) recorded = qsnap_snapshot_dup_command_line (restore->snapshot);
  g_autoptr (QsnapCommand) command = NULL;
  g_autoptr (GPtrArray) given = NULL;
  g_autoptr (GPtrArray) captured = NULL;

  if (restore->given_command == NULL || recorded == NULL)
    return;

  command = qsnap_command_parse ((const char *const *)recorded, NULL);
  if (command == NULL)
    return;

  given = hardware_of (restore->command);
  captured = hardware_of (command);
  warn_of_missing (restore, captured, given, "the guest was captured with, but is not given");
  g_clear_pointer (&given, g_ptr_array_unref);
  g_clear_pointer (&captured, g_ptr_array_unref);
  given = hardware_of (restore->command);
  captured = hardware_of (command);
  warn_of_missing (restore, given, captured, "the guest is given, but was not captured with");
}

static gboolean
version_has_rom (const char *version)
{
  char *end;
  guint64 major = g_ascii_strtoull (version, &end, 10), minor;

  if (*end != '.')
    return FALSE;
  minor = g_ascii_strtoull (end + 1, NULL, 10);

  return major > ROM_SINCE_MAJOR || (major == ROM_SINCE_MAJOR && minor >= ROM_SINCE_MINOR);
}

gboolean
qsnap_restore_check_program (QsnapRestore *restore, GError **error)
{
  JsonObject *qemu = qsnap_json_get_object (restore->manifest, "qemu");
  g_autofree char *path = find_program (restore, restore->command->program->pdata[0], error);
  g_autoptr (Abilities) abilities = NULL;

  if (path == NULL)
    return FALSE;

  compare_with_command (restore);
  if (is_captured_program (restore, path))
    {
      restore->map_read_only = version_has_rom (qsnap_json_get_string (qemu, "version"));
      return TRUE;
    }

  abilities = probe (restore, error);
  if (abilities == NULL)
    {
      g_prefix_error (error,
                      "asking %s what it can do: ", qsnap_command_get_program (restore->command));
      return FALSE;
    }

  restore->map_read_only = abilities->has_rom;

  return compare_with_program (restore, abilities, error);
}
