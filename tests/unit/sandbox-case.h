/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What /proc says of a helper process that is in its sandbox. */

#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* @may_write: files, too. */
void sandbox_assert_holds (GPid pid, gboolean may_write);

G_END_DECLS
