/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Name, UUID, generation id, firmware variables: what makes a machine this one. */
#include <errno.h>
#include <string.h>

#include "clone/xml/nouns.h"
#include "clone/xml/tree.h"

static int replace_text(struct rewrite *rewrite, xmlNode *node, const char *what, const char *to)
{
	AUTO_FREE char *from = NULL;
	int rc = node_text(node, &from);

	if (rc == 0)
		rc = node_text_set(node, to);
	return rc < 0 ? rc : change_add(rewrite, "%s: %s -> %s", what, from, to);
}

int name_rewrite(struct rewrite *rewrite, xmlNode *name)
{
	return replace_text(rewrite, name, "name", rewrite->request->name);
}

int uuid_rewrite(struct rewrite *rewrite, xmlNode *uuid)
{
	return replace_text(rewrite, uuid, "uuid", rewrite->request->uuid);
}

/* libvirt draws a new one for an empty element, and so stays the only source
 * of chance; the rewriter is pure. */
int genid_rewrite(struct rewrite *rewrite, xmlNode *genid)
{
	xmlNodeSetContent(genid, NULL);
	return change_add(rewrite, "genid: a new one");
}

int nvram_rewrite(struct rewrite *rewrite, xmlNode *nvram)
{
	return replace_text(rewrite, nvram, "nvram", rewrite->request->nvram);
}

/* Flash is written to unless it says readonly; a rom image never is. */
bool loader_is_writable(const xmlNode *loader, const char *arg)
{
	return node_attr_is(loader, "type", "pflash") && node_has_text(loader) &&
	       !node_attr_is(loader, "readonly", "yes");
}

bool entry_is_identity(const xmlNode *entry, const char *arg)
{
	return node_attr_is(entry, "name", "uuid") || node_attr_is(entry, "name", "serial");
}

const char *entry_name(const xmlNode *entry)
{
	return node_attr(entry, "name");
}
