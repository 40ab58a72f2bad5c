/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disks of a manifest, in each mode: as a capture writes them, and with each member missing,
 * of another type, or hostile. */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap/qsnap.h"

#define COMMON "\"device\": \"virtio0\", \"node\": \"n\", \"size\": 1048576"

static const char overlay[] = "{" COMMON ", \"mode\": \"overlay\","
                              " \"base\": {\"file\": \"/a\", \"format\": \"raw\", \"inode\": 1},"
                              " \"overlay\": {\"file\": \"/o\", \"format\": \"qcow2\"}}";
/* As the first version of the library wrote it. */
static const char without_mode[] = "{" COMMON ","
                                   " \"base\": {\"file\": \"/a\", \"format\": \"raw\"},"
                                   " \"overlay\": {\"file\": \"/o\", \"format\": \"qcow2\"}}";
static const char overlay_elsewhere[] =
    "{" COMMON ", \"mode\": \"overlay\", \"base\": {\"file\": \"/a\", \"format\": \"raw\"},"
    " \"overlay\": {\"options\": {\"driver\": \"nbd\"}, \"format\": \"qcow2\"}}";
static const char cloned[] =
    "{" COMMON ", \"mode\": \"clone\", \"base\": {\"file\": \"disks/disk0.qcow2\", \"format\": "
    "\"qcow2\", \"backing\": {\"file\": \"/b\", \"format\": \"raw\"}, \"chain\": [\"/b\"]},"
    " \"source\": {\"file\": \"/a\", \"chain\": [\"/b\"]}}";
static const char copied[] =
    "{" COMMON ", \"mode\": \"copy\", \"base\": {\"file\": \"disks/disk0.qcow2\", \"format\": "
    "\"qcow2\"}, \"source\": {\"file\": \"/a\"}}";
static const char copy_elsewhere[] =
    "{" COMMON ", \"mode\": \"copy\", \"base\": {\"options\": {\"driver\": \"nbd\"}, \"format\": "
    "\"raw\"}, \"source\": {\"file\": \"/a\"}}";
static const char internal[] =
    "{" COMMON ", \"mode\": \"internal\", \"base\": {\"file\": \"/a\", \"format\": \"qcow2\","
    " \"snapshot\": \"qsnap-01234567\"}}";
static const char exclude[] =
    "{" COMMON ", \"mode\": \"exclude\", \"base\": {\"file\": \"/a\", \"format\": \"raw\"}}";
static const char exclude_elsewhere[] =
    "{" COMMON ", \"mode\": \"exclude\", \"base\": {\"format\": \"raw\"}}";

/* --- helpers ------------------------------------------------------------------------------- */

static JsonObject *
new_manifest (const char *disk)
{
  g_autofree char *text = g_strdup_printf (
      "{\"name\": \"n\", \"id\": \"01234567\", \"time\": \"2026-11-23T11:22:33.123456Z\","
      " \"qemu\": {\"version\": \"7.2.22\", \"machine\": \"pc-q35-7.2\"},"
      " \"guest\": {\"run-state\": \"running\", \"memory-size\": 1048576},"
      " \"disks\": [%s], \"timing\": {\"pause-us\": 5000}, \"memory\": {\"page-size\": 4096}}",
      disk);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = json_from_string (text, &error);

  g_assert_no_error (error);
  return json_node_dup_object (node);
}

/* Written with the right checksum, whatever is in it, and read again. */
static gboolean
is_accepted (JsonObject *manifest, GError **error)
{
  g_autofree char *path = g_dir_make_tmp ("qsnap-manifest-XXXXXX", NULL);
  int fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  g_autoptr (JsonObject) read = NULL;

  g_assert_true (qsnap_manifest_write (fd, manifest, error));
  read = qsnap_manifest_read (fd, error);
  g_assert_cmpint (unlinkat (fd, QSNAP_MANIFEST_FILE, 0), ==, 0);
  close (fd);
  g_assert_cmpint (g_rmdir (path), ==, 0);
  return read != NULL;
}

static JsonObject *
disk_of (JsonObject *manifest)
{
  return json_array_get_object_element (json_object_get_array_member (manifest, "disks"), 0);
}

/* @path: "base.file"; @json: NULL removes the member. */
static void
change (JsonObject *object, const char *path, const char *json)
{
  g_auto (GStrv) names = g_strsplit (path, ".", -1);
  guint n = g_strv_length (names);

  for (guint i = 0; i + 1 < n; i++)
    object = json_object_get_object_member (object, names[i]);
  if (json == NULL)
    json_object_remove_member (object, names[n - 1]);
  else
    json_object_set_member (object, names[n - 1], json_from_string (json, NULL));
}

static void
assert_changed (const char *disk, const char *path, const char *json, gboolean accepted)
{
  g_autoptr (JsonObject) manifest = new_manifest (disk);
  g_autoptr (GError) error = NULL;

  change (disk_of (manifest), path, json);
  if (is_accepted (manifest, &error) != accepted)
    {
      g_test_message ("WRONG: %s = %s in %s: %s", path, json != NULL ? json : "missing", disk,
                      error != NULL ? error->message : "accepted");
      g_test_fail ();
    }
  else if (!accepted)
    g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
}

/* --- good ---------------------------------------------------------------------------------- */

static void
test_good (void)
{
  static const char *const disks[] = { overlay,  without_mode, overlay_elsewhere,
                                       cloned,   copied,       copy_elsewhere,
                                       internal, exclude,      exclude_elsewhere };

  for (guint i = 0; i < G_N_ELEMENTS (disks); i++)
    {
      g_autoptr (JsonObject) manifest = new_manifest (disks[i]);
      g_autoptr (GError) error = NULL;

      (void)is_accepted (manifest, &error);
      g_assert_no_error (error);
    }
}

