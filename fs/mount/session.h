/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inside the room: the mount as the handlers of requests see it.
 *
 * A handler answers at once on the worker that received the request, or hands
 * the request to the pool (session_wait) when it would have to wait for a
 * device, for a base in trouble or for a disk to be opened.
 */
#ifndef FS_MOUNT_SESSION_H
#define FS_MOUNT_SESSION_H

#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "fs/mount/fuse.h"
#include "fs/mount/mount.h"
#include "fs/mount/pool.h"
#include "fs/mount/tree.h"

/* Nothing on the mount changes behind the kernel's back but what we tell it
 * of (a clone that vanished), so it may keep names and attributes. */
#define SESSION_TIMEOUT_SEC 86400.0

struct worker;

struct mount {
	/* set once */
	struct mount_options options;
	struct mount_backend backend;
	struct pool *pool;
	struct timespec started;

	struct tree tree;

	/* the life of the session: of the thread that starts and stops it */
	char path[PATH_MAX];
	dev_t dev; /* of our mount; 0 while there is none */
	struct fuse_session *session;
	struct worker *workers;
	unsigned int n_workers;

	atomic_bool serving;         /* there is a kernel to notify */
	atomic_bool stopping;        /* workers leave */
	atomic_bool refusing;        /* no more opens: the mount is about to go */
	atomic_uint workers_running;
};

/* A request on its way through the pool. */
struct waiting {
	struct pool_job job;
	void (*serve)(struct waiting *w); /* answers; may wait */
	fuse_req_t req;
	struct mount *mount;
	struct mount_disk *disk; /* pinned; unpinned after serve */
	enum tree_lane lane;
	uint64_t off, len;
	int arg; /* whence, fallocate mode, fields to set */
	struct stat attr;
	const void *data;
};

/* Serve *what in the pool; here and now when the pool cannot take it. data_len
 * bytes at what->data are copied. Takes over the pin. */
void session_wait(const struct waiting *what, size_t data_len);

/* What a guest may see of an error: never EINTR, EAGAIN or ENOSYS. */
int session_guest_errno(int rc);

/* The calling worker's own buffer of DISK_IO_MAX bytes for the data of READ. */
char *session_read_buffer(void);

/* Handlers, by file. */
extern const struct fuse_lowlevel_ops session_ops; /* session.c */

void names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void names_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
	struct fuse_file_info *fi);
void names_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	struct fuse_file_info *fi);
void names_statfs(fuse_req_t req, fuse_ino_t ino);

void data_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void data_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void data_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi);
void data_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
	struct fuse_file_info *fi);
void data_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void data_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
	struct fuse_file_info *fi, unsigned int flags, const void *in_buf, size_t in_size,
	size_t out_size);

#endif
