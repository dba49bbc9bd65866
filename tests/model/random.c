/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random operations on a disk beside the same ones on a plain buffer.
 *
 * Rounds: each has a new delta on the same base. Between the guest's operations
 * checkpoints are taken and segments are cleaned, prepared and reused. Every
 * read, and now and then the whole disk, is compared; reopening is by a clean
 * close or by what a kill leaves.
 *
 * SEED= brings a run back, OPS= says how many operations (default OPS_DEFAULT).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/base.h"
#include "fs/disk/disk.h"
#include "fs/store/delta.h"
#include "fs/store/handle.h"
#include "fs/util/id.h"
#include "fs/util/round.h"
#include "tests/lib/image.h"
#include "tests/lib/rawbase.h"
#include "tests/lib/rng.h"
#include "tests/lib/temp.h"

#ifndef OPS_DEFAULT
#define OPS_DEFAULT 1000000
#endif

#define DISK_BYTES_MIN (UINT64_C(3) << 20)
#define DISK_BYTES_MAX (UINT64_C(5) << 20)
#define BASE_BYTES ((UINT64_C(2) << 20) + 1536 + 100) /* ends within a sector */
#define POOL_BYTES (UINT64_C(4) << 20)
#define LOG_BYTES_MAX (UINT64_C(96) << 20)
#define ROUND_OPS 60000

static struct {
	uint64_t rng;
	uint64_t op; /* number of the one going on */
	char dir[TEMP_PATH_MAX];
	char base_path[TEMP_PATH_MAX + 8];
	int dirfd;
	char name[ID_TEXT];
	struct disk *disk;
	struct delta *delta; /* the disk's */
	uint64_t begun;      /* the round: at that operation */
	uint64_t moved_bytes, freed_bytes; /* in all */
	uint64_t size_bytes;
	uint64_t limit_bytes; /* the base owns what is below */
	uint8_t *model; /* DISK_BYTES_MAX: what the guest must see */
	uint8_t *pool;  /* bytes to write: half noise, half runs */
	uint8_t *buf;
} t;

static void fail(const char *what, int rc)
{
	fprintf(stderr, "random: operation %" PRIu64 ": %s%s%s\n", t.op, what, rc ? ": " : "",
		rc ? strerror(-rc) : "");
	temp_dir_remove(t.dir);
	exit(1);
}

static void need(int rc, const char *what)
{
	if (rc < 0)
		fail(what, rc);
}

/* Mostly small, mostly aligned, now and then up to a whole request or none
 * of it aligned to anything. */
static void pick_range(uint64_t len_max, uint64_t *ret_off, uint64_t *ret_len)
{
	static const uint64_t units[] = {512, 512, 512, 4096, 4096, 4096, 4096, 1};
	uint64_t unit = units[rng_below(&t.rng, 8)];
	uint64_t odds = rng_below(&t.rng, 100);
	uint64_t longest = odds < 70 ? 8192 : odds < 97 ? 65536 : len_max;
	uint64_t len = 1 + rng_below(&t.rng, min_u64(longest, len_max));
	uint64_t off;

	len = max_u64(len / unit * unit, unit);
	off = rng_below(&t.rng, t.size_bytes / unit) * unit;
	*ret_off = off;
	*ret_len = min_u64(len, t.size_bytes - off);
}

static void compare(uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++) {
		if (t.buf[i] != t.model[off + i]) {
			fprintf(stderr, "random: byte %" PRIu64 ": %02x instead of %02x\n", off + i,
				t.buf[i], t.model[off + i]);
			fail("wrong data", 0);
		}
	}
}

static void check(uint64_t off, uint64_t len)
{
	need(disk_read(t.disk, t.buf, len, off, 0), "read");
	if (memcmp(t.buf, t.model + off, len) != 0)
		compare(off, len);
}

static void check_all(void)
{
	for (uint64_t off = 0; off < t.size_bytes; off += DISK_IO_MAX)
		check(off, min_u64(DISK_IO_MAX, t.size_bytes - off));
}

