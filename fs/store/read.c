/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading blocks: look up the run, read it in as few calls as the log allows, verify, unpack.
 *
 * A block that does not verify is -EIO, never base data and never a guess.
 */
#include <errno.h>
#include <string.h>

#include "fs/store/handle.h"
#include "fs/store/record.h"
#include "fs/store/scratch.h"
#include "fs/util/cleanup.h"
#include "fs/util/hash.h"
#include "fs/util/round.h"

static uint32_t place_bytes(const struct index_place *place)
{
	return FORMAT_BLOCK_SUM + place->len;
}

static uint64_t place_end(const struct index_place *place)
{
	return place->pos + place_bytes(place);
}

/* Blocks from place on that lie in the log one behind the other, with no more
 * between them than a small record's head: so what was written in sequence is
 * read at once, whatever the size of the writes. All are in one segment, as
 * its header page lies between two. */
static uint32_t neighbours(const struct index_place *place, uint32_t count)
{
	uint32_t n = 1;

	while (n < count && place[n].pos >= place_end(&place[n - 1]) &&
		place[n].pos - place_end(&place[n - 1]) <= SCRATCH_GAP)
		n++;
	return n;
}

static int read_log(struct log *log, void *buf, size_t len, uint64_t pos, bool nowait)
{
	ssize_t n;

	if (!nowait)
		return io_read_full(log->io, log->log_fd, buf, len, pos);
	n = log->io->pread_nowait(log->io, log->log_fd, buf, len, pos);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EAGAIN;
}

/* Verify and unpack n neighbours; bytes are what was read from the first on. */
static int unpack_blocks(struct log *log, const struct index_place *place, uint32_t n,
	uint64_t block, const uint8_t *bytes, uint8_t *buf)
{
	const struct segment *s = segment_table_get(&log->segments, slot_of(place->pos));
	struct record_place at = {.key = log->key, .epoch = s->epoch, .seq = s->seq};

	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *body = bytes + (place[i].pos - place[0].pos);
		const uint8_t *payload = body + FORMAT_BLOCK_SUM;
		le64 sum;

		memcpy(&sum, body, sizeof(sum));
		if (le64_get(sum) != record_block_sum(&at, place[i].pos, block + i,
				hash64(payload, place[i].len, 0)))
			return -EIO;
		if (codec_unpack(payload, place[i].len, buf) < 0)
			return -EIO;
		buf += DELTA_BLOCK_BYTES;
	}
	return 0;
}

static int read_data(struct log *log, struct scratch *scratch, uint8_t *buf, uint32_t count,
	uint64_t block, bool nowait)
{
	for (uint32_t i = 0; i < count;) {
		const struct index_place *place = &scratch->place[i];
		uint32_t n = neighbours(place, count - i);
		uint64_t len = place_end(&place[n - 1]) - place->pos;
		int rc = read_log(log, scratch->body, len, place->pos, nowait);

		if (rc == 0)
			rc = unpack_blocks(log, place, n, block + i, scratch->body,
				buf + (size_t)i * DELTA_BLOCK_BYTES);
		if (rc < 0)
			return rc == -EAGAIN ? rc : -EIO;
		i += n;
	}
	return 0;
}

/* Look up and read: between the two the place must not get other content, so
 * all of it is inside (grace.h). */
static int read_run(struct log *log, struct scratch *scratch, uint8_t *buf, uint32_t count,
	uint64_t block, bool nowait, enum delta_owner *ret_owner)
{
	unsigned int ticket = grace_enter(&log->grace);
	uint64_t run;
	int rc = 0;

	*ret_owner = index_get(&log->index, block, count, &run, scratch->place);
	if (*ret_owner == DELTA_DATA)
		rc = read_data(log, scratch, buf, (uint32_t)run, block, nowait);
	grace_leave(&log->grace, ticket);
	return rc < 0 ? rc : (int)run;
}

int delta_read(struct delta *delta, void *buf, uint32_t count, uint64_t block, bool nowait,
	enum delta_owner *ret_owner)
{
	struct log *log = &delta->log;
	struct scratch *scratch = scratch_get();
	enum delta_owner owner = DELTA_ABSENT;
	int rc;

	if (count == 0 || count > DELTA_BLOCKS_MAX || outside(block, count, delta_blocks(delta)))
		return -EINVAL;
	if (!scratch)
		return -ENOMEM;
	rc = atomic_load(&log->broken);
	if (rc == 0)
		rc = read_run(log, scratch, buf, count, block, nowait, &owner);
	if (rc < 0)
		return rc;
	if (owner == DELTA_BAD)
		return -EIO;
	if (owner == DELTA_ZERO)
		memset(buf, 0, (size_t)rc * DELTA_BLOCK_BYTES);
	*ret_owner = owner;
	return rc;
}
