/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Work for several processes: see share.h.
 *
 * Each takes the next item from a counter that all of them share, and adds
 * its own counters to the common ones at its end.
 */
#include "tests/lib/share.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES_MAX 64
#define COUNTERS_MAX 32

struct common {
	_Atomic uint64_t next, failed, done;
	_Atomic uint64_t counters[COUNTERS_MAX];
};

static void work(const struct share_task *task, uint64_t items, struct common *common)
{
	uint64_t item;

	for (size_t i = 0; i < task->n_counters; i++)
		task->counters[i] = 0;
	if (task->begin)
		task->begin();
	while ((item = atomic_fetch_add(&common->next, 1)) < items) {
		if (task->fn(task->ctx, item) < 0)
			atomic_fetch_add(&common->failed, 1);
		atomic_fetch_add(&common->done, 1);
	}
	if (task->end)
		task->end();
	for (size_t i = 0; i < task->n_counters; i++)
		atomic_fetch_add(&common->counters[i], task->counters[i]);
}

static pid_t start(const struct share_task *task, uint64_t items, struct common *common)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	work(task, items, common);
	fflush(NULL);
	_exit(0);
}

uint64_t share_out(const struct share_task *task, uint64_t items)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct common *common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[PROCESSES_MAX];
	uint64_t failed;
	int n = 0;

	if (common == MAP_FAILED || task->n_counters > COUNTERS_MAX) {
		perror("share");
		exit(2);
	}
	for (; n < PROCESSES_MAX && n < (processors > 0 ? processors : 1); n++) {
		pids[n] = start(task, items, common);
		if (pids[n] < 0)
			break;
	}
	for (int i = 0; i < n; i++) {
		int status = 0;

		waitpid(pids[i], &status, 0);
		if (WIFSIGNALED(status))
			fprintf(stderr, "share: a process ended by signal %d\n", WTERMSIG(status));
	}
	for (size_t i = 0; i < task->n_counters; i++)
		task->counters[i] += atomic_load(&common->counters[i]);
	failed = atomic_load(&common->failed) + items - atomic_load(&common->done);
	munmap(common, sizeof(*common));
	return failed;
}
