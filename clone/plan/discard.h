/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleting a base image that nobody needs any more.
 *
 * Nobody: no clone in any store of this host, no domain of the libvirt that is
 * asked (images that its disks are stacked on included), and no QEMU process or
 * daemon that holds a lock on it. The file is locked against all QEMUs and
 * daemons while that is looked up for the last time, so that a clone that is
 * just being made either is seen, or does not get the image.
 *
 * At a crash the file is there, or gone.
 */
#ifndef CLONE_PLAN_DISCARD_H
#define CLONE_PLAN_DISCARD_H

#include <jansson.h>
#include <stdbool.h>

#include "clone/plan/session.h"
#include "fs/util/err.h"

struct discard_options {
	bool forget_missing; /* stores that are not there now are gone for good */
	/* Asked before it is deleted, with what will be left of its chain (an
	 * array of paths). False: leave it. */
	bool (*confirm)(void *ctx, const char *path, const json_t *remaining);
	void *ctx;
};

/* -EBUSY: somebody needs it, and err says who; -ECANCELED: not confirmed.
 * *ret_result: {"path", "removed": true, "remaining": [PATHS that it was stacked on]} */
int discard_base(struct session *session, const char *path, const struct discard_options *options,
	json_t **ret_result, struct err *err);

#endif
