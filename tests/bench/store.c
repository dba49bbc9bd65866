/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store alone: memory that a delta's index takes, and how long a large delta takes to open.
 *
 *	store DIR [MEMORY_MIB [OPEN_MIB]]
 *
 * MEMORY_MIB (1024) are written in each of several patterns; then a delta of
 * random 4 KiB writes whose log has OPEN_MIB (10240) is opened after a kill and
 * after a clean stop. Checkpoints are written in between when they are due, as
 * the daemon does. DIR gets a directory of its own, which is removed at the end.
 * One line per figure: what, value, unit.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/util/clock.h"
#include "fs/util/id.h"
#include "tests/lib/rng.h"
#include "tests/lib/temp.h"

#define SPAN_FOR_OPEN 4 /* times what is written: mostly live data */
#define FLUSH_BLOCKS 16384 /* between two flushes */

static struct {
	int dirfd;
	char name[ID_TEXT];
	struct delta *delta;
	uint64_t rng;
	uint8_t buf[DELTA_BLOCKS_MAX * DELTA_BLOCK_BYTES];
} t;

static void print(const char *what, double value, const char *unit)
{
	printf("%-58s %10.2f %s\n", what, value, unit);
	fflush(stdout);
}

/* A block that does not compress, unlike any other. */
static void fill_noise(void)
{
	for (size_t at = 0; at < DELTA_BLOCK_BYTES; at += 8) {
		uint64_t word = rng_next(&t.rng);

		memcpy(t.buf + at, &word, 8);
	}
}

static int failed(const char *what, int rc, const struct err *err)
{
	fprintf(stderr, "store: %s: %s\n", what, err ? err->message : strerror(-rc));
	return rc;
}

static int open_delta(void)
{
	struct err err = {0};
	int rc = delta_open(t.dirfd, t.name, NULL, &t.delta, &err);

	return rc < 0 ? failed("open", rc, &err) : 0;
}

static int new_delta(uint64_t blocks)
{
	struct id id = id_new();
	struct err err = {0};
	int rc;

	id_format(&id, t.name);
	rc = delta_create(NULL, t.dirfd, t.name, blocks * DELTA_BLOCK_BYTES, &err);
	return rc < 0 ? failed("create", rc, &err) : open_delta();
}

/* ---- memory ---- */

struct pattern {
	const char *what;
	uint32_t request_blocks;
	uint64_t span_blocks; /* random within it; 0: in sequence */
};

/* The compressible part differs from block to block, and so do the lengths. */
static int write_pattern(const struct pattern *pattern, uint64_t blocks)
{
	uint32_t n = pattern->request_blocks;
	int rc = 0;

	for (uint64_t at = 0; at < blocks && rc == 0; at += n) {
		for (uint32_t i = 0; i < n; i++)
			memset(t.buf + (size_t)i * DELTA_BLOCK_BYTES, 'x', DELTA_BLOCK_BYTES);
		for (uint32_t i = 0; i < n; i++)
			for (uint64_t k = rng_below(&t.rng, 30) + 1; k > 0; k--)
				t.buf[(size_t)i * DELTA_BLOCK_BYTES +
					rng_below(&t.rng, DELTA_BLOCK_BYTES)] =
					(uint8_t)rng_next(&t.rng);
		rc = delta_write(t.delta, t.buf, n, pattern->span_blocks ?
			rng_below(&t.rng, pattern->span_blocks) : at);
	}
	return rc < 0 ? failed("write", rc, NULL) : 0;
}

static int memory_of(const struct pattern *pattern, uint64_t mib)
{
	uint64_t blocks = mib << 8;
	struct delta_stats stats;
	int rc = new_delta(pattern->span_blocks ? pattern->span_blocks : blocks);

	if (rc < 0)
		return rc;
	rc = write_pattern(pattern, blocks);
	delta_stats(t.delta, &stats);
	delta_abandon(t.delta);
	delta_remove(NULL, t.dirfd, t.name, NULL);
	if (rc == 0)
		print(pattern->what, (double)stats.index_bytes / (double)(mib << 10),
			"MiB per GiB");
	return rc;
}

static int bench_memory(uint64_t mib)
{
	static const struct pattern patterns[] = {
		{"index, random 4K over 4 GiB", 1, UINT64_C(1) << 20},
		{"index, random 4K over 8 TiB", 1, UINT64_C(1) << 31},
		{"index, sequential 4K", 1, 0},
		{"index, sequential 64K", 16, 0},
		{"index, sequential 1M", 256, 0},
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]) && rc == 0; i++)
		rc = memory_of(&patterns[i], mib);
	return rc;
}

/* ---- opening ---- */

/* Little is overwritten, so that nothing is worth cleaning. */
static int maintain(void)
{
	int rc = delta_due(t.delta) & DELTA_DUE_CHECKPOINT ? delta_checkpoint(t.delta) : 0;

	return rc < 0 ? failed("checkpoint", rc, NULL) : 0;
}

