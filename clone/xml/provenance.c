/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a clone comes from, told by the domain itself.
 *
 *	<metadata>
 *	  <lazyclone:clone xmlns:lazyclone="https://lazyclone.org/domain/1.0"
 *	      uuid="the clone's own" store="/path" source="name" source-uuid="..."
 *	      created="seconds since 1970"/>
 *	</metadata>
 *
 * An original that was frozen stands on a delta of its own and is no clone; it
 * has <lazyclone:frozen> with the same attributes, of which source and
 * source-uuid name itself.
 *
 * A definition that was copied by hand keeps the element but gets another
 * UUID: then it is neither.
 */
#include "clone/xml/provenance.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clone/xml/tree.h"

#define PREFIX "lazyclone"
#define CLONE "clone"
#define FROZEN "frozen"

static bool is_ours(const xmlNode *node)
{
	return node->ns && strcmp((const char *)node->ns->href, XML_NAMESPACE) == 0;
}

static xmlNode *first_of_ours(const xmlNode *root)
{
	const xmlNode *metadata = node_child(root, "metadata");
	xmlNode *node = metadata ? node_first(metadata) : NULL;

	while (node && !is_ours(node))
		node = node_next(node);
	return node;
}

static bool is_named(const xmlNode *node, const char *name)
{
	return strcmp((const char *)node->name, name) == 0;
}

xmlNode *provenance_find(const xmlNode *root)
{
	xmlNode *node = first_of_ours(root);

	while (node && !(is_ours(node) && (is_named(node, CLONE) || is_named(node, FROZEN))))
		node = node_next(node);
	return node;
}

/* Whatever else we once wrote there speaks of the source, or of a clone that
 * is none any more. */
static void drop_ours(const xmlNode *root)
{
	xmlNode *node;

	while ((node = first_of_ours(root)))
		node_drop(node);
}

void provenance_drop(xmlNode *root)
{
	xmlNode *metadata = node_child(root, "metadata");

	drop_ours(root);
	if (metadata && !metadata->children)
		node_drop(metadata);
}

/* Behind the UUID, where libvirt writes it too. */
static int need_metadata(xmlNode *root, xmlNode **ret_metadata)
{
	xmlNode *metadata = node_child(root, "metadata");
	xmlNode *before = node_child(root, "genid") ?: node_child(root, "uuid");

	if (metadata) {
		*ret_metadata = metadata;
		return 0;
	}
	return before ? node_add_after(before, "metadata", ret_metadata)
		      : node_add_first(root, "metadata", ret_metadata);
}

static int set_all(xmlNode *node, const struct xml_request *request)
{
	char created[24];
	int rc = node_attr_set(node, "uuid", request->uuid);

	snprintf(created, sizeof(created), "%" PRId64, request->created_sec);
	if (rc == 0)
		rc = node_attr_set(node, "store", request->store);
	if (rc == 0)
		rc = node_attr_set(node, "source", request->source_name);
	if (rc == 0)
		rc = node_attr_set(node, "source-uuid", request->source_uuid);
	return rc < 0 ? rc : node_attr_set(node, "created", created);
}

int provenance_put(xmlNode *root, const struct xml_request *request)
{
	xmlNode *metadata;
	xmlNode *node;
	xmlNs *ns;
	int rc;

	drop_ours(root);
	rc = need_metadata(root, &metadata);
	if (rc == 0)
		rc = node_add_last(metadata, request->frozen ? FROZEN : CLONE, &node);
	if (rc < 0)
		return rc;
	ns = xmlNewNs(node, (const xmlChar *)XML_NAMESPACE, (const xmlChar *)PREFIX);
	if (!ns)
		return -ENOMEM;
	xmlSetNs(node, ns);
	return set_all(node, request);
}

/* ---- the door ---- */

static int copy_attr(const xmlNode *node, const char *name, char **ret_text)
{
	*ret_text = strdup(node_attr(node, name) ?: "");
	return *ret_text ? 0 : -ENOMEM;
}

static bool is_own(const xmlNode *root, const xmlNode *node)
{
	const xmlNode *uuid = node_child(root, "uuid");
	AUTO_FREE char *text = NULL;

	return uuid && node_text(uuid, &text) == 0 &&
	       strcasecmp(node_attr(node, "uuid") ?: "", text) == 0;
}

static int read_all(const xmlNode *node, struct xml_provenance *provenance)
{
	int rc = copy_attr(node, "uuid", &provenance->uuid);

	if (rc == 0)
		rc = copy_attr(node, "store", &provenance->store);
	if (rc == 0)
		rc = copy_attr(node, "source", &provenance->source_name);
	if (rc == 0)
		rc = copy_attr(node, "source-uuid", &provenance->source_uuid);
	provenance->frozen = is_named(node, FROZEN);
	provenance->created_sec = strtoll(node_attr(node, "created") ?: "0", NULL, 10);
	return rc;
}

int xml_provenance(const char *xml, struct xml_provenance *ret_provenance)
{
	struct xml_provenance provenance = {0};
	AUTO_DOC xmlDoc *doc = NULL;
	const xmlNode *root, *node;
	int rc = tree_parse(xml, "domain", &doc, NULL);

	if (rc < 0)
		return rc;
	root = xmlDocGetRootElement(doc);
	node = provenance_find(root);
	if (!node || !is_own(root, node))
		return 0;
	rc = read_all(node, &provenance);
	if (rc < 0) {
		xml_provenance_clear(&provenance);
		return rc;
	}
	*ret_provenance = provenance;
	return 1;
}

void xml_provenance_clear(struct xml_provenance *provenance)
{
	free(provenance->uuid);
	free(provenance->store);
	free(provenance->source_name);
	free(provenance->source_uuid);
	memset(provenance, 0, sizeof(*provenance));
}
