/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The <driver> of a clone's disk: seven attributes are ours, the rest the user's. */
#ifndef CLONE_XML_DRIVER_H
#define CLONE_XML_DRIVER_H

#include <libxml/tree.h>

#include "fs/util/err.h"

/* Set our attributes, in a new element if there is none. 0 or -ENOMEM. */
int driver_set(xmlNode *disk);

/* NULL if all are as driver_set() leaves them, else the name of one that is not. */
const char *driver_unset(const xmlNode *disk);

/* Put our attributes back as the recorded element (text, NULL: there was none)
 * has them. All else stays as it is now: the user may have changed it since. */
int driver_restore(xmlNode *disk, const char *recorded, struct err *err);

/* NULL if our attributes are as recorded, else the name of one that is not. */
int driver_restored(
	const xmlNode *disk, const char *recorded, const char **ret_wrong, struct err *err);

#endif
