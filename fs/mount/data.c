/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests about the content of a disk: open, read, write, discard, flush, seek.
 *
 * Each is tried on the worker with DISK_NOWAIT and goes to the pool on
 * -EAGAIN; on the pool it waits as long as it takes. Nothing is allocated on
 * the way of a write that need not wait.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/mount/load.h"
#include "fs/mount/session.h"
#include "fs/util/cleanup.h"
#include "fs/util/round.h"

#define DIO_BYTES 512 /* alignment that guests may use */

static struct mount_disk *pin(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *mount = fuse_req_userdata(req);
	struct mount_disk *disk = tree_disk_pin(&mount->tree, ino);

	if (!disk)
		fuse_reply_err(req, ESTALE);
	return disk;
}

/* Serve it in the pool. disk: as in done(); what: how, and what of the request
 * is not the same for all. */
static void hand_over(fuse_req_t req, struct mount_disk *at, struct disk *disk,
	struct waiting what, size_t data_len)
{
	if (disk)
		load_unuse(at);
	what.req = req;
	what.mount = fuse_req_userdata(req);
	what.disk = at;
	session_wait(&what, data_len);
}

/* The end of a request that was served here: disk NULL, it was closed. */
static void done(struct mount_disk *at, struct disk *disk)
{
	if (disk)
		load_unuse(at);
	tree_disk_unpin(at);
}

static void reply_open(fuse_req_t req, struct mount_disk *disk)
{
	struct open_answer answer = {
		.fh = disk->ino,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES,
	};

	/* The opener was interrupted and will not send RELEASE. */
	if (fuse_reply_buf(req, (const char *)&answer, sizeof(answer)) == -ENOENT)
		tree_disk_closed(disk);
}

static void refuse_open(fuse_req_t req, struct mount_disk *disk, int error)
{
	tree_disk_closed(disk);
	fuse_reply_err(req, error);
}

static void serve_open(struct waiting *w)
{
	struct disk *opened;

	if (load_open(w->mount, w->disk, &opened) < 0) {
		refuse_open(w->req, w->disk, EIO);
	} else {
		load_unuse(w->disk);
		reply_open(w->req, w->disk);
	}
}

void data_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *mount = fuse_req_userdata(req);
	struct mount_disk *at = tree_disk_pin_open(&mount->tree, ino);
	struct disk *disk;

	if (!at) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	disk = load_use(at);
	if (atomic_load(&mount->refusing)) {
		refuse_open(req, at, ENOTCONN);
	} else if (disk) {
		reply_open(req, at);
	} else {
		hand_over(req, at, NULL, (struct waiting){.serve = serve_open}, 0);
		return;
	}
	done(at, disk);
}

void data_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount_disk *disk = pin(req, ino);

	if (!disk)
		return;
	tree_disk_closed(disk);
	fuse_reply_err(req, 0);
	tree_disk_unpin(disk);
}

static int read_disk(struct disk *disk, char *buf, uint64_t len, uint64_t off, unsigned int flags)
{
	return len == 0 ? 0 : disk_read(disk, buf, len, off, flags);
}

static void reply_data(fuse_req_t req, int rc, const char *buf, size_t len)
{
	if (rc < 0)
		fuse_reply_err(req, session_guest_errno(rc));
	else
		fuse_reply_buf(req, buf, len);
}

/* How much of a read lies on the disk. */
static uint64_t clamp(const struct disk *disk, uint64_t len, uint64_t off)
{
	uint64_t size = disk_size(disk);

	return off >= size ? 0 : min_u64(len, size - off);
}

static void serve_read(struct waiting *w)
{
	AUTO_FREE char *buf = NULL;
	struct disk *disk;
	uint64_t len = 0;
	int rc = load_open(w->mount, w->disk, &disk);

	if (rc == 0) {
		len = clamp(disk, w->len, w->off);
		buf = malloc(len ? len : 1);
		rc = buf ? read_disk(disk, buf, len, w->off, 0) : -ENOMEM;
		load_unuse(w->disk);
	}
	reply_data(w->req, rc, buf, len);
}

void data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount_disk *at = pin(req, ino);
	char *buf = session_read_buffer();
	struct disk *disk;
	uint64_t len = 0;
	int rc = -EAGAIN;

	if (!at)
		return;
	disk = load_use(at);
	if (off < 0 || size > DISK_IO_MAX) {
		rc = -EINVAL;
	} else if (disk) {
		len = clamp(disk, size, (uint64_t)off);
		rc = read_disk(disk, buf, len, (uint64_t)off, DISK_NOWAIT);
	}
	if (rc == -EAGAIN) {
		hand_over(req, at, disk, (struct waiting){.serve = serve_read, .lane = LANE_READ,
			.off = (uint64_t)off, .len = size}, 0);
		return;
	}
	reply_data(req, rc, buf, len);
	done(at, disk);
}

/* A disk has an end: it neither grows by being written, nor is a write cut. */
static int write_disk(struct disk *disk, const char *buf, uint64_t len, uint64_t off,
	unsigned int flags)
{
	if (outside(off, len, disk_size(disk)))
		return -EFBIG;
	return len == 0 ? 0 : disk_write(disk, buf, len, off, flags);
}

