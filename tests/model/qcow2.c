/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images that qemu-img and qemu-io made, read by us and by qemu-img: the same bytes.
 *
 * Each image has another mixture of version, cluster size, subclusters,
 * preallocation, compression, refcount width, backing file, data file, size;
 * it is written, zeroed, discarded, compressed, snapshotted, resized and left
 * dirty at random, or made by qemu-img convert. Then the whole disk, random
 * reads of it, and each snapshot are compared with what qemu-img convert makes
 * of them.
 *
 * SEED=, IMAGES= (default 208).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/round.h"
#include "tests/lib/cow.h"
#include "tests/lib/cowread.h"
#include "tests/lib/rng.h"
#include "tests/lib/share.h"
#include "tests/lib/temp.h"

#define COMMAND_MAX 16384
#define WRITES 14
#define RANDOM_READS 64
#define READ_MAX (256u << 10)
#define SNAPSHOTS 2
#define FILE_MAX (512u << 20)

enum counter {
	C_IMAGES,
	C_DISKS,
	C_DATA,
	C_ZERO,
	C_PACKED_ZLIB,
	C_PACKED_ZSTD,
	C_BELOW,
	C_SUBCLUSTERS,
	C_DATA_FILES,
	C_DIRTY,
	C_RESIZED,
	N_WANTED,
	C_CORRUPT = N_WANTED,
	C_UNREADABLE,
	N_COUNTERS,
};

static const char *const counter_names[N_COUNTERS] = {"images", "disks", "data extents",
	"zero extents", "zlib clusters", "zstd clusters", "extents below", "with subclusters",
	"with a data file", "dirty", "resized", "made corrupt by QEMU", "unreadable to QEMU"};

static char dir[TEMP_PATH_MAX];
static uint64_t seed;
static uint64_t counters[N_COUNTERS];

struct image {
	uint64_t rng;
	uint64_t number;
	uint32_t cluster_bits;
	uint64_t size_bytes;
	bool old; /* version 2 */
	bool extended, zstd, lazy, backed, data_file, data_raw, killed;
	unsigned int snapshots;
	char options[512];
};

/* Run a shell command in our directory. False: it failed. */
static bool __attribute__((format(printf, 1, 2))) run(const char *fmt, ...)
{
	AUTO_FREE char *command = malloc(COMMAND_MAX + TEMP_PATH_MAX + 64);
	va_list ap;
	int used;

	if (!command)
		abort();
	used = sprintf(command, "cd %s && exec 3>&2 >>log 2>&1; ", dir);
	va_start(ap, fmt);
	vsnprintf(command + used, COMMAND_MAX, fmt, ap);
	va_end(ap);
	return system(command) == 0;
}

static bool one_in(struct image *image, uint64_t n)
{
	return rng_below(&image->rng, n) == 0;
}

static void add_option(struct image *image, const char *name, const char *value)
{
	size_t used = strlen(image->options);

	snprintf(image->options + used, sizeof(image->options) - used, ",%s=%s", name, value);
}

static void choose_data_file(struct image *image)
{
	char name[TEMP_PATH_MAX + 32];

	image->data_file = true;
	image->data_raw = one_in(image, 2);
	image->backed &= !image->data_raw;
	snprintf(name, sizeof(name), "%" PRIu64 ".data", image->number);
	add_option(image, "data_file", name);
	if (image->data_raw)
		add_option(image, "data_file_raw", "on");
}

static void choose_new(struct image *image)
{
	static const char *const refcount_bits[] = {"8", "32", "64"};

	image->extended = image->cluster_bits >= 14 && one_in(image, 2);
	image->zstd = one_in(image, 2);
	image->lazy = one_in(image, 4);
	if (image->extended)
		add_option(image, "extended_l2", "on");
	if (image->lazy)
		add_option(image, "lazy_refcounts", "on");
	if (one_in(image, 8))
		choose_data_file(image);
	else if (image->zstd)
		add_option(image, "compression_type", "zstd");
	if (one_in(image, 5))
		add_option(image, "refcount_bits", refcount_bits[rng_below(&image->rng, 3)]);
}

