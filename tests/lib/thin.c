/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A gate that allocates nothing: see thin.h. */
#include "tests/lib/thin.h"

#include <errno.h>
#include <malloc.h>
#include <sys/stat.h>

static int thin_openat(
	const struct io_gate *io, int dirfd, const char *name, int flags, mode_t mode)
{
	return io_kernel.openat(&io_kernel, dirfd, name, flags, mode);
}

static int thin_close(const struct io_gate *io, int fd)
{
	return io_kernel.close(&io_kernel, fd);
}

static int thin_mkdirat(const struct io_gate *io, int dirfd, const char *name, mode_t mode)
{
	return io_kernel.mkdirat(&io_kernel, dirfd, name, mode);
}

static int thin_unlinkat(const struct io_gate *io, int dirfd, const char *name, int flags)
{
	return io_kernel.unlinkat(&io_kernel, dirfd, name, flags);
}

static int thin_renameat(const struct io_gate *io, int fromfd, const char *from, int tofd,
	const char *to, unsigned int flags)
{
	return io_kernel.renameat(&io_kernel, fromfd, from, tofd, to, flags);
}

static int thin_linkat(
	const struct io_gate *io, int fromfd, const char *from, int tofd, const char *to)
{
	return io_kernel.linkat(&io_kernel, fromfd, from, tofd, to);
}

static ssize_t thin_pread(const struct io_gate *io, int fd, void *buf, size_t len, uint64_t off)
{
	return io_kernel.pread(&io_kernel, fd, buf, len, off);
}

static ssize_t thin_pwritev(
	const struct io_gate *io, int fd, const struct iovec *iov, int count, uint64_t off)
{
	return io_kernel.pwritev(&io_kernel, fd, iov, count, off);
}

static int thin_fallocate(const struct io_gate *io, int fd, int mode, uint64_t off, uint64_t len)
{
	struct stat st;

	if (mode != 0)
		return io_kernel.fallocate(&io_kernel, fd, mode, off, len);
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size >= off + len)
		return 0;
	return io_kernel.ftruncate(&io_kernel, fd, off + len);
}

static int thin_ftruncate(const struct io_gate *io, int fd, uint64_t size)
{
	return io_kernel.ftruncate(&io_kernel, fd, size);
}

/* In memory there is nothing to write back to. */
static int thin_start_writeback(const struct io_gate *io, int fd, uint64_t off, uint64_t len)
{
	return 0;
}

static int thin_sync(const struct io_gate *io, int fd)
{
	return io_kernel.fdatasync(&io_kernel, fd);
}

static const struct io_gate thin = {
	.openat = thin_openat,
	.close = thin_close,
	.mkdirat = thin_mkdirat,
	.unlinkat = thin_unlinkat,
	.renameat = thin_renameat,
	.linkat = thin_linkat,
	.pread = thin_pread,
	.pread_nowait = thin_pread,
	.pwritev = thin_pwritev,
	.fallocate = thin_fallocate,
	.ftruncate = thin_ftruncate,
	.start_writeback = thin_start_writeback,
	.fdatasync = thin_sync,
	.fsync = thin_sync,
};

const struct io_gate *const io_thin = &thin;

void thin_keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
}
