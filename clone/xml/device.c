/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conditions on any element, and on the small devices that need no file of their own. */
#include <string.h>

#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

bool when_attr(const xmlNode *node, const char *arg)
{
	size_t name_len = strcspn(arg, "=");
	char name[32];

	if (name_len >= sizeof(name))
		return false;
	memcpy(name, arg, name_len);
	name[name_len] = '\0';
	return node_attr_is(node, name, arg + name_len + 1);
}

bool when_has_attr(const xmlNode *node, const char *arg)
{
	return node_attr(node, arg) != NULL;
}

bool when_has_child(const xmlNode *node, const char *arg)
{
	return node_child(node, arg) != NULL;
}

bool when_empty(const xmlNode *node, const char *arg)
{
	return !node_has_text(node);
}

const char *type_name(const xmlNode *node)
{
	return node_attr(node, "type");
}

bool tpm_is_emulated(const xmlNode *tpm, const char *arg)
{
	const xmlNode *backend = node_child(tpm, "backend");

	return backend && node_attr_is(backend, "type", "emulator");
}

bool vsock_is_fixed(const xmlNode *cid, const char *arg)
{
	return node_attr(cid, "address") && !node_attr_is(cid, "auto", "yes");
}

int vsock_rewrite(struct rewrite *rewrite, xmlNode *cid)
{
	if (!node_attr(cid, "address"))
		return 0;
	node_attr_drop(cid, "address");
	return change_of(rewrite, cid, "address dropped, libvirt takes a free one");
}

bool memory_is_persistent(const xmlNode *memory, const char *arg)
{
	const xmlNode *source = node_child(memory, "source");

	return node_attr_is(memory, "model", "nvdimm") ||
	       node_attr_is(memory, "model", "virtio-pmem") ||
	       (source && node_child(source, "path"));
}

bool filesystem_is_readonly(const xmlNode *filesystem, const char *arg)
{
	return node_child(filesystem, "readonly") != NULL;
}

bool filesystem_has_socket(const xmlNode *filesystem, const char *arg)
{
	const xmlNode *source = node_child(filesystem, "source");

	return source && node_attr(source, "socket");
}

/* Names that libvirt gave to a running machine's devices; a user's own begin
 * with "ua-". */
bool alias_is_live(const xmlNode *alias, const char *arg)
{
	const char *name = node_attr(alias, "name");

	return !name || strncmp(name, "ua-", 3) != 0;
}
