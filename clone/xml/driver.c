/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The <driver> of a clone's disk: see driver.h. */
#include "clone/xml/driver.h"

#include <errno.h>
#include <string.h>

#include "clone/xml/tree.h"

/* Never probed; no page cache above ours; the store finds zeros by itself
 * (unmap here makes each a hole punch under an exclusive lock); a guest pauses
 * on trouble and can go on, it never sees the error. */
static const struct {
	const char *name, *value;
} ours[] = {
	{"type", "raw"},
	{"cache", "none"},
	{"io", "native"},
	{"discard", "unmap"},
	{"detect_zeroes", "off"},
	{"error_policy", "stop"},
	{"rerror_policy", "stop"},
};

#define N_OURS (sizeof(ours) / sizeof(ours[0]))

int driver_set(xmlNode *disk)
{
	xmlNode *driver = node_child(disk, "driver");
	int rc = driver ? 0 : node_add_first(disk, "driver", &driver);

	/* Of qcow2; libvirt refuses it for raw. The element of that kind has a rule. */
	if (driver)
		node_attr_drop(driver, "discard_no_unref");
	for (size_t i = 0; i < N_OURS && rc == 0; i++)
		rc = node_attr_set(driver, ours[i].name, ours[i].value);
	return rc;
}

const char *driver_unset(const xmlNode *disk)
{
	const xmlNode *driver = node_child(disk, "driver");

	for (size_t i = 0; i < N_OURS; i++)
		if (!driver || !node_attr_is(driver, ours[i].name, ours[i].value))
			return ours[i].name;
	return NULL;
}

static int parse_recorded(const char *recorded, xmlDoc **ret_doc, struct err *err)
{
	int rc;

	if (!recorded)
		return 0;
	rc = tree_parse(recorded, "driver", ret_doc, err);
	if (rc < 0)
		err_prefix(err, "recorded <driver>");
	return rc;
}

/* libvirt itself writes name='qemu'. */
static bool says_nothing(const xmlNode *driver)
{
	for (const xmlAttr *attr = driver->properties; attr; attr = attr->next)
		if (strcmp((const char *)attr->name, "name") != 0)
			return false;
	return !node_first(driver);
}

/* Ours go in where they stood in the recorded element's order, before what the
 * user has added since. */
static int put_back(xmlNode *driver, const xmlNode *recorded)
{
	int rc = 0;

	for (size_t i = 0; i < N_OURS; i++)
		node_attr_drop(driver, ours[i].name);
	for (size_t i = 0; i < N_OURS && rc == 0; i++) {
		const char *value = node_attr(recorded, ours[i].name);

		if (value)
			rc = node_attr_set(driver, ours[i].name, value);
	}
	return rc;
}

/* Attributes that libvirt would write in another order mean the same; this
 * keeps the text the same too where nothing was changed. */
static int sort_as_recorded(xmlNode *driver, const xmlNode *recorded)
{
	int rc = 0;

	for (const xmlAttr *attr = recorded->properties; attr && rc == 0; attr = attr->next) {
		const char *name = (const char *)attr->name;
		const char *value = node_attr(driver, name);
		AUTO_FREE char *copy = value ? strdup(value) : NULL;

		if (!value)
			continue;
		if (!copy)
			return -ENOMEM;
		node_attr_drop(driver, name);
		rc = node_attr_set(driver, name, copy);
	}
	return rc;
}

int driver_restore(xmlNode *disk, const char *recorded, struct err *err)
{
	AUTO_DOC xmlDoc *doc = NULL;
	xmlNode *driver = node_child(disk, "driver");
	const xmlNode *before;
	int rc = parse_recorded(recorded, &doc, err);

	if (rc < 0)
		return rc;
	before = doc ? xmlDocGetRootElement(doc) : NULL;
	if (!driver)
		rc = before ? node_add_first(disk, "driver", &driver) : 0;
	if (rc == 0 && driver)
		rc = put_back(driver, before);
	if (rc == 0 && driver && before)
		rc = sort_as_recorded(driver, before);
	if (rc == 0 && driver && !before && says_nothing(driver))
		node_drop(driver);
	/* A full image is raw whatever stood there: formats are never probed. */
	else if (rc == 0 && driver)
		rc = node_attr_set(driver, "type", "raw");
	return rc < 0 ? err_sys(err, rc, "domain XML") : 0;
}

/* libvirt drops what is its default, and writes type and name where none stood. */
static bool same_meaning(const char *name, const char *want, const char *have)
{
	if (strcmp(name, "type") == 0)
		return !have || strcmp(have, "raw") == 0;
	if (!want || !have)
		return (!want || strcmp(want, "default") == 0) &&
		       (!have || strcmp(have, "default") == 0);
	return strcmp(want, have) == 0;
}

int driver_restored(
	const xmlNode *disk, const char *recorded, const char **ret_wrong, struct err *err)
{
	AUTO_DOC xmlDoc *doc = NULL;
	const xmlNode *driver = node_child(disk, "driver");
	const xmlNode *before;
	int rc = parse_recorded(recorded, &doc, err);

	if (rc < 0)
		return rc;
	before = doc ? xmlDocGetRootElement(doc) : NULL;
	*ret_wrong = NULL;
	for (size_t i = 0; i < N_OURS && !*ret_wrong; i++)
		if (!same_meaning(ours[i].name, node_attr(before, ours[i].name),
			    node_attr(driver, ours[i].name)))
			*ret_wrong = ours[i].name;
	return 0;
}
