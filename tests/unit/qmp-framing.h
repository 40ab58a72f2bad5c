/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

/* test-json.c and test-framer.c are one program. */
void add_json_tests (void);
