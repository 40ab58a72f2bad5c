/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot.json: written and read back, damaged, hostile, or no file at all. */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/qsnap-checksum.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "qsnap/qsnap.h"

static const char manifest_text[] =
    "{\"name\": \"before \\u00fc\", \"id\": \"01234567\", \"time\": "
    "\"2026-11-23T11:22:33.123456Z\","
    " \"qemu\": {\"version\": \"7.2.22\", \"machine\": \"pc-q35-7.2\","
    "   \"command-line\": [\"qemu\", \"-name\", \"\\\"checksum\\\" : \\\"x\"]},"
    " \"guest\": {\"run-state\": \"running\", \"memory-size\": 1048576},"
    " \"disks\": [{\"device\": \"virtio0\", \"node\": \"n\", \"size\": 1048576,"
    "   \"base\": {\"file\": \"/a.raw\", \"format\": \"raw\", \"inode\": 1},"
    "   \"overlay\": {\"file\": \"/o.qcow2\", \"format\": \"qcow2\"}}],"
    " \"timing\": {\"pause-us\": 5000}, \"warnings\": [\"one\"],"
    " \"memory\": {\"page-size\": 4096}}";

typedef struct
{
  char *path;
  int fd;
} Folder;

static void
folder_set_up (Folder *folder)
{
  g_autoptr (GError) error = NULL;

  folder->path = g_dir_make_tmp ("qsnap-manifest-XXXXXX", &error);
  g_assert_no_error (error);
  folder->fd = open (folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void
folder_clear (Folder *folder)
{
  unlinkat (folder->fd, QSNAP_MANIFEST_FILE, 0);
  unlinkat (folder->fd, QSNAP_MANIFEST_FILE, AT_REMOVEDIR);
  close (folder->fd);
  g_assert_cmpint (g_rmdir (folder->path), ==, 0);
  g_free (folder->path);
}

static JsonObject *
new_manifest (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) node = json_from_string (manifest_text, &error);

  g_assert_no_error (error);
  return json_node_dup_object (node);
}

/* As it would be in the file, with the right checksum whatever is in it. */
static char *
write_text (JsonObject *manifest)
{
  Folder folder;
  g_autofree char *path = NULL;
  g_autoptr (GError) error = NULL;
  char *text = NULL;

  folder_set_up (&folder);
  g_assert_true (qsnap_manifest_write (folder.fd, manifest, &error));
  g_assert_no_error (error);
  path = g_build_filename (folder.path, QSNAP_MANIFEST_FILE, NULL);
  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  folder_clear (&folder);
  return text;
}

static void
assert_refused (const char *text, gssize length, const char *what)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *copy = g_memdup2 (text, MAX ((gsize)length, 1));
  g_autoptr (JsonObject) manifest = qsnap_manifest_parse (copy, (gsize)length, &error);

  if (manifest != NULL)
    g_error ("taken for a manifest: %s", what);
  if (!g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT) &&
      !g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED))
    g_error ("%s: %s", what, error->message);
}

/* --- good ---------------------------------------------------------------------------------- */

static void
test_round_trip (void)
{
  Folder folder;
  g_autoptr (JsonObject) written = new_manifest ();
  g_autoptr (JsonObject) read = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) before = NULL, after = NULL;
  struct stat found;

  folder_set_up (&folder);
  g_assert_true (qsnap_manifest_write (folder.fd, written, &error));
  g_assert_no_error (error);
  /* A second time, over the first. */
  g_assert_true (qsnap_manifest_write (folder.fd, written, &error));
  g_assert_no_error (error);
  read = qsnap_manifest_read (folder.fd, &error);
  g_assert_no_error (error);
  before = qsnap_json_node_from_object (json_object_ref (written));
  after = qsnap_json_node_from_object (json_object_ref (read));
  g_assert_true (json_node_equal (before, after));
  g_assert_cmpint (fstatat (folder.fd, QSNAP_MANIFEST_FILE, &found, 0), ==, 0);
  g_assert_cmpint (found.st_mode & 0777, ==, 0600);
  folder_clear (&folder);
}

/* --- damaged ------------------------------------------------------------------------------- */

