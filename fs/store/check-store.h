/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the check of a store shares with its repairs. Private to them. */
#ifndef FS_STORE_CHECK_STORE_H
#define FS_STORE_CHECK_STORE_H

#include "fs/store/check.h"
#include "fs/store/directory.h"
#include "fs/store/idset.h"

struct checking_store {
	struct check *check;
	const struct io_gate *io;
	struct store *store;
	char *const *names; /* only these clones, if there are any */
	uint32_t n_names;
	struct manifest **manifests; /* all that can be read */
	uint32_t n_manifests;
	const char **damaged; /* clones whose manifest can not */
	uint32_t n_damaged;
	bool unreadable; /* one is left that may name any layer */
	int lock_fd;     /* of the layers, shared, while they are repaired */
};

/* One clone. */
struct cloning {
	struct checking_store *s;
	uint32_t manifest; /* which */
	int dirfd;
	uint32_t disk; /* the one that is checked */
};

struct layering {
	struct checking_store *s;
	struct id id; /* of the damaged layer */
};

/* Files in layers/ that no manifest needs; n of them. */
struct check_unused {
	struct checking_store *s;
	int to; /* link them into this directory; -1: only count */
	struct idset needed;
	uint32_t n;
};

int check_find_unused(struct check_unused *unused);

/* Replace manifest nth by next, which is taken over in any case. */
int check_put_manifest(struct checking_store *s, uint32_t nth, struct manifest *next,
	struct err *err);

/* adopt of struct check_target, for a disk (struct cloning) and for a layer
 * (struct layering). */
int check_adopt_delta(void *ctx, const struct id *new_log, struct err *err);
int check_adopt_layer(void *ctx, const struct id *new_log, struct err *err);

/* Move a clone whose manifest is damaged to lost+found, and with it a second
 * name of each layer that no other clone needs. */
int check_move_clone(struct checking_store *s, const char *name, struct err *err);

#endif
