/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files that the user says an image may use: --backing and --data-file.
 *
 * A name in an image leads nowhere by itself (chain.h). What the user names is
 * compared with it as a file, whatever path leads there.
 */
#ifndef CLONE_PLAN_ALLOWED_H
#define CLONE_PLAN_ALLOWED_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/util/err.h"

struct allowed_file {
	const char *text; /* as given, for messages */
	char *path;
	const char *format; /* "raw", "qcow2"; NULL: not said */
	bool data;          /* a data file, not a backing image */
	bool used;
};

struct allowed {
	uint32_t n_files;
	struct allowed_file *files;
};

/* backings: FILE or FILE:FORMAT. A file whose own name ends with a colon and a
 * format is given with the format behind it. The texts must outlive it. */
int allowed_parse(const char *const *backings, uint32_t n_backings, const char *const *data_files,
	uint32_t n_data_files, struct allowed *ret_allowed, struct err *err);
void allowed_clear(struct allowed *allowed);

/* Is the file at path among them? Marks it as used. NULL: no. */
const struct allowed_file *allowed_find(struct allowed *allowed, const char *path, bool data);

/* -EINVAL: one was given that no image uses. */
int allowed_check_used(const struct allowed *allowed, struct err *err);

/* Do both lead to the same file or device? Also when neither does but they are
 * the same text. */
bool allowed_same(const char *a, const char *b);

#endif
