/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manifest: as it is, and, so that more than its checksum is tried, with the right checksum. A
 * good one is loaded, and asked for all that is in it. */

#include "config.h"

#include "fuzz.h"

#include <qsnap/qsnap.h>
#include <string.h>

#include "memory/qsnap-checksum.h"
#include "qsnap-manifest.h"

#define CHECKSUM "\"checksum\" : \""

static void
correct_checksum (char *text)
{
  char *member = g_strrstr (text, CHECKSUM);
  char *digits = member != NULL ? member + strlen (CHECKSUM) : NULL;
  g_autofree char *computed = NULL;

  if (digits == NULL || strlen (digits) < QSNAP_DIGEST_LENGTH)
    return;

  memset (digits, '0', QSNAP_DIGEST_LENGTH);
  computed = qsnap_digest_of (text, strlen (text));
  memcpy (digits, computed, QSNAP_DIGEST_LENGTH);
}

static void
read_properties (GObject *object)
{
  g_autofree GParamSpec **specs = NULL;
  guint n;

  specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (object), &n);
  for (guint i = 0; i < n; i++)
    {
      GValue value = G_VALUE_INIT;

      g_object_get_property (object, specs[i]->name, &value);
      if (G_VALUE_HOLDS_STRING (&value) && g_value_get_string (&value) != NULL)
        g_assert (g_utf8_validate (g_value_get_string (&value), -1, NULL));
      g_value_unset (&value);
    }
}

static void
load (const char *text)
{
  g_autoptr (GFile) folder = g_file_new_for_path (fuzz_folder_path ());
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = NULL;
  g_autoptr (GListModel) disks = NULL;

  fuzz_folder_write (QSNAP_MANIFEST_FILE, text, strlen (text));
  snapshot = qsnap_snapshot_load (folder, NULL, &error);
  g_assert ((snapshot == NULL) == (error != NULL));
  if (snapshot == NULL)
    return;

  read_properties (G_OBJECT (snapshot));
  /* There are no files. */
  (void)qsnap_snapshot_verify (snapshot, NULL, NULL);
  g_object_get (snapshot, "disks", &disks, NULL);
  for (guint i = 0; i < g_list_model_get_n_items (disks); i++)
    {
      g_autoptr (GObject) disk = g_list_model_get_item (disks, i);

      read_properties (disk);
    }
}

static void
parse (const char *text, gsize length)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) manifest = qsnap_manifest_parse (text, length, &error);

  if (manifest != NULL)
    {
      load (text);
      return;
    }
  g_assert (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT) ||
            g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  FuzzInput input = { data, size };
  g_autofree char *text = fuzz_take_text (&input);

  parse (text, size);
  correct_checksum (text);
  parse (text, strlen (text));

  return 0;
}
