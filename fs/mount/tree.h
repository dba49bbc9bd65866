/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is on the mount: clones, their disks, node ids.
 *
 * Lock order: tree->lock, then disk->attr_lock; disk->load_lock is a leaf.
 *
 * A disk that a request uses is pinned (tree_disk_pin), not locked. Removing
 * a clone takes it out of the tables under tree->lock, so that no new pin is
 * possible, then waits for the pins to go. A pin keeps the struct, not the
 * disk behind it open: that is what users are for (load.h).
 */
#ifndef FS_MOUNT_TREE_H
#define FS_MOUNT_TREE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "fs/mount/mount.h"
#include "fs/mount/pool.h"

#define TREE_ROOT 1 /* FUSE's node id of the root */
#define TREE_FILE_MAX 255

struct tree;

/* A flush must not stand behind reads of a base that hangs. */
enum tree_lane {
	LANE_OTHER,
	LANE_READ,
	LANE_WRITE, /* to merge with a block of the base */
	LANES,
};

struct mount_disk {
	/* set once */
	struct mount_clone *clone;
	char *name;
	uint64_t ino;
	void *ctx;

	atomic_uint pins;
	atomic_uint opens;
	struct pool_lane lane[LANES];

	/* load.h */
	atomic_uint users;
	atomic_bool used;            /* by a request, since it was last visited */
	int64_t idle_since_ms;       /* the visitor's */
	_Atomic(struct disk *) disk; /* changes while changing is set by its changer */
	struct disk *aside;          /* the changer's: kept from requests */
	pthread_mutex_t load_lock;
	pthread_cond_t changed;
	bool changing;               /* load_lock */
	atomic_bool lost;            /* the last flush before it was closed failed, untold */
	atomic_bool told;            /* a flush failed since it was opened, and said so */

	pthread_mutex_t attr_lock;
	struct mount_attr attr;      /* attr_lock; the size is disk's own while open */
	struct timespec changed_at;  /* attr_lock; of the attributes */
	bool known;                  /* attr_lock; what follows is as when it was closed */
	uint64_t data_bytes, last_write_sec;
};

struct mount_clone {
	/* set once */
	struct tree *tree;
	char *name;
	uint64_t ino;
	int64_t created_sec;
	uint32_t n_disks;
	struct mount_disk *disks; /* in the caller's order */
};

struct tree_slot {
	uint64_t node; /* beside the pointer: searching touches one array only */
	struct mount_clone *clone;
};

struct tree {
	/* Writers first: clones must appear while guests keep readers busy. */
	pthread_rwlock_t lock;
	struct tree_slot *slots; /* lock; sorted by node */
	uint32_t n_slots, size;  /* lock */
	void *by_name;           /* lock; a tsearch() tree of clones */

	atomic_uint opens; /* of all disks */

	pthread_mutex_t wait_lock; /* a leaf: for the condition only */
	pthread_cond_t unused;     /* pins, users or opens of some disk became 0 */
	atomic_uint waiters;       /* on it */
};

void tree_init(struct tree *tree);
void tree_release(struct tree *tree); /* all clones are removed */

int tree_add(struct tree *tree, const char *name, uint64_t node, int64_t created_sec,
	const struct mount_new_disk *disks, uint32_t n_disks, struct mount_clone **ret_clone,
	struct err *err);

/* Take a clone out of the tables. -EBUSY and *ret_disk: that disk is open. */
int tree_take_out(struct tree *tree, struct mount_clone *clone, struct mount_disk **ret_disk);
void tree_wait_unpinned(struct mount_clone *clone);
void tree_clone_free(struct mount_clone *clone);

/* Is any disk open? Its name, as CLONE/FILE, for a message. */
bool tree_any_open(struct tree *tree, char *name, size_t size);

/* Wait until a count of opens is 0, for at most ms; false: it still is not. */
bool tree_wait_closed(struct tree *tree, const atomic_uint *opens, unsigned int ms);

/* A disk by inode number; NULL: gone. */
struct mount_disk *tree_disk_pin(struct tree *tree, uint64_t ino);
void tree_disk_unpin(struct mount_disk *disk);

/* The disk by inode number, or for a clone's directory any disk of it. */
struct mount_disk *tree_disk_pin_any(struct tree *tree, uint64_t ino);

/* Pin and count one more open of it. */
struct mount_disk *tree_disk_pin_open(struct tree *tree, uint64_t ino);
void tree_disk_closed(struct mount_disk *disk); /* one open less */

/* Of the disks behind files the first one that is open and whose inode number
 * is above ino, pinned; or NULL. */
struct mount_disk *tree_next_loaded(struct tree *tree, uint64_t ino);

/* For those who wait: a count became 0. */
void tree_wake_waiters(struct tree *tree);
void tree_wait_zero(struct tree *tree, const atomic_uint *count);

/* The disk called name in the directory parent, pinned; or NULL. */
struct mount_disk *tree_disk_lookup(struct tree *tree, uint64_t parent, const char *name);

/* What a directory looks like: 0 or -ENOENT. */
struct tree_dir {
	uint64_t ino;
	uint64_t n_dirs; /* directories in it */
	int64_t created_sec;
};
int tree_dir(struct tree *tree, uint64_t ino, struct tree_dir *ret_dir);
int tree_dir_lookup(struct tree *tree, const char *name, struct tree_dir *ret_dir);

/* The first entry of a directory after cookie (0: from the start): its name
 * is copied out. False: no more. Cookies are inode numbers, so that they stay
 * good while entries come and go. */
struct tree_entry {
	uint64_t ino;
	bool is_dir;
	char name[TREE_FILE_MAX + 1];
};
bool tree_next(struct tree *tree, uint64_t dir, uint64_t cookie, struct tree_entry *ret_entry);

#endif
