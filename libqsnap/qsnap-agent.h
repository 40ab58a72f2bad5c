/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* The QEMU guest agent, as far as freezing the guest's file systems goes. It runs in the guest, so
 * nothing that comes from it is trusted: every wait and every answer is bounded. A guest that is
 * paused has no agent: it is asked before the pause and after it.
 *
 * Everything is synchronous, and of one thread. No main context is iterated. */

typedef struct _QsnapAgent QsnapAgent;

/* @address: of the socket of the agent's chardev, as qsnap_address_parse() takes it. */
QsnapAgent *qsnap_agent_new (const char *address);
void qsnap_agent_free (QsnapAgent *agent);

/* How many file systems are frozen is in @n_frozen, which may be 0. QSNAP_ERROR_BUSY if somebody
 * else has frozen them; QSNAP_QMP_ERROR is the agent's own error; QSNAP_ERROR_TIMED_OUT most often
 * means that no agent runs.
 *
 * The connection is kept until the thaw: QEMU serves one at a time, so no one comes between. After
 * an error nothing is frozen, or it is QSNAP_ERROR_ROLLBACK_FAILED. */
gboolean
qsnap_agent_freeze (QsnapAgent *agent, guint *n_frozen, GCancellable *cancellable, GError **error);

/* Tries anew for half a minute, over new connections if it has to. File systems that are not frozen
 * are a success. An agent whose qsnap_agent_freeze() froze nothing, or that has thawed, does
 * nothing: others may freeze. One that was not asked to freeze thaws whatever is frozen: it is for
 * who comes after a process that died. */
gboolean qsnap_agent_thaw (QsnapAgent *agent, GError **error);

/* For tests: until the answer to the freeze, until any other, and for how long a thaw is tried
 * anew. */
void qsnap_agent_set_timeouts (QsnapAgent *agent, guint freeze_ms, guint answer_ms, guint thaw_ms);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapAgent, qsnap_agent_free)

G_END_DECLS
