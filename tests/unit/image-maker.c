/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "image-maker.h"

#include "memory/qsnap-image-writer.h"

JsonObject *
image_maker_write (StreamBuilder *stream, int dir_fd, const char *const *raw_blocks, gboolean pack)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapImageWriter) writer = qsnap_image_writer_new (dir_fd, raw_blocks, pack, &error);
  g_autoptr (QsnapStreamParser) parser =
      qsnap_stream_parser_new (&qsnap_image_writer_callbacks, writer);

  g_assert_no_error (error);
  qsnap_stream_parser_push (parser, stream->bytes->data, stream->bytes->len, &error);
  g_assert_no_error (error);
  qsnap_stream_parser_finish (parser, &error);
  g_assert_no_error (error);
  qsnap_image_writer_finish (writer, parser, &error);
  g_assert_no_error (error);

  return json_object_ref (qsnap_image_writer_get_json (writer));
}
