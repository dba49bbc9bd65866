/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tests of slots do to a delta: fill segments, free them, look at headers. Include cmocka.h first. */
#ifndef TESTS_UNIT_FS_STORE_SLOTS_H
#define TESTS_UNIT_FS_STORE_SLOTS_H

#include <unistd.h>

#include "fs/store/handle.h"
#include "fs/store/recycle.h"
#include "fs/util/cleanup.h"
#include "tests/lib/onedelta.h"

static inline enum slot_state state_of(struct delta *delta, uint32_t slot)
{
	SCOPED_LOCK(&delta->log.lock);
	const struct segment_entry *entry = segment_table_entry(&delta->log.segments, slot);

	return entry ? entry->state : SLOT_UNUSED;
}

static inline void retire(struct delta *delta, uint32_t slot)
{
	assert_int_equal(log_retire(&delta->log, &slot, 1), 0);
}

/* Write version by version over the same blocks until the tail lies in slot,
 * and once more, so that all of the last one does. */
static inline unsigned int write_until(struct delta *delta, uint32_t slot, unsigned int version)
{
	for (int i = 0; delta->log.tail.slot != slot; i++) {
		assert_true(i < 5000);
		onedelta_put(delta, ++version, 0, 8);
	}
	onedelta_put(delta, ++version, 0, 8);
	return version;
}

/* Begin the next segment, whatever is left in this one. */
static inline void next_segment(struct delta *delta, unsigned int version)
{
	uint64_t seq = delta->log.tail.seq;

	while (delta->log.tail.seq == seq)
		onedelta_put(delta, version, 3000, 8);
}

static inline void read_page(uint64_t off, uint8_t page[static FORMAT_PAGE])
{
	int fd = onedelta_file("log");

	assert_int_equal(pread(fd, page, FORMAT_PAGE, (off_t)off), FORMAT_PAGE);
	close(fd);
}

static inline void write_page(uint64_t off, const uint8_t page[static FORMAT_PAGE])
{
	int fd = onedelta_file("log");

	assert_int_equal(pwrite(fd, page, FORMAT_PAGE, (off_t)off), FORMAT_PAGE);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static inline void read_header(uint32_t slot, struct segment *ret)
{
	union {
		uint8_t page[FORMAT_PAGE];
		struct format_segment raw;
	} all;
	struct super super;
	int fd = onedelta_file("super");

	assert_int_equal(super_read(&io_kernel, fd, &super, NULL, NULL), 0);
	close(fd);
	read_page(slot_start(slot), all.page);
	assert_int_equal(segment_decode(&all.raw, &super, slot, ret), 0);
}

#endif
