/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-report-private.h"

/**
 * SECTION:qsnap-report
 * @title: QsnapReport
 * @short_description: What a check of a guest found
 *
 * A #QsnapReport is what qsnap_session_check() answers: every reason why the guest cannot be
 * captured, and every warning, as text for people.
 *
 * It does not change after it was made, so any thread may read it.
 */

/**
 * QsnapReport:
 *
 * What a check of a guest found.
 *
 * Since: 1.0
 */
struct _QsnapReport
{
  GObject parent_instance;

  GPtrArray *problems;
  GPtrArray *warnings;
  /* The first problem, for its domain and code. */
  GError *first;
  gint64 predicted_pause_us;
};

G_DEFINE_FINAL_TYPE (QsnapReport, qsnap_report, G_TYPE_OBJECT)

enum
{
  PROP_OK = 1,
  PROP_PROBLEMS,
  PROP_WARNINGS,
  PROP_PREDICTED_PAUSE_US,
  N_PROPS
};

static GParamSpec *props[N_PROPS];

static void
qsnap_report_finalize (GObject *object)
{
  QsnapReport *self = QSNAP_REPORT (object);

  g_ptr_array_unref (self->problems);
  g_ptr_array_unref (self->warnings);
  g_clear_error (&self->first);

  G_OBJECT_CLASS (qsnap_report_parent_class)->finalize (object);
}

static void
qsnap_report_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  QsnapReport *self = QSNAP_REPORT (object);

  switch (id)
    {
    case PROP_OK:
      g_value_set_boolean (value, qsnap_report_get_ok (self));
      break;
    case PROP_PROBLEMS:
      g_value_take_boxed (value, qsnap_report_get_problems (self));
      break;
    case PROP_WARNINGS:
      g_value_take_boxed (value, qsnap_report_get_warnings (self));
      break;
    case PROP_PREDICTED_PAUSE_US:
      g_value_set_int64 (value, self->predicted_pause_us);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
    }
}

