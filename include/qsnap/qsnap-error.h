/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <glib-object.h>

#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

/**
 * QsnapError:
 * @QSNAP_ERROR_FAILED: something failed that has no code of its own
 * @QSNAP_ERROR_BUSY: another operation is under way: on this session, in this snapshot, or in QEMU
 * @QSNAP_ERROR_CLOSED: the session is not open, or its connection ended
 * @QSNAP_ERROR_UNSUPPORTED: this QEMU, this host or this guest's configuration cannot do it
 * @QSNAP_ERROR_BLOCKED: it can be done, but not in the state that the guest is in now
 * @QSNAP_ERROR_PROTOCOL: the peer does not speak QMP, or broke its rules
 * @QSNAP_ERROR_CORRUPT: a snapshot, or a migration stream, is damaged
 * @QSNAP_ERROR_EXISTS: there is a snapshot, or another file, where one is to be written
 * @QSNAP_ERROR_TIMED_OUT: the peer did not answer in time
 * @QSNAP_ERROR_ROLLBACK_FAILED: an operation failed and could not be undone completely; the message
 *   says what is left, and the journal in the snapshot's directory stays
 * @QSNAP_ERROR_INTERFERED: another client stopped or resumed the guest in mid-capture; the capture
 *   was undone and can be tried again
 *
 * Errors of the library itself. QEMU's own errors are #QsnapQmpError; input and output errors and
 * cancellation are #GIOErrorEnum.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_ERROR_FAILED,
  QSNAP_ERROR_BUSY,
  QSNAP_ERROR_CLOSED,
  QSNAP_ERROR_UNSUPPORTED,
  QSNAP_ERROR_BLOCKED,
  QSNAP_ERROR_PROTOCOL,
  QSNAP_ERROR_CORRUPT,
  QSNAP_ERROR_EXISTS,
  QSNAP_ERROR_TIMED_OUT,
  QSNAP_ERROR_ROLLBACK_FAILED,
  QSNAP_ERROR_INTERFERED
} QsnapError;

/**
 * QSNAP_ERROR:
 *
 * Error domain of the library, with codes of #QsnapError.
 *
 * Since: 1.0
 */
#define QSNAP_ERROR (qsnap_error_quark ())

QSNAP_AVAILABLE_IN_1_0
GQuark qsnap_error_quark (void);

/**
 * QsnapQmpError:
 * @QSNAP_QMP_ERROR_UNKNOWN: an error class that QEMU did not have when this was written
 * @QSNAP_QMP_ERROR_GENERIC: `GenericError`, which most errors are
 * @QSNAP_QMP_ERROR_COMMAND_NOT_FOUND: `CommandNotFound`
 * @QSNAP_QMP_ERROR_DEVICE_NOT_ACTIVE: `DeviceNotActive`
 * @QSNAP_QMP_ERROR_DEVICE_NOT_FOUND: `DeviceNotFound`
 * @QSNAP_QMP_ERROR_KVM_MISSING_CAP: `KVMMissingCap`
 *
 * The class of an error that QEMU answered with. The message is QEMU's, word for word; operations
 * of the library put the step and the command in front of it.
 *
 * Source: the QAPI type `QapiErrorClass`.
 *
 * Since: 1.0
 */
typedef enum {
  QSNAP_QMP_ERROR_UNKNOWN,
  QSNAP_QMP_ERROR_GENERIC,
  QSNAP_QMP_ERROR_COMMAND_NOT_FOUND,
  QSNAP_QMP_ERROR_DEVICE_NOT_ACTIVE,
  QSNAP_QMP_ERROR_DEVICE_NOT_FOUND,
  QSNAP_QMP_ERROR_KVM_MISSING_CAP
} QsnapQmpError;

/**
 * QSNAP_QMP_ERROR:
 *
 * Error domain of QEMU's own errors, with codes of #QsnapQmpError.
 *
 * Since: 1.0
 */
#define QSNAP_QMP_ERROR (qsnap_qmp_error_quark ())

QSNAP_AVAILABLE_IN_1_0
GQuark qsnap_qmp_error_quark (void);

G_END_DECLS
