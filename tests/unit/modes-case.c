/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "modes-case.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DISK_SIZE (1024 * 1024)

guint modes_n_clones;
int modes_clone_error;
guint modes_clone_error_from;

/* --- a file system that can clone ---------------------------------------------------------- */

static int
clone_file (int target, int source)
{
  g_autofree guint8 *bytes = g_malloc (DISK_SIZE);
  off_t at = 0;
  gssize n;

  modes_n_clones++;
  if (modes_clone_error != 0 && modes_n_clones >= modes_clone_error_from)
    {
      errno = modes_clone_error;
      return -1;
    }
  while ((n = pread (source, bytes, DISK_SIZE, at)) > 0)
    {
      if (pwrite (target, bytes, (gsize)n, at) != n)
        return -1;
      at += n;
    }
  return n < 0 ? -1 : 0;
}

/* Before the C library's. */
int
ioctl (int fd, unsigned long request, ...)
{
  va_list values;
  long argument;

  va_start (values, request);
  argument = va_arg (values, long);
  va_end (values);
  if (request == FICLONE)
    return clone_file (fd, (int)argument);
  return (int)syscall (SYS_ioctl, fd, request, argument);
}

/* --- guests -------------------------------------------------------------------------------- */

void
modes_set_up (Fixture *fixture, MockStyle style, guint n_drives)
{
  modes_n_clones = modes_clone_error_from = 0;
  modes_clone_error = 0;
  fixture_set_up (fixture, style, 0);
  for (guint i = 0; i < n_drives; i++)
    {
      g_autofree char *name = g_strdup_printf ("%c.qcow2", 'a' + (int)i);
      g_autofree char *device = g_strdup_printf ("virtio%u", i);
      g_autofree char *qdev = g_strdup_printf ("/machine/peripheral-anon/device[%u]", i);
      g_autofree char *node = g_strdup_printf ("disk%u", i);
      g_autofree char *image = fixture_path (fixture, name);

      mock_make_qcow2 (image, DISK_SIZE, NULL, NULL);
      mock_add_drive (fixture->mock, device, qdev, node, "qcow2", image);
    }
}

QsnapSnapshotOptions *
modes_options (Fixture *fixture, QsnapSnapshotMode mode, QsnapDiskMode disk_mode)
{
  QsnapSnapshotOptions *options = fixture_options (fixture, "snapshot");

  qsnap_snapshot_options_set_mode (options, mode);
  qsnap_snapshot_options_set_disk_mode (options, disk_mode);
  return options;
}

QsnapSnapshot *
modes_capture (Fixture *fixture, QsnapSnapshotOptions *options, GError **error)
{
  return qsnap_session_instant_snapshot (fixture->session, options, NULL, error);
}

/* --- what was done ------------------------------------------------------------------------- */

static void
append_actions (GString *text, JsonObject *arguments)
{
  JsonArray *actions = json_object_get_array_member (arguments, "actions");

  g_string_append (text, "(");
  for (guint i = 0; i < json_array_get_length (actions); i++)
    g_string_append_printf (
        text, "%s%s", i > 0 ? " " : "",
        json_object_get_string_member (json_array_get_object_element (actions, i), "type"));
  g_string_append (text, ")");
}

char *
modes_dup_commands (Fixture *fixture)
{
  static const char *const changes[] = { "stop", "cont",       "migrate",     "migrate-continue",
                                         "quit", "job-cancel", "transaction", "migrate_cancel",
                                         NULL };
  g_auto (GStrv) lines = mock_dup_transcript (fixture->mock);
  g_autoptr (GString) text = g_string_new (NULL);
  guint n_transactions = 0;

  for (guint i = 0; lines[i] != NULL; i++)
    {
      g_autofree char *command = g_strndup (lines[i], strcspn (lines[i], " "));

      if (!g_strv_contains (changes, command))
        continue;
      g_string_append_printf (text, "%s%s", text->len > 0 ? " " : "", command);
      if (g_str_equal (command, "transaction"))
        {
          g_autoptr (JsonObject) arguments =
              mock_dup_arguments (fixture->mock, "transaction", ++n_transactions);

          append_actions (text, arguments);
        }
    }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static JsonNode *
step_into (JsonNode *node, const char *name)
{
  guint index = (guint)g_ascii_strtoull (name, NULL, 10);

  if (node != NULL && JSON_NODE_HOLDS_ARRAY (node))
    return index < json_array_get_length (json_node_get_array (node))
               ? json_array_get_element (json_node_get_array (node), index)
               : NULL;
  return node != NULL && JSON_NODE_HOLDS_OBJECT (node)
             ? json_object_get_member (json_node_get_object (node), name)
             : NULL;
}

char *
modes_dup_member (QsnapSnapshot *snapshot, const char *path)
{
  g_autoptr (JsonNode) manifest = qsnap_snapshot_dup_manifest (snapshot);
  g_auto (GStrv) names = g_strsplit (path, ".", -1);
  JsonNode *node = manifest;

  for (guint i = 0; names[i] != NULL; i++)
    node = step_into (node, names[i]);
  if (node == NULL)
    return NULL;
  return JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
             ? json_node_dup_string (node)
             : json_to_string (node, FALSE);
}
