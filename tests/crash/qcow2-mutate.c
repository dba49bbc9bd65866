/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Real qcow2 images with some fields changed: read within bounds, or refused.
 *
 * Images that qemu-img made get up to four changes: of a byte, of a number of
 * 2, 4 or 8 bytes (set to an edge, to another number of the image, or moved
 * by one), of the file's length; mostly in the header and in the tables. Of
 * each must hold what cowwalk.h says, and no allocation may be larger than what
 * the largest cluster needs packed.
 *
 * SEED=, CHANGES= of each image (default 2000, DEEP=1: 200000).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/qcow2.h"
#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/round.h"
#include "tests/lib/cow.h"
#include "tests/lib/cowwalk.h"
#include "tests/lib/rng.h"
#include "tests/lib/share.h"
#include "tests/lib/temp.h"

#define FILE_MAX (64u << 20)
#define LARGE (1u << 20)
#define ALLOCATION_MAX (2u << QCOW2_CLUSTER_BITS_MAX)

void *__real_malloc(size_t len);
void *__wrap_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__real_aligned_alloc(size_t align, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);

/* The largest while an image is looked at. */
static bool watched;
static size_t largest;

static void watch(size_t len)
{
	if (watched && len > largest)
		largest = len;
}

void *__wrap_malloc(size_t len)
{
	watch(len);
	return __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	watch(n * len);
	return __real_calloc(n, len);
}

void *__wrap_aligned_alloc(size_t align, size_t len)
{
	watch(len);
	return __real_aligned_alloc(align, len);
}

static const struct {
	const char *options;
	const char *commands;
	const char *after; /* commands behind a snapshot; NULL: no snapshot */
} images[] = {
	{"compat=0.10,cluster_size=512", "-c 'write -P 1 0 9k' -c 'write -P 2 100k 2k'", NULL},
	{"compat=1.1,cluster_size=4k", "-c 'write -P 1 0 9k' -c 'write -z 64k 8k'",
		"-c 'write -P 3 0 64k' -c 'discard 8k 8k'"},
	{"compat=1.1,cluster_size=64k", "-c 'write -c -P 1 0 64k' -c 'write -c -P 2 128k 64k'",
		NULL},
	{"compat=1.1,cluster_size=1k,compression_type=zstd",
		"-c 'write -c -P 1 0 1k' -c 'write -c -P 2 5k 1k'", "-c 'write -c -P 2 9k 1k'"},
	{"compat=1.1,cluster_size=16k,extended_l2=on",
		"-c 'write -P 1 1k 5k' -c 'write -z 8k 2k' -c 'write -P 1 60k 30k'", NULL},
	{"compat=1.1,cluster_size=512,preallocation=metadata", "-c 'write -P 1 0 1k'", NULL},
	{"compat=1.1,cluster_size=2M", "-c 'write -c -P 1 0 2M'", NULL},
};
#define N_IMAGES (sizeof(images) / sizeof(images[0]))

static char dir[TEMP_PATH_MAX];
static uint64_t seed;
static uint64_t changes;
enum counter { C_OPENED, C_REFUSED, N_COUNTERS };
static uint64_t counters[N_COUNTERS];

static bool make(uint64_t number)
{
	char command[2048];

	snprintf(command, sizeof(command),
		"cd %s && exec >log 2>&1; qemu-img create -f qcow2 -o '%s' %" PRIu64 " 4M && "
		"qemu-io -f qcow2 %s %" PRIu64 " && { [ -z \"%s\" ] || "
		"{ qemu-img snapshot -c s %" PRIu64 " && qemu-io -f qcow2 %s %" PRIu64 "; }; }",
		dir, images[number].options, number, images[number].commands, number,
		images[number].after ? images[number].after : "", number,
		images[number].after ? images[number].after : "", number);
	return system(command) == 0;
}

static uint64_t get_number(const struct cow *cow, uint64_t at)
{
	be64 v;

	memcpy(&v, cow->data + at, sizeof(v));
	return be64_get(v);
}

