/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Thawing a frozen original: full images of its own again, and the old ones gone.
 *
 *	1 hydrate it: copy its disks, define the domain on the copies, drop the
 *	  delta (hydrate.h, which says what a kill leaves and how it is resumed)
 *	2 remove each original image, if nobody needs it any more
 *
 * The second begins when the first is whole and durable. What clones, or
 * layers that clones share with the frozen original, stand on is kept, and
 * the result says why. Killed between the two, the old images stay: nothing
 * uses them, and `base rm` removes them.
 */
#ifndef CLONE_PLAN_THAW_H
#define CLONE_PLAN_THAW_H

#include <jansson.h>

#include "clone/plan/hydrate.h"
#include "clone/plan/session.h"
#include "fs/util/err.h"

/* *ret_result: {"name", "images": [PATHS], "copied_bytes", "total_ns",
 *	"removed": [PATHS], "kept": [{"path", "why"}]} */
int thaw_domain(struct session *session, const char *domain,
	const struct hydrate_options *options, json_t **ret_result, struct err *err);

#endif