/* So many bytes of random blocks; a guest flushes now and then. Without upkeep
 * it ends where the next checkpoint is due: nothing longer has to be replayed. */
static int append(uint64_t bytes, uint64_t span_blocks, bool upkeep)
{
	int rc = 0;

	for (uint64_t i = 0; i < bytes / DELTA_BLOCK_BYTES && rc == 0; i++) {
		fill_noise();
		rc = delta_write(t.delta, t.buf, 1, rng_below(&t.rng, span_blocks));
		if (rc < 0)
			return failed("write", rc, NULL);
		if (i % DELTA_BLOCKS_MAX == 0 && upkeep)
			rc = maintain();
		if (i % DELTA_BLOCKS_MAX == 0 && !upkeep &&
			(delta_due(t.delta) & DELTA_DUE_CHECKPOINT))
			break;
		if (rc == 0 && i % FLUSH_BLOCKS == 0)
			rc = delta_flush(t.delta);
	}
	return rc;
}

/* Written back, then out of the page cache: as after a reboot. */
static void forget(void)
{
	static const char *const suffixes[] = {"super", "log", "ckpt"};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		char file[ID_TEXT + 8];
		int fd;

		snprintf(file, sizeof(file), "%s.%s", t.name, suffixes[i]);
		fd = openat(t.dirfd, file, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		fsync(fd);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
}

static int open_timed(double *ret_ms)
{
	uint64_t began = clock_now_ns();
	int rc = open_delta();

	*ret_ms = (double)(clock_now_ns() - began) / 1e6;
	return rc;
}

static int print_kill(const char *what, double ms)
{
	struct delta_stats stats;

	delta_stats(t.delta, &stats);
	print(what, ms, "ms");
	print("  of the log replayed", (double)stats.replayed_bytes / 1048576, "MiB");
	return 0;
}

/* Killed where it comes, and at the worst moment: just before a checkpoint. */
static int kills(uint64_t bytes, uint64_t span_blocks)
{
	double ms;
	int rc;

	delta_abandon(t.delta);
	rc = open_timed(&ms);
	if (rc == 0)
		rc = print_kill("open after a kill", ms);
	if (rc == 0)
		rc = append(bytes, span_blocks, false);
	if (rc < 0)
		return rc;
	delta_abandon(t.delta);
	rc = open_timed(&ms);
	return rc < 0 ? rc : print_kill("open after a kill at the worst moment", ms);
}

/* Nothing in the page cache: killed once more, as by a power cut, and after a
 * clean stop; then with all in it. */
static int cold_and_warm(void)
{
	double ms[3];
	int rc = delta_flush(t.delta);

	delta_abandon(t.delta);
	forget();
	if (rc == 0)
		rc = open_timed(&ms[0]);
	for (int i = 1; i < 3 && rc == 0; i++) {
		rc = delta_close(t.delta);
		if (i == 1)
			forget();
		if (rc == 0)
			rc = open_timed(&ms[i]);
	}
	if (rc < 0)
		return rc;
	print("  the same, nothing cached", ms[0], "ms");
	print("open after a clean stop, nothing cached", ms[1], "ms");
	print("open after a clean stop, cached", ms[2], "ms");
	return delta_close(t.delta);
}

static int bench_open(uint64_t mib)
{
	uint64_t span_blocks = (mib << 8) * SPAN_FOR_OPEN;
	struct delta_stats stats;
	int rc = new_delta(span_blocks);

	if (rc == 0)
		rc = append(mib << 20, span_blocks, true);
	if (rc < 0)
		return rc;
	delta_stats(t.delta, &stats);
	print("delta of random 4K: log", (double)stats.log_bytes / 1048576, "MiB");
	print("  checkpoints written", (double)stats.checkpoint_bytes / 1048576, "MiB");
	rc = kills(mib << 20, span_blocks);
	if (rc == 0)
		rc = cold_and_warm();
	delta_remove(NULL, t.dirfd, t.name, NULL);
	return rc;
}

static uint64_t argument(int argc, char **argv, int i, uint64_t fallback)
{
	uint64_t value = argc > i ? strtoull(argv[i], NULL, 10) : fallback;

	return value == 0 || value > (1 << 22) ? fallback : value;
}

int main(int argc, char **argv)
{
	char dir[TEMP_PATH_MAX];
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: store DIR [MEMORY_MIB [OPEN_MIB]]\n");
		return 2;
	}
	t.rng = rng_seed();
	setenv("TMPDIR", argv[1], 1);
	temp_dir("store", dir);
	t.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = bench_memory(argument(argc, argv, 2, 1024));
	if (rc == 0)
		rc = bench_open(argument(argc, argv, 3, 10240));
	close(t.dirfd);
	temp_dir_remove(dir);
	return rc < 0;
}
