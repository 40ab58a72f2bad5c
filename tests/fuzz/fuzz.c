/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A criticised argument is a finding like any other. */
int
LLVMFuzzerInitialize (G_GNUC_UNUSED int *argc, G_GNUC_UNUSED char ***argv)
{
  g_log_set_always_fatal (G_LOG_FATAL_MASK | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING);

  return 0;
}

/* --- input --------------------------------------------------------------------------------- */

const guint8 *
fuzz_take (FuzzInput *input, gsize *length)
{
  const guint8 *taken = input->data;

  *length = MIN (*length, input->size);
  input->data += *length;
  input->size -= *length;

  return taken;
}

guint
fuzz_take_u8 (FuzzInput *input)
{
  gsize length = 1;
  const guint8 *taken = fuzz_take (input, &length);

  return length == 1 ? *taken : 0;
}

guint
fuzz_take_u16 (FuzzInput *input)
{
  guint high = fuzz_take_u8 (input);

  return high << 8 | fuzz_take_u8 (input);
}

guint64
fuzz_take_u64 (FuzzInput *input)
{
  guint64 value = 0;

  for (guint i = 0; i < sizeof value; i++)
    value = value << 8 | fuzz_take_u8 (input);

  return value;
}

char *
fuzz_take_text (FuzzInput *input)
{
  char *text = g_malloc0 (input->size + 1);

  if (input->size > 0)
    memcpy (text, input->data, input->size);
  input->data += input->size;
  input->size = 0;

  return text;
}

/* --- folder -------------------------------------------------------------------------------- */

static char *path;
static int folder_fd = -1;

static void
empty (int parent_fd, const char *name)
{
  int fd = openat (parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *dir = fd >= 0 ? fdopendir (fd) : NULL;
  struct dirent *entry;

  while (dir != NULL && (entry = readdir (dir)) != NULL)
    {
      if (strcmp (entry->d_name, ".") == 0 || strcmp (entry->d_name, "..") == 0 ||
          unlinkat (fd, entry->d_name, 0) == 0)
        continue;
      empty (fd, entry->d_name);
      (void)unlinkat (fd, entry->d_name, AT_REMOVEDIR);
    }
  if (dir != NULL)
    closedir (dir);
}

void
fuzz_folder_empty (void)
{
  empty (fuzz_folder (), ".");
}

static void
remove_folder (void)
{
  fuzz_folder_empty ();
  (void)rmdir (path);
  close (folder_fd);
  g_free (path);
}

int
fuzz_folder (void)
{
  if (folder_fd >= 0)
    return folder_fd;

  path = g_build_filename (access ("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir (),
                           "qsnap-fuzz-XXXXXX", NULL);
  if (g_mkdtemp (path) == NULL)
    g_error ("%s: %s", path, g_strerror (errno));
  folder_fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_assert (folder_fd >= 0);
  atexit (remove_folder);

  return folder_fd;
}

const char *
fuzz_folder_path (void)
{
  fuzz_folder ();

  return path;
}

void
fuzz_folder_write (const char *name, const void *data, gsize length)
{
  int fd = openat (fuzz_folder (), name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  g_assert (fd >= 0);
  g_assert (length == 0 || write (fd, data, length) == (gssize)length);
  close (fd);
}
