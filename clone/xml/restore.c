/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a clone's definition to an ordinary machine's, and the proof of it. */
#include <errno.h>
#include <string.h>

#include "clone/xml/domain.h"
#include "clone/xml/driver.h"
#include "clone/xml/nouns.h"
#include "clone/xml/provenance.h"
#include "clone/xml/scan.h"
#include "clone/xml/tree.h"

/* Our terminator; a chain that somebody described is not ours to drop. */
static xmlNode *find_terminator(const xmlNode *disk)
{
	xmlNode *node = node_child(disk, "backingStore");

	return node && !node_attr(node, "type") && !node_first(node) ? node : NULL;
}

static int find_file_disk(
	const xmlNode *root, const char *target, xmlNode **ret_disk, struct err *err)
{
	xmlNode *disk = scan_find_disk(root, target);

	if (!disk)
		return err_set(err, -EINVAL, "disk %s: the clone has no such disk", target);
	if (!disk_type_is(disk, "file") || !node_child(disk, "source"))
		return err_set(err, -EINVAL, "disk %s: is not a file any more", target);
	*ret_disk = disk;
	return 0;
}

static int restore_disk(xmlNode *root, const struct xml_new_disk *new, struct err *err)
{
	xmlNode *disk, *node;
	int rc = new_disk_check(new, err);

	if (rc == 0)
		rc = find_file_disk(root, new->target, &disk, err);
	if (rc < 0)
		return rc;
	if (node_attr_set(node_child(disk, "source"), "file", new->path) < 0)
		return err_sys(err, -ENOMEM, "domain XML");
	while ((node = disk_label(disk)))
		node_drop(node);
	node = find_terminator(disk);
	if (node)
		node_drop(node);
	return driver_restore(disk, new->driver, err);
}

int xml_restore(const char *clone_xml, const struct xml_restore_request *request, char **ret_xml,
	struct err *err)
{
	AUTO_DOC xmlDoc *doc = NULL;
	xmlNode *root;
	int rc = tree_parse(clone_xml, "domain", &doc, err);

	if (rc < 0)
		return rc;
	root = xmlDocGetRootElement(doc);
	for (uint32_t i = 0; i < request->n_disks && rc == 0; i++)
		rc = restore_disk(root, &request->disks[i], err);
	if (rc < 0)
		return rc;
	provenance_drop(root);
	rc = tree_dump(doc, ret_xml);
	return rc < 0 ? err_sys(err, rc, "domain XML") : 0;
}

/* ---- the proof ---- */

static int check_disk(const xmlNode *root, const struct xml_new_disk *new, struct err *err)
{
	const char *wrong, *path;
	xmlNode *disk;
	int rc = find_file_disk(root, new->target, &disk, err);

	if (rc < 0)
		return err_set(err, -EREMOTEIO, "disk %s: is not in the definition", new->target);
	path = disk_source_path(disk);
	if (!path || strcmp(path, new->path) != 0)
		return err_set(err, -EREMOTEIO, "disk %s: is on %s, not on %s", new->target,
			path ?: "nothing", new->path);
	if (disk_label(disk))
		return err_set(
			err, -EREMOTEIO, "disk %s: still has lazyclone's label", new->target);
	rc = driver_restored(disk, new->driver, &wrong, err);
	if (rc == 0 && wrong)
		return err_set(err, -EREMOTEIO, "disk %s: driver attribute %s was not restored",
			new->target, wrong);
	return rc;
}

int xml_check_restored(
	const char *defined_xml, const struct xml_restore_request *request, struct err *err)
{
	AUTO_DOC xmlDoc *doc = NULL;
	xmlNode *root;
	int rc = tree_parse(defined_xml, "domain", &doc, err);

	if (rc < 0)
		return rc;
	root = xmlDocGetRootElement(doc);
	for (uint32_t i = 0; i < request->n_disks && rc == 0; i++)
		rc = check_disk(root, &request->disks[i], err);
	if (rc == 0 && provenance_find(root))
		rc = err_set(err, -EREMOTEIO, "domain: still has lazyclone's metadata");
	return rc;
}