static void
test_flipped_bytes (void)
{
  g_autoptr (JsonObject) manifest = new_manifest ();
  g_autofree char *text = write_text (manifest);
  gsize length = strlen (text);

  for (gsize i = 0; i < length; i++)
    for (guint mask = 1; mask < 256; mask = mask == 1 ? 0x20 : mask == 0x20 ? 0xff : 256)
      {
        g_autofree char *what = g_strdup_printf ("byte %zu ^ %02x", i, mask);

        text[i] ^= (char)mask;
        assert_refused (text, (gssize)length, what);
        text[i] ^= (char)mask;
      }
}

static void
test_cut_and_grown (void)
{
  g_autoptr (JsonObject) manifest = new_manifest ();
  g_autofree char *text = write_text (manifest);
  gsize length = strlen (text);
  g_autofree char *space = g_strconcat (text, " ", NULL);
  g_autofree char *twice = g_strconcat (text, text, NULL);

  for (gsize n = 0; n < length; n++)
    assert_refused (text, (gssize)n, "cut short");
  assert_refused (space, (gssize)length + 1, "a space at the end");
  assert_refused (text, (gssize)length + 1, "a NUL at the end");
  assert_refused (twice, (gssize)(2 * length), "twice");
}

static void
test_newer_schema (void)
{
  static const char newer[] = "{\"format\": \"qsnap-snapshot\", \"schema\": 2, \"all\": \"new\"}";
  static const char older[] = "{\"format\": \"qsnap-snapshot\", \"schema\": 0}";
  static const char odd[] = "{\"format\": \"qsnap-snapshot\", \"schema\": \"2\"}";
  static const char foreign[] = "{\"format\": \"other\", \"schema\": 1}";
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_manifest_parse (newer, strlen (newer), &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "schema 2"));
  assert_refused (older, (gssize)strlen (older), "schema 0");
  assert_refused (odd, (gssize)strlen (odd), "schema is a string");
  assert_refused (foreign, (gssize)strlen (foreign), "another format");
}

/* --- hostile: with a checksum that is right ------------------------------------------------ */

/* @path: "qemu.version" or "disks.0.base.file"; @json: NULL removes the member. */
static void
change (JsonObject *object, const char *path, const char *json)
{
  g_auto (GStrv) names = g_strsplit (path, ".", -1);
  guint n = g_strv_length (names);

  for (guint i = 0; i + 1 < n; i++)
    {
      if (g_str_equal (names[i], "disks"))
        object = json_array_get_object_element (json_object_get_array_member (object, "disks"), 0);
      else
        object = json_object_get_object_member (object, names[i]);
    }
  if (json == NULL)
    json_object_remove_member (object, names[n - 1]);
  else
    json_object_set_member (object, names[n - 1], json_from_string (json, NULL));
}

static void
assert_change_refused (const char *path, const char *json)
{
  g_autoptr (JsonObject) manifest = new_manifest ();
  g_autofree char *text = NULL;
  g_autofree char *what = g_strdup_printf ("%s = %s", path, json != NULL ? json : "missing");

  change (manifest, path, json);
  text = write_text (manifest);
  assert_refused (text, (gssize)strlen (text), what);
}

static void
test_missing_and_wrong_types (void)
{
  static const char *const paths[] = {
    "name",
    "time",
    "qemu",
    "qemu.version",
    "qemu.machine",
    "guest",
    "guest.run-state",
    "disks",
    "disks.device",
    "disks.node",
    "disks.size",
    "disks.base",
    "disks.base.file",
    "disks.base.format",
    "disks.overlay.file",
    "disks.overlay.format",
    "timing",
    "memory",
  };
  static const char *const values[] = { NULL, "null", "7.5", "true", "-1" };

  for (guint i = 0; i < G_N_ELEMENTS (paths); i++)
    {
      for (guint j = 0; j < G_N_ELEMENTS (values); j++)
        assert_change_refused (paths[i], values[j]);
      assert_change_refused (paths[i], g_str_equal (paths[i], "disks") ? "{}" : "[]");
      if (!g_str_has_suffix (paths[i], "size"))
        assert_change_refused (paths[i], "7");
    }
  assert_change_refused ("disks", "[1]");
  assert_change_refused ("disks", "[null]");
  assert_change_refused ("disks", "[[]]");
  assert_change_refused ("qemu.command-line", "[\"a\", 1]");
  assert_change_refused ("qemu.command-line", "[[]]");
  assert_change_refused ("warnings", "[null]");
}