/* --- missing, or of another type ----------------------------------------------------------- */

static void
test_members (void)
{
  static const struct
  {
    const char *disk, *path;
  } members[] = {
    { overlay, "base.file" },
    { overlay, "base.format" },
    { overlay, "overlay.file" },
    { overlay, "overlay.format" },
    { cloned, "base.file" },
    { cloned, "base.format" },
    { cloned, "base.backing.file" },
    { cloned, "source" },
    { cloned, "base.backing.format" },
    { copied, "base" },
    { copied, "base.file" },
    { copied, "base.format" },
    { copied, "source" },
    { copy_elsewhere, "base.options" },
    { internal, "base.file" },
    { internal, "base.format" },
    { internal, "base.snapshot" },
    { exclude, "base.format" },
  };
  static const char *const wrong[] = { NULL, "null", "7", "true", "[]" };

  for (guint i = 0; i < G_N_ELEMENTS (members); i++)
    for (guint j = 0; j < G_N_ELEMENTS (wrong); j++)
      assert_changed (members[i].disk, members[i].path, wrong[j], FALSE);
}

/* What need not be there is right where it is. */
static void
test_optional (void)
{
  static const char *const lists[] = { "[7]", "[null]", "[[]]" };
  static const char *const wrong[] = { "null", "7", "true", "[]", "\"/o\"" };

  /* One that was moved has none, but none has another thing. */
  assert_changed (overlay, "overlay", NULL, TRUE);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++)
    assert_changed (overlay, "overlay", wrong[i], FALSE);

  assert_changed (cloned, "base.chain", NULL, TRUE);
  assert_changed (cloned, "base.backing", NULL, TRUE);
  assert_changed (cloned, "source.chain", NULL, TRUE);
  assert_changed (copied, "source.file", NULL, TRUE);
  for (guint i = 0; i < G_N_ELEMENTS (lists); i++)
    {
      assert_changed (cloned, "base.chain", lists[i], FALSE);
      assert_changed (cloned, "source.chain", lists[i], FALSE);
    }
}

static void
test_mode (void)
{
  static const char *const modes[] = { "\"auto\"", "\"\"",       "\"Overlay\"", "\"none\"", "7",
                                       "null",     "[\"copy\"]", "{}",          "true" };
  static const char *const disks[] = { overlay, cloned, copied, internal, exclude };

  for (guint i = 0; i < G_N_ELEMENTS (disks); i++)
    for (guint j = 0; j < G_N_ELEMENTS (modes); j++)
      assert_changed (disks[i], "mode", modes[j], FALSE);
}

/* --- hostile ------------------------------------------------------------------------------- */

/* Nowhere are these the file of an image. */
static void
test_paths (void)
{
  static const char *const paths[] = {
    "\"\"",         "\"a\"",        "\"./a\"",       "\"../a\"",       "\"/a/../b\"",
    "\"/a/./b\"",   "\"/a//b\"",    "\"json:{}\"",   "\"nbd://x/y\"",  "\"disks\"",
    "\"disks/\"",   "\"disks/.\"",  "\"disks/..\"",  "\"disks/../a\"", "\"disks/a/b\"",
    "\"disks/.a\"", "\"disks//a\"", "\"./disks/a\"", "\"Disks/a\"",
  };
  static const struct
  {
    const char *disk, *path;
  } members[] = {
    { overlay, "base.file" }, { overlay, "overlay.file" },     { cloned, "base.file" },
    { copied, "base.file" },  { cloned, "base.backing.file" }, { internal, "base.file" },
    { exclude, "base.file" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (members); i++)
    for (guint j = 0; j < G_N_ELEMENTS (paths); j++)
      assert_changed (members[i].disk, members[i].path, paths[j], FALSE);
}

/* Only what is the snapshot's own is in its folder; a copy may be anywhere. */
static void
test_own_folder (void)
{
  static const char own[] = "\"disks/disk0.raw\"";

  assert_changed (cloned, "base.file", own, TRUE);
  assert_changed (copied, "base.file", own, TRUE);
  assert_changed (copied, "base.file", "\"/elsewhere/copy.raw\"", TRUE);
  assert_changed (overlay, "base.file", own, FALSE);
  assert_changed (overlay, "overlay.file", own, FALSE);
  assert_changed (internal, "base.file", own, FALSE);
  assert_changed (exclude, "base.file", own, FALSE);
  assert_changed (cloned, "base.backing.file", own, FALSE);
}

/* Where a file has to be there is nothing else to tell QEMU. */
static void
test_options (void)
{
  static const char with_options[] = "{\"options\": {\"driver\": \"nbd\"}, \"format\": \"raw\"}";
  static const char internal_options[] =
      "{\"options\": {\"driver\": \"nbd\"}, \"format\": \"qcow2\", \"snapshot\": \"s\"}";

  assert_changed (overlay, "base", with_options, FALSE);
  assert_changed (cloned, "base", with_options, FALSE);
  assert_changed (cloned, "base.backing", with_options, FALSE);
  assert_changed (internal, "base", internal_options, FALSE);
  assert_changed (copied, "base", with_options, TRUE);
  assert_changed (overlay, "overlay", with_options, TRUE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/manifest-disks/good", test_good);
  g_test_add_func ("/manifest-disks/members", test_members);
  g_test_add_func ("/manifest-disks/optional", test_optional);
  g_test_add_func ("/manifest-disks/mode", test_mode);
  g_test_add_func ("/manifest-disks/paths", test_paths);
  g_test_add_func ("/manifest-disks/own-folder", test_own_folder);
  g_test_add_func ("/manifest-disks/options", test_options);
  return g_test_run ();
}
