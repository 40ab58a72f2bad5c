/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page server, with a destination that sends what it likes.
 *
 * An input is a byte of flags, and packets of a length byte and as many bytes; the server takes one
 * before each of its answers. The application has said "go" before, with the host pages of pc.ram
 * that the flags say. */

#include "config.h"

#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper/qsnap-sandbox.h"
#include "memory/qsnap-image-writer.h"
#include "memory/qsnap-return-path.h"
#include "pages/qsnap-page-server-loop.h"
#include "qsnap-json.h"
#include "qsnap-manifest.h"
#include "stream-builder.h"

#define MACHINE "pc-q35-7.2"
#define RAM_PAGES 16
#define VGA_PAGES 2

enum
{
  FLAG_RECOVER = 1 << 0,
  FLAG_LARGE_PAGES = 1 << 1,
  FLAG_BAD_SIZES = 1 << 2,
  FLAG_NO_GO = 1 << 3
};

/* This process goes on after the server, and needs what the sandbox would take from it. */
char *
qsnap_sandbox_enter (G_GNUC_UNUSED const QsnapSandboxDescriptor *given, G_GNUC_UNUSED guint n_given)
{
  return NULL;
}

/* --- the snapshot, made once --------------------------------------------------------------- */

static void
build_stream (StreamBuilder *stream)
{
  stream_builder_head (stream, MACHINE);
  stream_builder_ram_head (stream, (RAM_PAGES + VGA_PAGES) * STREAM_PAGE);
  stream_builder_block (stream, "pc.ram", RAM_PAGES * STREAM_PAGE);
  stream_builder_block (stream, "vga.vram", VGA_PAGES * STREAM_PAGE);
  stream_builder_ram_tail (stream);
  stream_builder_part (stream);
  for (guint i = 0; i < RAM_PAGES; i++)
    stream_builder_page (stream, "pc.ram", i * (guint64)STREAM_PAGE, i % 3);
  for (guint i = 0; i < VGA_PAGES; i++)
    stream_builder_page (stream, "vga.vram", i * (guint64)STREAM_PAGE, i);
  stream_builder_end_part (stream);
  stream_builder_device (stream, 3, "timer", 10);
  stream_builder_end (stream, "{}");
}

static void
write_manifest (int dir_fd, JsonObject *memory)
{
  g_autoptr (JsonObject) manifest = qsnap_json_object_new (
      "id", 's', "0123456789abcdef", "name", 's', "one", "time", 's', "2026-01-02T03:04:05Z",
      "qemu", 'o', qsnap_json_object_new ("version", 's', "7.2.0", "machine", 's', MACHINE, NULL),
      "guest", 'o', qsnap_json_object_new ("run-state", 's', "running", NULL), "memory", 'o',
      json_object_ref (memory), "disks", 'a', json_array_new (), "timing", 'o', json_object_new (),
      NULL);
  g_autoptr (GError) error = NULL;

  qsnap_manifest_write (dir_fd, manifest, &error);
  g_assert_no_error (error);
}

static int
get_snapshot (void)
{
  static const char *const raw[] = { "pc.ram", NULL };
  static gboolean made;
  g_autoptr (StreamBuilder) stream = stream_builder_new ();
  g_autoptr (QsnapImageWriter) writer = NULL;
  g_autoptr (QsnapStreamParser) parser = NULL;

  if (made)
    return fuzz_folder ();

  made = TRUE;
  build_stream (stream);
  writer = qsnap_image_writer_new (fuzz_folder (), raw, FALSE, NULL);
  parser = qsnap_stream_parser_new (&qsnap_image_writer_callbacks, writer);
  g_assert (qsnap_stream_parser_push (parser, stream->bytes->data, stream->bytes->len, NULL));
  g_assert (qsnap_stream_parser_finish (parser, NULL));
  g_assert (qsnap_image_writer_finish (writer, parser, NULL));
  write_manifest (fuzz_folder (), qsnap_image_writer_get_json (writer));

  return fuzz_folder ();
}

/* --- the parser alone, whole and in pieces -------------------------------------------------- */

