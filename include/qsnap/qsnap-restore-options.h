/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#if !defined(QSNAP_H_INSIDE) && !defined(QSNAP_COMPILATION)
#error "Only <qsnap/qsnap.h> can be included directly."
#endif

#include <gio/gio.h>

#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-version-macros.h>

G_BEGIN_DECLS

#define QSNAP_TYPE_RESTORE_OPTIONS (qsnap_restore_options_get_type ())

QSNAP_AVAILABLE_IN_1_0
G_DECLARE_FINAL_TYPE (QsnapRestoreOptions, qsnap_restore_options, QSNAP, RESTORE_OPTIONS, GObject)

QSNAP_AVAILABLE_IN_1_0
QsnapRestoreOptions *qsnap_restore_options_new (void);

QSNAP_AVAILABLE_IN_1_0
QsnapRestoreMethod qsnap_restore_options_get_method (QsnapRestoreOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_restore_options_set_method (QsnapRestoreOptions *self, QsnapRestoreMethod method);

QSNAP_AVAILABLE_IN_1_0
GFile *qsnap_restore_options_get_directory (QsnapRestoreOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_restore_options_set_directory (QsnapRestoreOptions *self, GFile *directory);

QSNAP_AVAILABLE_IN_1_0
GStrv qsnap_restore_options_dup_command (QsnapRestoreOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_restore_options_set_command (QsnapRestoreOptions *self, const char *const *command);

QSNAP_AVAILABLE_IN_1_0
const char *qsnap_restore_options_get_program (QsnapRestoreOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_restore_options_set_program (QsnapRestoreOptions *self, const char *program);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_restore_options_get_start_paused (QsnapRestoreOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_restore_options_set_start_paused (QsnapRestoreOptions *self, gboolean start_paused);

QSNAP_AVAILABLE_IN_1_0
gboolean qsnap_restore_options_get_verify (QsnapRestoreOptions *self);
QSNAP_AVAILABLE_IN_1_0
void qsnap_restore_options_set_verify (QsnapRestoreOptions *self, gboolean verify);

G_END_DECLS
