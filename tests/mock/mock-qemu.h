/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program that is started like QEMU: the mock, with a command line and a guest's memory. */

#pragma once

#include "qsnap-mock-qemu.h"

G_BEGIN_DECLS

/* --- report: a line "PID KEY VALUE" for each thing that happened, in $QSNAP_MOCK_REPORT --- */

void report (const char *key, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Prints it as QEMU prints its errors. */
void complain (const char *format, ...) G_GNUC_PRINTF (1, 2);

/* --- faults: words in $QSNAP_MOCK_FAULT, separated by commas --- */

/* Whether @fault is among those of this process; "probe:FAULT" is one of the program that is asked
 * for its abilities, all others are those of one with a guest. */
gboolean fault_is_set (const char *fault);
/* What follows "@prefix:", for each fault that begins so. */
GStrv fault_dup_all (const char *prefix);
void fault_set_probe (gboolean is_probe);

/* --- command line --- */

/* The value of @key in "first,key=value,…"; a key without value is "on". NULL if it is not there.
 */
char *option_dup (const char *text, const char *key);
/* What stands first, or @key's value if it has a name. */
char *option_dup_first (const char *text, const char *key);
/* "24", "24M" … in bytes; 0 for nonsense. */
guint64 option_size (const char *text, guint64 default_unit);

/* --- memory --- */

typedef struct _Memory Memory;

/* Maps what the -object options of @argv say; NULL after an error, which was printed. */
Memory *memory_new (MockQemu *mock, char **argv);
void memory_free (Memory *memory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Memory, memory_free)
/* A MockLoadFunc, with @user_data a Memory. */
char *memory_load (MockQemu *mock, int fd, gpointer user_data);
/* The guest writes to its memory. */
void memory_touch (Memory *memory);
/* For a stream that memory_load() does not read itself; 0: there is no such block. */
guint64 memory_get_length (Memory *memory, const char *block);
/* @data is NULL for zeros. */
void memory_put_page (Memory *memory, const char *block, guint64 offset, const guint8 *data);

/* --- the second monitor --- */

typedef struct _Rescue Rescue;
typedef gboolean (*RescueStop) (gpointer user_data);

Rescue *rescue_new (const char *path);
/* The stream is lost: waits for migrate-recover, and for a connection; -1: @stop has answered TRUE.
 */
int rescue_wait_stream (Rescue *rescue, RescueStop stop, gpointer user_data);

/* --- postcopy --- */

/* With that capability memory_load() is this. @rescue is NULL where there is no second monitor. */
void memory_set_rescue (Memory *memory, Rescue *rescue, gboolean stays_paused);
char *postcopy_load (MockQemu *mock, int fd, Memory *memory, Rescue *rescue, gboolean stays_paused);

G_END_DECLS