static void choose(struct image *image, uint64_t number)
{
	static const char *const preallocation[] = {"metadata", "falloc", "full"};
	char text[32];

	*image = (struct image){.rng = seed * 1000003 + number, .number = number};
	rng_next(&image->rng);
	image->cluster_bits = QCOW2_CLUSTER_BITS_MIN + (uint32_t)(number % 13);
	image->size_bytes =
		512 * (1 + rng_below(&image->rng, image->cluster_bits < 12 ? 4096 : 16384));
	image->old = one_in(image, 5);
	image->backed = one_in(image, 2);
	snprintf(text, sizeof(text), "%" PRIu64, UINT64_C(1) << image->cluster_bits);
	add_option(image, "cluster_size", text);
	add_option(image, "compat", image->old ? "0.10" : "1.1");
	if (!image->old)
		choose_new(image);
	if (!image->backed && one_in(image, 3))
		add_option(image, "preallocation", preallocation[rng_below(&image->rng, 3)]);
}

/* A stretch of the disk in whole units. */
static void stretch(struct image *image, uint64_t unit, uint64_t *ret_off, uint64_t *ret_len)
{
	uint64_t units = image->size_bytes / unit;

	*ret_off = rng_below(&image->rng, units) * unit;
	*ret_len = (1 + rng_below(&image->rng, min_u64(units, max_u64(1, (512u << 10) / unit)))) *
		   unit;
	*ret_len = min_u64(*ret_len, image->size_bytes - *ret_off);
}

static int say_write(struct image *image, char *text, size_t room)
{
	uint64_t cluster = UINT64_C(1) << image->cluster_bits;
	const char *source = one_in(image, 2) ? "-s noise" : "-P 7";
	uint64_t off, len;

	stretch(image, image->size_bytes >= cluster && one_in(image, 3) ? cluster : 512, &off,
		&len);
	switch (rng_below(&image->rng, 7)) {
	case 0:
		return snprintf(text, room, " -c 'write -z %" PRIu64 " %" PRIu64 "'", off, len);
	case 1:
		return snprintf(text, room, " -c 'write -z -u %" PRIu64 " %" PRIu64 "'", off, len);
	case 2:
		return snprintf(text, room, " -c 'discard %" PRIu64 " %" PRIu64 "'", off, len);
	case 3:
	case 4:
		off = round_down(off, cluster);
		if (image->data_file || image->size_bytes - off < cluster)
			break;
		return snprintf(text, room, " -c 'write -c %s %" PRIu64 " %" PRIu64 "'", source,
			off, cluster);
	default:
		break;
	}
	return snprintf(text, room, " -c 'write %s %" PRIu64 " %" PRIu64 "'", source, off, len);
}

/* A compressed write fails where a cluster is already; the counters tell
 * whether enough succeed. */
static void write_some(struct image *image)
{
	char text[COMMAND_MAX / 2] = "";
	size_t used = 0;

	for (int i = 0; i < WRITES; i++)
		used += (size_t)say_write(image, text + used, sizeof(text) - used);
	/* Killed: refcounts are behind, and the image says so. */
	image->killed = image->lazy && one_in(image, 2);
	run("qemu-io -f qcow2 %s %s %" PRIu64 ".qcow2", text,
		image->killed ? "-c flush -c 'sigraise 9'" : "", image->number);
}

static void take_snapshot(struct image *image)
{
	/* A data file has none. */
	if (image->data_file || image->snapshots == SNAPSHOTS || one_in(image, 2))
		return;
	if (run("qemu-img snapshot -c s%u %" PRIu64 ".qcow2", image->snapshots, image->number))
		image->snapshots++;
}

