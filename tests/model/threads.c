/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads stamp sectors of one disk at once, and read each other's.
 *
 * Each sector has one owner, neighbours have different ones, so that several
 * threads write parts of one block at the same time. A stamp is a whole sector
 * of one number, which its owner only makes greater (0: discarded). So a
 * reader must see: no sector of two numbers, none of an owner's future, none
 * older than what its owner had been told is written. One more thread flushes,
 * one looks for holes, one cleans, takes checkpoints and prepares segments. At
 * the end, and after reopening, each sector is as its
 * owner left it.
 *
 * SEED=, OPS= of each thread (default 6000).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/disk/disk.h"
#include "fs/store/delta.h"
#include "fs/store/handle.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"
#include "tests/lib/temp.h"

#define NAME "00112233445566778899aabbccddeeff"
#define SECTOR_BYTES 512
#define SECTORS 4096u /* 2 MiB */
#define WRITERS 4
#define RUN_MAX 64u /* sectors in one request */

struct sector {
	_Atomic uint32_t begun; /* greatest stamp that a write was begun with */
	_Atomic uint32_t acked; /* the last one that was acknowledged */
	_Atomic bool zeroed;    /* a discard was begun at some time */
};

static struct {
	struct disk *disk;
	struct delta *delta; /* the disk's */
	uint64_t moved_bytes;
	struct sector sector[SECTORS];
	uint64_t seed, ops;
	atomic_int error;
	atomic_uint writing; /* threads */
} t;

static int complain(const char *what, uint64_t sector)
{
	fprintf(stderr, "threads: %s (sector %" PRIu64 ")\n", what, sector);
	atomic_store(&t.error, -EIO);
	return -EIO;
}

static void stamp(uint8_t *buf, uint32_t number)
{
	for (size_t i = 0; i < SECTOR_BYTES; i += sizeof(number))
		memcpy(buf + i, &number, sizeof(number));
}

/* Our sectors lie WRITERS apart, so that each block is everybody's. */
static int write_one(uint64_t me, uint64_t *rng, uint32_t number)
{
	uint64_t at = rng_below(rng, SECTORS / WRITERS) * WRITERS + me;
	struct sector *s = &t.sector[at];
	uint8_t buf[SECTOR_BYTES];
	int rc;

	if (rng_below(rng, 8) == 0) {
		atomic_store(&s->zeroed, true);
		atomic_store(&s->acked, 0);
		return disk_zero(t.disk, SECTOR_BYTES, at * SECTOR_BYTES, 0);
	}
	stamp(buf, number);
	atomic_store(&s->begun, number);
	rc = disk_write(t.disk, buf, SECTOR_BYTES, at * SECTOR_BYTES, 0);
	if (rc == 0)
		atomic_store(&s->acked, number);
	return rc;
}

/* least was acknowledged before the read began, most is asked for after it. */
static int check_sector(const uint8_t *buf, uint64_t at, uint32_t least)
{
	uint32_t first;
	uint32_t number;

	memcpy(&first, buf, sizeof(first));
	for (size_t i = 0; i < SECTOR_BYTES; i += sizeof(number)) {
		memcpy(&number, buf + i, sizeof(number));
		if (number != first)
			return complain("a sector of two writes", at);
	}
	if (first > atomic_load(&t.sector[at].begun))
		return complain("a stamp nobody wrote", at);
	if (first < least && !(first == 0 && atomic_load(&t.sector[at].zeroed)))
		return complain("an older stamp than was acknowledged", at);
	return 0;
}

static int read_some(uint64_t *rng, uint8_t *buf)
{
	uint32_t least[RUN_MAX];
	uint64_t count = 1 + rng_below(rng, RUN_MAX);
	uint64_t at = rng_below(rng, SECTORS - count + 1);
	int rc;

	for (uint64_t i = 0; i < count; i++)
		least[i] = atomic_load(&t.sector[at + i].acked);
	rc = disk_read(t.disk, buf, count * SECTOR_BYTES, at * SECTOR_BYTES, 0);
	for (uint64_t i = 0; rc == 0 && i < count; i++)
		rc = check_sector(buf + i * SECTOR_BYTES, at + i, least[i]);
	return rc;
}

static void *writer(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg;
	uint64_t rng = t.seed + me;
	uint8_t *buf = need_memory(malloc(RUN_MAX * SECTOR_BYTES));
	int rc = 0;

	for (uint64_t op = 0; rc == 0 && op < t.ops && atomic_load(&t.error) == 0; op++) {
		if (rng_below(&rng, 4))
			rc = write_one(me, &rng, (uint32_t)op + 1);
		else
			rc = read_some(&rng, buf);
	}
	if (rc < 0 && atomic_load(&t.error) == 0)
		complain(strerror(-rc), me);
	free(buf);
	atomic_fetch_sub(&t.writing, 1);
	return NULL;
}

