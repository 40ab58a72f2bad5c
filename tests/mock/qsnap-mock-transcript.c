/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the client sent, for assertions. */

#include "qsnap-mock-private.h"

typedef struct
{
  const char *name;
  guint count;
  JsonObject *arguments;
  GStrv all;
} Query;

static void
dup_transcript (MockQemu *mock, gpointer data)
{
  Query *query = data;
  g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();

  for (guint i = 0; i < mock->transcript->len; i++)
    {
      JsonObject *entry = g_ptr_array_index (mock->transcript, i);
      g_autofree char *arguments =
          mock_object_to_string (json_object_get_object_member (entry, "arguments"));
      g_autofree char *line =
          g_strdup_printf ("%s %s", json_object_get_string_member (entry, "name"), arguments);

      g_strv_builder_add (builder, line);
    }
  query->all = g_strv_builder_end (builder);
}

GStrv
mock_dup_transcript (MockQemu *mock)
{
  Query query = { 0 };

  mock_call (mock, dup_transcript, &query);
  return query.all;
}

static void
clear_transcript (MockQemu *mock, G_GNUC_UNUSED gpointer data)
{
  g_ptr_array_set_size (mock->transcript, 0);
}

void
mock_clear_transcript (MockQemu *mock)
{
  mock_call (mock, clear_transcript, NULL);
}

/* Counts query->name; with query->count set, stops there and takes its arguments. */
static void
find_command (MockQemu *mock, gpointer data)
{
  Query *query = data;
  guint wanted = query->count;

  query->count = 0;
  for (guint i = 0; i < mock->transcript->len; i++)
    {
      JsonObject *entry = g_ptr_array_index (mock->transcript, i);

      if (!g_str_equal (json_object_get_string_member (entry, "name"), query->name))
        continue;
      if (++query->count == wanted)
        {
          g_autofree char *text =
              json_to_string (json_object_get_member (entry, "arguments"), FALSE);
          g_autoptr (JsonNode) copy = json_from_string (text, NULL);

          /* json-glib's references are not for two threads. */
          query->arguments = json_node_dup_object (copy);
          return;
        }
    }
}

guint
mock_count_command (MockQemu *mock, const char *name)
{
  Query query = { .name = name };

  mock_call (mock, find_command, &query);
  return query.count;
}

JsonObject *
mock_dup_arguments (MockQemu *mock, const char *name, guint nth)
{
  Query query = { .name = name, .count = nth };

  mock_call (mock, find_command, &query);
  return query.arguments;
}

static gboolean
command_came (MockQemu *mock, gpointer user_data)
{
  Query *query = user_data;

  return mock_count_command (mock, query->name) >= query->count;
}

gboolean
mock_wait_command (MockQemu *mock, const char *name, guint count, guint milliseconds)
{
  Query query = { .name = name, .count = count };

  return mock_wait (mock, command_came, &query, milliseconds);
}

static void
get_link_numbers (MockQemu *mock, gpointer data)
{
  guint *numbers = data;

  numbers[0] = mock_link_get_n_connections (mock->link);
  numbers[1] = mock_link_get_n_fds (mock->link);
  numbers[2] = mock_link_get_n_stray (mock->link);
}

guint
mock_get_n_connections (MockQemu *mock)
{
  guint numbers[3];

  mock_call (mock, get_link_numbers, numbers);
  return numbers[0];
}

guint
mock_get_n_fds_received (MockQemu *mock)
{
  guint numbers[3];

  mock_call (mock, get_link_numbers, numbers);
  return numbers[1];
}

guint
mock_get_n_fds_stray (MockQemu *mock)
{
  guint numbers[3];

  mock_call (mock, get_link_numbers, numbers);
  return numbers[2];
}
