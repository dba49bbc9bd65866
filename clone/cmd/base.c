/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The noun `base`: the original images that clones need. */
#include "clone/cmd/base.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

void base_bars_begin(struct base_bars *bars, const struct cmd *cmd)
{
	*bars = (struct base_bars){.quiet = cmd->args.quiet || !isatty(STDERR_FILENO)};
	signal(SIGUSR1, SIG_IGN); /* between two bars */
}

void base_bars_show(void *ctx, const char *path, uint64_t done_bytes, uint64_t total_bytes)
{
	struct base_bars *bars = ctx;

	if (bars->path != path) {
		base_bars_end(bars);
		progress_begin(&bars->progress, path, stderr, bars->quiet);
		bars->path = path;
	}
	progress_update(&bars->progress, done_bytes, total_bytes);
}

void base_bars_end(struct base_bars *bars)
{
	if (bars->path)
		progress_end(&bars->progress);
	bars->path = NULL;
}

static const struct verb *const base_verbs[] = {
	&verb_base_list, &verb_base_info, &verb_base_verify, &verb_base_relink,
	&verb_base_rm, &verb_base_protect, &verb_base_unprotect,
	&verb_base_freeze, &verb_base_thaw, &verb_base_check_start, NULL,
};

const struct verb verb_base = {
	.name = "base",
	.summary = "the original images that clones need",
	.usage = (const char *const[]){"VERB [ARGUMENT...]", NULL},
	.detail = (const char *const[]){
		"A base is an image that clones read where they wrote nothing: it has to stay as it",
		"is, where it is, as long as one of them is there. All stores of this host count.",
		NULL},
	.options = no_options,
	.verbs = base_verbs,
};
