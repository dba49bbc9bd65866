/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The chain of images that a disk's definition names; private to the room. */
#ifndef CLONE_XML_CHAIN_H
#define CLONE_XML_CHAIN_H

#include <libxml/tree.h>

#include "clone/xml/domain.h"

/* Fill in data, backings and terminated; links whose image is not named by a
 * path have "" for it. 0, -ENOMEM, or -E2BIG: more than XML_IMAGES_MAX. */
int chain_collect(const xmlNode *disk, struct xml_disk *ret_disk);
void chain_clear(struct xml_disk *disk);

#endif
