/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checking clones, also while they run: every block that they and their layers hold is verified. */
#ifndef CLONE_PLAN_CHECK_H
#define CLONE_PLAN_CHECK_H

#include <stdint.h>

#include "clone/plan/session.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

struct check_disk {
	char target[STORE_TARGET_MAX + 1];
	uint64_t data_blocks; /* read, the bad ones too */
	uint64_t bad_blocks;  /* did not verify, or are known to be lost */
};

struct check_options {
	/* Called now and then; positions on the disks; may be NULL. */
	void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
	void *progress_ctx;
};

struct check_result {
	uint32_t n_disks;
	struct check_disk *disks;
	uint64_t bad_blocks; /* of all disks */
	uint32_t leaks;      /* files in its directory that its manifest does not name */
	uint64_t leaked_bytes;
	uint64_t total_ns;
};

/* 0 whatever was found. Starts the daemon if it does not run. */
int check_clone(struct session *session, const char *clone, const struct check_options *options,
	struct check_result *ret_result, struct err *err);
void check_result_clear(struct check_result *result);

#endif
