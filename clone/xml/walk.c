/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walking a domain by the table of rules: see rules.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clone/xml/rules.h"
#include "clone/xml/tree.h"

#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"
#define DEFAULT_HINT                                                                               \
	"lazyclone cannot clone this yet; take it out of the source's definition (virsh edit) "    \
	"first"

/* ---- which row ---- */

static bool in_qemu_namespace(const xmlNode *node)
{
	return node->ns && strcmp((const char *)node->ns->href, QEMU_NAMESPACE) == 0;
}

/* Is name one of the "a|b" alternatives in [alt, alt + len)? */
static bool one_of(const char *name, const char *alt, size_t len)
{
	const char *end = alt + len;

	while (alt < end) {
		const char *bar = memchr(alt, '|', (size_t)(end - alt));
		size_t part = (size_t)((bar ? bar : end) - alt);

		if (strlen(name) == part && memcmp(name, alt, part) == 0)
			return true;
		alt += part + 1;
	}
	return len == 1 && *(end - 1) == '*';
}

static bool component_matches(const xmlNode *node, const char *part, size_t len)
{
	if (len > 5 && memcmp(part, "qemu:", 5) == 0)
		return in_qemu_namespace(node) &&
		       one_of((const char *)node->name, part + 5, len - 5);
	return !node->ns && one_of((const char *)node->name, part, len);
}

/* Compare from the last component up to the document element. */
static bool path_matches(const xmlNode *node, const char *path)
{
	const char *end = path + strlen(path);

	while (end > path) {
		const char *part = end;

		if (!node->parent || node->parent->type != XML_ELEMENT_NODE)
			return false;
		while (part > path && part[-1] != '/')
			part--;
		if (!component_matches(node, part, (size_t)(end - part)))
			return false;
		node = node->parent;
		end = part > path ? part - 1 : path;
	}
	return node->parent && node->parent->type == XML_DOCUMENT_NODE;
}

const struct row *rules_find(const xmlNode *node)
{
	for (size_t i = 0; i < n_rules; i++)
		if (path_matches(node, rules[i].path) &&
			(!rules[i].when || rules[i].when(node, rules[i].arg)))
			return &rules[i];
	return NULL;
}

/* ---- saying which element ---- */

static const xmlNode *device_of(const xmlNode *node)
{
	while (node->parent && node->parent->type == XML_ELEMENT_NODE) {
		if (node_is(node->parent, "devices"))
			return node;
		node = node->parent;
	}
	return NULL;
}

/* What tells this device from its like. */
static const char *device_label(const xmlNode *device)
{
	const xmlNode *target = node_child(device, "target");
	const char *label = NULL;

	if (node_is(device, "interface"))
		return node_attr(node_child(device, "mac"), "address");
	if (node_is(device, "tpm"))
		return node_attr(node_child(device, "backend"), "type");
	if (target)
		label = node_attr(target, "dev") ?: node_attr(target, "name") ?:
				node_attr(target, "dir") ?: node_attr(target, "port");
	return label ?: node_attr(device, "type") ?: node_attr(device, "model") ?:
		       node_attr(device, "name");
}

#define FOREIGN_MAX 64 /* bytes of the domain's own text in one of our lines */

