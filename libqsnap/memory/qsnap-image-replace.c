/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A block of RAM whose content is known better than QEMU sent it: the UEFI variables, of which the
 * file at the point in time counts. */

#include "config.h"

#include "memory/qsnap-image-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory/qsnap-image-writer.h"
#include "memory/qsnap-io.h"
#include "memory/qsnap-raw-file.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

typedef struct
{
  int ram_fd;
  const char *name; /* in the folder of RAM */
  const char *sums_name;
  char *new_name; /* no block's file begins with a dot */
  char *new_sums_name;
} Names;

static gboolean
copy_pages (
    QsnapRawFile *file, guint64 length, int source_fd, guint64 source_length, GError **error)
{
  g_autofree guint8 *page = g_malloc0 (QSNAP_PAGE_SIZE);

  for (guint64 offset = 0; offset < length; offset += QSNAP_PAGE_SIZE)
    {
      gsize len = offset < source_length ? MIN (QSNAP_PAGE_SIZE, source_length - offset) : 0;

      memset (page + len, 0, QSNAP_PAGE_SIZE - len);
      if (len > 0 &&
          !qsnap_io_pread (source_fd, page, len, offset, "the new content of RAM", error))
        return FALSE;
      if (!qsnap_raw_file_write_page (file, offset, len > 0 ? page : NULL, error))
        return FALSE;
    }
  return qsnap_raw_file_finish (file, error);
}

/* The two renames are not one step. It does not matter before the manifest is there, and after it
 * no block is replaced. */
static gboolean
put_in_place (const Names *names, GError **error)
{
  if (renameat (names->ram_fd, names->new_name, names->ram_fd, names->name) != 0 ||
      renameat (names->ram_fd, names->new_sums_name, names->ram_fd, names->sums_name) != 0)
    return qsnap_io_fail (error, errno, "Could not replace “%s”", names->name);
  return qsnap_io_fsync (names->ram_fd, "the folder “" QSNAP_IMAGE_RAM_DIR "”", error);
}

/* Answers the file that has been written, for what it knows. */
static QsnapRawFile *
replace_files (const Names *names,
               QsnapRun *run,
               guint64 length,
               int source_fd,
               guint64 source_length,
               GError **error)
{
  g_autoptr (QsnapRawFile) file = NULL;

  /* What a writer that died may have left. */
  unlinkat (names->ram_fd, names->new_name, 0);
  unlinkat (names->ram_fd, names->new_sums_name, 0);
  file = qsnap_raw_file_new (names->ram_fd, names->new_name, names->new_sums_name, length, run,
                             NULL, error);
  if (file != NULL && copy_pages (file, length, source_fd, source_length, error) &&
      put_in_place (names, error))
    return g_steal_pointer (&file);
  unlinkat (names->ram_fd, names->new_name, 0);
  unlinkat (names->ram_fd, names->new_sums_name, 0);
  return NULL;
}

static void
add_to_member (JsonObject *object, const char *name, gint64 difference)
{
  json_object_set_int_member (object, name, qsnap_json_get_int (object, name, 0) + difference);
}

static void
update_json (JsonObject *memory, guint index, const QsnapImageBlock *old, QsnapRawFile *file)
{
  JsonObject *block = qsnap_json_array_object (qsnap_json_get_array (memory, "blocks"), index);
  gint64 n_pages = (gint64)(old->length / QSNAP_PAGE_SIZE);
  gint64 n_data = (gint64)qsnap_raw_file_get_n_data (file);
  gint64 old_n_absent = n_pages - (gint64)old->n_data - (gint64)old->n_zero;

  json_object_set_int_member (block, "pages", n_data);
  json_object_set_int_member (block, "zero-pages", n_pages - n_data);
  json_object_set_string_member (block, "sums-checksum", qsnap_raw_file_get_digest (file));
  add_to_member (memory, "pages", n_data - (gint64)old->n_data);
  add_to_member (memory, "zero-pages", n_pages - n_data - (gint64)old->n_zero);
  add_to_member (memory, "absent-pages", -old_n_absent);
}

static QsnapImageBlock *
find_raw_block (QsnapImage *image, const char *name, guint64 source_length, GError **error)
{
  guint index = qsnap_image_find_block (image, name);
  QsnapImageBlock *block = index != G_MAXUINT ? qsnap_image_block (image, index) : NULL;

  if (block == NULL || block->path == NULL || block->packed)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED,
                   block == NULL ? "The guest has no RAM block “%s”"
                                 : "The RAM block “%s” has no raw file of its own",
                   name);
      return NULL;
    }
  if (source_length > block->length)
    {
      g_set_error (error, QSNAP_ERROR, QSNAP_ERROR_FAILED,
                   "%" G_GUINT64_FORMAT
                   " bytes do not fit the RAM block “%s” of %" G_GUINT64_FORMAT,
                   source_length, name, block->length);
      return NULL;
    }
  return block;
}

gboolean
qsnap_image_replace_block (int dir_fd,
                           JsonObject *memory,
                           const char *name,
                           int source_fd,
                           guint64 source_length,
                           GError **error)
{
  g_autoptr (QsnapImage) image = qsnap_image_new (dir_fd, memory, error);
  g_autoptr (QsnapRun) run = NULL;
  g_autoptr (QsnapRawFile) file = NULL;
  g_autofree char *new_name = NULL;
  g_autofree char *new_sums_name = NULL;
  QsnapImageBlock *block;
  Names names;

  if (image == NULL)
    return FALSE;
  block = find_raw_block (image, name, source_length, error);
  if (block == NULL || !qsnap_image_open_block (image, block, error))
    return FALSE;

  names.ram_fd = image->ram_fd;
  names.name = strchr (block->path, '/') + 1;
  names.sums_name = strchr (block->sums_path, '/') + 1;
  names.new_name = new_name = g_strconcat (".", names.name, NULL);
  names.new_sums_name = new_sums_name = g_strconcat (".", names.sums_name, NULL);

  run = qsnap_run_new ();
  file = replace_files (&names, run, block->length, source_fd, source_length, error);
  if (file == NULL)
    return FALSE;
  update_json (memory, qsnap_image_find_block (image, name), block, file);
  return qsnap_image_write_json (dir_fd, memory, error);
}
