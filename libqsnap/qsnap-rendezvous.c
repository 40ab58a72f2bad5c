/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-rendezvous.h"

#include "qsnap/qsnap-error.h"

struct _QsnapRendezvous
{
  GStrv names;
  guint n;
  GCancellable *cancellable;

  GMutex lock;
  GCond cond;
  /* Guarded by lock from here on. */
  GError *error;
  /* How many meetings have ended well. */
  guint meeting;
  guint n_arrived;
  gboolean *arrived;
  /* All are there, and the last one does what has to be done: what fails meanwhile does not count
   * for this meeting any more. */
  gboolean deciding;
};

QsnapRendezvous *
qsnap_rendezvous_new (const char *const *names)
{
  QsnapRendezvous *self = g_new0 (QsnapRendezvous, 1);

  self->names = g_strdupv ((GStrv)names);
  self->n = g_strv_length (self->names);
  self->arrived = g_new0 (gboolean, self->n);
  self->cancellable = g_cancellable_new ();
  g_mutex_init (&self->lock);
  g_cond_init (&self->cond);

  return self;
}

void
qsnap_rendezvous_free (QsnapRendezvous *self)
{
  g_strfreev (self->names);
  g_free (self->arrived);
  g_object_unref (self->cancellable);
  g_clear_error (&self->error);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->cond);
  g_free (self);
}

GCancellable *
qsnap_rendezvous_get_cancellable (QsnapRendezvous *self)
{
  return self->cancellable;
}

/* With the lock; what is connected to the cancellable runs without it. */
static void
take_error (QsnapRendezvous *self, GError *error)
{
  self->error = error;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  g_cancellable_cancel (self->cancellable);
  g_mutex_lock (&self->lock);
}

static GError *
name_error (QsnapRendezvous *self, guint who, const GError *error)
{
  GError *copy = g_error_copy (error);

  if (who < self->n)
    g_prefix_error (&copy, "guest %s: ", self->names[who]);

  return copy;
}

void
qsnap_rendezvous_fail (QsnapRendezvous *self, guint who, const GError *error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  if (self->error == NULL)
    take_error (self, name_error (self, who, error));
}

static void
cancelled (GCancellable *cancellable, gpointer rendezvous)
{
  g_autoptr (GError) error = NULL;

  (void)g_cancellable_set_error_if_cancelled (cancellable, &error);
  qsnap_rendezvous_fail (rendezvous, G_MAXUINT, error);
}

gulong
qsnap_rendezvous_follow (QsnapRendezvous *self, GCancellable *cancellable)
{
  if (cancellable == NULL)
    return 0;

  return g_cancellable_connect (cancellable, G_CALLBACK (cancelled), self, NULL);
}

GError *
qsnap_rendezvous_dup_error (QsnapRendezvous *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);

  return self->error != NULL ? g_error_copy (self->error) : NULL;
}

static GError *
too_late (QsnapRendezvous *self, const char *what, gint timeout_ms)
{
  g_autoptr (GString) missing = g_string_new (NULL);

  for (guint i = 0; i < self->n; i++)
    if (!self->arrived[i])
      g_string_append_printf (missing, "%s%s", missing->len > 0 ? ", " : "", self->names[i]);

  return g_error_new (QSNAP_ERROR, QSNAP_ERROR_TIMED_OUT,
                      "the other guests waited for %d ms for guest %s to %s", timeout_ms,
                      missing->str, what);
}

/* With the lock. */
static void
decide (QsnapRendezvous *self, QsnapRendezvousFunc last, gpointer data)
{
  GError *failure = NULL;
  gboolean done = TRUE;

  if (last != NULL)
    {
      self->deciding = TRUE;
      g_mutex_unlock (&self->lock);
      done = last (data, &failure);
      g_mutex_lock (&self->lock);
      self->deciding = FALSE;
    }

  if (done)
    {
      self->meeting++;
      self->n_arrived = 0;
      for (guint i = 0; i < self->n; i++)
        self->arrived[i] = FALSE;
      g_cond_broadcast (&self->cond);
    }
  else if (self->error == NULL)
    take_error (self, failure);
  else
    {
      g_error_free (failure);
      g_cond_broadcast (&self->cond);
    }
}

/* With the lock. */
static void
wait_for_others (QsnapRendezvous *self, guint meeting, const char *what, gint timeout_ms)
{
  gint64 deadline = g_get_monotonic_time () + timeout_ms * (gint64)1000;

  while (self->meeting == meeting && (self->deciding || self->error == NULL))
    {
      if (timeout_ms == 0)
        g_cond_wait (&self->cond, &self->lock);
      else if (!g_cond_wait_until (&self->cond, &self->lock, deadline) &&
               self->meeting == meeting && !self->deciding && self->error == NULL)
        take_error (self, too_late (self, what, timeout_ms));
      else if (self->deciding && g_get_monotonic_time () > deadline)
        g_cond_wait (&self->cond, &self->lock);
    }
}

gboolean
qsnap_rendezvous_meet (QsnapRendezvous *self,
                       guint who,
                       const char *what,
                       gint timeout_ms,
                       QsnapRendezvousFunc last,
                       gpointer data,
                       GError **error)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new (&self->lock);
  guint meeting = self->meeting;

  if (self->error == NULL)
    {
      self->arrived[who] = TRUE;
      if (++self->n_arrived == self->n)
        decide (self, last, data);
      else
        wait_for_others (self, meeting, what, timeout_ms);
    }
  if (self->meeting != meeting)
    return TRUE;

  g_propagate_error (error, g_error_copy (self->error));

  return FALSE;
}
