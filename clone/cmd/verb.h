/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A verb: one row that help, parsing and completion are made from, and the run it serves. */
#ifndef CLONE_CMD_VERB_H
#define CLONE_CMD_VERB_H

#include <jansson.h>
#include <stdbool.h>

#include "fs/util/cli.h"
#include "fs/util/err.h"

struct session;

/* What options say, for all verbs: the same option means the same everywhere. */
struct args {
	const char *connect, *store;
	bool quiet, verbose, json, help, version;

	const char *original, *name, *disk_only, *count, *to, *snapshot, *quota, *delete, *base;
	const char *format, *image_snapshot;
	struct cli_texts backing, data_file;
	bool start, dry_run, print_xml, all_or_none, force, quiesce, list, to_base, full, yes,
		forget_missing, immutable;
};

/* One run of the program. */
struct cmd {
	const struct verb *verb; /* NULL until it is known; of a noun's verbs that one */
	struct args args;
	int n_words;
	char **words; /* after the verb */
	struct session *session; /* opened on first need */
	int status; /* what a verb that did its work exits with, if not 0 */
};

#define WORDS_ANY 0x7fffffff

/* "base" is a noun: a row of which only name, summary, usage, detail and verbs
 * count. The names of its verbs begin with it: "base list". */
struct verb {
	const char *name;
	const char *summary;       /* one line for the overview */
	const char *const *usage;  /* what may follow the name; ends with NULL */
	const char *const *detail; /* lines of text for --help; ends with NULL */
	const struct cli_option *options;
	int min_words, max_words;
	const char *missing; /* the word that is missing below min_words */
	int (*run)(struct cmd *cmd, struct err *err); /* 0 or -errno */
	int (*status_of)(int rc); /* exit status of a -errno; NULL: err_exit_status() */
	const struct verb *const *verbs; /* of a noun; ends with NULL */
};

extern const struct cli_option global_options[];
extern const struct cli_option no_options[];

extern const struct verb verb_clone, verb_list, verb_info, verb_rm, verb_hydrate, verb_snapshot,
	verb_reset, verb_quota, verb_check, verb_base, verb_mount, verb_umount, verb_status, verb_doctor,
	verb_version, verb_help;
extern const struct verb *const verbs[]; /* ends with NULL */

/* The verb called so; noun: among that one's. NULL: unknown. */
const struct verb *verb_find(const struct verb *noun, const char *name);

/* The session of this run. */
int cmd_session(struct cmd *cmd, struct session **ret_session, struct err *err);

/* Wrong usage of this verb: err says what, this adds where to read on. Returns code. */
int cmd_usage(const struct cmd *cmd, int code, struct err *err);

/* The table of a clone's snapshots (verb snapshot, verb info). */
int cmd_print_snapshots(const json_t *snapshots);

/* What a base consists of, where that is more than a raw image (verb clone,
 * verb info): a line for each image and data file, the top first. */
void cmd_print_chain(const char *target, const json_t *images);

/* For a verb that takes several names: try each one, go on after a failure
 * (printed at once), and say -EREMOTEIO if some were done, else the first
 * failure. With --json one document, an array of what `each` gave back:
 * *ret_result is an object or NULL, to which "name" and "error" are added. */
int cmd_each(struct cmd *cmd,
	int (*each)(struct cmd *cmd, const char *name, json_t **ret_result, struct err *err),
	struct err *err);

#endif