static void do_write(void)
{
	uint64_t off;
	uint64_t len;
	const uint8_t *data;

	pick_range(DISK_IO_MAX, &off, &len);
	data = t.pool + rng_below(&t.rng, POOL_BYTES - len + 1);
	memcpy(t.model + off, data, len);
	need(disk_write(t.disk, data, len, off, 0), "write");
}

static void do_zero(void)
{
	uint64_t off;
	uint64_t len;

	pick_range(t.size_bytes, &off, &len);
	memset(t.model + off, 0, len);
	need(disk_zero(t.disk, len, off, 0), "zero");
}

static void do_read(void)
{
	uint64_t off;
	uint64_t len;

	pick_range(DISK_IO_MAX, &off, &len);
	check(off, len);
}

/* What is said to be a hole must read as zeros. */
static void do_seek(void)
{
	uint64_t off = rng_below(&t.rng, t.size_bytes);
	uint64_t hole;
	uint64_t data;

	need(disk_seek(t.disk, off, false, &hole), "seek hole");
	if (hole < off || hole > t.size_bytes)
		fail("hole out of range", 0);
	if (hole == t.size_bytes)
		return;
	if (disk_seek(t.disk, hole, true, &data) < 0)
		data = t.size_bytes;
	for (uint64_t i = hole; i < data; i++) {
		if (t.model[i] != 0)
			fail("data in a hole", 0);
	}
}

static void do_grow(void)
{
	uint64_t size = t.size_bytes + 512 * (1 + rng_below(&t.rng, 64));

	if (size > DISK_BYTES_MAX)
		return;
	memset(t.model + t.size_bytes, 0, size - t.size_bytes);
	need(disk_grow(t.disk, size), "grow");
	t.size_bytes = size;
}

static void open_disk(void)
{
	struct delta *delta;
	struct base *base;
	struct err err;

	if (delta_open(t.dirfd, t.name, NULL, &delta, &err) < 0 ||
		rawbase_hold(t.base_path, NULL, &base, &err) < 0) {
		fprintf(stderr, "random: %s\n", err.message);
		fail("open", err.code);
	}
	need(disk_open(delta, NULL, 0, base, t.limit_bytes, &t.disk), "open disk");
	t.delta = delta;
	if (disk_size(t.disk) != t.size_bytes)
		fail("size changed", 0);
}

static void do_reopen(void)
{
	if (rng_below(&t.rng, 2))
		need(disk_close(t.disk), "close");
	else
		disk_abandon(t.disk);
	open_disk();
	check_all();
}

static uint64_t used_bytes(void)
{
	struct delta_stats stats;

	delta_stats(t.delta, &stats);
	return stats.used_bytes;
}

/* A step of some size. For this little delta cleaning would wait until 64 MiB
 * are dead: mostly it is told that space is wanted. */
static void do_clean(void)
{
	uint64_t before = used_bytes(), after, moved;

	if (rng_below(&t.rng, 4))
		atomic_store(&t.delta->log.cleaner.wanting, true);
	need(delta_clean(t.delta, UINT64_C(1) << rng_below(&t.rng, 24), &moved), "clean");
	after = used_bytes();
	t.moved_bytes += moved;
	t.freed_bytes += before > after ? before - after : 0;
}

static void do_maintain(void)
{
	uint64_t odds = rng_below(&t.rng, 10);

	if (odds < 8)
		do_clean();
	else if (odds < 9)
		need(delta_checkpoint(t.delta), "checkpoint");
	else
		need(delta_prepare(t.delta), "prepare");
}

static void do_one(void)
{
	uint64_t odds = rng_below(&t.rng, 20000);

	if (odds < 9600)
		do_write();
	else if (odds < 11600)
		do_zero();
	else if (odds < 19000)
		do_read();
	else if (odds < 19450)
		need(disk_flush(t.disk), "flush");
	else if (odds < 19550)
		do_maintain();
	else if (odds < 19970)
		do_seek();
	else if (odds < 19980)
		do_grow();
	else if (odds < 19990)
		check_all();
	else
		do_reopen();
}

