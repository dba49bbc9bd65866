/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the mount: clones as directories of raw files on one FUSE mount.
 *
 *	mount_new(options, backend)
 *	mount_add(clone) ... mount_remove(clone)    at any time
 *	mount_start(mountpoint)                     mount, serve
 *	mount_unmount() or mount_detach()           take it off the tree
 *	mount_stop()                                end serving, close all disks
 *	mount_free()
 *
 * The room knows names, node numbers and attributes of disks; what a disk is
 * made of is the backend's (fs/daemon). A disk is opened when somebody first
 * looks at it. It is closed when the visitor of mount_each_opened() says so
 * (also while a guest has the file open: its next request opens it again),
 * when its clone is removed, or when the mount stops.
 *
 * Node ids, which are also inode numbers, come from persistent numbers:
 * clone node << 16 for the directory, plus the disk's number for a file. They
 * are the same after every restart, and nothing is freed on FORGET.
 *
 * Threads: calls of this door may come from any thread that does not serve
 * the mount; mount_start to mount_free from one.
 */
#ifndef FS_MOUNT_MOUNT_H
#define FS_MOUNT_MOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/disk/disk.h"
#include "fs/util/err.h"

#define MOUNT_DISKS_MAX 65535 /* disk numbers are the low 16 bits of a node id */
#define MOUNT_NODE_MAX ((UINT64_C(1) << 40) - 1)

/* How long a disk that was just closed may take to be seen closed: the kernel
 * tells us asynchronously. */
#define MOUNT_CLOSE_WAIT_MS 250

struct mount;
struct mount_clone;

/* What of a disk the mount shows and the backend keeps. */
struct mount_attr {
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permission bits */
	uint64_t size_bytes;
};

/* Space as a guest may use it. */
struct mount_space {
	uint64_t total_bytes;
	uint64_t free_bytes; /* that can still be written */
};

/* What the daemon does for the mount. disk_ctx is the one given to mount_add;
 * calls for one disk come one at a time, from threads that may wait. */
struct mount_backend {
	/* Open the disk; a failure is EIO for the guest, its reason the
	 * backend's to remember. */
	int (*open)(void *disk_ctx, struct disk **ret_disk);
	/* Close it: what disk_close() returns. */
	int (*close)(void *disk_ctx, struct disk *disk);
	/* Close it without keeping anything: what it held was thrown away. */
	void (*drop)(void *disk_ctx, struct disk *disk);
	/* Make changed attributes durable. */
	int (*keep)(void *disk_ctx, const struct mount_attr *attr);
	/* What statfs says; any thread, must not wait. disk_ctx NULL: of no
	 * clone in particular. */
	void (*space)(void *ctx, void *disk_ctx, struct mount_space *ret_space);
	/* The mount was taken away by somebody else. */
	void (*gone)(void *ctx);
	void *ctx;
};

struct mount_options {
	const char *source; /* shown in the table of mounts: the store's path */
	bool allow_other;
	int statfs_fd; /* the file system that statfs describes; not taken over */
	unsigned int workers; /* 0: by the number of processors */
};

struct mount_new_disk {
	const char *name; /* of the file: "vda.raw" */
	uint32_t number;  /* 1 to MOUNT_DISKS_MAX, persistent */
	struct mount_attr attr;
	void *ctx;
};

struct mount_disk_info {
	struct mount_attr attr;
	uint32_t opens;
	bool opened; /* the rest is meaningful only then */
	struct delta_stats stats;
};

int mount_new(const struct mount_options *options, const struct mount_backend *backend,
	struct mount **ret_mount, struct err *err);

/* Show a clone. -EEXIST: the name or the node number is taken. */
int mount_add(struct mount *mount, const char *name, uint64_t node, int64_t created_sec,
	const struct mount_new_disk *disks, uint32_t n_disks, struct mount_clone **ret_clone,
	struct err *err);

/* Hide a clone, wait out the requests that use it, close its disks, free.
 * -EBUSY: a disk of it is open (still is after a moment: the kernel tells of
 * a close only after it happened). */
int mount_remove(struct mount *mount, struct mount_clone *clone, struct err *err);

/* i: index into disks as given to mount_add. */
void mount_disk_info(struct mount_clone *clone, uint32_t i, struct mount_disk_info *ret_info);

/* Visiting the disks that are open in us, one after the other, whether guests
 * have them open or not. One stays open, and its clone there, as long as it
 * is visited; removing its clone waits. One thread at a time. */
struct mount_visit {
	struct disk *disk;
	void *disk_ctx;
	int64_t idle_ms; /* no request used it for so long, as of these visits */
	int64_t idle_since_ms; /* clock_now_ms() less that: the same until it is used */
	uint32_t opens;
};

/* One that is broken and that no guest has open is closed whatever is said: who
 * asks next opens and verifies it anew. */
enum mount_verdict {
	MOUNT_KEEP,
	MOUNT_UNLOAD, /* flush and close it, unless a request uses it by now */
};

typedef enum mount_verdict mount_visit_fn(void *ctx, const struct mount_visit *visit);

void mount_each_opened(struct mount *mount, mount_visit_fn *fn, void *ctx);

/* Open a disk of a clone if it is not, and keep it open until
 * mount_unuse_disk(). Waits. -EIO: it cannot be opened. */
int mount_use_disk(struct mount *mount, struct mount_clone *clone, uint32_t i,
	struct disk **ret_disk);
void mount_unuse_disk(struct mount_clone *clone, uint32_t i);

/* No request uses a disk of the clone when this returned 0, and none begins
 * before mount_resume(), which always has to follow. -EBUSY, and all is as
 * before: one of them is open by somebody (still is after a moment). */
int mount_suspend(struct mount *mount, struct mount_clone *clone, struct err *err);

/* What became of the disks meanwhile. */
enum mount_fate {
	MOUNT_AS_BEFORE, /* nothing: they go on as they were */
	MOUNT_CLOSED,    /* they are flushed, closed, and opened anew by who asks; the next
			  * fsync of one whose last flush failed says so */
	MOUNT_REPLACED,  /* their content is another, the old one is thrown away unflushed */
};

/* Let requests go on. size_bytes: of each disk that was replaced, else NULL. Of
 * what was not as before the kernel forgets what it remembers. */
void mount_resume(struct mount *mount, struct mount_clone *clone, enum mount_fate fate,
	const uint64_t *size_bytes);

/* mountpoint: canonical (fs/mount/mountpoint.h). 0 when requests are served. */
int mount_start(struct mount *mount, const char *mountpoint, struct err *err);

/* Unmount for good. -EBUSY, and all is as before, when a disk is open (the
 * message says which) or something else keeps it busy. */
int mount_unmount(struct mount *mount, struct err *err);

/* Take the mount off the tree, whoever uses it: they get ENOTCONN. */
void mount_detach(struct mount *mount);

/* End serving: no more requests, those begun are answered, every disk is
 * closed. The first error of a disk's last flush, or 0. */
int mount_stop(struct mount *mount);
void mount_free(struct mount *mount); /* stopped, or never started; NULL allowed */

#endif
