/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-json.h"
#include "qsnap/qsnap.h"

/**
 * SECTION:qsnap-retention
 * @title: QsnapRetention
 * @short_description: Which snapshots of a set are kept
 *
 * A #QsnapRetention says which snapshots of a folder are worth keeping: the last ones, and one an
 * hour, a day, a week, a month or a year. It only decides; what it does not keep is deleted with
 * qsnap_session_delete_snapshot() or qsnap_snapshot_delete(), the oldest first, so that what is
 * merged is merged once.
 *
 * The object is not locked: use it in one thread.
 */

/**
 * QsnapRetention:
 *
 * Which snapshots of a set are kept.
 *
 * Since: 1.0
 */
struct _QsnapRetention
{
  GObject parent_instance;

  guint keep[QSNAP_PERIOD_YEARLY + 1];
};

G_DEFINE_FINAL_TYPE (QsnapRetention, qsnap_retention, G_TYPE_OBJECT)

static void
qsnap_retention_class_init (QsnapRetentionClass *klass)
{
}

static void
qsnap_retention_init (QsnapRetention *self)
{
}

/**
 * qsnap_retention_new:
 *
 * Makes one without rules, which keeps everything.
 *
 * Returns: (transfer full): a new one
 *
 * Since: 1.0
 */
QsnapRetention *
qsnap_retention_new (void)
{
  return g_object_new (QSNAP_TYPE_RETENTION, NULL);
}

/**
 * qsnap_retention_get_keep:
 * @self: a retention
 * @period: a rule
 *
 * Gets how many snapshots the rule keeps.
 *
 * Returns: a number; 0: there is no such rule
 *
 * Since: 1.0
 */
guint
qsnap_retention_get_keep (QsnapRetention *self, QsnapPeriod period)
{
  g_return_val_if_fail (QSNAP_IS_RETENTION (self), 0);
  g_return_val_if_fail ((int)period >= 0 && period <= QSNAP_PERIOD_YEARLY, 0);

  return self->keep[period];
}

/**
 * qsnap_retention_set_keep:
 * @self: a retention
 * @period: a rule
 * @n: how many it keeps; 0 for no such rule
 *
 * Sets a rule: %QSNAP_PERIOD_LAST keeps the @n latest snapshots, the others the latest snapshot of
 * each of the @n latest hours, days, … that have one. What any of the rules keeps is kept.
 *
 * Since: 1.0
 */
void
qsnap_retention_set_keep (QsnapRetention *self, QsnapPeriod period, guint n)
{
  g_return_if_fail (QSNAP_IS_RETENTION (self));
  g_return_if_fail ((int)period >= 0 && period <= QSNAP_PERIOD_YEARLY);

  self->keep[period] = n;
}

/* --- judging ------------------------------------------------------------------------------- */

typedef struct
{
  guint index;
  GDateTime *time;
  /* Of whom it is: the snapshots of one guest do not count for another. */
  char *guest;
  GString *reasons;
} Candidate;

static void
candidate_free (gpointer data)
{
  Candidate *candidate = data;

  g_date_time_unref (candidate->time);
  g_free (candidate->guest);
  g_string_free (candidate->reasons, TRUE);
  g_free (candidate);
}

static Candidate *
candidate_new (QsnapSnapshot *snapshot, guint index)
{
  g_autoptr (GDateTime) time = qsnap_snapshot_dup_time (snapshot);
  Candidate *candidate = g_new0 (Candidate, 1);

  candidate->index = index;
  candidate->time = g_date_time_to_local (time);
  candidate->guest = qsnap_snapshot_dup_guest_uuid (snapshot);
  if (candidate->guest == NULL)
    candidate->guest = qsnap_snapshot_dup_guest_name (snapshot);
  candidate->reasons = g_string_new (NULL);

  return candidate;
}

static gint
compare_latest_first (gconstpointer a, gconstpointer b)
{
  const Candidate *one = *(const Candidate *const *)a;
  const Candidate *other = *(const Candidate *const *)b;

  return g_date_time_compare (other->time, one->time);
}

/* What two snapshots of one period have in common. */
static char *
period_of (const Candidate *candidate, QsnapPeriod period)
{
  static const char *const formats[] = { NULL, "%F %H %z", "%F", "%G-%V", "%Y-%m", "%Y" };

  return formats[period] != NULL ? g_date_time_format (candidate->time, formats[period])
                                 : g_strdup_printf ("%u", candidate->index);
}

static void
apply_rule (GPtrArray *candidates, const char *guest, QsnapPeriod period, guint keep)
{
  g_autofree char *last = NULL;
  guint n = 0;

  for (guint i = 0; n < keep && i < candidates->len; i++)
    {
      Candidate *candidate = candidates->pdata[i];
      g_autofree char *own = NULL;

      if (g_strcmp0 (candidate->guest, guest) != 0)
        continue;

      own = period_of (candidate, period);
      if (g_strcmp0 (own, last) == 0)
        continue;

      n++;
      g_string_append_printf (candidate->reasons, "%s%s %u",
                              candidate->reasons->len > 0 ? ", " : "",
                              qsnap_enum_nick (QSNAP_TYPE_PERIOD, (int)period), n);
      g_free (last);
      last = g_steal_pointer (&own);
    }
}

static gboolean
is_first_of_guest (GPtrArray *candidates, guint index)
{
  const Candidate *candidate = candidates->pdata[index];

  for (guint i = 0; i < index; i++)
    if (g_strcmp0 (((Candidate *)candidates->pdata[i])->guest, candidate->guest) == 0)
      return FALSE;

  return TRUE;
}

static gboolean
has_rules (QsnapRetention *self)
{
  for (guint i = 0; i <= QSNAP_PERIOD_YEARLY; i++)
    if (self->keep[i] > 0)
      return TRUE;

  return FALSE;
}

/**
 * qsnap_retention_explain:
 * @self: a retention
 * @snapshots: a list of #QsnapSnapshot, in any order
 *
 * Decides which are kept, and why. Snapshots of several guests, by UUID or else by name, are judged
 * for each guest alone. Hours, days and so on are those of the local time zone.
 *
 * Returns: (transfer full): for each of @snapshots, in its order, the rules that keep it, as
 *   `last 2, daily 1`; the empty string for one that is not kept. Free with g_strfreev()
 *
 * Since: 1.0
 */
GStrv
qsnap_retention_explain (QsnapRetention *self, GListModel *snapshots)
{
  g_autoptr (GPtrArray) candidates = g_ptr_array_new_with_free_func (candidate_free);
  guint n;
  GStrv reasons;

  g_return_val_if_fail (QSNAP_IS_RETENTION (self), NULL);
  g_return_val_if_fail (G_IS_LIST_MODEL (snapshots), NULL);

  n = g_list_model_get_n_items (snapshots);
  for (guint i = 0; i < n; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (snapshots, i);

      g_ptr_array_add (candidates, candidate_new (snapshot, i));
    }
  g_ptr_array_sort (candidates, compare_latest_first);

  for (guint i = 0; i < n; i++)
    if (is_first_of_guest (candidates, i))
      for (int period = 0; period <= QSNAP_PERIOD_YEARLY; period++)
        apply_rule (candidates, ((Candidate *)candidates->pdata[i])->guest, (QsnapPeriod)period,
                    self->keep[period]);

  reasons = g_new0 (char *, n + 1);
  for (guint i = 0; i < n; i++)
    {
      const Candidate *candidate = candidates->pdata[i];

      reasons[candidate->index] =
          g_strdup (has_rules (self) ? candidate->reasons->str : "there is no rule");
    }

  return reasons;
}