static void resize(struct image *image)
{
	uint64_t size_bytes = 512 * (1 + rng_below(&image->rng, 2 * image->size_bytes / 512));

	if (one_in(image, 2))
		return;
	/* Some mixtures cannot be; then the size stays. */
	if (run("qemu-img resize --shrink -f qcow2 %" PRIu64 ".qcow2 %" PRIu64, image->number,
		    size_bytes)) {
		image->size_bytes = size_bytes;
		counters[C_RESIZED]++;
	}
}

static bool make_by_convert(struct image *image)
{
	bool can_pack = !image->data_file && !strstr(image->options, "preallocation");
	const char *packed = can_pack && one_in(image, 2) ? "-c" : "";

	image->backed = false;
	return run("qemu-img create -f raw %" PRIu64 ".src %" PRIu64 " && "
		   "qemu-io -f raw -c 'write -s noise %" PRIu64 " 512' -c 'write -P 3 0 512' "
		   "%" PRIu64 ".src && "
		   "qemu-img convert -f raw -O qcow2 %s -W -m 3 -o '%s' %" PRIu64 ".src "
		   "%" PRIu64 ".qcow2",
		image->number, image->size_bytes,
		round_down(rng_below(&image->rng, image->size_bytes), 512), image->number, packed,
		image->options + 1, image->number, image->number);
}

static bool make_by_writing(struct image *image)
{
	if (!run("qemu-img create -f qcow2 -o '%s' %s %" PRIu64 ".qcow2 %" PRIu64,
		    image->options + 1, image->backed ? "-b base.raw -F raw" : "", image->number,
		    image->size_bytes))
		return false;
	for (int round = 0; round < SNAPSHOTS + 1; round++) {
		write_some(image);
		if (round == SNAPSHOTS)
			break;
		take_snapshot(image);
		if (round == 0)
			resize(image);
	}
	return true;
}

static int load(struct cow *cow, const char *fmt, uint64_t number)
{
	AUTO_FREE char *data = NULL;
	char name[TEMP_PATH_MAX + 64];
	size_t used = (size_t)sprintf(name, "%s/", dir);
	size_t len;
	int rc;

	snprintf(name + used, sizeof(name) - used, fmt, number);
	rc = io_slurp(&io_kernel, -1, name, FILE_MAX, &data, &len);
	if (rc < 0)
		fprintf(stderr, "qcow2: %s: %s\n", name, strerror(-rc));
	else
		cow_wrap(cow, data, len);
	return rc;
}

static int differ(struct image *image, const char *what, uint64_t off, size_t len, int rc)
{
	fprintf(stderr,
		"qcow2: image %" PRIu64 " (%s%s)%s%s: %zu bytes at %" PRIu64 ": %s (SEED=%" PRIu64
		")\n",
		image->number, image->options + 1, image->backed ? ", backed" : "",
		what ? ", snapshot " : "", what ? what : "", len, off,
		rc < 0 ? strerror(-rc) : "not what qemu-img reads", seed);
	return -1;
}

static int compare_read(struct image *image, struct cowread *read, const struct cow *want,
	const char *snapshot, uint64_t off, size_t len)
{
	AUTO_FREE uint8_t *buf = malloc(len);
	int rc = buf ? cowread(read, buf, len, off) : -ENOMEM;

	if (rc == 0 && memcmp(buf, want->data + off, len) == 0)
		return 0;
	return differ(image, snapshot, off, len, rc);
}

/* Whole, in pieces of a megabyte; then anywhere. */
static int compare_all(struct image *image, struct cowread *read, const struct cow *want,
	uint64_t size_bytes, const char *snapshot)
{
	int rc = 0;

	for (uint64_t off = 0; rc == 0 && off < size_bytes; off += 1u << 20)
		rc = compare_read(image, read, want, snapshot, off,
			(size_t)min_u64(1u << 20, size_bytes - off));
	for (int i = 0; rc == 0 && i < RANDOM_READS && size_bytes > 0; i++) {
		uint64_t off = rng_below(&image->rng, size_bytes);
		uint64_t len = 1 + rng_below(&image->rng, READ_MAX);

		rc = compare_read(
			image, read, want, snapshot, off, (size_t)min_u64(len, size_bytes - off));
	}
	return rc;
}

