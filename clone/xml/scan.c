/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Describing a domain: its disks, addresses and firmware variables. */
#include "clone/xml/scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clone/xml/chain.h"
#include "clone/xml/nouns.h"
#include "clone/xml/rules.h"
#include "clone/xml/tree.h"

#define TARGET_MAX 32 /* "vda", "xvdab": becomes a file name */

static void disk_clear(struct xml_disk *disk)
{
	free(disk->target);
	free(disk->type);
	free(disk->device);
	free(disk->format);
	free(disk->source);
	free(disk->pool);
	free(disk->volume);
	free(disk->driver);
	chain_clear(disk);
}

void xml_domain_free(struct xml_domain *domain)
{
	if (!domain)
		return;
	for (uint32_t i = 0; i < domain->n_disks; i++)
		disk_clear(&domain->disks[i]);
	free(domain->disks);
	free(domain->macs);
	free(domain->nvram);
	free(domain->uuid);
	free(domain->name);
	free(domain);
}

static void cleanup_domain(struct xml_domain **domain)
{
	xml_domain_free(*domain);
}

/* ---- walking devices ---- */

/* The element after node (NULL: the first) of that name in any <devices>. */
static xmlNode *next_device(const xmlNode *root, const xmlNode *node, const char *name)
{
	xmlNode *devices = node ? node->parent : node_child(root, "devices");
	xmlNode *next = node ? node_next_same(node) : NULL;

	if (!node && devices)
		next = node_child(devices, name);
	while (!next && devices && (devices = node_next_same(devices)))
		next = node_child(devices, name);
	return next;
}

xmlNode *scan_find_disk(const xmlNode *root, const char *target)
{
	xmlNode *disk = NULL;

	while ((disk = next_device(root, disk, "disk"))) {
		const char *have = disk_target(disk);

		if (have && strcmp(have, target) == 0)
			return disk;
	}
	return NULL;
}

static int count_devices(
	const xmlNode *root, const char *name, uint32_t max, uint32_t *ret_count, struct err *err)
{
	const xmlNode *node = NULL;
	uint32_t count = 0;

	while ((node = next_device(root, node, name)))
		if (++count > max)
			return err_set(err, -EOPNOTSUPP, "domain XML: more than %u <%s> elements",
				max, name);
	*ret_count = count;
	return 0;
}

/* ---- collecting ---- */

/* Its image, by path or by pool and volume. */
static int collect_source(const xmlNode *node, struct xml_disk *disk)
{
	const xmlNode *source = node_child(node, "source");
	int rc = text_copy(disk_source_path(node), &disk->source);

	if (rc == 0 && disk_type_is(node, "volume"))
		rc = text_copy(node_attr(source, "pool"), &disk->pool);
	if (rc == 0 && disk->pool)
		rc = text_copy(node_attr(source, "volume"), &disk->volume);
	return rc < 0 ? rc : chain_collect(node, disk);
}

static bool is_cloned(const struct xml_disk *disk)
{
	bool local = strcmp(disk->type, "file") == 0 || strcmp(disk->type, "block") == 0;

	return !disk->readonly && strcmp(disk->device, "disk") == 0 &&
	       ((local && disk->source) || disk->volume);
}

static int collect_disk(xmlNode *node, struct xml_disk *disk)
{
	xmlNode *driver = node_child(node, "driver");
	int rc = text_copy(disk_target(node) ?: "", &disk->target);

	if (rc == 0)
		rc = text_copy(node_attr(node, "type") ?: "file", &disk->type);
	if (rc == 0)
		rc = text_copy(disk_device(node), &disk->device);
	if (rc == 0)
		rc = text_copy(node_attr(driver, "type"), &disk->format);
	if (rc == 0)
		rc = collect_source(node, disk);
	if (rc == 0 && driver)
		rc = node_dump(driver, &disk->driver);
	if (rc < 0)
		return rc;
	disk->readonly = disk_is_readonly(node, NULL);
	disk->cloned = is_cloned(disk);
	return 0;
}

static int collect_disks(xmlNode *root, struct xml_domain *domain, struct err *err)
{
	xmlNode *node = NULL;
	uint32_t count = 0;
	int failed = count_devices(root, "disk", XML_DISKS_MAX, &count, err);

	if (failed < 0 || count == 0)
		return failed;
	domain->disks = calloc(count, sizeof(*domain->disks));
	if (!domain->disks)
		return err_sys(err, -ENOMEM, "domain XML");
	while ((node = next_device(root, node, "disk"))) {
		int rc = collect_disk(node, &domain->disks[domain->n_disks++]);

		if (rc == -E2BIG)
			return err_set(err, -EOPNOTSUPP, "domain XML: more than %u images in a chain",
				XML_IMAGES_MAX);
		if (rc < 0)
			return err_sys(err, rc, "domain XML");
	}
	return 0;
}

static int collect_macs(const xmlNode *root, struct xml_domain *domain, struct err *err)
{
	const xmlNode *node = NULL;
	uint32_t count = 0;
	int rc = count_devices(root, "interface", XML_NICS_MAX, &count, err);

	if (rc < 0 || count == 0)
		return rc;
	domain->macs = calloc(count, sizeof(*domain->macs));
	if (!domain->macs)
		return err_sys(err, -ENOMEM, "domain XML");
	while ((node = next_device(root, node, "interface")))
		snprintf(domain->macs[domain->n_macs++], XML_MAC_TEXT, "%s",
			node_attr(node_child(node, "mac"), "address") ?: "");
	return 0;
}

