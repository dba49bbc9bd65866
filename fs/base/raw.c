/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening, reading and mapping of raw files and block devices: see raw.h. */
#include "fs/base/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/util/cleanup.h"
#include "fs/util/io.h"
#include "fs/util/round.h"

/* An exclusive open by somebody who probes as we do lasts microseconds. */
#define CLAIM_TRIES 5
#define CLAIM_PAUSE_NS 2000000

/* Bytes that a file occupies. A file system that packs small files into the
 * inode counts no blocks for them: those count as one sector, so that a file
 * with data never looks empty. */
static uint64_t allocated(int fd, const struct stat *st)
{
	uint64_t bytes = (uint64_t)st->st_blocks * 512;

	if (bytes == 0 && lseek(fd, 0, SEEK_DATA) >= 0)
		bytes = 512;
	return min_u64(bytes, (uint64_t)st->st_size);
}

/* A device that is mounted, swapped on or part of an array is claimed by the
 * kernel and changes under us: an exclusive open would fail. The claim is
 * tried, not kept, because other stores may serve the same device. */
static int check_unclaimed(const char *path, struct err *err)
{
	const struct timespec pause = {.tv_nsec = CLAIM_PAUSE_NS};

	for (int i = 0; i < CLAIM_TRIES; i++) {
		AUTO_CLOSE int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);

		if (fd >= 0 || errno != EBUSY)
			return 0;
		nanosleep(&pause, NULL);
	}
	err_set(err, -EBUSY, "%s: in use by the host (mounted, or part of an array)", path);
	err_hint(err, "unmount it first, or copy it to a file and use that");
	return -EBUSY;
}

static int device_sizes(struct raw *raw)
{
	uint64_t size;

	if (ioctl(raw->fd, BLKGETSIZE64, &size) < 0)
		return -errno;
	raw->size_bytes = size;
	raw->allocated_bytes = size;
	return 0;
}

int raw_refresh(struct raw *raw)
{
	struct stat st;

	if (raw->device)
		return device_sizes(raw);
	if (fstat(raw->fd, &st) < 0)
		return -errno;
	raw->size_bytes = (uint64_t)st.st_size;
	raw->allocated_bytes = allocated(raw->fd, &st);
	return 0;
}

static int check_sizes(const struct raw *raw, const char *path, struct err *err)
{
	if (raw->size_bytes == 0)
		return err_set(err, -EOPNOTSUPP, "%s: empty", path);
	if (raw->size_bytes > RAW_SIZE_MAX)
		return err_set(err, -EOPNOTSUPP, "%s: larger than 64 TiB", path);
	return 0;
}

static int fill(struct raw *raw, const char *path, struct err *err)
{
	struct stat st;
	int rc;

	if (fstat(raw->fd, &st) < 0)
		return err_sys(err, -errno, "%s", path);
	raw->device = S_ISBLK(st.st_mode);
	if (!raw->device && !S_ISREG(st.st_mode))
		return err_set(err, -EOPNOTSUPP, "%s: not a regular file or block device", path);
	raw->number = raw->device ? st.st_rdev : st.st_dev;
	raw->inode = raw->device ? 0 : st.st_ino;
	rc = raw_refresh(raw);
	if (rc < 0)
		return err_sys(err, rc, "%s", path);
	return check_sizes(raw, path, err);
}

int raw_open(const char *path, struct raw *ret_raw, struct err *err)
{
	/* O_NONBLOCK: a fifo must be refused, not waited for. */
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct raw raw = {.fd = fd};
	int rc;

	if (fd < 0 && (errno == ENXIO || errno == ENODEV)) /* a socket; no such driver */
		return err_set(err, -EOPNOTSUPP, "%s: not a file or device with content", path);
	if (fd < 0 && errno == EWOULDBLOCK)
		return err_set(err, -EBUSY, "%s: leased for writing by another program", path);
	if (fd < 0)
		return err_sys(err, -errno, "%s", path);
	rc = fill(&raw, path, err);
	if (rc == 0 && raw.device)
		rc = check_unclaimed(path, err);
	if (rc < 0)
		return rc;
	steal_fd(&fd);
	*ret_raw = raw;
	return 0;
}

int raw_open_again(const struct raw *raw)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", raw->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int raw_open_medium(const struct raw *raw, struct raw *ret_medium)
{
	int fd = raw_open_again(raw);

	if (fd < 0)
		return fd;
	if (raw->device)
		fcntl(fd, F_SETFL, O_DIRECT); /* what cannot do it reads as it can */
	*ret_medium = *raw;
	ret_medium->fd = fd;
	return 0;
}

bool raw_same(const struct raw *a, const struct raw *b)
{
	return a->device == b->device && a->number == b->number && a->inode == b->inode;
}

static int read_cached(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n = io_kernel.pread_nowait(&io_kernel, fd, buf, len, off);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EAGAIN;
}

int raw_read(const struct raw *raw, void *buf, size_t len, uint64_t off, bool nowait)
{
	size_t inside = 0;
	int rc = 0;

	if (off < raw->size_bytes)
		inside = (size_t)min_u64(len, raw->size_bytes - off);
	if (inside > 0 && nowait)
		rc = read_cached(raw->fd, buf, inside, off);
	else if (inside > 0)
		rc = io_read_full(&io_kernel, raw->fd, buf, inside, off);
	if (rc < 0)
		return rc == -ENODATA ? -EIO : rc;
	memset((char *)buf + inside, 0, len - inside);
	return 0;
}

bool raw_hole(const struct raw *raw, uint64_t off, uint64_t *ret_end)
{
	off_t data = lseek(raw->fd, (off_t)off, SEEK_DATA);
	off_t hole;

	*ret_end = raw->size_bytes;
	if (data < 0)
		return errno == ENXIO;
	if ((uint64_t)data > off) {
		*ret_end = min_u64((uint64_t)data, raw->size_bytes);
		return true;
	}
	hole = lseek(raw->fd, (off_t)off, SEEK_HOLE);
	if (hole > (off_t)off)
		*ret_end = min_u64((uint64_t)hole, raw->size_bytes);
	return false;
}
