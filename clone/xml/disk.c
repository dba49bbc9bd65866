/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks: which can be cloned, and a clone's disk on the mount. */
#include <errno.h>
#include <string.h>

#include "clone/xml/driver.h"
#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

static const char *disk_type(const xmlNode *disk)
{
	return node_attr(disk, "type") ?: "file"; /* libvirt's default */
}

const char *disk_target(const xmlNode *disk)
{
	return node_attr(node_child(disk, "target"), "dev");
}

const char *disk_source_path(const xmlNode *disk)
{
	static const char *const attr_of[][2] = {
		{"file", "file"},
		{"block", "dev"},
		{"dir", "dir"},
		{"vhostuser", "path"},
		{"vhostvdpa", "dev"},
	};
	const xmlNode *source = node_child(disk, "source");
	const char *type = disk_type(disk);

	for (size_t i = 0; i < sizeof(attr_of) / sizeof(attr_of[0]); i++)
		if (strcmp(type, attr_of[i][0]) == 0) {
			const char *path = node_attr(source, attr_of[i][1]);

			return path && *path ? path : NULL;
		}
	return NULL;
}

bool disk_is_readonly(const xmlNode *disk, const char *arg)
{
	return node_attr_is(disk, "device", "cdrom") || node_child(disk, "readonly");
}

bool disk_type_is(const xmlNode *disk, const char *arg)
{
	return strcmp(disk_type(disk), arg) == 0;
}

bool disk_type_unknown(const xmlNode *disk, const char *arg)
{
	return !disk_type_is(disk, "file") && !disk_type_is(disk, "block") &&
	       !disk_type_is(disk, "volume");
}

bool disk_volume_unnamed(const xmlNode *disk, const char *arg)
{
	const xmlNode *source = node_child(disk, "source");

	return disk_type_is(disk, "volume") &&
	       !(node_attr(source, "pool") && node_attr(source, "volume"));
}

const char *disk_protocol(const xmlNode *disk)
{
	return disk_type_is(disk, "network") ? node_attr(node_child(disk, "source"), "protocol")
					     : NULL;
}

bool disk_protocol_is(const xmlNode *disk, const char *arg)
{
	const char *protocol = disk_protocol(disk);

	return protocol && strcmp(protocol, arg) == 0;
}

bool disk_is_empty(const xmlNode *disk, const char *arg)
{
	return (disk_type_is(disk, "file") || disk_type_is(disk, "block")) &&
	       !disk_source_path(disk) && !node_attr(node_child(disk, "source"), "fdgroup");
}

const char *disk_device(const xmlNode *disk)
{
	return node_attr(disk, "device") ?: "disk"; /* libvirt's default */
}

bool disk_device_unknown(const xmlNode *disk, const char *arg)
{
	return strcmp(disk_device(disk), "disk") != 0;
}

const char *disk_format(const xmlNode *disk)
{
	return node_attr(node_child(disk, "driver"), "type");
}

bool format_unknown(const char *format)
{
	return strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0;
}

/* libvirt takes an image whose driver names no format as raw (and says so in
 * what it gives out); it probes no formats since 5.10, nor did it before unless
 * qemu.conf asked for it. So does the rewriter. */
bool disk_format_unknown(const xmlNode *disk, const char *arg)
{
	const char *format = disk_format(disk);

	return format && format_unknown(format);
}

bool disk_source_relative(const xmlNode *disk, const char *arg)
{
	const char *path = disk_source_path(disk);

	return path && path[0] != '/';
}

bool seclabel_is_ours(const xmlNode *seclabel, const char *arg)
{
	return node_attr_is(seclabel, "model", "dac") && node_attr_is(seclabel, "relabel", "no") &&
	       !node_first(seclabel);
}

xmlNode *disk_label(const xmlNode *disk)
{
	xmlNode *label = node_child(node_child(disk, "source"), "seclabel");

	while (label && !seclabel_is_ours(label, NULL))
		label = node_next_same(label);
	return label;
}

/* libvirt must not give the mounted file to another owner: the daemon serves
 * it with the right one, and a base's owner is never touched. */
static int add_label(xmlNode *disk, xmlNode *source)
{
	xmlNode *label;
	int rc;

	if (disk_label(disk))
		return 0;
	rc = node_add_last(source, "seclabel", &label);
	if (rc == 0)
		rc = node_attr_set(label, "model", "dac");
	return rc < 0 ? rc : node_attr_set(label, "relabel", "no");
}

/* "Nothing lies beneath": nobody looks into the guest's bytes for a format. What
 * lay below the source's image is below the clone's base now, out of sight. */
static int set_terminator(xmlNode *disk, xmlNode *source)
{
	xmlNode *terminator = node_child(disk, "backingStore");

	if (terminator && !node_attr(terminator, "type") && !node_first(terminator))
		return 0;
	if (terminator)
		node_drop(terminator);
	return node_add_after(source, "backingStore", &terminator);
}

/* Whatever it was, it is a file now. */
static int set_file(xmlNode *disk, xmlNode *source, const char *path)
{
	static const char *const others[] = {"dev", "pool", "volume", "mode", "index"};
	int rc = disk_type_is(disk, "file") ? 0 : node_attr_set(disk, "type", "file");

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		node_attr_drop(source, others[i]);
	return rc < 0 ? rc : node_attr_set(source, "file", path);
}

int new_disk_check(const struct xml_new_disk *new, struct err *err)
{
	if (text_is_given(new->path) && new->path[0] == '/')
		return 0;
	return err_set(
		err, -EINVAL, "disk %s: its path is not absolute, plain UTF-8 text", new->target);
}

static const struct xml_new_disk *find_new(const struct xml_request *request, const char *target)
{
	for (uint32_t i = 0; i < request->n_disks; i++)
		if (strcmp(request->disks[i].target, target) == 0)
			return &request->disks[i];
	return NULL;
}

static int note_change(struct rewrite *rewrite, const xmlNode *disk, const char *path)
{
	const xmlNode *source = node_child(disk, "source");

	if (disk_type_is(disk, "volume"))
		return change_of(rewrite, disk, "volume %s of pool %s -> %s",
			node_attr(source, "volume"), node_attr(source, "pool"), path);
	return change_of(rewrite, disk, "%s -> %s", disk_source_path(disk), path);
}

int disk_rewrite(struct rewrite *rewrite, xmlNode *disk)
{
	const struct xml_new_disk *new = find_new(rewrite->request, disk_target(disk));
	xmlNode *source = node_child(disk, "source");
	int rc;

	if (!new)
		return -EINVAL;
	rc = note_change(rewrite, disk, new->path);
	if (rc == 0)
		rc = set_file(disk, source, new->path);
	if (rc == 0 && rewrite->request->dac_label)
		rc = add_label(disk, source);
	if (rc == 0)
		rc = set_terminator(disk, source);
	return rc < 0 ? rc : driver_set(disk);
}
