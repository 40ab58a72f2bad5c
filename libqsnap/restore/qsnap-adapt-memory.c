/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "restore/qsnap-adapt-private.h"

#include <string.h>

/* What every memory backend has, whatever it is made of. */
static const char *const of_all[] = { "qom-type", "id",    "size", "host-nodes",
                                      "policy",   "merge", "dump", NULL };

static const char *const of_files[] = { "mem-path", "align", "offset",       "pmem",
                                        "readonly", "rom",   "discard-data", NULL };

static const char *const default_blocks[] = { "pc.ram", "microvm.ram", NULL };

/* --- sizes --------------------------------------------------------------------------------- */

static const char digits[] = "0123456789";

static double
fraction_of (const char *text)
{
  double fraction = 0;

  for (gsize i = strspn (text, digits); i > 0; i--)
    fraction = (fraction + (text[i - 1] - '0')) / 10;

  return fraction;
}

/* "512M", "0x20000000", "1.5G": bytes, unless a unit follows. */
static gboolean
parse_size (const char *text, guint64 *size)
{
  static const char units[] = "BKMGTPE";
  gboolean is_hex = g_ascii_strncasecmp (text, "0x", 2) == 0;
  char *end = NULL;
  double fraction = 0;
  guint shift = 0;

  if (!g_ascii_isdigit (*text))
    return FALSE;

  *size = g_ascii_strtoull (text, &end, is_hex ? 16 : 10);
  if (*end == '.' && !is_hex)
    {
      fraction = fraction_of (end + 1);
      end += 1 + strspn (end + 1, digits);
    }
  if (*end != '\0')
    {
      const char *unit = strchr (units, g_ascii_toupper (*end));

      if (unit == NULL || end[1] != '\0')
        return FALSE;
      shift = 10 * (guint)(unit - units);
    }

  if (!g_uint64_checked_mul (size, *size, G_GUINT64_CONSTANT (1) << shift))
    return FALSE;
  *size += (guint64)(fraction * (double)(G_GUINT64_CONSTANT (1) << shift));

  return TRUE;
}

/* --- backends ------------------------------------------------------------------------------ */

/* The option's properties, if it is a memory backend. FALSE: it cannot be read. */
static gboolean
parse_backend (const QsnapOption *option, QsnapProps **props, GError **error)
{
  g_autoptr (QsnapProps) parsed = NULL;
  const char *type;

  *props = NULL;
  if (!qsnap_option_is (option, "object"))
    return TRUE;

  parsed = qsnap_option_parse (option, "qom-type", error);
  if (parsed == NULL)
    return FALSE;

  type = qsnap_props_get (parsed, "qom-type");
  if (type != NULL && g_str_has_prefix (type, "memory-backend-"))
    *props = g_steal_pointer (&parsed);

  return TRUE;
}

/* A backend's block is named by its id, or by its path among QEMU's objects. */
static gboolean
is_block_of (const char *id, const char *name, gboolean *by_path)
{
  *by_path = g_str_has_prefix (name, "/objects/");

  return id != NULL && g_str_equal (id, *by_path ? name + strlen ("/objects/") : name);
}

static QsnapRevertBlock *
find_block (QsnapRevertBlock *blocks, guint n_blocks, const char *id, gboolean *by_path)
{
  for (guint i = 0; i < n_blocks; i++)
    if (!blocks[i].mapped && is_block_of (id, blocks[i].name, by_path))
      return &blocks[i];

  return NULL;
}

static void
set_file (QsnapProps *props, const QsnapRevertBlock *block, gboolean by_path, gboolean read_only)
{
  qsnap_props_set (props, "mem-path", block->path);
  qsnap_props_set_bool (props, "share", FALSE);
  qsnap_props_set_bool (props, "x-use-canonical-path-for-ramblock-id", by_path);
  if (read_only)
    {
      qsnap_props_set_bool (props, "readonly", TRUE);
      qsnap_props_set (props, "rom", "off");
    }
}

