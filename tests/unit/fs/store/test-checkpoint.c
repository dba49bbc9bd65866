/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checkpoints: what was written comes back, and nothing else does. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/checkpoint.h"
#include "fs/store/slot.h"
#include "fs/util/hash.h"
#include "fs/util/id.h"
#include "tests/lib/rng.h"
#include "tests/lib/saboteur.h"
#include "tests/lib/temp.h"

#define NAME "00112233445566778899aabbccddeeff"
#define BLOCKS 100000u
#define SLOTS 3u

static char dir[TEMP_PATH_MAX];
static int dirfd_ = -1;
static struct super super;

static int make_dir(void **state)
{
	temp_dir("test-checkpoint", dir);
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	super = (struct super){
		.key = {random_u64(), random_u64()},
		.size_bytes = (uint64_t)BLOCKS * DELTA_BLOCK_BYTES,
	};
	return dirfd_ < 0 || id_parse(NAME, &super.id) < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
	close(dirfd_);
	temp_dir_remove(dir);
	return 0;
}

/* Its own files, so that one test's do not help another. */
static int remove_files(void **state)
{
	return checkpoint_remove(&io_kernel, dirfd_, NAME);
}

static struct checkpoint_slot slots[SLOTS] = {
	{.seq = 7, .epoch = 1, .first_lsn = 1, .flags = FORMAT_SLOT_USED | FORMAT_SLOT_SEALED},
	{.seq = 3, .flags = FORMAT_SLOT_FREE},
	{.seq = 8, .epoch = 2, .first_lsn = 90, .flags = FORMAT_SLOT_USED | FORMAT_SLOT_OTHER},
};

static struct checkpoint example(void)
{
	return (struct checkpoint){
		.place = {
			.lsn = 100,
			.seq = 8,
			.off = FORMAT_PAGE + 800,
			.chain = 0x1122334455667788,
			.size_bytes = super.size_bytes,
			.written_sec = 1234567890,
		},
		.n_slots = SLOTS,
		.slots = slots,
	};
}

/* Data in slots 0 and 2, a run of zeros, one of bad blocks. */
static void fill(struct index *index, uint32_t n)
{
	assert_int_equal(index_init(index), 0);
	assert_int_equal(index_cover_slots(index, SLOTS), 0);
	for (uint32_t i = 0; i < n; i++) {
		struct index_place place = {
			.pos = slot_start(i % 2 ? 0 : 2) + FORMAT_PAGE + i % 1000 * 8,
			.len = (uint16_t)(1 + i % 4096),
		};

		assert_int_equal(index_reserve(index, index_pages_for(1)), 0);
		index_put_data(index, i * 2 % 60000, 1, &place);
	}
	assert_int_equal(index_reserve(index, index_pages_for(1)), 0);
	index_put_zero(index, 70000, 20000);
	assert_int_equal(index_reserve(index, index_pages_for(1)), 0);
	index_put_bad(index, 80000, 3);
}

static int write_example(const struct io_gate *io, struct index *index)
{
	struct checkpoint checkpoint = example();
	struct index_image image;
	int rc;

	assert_int_equal(index_image(index, &image), 0);
	rc = checkpoint_write(io, dirfd_, NAME, &super, &checkpoint, &image);
	free(image.entry);
	return rc;
}

static void assert_same(struct index *a, struct index *b)
{
	struct index_image x, y;

	assert_int_equal(index_image(a, &x), 0);
	assert_int_equal(index_image(b, &y), 0);
	assert_int_equal(x.n, y.n);
	assert_memory_equal(x.entry, y.entry, x.n * sizeof(*x.entry));
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_int_equal(index_slot_live(a, slot), index_slot_live(b, slot));
	free(x.entry);
	free(y.entry);
}

/* It is there and says what `expected` does. */
static void assert_readable(struct index *expected)
{
	struct checkpoint found, want = example();
	struct index index;

	assert_int_equal(index_init(&index), 0);
	assert_int_equal(checkpoint_read(&io_kernel, dirfd_, NAME, &super, &found, &index), 0);
	assert_memory_equal(&found.place, &want.place, sizeof(want.place));
	assert_int_equal(found.n_slots, SLOTS);
	for (uint32_t i = 0; i < SLOTS; i++) {
		assert_int_equal(found.slots[i].seq, slots[i].seq);
		assert_int_equal(found.slots[i].epoch, slots[i].epoch);
		assert_int_equal(found.slots[i].first_lsn, slots[i].first_lsn);
		assert_int_equal(found.slots[i].flags, slots[i].flags);
	}
	assert_same(&index, expected);
	checkpoint_release(&found);
	index_release(&index);
}

/* Reading says rc, and the index is as empty as before. */
static void assert_refused(int rc)
{
	struct checkpoint found;
	struct delta_stats stats = {0};
	struct index index;

	assert_int_equal(index_init(&index), 0);
	assert_int_equal(checkpoint_read(&io_kernel, dirfd_, NAME, &super, &found, &index), rc);
	index_stats(&index, &stats);
	assert_int_equal(stats.data_blocks, 0);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_int_equal(index_slot_live(&index, slot), 0);
	index_release(&index);
}

/* A small one, an empty one, one of several buffers. */
static void comes_back(void **state)
{
	const uint32_t sizes[] = {100, 0, 200000};

	assert_refused(-ENOENT);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct index index;

		fill(&index, sizes[i]);
		assert_int_equal(write_example(&io_kernel, &index), 0);
		assert_readable(&index);
		index_release(&index);
	}
	assert_int_equal(checkpoint_remove(&io_kernel, dirfd_, NAME), 0);
	assert_refused(-ENOENT);
	assert_int_equal(checkpoint_remove(&io_kernel, dirfd_, NAME), 0);
}

