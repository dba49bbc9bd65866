/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Serial ports, consoles, channels and their like: what they are connected to on the host. */
#include <string.h>

#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

#define AGENT "org.qemu.guest_agent.0"

/* A channel's socket where libvirt puts one, or the guest agent's: libvirt
 * makes a new path when there is none. */
static bool path_is_libvirts(const xmlNode *chardev, const char *path)
{
	if (!node_is(chardev, "channel"))
		return false;
	if (strstr(path, "/libvirt/qemu/") && strstr(path, "/channel/"))
		return true;
	return node_attr_is(node_child(chardev, "target"), "name", AGENT);
}

/* Whoever does not say that it connects, listens. */
static bool binds(const xmlNode *source)
{
	return !node_attr_is(source, "mode", "connect");
}

static const xmlNode *next_source(const xmlNode *chardev, const xmlNode *source)
{
	return source ? node_next_same(source) : node_child(chardev, "source");
}

bool chardev_binds_path(const xmlNode *chardev, const char *arg)
{
	const xmlNode *source = NULL;

	if (!node_attr_is(chardev, "type", "unix") && !node_attr_is(chardev, "model", "egd"))
		return false;
	while ((source = next_source(chardev, source))) {
		const char *path = node_attr(source, "path");

		if (path && binds(source) && !path_is_libvirts(chardev, path))
			return true;
	}
	return false;
}

bool chardev_binds_port(const xmlNode *chardev, const char *arg)
{
	const xmlNode *source = NULL;

	if (!node_attr_is(chardev, "type", "tcp") && !node_attr_is(chardev, "type", "udp"))
		return false;
	while ((source = next_source(chardev, source)))
		if (node_attr(source, "service") && binds(source))
			return true;
	return false;
}

int chardev_rewrite(struct rewrite *rewrite, xmlNode *chardev)
{
	bool pty = node_attr_is(chardev, "type", "pty");
	bool socket = node_attr_is(chardev, "type", "unix");
	xmlNode *source = node_child(chardev, "source");
	const char *path = node_attr(source, "path");

	node_attr_drop(chardev, "tty");
	if (!path || !(pty || (socket && binds(source))))
		return 0;
	if (pty) {
		node_drop(source); /* the running machine's terminal */
		return 0;
	}
	node_attr_drop(source, "path");
	return change_of(rewrite, chardev, "socket path dropped, libvirt names a new one");
}