static gboolean
map_backend (const QsnapOption *option,
             QsnapProps *props,
             QsnapRevertBlock *block,
             gboolean by_path,
             gboolean read_only,
             GError **error)
{
  static const char *const known[] = { "memory-backend-ram", "memory-backend-memfd",
                                       "memory-backend-file", NULL };
  const char *size = qsnap_props_get (props, "size");
  guint64 length;

  if (!g_strv_contains (known, qsnap_props_get (props, "qom-type")))
    return qsnap_option_refuse (option, error, "its memory cannot be mapped from a file");
  if (size == NULL || !parse_size (size, &length) || length != block->length)
    return qsnap_option_refuse (option, error,
                                "its size is not that of the block %s, %" G_GUINT64_FORMAT " bytes",
                                block->name, block->length);

  qsnap_props_keep (props, of_all);
  qsnap_props_set (props, "qom-type", "memory-backend-file");
  set_file (props, block, by_path, read_only);
  block->mapped = TRUE;

  return TRUE;
}

/* A file that a backend is in belongs to the original; a directory only says where memory is
 * from. */
static gboolean
is_directory (const QsnapAdaptContext *context, const char *path)
{
  g_autofree char *resolved = qsnap_adapt_resolve (context, path);

  return resolved != NULL && g_file_test (resolved, G_FILE_TEST_IS_DIR);
}

static void
load_backend (QsnapProps *props, const QsnapAdaptContext *context)
{
  const char *path = qsnap_props_get (props, "mem-path");

  if (!g_str_equal (qsnap_props_get (props, "qom-type"), "memory-backend-file") ||
      (path != NULL && is_directory (context, path)))
    return;

  qsnap_props_remove_all (props, of_files);
  qsnap_props_set (props, "qom-type", "memory-backend-ram");
}

/* --- the machine's own memory -------------------------------------------------------------- */

/* Whether memory comes from objects, so that the machine has none of its own. */
static gboolean
uses_objects (const QsnapOption *option, gboolean *uses, GError **error)
{
  gboolean is_machine = qsnap_option_is (option, "machine") || qsnap_option_is (option, "M");
  g_autoptr (QsnapProps) props = NULL;

  if (!is_machine && !qsnap_option_is (option, "numa"))
    return TRUE;

  props = qsnap_option_parse (option, "type", error);
  if (props == NULL)
    return FALSE;
  if (qsnap_props_has (props, is_machine ? "memory-backend" : "memdev"))
    *uses = TRUE;

  return TRUE;
}

static gboolean
set_machine_memory (QsnapCommand *command, const char *id, GError **error)
{
  g_autofree char *value = g_strconcat ("memory-backend=", id, NULL);

  for (guint i = 0; i < command->options->len; i++)
    {
      QsnapOption *option = g_ptr_array_index (command->options, i);
      g_autoptr (QsnapProps) props = NULL;

      if (!qsnap_option_is (option, "machine") && !qsnap_option_is (option, "M"))
        continue;

      props = qsnap_option_parse (option, "type", error);
      if (props == NULL)
        return FALSE;
      qsnap_props_set (props, "memory-backend", id);
      qsnap_option_store (option, props);
      return TRUE;
    }

  qsnap_command_add (command, "machine", value);

  return TRUE;
}

static gboolean
map_machine_memory (QsnapCommand *command,
                    QsnapRevertBlock *block,
                    gboolean read_only,
                    GError **error)
{
  g_autoptr (QsnapProps) props = qsnap_props_parse ("memory-backend-file", "qom-type", NULL);
  g_autofree char *size = g_strdup_printf ("%" G_GUINT64_FORMAT, block->length);
  g_autofree char *value = NULL;
  gboolean uses = FALSE;

  for (guint i = 0; i < command->options->len; i++)
    if (!uses_objects (g_ptr_array_index (command->options, i), &uses, error))
      return FALSE;

  if (uses)
    return TRUE;

  qsnap_props_set (props, "id", block->name);
  qsnap_props_set (props, "size", size);
  set_file (props, block, FALSE, read_only);
  value = qsnap_props_to_text (props);
  qsnap_command_add (command, "object", value);
  block->mapped = TRUE;

  return set_machine_memory (command, block->name, error);
}

