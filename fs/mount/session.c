/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The terms of the session, its table of handlers, and the way to the pool: see session.h. */
#include "fs/mount/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"

/* What no handler serves gets ENOSYS from the library, and the kernel then
 * never asks again. That is wanted for getxattr (a round trip for every
 * write), getlk, setlk and flock (locks stay in the kernel, and work), poll,
 * access, bmap and copy_file_range; everything else has a handler. */

static void init(void *userdata, struct fuse_conn_info *conn)
{
	/* It counts for the whole mount: with the default of 12, one disk whose base
	 * hangs would leave nothing to the others. */
	conn->max_background = 65535;
	conn->congestion_threshold = 65535 / 4 * 3;
	conn->max_write = DISK_IO_MAX;
	/* Data go through one buffer, not through pipes. */
	conn->want &= ~(unsigned int)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
		FUSE_CAP_SPLICE_MOVE);
	/* O_TRUNC comes as a SETATTR, which refuses it. */
	conn->want &= ~(unsigned int)FUSE_CAP_ATOMIC_O_TRUNC;
}

static void forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	fuse_reply_none(req); /* nodes live as long as their clones */
}

static void forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	fuse_reply_none(req);
}

/* Clones come and go through the control socket alone. */

static void refuse_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	dev_t rdev)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
	fuse_ino_t new_parent, const char *new_name, unsigned int flags)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent,
	const char *new_name)
{
	fuse_reply_err(req, EPERM);
}

static void refuse_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi)
{
	fuse_reply_err(req, EPERM);
}

/* close() promises nothing; what was written is in the kernel already. */
static void flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0);
}

/* Directories have nothing that could be lost. */
static void fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0);
}

const struct fuse_lowlevel_ops session_ops = {
	.init = init,
	.lookup = names_lookup,
	.forget = forget,
	.forget_multi = forget_multi,
	.getattr = names_getattr,
	.setattr = names_setattr,
	.mknod = refuse_mknod,
	.mkdir = refuse_mkdir,
	.unlink = refuse_unlink,
	.rmdir = refuse_unlink,
	.symlink = refuse_symlink,
	.rename = refuse_rename,
	.link = refuse_link,
	.create = refuse_create,
	.open = data_open,
	.release = data_release,
	.read = data_read,
	.write = data_write,
	.flush = flush,
	.fsync = data_fsync,
	.fsyncdir = fsyncdir,
	.fallocate = data_fallocate,
	.lseek = data_lseek,
	.ioctl = data_ioctl,
	.readdir = names_readdir,
	.statfs = names_statfs,
};

static void run_waiting(struct pool_job *job)
{
	struct waiting *w = (struct waiting *)job; /* its first member */

	w->serve(w);
	tree_disk_unpin(w->disk);
	free(w);
}
_Static_assert(offsetof(struct waiting, job) == 0, "run_waiting");

static struct waiting *copy_waiting(const struct waiting *what, size_t data_len)
{
	struct waiting *w = malloc(sizeof(*w) + data_len);

	if (!w)
		return NULL;
	*w = *what;
	w->job.run = run_waiting;
	if (data_len > 0)
		w->data = memcpy(w + 1, what->data, data_len);
	return w;
}

void session_wait(const struct waiting *what, size_t data_len)
{
	struct waiting *w = copy_waiting(what, data_len);
	struct waiting here = *what;

	if (w && pool_submit(what->mount->pool, &what->disk->lane[what->lane], &w->job) == 0)
		return;
	/* No memory or no threads: slow is better than failed. */
	free(w);
	here.serve(&here);
	tree_disk_unpin(here.disk);
}

int session_guest_errno(int rc)
{
	switch (rc) {
	case 0:
	case -ENOSPC:
	case -EINVAL:
	case -EFBIG:
	case -ENXIO:
	case -ENOMEM:
	case -EPERM:
	case -EACCES:
	case -EROFS:
	case -EOPNOTSUPP:
		return -rc;
	case -EDQUOT:
		return ENOSPC; /* the one error on which QEMU pauses the guest */
	default:
		return EIO;
	}
}
