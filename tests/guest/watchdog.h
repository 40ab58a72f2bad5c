/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <stdbool.h>

/* Starts the machine's i6300esb, which nobody feeds: when that many milliseconds of guest time have passed, QEMU does what
 * its watchdog action says. False, and errno, where there is none. */
bool watchdog_start (unsigned milliseconds);
