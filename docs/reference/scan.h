/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What gtkdoc-scangobj includes. It warns of properties without a blurb; they have a comment. */

#pragma once

#include <qsnap/qsnap.h>

#define g_param_spec_get_blurb(spec) ""