static void reply_written(fuse_req_t req, int rc, size_t len)
{
	if (rc < 0)
		fuse_reply_err(req, session_guest_errno(rc));
	else
		fuse_reply_write(req, len);
}

static void serve_write(struct waiting *w)
{
	struct disk *disk;
	int rc = load_open(w->mount, w->disk, &disk);

	if (rc == 0) {
		rc = write_disk(disk, w->data, w->len, w->off, 0);
		load_unuse(w->disk);
	}
	reply_written(w->req, rc, w->len);
}

void data_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct mount_disk *at = pin(req, ino);
	struct disk *disk;
	int rc = -EAGAIN;

	if (!at)
		return;
	disk = load_use(at);
	if (off < 0 || size > DISK_IO_MAX)
		rc = -EINVAL;
	else if (disk)
		rc = write_disk(disk, buf, size, (uint64_t)off, DISK_NOWAIT);
	if (rc == -EAGAIN) {
		hand_over(req, at, disk, (struct waiting){.serve = serve_write, .lane = LANE_WRITE,
			.off = (uint64_t)off, .len = size, .data = buf}, size);
		return;
	}
	reply_written(req, rc, size);
	done(at, disk);
}

static void serve_fsync(struct waiting *w)
{
	fuse_reply_err(w->req, session_guest_errno(load_flush(w->mount, w->disk)));
}

void data_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct mount_disk *at = pin(req, ino);
	struct disk *disk;

	if (!at)
		return;
	disk = load_use(at);
	if (load_must_wait_to_flush(at, disk)) {
		hand_over(req, at, disk, (struct waiting){.serve = serve_fsync}, 0);
		return;
	}
	/* Nothing to wait for, but an earlier failure has to be told again. */
	fuse_reply_err(req, session_guest_errno(disk_flush(disk)));
	done(at, disk);
}

static bool makes_zeros(int mode)
{
	return mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
}

/* Space is taken when it is written; to ask for it ahead succeeds and has no
 * effect, as on file systems that compress. */
static int allocate(struct disk *disk, int mode, uint64_t off, uint64_t len, unsigned int flags)
{
	uint64_t size = disk_size(disk);

	if (outside(off, len, size) && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EFBIG;
	if (!makes_zeros(mode) || off >= size)
		return 0;
	return disk_zero(disk, min_u64(len, size - off), off, flags);
}

static void serve_fallocate(struct waiting *w)
{
	struct disk *disk;
	int rc = load_open(w->mount, w->disk, &disk);

	if (rc == 0) {
		rc = allocate(disk, w->arg, w->off, w->len, 0);
		load_unuse(w->disk);
	}
	fuse_reply_err(w->req, session_guest_errno(rc));
}

void data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
	struct fuse_file_info *fi)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	struct mount_disk *at = pin(req, ino);
	struct disk *disk;
	int rc = -EAGAIN;

	if (!at)
		return;
	disk = load_use(at);
	if (mode & ~known)
		rc = -EOPNOTSUPP;
	else if (off < 0 || len <= 0)
		rc = -EINVAL;
	else if (disk)
		rc = allocate(disk, mode, (uint64_t)off, (uint64_t)len, DISK_NOWAIT);
	if (rc == -EAGAIN) {
		hand_over(req, at, disk, (struct waiting){.serve = serve_fallocate, .lane = LANE_WRITE,
			.off = (uint64_t)off, .len = (uint64_t)len, .arg = mode}, 0);
		return;
	}
	fuse_reply_err(req, session_guest_errno(rc));
	done(at, disk);
}

static void serve_lseek(struct waiting *w)
{
	struct disk *disk;
	uint64_t found;
	int rc = load_open(w->mount, w->disk, &disk);

	if (rc == 0) {
		rc = disk_seek(disk, w->off, w->arg == SEEK_DATA, &found);
		load_unuse(w->disk);
	}
	if (rc < 0)
		fuse_reply_err(w->req, session_guest_errno(rc));
	else
		fuse_reply_lseek(w->req, (off_t)found);
}

/* Always in the pool: where its holes are, a base on a slow file system may
 * have to read from its medium. */
void data_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct mount_disk *at = pin(req, ino);

	if (!at)
		return;
	if (off >= 0 && (whence == SEEK_DATA || whence == SEEK_HOLE)) {
		hand_over(req, at, NULL, (struct waiting){.serve = serve_lseek,
			.off = (uint64_t)off, .arg = whence}, 0);
		return;
	}
	fuse_reply_err(req, off < 0 ? ENXIO : EINVAL);
	tree_disk_unpin(at);
}

void data_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
	struct fuse_file_info *fi, unsigned int flags, const void *in_buf, size_t in_size,
	size_t out_size)
{
	const struct dio_info info = {
		.memory_align = DIO_BYTES,
		.min_io_bytes = DIO_BYTES,
		.max_io_bytes = DISK_IO_MAX,
	};

	if (cmd == (unsigned int)XFS_IOC_DIOINFO && out_size >= sizeof(info))
		fuse_reply_ioctl(req, 0, &info, sizeof(info));
	else
		fuse_reply_err(req, ENOTTY);
}
