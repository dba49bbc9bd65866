/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verbs of the noun "base". */
#ifndef CLONE_CMD_BASE_H
#define CLONE_CMD_BASE_H

#include "clone/cmd/verb.h"
#include "fs/util/progress.h"

extern const struct verb verb_base_list, verb_base_info, verb_base_verify, verb_base_relink,
	verb_base_rm, verb_base_protect, verb_base_unprotect, verb_base_freeze, verb_base_thaw,
	verb_base_check_start;

/* One bar after the other, for the files that are read. On a terminal only. */
struct base_bars {
	struct progress progress;
	const char *path; /* whose bar it is; NULL: none yet */
	bool quiet;
};

void base_bars_begin(struct base_bars *bars, const struct cmd *cmd);
void base_bars_end(struct base_bars *bars);

/* As the progress of struct verify_options; ctx is the bars. */
void base_bars_show(void *ctx, const char *path, uint64_t done_bytes, uint64_t total_bytes);

#endif
