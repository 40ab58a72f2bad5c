/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal that a capture left, and the record that a revert left. What is good can be written
 * back, and is good then. */

#include "config.h"

#include "fuzz.h"

#include "pages/qsnap-revert-record.h"
#include "qsnap-journal.h"
#include "qsnap-json.h"
#include "qsnap/qsnap-error.h"

static gboolean
read_journal (QsnapJournal *journal)
{
  g_autoptr (GError) error = NULL;
  gboolean good = qsnap_journal_read (journal, fuzz_folder (), &error);

  g_assert (good == (journal->json != NULL));
  if (!good)
    g_assert (g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_CORRUPT) ||
              g_error_matches (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED));

  return good;
}

static void
try_journal (const guint8 *data, gsize size)
{
  QsnapJournal journal = { 0 };
  QsnapJournal again = { 0 };

  fuzz_folder_write (QSNAP_JOURNAL_FILE, data, size);
  if (read_journal (&journal))
    {
      qsnap_journal_flag (&journal, QSNAP_JOURNAL_UNDOING);
      qsnap_journal_let_go (&journal);
      g_assert (qsnap_journal_step (&journal, "sealing", NULL));
      g_assert (read_journal (&again));
      g_assert (qsnap_json_get_bool (again.json, QSNAP_JOURNAL_UNDOING, FALSE));
    }
  qsnap_journal_clear (&journal);
  qsnap_journal_clear (&again);
}

static void
try_record (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) record = NULL;

  fuzz_folder_write (QSNAP_REVERT_RECORD, data, size);
  record = qsnap_revert_record_read (fuzz_folder (), &error);
  g_assert ((record == NULL) == (error != NULL));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  try_journal (data, size);
  try_record (data, size);

  return 0;
}
