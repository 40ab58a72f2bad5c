/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Model: descriptors that a client passed, in fdsets and by name. */

#include "qsnap-mock-private.h"

#include <errno.h>
#include <fcntl.h>

typedef struct
{
  int fd;
  char *opaque;
  /* 7.2: remove-fd on a stopped guest only marks it. */
  gboolean removed;
} SetFd;

typedef struct
{
  gint64 id;
  GPtrArray *fds;
  guint n_users;
} FdSet;

struct _MockFds
{
  /* Newest first, as QEMU lists them. */
  GList *sets;
  /* Name to descriptor + 1. */
  GHashTable *named;
};

static void
set_fd_free (gpointer data)
{
  SetFd *set_fd = data;

  mock_clear_fd (&set_fd->fd);
  g_free (set_fd->opaque);
  g_free (set_fd);
}

static void
set_free (gpointer data)
{
  FdSet *set = data;

  g_ptr_array_unref (set->fds);
  g_free (set);
}

static void
close_named (gpointer data)
{
  close (GPOINTER_TO_INT (data) - 1);
}

MockFds *
mock_fds_new (void)
{
  MockFds *fds = g_new0 (MockFds, 1);

  fds->named = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, close_named);
  return fds;
}

void
mock_fds_free (MockFds *fds)
{
  g_list_free_full (fds->sets, set_free);
  g_hash_table_unref (fds->named);
  g_free (fds);
}

static FdSet *
find_set (MockQemu *mock, gint64 id)
{
  for (GList *l = mock->fds->sets; l != NULL; l = l->next)
    {
      FdSet *set = l->data;

      if (set->id == id)
        return set;
    }
  return NULL;
}

/* The lowest number that is free. */
static gint64
free_id (MockQemu *mock)
{
  gint64 id = 0;

  while (find_set (mock, id) != NULL)
    id++;
  return id;
}

static FdSet *
ensure_set (MockQemu *mock, gint64 id)
{
  FdSet *set = id >= 0 ? find_set (mock, id) : NULL;

  if (set == NULL)
    {
      set = g_new0 (FdSet, 1);
      set->id = id >= 0 ? id : free_id (mock);
      set->fds = g_ptr_array_new_with_free_func (set_fd_free);
      mock->fds->sets = g_list_prepend (mock->fds->sets, set);
    }
  return set;
}

static void
drop_set_if_empty (MockQemu *mock, FdSet *set)
{
  if (set->fds->len > 0 || set->n_users > 0)
    return;
  mock->fds->sets = g_list_remove (mock->fds->sets, set);
  set_free (set);
}

/* 7.2 closes nothing while the guest is stopped: what was removed then stays listed until the next
 * occasion. */
static void
clean_set (MockQemu *mock, FdSet *set, gboolean all)
{
  gboolean may_close = mock->style != MOCK_STYLE_7_2 || mock_is_running (mock);

  for (guint i = set->fds->len; i-- > 0;)
    {
      SetFd *set_fd = g_ptr_array_index (set->fds, i);

      if (may_close && (all || set_fd->removed))
        g_ptr_array_remove_index (set->fds, i);
    }
  drop_set_if_empty (mock, set);
}

static gboolean
check_fdset_id (JsonObject *arguments, GError **error)
{
  if (mock_arg_int (arguments, "fdset-id", 0) >= 0)
    return TRUE;
  mock_fail (error, "Parameter 'fdset-id' expects a non-negative value");
  return FALSE;
}

static JsonNode *
add_fd (MockQemu *mock, JsonObject *arguments, GError **error)
{
  int fd = mock_link_take_fd (mock->link);
  JsonNode *result;
  SetFd *set_fd;
  FdSet *set;

  if (fd < 0)
    return mock_fail (error, "No file descriptor supplied via SCM_RIGHTS");
  if (!check_fdset_id (arguments, error))
    {
      close (fd);
      return NULL;
    }
  set = ensure_set (mock, mock_arg_int (arguments, "fdset-id", -1));
  set_fd = g_new0 (SetFd, 1);
  set_fd->fd = fd;
  set_fd->opaque = g_strdup (mock_arg_string (arguments, "opaque"));
  g_ptr_array_add (set->fds, set_fd);
  result = mock_empty ();
  json_object_set_int_member (json_node_get_object (result), "fd", fd);
  json_object_set_int_member (json_node_get_object (result), "fdset-id", set->id);
  return result;
}

static JsonNode *
remove_fd (MockQemu *mock, JsonObject *arguments, GError **error)
{
  gint64 id = mock_arg_int (arguments, "fdset-id", -1);
  gint64 wanted = mock_arg_int (arguments, "fd", -1);
  FdSet *set = find_set (mock, id);
  gboolean found = FALSE;

  for (guint i = 0; set != NULL && i < set->fds->len; i++)
    {
      SetFd *set_fd = g_ptr_array_index (set->fds, i);

      if (wanted < 0 || set_fd->fd == wanted)
        found = set_fd->removed = TRUE;
    }
  if (!found && wanted >= 0)
    return mock_fail (error,
                      "File descriptor named 'fdset-id:%" G_GINT64_FORMAT ", fd:%" G_GINT64_FORMAT
                      "' not found",
                      id, wanted);
  if (!found && set == NULL)
    return mock_fail (error, "File descriptor named 'fdset-id:%" G_GINT64_FORMAT "' not found", id);
  clean_set (mock, set, FALSE);
  return mock_empty ();
}

