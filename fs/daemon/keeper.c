/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The maintenance thread: see keeper.h.
 *
 * Threads: all but keeper_start, keeper_stop and keeper_memory_bytes runs on
 * the thread itself.
 */
#include "fs/daemon/keeper.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "fs/store/remains.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"
#include "fs/util/round.h"

#define NAME_BYTES 256

static int64_t max_i64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* An idle disk and what closing it would give back. */
struct candidate {
	int64_t idle_since_ms;
	uint64_t index_bytes;
};

struct keeper {
	/* set once */
	struct keeper_options options;
	struct keeper_backend backend;
	struct mount *mount;
	struct space_pool *pool;
	pthread_t thread;

	/* the thread's */
	int64_t now_ms;       /* when the round began */
	int64_t next_ms;      /* when there is something to do again */
	int64_t clean_after_ms; /* by the rate limit */
	uint64_t index_bytes; /* of all disks and layers, of this round */
	uint64_t excess_bytes; /* of index memory, to give back in this round */
	int64_t excess_since_ms; /* by disks idle since then or longer */
	struct candidate *candidates;
	size_t n_candidates, size;
	unsigned int unloaded; /* in this round */

	_Atomic uint64_t memory_bytes;

	pthread_mutex_t lock;
	pthread_cond_t stop; /* stopping was set */
	atomic_bool stopping;
};

/* There is something to do at ms. */
static void due_at(struct keeper *keeper, int64_t ms)
{
	if (ms < keeper->next_ms)
		keeper->next_ms = ms;
}

/* ---- one disk ---- */

/* When to try a step again whose result was rc. */
static int64_t again_ms(const struct keeper *keeper, int rc)
{
	if (rc >= 0)
		return 0;
	return keeper->now_ms + (rc == -ENOSPC ? KEEPER_FULL_MS : KEEPER_FAILED_MS);
}

static void note_result(struct keeper *keeper, const struct mount_visit *visit,
	struct keeping *keeping, const char *what, int rc)
{
	char name[NAME_BYTES];

	atomic_store(&keeping->error, rc);
	if (rc == 0 || rc == keeping->told)
		return;
	keeping->told = rc;
	keeper->backend.name(visit->disk_ctx, name, sizeof(name));
	syslog(LOG_WARNING, "%s: %s: %s", name, what, strerror(-rc));
}

static uint64_t log_bytes(const struct delta_stats *stats)
{
	return stats->replayed_bytes + stats->appended_bytes + stats->moved_bytes;
}

/* Would opening it again have to replay much? */
static bool is_long(struct delta *delta, struct keeping *keeping)
{
	struct delta_stats stats;

	delta_stats(delta, &stats);
	/* It was closed since, or is another delta now. */
	if (log_bytes(&stats) < keeping->covered_bytes)
		keeping->covered_bytes = 0;
	return log_bytes(&stats) - keeping->covered_bytes >= KEEPER_REST_REPLAY_BYTES;
}

static int checkpoint(struct keeper *keeper, struct delta *delta, struct keeping *keeping)
{
	struct delta_stats before;
	int rc;

	delta_stats(delta, &before);
	rc = delta_checkpoint(delta);
	if (rc == 0)
		keeping->covered_bytes = log_bytes(&before);
	keeping->checkpoint_after_ms = again_ms(keeper, rc);
	return rc;
}

static bool may_checkpoint(const struct keeper *keeper, const struct mount_visit *visit,
	struct delta *delta, struct keeping *keeping, unsigned int due)
{
	if (keeper->now_ms < keeping->checkpoint_after_ms)
		return false;
	return (due & DELTA_DUE_CHECKPOINT) ||
		(visit->idle_ms >= keeper->options.rest_ms && is_long(delta, keeping));
}

/* Guests come first, and a rate may be asked for. */
static void pause_cleaning(struct keeper *keeper, struct keeping *keeping, bool busy,
	int64_t began_ms, uint64_t moved_bytes)
{
	uint64_t rate = keeper->options.clean_rate_bytes;
	int64_t now_ms = clock_now_ms();

	if (rate > 0)
		keeper->clean_after_ms = now_ms + (int64_t)(moved_bytes * 1000 / rate);
	if (!busy)
		return;
	keeping->clean_after_ms = now_ms + (now_ms - began_ms + 1) * KEEPER_BUSY_PAUSE;
	atomic_fetch_add(&keeping->pauses, 1);
}

/* Of a step that is not urgent. */
static uint64_t budget_of(const struct keeper *keeper, bool busy)
{
	uint64_t rate = keeper->options.clean_rate_bytes;
	uint64_t budget = busy ? KEEPER_BUSY_STEP_BYTES : KEEPER_STEP_BYTES;

	if (rate == 0)
		return budget;
	return min_u64(budget, max_u64(rate / KEEPER_RATE_STEPS, KEEPER_RATE_STEP_BYTES));
}

