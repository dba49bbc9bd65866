/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The XML tree on libxml2: see tree.h. */
#include "clone/xml/tree.h"

#include <libxml/parser.h>
#include <libxml/xmlsave.h>
#include <pthread.h>
#include <string.h>

#include "clone/xml/domain.h"

static const xmlChar *xs(const char *s)
{
	return (const xmlChar *)s;
}

/* ---- parsing ---- */

/* Without a DOCTYPE there are no entities but the predefined five, so nothing
 * can expand, fetch or hide. Parsing ends here, before anything is declared. */
static void on_doctype(
	void *ctx, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
	xmlParserCtxt *parser = ctx;

	*(bool *)parser->_private = true;
	xmlStopParser(parser);
}

/* An attribute with references may come as several text nodes: make them one. */
static int join_attributes(xmlNode *node)
{
	for (xmlAttr *attr = node->properties; attr; attr = attr->next) {
		xmlChar *value;
		xmlNode *text;

		if (!attr->children ||
			(!attr->children->next && attr->children->type == XML_TEXT_NODE))
			continue;
		value = xmlNodeListGetString(node->doc, attr->children, 1);
		text = value ? xmlNewDocText(node->doc, value) : NULL;
		xmlFree(value);
		if (!text)
			return -ENOMEM;
		xmlFreeNodeList(attr->children);
		attr->children = attr->last = text;
		text->parent = (xmlNode *)attr;
	}
	return 0;
}

/* libxml2 writes a namespace's name as it is, without escapes: what it would
 * write could not be read again. */
static bool can_be_written(const xmlNode *node)
{
	for (const xmlNs *ns = node->nsDef; ns; ns = ns->next)
		if (ns->href && strpbrk((const char *)ns->href, "<&"))
			return false;
	return true;
}

/* Depth is bounded by the parser (256 without XML_PARSE_HUGE). */
static int settle(xmlNode *node)
{
	int rc = can_be_written(node) ? join_attributes(node) : -EINVAL;

	for (xmlNode *child = node_first(node); child && rc == 0; child = node_next(child))
		rc = settle(child);
	return rc;
}

static xmlDoc *read_doc(const char *text, size_t len, bool *ret_doctype, int *ret_line)
{
	xmlParserCtxt *parser = xmlNewParserCtxt();
	xmlDoc *doc;

	*ret_doctype = false;
	*ret_line = 0;
	if (!parser)
		return NULL;
	parser->sax->internalSubset = on_doctype;
	parser->_private = ret_doctype;
	doc = xmlCtxtReadMemory(parser, text, (int)len, NULL, NULL,
		XML_PARSE_NONET | XML_PARSE_NOWARNING | XML_PARSE_NOERROR);
	*ret_line = parser->lastError.line;
	xmlFreeParserCtxt(parser);
	return doc;
}

int tree_parse(const char *text, const char *root, xmlDoc **ret_doc, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	AUTO_DOC xmlDoc *doc = NULL;
	size_t len = strnlen(text, XML_TEXT_MAX + 1);
	const xmlNode *top;
	bool doctype;
	int line, rc;

	pthread_once(&once, xmlInitParser);
	if (len > XML_TEXT_MAX)
		return err_set(err, -EINVAL, "domain XML: larger than %u bytes", XML_TEXT_MAX);
	doc = read_doc(text, len, &doctype, &line);
	if (doctype)
		return err_set(err, -EINVAL, "domain XML: has a DOCTYPE, which is refused");
	/* The parser's own message may quote the text, and with it a password. */
	if (!doc)
		return err_set(err, -EINVAL, "domain XML: not well-formed (line %d)", line);
	top = xmlDocGetRootElement(doc);
	if (!top || !node_is(top, root))
		return err_set(err, -EINVAL, "domain XML: the document element is not <%s>", root);
	rc = settle(xmlDocGetRootElement(doc));
	if (rc == -EINVAL)
		return err_set(err, rc, "domain XML: a namespace has a name that is no URI");
	if (rc < 0)
		return err_sys(err, rc, "domain XML");
	*ret_doc = steal_ptr(&doc);
	return 0;
}

/* ---- text out ---- */

int text_copy(const char *text, char **ret_copy)
{
	*ret_copy = text ? strdup(text) : NULL;
	return text && !*ret_copy ? -ENOMEM : 0;
}

static int take_buffer(xmlBuffer *buffer, bool saved, char **ret_text)
{
	char *text = saved ? strndup((const char *)xmlBufferContent(buffer),
				     (size_t)xmlBufferLength(buffer))
			   : NULL;

	xmlBufferFree(buffer);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

int tree_dump(xmlDoc *doc, char **ret_text)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *save =
		buffer ? xmlSaveToBuffer(buffer, "UTF-8", XML_SAVE_NO_DECL | XML_SAVE_AS_XML)
		       : NULL;
	bool saved = false;

	if (save) {
		saved = xmlSaveDoc(save, doc) >= 0;
		saved = xmlSaveClose(save) >= 0 && saved;
	}
	return take_buffer(buffer, saved, ret_text);
}

int node_dump(xmlNode *node, char **ret_text)
{
	xmlBuffer *buffer = xmlBufferCreate();
	bool saved = buffer && xmlNodeDump(buffer, node->doc, node, 0, 0) >= 0;

	return take_buffer(buffer, saved, ret_text);
}

/* ---- elements ---- */

xmlNode *node_first(const xmlNode *parent)
{
	return xmlFirstElementChild((xmlNode *)parent);
}

xmlNode *node_next(const xmlNode *node)
{
	return xmlNextElementSibling((xmlNode *)node);
}

