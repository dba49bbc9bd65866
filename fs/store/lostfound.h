/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* STORE/lost+found: where repair puts what it takes out of the store, under a number of its own. */
#ifndef FS_STORE_LOSTFOUND_H
#define FS_STORE_LOSTFOUND_H

#include <limits.h>

#include "fs/store/directory.h"

#define LOSTFOUND_DIR "lost+found"

/* A place "NAME.N" that is free now. */
struct lostfound {
	const struct store *store;
	int fd; /* of lost+found */
	char name[NAME_MAX + 1];
};

/* Make lost+found if it is not there, durably, and find a free place for name. */
int lostfound_open(const struct store *store, const char *name, struct lostfound *ret_place,
	struct err *err);
void lostfound_close(struct lostfound *place);

/* Give all files of the log id in dirfd a second name in the place, a directory
 * that is made for it; durable when it returns. */
int lostfound_link_log(struct lostfound *place, int dirfd, const struct id *id, struct err *err);

/* Move the directory dirfd/name there, durably. */
int lostfound_move(struct lostfound *place, int dirfd, const char *name, struct err *err);

/* Give the files of the log id in dirfd a second name in the directory to. Not synced. */
int lostfound_link(const struct io_gate *io, int dirfd, int to, const struct id *id);

#endif
