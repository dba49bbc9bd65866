/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparing bases with what was recorded of them: identity and fingerprint of every file. */
#ifndef CLONE_PLAN_VERIFY_H
#define CLONE_PLAN_VERIFY_H

#include <jansson.h>
#include <stdbool.h>

#include "clone/plan/bases.h"
#include "fs/base/fingerprint.h"

struct verify_options {
	bool full; /* read all; else the sample */
	void (*progress)(void *ctx, const char *path, uint64_t done_bytes, uint64_t total_bytes);
	void *ctx;
};

/* The bases that have the file at path; NULL: all. What was never recorded is
 * recorded now, in the stores whose clones need it, if the identity is right.
 * *ret_results, also when -ESTALE (something is not as it was; err has the
 * first) or another failure is returned, is one object per file:
 *	{"path", "base", "result": "same" | "changed" | "missing" | "unread",
 *	 "read": "sampled" | "full" | "none",
 *	 "compared": "sampled" | "full" | "none", what was recorded before, as far
 *	    as it was read now,
 *	 "recorded": BOOL, now, "differs": {"start", "end"} (bytes) | null, "why": TEXT | null} */
int verify_bases(struct session *session, const char *path, const struct verify_options *options,
	json_t **ret_results, struct err *err);

/* Take the fingerprint of a file, all of it with options->full; -EINTR when interrupted. */
int verify_fingerprint(const char *path, const struct verify_options *options,
	struct fingerprint **ret, struct err *err);

#endif
