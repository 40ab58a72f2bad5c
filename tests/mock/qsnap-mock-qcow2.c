/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The header of a qcow2 image, as far as the model needs it: the guest's data are nobody's concern
 * here. */

#include "qsnap-mock-graph.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define CLUSTER 65536
#define HEADER_LENGTH 104
#define EXT_BACKING_FORMAT 0xe2792aca

static void
put_be32 (guint8 *at, guint32 value)
{
  value = GUINT32_TO_BE (value);
  memcpy (at, &value, sizeof value);
}

static void
put_be64 (guint8 *at, guint64 value)
{
  value = GUINT64_TO_BE (value);
  memcpy (at, &value, sizeof value);
}

static guint32
get_be32 (const guint8 *at)
{
  guint32 value;

  memcpy (&value, at, sizeof value);
  return GUINT32_FROM_BE (value);
}

static guint64
get_be64 (const guint8 *at)
{
  guint64 value;

  memcpy (&value, at, sizeof value);
  return GUINT64_FROM_BE (value);
}

static void
read_backing_format (const guint8 *bytes, gsize length, MockQcow2 *header)
{
  gsize at = get_be32 (bytes + 100);

  while (at + 8 <= length && get_be32 (bytes + at) != 0)
    {
      guint32 extension_length = get_be32 (bytes + at + 4);

      if (get_be32 (bytes + at) == EXT_BACKING_FORMAT && extension_length < sizeof header->format &&
          at + 8 + extension_length <= length)
        memcpy (header->format, bytes + at + 8, extension_length);
      at += 8 + (((gsize)extension_length + 7) & ~(gsize)7);
    }
}

gboolean
mock_qcow2_read (MockNode *file, MockQcow2 *header)
{
  g_autofree guint8 *bytes = g_malloc0 (CLUSTER);
  gssize length = file != NULL ? pread (file->fd, bytes, CLUSTER, 0) : -1;
  guint64 name_at;
  guint32 name_length;

  memset (header, 0, sizeof *header);
  if (length < HEADER_LENGTH || memcmp (bytes, "QFI\xfb", 4) != 0)
    return FALSE;
  header->size = (gint64)get_be64 (bytes + 24);
  name_at = get_be64 (bytes + 8);
  name_length = get_be32 (bytes + 16);
  if (name_at > 0 && name_length < sizeof header->backing &&
      name_at + name_length <= (guint64)length)
    memcpy (header->backing, bytes + name_at, name_length);
  if (get_be32 (bytes + 4) >= 3)
    read_backing_format (bytes, (gsize)length, header);
  return TRUE;
}

/* Version 3, with the refcount and L1 tables in the second and third cluster: looks right, holds
 * nothing. */
static void
fill_header (guint8 *bytes, gint64 size, const char *backing, const char *format)
{
  gsize at = HEADER_LENGTH;

  memcpy (bytes, "QFI\xfb", 4);
  put_be32 (bytes + 4, 3);
  put_be32 (bytes + 20, 16); /* cluster bits */
  put_be64 (bytes + 24, (guint64)size);
  put_be32 (bytes + 36, 1); /* L1 entries */
  put_be64 (bytes + 40, 2 * CLUSTER);
  put_be64 (bytes + 48, CLUSTER);
  put_be32 (bytes + 56, 1); /* refcount table clusters */
  put_be32 (bytes + 96, 4); /* refcount order */
  put_be32 (bytes + 100, HEADER_LENGTH);
  if (format != NULL)
    {
      put_be32 (bytes + at, EXT_BACKING_FORMAT);
      put_be32 (bytes + at + 4, (guint32)strlen (format));
      memcpy (bytes + at + 8, format, strlen (format));
      at += 8 + ((strlen (format) + 7) & ~(gsize)7);
    }
  at += 8; /* the end of the extensions is all zeros */
  if (backing != NULL)
    {
      put_be64 (bytes + 8, at);
      put_be32 (bytes + 16, (guint32)strlen (backing));
      memcpy (bytes + at, backing, strlen (backing));
    }
}

gboolean
mock_graph_write_qcow2 (
    MockNode *file, gint64 size, const char *backing, const char *format, GError **error)
{
  g_autofree guint8 *bytes = g_malloc0 (CLUSTER);

  if (backing != NULL && strlen (backing) >= 1024)
    {
      mock_fail (error, "Backing file name too long");
      return FALSE;
    }
  fill_header (bytes, size, backing, format);
  if (pwrite (file->fd, bytes, CLUSTER, 0) != CLUSTER || ftruncate (file->fd, 3 * CLUSTER) != 0)
    {
      mock_fail (error, "Could not write qcow2 header: %s", g_strerror (errno));
      return FALSE;
    }
  file->size = 3 * CLUSTER;
  return TRUE;
}

void
mock_make_qcow2 (const char *path, gint64 size, const char *backing, const char *format)
{
  MockNode file = { .fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) };
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (file.fd, >=, 0);
  mock_graph_write_qcow2 (&file, size, backing, format, &error);
  g_assert_no_error (error);
  close (file.fd);
}
