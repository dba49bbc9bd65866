/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images below an image, as a definition tells of them:
 *
 *	<source file='...'>
 *	  <dataStore type='file'>        where the guest's data of a qcow2 image is
 *	    <format type='raw'/>
 *	    <source file='...'/>
 *	  </dataStore>
 *	</source>
 *	<backingStore type='file'>
 *	  <format type='qcow2'/>
 *	  <source file='...'/>           may have a <dataStore> as well
 *	  <backingStore/>                nothing more below
 *	</backingStore>
 */
#include "clone/xml/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

/* ---- one link ---- */

/* An empty element says that nothing is there. */
static bool is_link(const xmlNode *node)
{
	return node_attr(node, "type") || node_first(node);
}

static const xmlNode *link_below(const xmlNode *node)
{
	const xmlNode *below = node_child(node, "backingStore");

	return below && is_link(below) ? below : NULL;
}

static const xmlNode *link_data(const xmlNode *node)
{
	return node_child(node_child(node, "source"), "dataStore");
}

static const char *link_type(const xmlNode *node)
{
	return node_attr(node, "type") ?: "file";
}

static const char *link_format(const xmlNode *node)
{
	return node_attr(node_child(node, "format"), "type");
}

/* NULL: it has no absolute path. */
static const char *link_path(const xmlNode *node)
{
	const char *attr = strcmp(link_type(node), "block") == 0 ? "dev" : "file";
	const char *path = node_attr(node_child(node, "source"), attr);

	return path && path[0] == '/' ? path : NULL;
}

/* ---- what cannot be read ---- */

static bool is_local(const xmlNode *node)
{
	return strcmp(link_type(node), "file") == 0 || strcmp(link_type(node), "block") == 0;
}

/* Data beside an image is raw; an image below may be any that can be a base. */
static bool format_is_known(const xmlNode *node)
{
	const char *format = link_format(node);

	if (node_is(node, "dataStore"))
		return !format || strcmp(format, "raw") == 0;
	return format && !format_unknown(format);
}

static const char *link_trouble(const xmlNode *node)
{
	const xmlNode *source = node_child(node, "source");

	if (!is_local(node))
		return link_type(node);
	if (!link_path(node))
		return "no absolute path";
	if (node_child(source, "encryption"))
		return "encrypted";
	if (node_child(source, "slices"))
		return "a slice of a file";
	return format_is_known(node) ? NULL : link_format(node) ?: "no format";
}

const char *chain_trouble(const xmlNode *node)
{
	const char *trouble = NULL;

	for (; node && is_link(node) && !trouble; node = link_below(node)) {
		const xmlNode *data = link_data(node);

		trouble = link_trouble(node);
		if (!trouble && data && is_link(data))
			trouble = link_trouble(data);
	}
	return trouble;
}

bool chain_is_troubled(const xmlNode *node, const char *arg)
{
	return chain_trouble(node) != NULL;
}

/* ---- collecting ---- */

static int take_data(char **field, const xmlNode *owner)
{
	const xmlNode *data = link_data(owner);

	return text_copy(data && is_link(data) ? link_path(data) : NULL, field);
}

static int take_link(struct xml_image *image, const xmlNode *link)
{
	int rc = text_copy(link_path(link) ?: "", &image->path);

	if (rc == 0)
		rc = text_copy(link_format(link), &image->format);
	return rc < 0 ? rc : take_data(&image->data, link);
}

static uint32_t count_links(const xmlNode *disk)
{
	uint32_t count = 0;

	for (const xmlNode *node = link_below(disk); node; node = link_below(node))
		count++;
	return count;
}

int chain_collect(const xmlNode *disk, struct xml_disk *ret_disk)
{
	uint32_t count = count_links(disk);
	const xmlNode *last = disk;
	int rc;

	if (count > XML_IMAGES_MAX)
		return -E2BIG;
	ret_disk->backings = calloc((size_t)count + 1, sizeof(*ret_disk->backings));
	rc = ret_disk->backings ? take_data(&ret_disk->data, disk) : -ENOMEM;
	for (const xmlNode *link = link_below(disk); link && rc == 0; link = link_below(link)) {
		rc = take_link(&ret_disk->backings[ret_disk->n_backings++], link);
		last = link;
	}
	ret_disk->terminated = node_child(last, "backingStore") != NULL;
	return rc;
}

void chain_clear(struct xml_disk *disk)
{
	for (uint32_t i = 0; i < disk->n_backings; i++) {
		free(disk->backings[i].path);
		free(disk->backings[i].format);
		free(disk->backings[i].data);
	}
	free(disk->backings);
	free(disk->data);
}

/* ---- a storage volume's description ---- */

int xml_volume_backing(const char *volume_xml, char **ret_path, struct err *err)
{
	AUTO_DOC xmlDoc *doc = NULL;
	const xmlNode *path;
	int rc = tree_parse(volume_xml, "volume", &doc, err);

	if (rc < 0) {
		err_prefix(err, "storage volume");
		return rc;
	}
	path = node_child(node_child(xmlDocGetRootElement(doc), "backingStore"), "path");
	if (!path || !node_has_text(path))
		return 0;
	rc = node_text(path, ret_path);
	return rc < 0 ? err_sys(err, rc, "storage volume") : 1;
}
