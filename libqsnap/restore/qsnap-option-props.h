/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* The value of an option as a list of properties: "key=value,flag,a.b=c" with ",," for a comma, or
 * JSON. Keys are dotted in both. What is not touched is printed word for word. */
typedef struct _QsnapProps QsnapProps;

/* @implied_key is the key of a first value that has none, or NULL. Fails only for bad JSON. */
QsnapProps *qsnap_props_parse (const char *text, const char *implied_key, GError **error);
void qsnap_props_free (QsnapProps *props);
char *qsnap_props_to_text (QsnapProps *props);

/* Whether there is @key, or anything below it. */
gboolean qsnap_props_has (QsnapProps *props, const char *key);
/* The first of @keys that is there, or NULL. */
const char *qsnap_props_find (QsnapProps *props, const char *const *keys);

/* NULL: it is not there, or it is neither a string nor a number nor a boolean ("on", "off"). Of a
 * key that is given twice QEMU takes the last. */
const char *qsnap_props_get (QsnapProps *props, const char *key);
gboolean qsnap_props_get_bool (QsnapProps *props, const char *key, gboolean otherwise);
/* Whether any of the values is @name, in lists too, but for those of "id" and "node-name". */
gboolean qsnap_props_refer_to (QsnapProps *props, const char *name);

/* In the place where the key is, else at the end. */
void qsnap_props_set (QsnapProps *props, const char *key, const char *value);
void qsnap_props_set_bool (QsnapProps *props, const char *key, gboolean value);
void qsnap_props_rename (QsnapProps *props, const char *key, const char *new_key);

/* With what is below it. */
void qsnap_props_remove (QsnapProps *props, const char *key);
void qsnap_props_remove_all (QsnapProps *props, const char *const *keys);
/* Removes all but @keys and what is below them. */
void qsnap_props_keep (QsnapProps *props, const char *const *keys);

guint qsnap_props_length (QsnapProps *props);
const char *qsnap_props_key (QsnapProps *props, guint index);
const char *qsnap_props_value (QsnapProps *props, guint index);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (QsnapProps, qsnap_props_free)

G_END_DECLS
