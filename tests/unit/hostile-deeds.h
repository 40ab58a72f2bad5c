/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a QEMU that means harm may say. */

#pragma once

#include "fixture.h"

G_BEGIN_DECLS

typedef struct
{
  MockQemu *mock;
  /* Nobody listens any more; or, if there is one, its session does not. */
  gint over;
  QsnapSession *session;
} Ear;

typedef struct
{
  const char *name;
  void (*func) (Ear *ear);
  /* What ends the connection, and the words that say why; else it goes on. */
  int code;
  const char *words;
  gsize max_growth;
  const char *not_at; /* where it makes no sense */
} Deed;

/* They end with a NULL name. */
extern const Deed deeds[];
/* Where there is an operation that listens. */
extern const Deed capture_deeds[];

gboolean deed_is_fatal (const Deed *deed);

G_END_DECLS
