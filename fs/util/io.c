/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole reads and writes, durable names, the kernel's gate: see io.h. */
#include "fs/util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/util/cleanup.h"

static int kernel_openat(
	const struct io_gate *io, int dirfd, const char *name, int flags, mode_t mode)
{
	int fd = openat(dirfd, name, flags | O_CLOEXEC, mode);

	return fd < 0 ? -errno : fd;
}

static int kernel_close(const struct io_gate *io, int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

static int kernel_mkdirat(const struct io_gate *io, int dirfd, const char *name, mode_t mode)
{
	return mkdirat(dirfd, name, mode) < 0 ? -errno : 0;
}

static int kernel_unlinkat(const struct io_gate *io, int dirfd, const char *name, int flags)
{
	return unlinkat(dirfd, name, flags) < 0 ? -errno : 0;
}

static int kernel_renameat(const struct io_gate *io, int fromfd, const char *from, int tofd,
	const char *to, unsigned int flags)
{
	return renameat2(fromfd, from, tofd, to, flags) < 0 ? -errno : 0;
}

static int kernel_linkat(
	const struct io_gate *io, int fromfd, const char *from, int tofd, const char *to)
{
	return linkat(fromfd, from, tofd, to, 0) < 0 ? -errno : 0;
}

static ssize_t kernel_pread(
	const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	do
		n = pread(fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t kernel_pread_nowait(
	const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	ssize_t n;

	do
		n = preadv2(fd, &iov, 1, (off_t)off, RWF_NOWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EOPNOTSUPP) /* the file system cannot tell */
		return kernel_pread(io, fd, buf, len, off);
	return n < 0 ? -errno : n;
}

static ssize_t kernel_pwritev(
	const struct io_gate *io, int fd, const struct iovec *iov, int count, uint64_t off)
{
	ssize_t n;

	do
		n = pwritev(fd, iov, count, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int kernel_fallocate(
	const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len)
{
	int rc;

	do
		rc = fallocate(fd, mode, (off_t)off, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int kernel_ftruncate(const struct io_gate *io, int fd, uint64_t size)
{
	return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

static int kernel_start_writeback(const struct io_gate *io, int fd, uint64_t off, uint64_t len)
{
	/* Only SYNC_FILE_RANGE_WRITE: the waiting flavours report a write-back
	 * error and so hide it from the fdatasync that must see it. */
	int rc = sync_file_range(fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);

	return rc < 0 ? -errno : 0;
}

static int kernel_fdatasync(const struct io_gate *io, int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int kernel_fsync(const struct io_gate *io, int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

const struct io_gate io_kernel = {
	.openat = kernel_openat,
	.close = kernel_close,
	.mkdirat = kernel_mkdirat,
	.unlinkat = kernel_unlinkat,
	.renameat = kernel_renameat,
	.linkat = kernel_linkat,
	.pread = kernel_pread,
	.pread_nowait = kernel_pread_nowait,
	.pwritev = kernel_pwritev,
	.fallocate = kernel_fallocate,
	.ftruncate = kernel_ftruncate,
	.start_writeback = kernel_start_writeback,
	.fdatasync = kernel_fdatasync,
	.fsync = kernel_fsync,
};

int io_read_full(const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = io->pread(io, fd, p, len, off);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -ENODATA;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static void iov_advance(struct iovec **iov, int *count, size_t done)
{
	while (*count > 0 && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count > 0) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

int io_writev_full(const struct io_gate *io, int fd, struct iovec *iov, int count, uint64_t off)
{
	iov_advance(&iov, &count, 0);
	while (count > 0) {
		ssize_t n = io->pwritev(io, fd, iov, count < IOV_MAX ? count : IOV_MAX, off);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		off += (uint64_t)n;
		iov_advance(&iov, &count, (size_t)n);
	}
	return 0;
}

int io_write_full(const struct io_gate *io, int fd, const void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return io_writev_full(io, fd, &iov, 1, off);
}

int io_fsync_dir(const struct io_gate *io, int dirfd, const char *name)
{
	int fd = io->openat(io, dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	int rc;

	if (fd < 0)
		return fd;
	rc = io->fsync(io, fd);
	io->close(io, fd);
	return rc;
}

/* "/a/b//" gives "/a", "b" gives ".". NULL without memory. */
static char *parent_of(const char *path)
{
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == '/')
		len--;
	while (len > 0 && path[len - 1] != '/')
		len--;
	if (len == 0)
		return strdup(path[0] == '/' ? "/" : ".");
	while (len > 1 && path[len - 1] == '/')
		len--;
	return strndup(path, len);
}

int io_make_dirs(const struct io_gate *io, const char *path, mode_t mode)
{
	AUTO_FREE char *parent = NULL;
	int rc = io->mkdirat(io, AT_FDCWD, path, mode);

	if (rc == -EEXIST)
		return 0;
	parent = parent_of(path);
	if (!parent)
		return -ENOMEM;
	if (rc == -ENOENT && path[0]) {
		rc = io_make_dirs(io, parent, IO_PARENT_MODE);
		if (rc == 0)
			rc = io->mkdirat(io, AT_FDCWD, path, mode);
	}
	return rc < 0 ? rc : io_fsync_dir(io, AT_FDCWD, parent);
}

int io_write_file(const struct io_gate *io, int dirfd, const char *name, const void *data,
	size_t len, mode_t mode)
{
	int fd = io->openat(io, dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode);
	int rc;

	if (fd < 0)
		return fd;
	rc = io_write_full(io, fd, data, len, 0);
	if (rc == 0)
		rc = io->fdatasync(io, fd);
	io->close(io, fd);
	return rc;
}

int io_publish(const struct io_gate *io, int dirfd, const char *name, const void *data, size_t len,
	mode_t mode)
{
	char temp[NAME_MAX + 1];
	int rc;

	if (snprintf(temp, sizeof(temp), "%s.tmp", name) >= (int)sizeof(temp))
		return -ENAMETOOLONG;
	rc = io_write_file(io, dirfd, temp, data, len, mode);
	if (rc == 0)
		rc = io->renameat(io, dirfd, temp, dirfd, name, 0);
	if (rc < 0) {
		io->unlinkat(io, dirfd, temp, 0);
		return rc;
	}
	return io_fsync_dir(io, dirfd, ".");
}

int io_slurp(const struct io_gate *io, int dirfd, const char *name, size_t max, char **ret_data,
	size_t *ret_len)
{
	AUTO_FREE char *data = NULL;
	struct stat st;
	int rc;
	int fd = io->openat(io, dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);

	if (fd < 0)
		return fd;
	rc = fstat(fd, &st) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (rc == 0 && (uint64_t)st.st_size > max)
		rc = -EFBIG;
	if (rc == 0 && !(data = malloc((size_t)st.st_size + 1)))
		rc = -ENOMEM;
	if (rc == 0)
		rc = io_read_full(io, fd, data, (size_t)st.st_size, 0);
	io->close(io, fd);
	if (rc < 0)
		return rc;
	data[st.st_size] = '\0';
	*ret_len = (size_t)st.st_size;
	*ret_data = steal_ptr(&data);
	return 0;
}

static int lock_range(int fd, int op, short type, uint64_t off, uint64_t len, short *ret_type)
{
	struct flock fl = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)off,
		.l_len = (off_t)len,
	};

	if (fcntl(fd, op, &fl) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	if (ret_type)
		*ret_type = fl.l_type;
	return 0;
}

int io_lock(int fd, bool exclusive, uint64_t off, uint64_t len)
{
	return lock_range(fd, F_OFD_SETLK, exclusive ? F_WRLCK : F_RDLCK, off, len, NULL);
}

int io_lock_wait(int fd, bool exclusive, uint64_t off, uint64_t len)
{
	int rc;

	do
		rc = lock_range(fd, F_OFD_SETLKW, exclusive ? F_WRLCK : F_RDLCK, off, len, NULL);
	while (rc == -EINTR);
	return rc;
}

int io_lock_test(int fd, uint64_t off, uint64_t len)
{
	short type = F_UNLCK;
	int rc = lock_range(fd, F_OFD_GETLK, F_WRLCK, off, len, &type);

	return rc < 0 ? rc : type != F_UNLCK;
}