static uint8_t *file_of_example(size_t *ret_len)
{
	struct index index;
	char *bytes;

	fill(&index, 100);
	assert_int_equal(write_example(&io_kernel, &index), 0);
	index_release(&index);
	assert_int_equal(
		io_slurp(&io_kernel, dirfd_, NAME ".ckpt", 1 << 20, &bytes, ret_len), 0);
	return (uint8_t *)bytes;
}

static void assert_undecodable(const uint8_t *bytes, size_t len)
{
	struct checkpoint found;
	struct index index;

	assert_int_equal(index_init(&index), 0);
	assert_int_equal(checkpoint_decode(bytes, len, &super, &found, &index), -EUCLEAN);
	index_release(&index);
}

/* Any bit, any length, another delta's: not this one's checkpoint. */
static void damage_is_seen(void **state)
{
	uint64_t rng = rng_seed();
	struct super other = super;
	struct checkpoint found;
	struct index index;
	size_t len;
	uint8_t *bytes = file_of_example(&len);

	print_message("SEED=%" PRIu64 "\n", rng);
	for (size_t i = 0; i < len; i++) {
		uint8_t bit = (uint8_t)(1u << rng_below(&rng, 8));

		bytes[i] ^= bit;
		assert_undecodable(bytes, len);
		bytes[i] ^= bit;
		assert_undecodable(bytes, i);
	}
	assert_int_equal(index_init(&index), 0);
	other.key[0]++;
	assert_int_equal(checkpoint_decode(bytes, len, &other, &found, &index), -EUCLEAN);
	assert_int_equal(checkpoint_decode(bytes, len, &super, &found, &index), 0);
	checkpoint_release(&found);
	index_release(&index);
	free(bytes);
}

/* Change one field of a whole file and sum it anew. */
static void assert_field_refused(uint8_t *bytes, size_t len, size_t at, uint64_t value, size_t n)
{
	uint8_t old[8];
	le64 raw = le64_put(value), sum;

	memcpy(old, bytes + at, n);
	memcpy(bytes + at, &raw, n);
	sum = le64_put(hash64(bytes, len - 8, super.key[0]));
	memcpy(bytes + len - 8, &sum, 8);
	assert_undecodable(bytes, len);
	memcpy(bytes + at, old, n);
}

/* A right sum does not make wrong fields right. */
static void fields_are_checked(void **state)
{
	const size_t slot0 = 4096, slot1 = slot0 + 32, flags = 24;
	size_t len;
	uint8_t *bytes = file_of_example(&len);
	const struct {
		size_t at;
		uint64_t value;
		size_t n;
	} bad[] = {
		{0, 1, 8},
		{8, FORMAT_VERSION + 1, 4},
		{12, SLOTS + 1000, 4},
		{12, UINT32_MAX, 4},
		{16, 1, 8},
		{32, FORMAT_COUNTER_MAX, 8},
		{40, 9, 8},  /* no slot holds it */
		{40, 3, 8},  /* free */
		{48, 4088, 8},
		{48, FORMAT_PAGE + 4, 8},
		{48, SLOT_FULL_BYTES + 8, 8},
		{48, slot_bytes(2) + 8, 8},
		{64, 0, 8},
		{64, UINT64_MAX, 8},
		{72, 0, 8},
		{72, (BLOCKS + 1) * (uint64_t)DELTA_BLOCK_BYTES, 8},
		{72, 4096, 8}, /* entries beyond it */
		{slot0, 0, 8},
		{slot0 + 16, FORMAT_COUNTER_MAX + 1, 8},
		{slot0 + flags, 0, 4},
		{slot0 + flags, FORMAT_SLOT_FREE, 4}, /* blocks live there */
		{slot1 + flags, FORMAT_SLOT_USED | FORMAT_SLOT_FREE, 4},
		{slot1 + flags, FORMAT_SLOT_FREE | FORMAT_SLOT_SEALED, 4},
		{slot1 + flags, 16, 4},
		{8192, 0, 8}, /* the first entry */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_field_refused(bytes, len, bad[i].at, bad[i].value, bad[i].n);
	free(bytes);
}

/* Each call fails in turn: an error is said, the old one or the new one is
 * there, and no temporary file. */
static void failures_leave_one(void **state)
{
	const enum sabotaged_call calls[] = {
		CALL_OPENAT, CALL_PWRITEV, CALL_SYNC, CALL_RENAMEAT,
	};
	struct index old, new;

	fill(&old, 100);
	fill(&new, 200000);
	for (size_t c = 0; c < sizeof(calls) / sizeof(calls[0]); c++) {
		int rc = -1;

		for (uint64_t nth = 1; rc < 0; nth++) {
			struct saboteur saboteur;

			assert_int_equal(write_example(&io_kernel, &old), 0);
			saboteur_init(&saboteur, &io_kernel);
			saboteur.kind = SABOTAGE_FAIL;
			saboteur.call = calls[c];
			saboteur.nth = nth;
			saboteur.error = -ENOSPC;
			rc = write_example(&saboteur.gate, &new);
			assert_int_equal(rc, saboteur.hits ? -ENOSPC : 0);
			/* Behind the rename only the directory's sync can fail. */
			assert_readable(saboteur.count[CALL_RENAMEAT] &&
				calls[c] != CALL_RENAMEAT ? &new : rc == 0 ? &new : &old);
			assert_int_equal(faccessat(dirfd_, NAME ".ckpt.tmp", F_OK, 0), -1);
		}
	}
	index_release(&old);
	index_release(&new);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(comes_back, remove_files),
		cmocka_unit_test_teardown(damage_is_seen, remove_files),
		cmocka_unit_test_teardown(fields_are_checked, remove_files),
		cmocka_unit_test_teardown(failures_leave_one, remove_files),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
