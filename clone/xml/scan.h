/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Describing a parsed domain; private to the room. */
#ifndef CLONE_XML_SCAN_H
#define CLONE_XML_SCAN_H

#include <libxml/tree.h>

#include "clone/xml/domain.h"

/* What is in it; nothing is refused but counts beyond the limits. */
int scan_collect(xmlNode *root, struct xml_domain **ret_domain, struct err *err);

/* Can it be cloned? rules_check(), and what no single element shows: twice the
 * same element, two disks on one image, a disk without a usable target. */
int scan_check(const xmlNode *root, const struct xml_domain *domain, struct err *err);

/* The <disk> with that target, NULL if there is none. */
xmlNode *scan_find_disk(const xmlNode *root, const char *target);

#endif
