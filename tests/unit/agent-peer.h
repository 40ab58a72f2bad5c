/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

#include "qsnap-agent.h"

G_BEGIN_DECLS

/* A guest agent in a thread, that does one thing or another wrong, and keeps a list of what it
 * sees: "connect", "ff" (the delimiter), commands, "end" of the client's or "hangup" of its own. */

typedef enum
{
  AGENT_ANSWER_INSTEAD, /* @text */
  AGENT_ANSWER_BEFORE,  /* @text, and then what it should */
  AGENT_ANSWER_IN_PIECES,
  AGENT_BE_SILENT,
  AGENT_HANG_UP,
  AGENT_GO_AWAY, /* for a while */
  AGENT_TRICKLE, /* until the client goes */
  AGENT_FLOOD,
  AGENT_CANCEL /* the client, and be silent */
} AgentDeed;

/* What is asked for is done all the same, only the answer is not what it should be. */
typedef struct
{
  const char *command;
  guint nth; /* counted from 1, or 0 for always */
  AgentDeed deed;
  const char *text;
} AgentFault;

typedef enum
{
  AGENT_SYNC,
  AGENT_STATUS,
  AGENT_FREEZE,
  AGENT_THAW,
  N_AGENT_COMMANDS
} AgentCommand;

#define N_FILE_SYSTEMS 2

typedef struct
{
  char *folder, *path;
  const AgentFault *faults;
  GCancellable *cancellable;
  GThread *thread;

  /* Of its thread, until that has ended. */
  GSocket *listener;
  GString *log;
  guint counts[N_AGENT_COMMANDS];
  gboolean frozen;
} AgentPeer;

/* @faults end with a NULL command, or are NULL. */
void agent_peer_start (AgentPeer *peer, const AgentFault *faults);

/* Frees @agent, if there is one, before, so that its connection has ended. @expected is a pattern
 * of the list; nothing is to be left frozen. */
void agent_peer_finish (AgentPeer *peer, QsnapAgent *agent, const char *expected);

G_END_DECLS
