/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Displays: ports and sockets that libvirt chooses for each machine. */
#include <string.h>

#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

static bool socket_is_libvirts(const char *path)
{
	return strstr(path, "/libvirt/qemu/") && strstr(path, "/domain-");
}

bool graphics_socket_is_named(const xmlNode *node, const char *arg)
{
	const char *path = node_attr(node, "socket");

	return path && !socket_is_libvirts(path);
}

bool graphics_has_ports(const xmlNode *graphics, const char *arg)
{
	return node_attr_is(graphics, "type", "vnc") || node_attr_is(graphics, "type", "spice") ||
	       node_attr_is(graphics, "type", "rdp");
}

static bool is_fixed(const char *port)
{
	return port && strcmp(port, "-1") != 0 && strcmp(port, "0") != 0;
}

static int free_port(xmlNode *graphics, const char *name, bool *ret_changed)
{
	if (!is_fixed(node_attr(graphics, name)))
		return 0;
	*ret_changed = true;
	return node_attr_set(graphics, name, "-1");
}

/* -1 asks libvirt for a free port; for the main one it wants to be told twice. */
int graphics_rewrite(struct rewrite *rewrite, xmlNode *graphics)
{
	bool changed = false;
	int rc = graphics_socket_rewrite(rewrite, graphics);

	if (rc == 0)
		rc = free_port(graphics, "port", &changed);
	if (rc == 0 && changed)
		rc = node_attr_set(graphics, "autoport", "yes");
	if (rc == 0)
		rc = free_port(graphics, "tlsPort", &changed);
	if (rc == 0)
		rc = free_port(graphics, "websocket", &changed);
	return rc < 0 || !changed ? rc : change_of(rewrite, graphics, "ports are automatic");
}

int graphics_socket_rewrite(struct rewrite *rewrite, xmlNode *node)
{
	if (!node_attr(node, "socket"))
		return 0;
	node_attr_drop(node, "socket");
	return change_of(rewrite, node, "socket path dropped, libvirt names a new one");
}
