/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SIGKILL in the middle of writing: every write that was acknowledged is there.
 *
 * A child writes stamped blocks and counts what was acknowledged in memory it
 * shares with us. Once the count has reached a random number we kill it, at
 * whatever it is doing, open its delta, and compare. The next child goes on
 * from there, so that one delta sees many kills.
 *
 * SEED= and KILLS= (default 60).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/store/delta.h"
#include "fs/util/id.h"
#include "tests/lib/image.h"
#include "tests/lib/rng.h"
#include "tests/lib/stamps.h"
#include "tests/lib/temp.h"

#define BLOCKS 512
#define OPS_MAX 400 /* of one child */
#define KILLS_PER_DELTA 15

struct shared {
	atomic_uint acked;
	atomic_int error;
};

struct plan {
	uint32_t version, block, count;
};

static struct {
	uint64_t rng;
	char dir[TEMP_PATH_MAX];
	int dirfd;
	char name[ID_TEXT];
	uint32_t next_version;
	uint32_t versions[BLOCKS];
	struct shared *shared;
} t;

static void fail(const char *what, int rc)
{
	fprintf(stderr, "kill: %s: %s\n", what, strerror(-rc));
	temp_dir_remove(t.dir);
	exit(1);
}

static struct delta *open_delta(void)
{
	struct delta *delta;
	struct err err;
	int rc = delta_open(t.dirfd, t.name, NULL, &delta, &err);

	if (rc < 0) {
		fprintf(stderr, "kill: %s\n", err.message);
		fail("open", rc);
	}
	return delta;
}

static void plan_ops(struct plan *plan)
{
	for (int i = 0; i < OPS_MAX; i++) {
		uint64_t odds = rng_below(&t.rng, 10);
		uint32_t count = odds < 6 ? 1 + (uint32_t)rng_below(&t.rng, 4) :
			       odds < 9 ? 1 + (uint32_t)rng_below(&t.rng, 64) :
					  DELTA_BLOCKS_MAX;

		plan[i].version = rng_below(&t.rng, 8) ? t.next_version++ : STAMP_ZERO;
		plan[i].block = (uint32_t)rng_below(&t.rng, BLOCKS - count + 1);
		plan[i].count = count;
	}
}

/* The child: never returns. It may be killed before it has begun, too. */
static void write_until_killed(const struct plan *plan)
{
	uint8_t *buf = need_memory(malloc(DELTA_BLOCKS_MAX * DELTA_BLOCK_BYTES));
	struct delta *delta = open_delta();
	int rc = 0;

	for (int i = 0; rc == 0 && i < OPS_MAX; i++) {
		const struct plan *p = &plan[i];

		if (p->version == STAMP_ZERO) {
			rc = delta_zero(delta, p->block, p->count);
		} else {
			stamps_fill(p->version, p->block, p->count, buf);
			rc = delta_write(delta, buf, p->count, p->block);
		}
		if (rc == 0)
			atomic_fetch_add(&t.shared->acked, 1);
		if (rc == 0 && i % 16 == 7)
			rc = delta_flush(delta);
	}
	atomic_store(&t.shared->error, rc);
	for (;;)
		pause();
}

/* Let the child acknowledge wanted operations, then kill it. */
static unsigned int kill_after(pid_t pid, unsigned int wanted)
{
	while (atomic_load(&t.shared->acked) < wanted && atomic_load(&t.shared->error) == 0) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			fail("the child ended by itself", -ECHILD);
		sched_yield();
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (atomic_load(&t.shared->error) < 0)
		fail("the child's write", atomic_load(&t.shared->error));
	return atomic_load(&t.shared->acked);
}

static void check(const struct plan *plan, unsigned int acked)
{
	struct stamps *stamps = stamps_new(BLOCKS, t.versions);
	struct delta *delta = open_delta();
	size_t most = acked < OPS_MAX ? acked + 1 : acked;
	int rc;

	for (size_t i = 0; i < most; i++)
		stamps_add(stamps, plan[i].version, plan[i].block, plan[i].count);
	rc = stamps_read(delta, BLOCKS, t.versions);
	if (rc < 0)
		fail("reading after a kill", rc);
	if (!stamps_match(stamps, t.versions, acked, most))
		fail("an acknowledged write is missing, or something else is there", -EIO);
	stamps_free(stamps);
	/* Half of the lives end cleanly here, half in another kill. */
	if (rng_below(&t.rng, 2))
		delta_abandon(delta);
	else if (delta_close(delta) < 0)
		fail("close", -EIO);
}

static void new_delta(void)
{
	struct id id = id_new();
	int rc;

	id_format(&id, t.name);
	memset(t.versions, 0, sizeof(t.versions));
	rc = delta_create(NULL, t.dirfd, t.name, (uint64_t)BLOCKS * DELTA_BLOCK_BYTES, NULL);
	if (rc < 0)
		fail("create", rc);
}

static void one_kill(void)
{
	static struct plan plan[OPS_MAX];
	unsigned int wanted = (unsigned int)rng_below(&t.rng, OPS_MAX / 2);
	pid_t pid;

	plan_ops(plan);
	atomic_store(&t.shared->acked, 0);
	atomic_store(&t.shared->error, 0);
	pid = fork();
	if (pid < 0)
		fail("fork", -errno);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		write_until_killed(plan);
	}
	check(plan, kill_after(pid, wanted));
}

int main(void)
{
	uint64_t seed = rng_seed();
	uint64_t kills = env_number("KILLS", 60);

	printf("kill: SEED=%" PRIu64 " KILLS=%" PRIu64 "\n", seed, kills);
	fflush(stdout);
	t.rng = seed;
	t.next_version = STAMP_FIRST;
	t.shared = mmap(NULL, sizeof(*t.shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	temp_dir("kill", t.dir);
	t.dirfd = open(t.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t.shared == MAP_FAILED || t.dirfd < 0)
		fail("setup", -errno);
	for (uint64_t i = 0; i < kills; i++) {
		if (i % KILLS_PER_DELTA == 0) {
			if (i > 0)
				delta_remove(&io_kernel, t.dirfd, t.name, NULL);
			new_delta();
		}
		one_kill();
	}
	close(t.dirfd);
	temp_dir_remove(t.dir);
	printf("kill: %" PRIu64 " kills, no acknowledged write lost\n", kills);
	printf("1 passed, 0 failed\n");
	return 0;
}
