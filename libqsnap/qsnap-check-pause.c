/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include <string.h>

#include "qsnap-check.h"
#include "qsnap-huge-pages.h"
#include "qsnap-json.h"
#include "qsnap-manifest-disk.h"
#include "qsnap-pause-model.h"
#include "qsnap-ram.h"
#include "qsnap-snapshot-private.h"

/* What is to be expected of the pause. A capture does not ask for it: looking at all page tables
 * would only make it later. */

/* What is not worth a word. */
#define FEW_BYTES (64 * 1024 * 1024)

/* --- RAM ----------------------------------------------------------------------------------- */

/* What an earlier capture has read of it is split as what the guest uses is; the kernel does not
 * count it. */
static void
add_with_huge_pages (QsnapPauseRam *sum, const QsnapRamMapping *mapping, guint64 untouched)
{
  guint64 huge = MIN (mapping->huge, mapping->resident);
  guint64 small = mapping->resident - huge;
  guint64 split = mapping->resident > 0
                      ? (guint64)((double)untouched * (double)small / (double)mapping->resident)
                      : 0;

  sum->huge += huge;
  sum->small += small;
  sum->untouched_split += split;
  sum->untouched += untouched - split;
}

static void
add_mapping (QsnapPauseRam *sum, const QsnapRamMapping *mapping)
{
  guint64 size = mapping->end - mapping->start;
  guint64 untouched = size - MIN (size, mapping->resident);

  if (mapping->hugetlb)
    sum->hugetlb += size;
  else if (mapping->shared)
    {
      sum->shared += size - untouched;
      sum->shared_untouched += untouched;
    }
  else if (mapping->anonymous && mapping->eligible)
    add_with_huge_pages (sum, mapping, untouched);
  else
    {
      sum->small += size - untouched;
      sum->untouched_small += untouched;
    }
}

void
qsnap_check_sum_up_ram (GArray *ram, QsnapPauseRam *sum)
{
  memset (sum, 0, sizeof *sum);
  for (guint i = 0; i < ram->len; i++)
    add_mapping (sum, &g_array_index (ram, QsnapRamMapping, i));
}

/* --- history ------------------------------------------------------------------------------- */

/* Whether the guest wrote to *@file from this snapshot on; it came to it from the file that is
 * there then. */
static gboolean
leads_to (JsonObject *manifest, char **file)
{
  JsonArray *disks = qsnap_json_get_array (manifest, "disks");

  for (guint i = 0; disks != NULL && i < json_array_get_length (disks); i++)
    {
      JsonObject *disk = qsnap_json_array_object (disks, i);
      const char *source = qsnap_json_get_string (qsnap_manifest_disk_source (disk), "file");

      if (source == NULL || g_strcmp0 (qsnap_manifest_disk_goes_on_in (disk), *file) != 0)
        continue;

      g_free (*file);
      *file = g_strdup (source);
      return TRUE;
    }

  return FALSE;
}

static gboolean
was_like (QsnapSnapshot *snapshot, QsnapGuest *guest)
{
  g_autofree char *version = qsnap_snapshot_dup_qemu_version (snapshot);

  return qsnap_snapshot_get_mode (snapshot) == guest->mode &&
         g_strcmp0 (version, guest->version) == 0 && qsnap_snapshot_get_pause_us (snapshot) > 0;
}

static const char *
first_file (QsnapGuest *guest)
{
  for (guint i = 0; i < guest->drives->len; i++)
    {
      const QsnapDrive *drive = g_ptr_array_index (guest->drives, i);

      if (drive->file != NULL)
        return drive->file;
    }

  return NULL;
}

/* The guest's way back through the snapshots beside the one that is to be: each of them leads to
 * the image that the guest was on at the next. */
