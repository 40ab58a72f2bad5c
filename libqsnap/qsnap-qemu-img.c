/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-qemu-img.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

gboolean
qsnap_qemu_img_is_there (GError **error)
{
  g_autofree char *program = g_find_program_in_path ("qemu-img");

  if (program == NULL)
    g_set_error_literal (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED,
                         "the program qemu-img is needed, and is not in PATH");

  return program != NULL;
}

/* If we die, it must not go on beside the one that is started next. The thread that starts it waits
 * for it, so it cannot end before. */
static void
die_with_us (gpointer data)
{
  (void)prctl (PR_SET_PDEATHSIG, SIGKILL);
}

static GSubprocess *
start (const char *const *command, GError **error)
{
  g_autoptr (GSubprocessLauncher) launcher =
      g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);

  if (!qsnap_qemu_img_is_there (error))
    return NULL;

  g_subprocess_launcher_set_child_setup (launcher, die_with_us, NULL, NULL);

  return g_subprocess_launcher_spawnv (launcher, command, error);
}

char *
qsnap_qemu_img_output (const char *const *command, GCancellable *cancellable, GError **error)
{
  g_autoptr (GSubprocess) process = start (command, error);
  g_autofree char *output = NULL;
  g_autofree char *complaint = NULL;

  if (process == NULL)
    return NULL;

  if (!g_subprocess_communicate_utf8 (process, NULL, cancellable, &output, &complaint, error))
    {
      /* It must not go on writing when the caller has been told of the end. */
      g_subprocess_force_exit (process);
      g_subprocess_wait (process, NULL, NULL);
      return NULL;
    }

  if (g_subprocess_get_successful (process))
    return g_steal_pointer (&output);

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED, "%s %s: %s", command[0], command[1],
               g_strstrip (complaint));

  return NULL;
}

gboolean
qsnap_qemu_img_run (const char *const *command,
                    JsonNode **reply,
                    GCancellable *cancellable,
                    GError **error)
{
  g_autofree char *output = qsnap_qemu_img_output (command, cancellable, error);

  if (output == NULL || reply == NULL)
    return output != NULL;

  *reply = qsnap_json_parse_object (output, strlen (output), error);

  return *reply != NULL;
}

static gboolean
check_overlay (const char *overlay, const char *base, GCancellable *cancellable, GError **error)
{
  const char *const info[] = { "qemu-img", "info", "--output=json", "-f", "qcow2", overlay, NULL };
  g_autoptr (JsonNode) reply = NULL;
  const char *backing;

  if (!qsnap_qemu_img_run (info, &reply, cancellable, error))
    return FALSE;

  backing = qsnap_json_get_string (qsnap_json_object (reply), "backing-filename");
  if (g_strcmp0 (backing, base) == 0)
    return TRUE;

  g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT, "%s does not stand on %s", overlay, base);

  return FALSE;
}

gboolean
qsnap_qemu_img_commit (const char *overlay,
                       const char *base,
                       GCancellable *cancellable,
                       GError **error)
{
  const char *const commit[] = { "qemu-img", "commit", "-q", "-d", "-f", "qcow2", overlay, NULL };

  return check_overlay (overlay, base, cancellable, error) &&
         qsnap_qemu_img_run (commit, NULL, cancellable, error);
}

gboolean
qsnap_qemu_img_rebase (const char *image, const char *base, const char *format, GError **error)
{
  const char *const rebase[] = { "qemu-img", "rebase", "-q", "-u",   "-f",  "qcow2",
                                 "-b",       base,     "-F", format, image, NULL };

  return qsnap_qemu_img_run (rebase, NULL, NULL, error);
}

JsonNode *
qsnap_qemu_img_info (const char *file,
                     const char *format,
                     GCancellable *cancellable,
                     GError **error)
{
  const char *const command[] = { "qemu-img", "info", "-U", "--output=json",
                                  "-f",       format, file, NULL };
  JsonNode *reply = NULL;

  return qsnap_qemu_img_run (command, &reply, cancellable, error) ? reply : NULL;
}

gboolean
qsnap_qemu_img_has_snapshot (JsonObject *info, const char *name)
{
  JsonArray *list = qsnap_json_get_array (info, "snapshots");

  for (guint i = 0; list != NULL && i < json_array_get_length (list); i++)
    if (g_strcmp0 (qsnap_json_get_string (qsnap_json_array_object (list, i), "name"), name) == 0)
      return TRUE;

  return FALSE;
}

gboolean
qsnap_qemu_img_delete_snapshot (const char *file, const char *name, GError **error)
{
  const char *const command[] = { "qemu-img", "snapshot", "-q", "-d", name, file, NULL };
  g_autoptr (JsonNode) reply = qsnap_qemu_img_info (file, "qcow2", NULL, error);

  return reply != NULL && (!qsnap_qemu_img_has_snapshot (qsnap_json_object (reply), name) ||
                           qsnap_qemu_img_run (command, NULL, NULL, error));
}

gboolean
qsnap_qemu_img_holds_something (const char *file, gboolean *holds, GError **error)
{
  const char *const map[] = { "qemu-img", "map", "-U", "--output=json", "-f", "qcow2", file, NULL };
  g_autofree char *output = qsnap_qemu_img_output (map, NULL, error);

  *holds = output != NULL && strstr (output, "\"depth\": 0") != NULL;

  return output != NULL;
}
