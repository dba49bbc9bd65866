/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Check and repair of logs whose segments were cleaned and reused, damaged anywhere.
 *
 * Each round: a store of several lives, then one byte or sector of its log,
 * super block or checkpoint, or the length of a file, is damaged; the repaired
 * store is clean and shows no wrong byte (onestore.h).
 *
 * SEED=, STORES= (default 12), PLACES= of each (default 40).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/format.h"
#include "fs/store/slot.h"
#include "tests/lib/onestore.h"
#include "tests/lib/rng.h"

static uint64_t repaired, cuts, lost_blocks, unseen;

/* A file that is there; the log three times of four. */
static const char *some_file(void)
{
	uint64_t n = rng_below(&onestore.rng, 8);

	if (n == 0)
		return "super";
	return n == 1 && onestore_has("ckpt") ? "ckpt" : "log";
}

/* Headers, and the records behind them, more often than payloads. */
static uint64_t some_place(const char *suffix)
{
	uint64_t len = onestore_file_bytes(suffix);
	uint32_t slot = slot_of(rng_below(&onestore.rng, len));

	if (strcmp(suffix, "log") != 0 || rng_below(&onestore.rng, 3) == 0)
		return rng_below(&onestore.rng, len);
	if (rng_below(&onestore.rng, 2))
		return slot_start(slot) + rng_below(&onestore.rng, 100);
	return slot_start(slot) + FORMAT_PAGE +
		rng_below(&onestore.rng, slot_bytes(slot) - FORMAT_PAGE);
}

static void lose_sector(const char *suffix, uint64_t at)
{
	static const uint8_t zeros[512];
	int fd = onestore_file(suffix);

	assert_true(pwrite(fd, zeros, sizeof(zeros), (off_t)(at / 512 * 512)) > 0);
	close(fd);
}

static void shorten(const char *suffix, uint64_t len)
{
	int fd = onestore_file(suffix);

	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	close(fd);
}

static void damage(void)
{
	const char *suffix = some_file();
	uint64_t at = some_place(suffix), kind = rng_below(&onestore.rng, 8);

	snprintf(onestore.damage, sizeof(onestore.damage), "%s at %" PRIu64 " (slot %" PRIu32 "): %s",
		suffix, at, slot_of(at), kind == 0 ? "shorter" : kind < 3 ? "a sector" : "a bit");
	switch (kind) {
	case 0:
		shorten(suffix, at);
		break;
	case 1:
	case 2:
		lose_sector(suffix, at);
		break;
	default:
		onestore_flip(suffix, at, (unsigned int)rng_below(&onestore.rng, 8));
		break;
	}
}

static void repaired_is_clean(void **state)
{
	uint64_t stores = env_number("STORES", 12), places = env_number("PLACES", 40);

	for (uint64_t i = 0; i < stores; i++) {
		enum ending ending = i % 2 ? KILLED : CLEAN;

		onestore_make_busy(ending);
		assert_int_equal(onestore_check(NO, true), 0);
		for (uint64_t k = 0; k < places; k++) {
			onestore_restore();
			damage();
			onestore_repair(ending == KILLED);
			unseen += onestore.found_codes == 0;
			repaired += onestore.found_codes != 0;
			cuts += onestore.cut;
			lost_blocks += onestore_bad_blocks() > 0;
		}
	}
	print_message("%" PRIu64 " repaired (%" PRIu64 " by going back, %" PRIu64
		      " with lost blocks), %" PRIu64 " without a meaning\n",
		repaired, cuts, lost_blocks, unseen);
	assert_true(repaired > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(repaired_is_clean),
	};

	return cmocka_run_group_tests(tests, onestore_setup, onestore_teardown);
}
