/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A blocking QMP client, as small as can be: it tests the mock and shares no code with the library.
 */

#pragma once

#include "qsnap-mock-qemu.h"

G_BEGIN_DECLS

/* Milliseconds after which a test has failed. */
#define WAIT 20000

typedef struct
{
  MockQemu *mock;
  int fd;
  GString *input;
  /* Names of events and, for MIGRATION and JOB_STATUS_CHANGE, their status: "MIGRATION:setup". */
  GString *events;
  guint id;
} Client;

gboolean client_read_more (Client *client, int milliseconds);
char *client_read_line (Client *client, int milliseconds);
JsonObject *client_read_reply (Client *client, int milliseconds);
void client_send_bytes (Client *client, const char *bytes, gsize length, const int *fds, int n_fds);
void client_send (Client *client, const char *command, const char *arguments, int fd);
char *client_ok (Client *client, const char *command, const char *arguments);
void client_void (Client *client, const char *command, const char *arguments);
void client_fd (Client *client, const char *command, const char *arguments, int fd);
void client_error (Client *client,
                   const char *command,
                   const char *arguments,
                   const char *klass,
                   const char *pattern);
void client_assert_closed (Client *client);
void client_wait_event (Client *client, const char *event);
void client_open (Client *client);
void client_begin (Client *client);
void client_set_up (Client *client, MockStyle style);
void client_clear (Client *client);
char *client_make_image (MockQemu *mock, const char *name, gsize size);
void client_assert_no_complaints (MockQemu *mock);
gint64 client_reply_id (Client *client);

G_END_DECLS
