/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture-private.h"

/* The guest's file systems are frozen by its agent while its disks are snapshot without its memory,
 * so that they are as after an orderly end. */

/* A guest that stands still, or is gone, cannot be asked. */
static gboolean
settle_agent (gpointer data, GError **error)
{
  QsnapCapture *capture = data;

  return capture->qmp->gone || qsnap_agent_thaw (capture->agent, error);
}

void
qsnap_capture_settle_agent (QsnapCapture *capture, const char *address)
{
  capture->agent = qsnap_agent_new (address);
  qsnap_undo_push (capture->settle, "thaw the guest's file systems", NULL, settle_agent, capture);
}

gboolean
qsnap_capture_freeze (QsnapCapture *capture, GError **error)
{
  const char *address = qsnap_snapshot_options_get_quiesce (capture->options);
  guint n_frozen;

  if (address == NULL)
    return TRUE;

  qsnap_capture_settle_agent (capture, address);
  if (!qsnap_agent_freeze (capture->agent, &n_frozen, capture->cancellable, error))
    {
      g_prefix_error_literal (error, "freezing the guest's file systems: ");
      return FALSE;
    }
  if (n_frozen == 0)
    qsnap_report_add_warning (capture->report,
                              "the guest's agent has found no file system to freeze");

  return TRUE;
}

void
qsnap_capture_thaw (QsnapCapture *capture)
{
  if (capture->agent != NULL && qsnap_agent_thaw (capture->agent, NULL))
    qsnap_undo_drop (capture->settle, settle_agent, capture);
}