bool node_is(const xmlNode *node, const char *name)
{
	return !node->ns && strcmp((const char *)node->name, name) == 0;
}

xmlNode *node_child(const xmlNode *parent, const char *name)
{
	xmlNode *child = parent ? node_first(parent) : NULL;

	while (child && !node_is(child, name))
		child = node_next(child);
	return child;
}

xmlNode *node_next_same(const xmlNode *node)
{
	xmlNode *next = node_next(node);

	while (next && !node_is(next, (const char *)node->name))
		next = node_next(next);
	return next;
}

/* ---- attributes and text ---- */

static xmlAttr *find_attr(const xmlNode *node, const char *name)
{
	xmlAttr *attr = node ? node->properties : NULL;

	while (attr && (attr->ns || strcmp((const char *)attr->name, name) != 0))
		attr = attr->next;
	return attr;
}

const char *node_attr(const xmlNode *node, const char *name)
{
	const xmlAttr *attr = find_attr(node, name);

	if (!attr)
		return NULL;
	return attr->children ? (const char *)attr->children->content : "";
}

bool node_attr_is(const xmlNode *node, const char *name, const char *value)
{
	const char *have = node_attr(node, name);

	return have && strcmp(have, value) == 0;
}

int node_attr_set(xmlNode *node, const char *name, const char *value)
{
	return xmlSetNsProp(node, NULL, xs(name), xs(value)) ? 0 : -ENOMEM;
}

void node_attr_drop(xmlNode *node, const char *name)
{
	xmlAttr *attr = find_attr(node, name);

	if (attr)
		xmlRemoveProp(attr);
}

int node_text(const xmlNode *node, char **ret_text)
{
	xmlChar *content = xmlNodeGetContent(node);
	char *text = content ? strdup((const char *)content) : NULL;

	xmlFree(content);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

bool node_has_text(const xmlNode *node)
{
	for (const xmlNode *part = node->children; part; part = part->next)
		if ((part->type == XML_TEXT_NODE || part->type == XML_CDATA_SECTION_NODE) &&
			!xmlIsBlankNode((xmlNode *)part))
			return true;
	return false;
}

int node_text_set(xmlNode *node, const char *text)
{
	xmlNode *content = xmlNewDocText(node->doc, xs(text));

	if (!content)
		return -ENOMEM;
	xmlNodeSetContent(node, NULL);
	xmlAddChild(node, content);
	return 0;
}

/* ---- adding and dropping ---- */

/* The white space a node stands behind, "\n    "; NULL: none. */
static const char *indent_of(const xmlNode *node)
{
	const xmlNode *prev = node->prev;

	if (!prev || !xmlIsBlankNode((xmlNode *)prev))
		return NULL;
	return (const char *)prev->content;
}

static int new_element(xmlDoc *doc, const char *name, xmlNode **ret_node)
{
	xmlNode *node = xmlNewDocNode(doc, NULL, xs(name), NULL);

	if (!node)
		return -ENOMEM;
	*ret_node = node;
	return 0;
}

int node_add_after(xmlNode *sibling, const char *name, xmlNode **ret_node)
{
	const char *indent = indent_of(sibling);
	xmlNode *text = indent ? xmlNewDocText(sibling->doc, xs(indent)) : NULL;
	xmlNode *node;
	int rc = new_element(sibling->doc, name, &node);

	if (rc < 0) {
		xmlFreeNode(text);
		return rc;
	}
	xmlAddNextSibling(sibling, node);
	if (text)
		xmlAddPrevSibling(node, text);
	*ret_node = node;
	return 0;
}

/* Into a parent without elements: two deeper than the parent itself. */
static int add_only(xmlNode *parent, const char *name, xmlNode **ret_node)
{
	const char *indent = indent_of(parent);
	xmlNode *node;
	int rc = new_element(parent->doc, name, &node);

	if (rc < 0)
		return rc;
	if (!indent || parent->children) {
		xmlAddChild(parent, node);
	} else {
		xmlNodeAddContent(parent, xs(indent));
		xmlNodeAddContent(parent, xs("  "));
		xmlAddChild(parent, node);
		xmlNodeAddContent(parent, xs(indent));
	}
	*ret_node = node;
	return 0;
}

int node_add_last(xmlNode *parent, const char *name, xmlNode **ret_node)
{
	xmlNode *last = xmlLastElementChild(parent);

	return last ? node_add_after(last, name, ret_node) : add_only(parent, name, ret_node);
}

int node_add_first(xmlNode *parent, const char *name, xmlNode **ret_node)
{
	xmlNode *first = node_first(parent);
	const char *indent = first ? indent_of(first) : NULL;
	xmlNode *text = indent ? xmlNewDocText(parent->doc, xs(indent)) : NULL;
	xmlNode *node;
	int rc;

	if (!first)
		return add_only(parent, name, ret_node);
	rc = new_element(parent->doc, name, &node);
	if (rc < 0) {
		xmlFreeNode(text);
		return rc;
	}
	xmlAddPrevSibling(first, node);
	if (text)
		xmlAddNextSibling(node, text);
	*ret_node = node;
	return 0;
}

void node_drop(xmlNode *node)
{
	xmlNode *before = indent_of(node) ? node->prev : NULL;
	xmlNode *parent = node->parent;
	xmlNode *rest;

	if (before) {
		xmlUnlinkNode(before);
		xmlFreeNode(before);
	}
	xmlUnlinkNode(node);
	xmlFreeNode(node);
	/* An element left with nothing but white space is an empty one. */
	rest = parent->children;
	if (rest && !rest->next && xmlIsBlankNode(rest)) {
		xmlUnlinkNode(rest);
		xmlFreeNode(rest);
	}
}
