/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "config.h"

#include "memory/qsnap-page-map.h"

#define BITS 64

struct _QsnapPageMap
{
  guint64 n_pages;
  guint64 n_left;
  /* A bit a page; those behind the last page are set. */
  guint64 *taken;
};

QsnapPageMap *
qsnap_page_map_new (guint64 n_pages)
{
  QsnapPageMap *map = g_new0 (QsnapPageMap, 1);

  map->n_pages = n_pages;
  map->n_left = n_pages;
  map->taken = g_new0 (guint64, n_pages / BITS + 1);
  map->taken[n_pages / BITS] = G_MAXUINT64 << n_pages % BITS;

  return map;
}

void
qsnap_page_map_free (QsnapPageMap *map)
{
  g_free (map->taken);
  g_free (map);
}

guint64
qsnap_page_map_get_n_pages (QsnapPageMap *map)
{
  return map->n_pages;
}

guint64
qsnap_page_map_get_n_left (QsnapPageMap *map)
{
  return map->n_left;
}

gboolean
qsnap_page_map_is_taken (QsnapPageMap *map, guint64 page)
{
  return (map->taken[page / BITS] >> page % BITS & 1) != 0;
}

gboolean
qsnap_page_map_take (QsnapPageMap *map, guint64 page)
{
  if (qsnap_page_map_is_taken (map, page))
    return FALSE;

  map->taken[page / BITS] |= G_GUINT64_CONSTANT (1) << page % BITS;
  map->n_left--;

  return TRUE;
}

guint64
qsnap_page_map_find_left (QsnapPageMap *map, guint64 page)
{
  guint64 left;

  if (page >= map->n_pages)
    return map->n_pages;

  /* Those before @page are no answer. */
  left = ~map->taken[page / BITS] & G_MAXUINT64 << page % BITS;
  page -= page % BITS;
  while (left == 0)
    {
      page += BITS;
      if (page >= map->n_pages)
        return map->n_pages;
      left = ~map->taken[page / BITS];
    }

  return page + (guint64)__builtin_ctzll (left);
}