static void count(const struct image *image, const struct cowread *read)
{
	counters[C_DISKS]++;
	counters[C_DATA] += read->extents[EXTENT_DATA];
	counters[C_ZERO] += read->extents[EXTENT_ZERO];
	counters[C_BELOW] += read->extents[EXTENT_BELOW];
	counters[image->zstd ? C_PACKED_ZSTD : C_PACKED_ZLIB] += read->extents[EXTENT_PACKED];
}

/* The image as it is (snapshot NULL), or a snapshot of it, against want. */
static int compare_disk(struct image *image, struct cow *file, struct cow *data, struct cow *base,
	const struct cow *want, const char *snapshot)
{
	struct cowread read = {
		.data = &file->bytes, .backing = image->backed ? &base->bytes : NULL};
	struct err err = {0};
	const struct qcow2_info *info;
	uint64_t size_bytes;
	int rc;

	if (qcow2_open(&file->bytes, "image", snapshot, &read.qcow2, &err) < 0) {
		fprintf(stderr, "qcow2: image %" PRIu64 " (%s): %s (SEED=%" PRIu64 ")\n",
			image->number, image->options + 1, err.message, seed);
		return -1;
	}
	info = qcow2_info(read.qcow2);
	if (info->data_name) {
		qcow2_give_data(read.qcow2, &data->bytes);
		read.data = &data->bytes;
	}
	/* qemu-img gives a snapshot the size of the image. */
	size_bytes = snapshot ? min_u64(info->size_bytes, want->len) : info->size_bytes;
	rc = snapshot || size_bytes == want->len ? 0 : differ(image, "size", size_bytes, 0, 0);
	if (rc == 0)
		rc = compare_all(image, &read, want, size_bytes, snapshot);
	count(image, &read);
	qcow2_close(read.qcow2);
	return rc;
}

static int cannot(const struct image *image, const char *what)
{
	fprintf(stderr, "qcow2: image %" PRIu64 " (%s) cannot be %s (SEED=%" PRIu64 ")\n",
		image->number, image->options + 1, what, seed);
	run("tail -n 5 log >&3");
	return -1;
}

/* QEMU 7.2 sometimes writes into a compressed cluster of its own, and then
 * cannot read it: nor may we. */
static int fail_as_well(const struct image *image, struct cow *file, const char *snapshot)
{
	struct cowread read = {.data = &file->bytes};
	AUTO_FREE uint8_t *buf = NULL;
	int rc;

	counters[C_UNREADABLE]++;
	if (image->data_file || qcow2_open(&file->bytes, "image", snapshot, &read.qcow2, NULL) < 0)
		return cannot(image, "converted");
	buf = malloc(qcow2_info(read.qcow2)->size_bytes);
	rc = buf ? cowread(&read, buf, qcow2_info(read.qcow2)->size_bytes, 0) : -ENOMEM;
	qcow2_close(read.qcow2);
	return rc == -EUCLEAN ? 0 : cannot(image, "converted");
}

static int compare_snapshot(struct image *image, struct cow *file, struct cow *base, unsigned int i)
{
	char name[16];
	struct cow want;
	int rc;

	snprintf(name, sizeof(name), "s%u", i);
	if (!run("qemu-img convert -f qcow2 -l snapshot.name=%s -O raw %" PRIu64 ".qcow2 "
		 "%" PRIu64 ".raw",
		    name, image->number, image->number))
		return fail_as_well(image, file, name);
	if (load(&want, "%" PRIu64 ".raw", image->number) < 0)
		return -1;
	rc = compare_disk(image, file, NULL, base, &want, name);
	cow_free(&want);
	return rc;
}

static int compare_all_disks(
	struct image *image, struct cow *file, struct cow *data, struct cow *base)
{
	struct cow want;
	int rc;

