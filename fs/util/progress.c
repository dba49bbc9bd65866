/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress of a long copy: see progress.h. */
#include "fs/util/progress.h"

#include <string.h>
#include <unistd.h>

#include "fs/util/clock.h"
#include "fs/util/size.h"

#define BAR_CELLS 30

static volatile sig_atomic_t line_wanted;

static void want_line(int signal)
{
	(void)signal;
	line_wanted = 1;
}

void progress_begin(struct progress *p, const char *what, FILE *out, bool quiet)
{
	struct sigaction action = {.sa_handler = want_line, .sa_flags = SA_RESTART};

	*p = (struct progress){
		.what = what,
		.out = out,
		.bar = isatty(fileno(out)),
		.quiet = quiet,
		.last_tenth = -1,
		.begun_ns = clock_now_ns(),
	};
	line_wanted = 0;
	sigemptyset(&action.sa_mask);
	sigaction(SIGUSR1, &action, &p->old_usr1);
}

static void wipe_bar(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", p->out);
	p->shown = false;
}

static int percent_of(uint64_t done, uint64_t total)
{
	return total ? (int)(done >= total ? 100 : done * 100.0 / total) : 100;
}

/* Per second, over the whole run. */
static uint64_t rate(const struct progress *p, uint64_t done)
{
	uint64_t ns = clock_now_ns() - p->begun_ns;

	return ns ? (uint64_t)(done * 1e9 / ns) : 0;
}

static void print_line(struct progress *p, uint64_t done, uint64_t total)
{
	char d[SIZE_TEXT], t[SIZE_TEXT], r[SIZE_TEXT];

	wipe_bar(p);
	fprintf(p->out, "%s: %d %% (%s of %s, %s/s)\n", p->what, percent_of(done, total),
		size_format(done, d), size_format(total, t), size_format(rate(p, done), r));
	fflush(p->out);
}

static void draw_bar(struct progress *p, uint64_t done, uint64_t total)
{
	char cells[BAR_CELLS + 1];
	char t[SIZE_TEXT], r[SIZE_TEXT];
	int percent = percent_of(done, total);
	int full = percent * BAR_CELLS / 100;

	memset(cells, ' ', BAR_CELLS);
	memset(cells, '#', (size_t)full);
	cells[BAR_CELLS] = '\0';
	fprintf(p->out, "\r\033[K%s [%s] %3d %% of %s, %s/s", p->what, cells, percent,
		size_format(total, t), size_format(rate(p, done), r));
	fflush(p->out);
	p->shown = true;
}

void progress_update(struct progress *p, uint64_t done_bytes, uint64_t total_bytes)
{
	int tenth = percent_of(done_bytes, total_bytes) / 10;

	if (line_wanted) {
		line_wanted = 0;
		print_line(p, done_bytes, total_bytes);
	}
	if (p->quiet)
		return;
	if (p->bar) {
		draw_bar(p, done_bytes, total_bytes);
	} else if (tenth > p->last_tenth) {
		p->last_tenth = tenth;
		print_line(p, done_bytes, total_bytes);
	}
}

void progress_end(struct progress *p)
{
	wipe_bar(p);
	fflush(p->out);
	sigaction(SIGUSR1, &p->old_usr1, NULL);
}
