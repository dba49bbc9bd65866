/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A base that was moved: from now on its clones find it at its new place.
 *
 * Every manifest that names the file, in every store of this host, is
 * replaced, one disk at a time: by the daemon of its store, or by us under the
 * store's lock where none runs. The file at the new place must hold what was
 * recorded of the old one: the same size and the same fingerprint.
 *
 * What may be lost at each crash point: nothing. Between two manifests some
 * clones know the new place and others the old one; the same command, given
 * again, changes the rest. A daemon that dies between its manifest and its
 * answer has changed it or not: likewise.
 */
#ifndef CLONE_PLAN_RELINK_H
#define CLONE_PLAN_RELINK_H

#include <jansson.h>

#include "clone/plan/session.h"
#include "clone/plan/verify.h"
#include "fs/util/err.h"

/* from and to: paths; from may be gone, and to may be from (a file that was
 * restored in place). All clones that need it must be shut off (-EBUSY).
 * -ESTALE: to holds something else. -ENOENT: nobody needs from (0 if all that
 * do are at to already). -EREMOTEIO: some were changed; the same command again
 * goes on. *ret_result:
 *	{"from", "to", "compared": "identity" | "sampled" | "full",
 *	 "changed": [{"store", "clone", "disk"}], "already": N} */
int relink_base(struct session *session, const char *from, const char *to,
	const struct verify_options *options, json_t **ret_result, struct err *err);

#endif
