/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who else needs the layers of a clone: found in the manifests of all others. */
#ifndef CLONE_PLAN_FAMILY_H
#define CLONE_PLAN_FAMILY_H

#include <jansson.h>

#include "fs/store/store.h"

/* clone: an object of inventory.h; gets "layers" as said there. Clones whose
 * manifests cannot be read are left out. */
int family_add_layers(struct store *store, json_t *clone);

#endif
