/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap/qsnap.h"

/**
 * SECTION:qsnap-restore-options
 * @title: QsnapRestoreOptions
 * @short_description: How to bring a guest back
 *
 * A #QsnapRestoreOptions says how qsnap_snapshot_restore() brings a guest back. Nothing has to be
 * set.
 *
 * The options are read when an operation starts; changing them afterwards has no effect on it. The
 * object is not locked: set it up in one thread.
 */

/**
 * QsnapRestoreOptions:
 *
 * How to bring a guest back.
 *
 * Since: 1.0
 */
struct _QsnapRestoreOptions
{
  GObject parent_instance;

  QsnapRestoreMethod method;
  GFile *directory;
  GStrv command;
  char *program;
  gboolean start_paused;
  gboolean verify;
};

G_DEFINE_FINAL_TYPE (QsnapRestoreOptions, qsnap_restore_options, G_TYPE_OBJECT)

enum
{
  PROP_METHOD = 1,
  PROP_DIRECTORY,
  PROP_COMMAND,
  PROP_PROGRAM,
  PROP_START_PAUSED,
  PROP_VERIFY,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

static void
qsnap_restore_options_finalize (GObject *object)
{
  QsnapRestoreOptions *self = QSNAP_RESTORE_OPTIONS (object);

  g_clear_object (&self->directory);
  g_strfreev (self->command);
  g_free (self->program);

  G_OBJECT_CLASS (qsnap_restore_options_parent_class)->finalize (object);
}

static void
qsnap_restore_options_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapRestoreOptions *self = QSNAP_RESTORE_OPTIONS (object);

