/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The qsnap command: recover. */

#include "qsnap-tool.h"

int
print_undone (Options *options, const char *directory)
{
  if (options->json)
    g_print ("{\"sealed\": false}\n");
  else if (!options->quiet)
    g_print ("the capture into %s was undone\n", directory);

  return EXIT_OK;
}

static int
recover_snapshot (Options *options, char **arguments)
{
  const char *address = arguments[1] != NULL ? arguments[0] : NULL;
  const char *directory = arguments[1] != NULL ? arguments[1] : arguments[0];
  g_autoptr (GFile) file = g_file_new_for_commandline_arg (directory);
  g_autoptr (QsnapSession) session = qsnap_session_new (address);
  g_autoptr (GError) error = NULL;
  g_autoptr (QsnapSnapshot) snapshot = qsnap_session_recover (session, file, NULL, &error);

  if (error != NULL)
    return fail (error);
  if (snapshot == NULL)
    return print_undone (options, directory);

  if (options->json)
    {
      g_autoptr (JsonNode) node = snapshot_to_json (snapshot);

      json_object_set_boolean_member (json_node_get_object (node), "sealed", TRUE);
      return print_json (node);
    }

  if (!options->quiet)
    print_summary (snapshot);

  return EXIT_OK;
}

/* Where the guests of a group are, their journals say. */
int
run_recover (Options *options, char **arguments)
{
  if (arguments[1] == NULL && is_group (arguments[0]))
    return run_group_recover (options, arguments[0]);

  return recover_snapshot (options, arguments);
}