	if (!run("qemu-img convert -f qcow2 -O raw %" PRIu64 ".qcow2 %" PRIu64 ".raw",
		    image->number, image->number))
		return fail_as_well(image, file, NULL);
	if (load(&want, "%" PRIu64 ".raw", image->number) < 0)
		return -1;
	rc = compare_disk(image, file, data, base, &want, NULL);
	cow_free(&want);
	for (unsigned int i = 0; rc == 0 && i < image->snapshots; i++)
		rc = compare_snapshot(image, file, base, i);
	return rc;
}

static int compare(struct image *image)
{
	struct cow file = {0}, data = {0}, base = {0};
	int rc = -1;

	if (load(&file, "%" PRIu64 ".qcow2", image->number) == 0 &&
		load(&base, "base.raw", 0) == 0 &&
		(!image->data_file || load(&data, "%" PRIu64 ".data", image->number) == 0))
		rc = compare_all_disks(image, &file, &data, &base);
	cow_free(&file);
	cow_free(&data);
	cow_free(&base);
	return rc;
}

/* QEMU 7.2 sometimes runs into an L2 table of its own when it writes compressed
 * clusters of small images, and marks the image: then we must refuse it. */
static bool is_corrupt(const struct image *image)
{
	struct cow cow;
	bool corrupt;

	if (image->old || load(&cow, "%" PRIu64 ".qcow2", image->number) < 0)
		return false;
	corrupt = be64_get(cow_header(&cow)->incompatible) & QCOW2_CORRUPT;
	cow_free(&cow);
	return corrupt;
}

static int refuse_corrupt(const struct image *image)
{
	struct qcow2 *q = NULL;
	struct cow cow;
	int rc;

	counters[C_CORRUPT]++;
	if (load(&cow, "%" PRIu64 ".qcow2", image->number) < 0)
		return -1;
	rc = qcow2_open(&cow.bytes, "image", NULL, &q, NULL);
	qcow2_close(q);
	cow_free(&cow);
	return rc == -EUCLEAN ? 0 : -1;
}

static int one_image(void *ctx, uint64_t number)
{
	struct image image;
	bool made;
	int rc;

	choose(&image, number);
	made = one_in(&image, 4) ? make_by_convert(&image) : make_by_writing(&image);
	if (!made)
		return cannot(&image, "made");
	counters[C_IMAGES]++;
	counters[C_SUBCLUSTERS] += image.extended;
	counters[C_DATA_FILES] += image.data_file;
	counters[C_DIRTY] += image.killed;
	rc = is_corrupt(&image) ? refuse_corrupt(&image) : compare(&image);
	run("rm -f %" PRIu64 ".*", number);
	return rc;
}

int main(void)
{
	const struct share_task task = {
		.fn = one_image, .counters = counters, .n_counters = N_COUNTERS};
	uint64_t images = env_number("IMAGES", 208);
	uint64_t failed;

	seed = rng_seed();
	temp_dir_fast("qcow2", dir);
	if (!run("head -c 300000 /dev/urandom > noise; head -c 40000 /dev/zero >> noise;"
		 "qemu-img create -f raw base.raw 5000192 &&"
		 "qemu-io -f raw -c 'write -s noise 0 1500k' -c 'write -P 9 3M 1M' base.raw")) {
		fprintf(stderr, "qcow2: cannot make images in %s\n", dir);
		return 1;
	}
	failed = share_out(&task, images);
	printf("qcow2: seed %" PRIu64 ":", seed);
	for (int i = 0; i < N_COUNTERS; i++)
		printf("%s %" PRIu64 " %s", i ? "," : "", counters[i], counter_names[i]);
	printf(", %" PRIu64 " failed\n", failed);
	/* What was never met was not compared. */
	for (int i = 0; images >= 200 && i < N_WANTED; i++) {
		if (counters[i] == 0) {
			fprintf(stderr, "qcow2: no %s\n", counter_names[i]);
			failed++;
		}
	}
	temp_dir_remove(dir);
	return failed != 0;
}