  switch (id)
    {
    case PROP_METHOD:
      g_value_set_enum (value, self->method);
      break;
    case PROP_DIRECTORY:
      g_value_set_object (value, self->directory);
      break;
    case PROP_COMMAND:
      g_value_set_boxed (value, self->command);
      break;
    case PROP_PROGRAM:
      g_value_set_string (value, self->program);
      break;
    case PROP_START_PAUSED:
      g_value_set_boolean (value, self->start_paused);
      break;
    case PROP_VERIFY:
      g_value_set_boolean (value, self->verify);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_restore_options_set_property (GObject *object,
                                    guint id,
                                    const GValue *value,
                                    GParamSpec *pspec)
{
  QsnapRestoreOptions *self = QSNAP_RESTORE_OPTIONS (object);

  switch (id)
    {
    case PROP_METHOD:
      qsnap_restore_options_set_method (self, g_value_get_enum (value));
      break;
    case PROP_DIRECTORY:
      qsnap_restore_options_set_directory (self, g_value_get_object (value));
      break;
    case PROP_COMMAND:
      qsnap_restore_options_set_command (self, g_value_get_boxed (value));
      break;
    case PROP_PROGRAM:
      qsnap_restore_options_set_program (self, g_value_get_string (value));
      break;
    case PROP_START_PAUSED:
      qsnap_restore_options_set_start_paused (self, g_value_get_boolean (value));
      break;
    case PROP_VERIFY:
      qsnap_restore_options_set_verify (self, g_value_get_boolean (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_restore_options_class_init (QsnapRestoreOptionsClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_EXPLICIT_NOTIFY | G_PARAM_STATIC_STRINGS;

  object_class->finalize = qsnap_restore_options_finalize;
  object_class->get_property = qsnap_restore_options_get_property;
  object_class->set_property = qsnap_restore_options_set_property;

  /**
   * QsnapRestoreOptions:method:
   *
   * How the guest gets its memory back.
   *
   * Since: 1.0
   */
  props[PROP_METHOD] = g_param_spec_enum ("method", NULL, NULL, QSNAP_TYPE_RESTORE_METHOD,
                                          QSNAP_RESTORE_METHOD_AUTO, flags);
  /**
   * QsnapRestoreOptions:directory:
   *
   * The revert's own directory: its disks, its monitor's socket and its log go there, and it has to
   * stay as long as the guest is wanted. It is made, or it must be empty. If this is not set,
   * it is made beside the snapshot, as `NAME.revert-ID`.
   *
   * Since: 1.0
   */
  props[PROP_DIRECTORY] = g_param_spec_object ("directory", NULL, NULL, G_TYPE_FILE, flags);
  /**
   * QsnapRestoreOptions:command:
   *
   * QEMU's command line, the program first, to be adapted and run instead of the one in the
   * snapshot: for a guest whose hardware was changed while it ran, or where the command line could
   * not be read.
   *
   * Since: 1.0
   */
  props[PROP_COMMAND] = g_param_spec_boxed ("command", NULL, NULL, G_TYPE_STRV, flags);
  /**
   * QsnapRestoreOptions:program:
   *
   * The QEMU to run, a path or a name to look for in `PATH`, instead of the one that the command
   * line begins with.
   *
   * Since: 1.0
   */
  props[PROP_PROGRAM] = g_param_spec_string ("program", NULL, NULL, NULL, flags);
  /**
   * QsnapRestoreOptions:start-paused:
   *
   * Whether the guest stays paused at its point in time until it is sent `cont`. A guest that its
   * owner had paused when it was captured does so in any case.
   *
   * Since: 1.0
   */
  props[PROP_START_PAUSED] = g_param_spec_boolean ("start-paused", NULL, NULL, FALSE, flags);
  /**
   * QsnapRestoreOptions:verify:
   *
   * Whether every checksum is compared before QEMU is started, as qsnap_snapshot_verify() does. The
   * structure, and that the bases of the disks are unchanged, is checked in any case.
   *
   * Since: 1.0
   */
  props[PROP_VERIFY] = g_param_spec_boolean ("verify", NULL, NULL, FALSE, flags);

  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_restore_options_init (QsnapRestoreOptions *self)
{
}

/**
 * qsnap_restore_options_new:
 *
 * Makes options that leave everything to the snapshot.
 *
 * Returns: (transfer full): new options
 *
 * Since: 1.0
 */
QsnapRestoreOptions *
qsnap_restore_options_new (void)
{
  return g_object_new (QSNAP_TYPE_RESTORE_OPTIONS, NULL);
}

/**
 * qsnap_restore_options_get_method:
 * @self: options
 *
 * How the guest gets its memory back.
 *
 * Returns: the method
 *
 * Since: 1.0
 */
QsnapRestoreMethod
qsnap_restore_options_get_method (QsnapRestoreOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_RESTORE_OPTIONS (self), QSNAP_RESTORE_METHOD_AUTO);

  return self->method;
}

/**
 * qsnap_restore_options_set_method:
 * @self: options
 * @method: the method
 *
 * Sets #QsnapRestoreOptions:method.
 *
 * Since: 1.0
 */
void
qsnap_restore_options_set_method (QsnapRestoreOptions *self, QsnapRestoreMethod method)
{
  g_return_if_fail (QSNAP_IS_RESTORE_OPTIONS (self));

  if (self->method == method)
    return;

  self->method = method;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_METHOD]);
}

/**
 * qsnap_restore_options_get_directory:
 * @self: options
 *
 * The directory of the revert.
 *
 * Returns: (transfer none) (nullable): the directory, or %NULL
 *
 * Since: 1.0
 */
GFile *
qsnap_restore_options_get_directory (QsnapRestoreOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_RESTORE_OPTIONS (self), NULL);

  return self->directory;
}

/**
 * qsnap_restore_options_set_directory:
 * @self: options
 * @directory: (nullable): a local directory
 *
 * Sets #QsnapRestoreOptions:directory.
 *
 * Since: 1.0
 */
void
qsnap_restore_options_set_directory (QsnapRestoreOptions *self, GFile *directory)
{
  g_return_if_fail (QSNAP_IS_RESTORE_OPTIONS (self));
  g_return_if_fail (directory == NULL || G_IS_FILE (directory));

  if (g_set_object (&self->directory, directory))
    g_object_notify_by_pspec (G_OBJECT (self), props[PROP_DIRECTORY]);
}

/**
 * qsnap_restore_options_dup_command:
 * @self: options
 *
 * The command line to adapt instead of the snapshot's.
 *
 * Returns: (transfer full) (nullable): a copy; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_restore_options_dup_command (QsnapRestoreOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_RESTORE_OPTIONS (self), NULL);

  return g_strdupv (self->command);
}

/**
 * qsnap_restore_options_set_command:
 * @self: options
 * @command: (nullable) (array zero-terminated=1): QEMU's command line, the program first
 *
 * Sets #QsnapRestoreOptions:command.
 *
 * Since: 1.0
 */
void
qsnap_restore_options_set_command (QsnapRestoreOptions *self, const char *const *command)
{
  GStrv copy;

  g_return_if_fail (QSNAP_IS_RESTORE_OPTIONS (self));

  copy = g_strdupv ((GStrv)command);
  g_strfreev (self->command);
  self->command = copy;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_COMMAND]);
}

/**
 * qsnap_restore_options_get_program:
 * @self: options
 *
 * The QEMU to run instead of the one that the command line begins with.
 *
 * Returns: (nullable): a path, or a name to look for in `PATH`
 *
 * Since: 1.0
 */
const char *
qsnap_restore_options_get_program (QsnapRestoreOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_RESTORE_OPTIONS (self), NULL);

