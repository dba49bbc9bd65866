/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files whose write bits a store has taken, and what they were: STORE/modes.json.
 *
 * Written before a mode is changed, and again after it was given back: a file
 * that stands in no store's has the mode its owner wants. Published by rename,
 * removed with its last entry. Who changes it holds the lock (modes_lock).
 */
#ifndef CLONE_STATE_MODES_H
#define CLONE_STATE_MODES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/util/err.h"

#define MODES_ID 17 /* with the NUL: 16 hexadecimal digits, follow from the file's identity */
#define MODES_MAX 16384
#define MODES_BYTES_MAX (96u << 20) /* each a path of 4 KiB at most, its bytes escaped or not */

struct modes_entry {
	char id[MODES_ID];
	char *path;
	uint64_t inode; /* another file at that path is not ours to change */
	mode_t mode;    /* its permission bits */
	bool immutable; /* it was made so as well (chattr +i) */
	bool by_hand;   /* it stays so without a clone */
};

struct modes {
	uint32_t count;
	struct modes_entry *entries;
};

/* No file: none. -EUCLEAN: it is damaged. */
int modes_read(int store_dirfd, struct modes *ret_modes, struct err *err);
int modes_write(int store_dirfd, const struct modes *modes, struct err *err); /* durable */
void modes_clear(struct modes *modes);

struct modes_entry *modes_find(const struct modes *modes, const char *id);

/* Another one, with a copy of path; the rest is the caller's to fill in. NULL without memory. */
struct modes_entry *modes_add(struct modes *modes, const char *id, const char *path);
void modes_drop(struct modes *modes, struct modes_entry *entry);

/* Who makes clones keeps their originals' modes from being given back meanwhile;
 * who gives back waits for no one: -EBUSY. A descriptor, or -errno. */
int modes_keep(int store_dirfd);
int modes_give_back(int store_dirfd);
/* To change the file; waits. */
int modes_lock(int store_dirfd);

#endif
