/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is there already: names of domains and clones, UUIDs, MAC addresses; and new ones.
 *
 * Taken once per run, since asking libvirt for every clone again would make
 * a run of N clones cost N lists. What others make meanwhile is found out
 * when the name is committed or defined.
 */
#ifndef CLONE_PLAN_CENSUS_H
#define CLONE_PLAN_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

#include "clone/virt/virt.h"
#include "clone/xml/domain.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

struct census;

/* Both may be NULL: no domains, no clones. */
int census_take(struct virt *virt, struct store *store, struct census **ret_census,
	struct err *err);
void census_free(struct census *census); /* NULL allowed */

bool census_has_name(const struct census *census, const char *name);

/* Count a name as taken from now on. */
int census_add_name(struct census *census, const char *name);

/* "SOURCE-cloneN" with the first free N from *number on; *number moves behind
 * it. Caller frees. -EINVAL: too long for a name. */
int census_next_name(const struct census *census, const char *source, uint32_t *number,
	char **ret_name, struct err *err);

/* A random UUID that no domain has. */
void census_uuid(const struct census *census, char uuid[static VIRT_UUID_TEXT]);

/* A MAC with the source's first three bytes ("" = QEMU's own) and random rest,
 * unlike any there and any given before. -EEXIST: none found. */
int census_mac(struct census *census, const char *source, char mac[static XML_MAC_TEXT],
	struct err *err);

#endif
