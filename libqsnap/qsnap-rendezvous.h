/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* Where several threads meet: all of them go on from there, or none. The first failure of anyone,
 * wherever that one is, is what all others get, at this meeting or at their next one. */

typedef struct _QsnapRendezvous QsnapRendezvous;

/* Run by the last one who comes, before anyone goes on; where it fails nobody does. */
typedef gboolean (*QsnapRendezvousFunc) (gpointer data, GError **error);

/* One for each of @names, which errors call "guest NAME". */
QsnapRendezvous *qsnap_rendezvous_new (const char *const *names);
void qsnap_rendezvous_free (QsnapRendezvous *rendezvous);

/* Cancelled by the first failure, for those who are not at a meeting. */
GCancellable *qsnap_rendezvous_get_cancellable (QsnapRendezvous *rendezvous);

/* What comes after the first failure is dropped. @who: G_MAXUINT: none of them. */
void qsnap_rendezvous_fail (QsnapRendezvous *rendezvous, guint who, const GError *error);
/* From here on @cancellable (may be NULL) fails all; ended by g_cancellable_disconnect(). */
gulong qsnap_rendezvous_follow (QsnapRendezvous *rendezvous, GCancellable *cancellable);
/* NULL: nobody has failed. */
GError *qsnap_rendezvous_dup_error (QsnapRendezvous *rendezvous);

/* Waits for all others. @timeout_ms: who waits for longer fails all, with QSNAP_ERROR_TIMED_OUT and
 * the names of those who did not come, who had to @what; 0: there is no limit. @last may be NULL.
 */
gboolean qsnap_rendezvous_meet (QsnapRendezvous *rendezvous,
                                guint who,
                                const char *what,
                                gint timeout_ms,
                                QsnapRendezvousFunc last,
                                gpointer data,
                                GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapRendezvous, qsnap_rendezvous_free)

G_END_DECLS