static void make_base(void)
{
	int fd = open(t.base_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	/* The second half MiB is a hole. */
	if (fd < 0 || pwrite(fd, t.pool, 512 << 10, 0) != 512 << 10 ||
		pwrite(fd, t.pool, BASE_BYTES - (1 << 20), 1 << 20) !=
			(ssize_t)(BASE_BYTES - (1 << 20)))
		fail("make the base", -errno);
	close(fd);
}

static void load_model(void)
{
	int fd = open(t.base_path, O_RDONLY | O_CLOEXEC);

	memset(t.model, 0, DISK_BYTES_MAX);
	if (fd < 0 || pread(fd, t.model, t.limit_bytes, 0) != (ssize_t)t.limit_bytes)
		fail("read the base", -errno);
	close(fd);
}

static void begin_round(void)
{
	struct id id = id_new();
	struct err err;

	id_format(&id, t.name);
	/* Half of the rounds are those of a disk that was once smaller. */
	t.limit_bytes = BASE_BYTES - (rng_below(&t.rng, 2) ? rng_below(&t.rng, BASE_BYTES) : 0);
	load_model();
	t.begun = t.op;
	t.size_bytes = DISK_BYTES_MIN + 512 * rng_below(&t.rng, 16);
	need(delta_create(NULL, t.dirfd, t.name, t.size_bytes, &err), "create");
	open_disk();
	check_all();
}

static void end_round(void)
{
	check_all();
	need(disk_close(t.disk), "close");
	open_disk();
	check_all();
	need(disk_close(t.disk), "close");
	need(delta_remove(&io_kernel, t.dirfd, t.name, NULL), "remove");
}

static bool round_is_long(void)
{
	struct delta_stats stats;

	disk_delta_stats(t.disk, &stats);
	return stats.log_bytes > LOG_BYTES_MAX || t.op - t.begun > ROUND_OPS;
}

static void setup(uint64_t seed)
{
	t.rng = seed;
	temp_dir_fast("random", t.dir);
	snprintf(t.base_path, sizeof(t.base_path), "%s/base", t.dir);
	t.dirfd = open(t.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t.model = need_memory(malloc(DISK_BYTES_MAX));
	t.pool = need_memory(malloc(POOL_BYTES));
	t.buf = need_memory(malloc(DISK_IO_MAX));
	for (uint64_t i = 0; i < POOL_BYTES; i += 8) {
		uint64_t word = rng_next(&t.rng);

		/* Noise, runs of one byte, and zeros, 32 KiB of each in turn. */
		if (i >> 15 & 1)
			word = i >> 16 & 1 ? 0 : UINT64_C(0x0101010101010101) * (i >> 15 & 0xff);
		memcpy(t.pool + i, &word, 8);
	}
	make_base();
}

int main(void)
{
	uint64_t seed = rng_seed();
	uint64_t ops = env_number("OPS", OPS_DEFAULT);
	uint64_t rounds = 1;

	printf("random: SEED=%" PRIu64 " OPS=%" PRIu64 "\n", seed, ops);
	fflush(stdout);
	setup(seed);
	begin_round();
	for (t.op = 0; t.op < ops; t.op++) {
		do_one();
		if (t.op % 256 == 0 && round_is_long()) {
			end_round();
			begin_round();
			rounds++;
		}
	}
	end_round();
	close(t.dirfd);
	temp_dir_remove(t.dir);
	free(t.model);
	free(t.pool);
	free(t.buf);
	printf("random: %" PRIu64 " operations in %" PRIu64 " rounds, %" PRIu64
		" MiB moved to free %" PRIu64 ", all as the model says\n", ops, rounds,
		t.moved_bytes >> 20, t.freed_bytes >> 20);
	printf("1 passed, 0 failed\n");
	return 0;
}
