/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hydrate: turn a shut-off clone into an ordinary machine on full images.
 *
 *	1 check space against allocated bytes; note temp and final names (record)
 *	2 copy each disk from the mount, held by QEMU's image locks so that the
 *	  clone cannot start, to TEMP: sparse, parallel, fsync
 *	3 rename TEMP to its final name, never over an existing file; fsync dir
 *	4 define the domain on the images, read back, compare
 *	5 drop the delta: detach, remove the clone from the store
 *
 * The record's phase says how far it came; running it again after a kill
 * goes on from there (a copy begins anew, since the clone may have run in
 * between). The delta goes only after step 4 was proved. A failure, SIGINT or
 * SIGTERM before step 4 removes the images and leaves the clone as it was.
 *
 * A frozen original (freeze.h) is thawed in the same steps; it is refused
 * unless `thaw` says that it is meant. The original image is left to thaw.h.
 *
 * The image of a clone's only disk is DIR/CLONE.raw, of several
 * DIR/CLONE-TARGET.raw; see image_plan().
 */
#ifndef CLONE_PLAN_HYDRATE_H
#define CLONE_PLAN_HYDRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "clone/plan/session.h"
#include "fs/util/err.h"

struct hydrate_options {
	bool thaw;      /* it is a frozen original; else it is not */
	const char *to; /* directory; NULL: beside the original image */
	/* Called from one thread, a few times a second; may be NULL. */
	void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
	void *progress_ctx;
};

struct hydrate_result {
	uint32_t n_images;
	char **images;   /* final paths */
	uint64_t copied_bytes; /* data, holes left out; 0 when only the end was missing */
	uint64_t total_ns;
};

int hydrate_clone(struct session *session, const char *clone,
	const struct hydrate_options *options, struct hydrate_result *ret_result, struct err *err);
void hydrate_result_clear(struct hydrate_result *result);

#endif