static int clean(struct keeper *keeper, struct delta *delta, struct keeping *keeping, bool busy,
	bool urgent)
{
	uint64_t budget = urgent ? KEEPER_STEP_BYTES : budget_of(keeper, busy);
	int64_t began_ms = clock_now_ms();
	uint64_t moved_bytes = 0;
	int rc = delta_clean(delta, budget, &moved_bytes);

	keeping->clean_after_ms = again_ms(keeper, rc);
	if (!urgent && rc >= 0)
		pause_cleaning(keeper, keeping, busy, began_ms, moved_bytes);
	if (rc > 0)
		due_at(keeper, max_i64(keeping->clean_after_ms, keeper->clean_after_ms));
	return rc;
}

/* Is it time to? Else the round is told when it will be. */
static bool may_clean(struct keeper *keeper, const struct keeping *keeping, unsigned int due)
{
	int64_t after_ms = max_i64(keeping->clean_after_ms, keeper->clean_after_ms);

	if (!keeper->options.clean || !(due & DELTA_DUE_CLEAN))
		return false;
	if ((due & DELTA_DUE_CLEAN_URGENT) && keeping->error == 0)
		return true;
	if (keeper->now_ms < after_ms)
		due_at(keeper, after_ms);
	return keeper->now_ms >= after_ms;
}

/* What is due, each at most once; the first error. *ret_what: what that was, or
 * what was done last, or NULL. */
static int upkeep(struct keeper *keeper, const struct mount_visit *visit, struct delta *delta,
	struct keeping *keeping, const char **ret_what)
{
	unsigned int due = delta_due(delta);
	int rc = 0, clean_rc;

	if (due & DELTA_DUE_PREPARE) {
		*ret_what = "space ahead";
		rc = delta_prepare(delta);
	}
	if (rc == 0 && may_checkpoint(keeper, visit, delta, keeping, due)) {
		*ret_what = "checkpoint";
		rc = checkpoint(keeper, delta, keeping);
	}
	/* For want of space they may have failed: this makes some. */
	if (!may_clean(keeper, keeping, due))
		return rc;
	clean_rc = clean(keeper, delta, keeping, visit->idle_ms < KEEPER_BUSY_MS,
		due & DELTA_DUE_CLEAN_URGENT);
	if (rc < 0)
		return rc;
	*ret_what = "cleaning";
	return clean_rc < 0 ? clean_rc : 0;
}

static void keep_up(struct keeper *keeper, const struct mount_visit *visit)
{
	struct keeping *keeping = keeper->backend.of(visit->disk_ctx);
	/* NULL: it is being frozen, or every call of it fails. */
	struct delta *delta = disk_begin_upkeep(visit->disk);
	const char *what = NULL;
	int rc;

	if (!delta)
		return;
	rc = upkeep(keeper, visit, delta, keeping, &what);
	disk_end_upkeep(visit->disk);
	if (what)
		note_result(keeper, visit, keeping, what, rc);
}

/* ---- memory ---- */

static void add_candidate(struct keeper *keeper, int64_t idle_since_ms, uint64_t index_bytes)
{
	if (keeper->n_candidates == keeper->size) {
		size_t size = keeper->size ? 2 * keeper->size : 64;
		struct candidate *grown = reallocarray(keeper->candidates, size, sizeof(*grown));

		if (!grown)
			return; /* it is closed later */
		keeper->candidates = grown;
		keeper->size = size;
	}
	keeper->candidates[keeper->n_candidates++] =
		(struct candidate){.idle_since_ms = idle_since_ms, .index_bytes = index_bytes};
}

static bool is_over_memory(struct keeper *keeper, const struct mount_visit *visit)
{
	struct delta_stats stats;

	disk_delta_stats(visit->disk, &stats);
	keeper->index_bytes += stats.index_bytes;
	if (visit->idle_ms < KEEPER_MEMORY_IDLE_MS)
		return false;
	if (keeper->excess_bytes > 0 && visit->idle_since_ms <= keeper->excess_since_ms) {
		keeper->excess_bytes -= min_u64(keeper->excess_bytes, stats.index_bytes);
		keeper->index_bytes -= stats.index_bytes;
		return true;
	}
	add_candidate(keeper, visit->idle_since_ms, stats.index_bytes);
	return false;
}

static int longest_idle_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return (x->idle_since_ms > y->idle_since_ms) - (x->idle_since_ms < y->idle_since_ms);
}

