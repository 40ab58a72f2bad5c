/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: prune. */

#include "qsnap-tool.h"

typedef struct
{
  Options *options;
  QsnapSession *session;
  GCancellable *cancellable;
  JsonArray *kept;
  JsonArray *deleted;
  JsonArray *failed;
} Pruning;

static QsnapRetention *
retention_of (Options *options)
{
  QsnapRetention *retention = qsnap_retention_new ();

  for (int period = 0; period <= QSNAP_PERIOD_YEARLY; period++)
    qsnap_retention_set_keep (retention, (QsnapPeriod)period,
                              (guint)MAX (options->keep[period], 0));

  return retention;
}

static gboolean
has_rules (Options *options)
{
  for (int period = 0; period <= QSNAP_PERIOD_YEARLY; period++)
    if (options->keep[period] > 0)
      return TRUE;

  return FALSE;
}

static void
note (JsonArray *array, QsnapSnapshot *snapshot, const char *what, const char *text)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "name", qsnap_snapshot_get_name (snapshot));
  json_object_set_string_member (object, "directory",
                                 g_file_peek_path (qsnap_snapshot_get_directory (snapshot)));
  if (what != NULL)
    json_object_set_string_member (object, what, text);
  json_array_add_object_element (array, object);
}

static void
tell (Pruning *pruning, QsnapSnapshot *snapshot, const char *what, const char *why)
{
  g_autofree char *time = time_text (snapshot, "%F %T");

  if (!pruning->options->json && !pruning->options->quiet)
    g_print ("%-6s %s  %s%s%s%s\n", what, time, qsnap_snapshot_get_name (snapshot),
             *why != '\0' ? "  (" : "", why, *why != '\0' ? ")" : "");
}

/* Loaded again: its images may be others since an earlier one was deleted. */
static void
delete_it (Pruning *pruning, QsnapSnapshot *old)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot =
      qsnap_snapshot_load (qsnap_snapshot_get_directory (old), NULL, &error);

  if (snapshot != NULL &&
      delete_snapshot (pruning->options, pruning->session, snapshot, pruning->cancellable, &error))
    {
      note (pruning->deleted, old, NULL, NULL);
      tell (pruning, old, "delete", "");
      return;
    }

  note (pruning->failed, old, "problem", error->message);
  g_printerr ("qsnap: %s is left: %s\n", qsnap_snapshot_get_name (old), error->message);
}

static void
prune (Pruning *pruning, GListModel *list, GStrv reasons)
{
  for (guint i = 0; reasons[i] != NULL; i++)
    {
      g_autoptr (QsnapSnapshot) snapshot = g_list_model_get_item (list, i);

      if (*reasons[i] != '\0')
        {
          note (pruning->kept, snapshot, "reasons", reasons[i]);
          tell (pruning, snapshot, "keep", reasons[i]);
        }
      else if (pruning->options->dry_run)
        {
          note (pruning->deleted, snapshot, NULL, NULL);
          tell (pruning, snapshot, "delete", "not now: --dry-run");
        }
      else if (!g_cancellable_is_cancelled (pruning->cancellable))
        delete_it (pruning, snapshot);
    }
}

static int
report (Pruning *pruning)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *object = json_object_new ();
  guint n_failed = json_array_get_length (pruning->failed);

  json_object_set_boolean_member (object, "dry-run", pruning->options->dry_run);
  json_object_set_array_member (object, "kept", pruning->kept);
  json_object_set_array_member (object, "deleted", pruning->deleted);
  json_object_set_array_member (object, "failed", pruning->failed);
  json_node_take_object (node, object);
  if (pruning->options->json)
    print_json (node);

  return n_failed > 0 || g_cancellable_is_cancelled (pruning->cancellable) ? EXIT_FAILED : EXIT_OK;
}

int
run_prune (Options *options, char **arguments)
{
  g_autoptr (GFile) parent = g_file_new_for_commandline_arg (arguments[0]);
  g_autoptr (QsnapSession) session = arguments[1] != NULL ? qsnap_session_new (arguments[1]) : NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (QsnapRetention) retention = retention_of (options);
  g_autoptr (GListModel) list = NULL;
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) reasons = NULL;
  Pruning pruning = { options, session, cancellable };

  if (!has_rules (options))
    return usage ("what is to be kept? give at least one --keep-… from 1", "");

  list = qsnap_snapshot_list (parent, NULL, &error);
  if (list == NULL ||
      (session != NULL && !options->dry_run && !qsnap_session_open (session, NULL, &error)))
    return fail (error);

  pruning.kept = json_array_new ();
  pruning.deleted = json_array_new ();
  pruning.failed = json_array_new ();
  reasons = qsnap_retention_explain (retention, list);
  prune (&pruning, list, reasons);

  return report (&pruning);
}