/* Text form, or the nested source that newer libvirt knows. */
static int collect_nvram(const xmlNode *root, struct xml_domain *domain)
{
	const xmlNode *nvram = node_child(node_child(root, "os"), "nvram");
	const char *nested = node_attr(nvram ? node_child(nvram, "source") : NULL, "file");

	if (nested)
		return text_copy(nested, &domain->nvram);
	return nvram && node_has_text(nvram) ? node_text(nvram, &domain->nvram) : 0;
}

static int collect_text(const xmlNode *root, const char *name, char **ret_text)
{
	const xmlNode *node = node_child(root, name);

	return node ? node_text(node, ret_text) : text_copy("", ret_text);
}

int scan_collect(xmlNode *root, struct xml_domain **ret_domain, struct err *err)
{
	AUTO(cleanup_domain) struct xml_domain *domain = calloc(1, sizeof(*domain));
	int rc;

	if (!domain || collect_text(root, "name", &domain->name) < 0 ||
		collect_text(root, "uuid", &domain->uuid) < 0 || collect_nvram(root, domain) < 0)
		return err_sys(err, -ENOMEM, "domain XML");
	rc = collect_disks(root, domain, err);
	if (rc == 0)
		rc = collect_macs(root, domain, err);
	if (rc == 0)
		*ret_domain = steal_ptr(&domain);
	return rc;
}

/* ---- checking ---- */

/* libvirt takes the first or the last of two; nobody else has to know which. */
static int check_single(const xmlNode *parent, const char *const *names, struct err *err)
{
	for (; *names; names++) {
		const xmlNode *child = parent ? node_child(parent, *names) : NULL;

		if (child && node_next_same(child))
			return err_set(err, -EINVAL, "domain XML: <%s> has more than one <%s>",
				(const char *)parent->name, *names);
	}
	return 0;
}

static int check_singles(const xmlNode *root, struct err *err)
{
	static const char *const in_domain[] = {"name", "uuid", "os", "genid", "metadata", NULL};
	static const char *const in_os[] = {"nvram", "loader", NULL};
	static const char *const in_disk[] = {"source", "driver", "target", "backingStore", NULL};
	static const char *const in_nic[] = {"mac", "target", "source", NULL};
	const xmlNode *node = NULL;
	int rc = check_single(root, in_domain, err);

	if (rc == 0)
		rc = check_single(node_child(root, "os"), in_os, err);
	while (rc == 0 && (node = next_device(root, node, "disk")))
		rc = check_single(node, in_disk, err);
	while (rc == 0 && (node = next_device(root, node, "interface")))
		rc = check_single(node, in_nic, err);
	return rc;
}

static bool is_plain_target(const char *target)
{
	size_t len = strlen(target);

	return len > 0 && len <= TARGET_MAX &&
	       strspn(target, "abcdefghijklmnopqrstuvwxyz0123456789") == len;
}

static bool same_text(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static bool same_image(const struct xml_disk *a, const struct xml_disk *b)
{
	return (a->cloned || b->cloned) &&
	       (same_text(a->source, b->source) ||
		       (same_text(a->pool, b->pool) && same_text(a->volume, b->volume)));
}

static int check_pair(const struct xml_disk *a, const struct xml_disk *b, struct err *err)
{
	int rc;

	if (strcmp(a->target, b->target) == 0)
		return err_set(err, -EINVAL, "domain XML: two disks are called %s", a->target);
	if (!same_image(a, b))
		return 0;
	rc = err_set(err, -EOPNOTSUPP, "disk %s: has the same image as disk %s, %s", a->target,
		b->target, a->source ?: a->volume);
	err_hint(err, "give each disk an image of its own");
	return rc;
}

static int check_disks(const struct xml_domain *domain, struct err *err)
{
	for (uint32_t i = 0; i < domain->n_disks; i++) {
		const struct xml_disk *disk = &domain->disks[i];

		if (disk->cloned && !is_plain_target(disk->target))
			return err_set(err, -EINVAL, "domain XML: a disk has no usable target");
		for (uint32_t j = 0; j < i; j++) {
			int rc = check_pair(disk, &domain->disks[j], err);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int scan_check(const xmlNode *root, const struct xml_domain *domain, struct err *err)
{
	int rc;

	if (!domain->name[0])
		return err_set(err, -EINVAL, "domain XML: the domain has no name");
	rc = check_singles(root, err);
	if (rc == 0)
		rc = rules_check(root, err);
	return rc < 0 ? rc : check_disks(domain, err);
}

/* ---- the door ---- */

static int scan(const char *xml, bool strict, struct xml_domain **ret_domain, struct err *err)
{
	AUTO(cleanup_domain) struct xml_domain *domain = NULL;
	AUTO_DOC xmlDoc *doc = NULL;
	int rc = tree_parse(xml, "domain", &doc, err);

	if (rc == 0)
		rc = scan_collect(xmlDocGetRootElement(doc), &domain, err);
	if (rc == 0 && strict)
		rc = scan_check(xmlDocGetRootElement(doc), domain, err);
	if (rc == 0)
		*ret_domain = steal_ptr(&domain);
	return rc;
}

int xml_scan(const char *xml, struct xml_domain **ret_domain, struct err *err)
{
	return scan(xml, true, ret_domain, err);
}

int xml_survey(const char *xml, struct xml_domain **ret_domain, struct err *err)
{
	return scan(xml, false, ret_domain, err);
}
