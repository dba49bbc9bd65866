/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress of a long copy: a bar on a terminal, else a line at each tenth.
 *
 *	progress_begin(&p, "web-clone1", stderr, quiet)
 *	progress_update(&p, done, total) ...      a few times a second
 *	progress_end(&p)
 *
 * While one is under way SIGUSR1 prints a line at the next update, whatever
 * the output is (as dd does). Threads: one at a time; one progress per process.
 */
#ifndef FS_UTIL_PROGRESS_H
#define FS_UTIL_PROGRESS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
	const char *what;
	FILE *out;
	bool bar;
	bool quiet;
	bool shown;     /* a bar stands on the terminal's line */
	int last_tenth; /* of the last line printed */
	uint64_t begun_ns;
	struct sigaction old_usr1;
};

void progress_begin(struct progress *p, const char *what, FILE *out, bool quiet);
void progress_update(struct progress *p, uint64_t done_bytes, uint64_t total_bytes);
void progress_end(struct progress *p); /* wipes the bar */

#endif
