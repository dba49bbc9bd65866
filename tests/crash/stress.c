/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SIGKILL every few hundred milliseconds: four threads, four disks, cleaning and checkpoints all the time.
 *
 * Each round a child opens the disks of two clones, which share a base, checks
 * every sector against the state file (tests/lib/sectors.h), and goes on
 * writing with four threads, while one more flushes and one cleans, writes
 * checkpoints and prepares slots without a pause. After a random time it is
 * killed, now and then while it is still opening or checking. In some rounds
 * it may end by a clean close instead. One set of disks lives through all
 * rounds; at the end its logs are cleaned, and are not longer than what lives
 * in them accounts for.
 *
 * ROUNDS= (default 100), SEED=; OPS= of each thread: one round in this process
 * that ends by itself, for the thread sanitizer.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/base.h"
#include "fs/disk/disk.h"
#include "fs/store/delta.h"
#include "fs/util/id.h"
#include "tests/lib/image.h"
#include "tests/lib/rawbase.h"
#include "tests/lib/rng.h"
#include "tests/lib/sectors.h"
#include "tests/lib/temp.h"

#define DISKS 4u /* two clones with two disks each */
#define WRITERS 4u
#define DISK_SECTORS 8192u /* 4 MiB */
#define BASE_SECTORS 6001u
#define LIMIT_BYTES (5000u * SECTOR_BYTES) /* the base owns nothing above */
#define ROUND_MS_MAX 200 /* of writing, or of opening and checking */
#define OPEN_MS_MAX 60000
#ifdef SLOT_TINY /* what cleaning leaves of each log: dead space and slots ahead */
#define LOG_BYTES_MAX (UINT64_C(12) << 20)
#else
#define LOG_BYTES_MAX (UINT64_C(128) << 20)
#endif
#define CLEAN_BYTES (UINT64_C(256) << 10)

static struct {
	char dir[TEMP_PATH_MAX];
	char state[TEMP_PATH_MAX + 16];
	char base[TEMP_PATH_MAX + 16];
	char name[DISKS][ID_TEXT];
	int dirfd;
	uint64_t seed;
	/* Of the process that works: */
	struct sectors sectors;
	struct delta *delta[DISKS];
	struct disk *disk[DISKS];
	atomic_bool stop;
	atomic_uint writing;
	uint64_t ops;
} t;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "stress: %s: %s\n", what, why);
	temp_dir_remove(t.dir);
	exit(1);
}

/* ---- a child ---- */

static int read_disk(void *ctx, uint32_t disk, void *buf, size_t len, uint64_t off)
{
	return disk_read(t.disk[disk], buf, len, off, 0);
}

static int write_disk(void *ctx, uint32_t disk, const void *buf, size_t len, uint64_t off)
{
	return disk_write(t.disk[disk], buf, len, off, 0);
}

static int zero_disk(void *ctx, uint32_t disk, uint64_t len, uint64_t off)
{
	return disk_zero(t.disk[disk], len, off, 0);
}

static const struct sectors_io io = {.read = read_disk, .write = write_disk, .zero = zero_disk};

static int open_disks(void)
{
	for (uint32_t i = 0; i < DISKS; i++) {
		struct base *base;
		struct err err;
		int rc = delta_open(t.dirfd, t.name[i], NULL, &t.delta[i], &err);

		if (rc == 0)
			rc = rawbase_hold(t.base, NULL, &base, &err);
		if (rc < 0)
			return sectors_complain(&t.sectors, rc, "opening disk %u: %s", i,
				err.message);
		rc = disk_open(t.delta[i], NULL, 0, base, LIMIT_BYTES, &t.disk[i]);
		if (rc < 0)
			return sectors_complain(&t.sectors, rc, "opening disk %u", i);
	}
	return 0;
}

static int close_disks(void)
{
	int rc = 0;

	for (uint32_t i = 0; i < DISKS; i++) {
		if (disk_close(t.disk[i]) < 0)
			rc = sectors_complain(&t.sectors, -EIO, "closing disk %u", i);
	}
	return rc;
}

