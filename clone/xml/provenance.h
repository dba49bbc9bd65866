/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Our <lazyclone:clone> or <lazyclone:frozen> in <metadata>; private to the room. */
#ifndef CLONE_XML_PROVENANCE_H
#define CLONE_XML_PROVENANCE_H

#include <libxml/tree.h>

#include "clone/xml/domain.h"

/* Our element, NULL if there is none. */
xmlNode *provenance_find(const xmlNode *root);

int provenance_put(xmlNode *root, const struct xml_request *request); /* replaces */
void provenance_drop(xmlNode *root);

#endif
