/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arguments handed to QEMU past libvirt: what in them belongs to one machine. */
#include <ctype.h>
#include <string.h>

#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

/* Files, ports, addresses and host devices, by the keys that QEMU gives them. */
static const char *const needles[] = {"file=", "file:", "filename",
	"path=", "unix:", "pipe:", "hostfwd", "ifname=", "vfio-",
	"mac=", "guest-cid=", "uuid=", "serial=", "server=on", ",server", "telnet:"};

/* Options that open a file to write, or a port, whatever they are given. QEMU
 * takes two dashes for one. */
static const char *const options[] = {"drive", "blockdev", "hda", "hdb", "hdc", "hdd", "fda", "fdb",
	"sd", "mtdblock", "pflash", "cdrom", "gdb", "s", "incoming", "pidfile", "D", "qmp",
	"qmp-pretty", "vnc", "spice", "loadvm"};

/* The argument after one of these is only read. */
static const char *const readers[] = {"-fw_cfg", "-bios", "-kernel", "-initrd", "-dtb",
	"-acpitable", "-L", "-append", "-option-rom"};

static bool is_read_only(const xmlNode *argument)
{
	const xmlNode *before = xmlPreviousElementSibling((xmlNode *)argument);
	const char *option = before ? node_attr(before, "value") : NULL;

	for (size_t i = 0; option && i < sizeof(readers) / sizeof(readers[0]); i++)
		if (strcmp(option, readers[i]) == 0)
			return true;
	return false;
}

static bool is_shared_option(const char *value)
{
	if (value[0] != '-')
		return false;
	value += value[1] == '-' ? 2 : 1;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(value, options[i]) == 0)
			return true;
	return false;
}

static bool names_a_path(const char *value)
{
	for (const char *slash = strchr(value, '/'); slash; slash = strchr(slash + 1, '/'))
		if (slash == value || strchr("=:,\"' \t", slash[-1]))
			return true;
	return false;
}

static bool is_word_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* name as a word of its own: "vm" is not in "vmcoreinfo". */
static bool has_word(const char *value, const char *name)
{
	size_t len = strlen(name);

	if (len == 0)
		return false;
	for (const char *at = strstr(value, name); at; at = strstr(at + 1, name))
		if ((at == value || !is_word_char(at[-1])) && !is_word_char(at[len]))
			return true;
	return false;
}

static bool names_the_source(const xmlNode *argument, const char *value)
{
	const xmlNode *root = xmlDocGetRootElement(argument->doc);
	static const char *const names[] = {"name", "uuid"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const xmlNode *node = node_child(root, names[i]);
		AUTO_FREE char *text = NULL;

		if (node && (node_text(node, &text) < 0 || has_word(value, text)))
			return true; /* no memory to compare: rather refuse */
	}
	return false;
}

bool argument_is_shared(const xmlNode *argument, const char *arg)
{
	const char *value = node_attr(argument, "value");

	if (!value || is_read_only(argument))
		return false;
	for (size_t i = 0; i < sizeof(needles) / sizeof(needles[0]); i++)
		if (strstr(value, needles[i]))
			return true;
	return is_shared_option(value) || names_a_path(value) || names_the_source(argument, value);
}

/* Its own or the option before it. Never the value: there may be a password in it. */
const char *argument_option(const xmlNode *argument)
{
	const xmlNode *before = xmlPreviousElementSibling((xmlNode *)argument);
	const char *value = node_attr(argument, "value");
	const char *option = before ? node_attr(before, "value") : NULL;

	if (value && value[0] == '-' && !strchr(value, '='))
		return value;
	return option && option[0] == '-' && !strchr(option, '=') ? option : NULL;
}