/* --- all ----------------------------------------------------------------------------------- */

static void
remove_options (QsnapCommand *command, const char *name)
{
  for (guint i = command->options->len; i > 0; i--)
    if (qsnap_option_is (g_ptr_array_index (command->options, i - 1), name))
      g_ptr_array_remove_index (command->options, i - 1);
}

static void
load_memory_path (QsnapCommand *command, const QsnapAdaptContext *context)
{
  for (guint i = command->options->len; i > 0; i--)
    {
      const QsnapOption *option = g_ptr_array_index (command->options, i - 1);

      if (qsnap_option_is (option, "mem-path") && !is_directory (context, option->value))
        g_ptr_array_remove_index (command->options, i - 1);
    }
}

static void
free_props (gpointer props)
{
  if (props != NULL)
    qsnap_props_free (props);
}

/* Backends whose block is not mapped get their pages from the stream, so they are loaded. Nothing
 * is changed unless all can be: the caller may load instead. */
static gboolean
map_backends (QsnapCommand *command,
              QsnapRevertBlock *blocks,
              guint n_blocks,
              gboolean read_only,
              GError **error)
{
  g_autoptr (GPtrArray) adapted = g_ptr_array_new_with_free_func (free_props);

  for (guint i = 0; i < command->options->len; i++)
    {
      const QsnapOption *option = g_ptr_array_index (command->options, i);
      QsnapProps *props;
      QsnapRevertBlock *block;
      gboolean by_path;

      if (!parse_backend (option, &props, error))
        return FALSE;
      g_ptr_array_add (adapted, props);
      if (props == NULL)
        continue;

      block = find_block (blocks, n_blocks, qsnap_props_get (props, "id"), &by_path);
      if (block == NULL)
        load_backend (props, NULL);
      else if (!map_backend (option, props, block, by_path, read_only, error))
        return FALSE;
    }

  for (guint i = 0; i < command->options->len; i++)
    if (g_ptr_array_index (adapted, i) != NULL)
      qsnap_option_store (g_ptr_array_index (command->options, i), g_ptr_array_index (adapted, i));

  return TRUE;
}

gboolean
qsnap_command_map_memory (QsnapCommand *command,
                          QsnapRevertBlock *blocks,
                          guint n_blocks,
                          gboolean read_only,
                          GError **error)
{
  gboolean mapped = FALSE;

  for (guint i = 0; i < n_blocks; i++)
    blocks[i].mapped = FALSE;

  if (!map_backends (command, blocks, n_blocks, read_only, error))
    return FALSE;

  for (guint i = 0; i < n_blocks; i++)
    {
      if (!blocks[i].mapped && g_strv_contains (default_blocks, blocks[i].name))
        {
          if (!map_machine_memory (command, &blocks[i], read_only, error))
            return FALSE;
          if (blocks[i].mapped)
            remove_options (command, "mem-path");
        }
      mapped |= blocks[i].mapped;
    }

  /* It would write to every page of what is mapped. */
  if (mapped)
    remove_options (command, "mem-prealloc");
  load_memory_path (command, NULL);

  return TRUE;
}

gboolean
qsnap_command_load_memory (QsnapCommand *command, const QsnapAdaptContext *context, GError **error)
{
  for (guint i = 0; i < command->options->len; i++)
    {
      QsnapOption *option = g_ptr_array_index (command->options, i);
      g_autoptr (QsnapProps) props = NULL;

      if (!parse_backend (option, &props, error))
        return FALSE;
      if (props == NULL)
        continue;

      load_backend (props, context);
      qsnap_option_store (option, props);
    }

  load_memory_path (command, context);

  return TRUE;
}
