/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Repair of a delta: see rebuild.h. */
#include "fs/store/rebuild.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/store/codec.h"
#include "fs/store/handle.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

struct copy {
	struct rebuild *rebuild;
	struct delta *from, *to;
	uint8_t *buf; /* DELTA_BLOCKS_MAX blocks */
};

static int put_bad(struct copy *copy, uint64_t block, uint64_t count)
{
	struct log_request request = {.type = FORMAT_BAD, .block = block, .count = count};

	copy->rebuild->bad_blocks += count;
	return log_append(&copy->to->log, &request);
}

/* Blocks that will be data: a forged log may hold zeros as payload, and they are
 * written as zeros. */
static uint64_t count_data(const uint8_t *buf, uint32_t count)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		n += !codec_is_zero(buf + (size_t)i * DELTA_BLOCK_BYTES);
	return n;
}

/* A data run that reads as a whole, or one block of it. */
static int copy_data(struct copy *copy, uint64_t block, uint32_t count)
{
	enum delta_owner owner;
	int n = delta_read(copy->from, copy->buf, count, block, false, &owner);

	if (n == -EIO && count == 1)
		return put_bad(copy, block, 1);
	if (n == -EIO) {
		int rc = 0;

		for (uint32_t i = 0; rc == 0 && i < count; i++)
			rc = copy_data(copy, block + i, 1);
		return rc;
	}
	if (n < 0)
		return n;
	copy->rebuild->data_blocks += count_data(copy->buf, (uint32_t)n);
	return delta_write(copy->to, copy->buf, (uint32_t)n, block);
}

/* Returns the blocks that are done with. */
static int64_t copy_run(struct copy *copy, uint64_t block, uint64_t count)
{
	uint64_t run;
	int rc = 0;

	switch (delta_map(copy->from, block, count, &run)) {
	case DELTA_ABSENT:
		break;
	case DELTA_ZERO:
		rc = delta_zero(copy->to, block, run);
		break;
	case DELTA_BAD:
		rc = put_bad(copy, block, run);
		break;
	case DELTA_DATA:
		run = min_u64(run, DELTA_BLOCKS_MAX);
		rc = copy_data(copy, block, (uint32_t)run);
		break;
	}
	return rc < 0 ? rc : (int64_t)run;
}

static int copy_blocks(struct copy *copy)
{
	const struct rebuild *rebuild = copy->rebuild;
	uint64_t blocks = delta_blocks(copy->from);

	for (uint64_t block = 0; block < blocks;) {
		int64_t n = copy_run(copy, block, blocks - block);

		if (n < 0)
			return (int)n;
		block += (uint64_t)n;
		if (rebuild->progress && rebuild->progress(rebuild->ctx, block, blocks) != 0)
			return -ECANCELED;
	}
	return 0;
}

static int fill(struct copy *copy, struct err *err)
{
	struct rebuild *rebuild = copy->rebuild;
	const struct delta_options options = {.io = rebuild->io};
	int rc, close_rc;

	rc = delta_open(rebuild->dirfd, rebuild->name, &options, &copy->to, err);
	if (rc < 0)
		return rc;
	rc = copy_blocks(copy);
	if (rc == 0 && rebuild->layer)
		rc = delta_freeze(copy->to);
	close_rc = delta_close(copy->to);
	if (rc == 0)
		rc = close_rc;
	return rc < 0 ? err_sys(err, rc, "cannot write the repaired log") : 0;
}

int rebuild_delta(struct rebuild *rebuild, struct delta *view, struct err *err)
{
	AUTO_FREE uint8_t *buf = malloc((size_t)DELTA_BLOCKS_MAX * DELTA_BLOCK_BYTES);
	struct copy copy = {.rebuild = rebuild, .from = view, .buf = buf};
	int rc = buf ? 0 : err_sys(err, -ENOMEM, "cannot repair the log");

	if (rc < 0)
		return rc;
	rebuild->data_blocks = rebuild->bad_blocks = 0;
	rc = delta_create(rebuild->io, rebuild->dirfd, rebuild->name, delta_size(view), err);
	if (rc == 0)
		rc = fill(&copy, err);
	if (rc < 0)
		delta_remove(rebuild->io, rebuild->dirfd, rebuild->name, NULL);
	return rc;
}