static JsonObject *
describe_set (FdSet *set)
{
  JsonObject *object = json_object_new ();
  JsonArray *fds = json_array_new ();

  for (guint i = 0; i < set->fds->len; i++)
    {
      SetFd *set_fd = g_ptr_array_index (set->fds, i);
      JsonObject *entry = json_object_new ();

      json_object_set_int_member (entry, "fd", set_fd->fd);
      if (set_fd->opaque != NULL)
        json_object_set_string_member (entry, "opaque", set_fd->opaque);
      json_array_add_object_element (fds, entry);
    }
  json_object_set_array_member (object, "fds", fds);
  json_object_set_int_member (object, "fdset-id", set->id);
  return object;
}

static JsonNode *
query_fdsets (MockQemu *mock, G_GNUC_UNUSED JsonObject *arguments, G_GNUC_UNUSED GError **error)
{
  JsonNode *result = mock_json ("[]");

  for (GList *l = mock->fds->sets; l != NULL; l = l->next)
    json_array_add_object_element (json_node_get_array (result), describe_set (l->data));
  return result;
}

static JsonNode *
get_fd (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *name = mock_arg_string (arguments, "fdname");
  int fd = mock_link_take_fd (mock->link);

  if (fd < 0)
    return mock_fail (error, "No file descriptor supplied via SCM_RIGHTS");
  if (g_ascii_isdigit (name[0]))
    {
      close (fd);
      return mock_fail (error, "Parameter 'fdname' expects a name not starting with a digit");
    }
  g_hash_table_replace (mock->fds->named, g_strdup (name), GINT_TO_POINTER (fd + 1));
  return mock_empty ();
}

static JsonNode *
close_fd (MockQemu *mock, JsonObject *arguments, GError **error)
{
  const char *name = mock_arg_string (arguments, "fdname");

  if (!g_hash_table_remove (mock->fds->named, name))
    return mock_fail (error, "File descriptor named '%s' not found", name);
  return mock_empty ();
}

const MockCommand mock_fds_commands[] = {
  { "add-fd", add_fd }, { "remove-fd", remove_fd }, { "query-fdsets", query_fdsets },
  { "getfd", get_fd },  { "closefd", close_fd },    { NULL, NULL },
};

int
mock_fds_take_named (MockQemu *mock, const char *name)
{
  gpointer key, value;

  if (!g_hash_table_steal_extended (mock->fds->named, name, &key, &value))
    return -1;
  g_free (key);
  return GPOINTER_TO_INT (value) - 1;
}

/* A duplicate of the set's first descriptor for reading and writing; counts as a user of the set.
 */
int
mock_fds_dup_from_set (MockQemu *mock, gint64 id, GError **error)
{
  FdSet *set = find_set (mock, id);

  for (guint i = 0; set != NULL && i < set->fds->len; i++)
    {
      SetFd *set_fd = g_ptr_array_index (set->fds, i);

      if (!set_fd->removed && (fcntl (set_fd->fd, F_GETFL) & O_ACCMODE) == O_RDWR)
        {
          set->n_users++;
          return fcntl (set_fd->fd, F_DUPFD_CLOEXEC, 0);
        }
    }
  if (set == NULL && mock->style == MOCK_STYLE_10)
    mock_fail (error, "Failed to find fdset /dev/fdset/%" G_GINT64_FORMAT, id);
  else
    mock_fail (error, "Could not dup FD for /dev/fdset/%" G_GINT64_FORMAT " flags 2: %s", id,
               g_strerror (set == NULL ? ENOENT : EACCES));
  return -1;
}

void
mock_fds_user_gone (MockQemu *mock, gint64 id)
{
  FdSet *set = find_set (mock, id);

  g_return_if_fail (set != NULL && set->n_users > 0);
  if (--set->n_users == 0)
    clean_set (mock, set, FALSE);
}

/* 7.2 forgets the sets that nobody uses when the monitor's client leaves; 10 keeps them. */
void
mock_fds_client_gone (MockQemu *mock)
{
  GList *next;

  if (mock->style != MOCK_STYLE_7_2)
    return;
  for (GList *l = mock->fds->sets; l != NULL; l = next)
    {
      FdSet *set = l->data;

      next = l->next;
      clean_set (mock, set, set->n_users == 0);
    }
}

typedef struct
{
  guint sets, fds, named;
} FdNumbers;

static void
count_fds (MockQemu *mock, gpointer data)
{
  FdNumbers *numbers = data;

  numbers->sets = g_list_length (mock->fds->sets);
  numbers->named = g_hash_table_size (mock->fds->named);
  for (GList *l = mock->fds->sets; l != NULL; l = l->next)
    numbers->fds += ((FdSet *)l->data)->fds->len;
}

guint
mock_get_n_fdsets (MockQemu *mock)
{
  FdNumbers numbers = { 0 };

  mock_call (mock, count_fds, &numbers);
  return numbers.sets;
}

guint
mock_get_n_fdset_fds (MockQemu *mock)
{
  FdNumbers numbers = { 0 };

  mock_call (mock, count_fds, &numbers);
  return numbers.fds;
}

guint
mock_get_n_named_fds (MockQemu *mock)
{
  FdNumbers numbers = { 0 };

  mock_call (mock, count_fds, &numbers);
  return numbers.named;
}
