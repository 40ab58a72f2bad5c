/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "qsnap-capture-private.h"
#include "qsnap-huge-pages.h"
#include "qsnap-snapshot-private.h"

/* After the seal: the snapshot is safe and told of, so that nothing waits for this but the next
 * operation, and nothing that happens in it can do harm to the snapshot. */

/* Many times what was measured: a host that needs longer has no huge pages to give. */
#define PATIENCE_US_PER_GIB (4 * G_USEC_PER_SEC)
#define LEAST_PATIENCE_US (60 * G_USEC_PER_SEC)

static gint64
patience (QsnapGuest *guest)
{
  const gint64 gib = (gint64)1 << 30;

  return LEAST_PATIENCE_US + (guest->ram_size + gib - 1) / gib * PATIENCE_US_PER_GIB;
}

void
qsnap_capture_give_huge_pages_back (QsnapCapture *capture)
{
  QsnapGuest *guest = capture->guest;
  g_autoptr (GError) error = NULL;
  g_autofree char *warning = NULL;

  if (!guest->gets_huge_pages || !qsnap_capture_is_background (capture) || capture->qmp->gone)
    return;

  qsnap_capture_let_go_of_directory (capture);
  if (qsnap_huge_pages_give_back (guest->process, patience (guest), capture->cancellable, &error))
    return;

  warning =
      g_strdup_printf ("the guest's huge pages were not all given back: %s; its next capture may "
                       "pause it for longer",
                       error->message);
  qsnap_snapshot_add_warning (capture->snapshot, warning);
}
