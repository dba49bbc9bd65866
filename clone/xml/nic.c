/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network interfaces: new addresses, no host device by name. */
#include <errno.h>
#include <string.h>

#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

bool nic_type_unknown(const xmlNode *nic, const char *arg)
{
	static const char *const known[] = {"network", "bridge", "user", "direct", "ethernet",
		"internal", "null", "mcast", "client"};
	const char *type = node_attr(nic, "type");

	for (size_t i = 0; type && i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(type, known[i]) == 0)
			return false;
	return true;
}

bool nic_is_passthrough(const xmlNode *nic, const char *arg)
{
	return node_attr_is(nic, "type", "direct") &&
	       node_attr_is(node_child(nic, "source"), "mode", "passthrough");
}

bool nic_tap_is_foreign(const xmlNode *nic, const char *arg)
{
	return node_attr_is(node_child(nic, "target"), "managed", "no");
}

static int set_mac(struct rewrite *rewrite, xmlNode *nic, const char *address)
{
	xmlNode *mac = node_child(nic, "mac");
	int rc = change_of(rewrite, nic, "address -> %s", address);

	if (rc == 0 && !mac)
		rc = node_add_first(nic, "mac", &mac);
	return rc < 0 ? rc : node_attr_set(mac, "address", address);
}

int nic_rewrite(struct rewrite *rewrite, xmlNode *nic)
{
	const struct xml_request *request = rewrite->request;
	xmlNode *target = node_child(nic, "target");
	const char *address;

	if (rewrite->n_nics >= request->n_macs)
		return -EINVAL;
	address = request->macs[rewrite->n_nics++];
	if (target)
		node_drop(target); /* the host's end; libvirt names a new one */
	return address[0] ? set_mac(rewrite, nic, address) : 0;
}

/* A port's own id may exist once on a switch; libvirt draws a new one. Profiles
 * are shared on purpose. */
int nic_port_rewrite(struct rewrite *rewrite, xmlNode *parameters)
{
	static const char *const ids[] = {"interfaceid", "instanceid"};
	int rc = 0;

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]) && rc == 0; i++) {
		if (!node_attr(parameters, ids[i]))
			continue;
		node_attr_drop(parameters, ids[i]);
		rc = change_of(rewrite, parameters, "%s dropped, libvirt draws a new one", ids[i]);
	}
	return rc;
}

int nic_filter_note(struct rewrite *rewrite, xmlNode *parameter)
{
	const char *name = node_attr(parameter, "name");

	if (!name || (strcmp(name, "IP") != 0 && strcmp(name, "MAC") != 0))
		return 0;
	return change_of(rewrite, parameter,
		"note: the network filter's %s is kept and may stop the clone's traffic", name);
}