  return self->program;
}

/**
 * qsnap_restore_options_set_program:
 * @self: options
 * @program: (nullable): a path, or a name to look for in `PATH`
 *
 * Sets #QsnapRestoreOptions:program.
 *
 * Since: 1.0
 */
void
qsnap_restore_options_set_program (QsnapRestoreOptions *self, const char *program)
{
  g_return_if_fail (QSNAP_IS_RESTORE_OPTIONS (self));

  if (g_strcmp0 (self->program, program) == 0)
    return;

  g_free (self->program);
  self->program = g_strdup (program);
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_PROGRAM]);
}

/**
 * qsnap_restore_options_get_start_paused:
 * @self: options
 *
 * Whether the guest stays paused at its point in time.
 *
 * Returns: %TRUE if it does
 *
 * Since: 1.0
 */
gboolean
qsnap_restore_options_get_start_paused (QsnapRestoreOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_RESTORE_OPTIONS (self), FALSE);

  return self->start_paused;
}

/**
 * qsnap_restore_options_set_start_paused:
 * @self: options
 * @start_paused: whether it does
 *
 * Sets #QsnapRestoreOptions:start-paused.
 *
 * Since: 1.0
 */
void
qsnap_restore_options_set_start_paused (QsnapRestoreOptions *self, gboolean start_paused)
{
  g_return_if_fail (QSNAP_IS_RESTORE_OPTIONS (self));

  start_paused = start_paused != FALSE;
  if (self->start_paused == start_paused)
    return;

  self->start_paused = start_paused;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_START_PAUSED]);
}

/**
 * qsnap_restore_options_get_verify:
 * @self: options
 *
 * Whether every checksum is compared before QEMU is started.
 *
 * Returns: %TRUE if they are
 *
 * Since: 1.0
 */
gboolean
qsnap_restore_options_get_verify (QsnapRestoreOptions *self)
{
  g_return_val_if_fail (QSNAP_IS_RESTORE_OPTIONS (self), FALSE);

  return self->verify;
}

/**
 * qsnap_restore_options_set_verify:
 * @self: options
 * @verify: whether they are
 *
 * Sets #QsnapRestoreOptions:verify.
 *
 * Since: 1.0
 */
void
qsnap_restore_options_set_verify (QsnapRestoreOptions *self, gboolean verify)
{
  g_return_if_fail (QSNAP_IS_RESTORE_OPTIONS (self));

  verify = verify != FALSE;
  if (self->verify == verify)
    return;

  self->verify = verify;
  g_object_notify_by_pspec (G_OBJECT (self), props[PROP_VERIFY]);
}