static uint64_t some_number(const struct cow *cow, uint64_t *rng, uint64_t old)
{
	switch (rng_below(rng, 6)) {
	case 0:
		return rng_next(rng);
	case 1:
		return UINT64_C(1) << rng_below(rng, 64);
	case 2:
		return ~(UINT64_C(1) << rng_below(rng, 64));
	case 3:
		return get_number(cow, rng_below(rng, cow->len / 8) * 8);
	case 4:
		return old ^ UINT64_C(1) << rng_below(rng, 64);
	default:
		return old + rng_below(rng, 3) - 1;
	}
}

/* Half of the time in the header, else where something is. */
static uint64_t some_place(const struct cow *cow, uint64_t *rng)
{
	uint64_t at = 0;

	if (rng_below(rng, 2))
		return rng_below(rng, 16) * 8;
	for (int i = 0; i < 1000; i++) {
		at = rng_below(rng, cow->len / 8) * 8;
		if (get_number(cow, at) != 0)
			break;
	}
	return at;
}

static void change(struct cow *cow, uint64_t *rng)
{
	static const size_t widths[] = {1, 2, 4, 8, 8};
	size_t width = widths[rng_below(rng, 5)];
	uint64_t at = some_place(cow, rng) + rng_below(rng, 8 / width) * width;
	be64 v = be64_put(some_number(cow, rng, get_number(cow, round_down(at, 8))));

	if (rng_below(rng, 20) == 0) {
		cow->len = 512 + rng_below(rng, cow->len - 511);
		cow->bytes.size_bytes = cow->len;
		return;
	}
	memcpy(cow->data + at, v.byte + 8 - width, width);
}

static void look(struct cow *cow)
{
	bool opens;

	watched = true;
	opens = cowwalk(cow);
	watched = false;
	counters[opens ? C_OPENED : C_REFUSED]++;
}

static int change_image(void *ctx, uint64_t number)
{
	AUTO_FREE char *data = NULL;
	uint64_t rng = seed + number;
	char path[TEMP_PATH_MAX + 32];
	size_t len;

	snprintf(path, sizeof(path), "%s/%" PRIu64, dir, number);
	if (!make(number) || io_slurp(&io_kernel, -1, path, FILE_MAX, &data, &len) < 0) {
		fprintf(stderr, "qcow2-mutate: cannot make an image (%s)\n",
			images[number].options);
		return -1;
	}
	/* A large one takes its time to copy. */
	for (uint64_t i = 0; i < (len > LARGE ? changes / 16 : changes); i++) {
		struct cow cow;

		cow_wrap(&cow, data, len);
		for (uint64_t n = i ? 1 + rng_below(&rng, 4) : 0; n > 0; n--)
			change(&cow, &rng);
		look(&cow);
		cow_free(&cow);
	}
	if (largest <= ALLOCATION_MAX)
		return 0;
	fprintf(stderr, "qcow2-mutate: %s: %zu bytes allocated at once (SEED=%" PRIu64 ")\n",
		images[number].options, largest, seed);
	return -1;
}

int main(void)
{
	const struct share_task task = {
		.fn = change_image, .counters = counters, .n_counters = N_COUNTERS};
	uint64_t failed;

	seed = rng_seed();
	changes = env_number("CHANGES", env_number("DEEP", 0) ? 200000 : 2000);
	printf("qcow2-mutate: seed %" PRIu64 "\n", seed);
	fflush(stdout);
	temp_dir_fast("qcow2-mutate", dir);
	failed = share_out(&task, N_IMAGES);
	temp_dir_remove(dir);
	printf("qcow2-mutate: %" PRIu64 " read, %" PRIu64 " refused, %" PRIu64 " images failed\n",
		counters[C_OPENED], counters[C_REFUSED], failed);
	return failed != 0 || counters[C_OPENED] == 0 || counters[C_REFUSED] == 0;
}