static void
qsnap_report_class_init (QsnapReportClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);

  object_class->finalize = qsnap_report_finalize;
  object_class->get_property = qsnap_report_get_property;

  /**
   * QsnapReport:ok:
   *
   * Whether the guest can be captured: there is no problem. Warnings do not count.
   *
   * Since: 1.0
   */
  props[PROP_OK] =
      g_param_spec_boolean ("ok", NULL, NULL, FALSE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * QsnapReport:problems:
   *
   * Every reason why the guest cannot be captured.
   *
   * Since: 1.0
   */
  props[PROP_PROBLEMS] = g_param_spec_boxed ("problems", NULL, NULL, G_TYPE_STRV,
                                             G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * QsnapReport:warnings:
   *
   * What does not prevent a capture, but may surprise.
   *
   * Since: 1.0
   */
  props[PROP_WARNINGS] = g_param_spec_boxed ("warnings", NULL, NULL, G_TYPE_STRV,
                                             G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  /**
   * QsnapReport:predicted-pause-us:
   *
   * How long the guest will be stopped, in microseconds; -1 where that is not known, 0 for a guest
   * that stands still already. It comes from what was measured of other guests (QEMU's version,
   * RAM, how much of it was touched, and is in huge pages), and from earlier captures of this
   * guest: those of the session, and the snapshots beside the directory that the options name. It
   * is what to expect, not a promise: the machine may be busy, or the guest may have just written
   * much to its disks. It is known for %QSNAP_SNAPSHOT_MODE_INSTANT and
   * %QSNAP_SNAPSHOT_MODE_DISKS_ONLY of a guest that goes on; how long the others take depends on
   * what the guest writes, and on the target.
   *
   * Since: 1.0
   */
  props[PROP_PREDICTED_PAUSE_US] =
      g_param_spec_int64 ("predicted-pause-us", NULL, NULL, -1, G_MAXINT64, -1,
                          G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);

  g_object_class_install_properties (object_class, N_PROPS, props);
}

static void
qsnap_report_init (QsnapReport *self)
{
  self->problems = g_ptr_array_new_with_free_func (g_free);
  self->warnings = g_ptr_array_new_with_free_func (g_free);
  self->predicted_pause_us = -1;
}

static GStrv
to_strv (GPtrArray *strings)
{
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  for (guint i = 0; i < strings->len; i++)
    g_strv_builder_add (builder, g_ptr_array_index (strings, i));

  return g_strv_builder_end (builder);
}

QsnapReport *
qsnap_report_new (void)
{
  return g_object_new (QSNAP_TYPE_REPORT, NULL);
}

void
qsnap_report_take_problem (QsnapReport *self, GError *error)
{
  g_ptr_array_add (self->problems, g_strdup (error->message));
  if (self->first == NULL)
    self->first = error;
  else
    g_error_free (error);
}

void
qsnap_report_add_problem (QsnapReport *self, QsnapError code, const char *format, ...)
{
  va_list values;

  va_start (values, format);
  qsnap_report_take_problem (self, g_error_new_valist (QSNAP_ERROR, (int)code, format, values));
  va_end (values);
}

void
qsnap_report_add_warning (QsnapReport *self, const char *format, ...)
{
  va_list values;

  va_start (values, format);
  g_ptr_array_add (self->warnings, g_strdup_vprintf (format, values));
  va_end (values);
}

void
qsnap_report_take_all (QsnapReport *self, QsnapReport *other)
{
  g_ptr_array_extend_and_steal (self->problems, g_ptr_array_ref (other->problems));
  g_ptr_array_extend_and_steal (self->warnings, g_ptr_array_ref (other->warnings));
  if (self->first == NULL)
    self->first = g_steal_pointer (&other->first);
}

void
qsnap_report_set_predicted_pause_us (QsnapReport *self, gint64 microseconds)
{
  self->predicted_pause_us = microseconds;
}

GError *
qsnap_report_to_error (QsnapReport *self)
{
  g_auto (GStrv) problems = qsnap_report_get_problems (self);
  g_autofree char *all = g_strjoinv ("; ", problems);

  if (self->first == NULL)
    return NULL;

  return g_error_new (self->first->domain, self->first->code, "the guest cannot be captured: %s",
                      all);
}

/**
 * qsnap_report_get_ok:
 * @self: a report
 *
 * Whether the guest can be captured.
 *
 * Returns: %TRUE if there is no problem
 *
 * Since: 1.0
 */
gboolean
qsnap_report_get_ok (QsnapReport *self)
{
  g_return_val_if_fail (QSNAP_IS_REPORT (self), FALSE);

  return self->problems->len == 0;
}

/**
 * qsnap_report_get_problems:
 * @self: a report
 *
 * Every reason why the guest cannot be captured.
 *
 * Returns: (transfer full): the reasons; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_report_get_problems (QsnapReport *self)
{
  g_return_val_if_fail (QSNAP_IS_REPORT (self), NULL);

  return to_strv (self->problems);
}

/**
 * qsnap_report_get_warnings:
 * @self: a report
 *
 * What does not prevent a capture, but may surprise.
 *
 * Returns: (transfer full): the warnings; free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_report_get_warnings (QsnapReport *self)
{
  g_return_val_if_fail (QSNAP_IS_REPORT (self), NULL);

  return to_strv (self->warnings);
}

/**
 * qsnap_report_get_predicted_pause_us:
 * @self: a report
 *
 * How long the guest will be stopped; see #QsnapReport:predicted-pause-us.
 *
 * Returns: microseconds; -1 if that is not known
 *
 * Since: 1.0
 */
gint64
qsnap_report_get_predicted_pause_us (QsnapReport *self)
{
  g_return_val_if_fail (QSNAP_IS_REPORT (self), -1);

  return self->predicted_pause_us;
}
