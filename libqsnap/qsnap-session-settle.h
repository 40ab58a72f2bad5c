/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include "pages/qsnap-serving.h"
#include "qsnap-watch.h"
#include "qsnap/qsnap.h"

G_BEGIN_DECLS

/* Follows a guest that runs before it has all of its memory, on a thread of its own, until it has,
 * and lets another page server go on if one dies. Takes @serving, and a reference to @watch, which
 * the session notes events in. */
void qsnap_session_settle (QsnapSession *session, QsnapServing *serving, QsnapWatch *watch);

G_END_DECLS
