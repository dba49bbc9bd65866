/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals that ask a plan to stop: see interrupt.h. */
#include "clone/plan/interrupt.h"

#include <errno.h>
#include <signal.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct sigaction before[N_SIGNALS];
static volatile sig_atomic_t pending;

static void note(int sig)
{
	pending = 1;
}

void interrupt_catch(void)
{
	struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};

	sigemptyset(&action.sa_mask);
	pending = 0;
	for (size_t i = 0; i < N_SIGNALS; i++) {
		sigaction(signals[i], NULL, &before[i]);
		/* What was ignored (nohup) stays ignored. */
		if (before[i].sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}
}

void interrupt_restore(void)
{
	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaction(signals[i], &before[i], NULL);
}

bool interrupt_pending(void)
{
	return pending;
}

int interrupt_check(struct err *err)
{
	return pending ? err_set(err, -EINTR, "interrupted") : 0;
}
