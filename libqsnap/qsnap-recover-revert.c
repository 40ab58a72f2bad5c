/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <unistd.h>

#include "pages/qsnap-revert-record.h"
#include "pages/qsnap-serving.h"
#include "qsnap-recover-private.h"

/* A guest that was being brought back on demand, and whose page server died with nobody there who
 * let another one go on. */

gboolean
qsnap_recover_is_revert (const char *path)
{
  g_autofree char *record = g_build_filename (path, QSNAP_REVERT_RECORD, NULL);

  return access (record, F_OK) == 0;
}

QsnapSnapshot *
qsnap_recover_revert (QsnapOperation *operation, const char *path, GError **error)
{
  g_autoptr (QsnapWatch) watch = qsnap_watch_new ();
  g_autoptr (QsnapServing) serving = NULL;
  g_autoptr (GFile) snapshot = NULL;

  qsnap_operation_set_phase (operation, QSNAP_PHASE_CHECKING);
  serving = qsnap_serving_load (path, error);
  if (serving == NULL || !qsnap_serving_resume (serving, watch, error))
    return NULL;

  snapshot = g_file_new_for_path (qsnap_serving_get_snapshot (serving));

  return qsnap_snapshot_load (snapshot, NULL, error);
}
