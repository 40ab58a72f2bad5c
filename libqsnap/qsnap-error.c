/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap/qsnap-error.h"

/**
 * SECTION:qsnap-error
 * @title: Errors
 * @short_description: What can go wrong, and whose error it is
 *
 * Three domains tell whose error it is: %QSNAP_ERROR is the library's, %QSNAP_QMP_ERROR is QEMU's
 * answer with its text, and %G_IO_ERROR is the operating system's (and %G_IO_ERROR_CANCELLED).
 * Every message names the step and, where a QMP command failed, the command.
 */

G_DEFINE_QUARK (qsnap-error-quark, qsnap_error)
G_DEFINE_QUARK (qsnap-qmp-error-quark, qsnap_qmp_error)