static gboolean
on_number (guint32 status, gpointer user_data, G_GNUC_UNUSED GError **error)
{
  g_string_append_printf (user_data, "shut %u ", status);

  return TRUE;
}

static gboolean
on_request (
    const char *block, guint64 start, guint32 len, gpointer user_data, G_GNUC_UNUSED GError **error)
{
  g_string_append_printf (user_data, "request %s %" G_GUINT64_FORMAT " %u ", block, start, len);

  return TRUE;
}

static gboolean
on_bitmap (const char *block,
           const guint8 *bits,
           gsize len,
           gpointer user_data,
           G_GNUC_UNUSED GError **error)
{
  g_string_append_printf (user_data, "bitmap %s ", block);
  for (gsize i = 0; i < len; i++)
    g_string_append_printf (user_data, "%02x", bits[i]);

  return TRUE;
}

static gboolean
on_resumed (gpointer user_data, G_GNUC_UNUSED GError **error)
{
  g_string_append (user_data, "resumed ");

  return TRUE;
}

static char *
parse (const guint8 *data, gsize size, gsize piece)
{
  static const QsnapReturnPathCallbacks callbacks = { on_number, on_request, on_bitmap,
                                                      on_resumed };
  GString *told = g_string_new (NULL);
  g_autoptr (QsnapReturnPath) path = qsnap_return_path_new (&callbacks, told);
  gboolean good = TRUE;

  for (gsize at = 0; at < size && good; at += piece)
    {
      gsize len = MIN (piece, size - at);
      g_autofree guint8 *copy = g_memdup2 (data + at, len);

      good = qsnap_return_path_push (path, copy, len, NULL);
    }

  return g_string_free (told, FALSE);
}

/* --- the server ---------------------------------------------------------------------------- */

static void
make_sockets (int type, int sockets[2])
{
  g_assert (socketpair (AF_UNIX, type | SOCK_CLOEXEC, 0, sockets) == 0);
}

static void
say_go (int fd, guint flags)
{
  g_autofree char *go = g_strdup_printf ("{\"command\": \"go\", \"host-pages\": {\"pc.ram\": %d}}",
                                         flags & FLAG_BAD_SIZES     ? 12345
                                         : flags & FLAG_LARGE_PAGES ? 32768
                                                                    : 4096);

  if (!(flags & FLAG_NO_GO))
    g_assert (send (fd, go, strlen (go), 0) == (gssize)strlen (go));
}

static void
say_packets (int fd, FuzzInput *input)
{
  while (input->size > 0)
    {
      gsize length = fuzz_take_u8 (input);
      const guint8 *data = fuzz_take (input, &length);

      /* One without bytes would be the end. */
      if (length > 0 && send (fd, data, length, MSG_DONTWAIT) < 0)
        break;
    }
}

static void
serve (FuzzInput *input, guint flags)
{
  int control[2], pages[2], rescue[2];
  QsnapPageServerOptions options = { .recover = (flags & FLAG_RECOVER) != 0 };

  make_sockets (SOCK_SEQPACKET, control);
  make_sockets (SOCK_SEQPACKET, pages);
  make_sockets (SOCK_STREAM, rescue);
  say_go (control[1], flags);
  say_packets (pages[1], input);
  /* Nothing more will come, of any of them. */
  shutdown (pages[1], SHUT_WR);
  if (flags & FLAG_NO_GO)
    shutdown (control[1], SHUT_WR);
  close (rescue[1]);

  options.control_fd = control[0];
  options.socket_fd = pages[0];
  options.rescue_fd = rescue[0];
  options.dir_fd = get_snapshot ();
  options.revert_fd = get_snapshot ();
  (void)qsnap_page_server_run (&options);

  close (control[0]);
  close (control[1]);
  close (pages[0]);
  close (pages[1]);
  /* Where all went well the server has closed it. */
  (void)close (rescue[0]);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  FuzzInput input = { data, size };
  guint flags = fuzz_take_u8 (&input);
  g_autofree char *whole = parse (input.data, input.size, input.size + 1);
  g_autofree char *bytewise = parse (input.data, input.size, 1);

  g_assert_cmpstr (whole, ==, bytewise);
  serve (&input, flags);

  return 0;
}
