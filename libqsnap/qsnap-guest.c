/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-guest.h"

QsnapGuest *
qsnap_guest_new (QsnapQmpClient *client, GIOStream *stream, guint timeout_ms)
{
  QsnapGuest *guest = g_new0 (QsnapGuest, 1);

  guest->qmp.client = qsnap_qmp_client_ref (client);
  guest->qmp.timeout_ms = timeout_ms;
  guest->process = qsnap_process_new_for_stream (stream);
  guest->drives = g_ptr_array_new_with_free_func ((GDestroyNotify)qsnap_drive_free);
  guest->wanted_capabilities = g_hash_table_new (g_str_hash, g_str_equal);
  guest->shutdown_action = "poweroff";
  guest->ends_on_panic = TRUE;

  return guest;
}

QsnapGuest *
qsnap_guest_new_gone (void)
{
  QsnapGuest *guest = g_new0 (QsnapGuest, 1);

  guest->qmp.gone = TRUE;
  guest->process = qsnap_process_new_unknown ();
  guest->drives = g_ptr_array_new_with_free_func ((GDestroyNotify)qsnap_drive_free);
  guest->wanted_capabilities = g_hash_table_new (g_str_hash, g_str_equal);

  return guest;
}

void
qsnap_guest_free (QsnapGuest *guest)
{
  g_clear_pointer (&guest->qmp.client, qsnap_qmp_client_unref);
  qsnap_process_free (guest->process);
  g_free (guest->version);
  g_free (guest->machine);
  g_free (guest->name);
  g_free (guest->uuid);
  g_free (guest->run_state);
  g_ptr_array_unref (guest->drives);
  g_clear_pointer (&guest->read_only, json_array_unref);
  g_clear_pointer (&guest->capabilities, g_hash_table_unref);
  g_hash_table_unref (guest->wanted_capabilities);
  g_free (guest);
}

GHashTable *
qsnap_guest_found_capabilities (QsnapGuest *guest)
{
  GHashTable *found = g_hash_table_new (g_str_hash, g_str_equal);
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, guest->wanted_capabilities);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    g_hash_table_insert (found, name, g_hash_table_lookup (guest->capabilities, name));

  return found;
}

gboolean
qsnap_guest_snapshot_resumes (QsnapGuest *guest)
{
  return guest->major < 10;
}

gboolean
qsnap_guest_goes_on (QsnapGuest *guest)
{
  return guest->was_running && guest->leave == QSNAP_LEAVE_RUNNING;
}

gboolean
qsnap_guest_needs_plain_migration (QsnapGuest *guest)
{
  if (guest->mode == QSNAP_SNAPSHOT_MODE_INSTANT)
    return !qsnap_guest_goes_on (guest) && qsnap_guest_snapshot_resumes (guest);

  return guest->mode == QSNAP_SNAPSHOT_MODE_STOPPED ||
         (guest->mode == QSNAP_SNAPSHOT_MODE_LIVE && !guest->was_running);
}

gboolean
qsnap_guest_is_saved_live (QsnapGuest *guest)
{
  return guest->mode == QSNAP_SNAPSHOT_MODE_LIVE && guest->was_running;
}

gboolean
qsnap_guest_loses_emulated_writes (QsnapGuest *guest)
{
  return guest->major < 10;
}

gboolean
qsnap_guest_has_gate (QsnapGuest *guest)
{
  return guest->major == 7 && guest->minor == 2;
}
