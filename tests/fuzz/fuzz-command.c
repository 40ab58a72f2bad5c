/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A captured guest's command line, adapted for its revert.
 *
 * An input has lines: the files that are disks, with a space between them; the RAM blocks, as
 * NAME=PAGES; then an argument a line, the program first. */

#include "config.h"

#include "fuzz.h"

#include <string.h>

#include "qsnap/qsnap-error.h"
#include "restore/qsnap-command-adapt.h"

#define MAX_DISKS 4
#define MAX_BLOCKS 4
#define DIRECTORY "/revert"
#define MACHINE "pc-q35-7.2"

static void
assert_refused (GError *error)
{
  g_assert (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED) ||
            error->domain == G_IO_ERROR);
  g_assert (g_utf8_validate (error->message, -1, NULL));
}

/* What comes out is a command line, and the same one. */
static void
check_text (QsnapCommand *command)
{
  g_auto (GStrv) argv = qsnap_command_to_strv (command);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapCommand) again = qsnap_command_parse ((const char *const *)argv, &error);
  g_auto (GStrv) other = NULL;

  g_assert_no_error (error);
  other = qsnap_command_to_strv (again);
  g_assert (g_strv_equal ((const char *const *)argv, (const char *const *)other));
}

static gboolean
adapt_disks (QsnapCommand *command, const QsnapAdaptContext *context, char **files, GError **error)
{
  QsnapRevertDisk disks[MAX_DISKS];
  const char *chains[MAX_DISKS][2];
  guint n = 0;

  for (; n < MAX_DISKS && files[n] != NULL; n++)
    {
      chains[n][0] = files[n];
      chains[n][1] = NULL;
      disks[n] = (QsnapRevertDisk){ "disk", chains[n], DIRECTORY "/disk.qcow2" };
    }

  return qsnap_command_adapt_disks (command, context, disks, n, error);
}

static gboolean
map_memory (QsnapCommand *command, char **texts, GError **error)
{
  QsnapRevertBlock blocks[MAX_BLOCKS];
  guint n = 0;

  for (; n < MAX_BLOCKS && texts[n] != NULL; n++)
    {
      char *pages = strrchr (texts[n], '=');
      guint64 n_pages = pages != NULL ? g_ascii_strtoull (pages + 1, NULL, 10) : 1;

      if (pages != NULL)
        *pages = '\0';
      blocks[n] =
          (QsnapRevertBlock){ texts[n], (n_pages & 0xffffffff) * 4096, "/snap/ram/a,b", FALSE };
    }

  return qsnap_command_map_memory (command, blocks, n, TRUE, error);
}

static void
adapt (QsnapCommand *command, char *files, char *blocks)
{
  g_autoptr (GPtrArray) warnings = g_ptr_array_new_with_free_func (g_free);
  const QsnapAdaptContext context = { DIRECTORY, *files == ' ' ? NULL : "/guest", warnings };
  g_auto (GStrv) disks = g_strsplit (files, " ", -1);
  g_auto (GStrv) texts = g_strsplit (blocks, " ", -1);
  g_autoptr (GError) error = NULL;

  if (!qsnap_command_pin_machine (command, MACHINE, &error) ||
      !adapt_disks (command, &context, disks, &error) ||
      !(*blocks == '\0' ? qsnap_command_load_memory (command, &context, &error)
                        : map_memory (command, texts, &error)) ||
      !qsnap_command_adapt_host (command, &context, &error))
    assert_refused (error);
  for (guint i = 0; i < warnings->len; i++)
    g_assert (g_utf8_validate (g_ptr_array_index (warnings, i), -1, NULL));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  FuzzInput input = { data, size };
  g_autofree char *text = fuzz_take_text (&input);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapCommand) command = NULL;

  /* Disks and blocks come from JSON. */
  if (g_strv_length (lines) < 3 || !g_utf8_validate (lines[0], -1, NULL) ||
      !g_utf8_validate (lines[1], -1, NULL))
    return 0;

  command = qsnap_command_parse ((const char *const *)lines + 2, &error);
  if (command == NULL)
    {
      assert_refused (error);
      return 0;
    }

  check_text (command);
  (void)qsnap_command_has_device (command, "vfio");
  adapt (command, lines[0], lines[1]);
  check_text (command);

  return 0;
}
