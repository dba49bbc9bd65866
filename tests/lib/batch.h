/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes that the log's leader combines: threads that wait behind a held pwritev. */
#ifndef TESTS_LIB_BATCH_H
#define TESTS_LIB_BATCH_H

#include <stdint.h>

#include "fs/store/delta.h"
#include "tests/lib/saboteur.h"

#define BATCH_MAX 8

struct batch_write {
	uint32_t version, block, count; /* as in stamps.h */
	int rc;
};

/* The first write goes alone; its pwritev is held by gate, the delta's own,
 * until the others have queued, one after the other. They are then the next
 * batch, in this order. */
void batch_run(struct delta *delta, struct saboteur *gate, struct batch_write *writes,
	unsigned int n);

#endif
