/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The XML tree: safe parsing, and small verbs on elements; private to the room.
 *
 * After tree_parse() every attribute has at most one text node, so that
 * node_attr() hands out a pointer into the tree and cannot fail. Elements are
 * looked up without namespace. Verbs that add or drop an element keep the
 * indentation around it. They return 0 or -ENOMEM.
 */
#ifndef CLONE_XML_TREE_H
#define CLONE_XML_TREE_H

#include <libxml/tree.h>
#include <stdbool.h>

#include "fs/util/cleanup.h"
#include "fs/util/err.h"
#include "fs/util/text.h"

/* Well-formed, UTF-8, no DOCTYPE, at most XML_TEXT_MAX bytes; root is the name
 * the document element must have. -EINVAL otherwise; free with xmlFreeDoc. */
int tree_parse(const char *text, const char *root, xmlDoc **ret_doc, struct err *err);
int tree_dump(xmlDoc *doc, char **ret_text);
int node_dump(xmlNode *node, char **ret_text);

static inline void cleanup_doc(xmlDoc **doc)
{
	xmlFreeDoc(*doc);
}
#define AUTO_DOC AUTO(cleanup_doc)

/* NULL becomes NULL. 0 or -ENOMEM. */
int text_copy(const char *text, char **ret_copy);

/* Is it there, and can XML carry it on one line? */
static inline bool text_is_given(const char *text)
{
	return text && text_is_plain(text);
}

/* Elements: first child, next sibling, first child of that name; NULL: none. */
xmlNode *node_first(const xmlNode *parent);
xmlNode *node_next(const xmlNode *node);
xmlNode *node_child(const xmlNode *parent, const char *name);
xmlNode *node_next_same(const xmlNode *node);
bool node_is(const xmlNode *node, const char *name);

const char *node_attr(const xmlNode *node, const char *name); /* NULL: not there */
bool node_attr_is(const xmlNode *node, const char *name, const char *value);
int node_attr_set(xmlNode *node, const char *name, const char *value);
void node_attr_drop(xmlNode *node, const char *name);

/* All text in an element; caller frees. */
int node_text(const xmlNode *node, char **ret_text);
bool node_has_text(const xmlNode *node); /* other than white space */
int node_text_set(xmlNode *node, const char *text);

/* New elements, on a line of their own where their siblings are. */
int node_add_first(xmlNode *parent, const char *name, xmlNode **ret_node);
int node_add_last(xmlNode *parent, const char *name, xmlNode **ret_node);
int node_add_after(xmlNode *sibling, const char *name, xmlNode **ret_node);
void node_drop(xmlNode *node);

#endif
