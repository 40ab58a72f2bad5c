/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gives a fuzz target the files that are its arguments, or are in the folders that are, one after
 * the other. What was ever found is among them. */

#include "fuzz.h"

#include <gio/gio.h>
#include <unistd.h>

/* Seconds for one of them, under a checker on a busy machine. */
#define PATIENCE 60

static guint n_tests;

static void
replay_file (const char *path)
{
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *text = NULL;
  g_autofree guint8 *data = NULL;
  gsize size;

  if (!g_file_get_contents (path, &text, &size, NULL))
    g_error ("%s cannot be read", path);

  /* Exactly as many bytes as there are, for the checkers. */
  data = g_memdup2 (text, size);
  alarm (PATIENCE);
  LLVMFuzzerTestOneInput (data, size);
  alarm (0);
  g_print ("ok %u %s\n", ++n_tests, name);
}

static gint
compare (gconstpointer a, gconstpointer b)
{
  return g_strcmp0 (*(const char *const *)a, *(const char *const *)b);
}

static void
replay_folder (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  const char *name;

  if (dir == NULL)
    g_error ("%s cannot be read", path);
  while ((name = g_dir_read_name (dir)) != NULL)
    g_ptr_array_add (names, g_build_filename (path, name, NULL));
  g_ptr_array_sort (names, compare);
  for (guint i = 0; i < names->len; i++)
    replay_file (g_ptr_array_index (names, i));
}

int
main (int argc, char **argv)
{
  LLVMFuzzerInitialize (&argc, &argv);
  for (int i = 1; i < argc; i++)
    if (g_file_test (argv[i], G_FILE_TEST_IS_DIR))
      replay_folder (argv[i]);
    /* Not every target has seeds of each kind. */
    else if (g_file_test (argv[i], G_FILE_TEST_EXISTS))
      replay_file (argv[i]);
  g_print ("1..%u\n", n_tests);

  return n_tests > 0 ? 0 : 1;
}
