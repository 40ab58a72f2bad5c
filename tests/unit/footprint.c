/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "footprint.h"

#include <malloc.h>
#include <string.h>

/* Freed memory that a checker keeps, and what it has around each piece. */
#define CHECKER_FACTOR 6
#define CHECKER_BYTES (512 * MIB)

#define PATIENCE_US (60 * G_USEC_PER_SEC)

static gboolean
is_checked (void)
{
#ifdef __SANITIZE_ADDRESS__
  return TRUE;
#elif defined __SANITIZE_THREAD__
  return TRUE;
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return TRUE;
#endif
#endif
  const char *preloaded = g_getenv ("LD_PRELOAD");

  return preloaded != NULL && strstr (preloaded, "vgpreload") != NULL;
}

static gsize
read_status (const char *field)
{
  g_autofree char *status = NULL;
  g_autoptr (GError) error = NULL;
  const char *line;

  g_file_get_contents ("/proc/self/status", &status, NULL, &error);
  g_assert_no_error (error);
  line = strstr (status, field);
  g_assert_nonnull (line);

  return (gsize)g_ascii_strtoull (line + strlen (field), NULL, 10) * KIB;
}

static guint
count_fds (void)
{
  g_autoptr (GDir) dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;

  return n;
}

void
footprint_begin (Footprint *footprint)
{
  FILE *file = fopen ("/proc/self/clear_refs", "we");

  malloc_trim (0);
  /* Sets the peak to what is resident now. */
  g_assert_nonnull (file);
  fputs ("5", file);
  g_assert_cmpint (fclose (file), ==, 0);
  footprint->resident = read_status ("\nVmRSS:");
  footprint->n_fds = count_fds ();
}

gsize
footprint_assert_peak (const Footprint *footprint, gsize limit)
{
  gsize peak = read_status ("\nVmHWM:");
  gsize more = peak > footprint->resident ? peak - footprint->resident : 0;

  if (is_checked ())
    limit = CHECKER_FACTOR * limit + CHECKER_BYTES;
  g_assert_cmpuint (more, <, limit);

  return more;
}

void
footprint_assert_fds (const Footprint *footprint)
{
  gint64 patience = g_get_monotonic_time () + PATIENCE_US;

  while (count_fds () > footprint->n_fds && g_get_monotonic_time () < patience)
    g_usleep (1000);
  g_assert_cmpuint (count_fds (), <=, footprint->n_fds);
}
