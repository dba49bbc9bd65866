/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules: which element of a domain is kept, rewritten, dropped or refused.
 *
 * One table (rules.c) drives scanning and rewriting. A row says for an element
 * path what becomes of it; the first row whose path matches and whose `when`
 * holds is taken. An element without a row is kept, and so are its children,
 * unless it names an absolute path: what could be writable and shared, and is
 * not understood, is refused. To support one more kind of device, put a row
 * before the one that refuses it.
 */
#ifndef CLONE_XML_RULES_H
#define CLONE_XML_RULES_H

#include <libxml/tree.h>
#include <stdbool.h>

#include "clone/xml/domain.h"
#include "fs/util/err.h"

enum rule {
	KEPT,	    /* the element stays; its children are looked at */
	KEPT_WHOLE, /* it stays with all that is in it */
	REWRITTEN,  /* row.rewrite changes it; its children are looked at */
	DROPPED,    /* it goes, with all that is in it */
	REFUSED,    /* the domain cannot be cloned: row.why, row.hint */
};

/* One rewriting: what was asked for, and the lines that say what was done. */
struct rewrite {
	const struct xml_request *request;
	char **changes; /* NULL-terminated */
	uint32_t n_changes;
	uint32_t n_nics; /* interfaces met so far */
};

struct row {
	/* Below <domain>, "/" between elements; "a|b" either, "*" any name. */
	const char *path;
	enum rule rule;
	bool (*when)(const xmlNode *node, const char *arg); /* NULL: always */
	const char *arg;
	int (*rewrite)(struct rewrite *rewrite, xmlNode *node);
	/* Attributes ("." the text) that may hold an absolute path, because sharing
	 * it does no harm or the rewriting takes it away. */
	const char *paths;
	const char *why;
	const char *hint;
	/* What to say in brackets behind why; may be NULL, may give NULL. No secrets. */
	const char *(*detail)(const xmlNode *node);
};

extern const struct row rules[];
extern const size_t n_rules;

const struct row *rules_find(const xmlNode *node);

/* Refuse what a row refuses, or what nobody knows and names a path. */
int rules_check(const xmlNode *root, struct err *err);

/* Rewrite and drop. -ENOMEM or -EINVAL. */
int rules_rewrite(xmlNode *root, struct rewrite *rewrite);

#define DESCRIBE_MAX 256

/* "disk vda", "interface 52:54:00:12:34:56", "<os> <nvram>"; never a password. */
void describe(const xmlNode *node, char *text, size_t size);

/* Add a line for people. 0 or -ENOMEM. */
int change_add(struct rewrite *rewrite, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same, "WHAT: ..." with WHAT from describe(). */
int change_of(struct rewrite *rewrite, const xmlNode *node, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
