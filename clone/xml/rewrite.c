/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a source's definition to a clone's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clone/xml/domain.h"
#include "clone/xml/nouns.h"
#include "clone/xml/provenance.h"
#include "clone/xml/rules.h"
#include "clone/xml/scan.h"
#include "clone/xml/tree.h"

void xml_changes_free(char **changes)
{
	for (char **line = changes; line && *line; line++)
		free(*line);
	free(changes);
}

/* ---- is the request whole? ---- */

static bool is_mac(const char *mac)
{
	for (int i = 0; i < XML_MAC_TEXT - 1; i++)
		if (i % 3 == 2 ? mac[i] != ':'
			       : !strchr("0123456789abcdefABCDEF", mac[i]) || !mac[i])
			return false;
	return mac[XML_MAC_TEXT - 1] == '\0';
}

static int check_texts(const struct xml_request *request, struct err *err)
{
	const char *const texts[] = {request->name, request->uuid, request->store,
		request->source_name, request->source_uuid};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (!text_is_given(texts[i]))
			return err_set(err, -EINVAL,
				"clone: a name or path is missing, or is not plain UTF-8 text");
	if (!request->name[0] || strchr(request->name, '/'))
		return err_set(
			err, -EINVAL, "clone: '%s' cannot be a domain's name", request->name);
	if (request->nvram && !text_is_given(request->nvram))
		return err_set(err, -EINVAL, "clone: the NVRAM path is not plain UTF-8 text");
	return 0;
}

static uint32_t count_cloned(const struct xml_domain *domain)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < domain->n_disks; i++)
		count += domain->disks[i].cloned;
	return count;
}

static int check_new_disk(
	const struct xml_domain *domain, const struct xml_new_disk *new, struct err *err)
{
	int rc = new_disk_check(new, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < domain->n_disks; i++)
		if (domain->disks[i].cloned && strcmp(domain->disks[i].target, new->target) == 0)
			return 0;
	return err_set(err, -EINVAL, "disk %s: the source has no such disk to clone", new->target);
}

/* Our caller's mistake, and the one that would cost a machine: libvirt takes a
 * known UUID as an order to replace that domain. */
static int check_differs(
	const struct xml_domain *domain, const struct xml_request *request, struct err *err)
{
	bool same_uuid = strcasecmp(domain->uuid, request->uuid) == 0;

	if (request->frozen && !same_uuid)
		return err_set(err, -EINVAL, "a frozen original keeps its UUID");
	if (!request->frozen && same_uuid)
		return err_set(err, -EINVAL, "clone: its UUID is the source's own");
	if (!request->frozen && domain->nvram && strcmp(domain->nvram, request->nvram) == 0)
		return err_set(err, -EINVAL, "clone: its NVRAM is the source's own");
	for (uint32_t i = 0; i < request->n_disks; i++)
		for (uint32_t j = 0; j < domain->n_disks; j++)
			if (strcmp(request->disks[i].path, domain->disks[j].source ?: "") == 0)
				return err_set(err, -EINVAL,
					"disk %s: its new path is the source's disk %s",
					request->disks[i].target, domain->disks[j].target);
	return 0;
}

/* Targets of a domain differ from each other; do those of the request? */
static bool has_twins(const struct xml_request *request)
{
	for (uint32_t i = 0; i < request->n_disks; i++)
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(request->disks[i].target, request->disks[j].target) == 0)
				return true;
	return false;
}

static int check_request(
	const struct xml_domain *domain, const struct xml_request *request, struct err *err)
{
	int rc = check_texts(request, err);

	for (uint32_t i = 0; i < request->n_disks && rc == 0; i++)
		rc = check_new_disk(domain, &request->disks[i], err);
	if (rc < 0)
		return rc;
	if (request->n_disks != count_cloned(domain) || has_twins(request))
		return err_set(err, -EINVAL, "clone: %u disks are given for %u of the source",
			request->n_disks, count_cloned(domain));
	if (request->n_macs != domain->n_macs)
		return err_set(err, -EINVAL, "clone: %u MAC addresses are given for %u interfaces",
			request->n_macs, domain->n_macs);
	for (uint32_t i = 0; i < request->n_macs; i++)
		if (request->macs[i][0] && !is_mac(request->macs[i]))
			return err_set(err, -EINVAL, "clone: a MAC address is malformed");
	if (!request->nvram != !domain->nvram)
		return err_set(err, -EINVAL,
			"clone: NVRAM is given for a source without it, or not "
			"given for one with it");
	return check_differs(domain, request, err);
}

/* ---- the rewriting ---- */

static int need_uuid(xmlNode *root, const char *uuid)
{
	xmlNode *node;
	int rc;

	if (node_child(root, "uuid"))
		return 0;
	rc = node_add_after(node_child(root, "name"), "uuid", &node);
	return rc < 0 ? rc : node_text_set(node, uuid);
}

/* Of a frozen original nothing else is: it stays the machine that it is. */
static int rewrite_disks(xmlNode *root, struct rewrite *rewrite)
{
	const struct xml_request *request = rewrite->request;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < request->n_disks; i++) {
		xmlNode *disk = scan_find_disk(root, request->disks[i].target);

		rc = disk_rewrite(rewrite, disk);
		if (rc == 0)
			rc = rules_rewrite(disk, rewrite);
	}
	return rc < 0 ? rc : provenance_put(root, request);
}

static int rewrite_tree(xmlNode *root, struct rewrite *rewrite)
{
	int rc = need_uuid(root, rewrite->request->uuid);

	node_attr_drop(root, "id");
	if (rc == 0)
		rc = rules_rewrite(root, rewrite);
	return rc < 0 ? rc : provenance_put(root, rewrite->request);
}

static int open_source(
	const char *xml, const struct xml_request *request, xmlDoc **ret_doc, struct err *err)
{
	struct xml_domain *domain = NULL;
	AUTO_DOC xmlDoc *doc = NULL;
	xmlNode *root;
	int rc = tree_parse(xml, "domain", &doc, err);

	if (rc < 0)
		return rc;
	root = xmlDocGetRootElement(doc);
	rc = scan_collect(root, &domain, err);
	if (rc == 0)
		rc = scan_check(root, domain, err);
	if (rc == 0)
		rc = check_request(domain, request, err);
	xml_domain_free(domain);
	if (rc == 0)
		*ret_doc = steal_ptr(&doc);
	return rc;
}

int xml_rewrite(const char *xml, const struct xml_request *request, char **ret_xml,
	char ***ret_changes, struct err *err)
{
	struct rewrite rewrite = {.request = request};
	AUTO_DOC xmlDoc *doc = NULL;
	int rc = open_source(xml, request, &doc, err);

	if (rc < 0)
		return rc;
	rc = request->frozen ? rewrite_disks(xmlDocGetRootElement(doc), &rewrite)
			     : rewrite_tree(xmlDocGetRootElement(doc), &rewrite);
	if (rc == 0)
		rc = tree_dump(doc, ret_xml);
	if (rc == 0 && ret_changes)
		*ret_changes = steal_ptr(&rewrite.changes);
	xml_changes_free(rewrite.changes);
	return rc < 0 ? err_sys(err, rc, "domain XML") : 0;
}