static void *writer(void *arg)
{
	sectors_work(&t.sectors, &io, (uint32_t)(uintptr_t)arg, t.seed, t.ops, &t.stop);
	atomic_fetch_sub(&t.writing, 1);
	return NULL;
}

static bool goes_on(void)
{
	return atomic_load(&t.writing) > 0 && atomic_load(&t.sectors.head->error) == 0;
}

static void *flusher(void *arg)
{
	uint64_t rng = t.seed + 77;

	while (goes_on()) {
		int rc = disk_flush(t.disk[rng_below(&rng, DISKS)]);

		if (rc < 0)
			sectors_complain(&t.sectors, rc, "flush: %s", strerror(-rc));
	}
	return NULL;
}

static int keep_one(uint64_t *rng)
{
	struct delta *delta = t.delta[rng_below(rng, DISKS)];
	uint64_t moved;

	switch (rng_below(rng, 8)) {
	case 0:
		return delta_checkpoint(delta);
	case 1:
		return delta_prepare(delta);
	default:
		return delta_clean(delta, CLEAN_BYTES, &moved);
	}
}

static void *keeper(void *arg)
{
	uint64_t rng = t.seed + 99;

	while (goes_on()) {
		int rc = keep_one(&rng);

		if (rc < 0)
			sectors_complain(&t.sectors, rc, "maintenance: %s", strerror(-rc));
	}
	return NULL;
}

static void run_threads(void)
{
	pthread_t thread[WRITERS + 2];

	atomic_store(&t.writing, WRITERS);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, writer, (void *)i);
	pthread_create(&thread[WRITERS], NULL, flusher, NULL);
	pthread_create(&thread[WRITERS + 1], NULL, keeper, NULL);
	for (uint32_t i = 0; i < WRITERS + 2; i++)
		pthread_join(thread[i], NULL);
}

/* One life: with so many operations per thread it ends by a clean close. Says
 * on ready_fd that it has begun to write. */
static int live(uint64_t seed, uint64_t ops, int ready_fd)
{
	int rc;

	sectors_open(t.state, &t.sectors);
	t.seed = seed;
	t.ops = ops;
	rc = open_disks();
	if (rc == 0)
		rc = sectors_check(&t.sectors, &io);
	if (rc == 0) {
		if (ready_fd >= 0 && write(ready_fd, "", 1) != 1)
			return -EIO;
		run_threads();
		rc = atomic_load(&t.sectors.head->error);
	}
	return rc < 0 ? rc : close_disks();
}

/* ---- the killer ---- */

static void make_disks(void)
{
	for (uint32_t i = 0; i < DISKS; i++) {
		struct id id = id_new();
		struct err err;

		id_format(&id, t.name[i]);
		if (delta_create(NULL, t.dirfd, t.name[i], (uint64_t)DISK_SECTORS * SECTOR_BYTES,
			    &err) < 0)
			fail("making a delta", err.message);
	}
	snprintf(t.state, sizeof(t.state), "%s/state", t.dir);
	snprintf(t.base, sizeof(t.base), "%s/base", t.dir);
	sectors_make_base(t.base, BASE_SECTORS);
	sectors_create(t.state, DISKS, DISK_SECTORS, LIMIT_BYTES / SECTOR_BYTES, WRITERS);
}

/* Until fd can be read, or for so long; true: it can. */
static bool wait_for(int fd, int ms)
{
	struct pollfd wanted = {.fd = fd, .events = POLLIN};
	int rc;

	if (fd < 0)
		fail("waiting", strerror(errno));
	do
		rc = poll(&wanted, 1, ms);
	while (rc < 0 && errno == EINTR);
	return rc > 0;
}

