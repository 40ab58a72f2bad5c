/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-session-private.h"

/**
 * qsnap_session_get_address:
 * @self: a session
 *
 * The monitor's address, as it was given.
 *
 * Returns: (nullable): the address, or %NULL for a session that was made for a stream
 *
 * Since: 1.0
 */
const char *
qsnap_session_get_address (QsnapSession *self)
{
  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);

  return self->address;
}

/**
 * qsnap_session_get_is_open:
 * @self: a session
 *
 * Whether the session is connected and QMP is negotiated.
 *
 * Returns: %TRUE if commands can be sent
 *
 * Since: 1.0
 */
gboolean
qsnap_session_get_is_open (QsnapSession *self)
{
  g_autoptr (QsnapQmpClient) client = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), FALSE);

  client = qsnap_session_ref_client (self, NULL);

  return client != NULL;
}

/**
 * qsnap_session_dup_qemu_version:
 * @self: a session
 *
 * QEMU's version as its greeting says it, for example `7.2.22`.
 *
 * Returns: (transfer full) (nullable): the version; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_session_dup_qemu_version (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);

  locker = g_mutex_locker_new (&self->lock);

  return g_strdup (self->qemu_version);
}

/**
 * qsnap_session_dup_operation:
 * @self: a session
 *
 * The operation under way, for example `instant-snapshot`.
 *
 * Returns: (transfer full) (nullable): its name; free with g_free()
 *
 * Since: 1.0
 */
char *
qsnap_session_dup_operation (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), NULL);

  locker = g_mutex_locker_new (&self->lock);

  return g_strdup (self->operation);
}

/**
 * qsnap_session_get_phase:
 * @self: a session
 *
 * Where the operation is.
 *
 * Returns: the newest phase, which `notify` may not have told yet
 *
 * Since: 1.0
 */
QsnapPhase
qsnap_session_get_phase (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), QSNAP_PHASE_IDLE);

  locker = g_mutex_locker_new (&self->lock);

  return self->phase;
}

/**
 * qsnap_session_get_bytes_done:
 * @self: a session
 *
 * How many bytes of the guest's RAM the operation has dealt with; when a snapshot is deleted, of
 * its overlays.
 *
 * Returns: bytes
 *
 * Since: 1.0
 */
guint64
qsnap_session_get_bytes_done (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  locker = g_mutex_locker_new (&self->lock);

  return self->bytes_done;
}

/**
 * qsnap_session_get_bytes_total:
 * @self: a session
 *
 * How many bytes of RAM the guest has, or, when a snapshot is deleted, how many there are to merge.
 *
 * Returns: bytes; 0 before it is known
 *
 * Since: 1.0
 */
guint64
qsnap_session_get_bytes_total (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  locker = g_mutex_locker_new (&self->lock);

  return self->bytes_total;
}

/**
 * qsnap_session_get_disk_bytes_done:
 * @self: a session
 *
 * How much has been copied of the disks whose mode is %QSNAP_DISK_MODE_COPY.
 *
 * Returns: bytes
 *
 * Since: 1.0
 */
guint64
qsnap_session_get_disk_bytes_done (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  locker = g_mutex_locker_new (&self->lock);

  return self->disk_bytes_done;
}

/**
 * qsnap_session_get_disk_bytes_total:
 * @self: a session
 *
 * How much of those disks there is to be copied.
 *
 * Returns: bytes; 0 before it is known
 *
 * Since: 1.0
 */
guint64
qsnap_session_get_disk_bytes_total (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  locker = g_mutex_locker_new (&self->lock);

  return self->disk_bytes_total;
}

/**
 * qsnap_session_get_events_lost:
 * @self: a session
 *
 * How many QMP events were dropped because the main context did not take them.
 *
 * Returns: a number of events
 *
 * Since: 1.0
 */
guint64
qsnap_session_get_events_lost (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  locker = g_mutex_locker_new (&self->lock);

  return self->events_lost;
}

/**
 * qsnap_session_get_timeout:
 * @self: a session
 *
 * How long to wait for the answer to a QMP command.
 *
 * Returns: milliseconds; 0 for no limit
 *
 * Since: 1.0
 */
guint
qsnap_session_get_timeout (QsnapSession *self)
{
  g_autoptr (GMutexLocker) locker G_GNUC_UNUSED = NULL;

  g_return_val_if_fail (QSNAP_IS_SESSION (self), 0);

  locker = g_mutex_locker_new (&self->lock);

  return self->timeout_ms;
}

/**
 * qsnap_session_set_timeout:
 * @self: a session
 * @timeout_ms: milliseconds; 0 for no limit
 *
 * Sets #QsnapSession:timeout, for what is sent from now on.
 *
 * Since: 1.0
 */
void
qsnap_session_set_timeout (QsnapSession *self, guint timeout_ms)
{
  gboolean changed;

  g_return_if_fail (QSNAP_IS_SESSION (self));

  g_mutex_lock (&self->lock);
  changed = self->timeout_ms != timeout_ms;
  self->timeout_ms = timeout_ms;
  g_mutex_unlock (&self->lock);

  if (changed)
    g_object_notify (G_OBJECT (self), "timeout");
}
