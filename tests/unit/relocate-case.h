/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot by hand, of disks only, whose images were somewhere else, and the folder that they may
 * be in now. */

#pragma once

#include <json-glib/json-glib.h>
#include <qsnap/qsnap.h>

G_BEGIN_DECLS

typedef struct
{
  char *folder;
  /* "snapshot" in it. */
  char *directory;
  QsnapSnapshot *snapshot;
} Moved;

/* Disks of a manifest: virtio0 and virtio1 with overlays; one in each other way. */
extern const char moved_two_disks[];
extern const char moved_other_modes[];

/* In @disks a ' stands for ", and @ for the folder. */
void moved_set_up (Moved *moved, const char *disks);
void moved_clear (Moved *moved);
/* Another one. */
void moved_write (Moved *moved, const char *name, const char *id, const char *disks);
QsnapSnapshot *moved_load (Moved *moved, const char *name);

/* In the folder. */
char *moved_path (Moved *moved, const char *name);
void moved_run (Moved *moved, const char *first, ...) G_GNUC_NULL_TERMINATED;
/* Of 1 MiB, or as large as @backing. */
void moved_make_image (Moved *moved, const char *name, const char *format, const char *backing);
/* a.qcow2 on t.raw, and b.raw. */
void moved_make_images (Moved *moved);

/* "DRIVE=NAME", of a file in the folder, with its path. */
char *moved_word (Moved *moved, const char *word);
gboolean moved_relocate (Moved *moved, const char *const *words, GError **error);
void moved_relocate_well (Moved *moved, const char *first, const char *second);

/* As another program finds it. */
JsonObject *moved_read_disk (Moved *moved, guint index);
/* Names in the folder without it, with a space between them. */
void
moved_assert_strings (Moved *moved, JsonObject *base, const char *member, const char *expected);
void moved_assert_base (
    Moved *moved, guint index, const char *name, const char *chain, const char *merged);
void moved_assert_good (Moved *moved, const char *drive);

G_END_DECLS