static void *flusher(void *arg)
{
	while (atomic_load(&t.writing) > 0) {
		int rc = disk_flush(t.disk);

		if (rc < 0) {
			complain(strerror(-rc), 0);
			break;
		}
	}
	return NULL;
}

static void *seeker(void *arg)
{
	uint64_t rng = t.seed + 99;

	while (atomic_load(&t.writing) > 0) {
		uint64_t off = rng_below(&rng, SECTORS * SECTOR_BYTES);
		uint64_t found = off;
		int rc = disk_seek(t.disk, off, rng_below(&rng, 2), &found);

		if ((rc < 0 && rc != -ENXIO) || found < off) {
			complain("seek", off / SECTOR_BYTES);
			break;
		}
	}
	return NULL;
}

/* All the time, as if space were wanted. */
static int maintain_once(uint64_t *rng)
{
	uint64_t odds = rng_below(rng, 20), moved = 0;
	int rc;

	if (odds == 0)
		return delta_checkpoint(t.delta);
	if (odds == 1)
		return delta_prepare(t.delta);
	atomic_store(&t.delta->log.cleaner.wanting, true);
	rc = delta_clean(t.delta, UINT64_C(1) << rng_below(rng, 20), &moved);
	t.moved_bytes += moved;
	return rc;
}

static void *maintainer(void *arg)
{
	uint64_t rng = t.seed + 100;

	while (atomic_load(&t.writing) > 0) {
		int rc = maintain_once(&rng);

		if (rc < 0) {
			complain(strerror(-rc), 0);
			break;
		}
	}
	return NULL;
}

static int check_end(void)
{
	uint8_t *buf = need_memory(malloc(SECTORS * SECTOR_BYTES));
	int rc = 0;

	for (uint64_t off = 0; rc == 0 && off < SECTORS * SECTOR_BYTES; off += DISK_IO_MAX)
		rc = disk_read(t.disk, buf + off, DISK_IO_MAX, off, 0);
	for (uint64_t at = 0; rc == 0 && at < SECTORS; at++) {
		uint8_t wanted[SECTOR_BYTES];

		stamp(wanted, atomic_load(&t.sector[at].acked));
		if (memcmp(buf + at * SECTOR_BYTES, wanted, SECTOR_BYTES) != 0)
			rc = complain("not what its owner wrote last", at);
	}
	free(buf);
	return rc;
}

static int open_disk(int dirfd)
{
	struct delta *delta;
	struct err err;
	int rc = delta_open(dirfd, NAME, NULL, &delta, &err);

	if (rc < 0)
		return complain(err.message, 0);
	t.delta = delta;
	rc = disk_open(delta, NULL, 0, NULL, 0, &t.disk);
	return rc < 0 ? complain("open", 0) : 0;
}

static void run_threads(void)
{
	pthread_t thread[WRITERS + 3];

	atomic_store(&t.writing, WRITERS);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, writer, (void *)i);
	pthread_create(&thread[WRITERS], NULL, flusher, NULL);
	pthread_create(&thread[WRITERS + 1], NULL, seeker, NULL);
	pthread_create(&thread[WRITERS + 2], NULL, maintainer, NULL);
	for (int i = 0; i < WRITERS + 3; i++)
		pthread_join(thread[i], NULL);
}

/* Clean, then as after a kill, then with other stamps on top. */
static int run(int dirfd)
{
	int rc = open_disk(dirfd);

	if (rc < 0)
		return rc;
	run_threads();
	rc = atomic_load(&t.error);
	if (rc == 0)
		rc = check_end();
	if (rc == 0)
		rc = disk_close(t.disk);
	if (rc == 0)
		rc = open_disk(dirfd);
	if (rc == 0)
		rc = check_end();
	if (rc == 0) {
		disk_abandon(t.disk);
		rc = open_disk(dirfd);
	}
	if (rc == 0)
		rc = check_end();
	return rc == 0 ? disk_close(t.disk) : rc;
}

int main(void)
{
	char dir[TEMP_PATH_MAX];
	int dirfd;
	int rc;

	t.seed = rng_seed();
	t.ops = env_number("OPS", 6000);
	printf("threads: SEED=%" PRIu64 " OPS=%" PRIu64 "\n", t.seed, t.ops);
	fflush(stdout);
	temp_dir_fast("threads", dir);
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = delta_create(NULL, dirfd, NAME, SECTORS * SECTOR_BYTES, NULL);
	if (rc == 0)
		rc = run(dirfd);
	close(dirfd);
	temp_dir_remove(dir);
	printf("threads: %d writers, a flusher, a seeker and a cleaner that moved %" PRIu64 " KiB\n",
		WRITERS, t.moved_bytes >> 10);
	printf("%d passed, %d failed\n", rc == 0, rc < 0);
	return rc < 0;
}