static void
read_history (QsnapGuest *guest, QsnapSnapshotOptions *options, GArray *pauses)
{
  GFile *directory = options != NULL ? qsnap_snapshot_options_get_directory (options) : NULL;
  g_autoptr (GFile) parent = directory != NULL ? g_file_get_parent (directory) : NULL;
  g_autoptr (GListModel) list = parent != NULL ? qsnap_snapshot_list (parent, NULL, NULL) : NULL;
  g_autofree char *file = g_strdup (first_file (guest));

  for (guint i = list != NULL && file != NULL ? g_list_model_get_n_items (list) : 0; i > 0; i--)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (list, i - 1);
      g_autoptr (JsonObject) manifest = qsnap_snapshot_copy_manifest (snapshot);
      gint64 pause = qsnap_snapshot_get_pause_us (snapshot);

      if (leads_to (manifest, &file) && was_like (snapshot, guest))
        g_array_prepend_val (pauses, pause);
    }
}

/* --- all of it ----------------------------------------------------------------------------- */

static void
warn_of_untouched (const QsnapPauseFacts *facts, QsnapReport *report)
{
  g_autofree char *size = g_format_size_full (facts->ram.shared_untouched, G_FORMAT_SIZE_IEC_UNITS);

  if (facts->ram.shared_untouched >= FEW_BYTES)
    qsnap_report_add_warning (
        report,
        "%s of the guest's shared memory were not touched yet: QEMU allocates them when the guest "
        "is captured, which takes about %.1f s%s",
        size, (double)qsnap_pause_of_allocation (facts->ram.shared_untouched) / G_USEC_PER_SEC,
        facts->gated ? ", before its pause" : " of its pause");
}

static void
warn_of_limit (gint64 pause, QsnapSnapshotOptions *options, QsnapReport *report)
{
  guint limit = options != NULL ? qsnap_snapshot_options_get_max_pause_ms (options) : 0;

  if (limit > 0 && pause > (gint64)limit * 1000)
    qsnap_report_add_warning (report,
                              "a pause of about %.1f ms is to be expected, and max-pause-ms allows "
                              "%u ms",
                              (double)pause / 1000, limit);
}

/* FALSE: nothing is known of the guest's RAM. */
static gboolean
look_at_ram (QsnapGuest *guest, QsnapPauseFacts *facts, QsnapReport *report)
{
  g_autoptr (GArray) ram = qsnap_ram_read (guest->process, NULL);
  g_autoptr (GError) failure = NULL;

  if (ram == NULL || ram->len == 0)
    return FALSE;

  if (guest->gets_huge_pages && !qsnap_huge_pages_fit (ram, &failure))
    qsnap_report_add_warning (report, "the guest's huge pages cannot be given back: %s",
                              failure->message);
  qsnap_check_sum_up_ram (ram, &facts->ram);
  warn_of_untouched (facts, report);

  return TRUE;
}

/* How long the others stop the guest depends on what it writes, or on the disk. */
static gboolean
has_short_pause (QsnapGuest *guest)
{
  return (guest->mode == QSNAP_SNAPSHOT_MODE_INSTANT ||
          guest->mode == QSNAP_SNAPSHOT_MODE_DISKS_ONLY) &&
         qsnap_guest_goes_on (guest);
}

void
qsnap_check_pause (QsnapGuest *guest,
                   QsnapSnapshotOptions *options,
                   GArray *pauses,
                   QsnapReport *report)
{
  g_autoptr (GArray) history = g_array_new (FALSE, FALSE, sizeof (gint64));
  QsnapPauseFacts facts = { .has_memory = guest->mode != QSNAP_SNAPSHOT_MODE_DISKS_ONLY,
                            .gated = qsnap_guest_has_gate (guest),
                            .history = history };
  gint64 pause;

  if (!guest->was_running)
    qsnap_report_set_predicted_pause_us (report, 0);
  if (!has_short_pause (guest) || (facts.has_memory && !look_at_ram (guest, &facts, report)))
    return;

  read_history (guest, options, history);
  if (facts.has_memory && pauses->len > history->len)
    facts.history = pauses;
  pause = qsnap_pause_predict (&facts);
  qsnap_report_set_predicted_pause_us (report, pause);
  warn_of_limit (pause, options, report);
}