/* Which disks the next round closes to come down to the budget. */
static void plan_memory(struct keeper *keeper)
{
	uint64_t given = 0;

	atomic_store(&keeper->memory_bytes, keeper->index_bytes);
	keeper->excess_bytes = 0;
	if (keeper->index_bytes <= keeper->options.memory_bytes || keeper->n_candidates == 0)
		return;
	qsort(keeper->candidates, keeper->n_candidates, sizeof(struct candidate),
		longest_idle_first);
	keeper->excess_bytes = keeper->index_bytes - keeper->options.memory_bytes;
	for (size_t i = 0; i < keeper->n_candidates && given < keeper->excess_bytes; i++) {
		given += keeper->candidates[i].index_bytes;
		keeper->excess_since_ms = keeper->candidates[i].idle_since_ms;
	}
	keeper->next_ms = keeper->now_ms;
}

/* ---- rounds ---- */

static enum mount_verdict visit_disk(void *ctx, const struct mount_visit *visit)
{
	struct keeper *keeper = ctx;

	if (atomic_load(&keeper->stopping))
		return MOUNT_KEEP;
	if (is_over_memory(keeper, visit) ||
		visit->idle_ms >= (int64_t)keeper->options.idle_sec * 1000) {
		keeper->unloaded++;
		return MOUNT_UNLOAD;
	}
	keep_up(keeper, visit);
	return MOUNT_KEEP;
}

static void go_round(struct keeper *keeper)
{
	keeper->now_ms = clock_now_ms();
	keeper->next_ms = keeper->now_ms + KEEPER_ROUND_MS;
	keeper->index_bytes = keeper->backend.shared_bytes(keeper->backend.ctx);
	keeper->n_candidates = 0;
	keeper->unloaded = 0;
	mount_each_opened(keeper->mount, visit_disk, keeper);
	plan_memory(keeper);
	if (keeper->unloaded > 0)
		malloc_trim(0); /* else the freed indexes stay ours */
	if (keeper->backend.look)
		keeper->backend.look(keeper->backend.ctx);
	remains_let_go(space_pool_remains(keeper->pool));
	space_pool_refill(keeper->pool);
}

/* False: stop. */
static bool wait_for_next(struct keeper *keeper)
{
	struct timespec until = {.tv_sec = keeper->next_ms / 1000,
		.tv_nsec = keeper->next_ms % 1000 * 1000000};
	int rc = 0;
	SCOPED_LOCK(&keeper->lock);

	while (!atomic_load(&keeper->stopping) && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&keeper->stop, &keeper->lock, &until);
	return !atomic_load(&keeper->stopping);
}

/* Behind guests, but not idle-class: a guest's flush may have to wait for one
 * that we began, and that must not wait for everybody else's. */
static void lower_priority(void)
{
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, IOPRIO_BE_NR - 1));
}

static void *run_keeper(void *arg)
{
	struct keeper *keeper = arg;

	lower_priority();
	do
		go_round(keeper);
	while (wait_for_next(keeper));
	return NULL;
}

static void keeper_free(struct keeper *keeper)
{
	pthread_cond_destroy(&keeper->stop);
	pthread_mutex_destroy(&keeper->lock);
	free(keeper->candidates);
	free(keeper);
}

int keeper_start(const struct keeper_options *options, const struct keeper_backend *backend,
	struct mount *mount, struct space_pool *pool, struct keeper **ret_keeper, struct err *err)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	pthread_condattr_t monotonic;
	int rc;

	if (!keeper)
		return err_sys(err, -ENOMEM, "maintenance");
	keeper->options = *options;
	if (keeper->options.rest_ms == 0)
		keeper->options.rest_ms = KEEPER_REST_MS;
	keeper->backend = *backend;
	keeper->mount = mount;
	keeper->pool = pool;
	pthread_mutex_init(&keeper->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper->stop, &monotonic);
	pthread_condattr_destroy(&monotonic);
	rc = -pthread_create(&keeper->thread, NULL, run_keeper, keeper);
	if (rc < 0) {
		keeper_free(keeper);
		return err_sys(err, rc, "maintenance");
	}
	*ret_keeper = keeper;
	return 0;
}

void keeper_stop(struct keeper *keeper)
{
	if (!keeper)
		return;
	pthread_mutex_lock(&keeper->lock);
	atomic_store(&keeper->stopping, true);
	pthread_cond_signal(&keeper->stop);
	pthread_mutex_unlock(&keeper->lock);
	pthread_join(keeper->thread, NULL);
	keeper_free(keeper);
}

uint64_t keeper_memory_bytes(struct keeper *keeper)
{
	return atomic_load(&keeper->memory_bytes);
}