/* Length of text cut to FOREIGN_MAX, not in the middle of a character. */
static size_t foreign_len(const char *text)
{
	size_t len = strnlen(text, FOREIGN_MAX);

	while (len > 0 && (text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

/* Foreign text must not end a line or fill the screen. */
static void put(char **text, size_t *size, const char *part)
{
	size_t len = foreign_len(part);

	if (len >= *size)
		return;
	for (size_t i = 0; i < len; i++)
		(*text)[i] = strchr("\n\t\r", part[i]) ? ' ' : part[i];
	*text += len;
	*size -= len;
	**text = '\0';
}

static void put_element(char **text, size_t *size, const xmlNode *node)
{
	put(text, size, in_qemu_namespace(node) ? "<qemu:" : "<");
	put(text, size, (const char *)node->name);
	put(text, size, ">");
}

void describe(const xmlNode *node, char *text, size_t size)
{
	const xmlNode *device = device_of(node);
	const xmlNode *above = node->parent;

	if (device) {
		const char *label = device_label(device);

		put(&text, &size, (const char *)device->name);
		put(&text, &size, label && *label ? " " : "");
		put(&text, &size, label ?: "");
		if (node == device)
			return;
		put(&text, &size, " ");
	} else if (above && above->type == XML_ELEMENT_NODE && !node_is(above, "domain")) {
		put_element(&text, &size, above);
		put(&text, &size, " ");
	}
	put_element(&text, &size, node);
}

/* ---- checking ---- */

static int refuse(const xmlNode *node, const struct row *row, struct err *err)
{
	const char *detail = row->detail ? row->detail(node) : NULL;
	char what[DESCRIBE_MAX];
	int rc;

	describe(node, what, sizeof(what));
	rc = err_set(err, -EOPNOTSUPP, detail ? "%s: %s (%.*s)" : "%s: %s", what, row->why,
		detail ? (int)foreign_len(detail) : 0, detail);
	err_hint(err, "%s", row->hint ?: DEFAULT_HINT);
	return rc;
}

static int refuse_unknown(const xmlNode *node, const char *why, struct err *err)
{
	const struct row row = {.why = why};

	return refuse(node, &row, err);
}

static bool begins_a_path(const char *text)
{
	return text[strspn(text, " \t\r\n")] == '/';
}

static bool path_allowed(const struct row *row, const char *where)
{
	const char *list = row ? row->paths : NULL;
	size_t len = strlen(where);

	while (list && *list) {
		size_t part = strcspn(list, " ");

		if (part == len && memcmp(list, where, len) == 0)
			return true;
		list += part + strspn(list + part, " ");
	}
	return false;
}

/* Whatever names an absolute path and is not known to be harmless. */
static int check_paths(const xmlNode *node, const struct row *row, struct err *err)
{
	for (const xmlAttr *attr = node->properties; attr; attr = attr->next) {
		if (attr->ns && !in_qemu_namespace(node))
			return refuse_unknown(node, "has an attribute of a foreign namespace", err);
		if (attr->children && begins_a_path((const char *)attr->children->content) &&
			!path_allowed(row, (const char *)attr->name))
			return refuse_unknown(
				node, "names a path of the source that is not understood", err);
	}
	for (const xmlNode *part = node->children; part; part = part->next)
		if ((part->type == XML_TEXT_NODE || part->type == XML_CDATA_SECTION_NODE) &&
			begins_a_path((const char *)part->content) && !path_allowed(row, "."))
			return refuse_unknown(
				node, "names a path of the source that is not understood", err);
	return 0;
}

static bool is_top_level(const xmlNode *node)
{
	return node->parent->parent && node->parent->parent->type == XML_DOCUMENT_NODE;
}

/* libvirt looks some elements up by name alone: a foreign one inside a device
 * could mean to libvirt what it does not mean to us. */
static bool is_misplaced(const xmlNode *node)
{
	if (!node->ns || is_top_level(node))
		return false;
	return !in_qemu_namespace(node) || !in_qemu_namespace(node->parent);
}

static int check_element(const xmlNode *node, struct err *err)
{
	const struct row *row = rules_find(node);
	int rc;

	if (node->ns && !in_qemu_namespace(node) && is_top_level(node))
		return 0; /* another driver's extension, kept as it is */
	if (is_misplaced(node))
		return refuse_unknown(node, "is of a foreign namespace", err);
	if (row && row->rule == REFUSED)
		return refuse(node, row, err);
	if (row && (row->rule == KEPT_WHOLE || row->rule == DROPPED))
		return 0;
	rc = check_paths(node, row, err);
	return rc < 0 ? rc : rules_check(node, err);
}

int rules_check(const xmlNode *root, struct err *err)
{
	for (const xmlNode *node = node_first(root); node; node = node_next(node)) {
		int rc = check_element(node, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- rewriting ---- */

static int rewrite_element(xmlNode *node, struct rewrite *rewrite)
{
	const struct row *row = rules_find(node);
	int rc;

	if (row && row->rule == KEPT_WHOLE)
		return 0;
	if (row && row->rule == DROPPED) {
		rc = row->why ? change_of(rewrite, node, "%s", row->why) : 0;
		node_drop(node);
		return rc;
	}
	rc = row && row->rule == REWRITTEN ? row->rewrite(rewrite, node) : 0;
	return rc < 0 ? rc : rules_rewrite(node, rewrite);
}

int rules_rewrite(xmlNode *root, struct rewrite *rewrite)
{
	xmlNode *next;

	for (xmlNode *node = node_first(root); node; node = next) {
		int rc;

		next = node_next(node);
		rc = rewrite_element(node, rewrite);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- lines for people ---- */

static int change_take(struct rewrite *rewrite, char *line)
{
	char **grown = NULL;

	if (line)
		grown = realloc(rewrite->changes, (rewrite->n_changes + 2) * sizeof(char *));
	if (!grown) {
		free(line);
		return -ENOMEM;
	}
	grown[rewrite->n_changes++] = line;
	grown[rewrite->n_changes] = NULL;
	rewrite->changes = grown;
	return 0;
}

int change_add(struct rewrite *rewrite, const char *fmt, ...)
{
	char *line;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&line, fmt, ap);
	va_end(ap);
	return change_take(rewrite, len < 0 ? NULL : line);
}

int change_of(struct rewrite *rewrite, const xmlNode *node, const char *fmt, ...)
{
	AUTO_FREE char *text = NULL;
	char what[DESCRIBE_MAX];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0) {
		text = NULL;
		return -ENOMEM;
	}
	describe(node, what, sizeof(what));
	return change_add(rewrite, "%s: %s", what, text);
}