/* Kill the child after a random time of writing; now and then of opening. */
static void kill_child(pid_t pid, int ready_fd, uint64_t *rng)
{
	int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool early = rng_below(rng, 8) == 0;

	if (!early && !wait_for(ready_fd, OPEN_MS_MAX))
		fail("the child", "does not come to writing");
	if (!wait_for(pid_fd, (int)rng_below(rng, early ? ROUND_MS_MAX / 4 : ROUND_MS_MAX)))
		kill(pid, SIGKILL);
	close(pid_fd);
}

static void need_no_error(struct sectors *sectors, uint64_t round)
{
	char what[60];

	snprintf(what, sizeof(what), "round %" PRIu64, round);
	if (atomic_load(&sectors->head->error) < 0)
		fail(what, sectors->head->what);
}

static void one_round(struct sectors *sectors, uint64_t *rng, uint64_t round)
{
	uint64_t seed = rng_next(rng);
	bool clean = rng_below(rng, 8) == 0;
	int ready[2];
	pid_t pid;
	int status;

	fflush(NULL);
	pid = pipe2(ready, O_CLOEXEC) < 0 ? -1 : fork();
	if (pid < 0)
		fail("fork", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(live(seed, clean ? 200 : 0, ready[1]) < 0);
	}
	close(ready[1]);
	kill_child(pid, ready[0], rng);
	close(ready[0]);
	waitpid(pid, &status, 0);
	need_no_error(sectors, round);
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fail("the child", strsignal(WTERMSIG(status)));
	if (WIFEXITED(status) && (!clean || WEXITSTATUS(status) != 0))
		fail("the child", "ended by itself");
}

/* Nobody kills the last one. */
static void last_round(struct sectors *sectors, uint64_t seed, uint64_t rounds)
{
	int rc = live(seed, 50, -1);

	need_no_error(sectors, rounds);
	if (rc < 0)
		fail("the last round", strerror(-rc));
}

static uint64_t clean_log(uint32_t i)
{
	struct delta_stats stats;
	struct delta *delta;
	uint64_t moved;
	struct err err;
	int rc = delta_open(t.dirfd, t.name[i], NULL, &delta, &err);

	if (rc < 0)
		fail("opening it at the end", err.message);
	do
		rc = delta_clean(delta, CLEAN_BYTES, &moved);
	while (rc > 0);
	delta_stats(delta, &stats);
	if (rc < 0 || delta_close(delta) < 0)
		fail("cleaning it at the end", "fails");
	if (stats.log_bytes > LOG_BYTES_MAX)
		fail("cleaning it at the end", "the log is too long");
	return stats.log_bytes;
}

static uint64_t clean_logs(void)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < DISKS; i++)
		bytes += clean_log(i);
	return bytes;
}

int main(void)
{
	uint64_t seed = rng_seed(), rng = seed;
	uint64_t rounds = env_number("ROUNDS", 100), ops = env_number("OPS", 0);
	struct sectors sectors;

	printf("stress: SEED=%" PRIu64 " ROUNDS=%" PRIu64 "\n", seed, rounds);
	fflush(stdout);
	temp_dir("stress", t.dir);
	t.dirfd = open(t.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_disks();
	sectors_open(t.state, &sectors);
	for (uint64_t i = 0; i < rounds && ops == 0; i++)
		one_round(&sectors, &rng, i);
	if (ops > 0 && live(seed, ops, -1) < 0)
		need_no_error(&sectors, 0);
	last_round(&sectors, seed, rounds);
	printf("stress: %" PRIu64 " kills, %" PRIu64 " acknowledged operations, nothing lost or "
	       "mixed; the logs take %" PRIu64 " MiB for %u MiB of disks\n",
		ops ? 0 : rounds, atomic_load(&sectors.head->acked), clean_logs() >> 20,
		DISKS * DISK_SECTORS * SECTOR_BYTES >> 20);
	close(t.dirfd);
	temp_dir_remove(t.dir);
	printf("1 passed, 0 failed\n");
	return 0;
}
