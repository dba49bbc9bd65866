/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stamper: writers that stamp every sector of mounted disks, and a check of what they left.
 *
 *	stamper make STATE BYTES BASE N      a state file for N disks of so many
 *	                                     bytes, and the base under them
 *	stamper write STATE FILE...          four threads, until the daemon is gone
 *	stamper acked STATE                  operations acknowledged so far
 *	stamper check STATE FILE...          is all of it there?
 *
 * For tests/mount/kill.bats; the state file is tests/lib/sectors.h's.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/rng.h"
#include "tests/lib/sectors.h"

#define WRITERS 4u
#define DISKS_MAX 16

static struct {
	struct sectors sectors;
	int fd[DISKS_MAX];
	uint64_t seed;
	atomic_bool stop, gone;
} t;

static void open_disks(char **paths, uint32_t n)
{
	if (n != t.sectors.head->disks || n > DISKS_MAX) {
		fprintf(stderr, "stamper: the state has another number of disks\n");
		exit(2);
	}
	for (uint32_t i = 0; i < n; i++) {
		t.fd[i] = open(paths[i], O_RDWR | O_CLOEXEC);
		if (t.fd[i] < 0) {
			perror(paths[i]);
			exit(2);
		}
	}
}

static int result(ssize_t n, size_t len)
{
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

static int read_file(void *ctx, uint32_t disk, void *buf, size_t len, uint64_t off)
{
	return result(pread(t.fd[disk], buf, len, (off_t)off), len);
}

static int write_file(void *ctx, uint32_t disk, const void *buf, size_t len, uint64_t off)
{
	return result(pwrite(t.fd[disk], buf, len, (off_t)off), len);
}

static int zero_file(void *ctx, uint32_t disk, uint64_t len, uint64_t off)
{
	int rc = fallocate(t.fd[disk], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
		(off_t)len);

	return rc < 0 ? -errno : 0;
}

static const struct sectors_io io = {
	.read = read_file, .write = write_file, .zero = zero_file, .may_vanish = true};

/* The daemon's death is what ends it; anything else is a failure. */
static bool is_gone(int rc)
{
	return rc == -ENOTCONN || rc == -ECONNABORTED;
}

static void *writer(void *arg)
{
	int rc = sectors_work(
		&t.sectors, &io, (uint32_t)(uintptr_t)arg, t.seed, 0, &t.stop);

	if (is_gone(rc))
		atomic_store(&t.gone, true);
	else if (rc < 0)
		sectors_complain(&t.sectors, rc, "writer: %s", strerror(-rc));
	atomic_store(&t.stop, true);
	return NULL;
}

static void *flusher(void *arg)
{
	while (!atomic_load(&t.stop)) {
		for (uint32_t i = 0; i < t.sectors.head->disks && !atomic_load(&t.stop); i++) {
			int rc = fdatasync(t.fd[i]) < 0 ? -errno : 0;

			if (rc < 0 && !is_gone(rc))
				sectors_complain(&t.sectors, rc, "flush: %s", strerror(-rc));
			if (rc < 0)
				atomic_store(&t.stop, true);
		}
	}
	return NULL;
}

static int do_write(void)
{
	pthread_t thread[WRITERS + 1];

	t.seed = rng_seed();
	printf("stamper: SEED=%" PRIu64 "\n", t.seed);
	fflush(stdout);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, writer, (void *)i);
	pthread_create(&thread[WRITERS], NULL, flusher, NULL);
	for (uint32_t i = 0; i <= WRITERS; i++)
		pthread_join(thread[i], NULL);
	return atomic_load(&t.sectors.head->error);
}

static int make(char **argv)
{
	uint32_t sectors = (uint32_t)(strtoull(argv[3], NULL, 10) / SECTOR_BYTES);

	sectors_create(
		argv[2], (uint32_t)strtoul(argv[5], NULL, 10), sectors, sectors, WRITERS);
	sectors_make_base(argv[4], sectors);
	return 0;
}

int main(int argc, char **argv)
{
	int rc;

	if (argc == 6 && strcmp(argv[1], "make") == 0)
		return make(argv);
	if (argc < 3) {
		fprintf(stderr, "usage: see the head of stamper.c\n");
		return 2;
	}
	sectors_open(argv[2], &t.sectors);
	if (strcmp(argv[1], "acked") == 0) {
		printf("%" PRIu64 "\n", atomic_load(&t.sectors.head->acked));
		return 0;
	}
	open_disks(argv + 3, (uint32_t)argc - 3);
	rc = strcmp(argv[1], "write") == 0 ? do_write() : sectors_check(&t.sectors, &io);
	if (rc < 0)
		fprintf(stderr, "stamper: %s\n", t.sectors.head->what);
	return rc < 0;
}