static void
test_hostile_values (void)
{
  static const char *const names[] = { "\"\"",           "\".\"",       "\"..\"",
                                       "\"a/b\"",        "\"/a\"",      "\"a\\nb\"",
                                       "\"\\u001b[2J\"", "\"\\u007f\"", "\"\\u0085\"" };
  static const char *const files[] = { "\"\"", "\"a.raw\"", "\"./a\"", "\"../a\"", "\"json:{}\"" };
  static const char *const times[] = { "\"\"", "\"yesterday\"", "\"2026-13-45T99:99:99Z\"" };
  g_autofree char *long_name = g_strnfill (256, 'x');
  g_autofree char *quoted = g_strdup_printf ("\"%s\"", long_name);

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    assert_change_refused ("name", names[i]);
  assert_change_refused ("name", quoted);
  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      assert_change_refused ("disks.base.file", files[i]);
      assert_change_refused ("disks.overlay.file", files[i]);
    }
  for (guint i = 0; i < G_N_ELEMENTS (times); i++)
    assert_change_refused ("time", times[i]);
}

static void
test_names (void)
{
  g_autofree char *longest = g_strnfill (255, 'x');
  g_autofree char *too_long = g_strnfill (256, 'x');

  g_assert_null (qsnap_name_problem ("a"));
  g_assert_null (qsnap_name_problem ("before the upgrade, 23.11. – ü"));
  g_assert_null (qsnap_name_problem ("..."));
  g_assert_null (qsnap_name_problem (longest));
  g_assert_nonnull (qsnap_name_problem (too_long));
  g_assert_nonnull (qsnap_name_problem (""));
  g_assert_nonnull (qsnap_name_problem ("."));
  g_assert_nonnull (qsnap_name_problem (".."));
  g_assert_nonnull (strstr (qsnap_name_problem ("a/b"), "slash"));
  g_assert_nonnull (qsnap_name_problem ("a\tb"));
  g_assert_nonnull (qsnap_name_problem ("\xff"));
}

/* --- no file ------------------------------------------------------------------------------- */

static void
assert_read (Folder *folder, GQuark domain, int code)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) manifest = NULL;

  alarm (60);
  manifest = qsnap_manifest_read (folder->fd, &error);
  alarm (0);
  g_assert_null (manifest);
  g_test_message ("%s", error->message);
  g_assert_error (error, domain, code);
}

static void
test_not_a_file (void)
{
  Folder folder;
  g_autofree char *path = NULL;
  int fd;

  folder_set_up (&folder);
  path = g_build_filename (folder.path, QSNAP_MANIFEST_FILE, NULL);
  assert_read (&folder, G_IO_ERROR, G_IO_ERROR_NOT_FOUND);

  g_assert_cmpint (mkfifo (path, 0600), ==, 0);
  assert_read (&folder, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_cmpint (g_unlink (path), ==, 0);

  g_assert_cmpint (symlink ("/etc/passwd", path), ==, 0);
  assert_read (&folder, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_cmpint (g_unlink (path), ==, 0);

  g_assert_cmpint (symlink ("nowhere", path), ==, 0);
  assert_read (&folder, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_cmpint (g_unlink (path), ==, 0);

  g_assert_cmpint (g_mkdir (path, 0700), ==, 0);
  assert_read (&folder, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_cmpint (g_rmdir (path), ==, 0);

  fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  assert_read (&folder, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  g_assert_cmpint (ftruncate (fd, (off_t)1 << 40), ==, 0);
  assert_read (&folder, QSNAP_ERROR, QSNAP_ERROR_CORRUPT);
  close (fd);
  folder_clear (&folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/manifest/round-trip", test_round_trip);
  g_test_add_func ("/manifest/flipped-bytes", test_flipped_bytes);
  g_test_add_func ("/manifest/cut-and-grown", test_cut_and_grown);
  g_test_add_func ("/manifest/newer-schema", test_newer_schema);
  g_test_add_func ("/manifest/missing-and-wrong-types", test_missing_and_wrong_types);
  g_test_add_func ("/manifest/hostile-values", test_hostile_values);
  g_test_add_func ("/manifest/names", test_names);
  g_test_add_func ("/manifest/not-a-file", test_not_a_file);
  return g_test_run ();
}
