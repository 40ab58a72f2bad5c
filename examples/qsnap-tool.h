/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the parts of the qsnap command share. */

#pragma once

#include <qsnap/qsnap.h>

enum
{
  EXIT_OK = 0,
  EXIT_FAILED = 1,
  EXIT_USAGE = 2
};

typedef struct
{
  gboolean json;
  gboolean quiet;
  /* check, snapshot */
  int timeout_ms;
  /* snapshot */
  gboolean allow_managed;
  char *name;
  char *description;
  GStrv metadata;
  char *overlay_directory;
  int max_pause_ms;
  int max_stall_ms;
  char *mode;
  char *fallback;
  char *disk_mode;
  GStrv disks;
  char *leave;
  char *quiesce;
  char *compression;
  gboolean huge_pages;
  int max_chain_length;
  gboolean share_pages;
  /* revert, clone */
  char *method;
  char *directory;
  char *program;
  gboolean paused;
  gboolean wait;
  gboolean verify;
  int number;
  /* prune: by QsnapPeriod */
  int keep[QSNAP_PERIOD_YEARLY + 1];
  gboolean dry_run;
  /* list */
  gboolean orphans;
} Options;

/* Each prints what there is to say and answers the exit status. */
int fail (const GError *error);
int usage (const char *problem, const char *what);
int print_json (JsonNode *node);

/* On a terminal only. */
void show_bar (Options *options, const char *what, guint64 done, guint64 total);
void clear_bar (void);

/* Iterates until somebody quits it; what ends a program cancels meanwhile. */
void run_loop (GMainLoop *loop, GCancellable *cancellable);
/* For people. */
char *size_text (guint64 bytes);
char *time_text (QsnapSnapshot *snapshot, const char *format);

void print_strings (GStrv strings, const char *prefix);
JsonNode *strings_to_json (GStrv strings);
void print_summary (QsnapSnapshot *snapshot);
void print_about (QsnapSnapshot *snapshot);
/* KEY=VALUE…, over what is there @before. */
GVariant *metadata_from_words (GVariant *before, GStrv words, GError **error);
JsonNode *snapshot_to_json (QsnapSnapshot *snapshot);
QsnapSnapshot *load_snapshot (const char *directory, GError **error);
QsnapSession *new_session (Options *options, const char *address);

/* @sessions: guests that were brought back. */
int print_guests (Options *options, GPtrArray *sessions);
gboolean wait_until_settled (GPtrArray *sessions, GError **error);
int print_undone (Options *options, const char *directory);

/* Those in a folder, after its snapshots. */
void print_groups (GFile *parent);
void add_groups_to_json (GFile *parent, JsonArray *array);
/* Whether @directory is that of a group; what the commands do with one. */
gboolean is_group (const char *directory);
int run_group_snapshot (Options *options, char **addresses, guint n, const char *directory);
int run_group_show (Options *options, const char *directory);
gboolean verify_group (const char *directory, GError **error);
int run_group_revert (Options *options, const char *directory, QsnapRestoreOptions *wanted);
int run_group_recover (Options *options, const char *directory);
int run_group_delete (Options *options, const char *directory, char **addresses);

/* FALSE for a nick that is none of the enumeration. */
gboolean find_nick (GType type, const char *nick, int *value);

/* NULL, with the error, for what cannot be understood. */
QsnapSnapshotOptions *snapshot_options (Options *options, const char *directory, GError **error);

int run_list (Options *options, char **arguments);
int run_describe (Options *options, char **arguments);
int run_import (Options *options, char **arguments);
/* Shows how far it is; a signal cancels @cancellable. @session may be NULL: its guest does not run. */
gboolean delete_snapshot (Options *options, QsnapSession *session, QsnapSnapshot *snapshot,
                          GCancellable *cancellable, GError **error);

int run_prune (Options *options, char **arguments);
int run_delete (Options *options, char **arguments);
int run_revert (Options *options, char **arguments);
int run_clone (Options *options, char **arguments);
int run_recover (Options *options, char **arguments);
int run_quit (Options *options, char **arguments);
